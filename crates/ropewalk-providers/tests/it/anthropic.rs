//! Anthropic: requests, replies, the API beside the chat.

use proptest::prelude::*;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    CacheHint, ChatModel, ChatRequest, Effort, ErrorKind, FinishReason, Media, Message, Options,
    Part, Reasoning, ResponseFormat, ToolCall, ToolChoice, ToolResult, Usage,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{Anthropic, AnthropicWire, BatchStatus, Thinking, Wire};
use serde_json::{Value, json};

use crate::native::{Answering, body, collect, fixture, golden, sse, tool, whole};

fn thought(text: &str, signature: &str) -> Part {
    Reasoning::new(text)
        .with_signature("anthropic", signature)
        .into()
}

fn redacted() -> Part {
    let mut reasoning = Reasoning::default();
    reasoning.redacted = Some("cipher".into());
    reasoning.provider = Some("anthropic".into());
    reasoning.into()
}

fn every_option() -> Options {
    Options {
        temperature: Some(0.7),
        top_p: Some(0.9),
        top_k: Some(40),
        max_tokens: Some(100),
        stop: vec!["END".into()],
        seed: Some(1),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.1),
        logprobs: Some(2),
        reasoning: None,
        parallel_tool_calls: Some(false),
        cache: Some(CacheHint::Long),
        cache_key: Some("key".into()),
        user: Some("user-1".into()),
    }
}

fn calls_and_results() -> ChatRequest {
    let call = ToolCall::new("call.1:0", "warm", r#"{"city": "Oslo"}"#);
    let other = ToolCall::new("b", "warm", "");
    let failed = ToolResult::to(&other, "no city").as_error();
    let seen = ToolResult::to(
        &call,
        vec![Part::text("4"), Part::image(vec![1u8], "image/png")],
    );
    ChatRequest::from("How warm?")
        .message(Message::assistant([
            thought("Look it up.", "sig-1"),
            redacted(),
            Reasoning::new("another provider's").into(),
            Part::text("Let me see."),
            call.into(),
            other.into(),
        ]))
        .message(Message::tool(failed))
        .message(Message::tool(seen))
        .user("And?")
        .tool(tool("warm"))
}

fn media() -> ChatRequest {
    ChatRequest::new().user(vec![
        Part::text("see"),
        Part::image(vec![0u8, 1], "image/jpeg"),
        Part::image_url("https://x.test/a.png"),
        Part::image_url("data:image/gif;base64,AAE="),
        Part::Image(Media::file_id("file_1").with_detail("low")),
        Part::Document(Media::bytes(&b"%PDF"[..], "application/pdf").with_name("a.pdf")),
        Part::Document(Media::url("https://x.test/b.pdf")),
        Part::Document(Media::bytes(&b"plain"[..], "text/markdown")),
        Part::Document(Media::bytes(&b"PK"[..], "application/zip")),
        Part::Audio(Media::bytes(&b"RIFF"[..], "audio/wav")),
    ])
}

fn history() -> ChatRequest {
    let server =
        json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}});
    ChatRequest::new()
        .system("First.")
        .user("a")
        .user(Part::cached_text("b", CacheHint::Short))
        .message(Message::assistant(vec![]))
        .message(Message::system(Part::cached_text(
            "Second.",
            CacheHint::Long,
        )))
        .user("c")
        .assistant(" \n")
        .assistant(Part::opaque("anthropic", server))
        .message(Message::assistant(Part::opaque("openai", json!({"x": 1}))))
        .assistant("The answer is ")
}

fn format() -> ResponseFormat {
    ResponseFormat::JsonSchema {
        name: "city".into(),
        schema: tool("x").parameters,
        strict: true,
    }
}

fn marks() -> ChatRequest {
    let marked = |t: &str| Part::cached_text(t, CacheHint::Short);
    let parts: Vec<Part> = ["1", "2", "3", "4", "5"].map(marked).into();
    ChatRequest::new().user(parts)
}

fn thinking(effort: Effort) -> ChatRequest {
    ChatRequest::from("x").reasoning(effort)
}

