//! Text-generation-inference: requests, replies, plain generation.

use proptest::prelude::*;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    CacheHint, ChatRequest, ChatResponse, Effort, ErrorKind, FinishReason, Message, Options, Part,
    ResponseFormat, TokenLogprob, ToolCall, ToolResult, Usage,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{Settings, Tgi, TgiWire, Wire};
use serde_json::{Map, Value, json};

use crate::native::{Answering, body, collect, fixture, golden, sse, tool, whole};

fn every_option() -> Options {
    Options {
        temperature: Some(0.7),
        top_p: Some(0.9),
        top_k: Some(40),
        max_tokens: Some(100),
        stop: vec!["END".into()],
        seed: Some(1),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.2),
        logprobs: Some(2),
        reasoning: Some(Effort::Medium),
        parallel_tool_calls: Some(false),
        cache: Some(CacheHint::Short),
        cache_key: Some("key".into()),
        user: Some("user-1".into()),
    }
}

fn requests() -> Vec<(&'static str, Box<dyn Wire>, ChatRequest)> {
    let call = ToolCall::new("a", "warm", "{}");
    let history = ChatRequest::from("How warm?")
        .system("Be brief.")
        .message(Message::assistant(Part::from(call.clone())))
        .message(Message::tool(ToolResult::to(&call, "4 degrees")))
        .assistant("It is ");
    let format = ResponseFormat::JsonSchema {
        name: "city".into(),
        schema: tool("x").parameters,
        strict: true,
    };
    let cases: Vec<(&str, ChatRequest)> = vec![
        ("plain", "Hi".into()),
        ("stream", "Hi".into()),
        (
            "options",
            ChatRequest::from("x")
                .tool(tool("warm"))
                .options(every_option()),
        ),
        (
            "greedy",
            ChatRequest::from("x").temperature(0.0).top_p(0.5).seed(3),
        ),
        ("top_p_alone", ChatRequest::from("x").top_p(0.5)),
        ("top_p_of_one", ChatRequest::from("x").top_p(1.0)),
        ("turns", ChatRequest::from("Hi").system("Be brief.")),
        ("history", history),
        ("schema", ChatRequest::from("x").response_format(format)),
        (
            "json",
            ChatRequest::from("x").response_format(ResponseFormat::Json),
        ),
        (
            "extra",
            ChatRequest::from("x")
                .extra("tgi", "parameters", json!({"repetition_penalty": 1.1}))
                .extra("openai", "store", true),
        ),
    ];
    let boxed = |(name, request)| (name, Box::new(TgiWire::new()) as Box<dyn Wire>, request);
    cases.into_iter().map(boxed).collect()
}

#[test]
fn requests_are_as_written() {
    golden("tgi/requests.json", &requests());
}

fn whole_reply() -> Value {
    serde_json::from_str(&fixture("tgi/reply.json")).unwrap()
}

#[test]
fn a_whole_reply() {
    let reply = whole(&TgiWire::new(), whole_reply()).unwrap();
    assert_eq!(reply.text(), " sky – blue");
    assert_eq!(reply.finish_reason, FinishReason::Stop);
    assert_eq!(reply.usage.output_tokens, Some(4));
    let top = vec![(" sky".into(), -0.5), (" sea".into(), -1.5)];
    assert_eq!(
        reply.logprobs[0],
        TokenLogprob::new(" sky", -0.5).with_top(top)
    );
    assert_eq!(reply.logprobs.len(), 4);
    let listed = whole(&TgiWire::new(), json!([whole_reply()])).unwrap();
    assert_eq!(listed, reply);
}

/// The prompt's length is reported by streams only.
fn without_input(mut reply: ChatResponse) -> ChatResponse {
    reply.usage.input_tokens = None;
    reply
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..5000, 0..12)) {
        let wire = TgiWire::new();
        let body = fixture("tgi/stream.sse");
        let streamed = collect(&wire, body.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed.usage, Usage::new(7, 4));
        prop_assert_eq!(without_input(streamed), whole(&wire, whole_reply()).unwrap());
    }
}

#[test]
fn bad_streams_are_typed_errors() {
    let wire = TgiWire::new();
    let token = json!({"token": {"id": 1, "text": "a", "logprob": -1.0, "special": false}});
    let busy = json!({"error": "Model is overloaded", "error_type": "overloaded"});
    for (events, kind) in [
        (vec![token.clone()], ErrorKind::Truncated),
        (vec![token, busy], ErrorKind::Overloaded),
        (vec![json!({"hello": 1})], ErrorKind::Decode),
    ] {
        let error = collect(&wire, sse(&events).as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{events:?}");
    }
}

#[tokio::test]
async fn conforms_but_for_the_length_of_the_prompt() {
    let client = Answering::client(|request| {
        let asked = body(request);
        let limit = asked["parameters"]["max_new_tokens"]
            .as_u64()
            .unwrap_or(9)
            .min(2);
        let text = match asked["parameters"]["grammar"].is_object() {
            true => r#"{"greeting": "Hello."}"#,
            false => "Hello.",
        };
        let token = json!({"id": 1, "text": text, "logprob": -0.5, "special": false});
        let details = json!({"finish_reason": "eos_token", "generated_tokens": limit, "tokens": [token],
            "input_length": 5});
        if request.url.ends_with("/generate_stream") {
            let event = json!({"token": token, "generated_text": text, "details": details});
            return ("text/event-stream", sse([&event]));
        }
        let reply = json!({"generated_text": text, "details": details});
        ("application/json", reply.to_string())
    });
    let tgi = Tgi::new("http://tgi.test").unwrap().with_client(client);
    let report = chat(&tgi.chat("falcon-x"), &ChatSuite::new()).await;
    let failed: Vec<&str> = report.failures().collect();
    assert_eq!(failed, ["usage"]);
}

#[tokio::test]
async fn generates_with_its_own_parameters() {
    let double = Double::new([
        Canned::json(&whole_reply()),
        Canned::error(
            422,
            &json!({"error": "`stop` too long", "error_type": "validation"}),
        ),
    ]);
    let settings = Settings::new()
        .with("TGI_BASE_URL", "https://x.endpoints.test/")
        .with("HF_TOKEN", "hf_secret");
    let tgi = Tgi::from_settings(&settings)
        .unwrap()
        .with_client(double.client());
    let parameters: Map<_, _> = [("max_new_tokens".to_owned(), json!(5))]
        .into_iter()
        .collect();
    let output = tgi.generate("The", parameters).await.unwrap();
    assert_eq!((&*output.text, output.seed), (" sky – blue", Some(9)));
    assert_eq!(output.tokens.len(), 4);
    let sent = json!({"inputs": "The", "parameters": {"details": true, "max_new_tokens": 5}});
    assert_eq!(double.bodies()[0], sent);
    let request = &double.requests()[0];
    assert_eq!(request.url, "https://x.endpoints.test/generate");
    assert_eq!(request.headers["authorization"], "Bearer hf_secret");
    let error = tgi.generate("The", Map::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    let error = Tgi::from_settings(&Settings::new()).unwrap_err();
    assert!(error.message().contains("TGI_BASE_URL"));
}
