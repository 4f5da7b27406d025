//! Chat Completions: requests, replies, streams.

use proptest::prelude::*;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    CacheHint, ChatModel, ChatRequest, Effort, ErrorKind, FinishReason, Message, Part, Reasoning,
    ResponseFormat, TokenLogprob, Usage,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{ChatWire, OpenAi, SystemRole, Wire, presets};
use serde_json::{Value, json};

use crate::native::{Answering, body, collect, fixture, golden, sse, whole};
use crate::openai::{OptionCase, Said, called, check_options, json_of, options, requests};

fn wire() -> ChatWire {
    ChatWire::new(presets::OPENAI)
}

#[test]
fn requests_are_as_written() {
    let boxed = |(name, request)| (name, Box::new(wire()) as Box<dyn Wire>, request);
    let cases: Vec<_> = requests().into_iter().map(boxed).collect();
    golden("openai/chat_requests.json", &cases);
}

#[test]
fn every_option() {
    let cases: Vec<OptionCase> = vec![
        (
            "temperature",
            options(|o| o.temperature = Some(0.2)),
            json!({"temperature": 0.2}),
            &[],
        ),
        (
            "top_p",
            options(|o| o.top_p = Some(0.9)),
            json!({"top_p": 0.9}),
            &[],
        ),
        (
            "top_k",
            options(|o| o.top_k = Some(40)),
            json!({}),
            &["top_k"],
        ),
        (
            "max_tokens",
            options(|o| o.max_tokens = Some(64)),
            json!({"max_completion_tokens": 64}),
            &[],
        ),
        (
            "stop",
            options(|o| o.stop = vec!["a".into(), "b".into()]),
            json!({"stop": ["a", "b"]}),
            &[],
        ),
        (
            "seed",
            options(|o| o.seed = Some(7)),
            json!({"seed": 7}),
            &[],
        ),
        (
            "frequency_penalty",
            options(|o| o.frequency_penalty = Some(-0.5)),
            json!({"frequency_penalty": -0.5}),
            &[],
        ),
        (
            "presence_penalty",
            options(|o| o.presence_penalty = Some(0.1)),
            json!({"presence_penalty": 0.1}),
            &[],
        ),
        (
            "logprobs",
            options(|o| o.logprobs = Some(3)),
            json!({"logprobs": true, "top_logprobs": 3}),
            &[],
        ),
        (
            "logprobs 0",
            options(|o| o.logprobs = Some(0)),
            json!({"logprobs": true}),
            &[],
        ),
        (
            "reasoning",
            options(|o| o.reasoning = Some(Effort::High)),
            json!({"reasoning_effort": "high"}),
            &[],
        ),
        (
            "reasoning off",
            options(|o| o.reasoning = Some(Effort::Off)),
            json!({"reasoning_effort": "none"}),
            &[],
        ),
        (
            "reasoning budget",
            options(|o| o.reasoning = Some(Effort::Budget(5000))),
            json!({"reasoning_effort": "medium"}),
            &["reasoning"],
        ),
        (
            "parallel_tool_calls",
            options(|o| o.parallel_tool_calls = Some(false)),
            json!({"parallel_tool_calls": false}),
            &[],
        ),
        (
            "cache short",
            options(|o| o.cache = Some(CacheHint::Short)),
            json!({}),
            &[],
        ),
        (
            "cache long",
            options(|o| o.cache = Some(CacheHint::Long)),
            json!({"prompt_cache_retention": "24h"}),
            &[],
        ),
        (
            "cache_key",
            options(|o| o.cache_key = Some("k".into())),
            json!({"prompt_cache_key": "k"}),
            &[],
        ),
        (
            "user",
            options(|o| o.user = Some("u".into())),
            json!({"safety_identifier": "u"}),
            &[],
        ),
    ];
    check_options(&wire(), cases);
}

#[test]
fn json_mode_needs_the_word() {
    let request = ChatRequest::from("Give me a city").response_format(ResponseFormat::Json);
    let error = wire().encode("m", &request, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.message().contains("the word JSON"), "{error}");
    assert!(
        ChatWire::new(presets::VLLM)
            .encode("m", &request, false)
            .is_ok()
    );
}

#[test]
fn opaque_fields_are_set_on_the_message() {
    let fields = json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]});
    let message = Message::assistant([Part::text("4"), Part::opaque("openai", fields.clone())]);
    let request = ChatRequest::from("x").message(message).user("y");
    let call = wire().encode("m", &request, false).unwrap();
    let expected = json!({"role": "assistant", "content": "4", "reasoning_details": fields["reasoning_details"]});
    assert_eq!(call.body["messages"][1], expected);
}