fn requests() -> Vec<(&'static str, Box<dyn Wire>, ChatRequest)> {
    let old = AnthropicWire::new;
    let new = || old().with_version("2026-10-21");
    let budgets = || old().with_thinking(Thinking::Budget);
    let tools = || ChatRequest::from("x").tool(tool("warm"));
    let one = |mut request: ChatRequest| {
        request.options.parallel_tool_calls = Some(false);
        request
    };
    let sampled = |effort, top_p| {
        let mut request = thinking(effort).temperature(0.5).top_p(top_p);
        request.options.top_k = Some(5);
        request
    };
    let cases: Vec<(&str, AnthropicWire, ChatRequest)> = vec![
        ("plain", old(), "Hi".into()),
        ("stream", old().with_max_tokens(7), "Hi".into()),
        ("options", old(), tools().options(every_option())),
        ("options_2026", new(), tools().options(every_option())),
        (
            "temperature_above_one",
            old(),
            ChatRequest::from("x").temperature(1.5),
        ),
        ("calls_and_results", old(), calls_and_results()),
        ("media", old(), media()),
        ("history", old(), history()),
        (
            "choice_none",
            old(),
            one(tools().tool_choice(ToolChoice::None)),
        ),
        (
            "choice_any",
            old(),
            tools().tool_choice(ToolChoice::Required),
        ),
        (
            "choice_tool",
            old(),
            one(tools().tool_choice(ToolChoice::Tool("warm".into()))),
        ),
        (
            "choice_without_tools",
            old(),
            one(ChatRequest::from("x").tool_choice(ToolChoice::None)),
        ),
        (
            "strict_tool",
            old(),
            ChatRequest::from("x").tool(tool("warm").with_strict(true)),
        ),
        (
            "schema",
            old(),
            ChatRequest::from("x").response_format(format()),
        ),
        (
            "schema_and_effort_2026",
            new(),
            thinking(Effort::Low).response_format(format()),
        ),
        (
            "json",
            old(),
            ChatRequest::from("x").response_format(ResponseFormat::Json),
        ),
        ("cache_marks", old(), marks()),
        ("think_off", old(), thinking(Effort::Off).temperature(0.5)),
        ("think_minimal", old(), thinking(Effort::Minimal)),
        ("think_medium", old(), thinking(Effort::Medium)),
        ("think_high", old(), thinking(Effort::High)),
        ("think_max", old(), thinking(Effort::Max)),
        ("think_sampled", old(), sampled(Effort::Medium, 0.5)),
        ("think_sampled_mildly", old(), sampled(Effort::Medium, 0.95)),
        ("think_budget", old(), thinking(Effort::Budget(2000))),
        ("think_budget_small", old(), thinking(Effort::Budget(10))),
        (
            "think_budget_limited",
            old(),
            thinking(Effort::Budget(5000)).max_tokens(3000),
        ),
        (
            "think_budget_no_room",
            old(),
            thinking(Effort::Budget(5000)).max_tokens(1024),
        ),
        ("think_as_budget", budgets(), thinking(Effort::High)),
        (
            "think_forced_tool",
            old(),
            tools()
                .tool_choice(ToolChoice::Required)
                .reasoning(Effort::High),
        ),
        (
            "extra",
            old(),
            ChatRequest::from("x")
                .extra("anthropic", "service_tier", "auto")
                .extra("openai", "store", true)
                .extra("*", "max_tokens", 5),
        ),
    ];
    let boxed = |(name, wire, request)| (name, Box::new(wire) as Box<dyn Wire>, request);
    cases.into_iter().map(boxed).collect()
}

#[test]
fn requests_are_as_written() {
    golden("anthropic/requests.json", &requests());
}

#[test]
fn versions_and_betas_are_headers() {
    let wire = AnthropicWire::new()
        .with_version("2026-10-21")
        .with_beta("a")
        .with_beta("b");
    let call = wire.encode("m", &"x".into(), false).unwrap();
    let expected = [
        ("anthropic-version", "2026-10-21".to_owned()),
        ("anthropic-beta", "a,b".to_owned()),
    ];
    assert_eq!(call.headers, expected);
}

#[test]
fn nothing_left_is_an_error() {
    let request = ChatRequest::new().user(Part::Audio(Media::bytes(&b"x"[..], "audio/wav")));
    let error = AnthropicWire::new()
        .encode("m", &request, false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

fn whole_reply() -> Value {
    serde_json::from_str(&fixture("anthropic/reply.json")).unwrap()
}

#[test]
fn a_whole_reply() {
    let reply = whole(&AnthropicWire::new(), whole_reply()).unwrap();
    assert_eq!(reply.id.as_deref(), Some("msg_1"));
    assert_eq!(reply.model, "claude-x-1");
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let mut usage = Usage::new(10 + 200 + 3000, 60);
    usage.cache_write_tokens = Some(200);
    usage.cached_input_tokens = Some(3000);
    usage.reasoning_tokens = Some(20);
    assert_eq!(reply.usage, usage);
    let search = json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search",
        "input": {"query": "oslo"}});
    let expected = [
        thought("Hm, both cities.", "sig-abc"),
        redacted(),
        Part::text("Let me look – both."),
        Part::opaque("anthropic", search),
        ToolCall::new("toolu_1", "warm", r#"{"city":"Oslo"}"#).into(),
        ToolCall::new("toolu_2", "now", "{}").into(),
    ];
    assert_eq!(reply.message.content, expected);
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..5000, 0..12)) {
        let wire = AnthropicWire::new();
        let body = fixture("anthropic/stream.sse");
        let streamed = collect(&wire, body.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire, whole_reply()).unwrap());
    }
}

