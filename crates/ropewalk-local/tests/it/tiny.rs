//! The model in the repository, against transformers and llama.cpp.
//!
//! `examples/data/make_tiny_greedy.py` wrote the expected continuations: of the f32 weights from
//! transformers, of the shipped Q8_0 file from llama.cpp.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use futures_executor::block_on;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    ChatModel, ChatRequest, ErrorKind, FinishReason, Message, OnUnsupported, ToolChoice,
    ToolResult, ToolSpec,
};
use ropewalk_gguf::Gguf;
use ropewalk_local::{GenerateOptions, Generation, LoadOptions, LocalModel};
use ropewalk_tokens::template::{ChatTemplate, TemplateInput, Value as TemplateValue};
use ropewalk_tokens::tool_calls::ToolCallFormat;
use serde_json::Value;

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/data")
        .join(name)
}

fn model() -> LocalModel {
    let gguf = Gguf::open(data("ropewalk-tiny.gguf")).unwrap();
    LocalModel::from_gguf(Arc::new(gguf), &LoadOptions::default()).unwrap()
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(data("tiny_greedy.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    json["cases"].as_array().unwrap().clone()
}

fn ids(v: &Value) -> Vec<u32> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn prompts_are_those_of_transformers() {
    let model = model();
    let template = ChatTemplate::new(model.tokenizer().chat_template().unwrap()).unwrap();
    for case in cases() {
        let json = |v: &Value| TemplateValue::from_json(&v.to_string()).unwrap();
        let list = |v: &Value| v.as_array().unwrap().iter().map(json).collect::<Vec<_>>();
        let mut input = TemplateInput::new(list(&case["messages"])).with_generation_prompt(true);
        if case["tools"].is_array() {
            input = input.with_tools(list(&case["tools"]));
        }
        let prompt = template.render(&input).unwrap();
        assert_eq!(prompt, case["prompt"].as_str().unwrap());
        assert_eq!(
            model.tokenizer().encode(&prompt, false).unwrap(),
            ids(&case["prompt_ids"])
        );
    }
}

#[test]
fn greedy_ids_are_those_of_transformers_and_llama_cpp() {
    let model = model();
    let mut compared = 0;
    for case in cases() {
        let mut cache = model.model().new_cache();
        let options = GenerateOptions::greedy(64).with_stop_ids([]);
        let end = model.tokenizer().eos().unwrap();
        let mut found = Vec::new();
        for token in Generation::new(
            model.model(),
            &mut cache,
            &ids(&case["prompt_ids"]),
            &options,
        )
        .unwrap()
        {
            found.push(token.unwrap().id);
            if found.last() == Some(&end) {
                break;
            }
        }
        let text = &case["prompt"];
        // Q8_0 weights move logits by about 0.02; a closer call may go either way.
        if case["smallest_margin"].as_f64().unwrap() > 0.2 {
            assert_eq!(found, ids(&case["greedy_ids"]), "{text}");
            assert_eq!(found, ids(&case["llama_cpp_q8_0"]), "{text}");
            compared += 1;
        }
    }
    assert!(
        compared >= 8,
        "only {compared} cases are clear enough to compare"
    );
}

#[test]
fn calls_the_tool_and_states_its_answer() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Arguments {
        destination_city: String,
    }
    let model = model();
    let tool = ToolSpec::of::<Arguments>("get_ticket_price", "Price of a return ticket.");
    let mut request = ChatRequest::new()
        .user("How much is a ticket to Paris?")
        .tool(tool);
    let mut go_on = |_: &_| ControlFlow::Continue(());
    let reply = model.respond(&request, &mut go_on).unwrap().response;
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let call = reply.message.tool_calls().next().unwrap().clone();
    assert_eq!(call.name, "get_ticket_price");
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    assert_eq!(arguments["destination_city"], "Paris");
    request.messages.push(reply.message);
    request
        .messages
        .push(Message::tool(ToolResult::to(&call, r#"{"price": "$899"}"#)));
    let reply = model.respond(&request, &mut go_on).unwrap().response;
    assert_eq!(reply.finish_reason, FinishReason::Stop);
    assert!(reply.text().contains("$899"), "{}", reply.text());
}

/// The ticket tool, and a question that it is not for.
fn greeting() -> ChatRequest {
    let schema = serde_json::json!({
        "type": "object", "properties": {"destination_city": {"type": "string"}}
    });
    let tool = ToolSpec::new("get_ticket_price", "Price.", schema.try_into().unwrap());
    ChatRequest::new()
        .user("Hello!")
        .tool(tool)
        .on_unsupported(OnUnsupported::Error)
        .max_tokens(40)
}

#[test]
fn a_call_can_be_required() {
    let model = model();
    assert_eq!(model.tool_calls(), ToolCallFormat::Hermes);
    let mut go_on = |_: &_| ControlFlow::Continue(());
    let free = model.respond(&greeting(), &mut go_on).unwrap().response;
    assert_eq!(free.message.tool_calls().count(), 0, "{}", free.text());
    for (choice, name) in [
        (ToolChoice::Required, None),
        (
            ToolChoice::Tool("get_ticket_price".into()),
            Some("get_ticket_price"),
        ),
    ] {
        let request = greeting().tool_choice(choice);
        let reply = model.respond(&request, &mut go_on).unwrap().response;
        let calls: Vec<_> = reply.message.tool_calls().collect();
        assert!(!calls.is_empty(), "{reply:?}");
        assert!(name.is_none_or(|name| calls[0].name == name), "{reply:?}");
        assert!(reply.warnings.is_empty(), "{:?}", reply.warnings);
        // The stream says the same.
        let streamed = block_on(async { model.stream(&request).await?.collect().await }).unwrap();
        assert_eq!(streamed.message, reply.message);
    }
    // Half a call is worth nothing.
    #[cfg(feature = "constrained")]
    {
        let cut = greeting().tool_choice(ToolChoice::Required).max_tokens(6);
        let e = model.respond(&cut, &mut go_on).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Truncated, "{e}");
    }
    // A format whose models differ in how a call begins.
    let options = LoadOptions::default().with_tool_calls(ToolCallFormat::Gemma);
    let gguf = Gguf::open(data("ropewalk-tiny.gguf")).unwrap();
    let model = LocalModel::from_gguf(Arc::new(gguf), &options).unwrap();
    assert_eq!(model.tool_calls(), ToolCallFormat::Gemma);
    let request = greeting().tool_choice(ToolChoice::Required);
    let e = model.respond(&request, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.message().starts_with("tool_choice"), "{e}");
}

#[test]
fn parallel_calls_may_be_forbidden() {
    let model = model();
    let mut request = greeting();
    request.messages = vec![Message::user("How much is a ticket to Paris?")];
    request.options.parallel_tool_calls = Some(false);
    let mut go_on = |_: &_| ControlFlow::Continue(());
    let reply = model.respond(&request, &mut go_on).unwrap();
    assert_eq!(reply.response.finish_reason, FinishReason::ToolCalls);
    assert_eq!(reply.response.message.tool_calls().count(), 1);
    request.options.parallel_tool_calls = Some(true);
    let free = model.respond(&request, &mut go_on).unwrap();
    let first = |reply: &ropewalk_local::Reply| reply.response.message.tool_calls().next().cloned();
    assert_eq!(first(&reply), first(&free));
}

#[test]
fn conforms_to_the_chat_contract() {
    let suite = ChatSuite::new().with_max_tokens(24);
    block_on(chat(&model(), &suite)).into_result().unwrap();
}

#[test]
fn a_long_prompt_can_be_given_up() {
    let model = model();
    let mut text = String::new();
    while model.tokenizer().count(&text) < 700 {
        text += "hello ";
    }
    let request = ChatRequest::new().user(text);
    let reply = model
        .respond(&request, &mut |_| ControlFlow::Break(()))
        .unwrap();
    let cancelled = FinishReason::Other("cancelled".into());
    assert_eq!(reply.response.finish_reason, cancelled);
    assert_eq!(
        (reply.response.text().as_str(), reply.timings.prompt_tokens),
        ("", 0)
    );
}