#[test]
fn a_message_of_nothing_sendable_is_an_error() {
    let request = ChatRequest::new().user(Part::opaque("anthropic", json!({})));
    let error = wire().encode("m", &request, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("messages[0]"), "{error}");
}

fn reply() -> Value {
    json_of("openai/chat_reply.json")
}

#[test]
fn a_whole_reply() {
    let reply = whole(&wire(), reply()).unwrap();
    assert_eq!(reply.id.as_deref(), Some("chatcmpl-1"));
    assert_eq!(reply.model, "gpt-x-1");
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let expected = [
        Reasoning::new("Two cities, two calls.").into(),
        Part::text("Ich schaue nach – 🌡"),
        called("call_a", None, r#"{"city": "Tromsø"}"#).into(),
        called("call_b", None, r#"{"city": "Oslo"}"#).into(),
    ];
    assert_eq!(reply.message.content, expected);
    let mut usage = Usage::new(100, 40);
    usage.cached_input_tokens = Some(64);
    usage.reasoning_tokens = Some(8);
    usage.input_audio_tokens = Some(0);
    usage.output_audio_tokens = Some(0);
    assert_eq!(reply.usage, usage);
    let top = vec![("Ich".to_owned(), -0.25), ("Wir".to_owned(), -1.5)];
    let logprobs = [
        TokenLogprob::new("Ich", -0.25).with_top(top),
        TokenLogprob::new(" schaue", -0.5),
    ];
    assert_eq!(reply.logprobs, logprobs);
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..5000, 0..12)) {
        let body = fixture("openai/chat_stream.sse");
        let streamed = collect(&wire(), body.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire(), reply()).unwrap());
    }

    /// Of any reply, cut into deltas and interleaved in any way.
    #[test]
    fn any_stream_gives_its_reply(said in Said::any(), cuts in prop::collection::vec(0usize..5000, 0..8)) {
        let calls = |make: &dyn Fn(usize, &str) -> Value| -> Vec<Value> {
            said.calls.iter().enumerate().map(|(i, c)| make(i, c)).collect()
        };
        let message = json!({
            "content": said.text,
            "reasoning_content": said.thoughts,
            "tool_calls": calls(&|i, arguments| json!({"id": format!("c{i}"), "type": "function", "function": {"name": "f", "arguments": arguments}})),
        });
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 4});
        let reply = json!({"id": "r", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage});

        let chunk = |delta: Value| json!({"id": "r", "model": "m", "choices": [{"delta": delta, "finish_reason": null}]});
        let mut chunks = vec![chunk(json!({"role": "assistant"}))];
        chunks.extend(said.pieces_of(&said.thoughts).map(|p| chunk(json!({"reasoning_content": p}))));
        chunks.extend(said.pieces_of(&said.text).map(|p| chunk(json!({"content": p}))));
        let begun = calls(&|i, _| json!({"index": i, "id": format!("c{i}"), "function": {"name": "f", "arguments": ""}}));
        chunks.extend(begun.into_iter().map(|c| chunk(json!({"tool_calls": [c]}))));
        for (i, piece) in said.interleaved() {
            chunks.push(chunk(json!({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})));
        }
        chunks.push(json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}));
        chunks.push(json!({"choices": [], "usage": usage}));
        let stream = format!("{}data: [DONE]\n\n", sse(&chunks));
        let streamed = collect(&wire(), stream.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire(), reply).unwrap());
    }

    /// Whatever comes, there is an answer or a typed error.
    #[test]
    fn garbage_is_no_panic(
        body in prop::collection::vec(any::<u8>(), 0..400),
        json in "\\{\"choices\":\\[\\{\"(delta|message)\":\\{\"(content|tool_calls|refusal|function_call)\":(null|1|\"x\"|\\[\\{\\}\\]|\\[1\\])\\}\\}\\]\\}",
    ) {
        drop(collect(&wire(), &body, &[]));
        let json: Value = serde_json::from_str(&json).unwrap();
        drop(collect(&wire(), sse([&json]).as_bytes(), &[]));
        prop_assert!(whole(&wire(), json).is_ok());
    }
}

fn frames() -> Vec<String> {
    let body = fixture("openai/chat_stream.sse");
    body.split_inclusive("\n\n").map(str::to_owned).collect()
}

#[test]
fn a_stream_cut_before_its_reason_is_truncated() {
    let frames = frames();
    let reasoned = frames
        .iter()
        .position(|f| f.contains("\"tool_calls\"}]"))
        .unwrap();
    for end in 0..frames.len() {
        let body: String = frames[..=end].concat();
        let result = collect(&wire(), body.as_bytes(), &[]);
        if end < reasoned {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "after frame {end}");
            assert!(error.partial().is_some());
        } else {
            // Some servers leave out `[DONE]`, and some the usage.
            assert_eq!(result.unwrap().finish_reason, FinishReason::ToolCalls);
        }
    }
}