#[test]
fn every_stop_reason() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("refusal", FinishReason::Refusal),
        ("pause_turn", FinishReason::Other("pause_turn".into())),
        ("new_one", FinishReason::Other("new_one".into())),
    ] {
        let body = json!({"content": [], "stop_reason": reason});
        let reply = whole(&AnthropicWire::new(), body).unwrap();
        assert_eq!(reply.finish_reason, expected, "{reason}");
        assert!(reply.message.content.is_empty());
    }
}

#[test]
fn bad_streams_are_typed_errors() {
    let wire = AnthropicWire::new();
    let body = fixture("anthropic/stream.sse");
    let cut = body.rfind("event: message_stop").unwrap();
    let error = collect(&wire, &body.as_bytes()[..cut], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let partial = error.partial().unwrap();
    assert_eq!(partial.message.tool_calls().count(), 2);
    let busy = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let start = json!({"type": "message_start", "message": {"id": "m"}});
    for (events, kind) in [
        (vec![start.clone(), busy], ErrorKind::Overloaded),
        (
            vec![json!({"type": "content_block_start", "content_block": {}})],
            ErrorKind::Decode,
        ),
        (
            vec![start, json!({"type": "new_event"})],
            ErrorKind::Truncated,
        ),
    ] {
        let error = collect(&wire, sse(&events).as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{events:?}");
    }
    let error = whole(&wire, json!({"hello": 1})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

/// Answers as a model would: with a tool when one is forced, JSON when a schema asks for it.
fn answering() -> Anthropic {
    let client = Answering::client(|request| {
        if request.url.ends_with("/count_tokens") {
            return ("application/json", json!({"input_tokens": 5}).to_string());
        }
        let asked = body(request);
        let limit = asked["max_tokens"].as_u64().unwrap();
        let block = if asked["tool_choice"]["type"] == "any" {
            json!({"type": "tool_use", "id": "t", "name": asked["tools"][0]["name"], "input": {"city": "Oslo"}})
        } else if asked["output_config"]["format"].is_object() {
            json!({"type": "text", "text": r#"{"greeting": "Hello."}"#})
        } else {
            json!({"type": "text", "text": "Hello."})
        };
        let usage = json!({"input_tokens": 5, "output_tokens": limit.min(2)});
        if asked["stream"] != true {
            let reply = json!({"id": "m", "model": "claude-x", "content": [block],
                "stop_reason": "end_turn", "usage": usage});
            return ("application/json", reply.to_string());
        }
        let events = [
            json!({"type": "message_start", "message": {"id": "m", "model": "claude-x", "usage": usage}}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
            json!({"type": "ping"}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": limit.min(2)}}),
            json!({"type": "message_stop"}),
        ];
        ("text/event-stream", sse(&events))
    });
    Anthropic::new("sk-ant-test").unwrap().with_client(client)
}

#[tokio::test]
async fn conforms() {
    let model = answering().chat("claude-x");
    let suite = ChatSuite::new().with_calls_tools(true);
    chat(&model, &suite).await.into_result().unwrap();
}

#[tokio::test]
async fn counts_what_is_asked_only() {
    let double = Double::new([Canned::json(&json!({"input_tokens": 42}))]);
    let model = Anthropic::new("k")
        .unwrap()
        .with_client(double.client())
        .chat("m");
    let mut request = calls_and_results().options(every_option());
    request.on_unsupported = ropewalk_core::OnUnsupported::Error;
    assert_eq!(model.count_tokens(&request).await.unwrap(), Some(42));
    let sent = &double.bodies()[0];
    let mut names: Vec<&String> = sent.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["cache_control", "messages", "model", "tool_choice", "tools"]
    );
    assert!(
        double.requests()[0]
            .url
            .ends_with("/v1/messages/count_tokens")
    );
}

#[tokio::test]
async fn lists_models_page_by_page() {
    let model = |id: &str| {
        json!({"type": "model", "id": id, "display_name": "Claude",
            "max_input_tokens": 200_000, "max_tokens": 64_000})
    };
    let double = Double::new([
        Canned::json(&json!({"data": [model("a")], "has_more": true, "last_id": "a"})),
        Canned::json(&json!({"data": [model("b")], "has_more": false, "last_id": "b"})),
    ]);
    let anthropic = Anthropic::new("sk-ant-key")
        .unwrap()
        .with_client(double.client());
    let models = anthropic.models().await.unwrap();
    assert_eq!(models.len(), 2);
    assert_eq!((&*models[1].id, models[1].max_output), ("b", Some(64_000)));
    let requests = double.requests();
    assert_eq!(
        requests[1].url,
        "https://api.anthropic.com/v1/models?limit=1000&after_id=a"
    );
    assert_eq!(requests[0].headers["x-api-key"], "sk-ant-key");
    assert_eq!(requests[0].headers["anthropic-version"], "2023-06-01");
}

#[tokio::test]
async fn errors_carry_the_id_of_the_request() {
    let refused = json!({"type": "error", "request_id": "req_body",
        "error": {"type": "not_found_error", "message": "model: claude-0"}});
    let double = Double::new([
        Canned::error(404, &refused).with_header("request-id", "req_head"),
        Canned::error(404, &refused),
    ]);
    let model = Anthropic::new("k")
        .unwrap()
        .with_client(double.client())
        .chat("claude-0");
    for id in ["req_head", "req_body"] {
        let error = model.chat(&"x".into()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.request_id()),
            (ErrorKind::NotFound, Some(id))
        );
    }
}

#[tokio::test]
async fn batches_are_created_polled_fetched_and_cancelled() {
    let batch = |status: &str, done: u64| {
        json!({"id": "msgbatch_1", "type": "message_batch", "processing_status": status,
            "request_counts": {"processing": 4 - done, "succeeded": done}})
    };
    let lines = fixture("anthropic/results.jsonl");
    let double = Double::new([
        Canned::json(&batch("in_progress", 0)),
        Canned::json(&batch("ended", 4)),
        Canned::new(200, "application/x-jsonl", lines).in_pieces_of(7),
        Canned::json(&batch("canceling", 1)),
        Canned::json(&json!({"data": [batch("ended", 4)]})),
    ]);
    let anthropic = Anthropic::new("k").unwrap().with_client(double.client());
    let rows = (0..2).map(|i| {
        let mut request = ChatRequest::from("x").extra("anthropic", "service_tier", "auto");
        request.options.seed = Some(i);
        (format!("row-{i}"), request)
    });
    let created = anthropic.batches().create("claude-x", rows).await.unwrap();
    assert_eq!(created.warnings.len(), 1);
    assert_eq!(
        (&created.status, created.counts.processing),
        (&BatchStatus::InProgress, 4)
    );
    let sent = &double.bodies()[0]["requests"][1];
    let params = json!({"model": "claude-x", "max_tokens": 4096, "service_tier": "auto",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]});
    assert_eq!(*sent, json!({"custom_id": "row-1", "params": params}));

    // Another program goes on with the id alone.
    let resumed = Anthropic::new("k")
        .unwrap()
        .with_client(double.client())
        .batches();
    assert!(resumed.get(&created.id).await.unwrap().is_ended());
    let results = resumed.results(&created.id).await.unwrap();
    let outcome: Vec<_> = results
        .iter()
        .map(|row| {
            (
                &*row.custom_id,
                row.result.as_ref().map_err(ropewalk_core::Error::kind),
            )
        })
        .collect();
    assert_eq!(outcome[0].0, "row-1");
    assert_eq!(outcome[0].1.unwrap().text(), "Hello.");
    assert_eq!(outcome[0].1.unwrap().usage, Usage::new(9, 3));
    assert_eq!(outcome[1], ("row-0", Err(ErrorKind::InvalidRequest)));
    assert_eq!(outcome[2], ("row-2", Err(ErrorKind::Cancelled)));
    assert_eq!(outcome[3], ("row-3", Err(ErrorKind::Timeout)));
    let cancelled = resumed.cancel(&created.id).await.unwrap();
    assert_eq!(cancelled.status, BatchStatus::Canceling);
    assert_eq!(resumed.list().await.unwrap()[0].counts.succeeded, 4);
    let urls: Vec<String> = double.requests().into_iter().map(|r| r.url).collect();
    assert!(urls[2].ends_with("/v1/messages/batches/msgbatch_1/results"));
    assert!(urls[3].ends_with("/v1/messages/batches/msgbatch_1/cancel"));
}

#[tokio::test]
async fn bad_rows_and_ids_are_named_before_anything_is_sent() {
    let double = Double::new([]);
    let batches = Anthropic::new("k")
        .unwrap()
        .with_client(double.client())
        .batches();
    let row = |id: &str, request: ChatRequest| (id.to_owned(), request);
    let twice = [row("a", "x".into()), row("a", "y".into())];
    let error = batches.create("m", twice).await.unwrap_err();
    assert!(error.message().contains("\"a\" occurs twice"), "{error}");
    let empty = [row("b", ChatRequest::new())];
    let error = batches.create("m", empty).await.unwrap_err();
    assert!(
        error.message().starts_with("row \"b\": messages"),
        "{error}"
    );
    for id in ["", "../models", "a?b"] {
        let error = batches.get(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{id}");
    }
    assert!(double.requests().is_empty());
}
