//! `LocalModel` as a chat model: conformance, streams, stop strings, errors.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    ChatModel, ChatRequest, Effort, ErrorKind, FinishReason, Message, OnUnsupported, StreamEvent,
    ToolSpec,
};
use ropewalk_gguf::{Gguf, StringArray, TensorType, Writer};
use ropewalk_local::sample::SamplerOptions;
use ropewalk_local::{LoadOptions, LocalModel};

use ropewalk_tokens::tool_calls::ToolCallFormat;

use crate::golden::cases;

const TEMPLATE: &str = "\
{%- for m in messages -%}
{%- if m.role == 'system' and not loop.first -%}{{ raise_exception('System message must be first') }}{%- endif -%}
{{ '<|im_start|>' + m.role + '\\n' + (m.content or '') + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

/// Random weights over a vocabulary of bytes: its replies are noise, also broken UTF-8.
fn noise(with_template: bool) -> Gguf {
    let case = cases()
        .into_iter()
        .find(|c| c.name == "llama3_256")
        .unwrap();
    let model = Gguf::from_bytes(case.model.gguf(|_| TensorType::Q8_0).unwrap()).unwrap();
    let mut tokens: Vec<String> = Vec::new();
    for byte in 0..=255u8 {
        // The alphabet of byte-level BPE: printable Latin-1 as itself, the rest from U+0100 on.
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let shifted = (0..byte).filter(|b| !matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff));
        let code = if printable {
            u32::from(byte)
        } else {
            256 + shifted.count() as u32
        };
        tokens.push(char::from_u32(code).unwrap().to_string());
    }
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    tokens.extend((tokens.len()..320).map(|i| format!("<|spare_{i}|>")));
    let types: Vec<i32> = (0..320).map(|i| if i < 256 { 1 } else { 3 }).collect();
    let mut writer = Writer::new();
    for (key, value) in model.metadata().iter() {
        writer.set(key, value.clone());
    }
    writer.set("general.name", "noise");
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", "gpt-2");
    writer.set(
        "tokenizer.ggml.tokens",
        tokens.iter().collect::<StringArray>(),
    );
    writer.set("tokenizer.ggml.token_type", types);
    writer.set("tokenizer.ggml.merges", StringArray::default());
    writer.set("tokenizer.ggml.eos_token_id", 257u32);
    writer.set("tokenizer.ggml.add_bos_token", false);
    if with_template {
        writer.set("tokenizer.chat_template", TEMPLATE);
    }
    for tensor in model.tensors() {
        writer.tensor(tensor.clone()).unwrap();
    }
    let mut out = writer.begin(Vec::new()).unwrap();
    for tensor in model.iter() {
        out.tensor_data(&tensor.info.name, tensor.data).unwrap();
    }
    Gguf::from_bytes(out.finish().unwrap()).unwrap()
}

fn model() -> LocalModel {
    LocalModel::from_gguf(Arc::new(noise(true)), &LoadOptions::default()).unwrap()
}

fn go_on(_: &StreamEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn conforms_to_the_chat_contract() {
    let report = block_on(chat(&model(), &ChatSuite::new().with_max_tokens(24)));
    println!("{report:?}");
    report.into_result().unwrap();
}

#[test]
fn seeds_repeat_a_reply_also_beside_others() {
    let model = model();
    let ask = |seed: u64| {
        let request = ChatRequest::new()
            .user("hi")
            .temperature(1.0)
            .max_tokens(20)
            .seed(seed);
        model.respond(&request, &mut go_on).unwrap().response.text()
    };
    let alone = [ask(1), ask(2)];
    assert_ne!(alone[0], alone[1]);
    let together: Vec<String> = std::thread::scope(|s| {
        let threads: Vec<_> = [1, 2, 1].map(|seed| s.spawn(move || ask(seed))).into();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(together, [&*alone[0], &alone[1], &alone[0]]);
}

#[test]
fn stop_strings_limits_and_cancelling_end_a_reply() {
    let model = model();
    let free = ChatRequest::new()
        .user("abc")
        .max_tokens(40)
        .temperature(1.0)
        .seed(5);
    let whole = model.respond(&free, &mut go_on).unwrap().response;
    assert_eq!(whole.finish_reason, FinishReason::Length);
    let text = whole.text();
    assert_eq!(whole.usage.output_tokens, Some(40));

    // Two characters from the middle as the stop string.
    let at: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
    let stop = &text[at[10]..at[12]];
    let cut = model
        .respond(&free.clone().stop(stop), &mut go_on)
        .unwrap()
        .response;
    assert_eq!(cut.text(), text[..text.find(stop).unwrap()]);
    assert_eq!(cut.finish_reason, FinishReason::Stop);

    let mut seen = String::new();
    let cancelled = model
        .respond(&free, &mut |event| match event {
            StreamEvent::TextDelta { text, .. } => {
                seen += text;
                if seen.chars().count() < 5 {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            }
            _ => ControlFlow::Continue(()),
        })
        .unwrap()
        .response;
    assert_eq!(
        cancelled.finish_reason,
        FinishReason::Other("cancelled".into())
    );
    assert!(text.starts_with(&seen) && seen.len() < text.len());

    let late = model
        .respond(&free.clone().timeout(Duration::ZERO), &mut go_on)
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    assert!(late.partial().is_some());
}

#[test]
fn the_next_turn_computes_only_what_is_new() {
    let model = model();
    let first = ChatRequest::new().user("hello there").max_tokens(8);
    let reply = model.respond(&first, &mut go_on).unwrap();
    assert_eq!(reply.timings.cached_tokens, 0);
    let again = model.respond(&first, &mut go_on).unwrap();
    assert_eq!(again.timings.cached_tokens, again.timings.prompt_tokens - 1);
    assert_eq!(again.response.text(), reply.response.text());
    assert_eq!(
        again.response.usage.cached_input_tokens,
        Some(again.timings.cached_tokens as u64)
    );
}

#[test]
fn options_that_cannot_be_honoured_are_reported() {
    let model = model();
    let ask = ChatRequest::new()
        .user("hi")
        .max_tokens(2)
        .reasoning(Effort::High);
    let reply = model.respond(&ask, &mut go_on).unwrap().response;
    assert_eq!(reply.warnings.len(), 1);
    assert_eq!(reply.warnings[0].option, "reasoning");
    let strict = ask.clone().on_unsupported(OnUnsupported::Error);
    assert_eq!(
        model.respond(&strict, &mut go_on).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let quiet = ask.on_unsupported(OnUnsupported::Ignore);
    assert!(
        model
            .respond(&quiet, &mut go_on)
            .unwrap()
            .response
            .warnings
            .is_empty()
    );
}

#[test]
fn log_probabilities_come_with_the_reply() {
    let mut ask = ChatRequest::new().user("hi").max_tokens(3);
    assert!(
        model()
            .respond(&ask, &mut go_on)
            .unwrap()
            .response
            .logprobs
            .is_empty()
    );
    ask.options.logprobs = Some(2);
    let reply = model().respond(&ask, &mut go_on).unwrap().response;
    assert_eq!(reply.logprobs.len(), 3);
    let first = &reply.logprobs[0];
    // Greedy takes the best token.
    assert_eq!((first.top.len(), &first.top[0].0), (2, &first.token));
    assert_eq!(first.top[0].1, first.logprob);
    assert!(first.top[1].1 <= first.logprob && first.logprob < 0.0);
}

#[test]
fn requests_that_cannot_be_answered() {
    let model = model();
    let fail = |request: &ChatRequest| model.respond(request, &mut go_on).unwrap_err();
    assert_eq!(fail(&ChatRequest::new()).kind(), ErrorKind::InvalidRequest);
    let long = ChatRequest::new().user("x".repeat(10_000));
    let e = fail(&long);
    assert_eq!(e.kind(), ErrorKind::ContextLengthExceeded);
    assert!(e.message().contains("do not fit the context of"), "{e}");
    let refused = ChatRequest::new()
        .user("a")
        .message(Message::system("late"));
    let e = fail(&refused);
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
    assert!(e.message().contains("System message must be first"), "{e}");
    let hot = fail(&ChatRequest::new().user("a").temperature(-1.0));
    assert_eq!(hot.kind(), ErrorKind::InvalidRequest);
    assert!(hot.message().contains("temperature"), "{hot}");
    // The same through the trait, before the stream begins.
    assert_eq!(
        block_on(model.stream(&long)).err().unwrap().kind(),
        ErrorKind::ContextLengthExceeded
    );

    let bare = LocalModel::from_gguf(Arc::new(noise(false)), &LoadOptions::default()).unwrap();
    let e = bare
        .respond(&ChatRequest::new().user("a"), &mut go_on)
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Configuration);
    assert!(e.message().starts_with("noise has no chat template"), "{e}");
    let given = bare
        .with_template(TEMPLATE)
        .unwrap()
        .with_sampler(SamplerOptions::balanced());
    let ask = ChatRequest::new().user("a").max_tokens(2);
    assert_eq!(
        given
            .respond(&ask, &mut go_on)
            .unwrap()
            .timings
            .generated_tokens,
        2
    );
    assert!(given.with_template("{% if %}").is_err());
}

#[test]
fn a_template_without_tools_does_not_drop_them_silently() {
    let model = model();
    assert!(!model.capabilities().tools);
    let schema = serde_json::json!({"type": "object"}).try_into().unwrap();
    let tool = ToolSpec::new("now", "Says the time.", schema);
    let request = ChatRequest::new().user("hi").tool(tool).max_tokens(2);
    let reply = model.respond(&request, &mut go_on).unwrap().response;
    assert!(reply.warnings.iter().any(|w| w.option == "tools"));
    let strict = request.clone().on_unsupported(OnUnsupported::Error);
    let e = model.respond(&strict, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);

    let shown = format!("{{{{ tools | tojson if tools else '' }}}}{TEMPLATE}");
    let model = model.with_template(&shown).unwrap();
    assert!(model.capabilities().tools);
    assert!(model.respond(&strict, &mut go_on).is_ok());
}

#[test]
fn reasoning_follows_the_template() {
    let mut request = ChatRequest::new()
        .user("hi")
        .max_tokens(12)
        .on_unsupported(OnUnsupported::Error);
    request.options.reasoning = Some(Effort::Off);
    let plain = model();
    assert!(!plain.capabilities().reasoning);
    let e = plain.respond(&request, &mut go_on).unwrap_err();
    assert!(e.message().starts_with("reasoning"), "{e}");

    // As Qwen 3 does, but with the opening tag in the prompt.
    let end = "{%- if add_generation_prompt -%}{{ '<think>\\n' }}\
               {%- if enable_thinking is defined and not enable_thinking -%}{{ '</think>\\n' }}{%- endif -%}{%- endif -%}";
    let model = plain.with_template(&format!("{TEMPLATE}{end}")).unwrap();
    assert!(model.capabilities().reasoning);
    let off = model.respond(&request, &mut go_on).unwrap().response;
    assert_eq!(off.message.reasoning(), "");
    assert!(!off.text().is_empty());
    request.options.reasoning = Some(Effort::Medium);
    let on = model.respond(&request, &mut go_on).unwrap().response;
    // Noise does not close the tag.
    assert_eq!(on.text(), "");
    assert!(!on.message.reasoning().is_empty());
    request.options.reasoning = Some(Effort::High);
    let e = model.respond(&request, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
}

#[test]
fn the_format_of_tool_calls_is_that_of_the_template() {
    let model = model();
    assert_eq!(model.tool_calls(), ToolCallFormat::Auto);
    let mistral = format!("{TEMPLATE}{{# [TOOL_CALLS] #}}");
    let found = model.clone().with_template(&mistral).unwrap();
    assert_eq!(found.tool_calls(), ToolCallFormat::Mistral);
    let options = LoadOptions::default().with_tool_calls(ToolCallFormat::Phi4);
    let told = LocalModel::from_gguf(Arc::new(noise(true)), &options).unwrap();
    let told = told.with_template(&mistral).unwrap();
    assert_eq!(told.tool_calls(), ToolCallFormat::Phi4);
}

#[test]
fn a_template_that_takes_one_call_gets_one() {
    let tools = "{{ tools | tojson if tools else '' }}";
    let calls = "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.name }}{% endfor %}{% endfor %}";
    let single = "{% for m in messages %}{% if m.tool_calls and m.tool_calls | length != 1 %}\
                  {{ raise_exception('one call at once') }}{% endif %}{% endfor %}";
    let many = model()
        .with_template(&format!("{tools}{calls}{TEMPLATE}"))
        .unwrap();
    assert!(many.capabilities().parallel_tools);
    let one = model()
        .with_template(&format!("{single}{tools}{calls}{TEMPLATE}"))
        .unwrap();
    assert!(one.capabilities().tools && !one.capabilities().parallel_tools);

    let schema = serde_json::json!({"type": "object"}).try_into().unwrap();
    let mut request = ChatRequest::new()
        .user("hi")
        .tool(ToolSpec::new("now", "Says the time.", schema))
        .max_tokens(2);
    request.options.parallel_tool_calls = Some(true);
    let warned = |model: &LocalModel, request: &ChatRequest| {
        let reply = model.respond(request, &mut go_on).unwrap().response;
        reply
            .warnings
            .iter()
            .any(|w| w.option == "parallel_tool_calls")
    };
    assert!(warned(&one, &request) && !warned(&many, &request));
    request.options.parallel_tool_calls = Some(false);
    assert!(!warned(&one, &request) && !warned(&many, &request));
}