#[test]
fn errors_in_band_have_their_kind() {
    let begun: String = frames()[..5].concat();
    for (frame, kind) in [
        (
            r#"data: {"error":{"message":"busy","type":"overloaded_error"}}"#,
            ErrorKind::Overloaded,
        ),
        (
            r#"data: {"error":{"message":"slow down","code":429}}"#,
            ErrorKind::RateLimited,
        ),
        (
            r#"data: {"object":"error","message":"out of memory","code":500}"#,
            ErrorKind::Server,
        ),
        (
            "event: error\ndata: {\"message\":\"bad\",\"type\":\"invalid_request_error\"}",
            ErrorKind::InvalidRequest,
        ),
        (
            r#"data: {"id":"x","choices":[{"finish_reason":"error"}],"error":{"code":502,"message":"gone"}}"#,
            ErrorKind::Server,
        ),
        ("data: no json", ErrorKind::Decode),
    ] {
        let body = format!("{begun}{frame}\n\ndata: [DONE]\n\n");
        let error = collect(&wire(), body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{frame}");
    }
    let in_a_reply = json!({"error": {"message": "no", "code": "insufficient_quota"}});
    assert_eq!(
        whole(&wire(), in_a_reply).unwrap_err().kind(),
        ErrorKind::QuotaExceeded
    );
    for no_reply in [json!({}), json!({"choices": []}), json!([]), json!("x")] {
        let error = whole(&wire(), no_reply).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
    }
}

#[test]
fn every_reason() {
    for (word, expected) in [
        (json!("stop"), FinishReason::Stop),
        (json!(""), FinishReason::Stop),
        (Value::Null, FinishReason::Stop),
        (json!("eos"), FinishReason::Stop),
        (json!("eos_token"), FinishReason::Stop),
        (json!("stop_sequence"), FinishReason::Stop),
        (json!("length"), FinishReason::Length),
        (json!("model_length"), FinishReason::Length),
        (json!("tool_calls"), FinishReason::ToolCalls),
        (json!("function_call"), FinishReason::ToolCalls),
        (json!("content_filter"), FinishReason::ContentFilter),
        (
            json!("insufficient_system_resource"),
            FinishReason::Other("insufficient_system_resource".into()),
        ),
    ] {
        let reply = json!({"choices": [{"message": {"content": "x"}, "finish_reason": word}]});
        assert_eq!(
            whole(&wire(), reply).unwrap().finish_reason,
            expected,
            "{word}"
        );
        let chunk = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": word}]});
        let stream = format!("{}data: [DONE]\n\n", sse([&chunk]));
        let streamed = collect(&wire(), stream.as_bytes(), &[]).unwrap();
        assert_eq!(streamed.finish_reason, expected, "{word} streamed");
    }
}

#[test]
fn stop_with_calls_is_tool_calls() {
    let call = json!({"id": "a", "function": {"name": "f", "arguments": {"x": 1}}});
    let message = json!({"content": null, "tool_calls": [call]});
    let body = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
    let reply = whole(&wire(), body).unwrap();
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    // Arguments that are an object become its text.
    assert_eq!(
        reply.message.tool_calls().next().unwrap().arguments,
        r#"{"x":1}"#
    );
}

#[test]
fn the_old_form_of_calls() {
    let message = json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}});
    let body = json!({"choices": [{"message": message, "finish_reason": "function_call"}]});
    let reply = whole(&wire(), body).unwrap();
    let call = reply.message.tool_calls().next().unwrap();
    assert_eq!((call.name.as_str(), call.id.is_empty()), ("f", false));
}

#[test]
fn calls_without_index_or_with_the_same_one() {
    let call = |id: &str, city: &str| json!({"id": id, "type": "function", "function": {"name": "warm", "arguments": city}});
    let chunk = |call: Value| json!({"choices": [{"delta": {"tool_calls": [call]}}]});
    let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    let stream = sse([&chunk(call("a", "1")), &chunk(call("b", "2")), &end]);
    let reply = collect(&wire(), stream.as_bytes(), &[]).unwrap();
    let calls: Vec<_> = reply
        .message
        .tool_calls()
        .map(|c| (&*c.id, &*c.arguments))
        .collect();
    assert_eq!(calls, [("a", "1"), ("b", "2")]);
}

#[test]
fn a_refusal_is_text_and_a_reason() {
    let message = json!({"content": null, "refusal": "I cannot help with that."});
    let body = json!({"choices": [{"message": message, "finish_reason": "stop"}]});
    let expected = whole(&wire(), body).unwrap();
    assert_eq!(expected.finish_reason, FinishReason::Refusal);
    assert_eq!(expected.text(), "I cannot help with that.");
    let chunk = |delta: Value, reason: Value| json!({"choices": [{"delta": delta, "finish_reason": reason}]});
    let stream = sse([
        &chunk(json!({"refusal": "I cannot "}), Value::Null),
        &chunk(json!({"refusal": "help with that."}), Value::Null),
        &chunk(json!({}), json!("stop")),
    ]);
    assert_eq!(collect(&wire(), stream.as_bytes(), &[]).unwrap(), expected);
}

#[test]
fn a_stream_of_one_chunk_and_other_choices() {
    let whole_chunk = json!({"choices": [
        {"index": 1, "delta": {"content": "other"}, "finish_reason": "length"},
        {"index": 0, "delta": {"content": "mine"}, "finish_reason": "stop"},
    ], "usage": {"prompt_tokens": 3, "completion_tokens": 1}});
    let reply = collect(&wire(), sse([&whole_chunk]).as_bytes(), &[]).unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.finish_reason),
        ("mine", FinishReason::Stop)
    );
    assert_eq!(reply.usage, Usage::new(3, 1));
}

#[tokio::test]
async fn byte_by_byte_and_raw() {
    let streamed = Canned::sse(fixture("openai/chat_stream.sse")).in_pieces_of(1);
    let double = Double::new([streamed, Canned::json(&reply())]);
    let openai = OpenAi::new("sk-test").unwrap().with_client(double.client());
    let model = openai.chat("gpt-x");
    let request = ChatRequest::from("x").keep_raw(true);
    let streamed = model
        .stream(&request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let asked = model.chat(&request).await.unwrap();
    assert_eq!(streamed.message, asked.message);
    assert_eq!(streamed.usage, asked.usage);
    // The fixture without its comment and end marker.
    assert_eq!(streamed.raw.unwrap().as_array().unwrap().len(), 12);
    assert_eq!(asked.raw, Some(reply()));
    assert_eq!(double.requests()[0].headers["accept"], "text/event-stream");
}

#[test]
fn instructions_have_the_role_of_the_dialect() {
    for (system, role) in [
        (SystemRole::System, "system"),
        (SystemRole::Developer, "developer"),
        (SystemRole::User, "user"),
    ] {
        let mut dialect = presets::OPENAI;
        dialect.system = system;
        let request = ChatRequest::from("x").system("Be brief.");
        let call = ChatWire::new(dialect).encode("m", &request, false).unwrap();
        let expected = json!({"role": role, "content": "Be brief."});
        assert_eq!(call.body["messages"][0], expected);
    }
}

/// Answers as a model would: with a tool when one is demanded, JSON when a schema asks for it.
fn answering() -> OpenAi {
    let client = Answering::client(|request| {
        let asked = body(request);
        let limit = asked["max_completion_tokens"].as_u64().unwrap_or(9);
        let call = json!({"index": 0, "id": "c", "type": "function", "function": {
            "name": asked["tools"][0]["function"]["name"], "arguments": r#"{"city": "Oslo"}"#}});
        let message = if asked["tool_choice"] == "required" {
            json!({"content": null, "tool_calls": [call]})
        } else if asked["response_format"]["type"] == "json_schema" {
            json!({"content": r#"{"greeting": "Hello."}"#})
        } else {
            json!({"content": "Hello."})
        };
        let usage = json!({"prompt_tokens": 5, "completion_tokens": limit.min(2)});
        let head = json!({"id": "r", "model": "gpt-x"});
        let with = |choices: Value, usage: Option<&Value>| {
            let mut chunk = head.clone();
            chunk["choices"] = choices;
            chunk["usage"] = usage.cloned().unwrap_or_default();
            chunk
        };
        if asked["stream"] != true {
            let choice = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
            return ("application/json", with(choice, Some(&usage)).to_string());
        }
        assert_eq!(asked["stream_options"]["include_usage"], true);
        let events = [
            with(json!([{"index": 0, "delta": message}]), None),
            with(
                json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
                None,
            ),
            with(json!([]), Some(&usage)),
        ];
        (
            "text/event-stream",
            format!("{}data: [DONE]\n\n", sse(&events)),
        )
    });
    OpenAi::new("sk-test").unwrap().with_client(client)
}

#[tokio::test]
async fn conforms() {
    let suite = ChatSuite::new().with_calls_tools(true);
    chat(&answering().chat("gpt-x"), &suite)
        .await
        .into_result()
        .unwrap();
}
