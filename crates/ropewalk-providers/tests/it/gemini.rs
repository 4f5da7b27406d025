//! Gemini: requests, replies, embeddings, the list of models.

use proptest::prelude::*;
use ropewalk_core::testing::{ChatSuite, chat, embeddings};
use ropewalk_core::{
    CacheHint, ChatModel, ChatRequest, Effort, EmbedKind, EmbedRequest, EmbeddingModel, ErrorKind,
    FinishReason, Media, Message, Options, Part, Reasoning, ResponseFormat, TokenLogprob, ToolCall,
    ToolChoice, ToolResult, Usage,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{Gemini, GeminiThinking, GeminiWire, Wire};
use serde_json::{Value, json};

use crate::native::{Answering, body, collect, fixture, golden, sse, tool, whole};

fn signed(text: &str, signature: &str) -> Part {
    Reasoning::new(text)
        .with_signature("gemini", signature)
        .into()
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
        presence_penalty: Some(-0.1),
        logprobs: Some(2),
        reasoning: Some(Effort::Low),
        parallel_tool_calls: Some(false),
        cache: Some(CacheHint::Long),
        cache_key: Some("key".into()),
        user: Some("user-1".into()),
    }
}

fn calls_and_results() -> ChatRequest {
    let mut first = ToolCall::new("call_1_0", "warm", r#"{"city": "Oslo"}"#);
    first.signature = Some("c2lnQQ==".into());
    let second = ToolCall::new("call_1_1", "warm", r#"{"city": "Rome"}"#);
    let given = ToolCall::new("g7", "warm", "");
    let failed = ToolResult::to(&second, "no city").as_error();
    let mut seen = ToolResult::to(
        &first,
        vec![Part::text("4"), Part::image(vec![1u8], "image/png")],
    );
    seen.name = String::new();
    ChatRequest::from("How warm?")
        .message(Message::assistant([
            signed("Look it up.", "c2lnQg=="),
            Reasoning::new("another provider's").into(),
            Part::text("Let me see."),
            signed("", "c2lnQw=="),
            first.into(),
            second.into(),
            given.clone().into(),
        ]))
        .message(Message::tool(ToolResult::to(&given, "7")))
        .message(Message::tool(failed))
        .message(Message::tool(seen))
        .user("And?")
        .tool(tool("warm"))
}

fn media() -> ChatRequest {
    let detailed = |d: &str| Part::Image(Media::url("gs://b/a.png").with_detail(d));
    ChatRequest::new().user(vec![
        Part::text("see"),
        Part::image(vec![0u8, 1], "image/jpeg"),
        Part::image_url("data:image/gif;base64,AAE="),
        Part::Video(Media::url("https://x.test/v").with_mime("video/webm")),
        Part::Audio(Media::bytes(&b"x"[..], "audio/mp3")),
        Part::Document(Media::file_id("files/abc").with_mime("application/pdf")),
        detailed("low"),
        detailed("auto"),
    ])
}

fn history() -> ChatRequest {
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}});
    ChatRequest::new()
        .system("First.")
        .user("a")
        .user(Part::cached_text("b", CacheHint::Short))
        .message(Message::assistant(vec![]))
        .message(Message::system("Second."))
        .user("c")
        .message(Message::assistant([
            Part::opaque("gemini", code),
            Part::opaque("openai", json!({"x": 1})),
            Part::image(vec![1u8], "image/png"),
            signed("", "c2lnRA=="),
        ]))
        .user("d")
}

fn requests() -> Vec<(&'static str, Box<dyn Wire>, ChatRequest)> {
    let wire = GeminiWire::new;
    let tools = || ChatRequest::from("x").tool(tool("warm"));
    let think = |effort| ChatRequest::from("x").reasoning(effort);
    let format = ResponseFormat::JsonSchema {
        name: "city".into(),
        schema: tool("x").parameters,
        strict: true,
    };
    let budgets = wire().with_thinking(GeminiThinking::Budget);
    let cases: Vec<(&str, GeminiWire, ChatRequest)> = vec![
        ("plain", wire(), "Hi".into()),
        ("stream", wire(), "Hi".into()),
        ("options", wire(), tools().options(every_option())),
        ("logprobs_alone", wire(), ChatRequest::from("x").logprobs(0)),
        (
            "seed_too_large",
            wire(),
            ChatRequest::from("x").seed(1 << 40),
        ),
        ("calls_and_results", wire(), calls_and_results()),
        ("media", wire(), media()),
        ("history", wire(), history()),
        ("choice_none", wire(), tools().tool_choice(ToolChoice::None)),
        (
            "choice_any",
            wire(),
            tools().tool_choice(ToolChoice::Required),
        ),
        (
            "choice_tool",
            wire(),
            tools().tool_choice(ToolChoice::Tool("warm".into())),
        ),
        (
            "strict_tool",
            wire(),
            ChatRequest::from("x").tool(tool("warm").with_strict(true)),
        ),
        (
            "schema",
            wire(),
            ChatRequest::from("x").response_format(format),
        ),
        (
            "json",
            wire(),
            ChatRequest::from("x").response_format(ResponseFormat::Json),
        ),
        ("think_off", wire(), think(Effort::Off)),
        ("think_minimal", wire(), think(Effort::Minimal)),
        ("think_medium", wire(), think(Effort::Medium)),
        ("think_max", wire(), think(Effort::Max)),
        ("think_budget", wire(), think(Effort::Budget(300))),
        ("think_as_budget", budgets, think(Effort::High)),
        (
            "extra",
            wire(),
            ChatRequest::from("x")
                .temperature(0.5)
                .extra("gemini", "generationConfig", json!({"candidateCount": 1}))
                .extra("gemini", "cachedContent", "cachedContents/1")
                .extra("openai", "store", true),
        ),
    ];
    let boxed = |(name, wire, request)| (name, Box::new(wire) as Box<dyn Wire>, request);
    cases.into_iter().map(boxed).collect()
}

#[test]
fn requests_are_as_written() {
    golden("gemini/requests.json", &requests());
}

#[test]
fn models_may_name_their_collection() {
    let call = GeminiWire::new().encode("tunedModels/t", &"x".into(), false);
    assert_eq!(call.unwrap().path, "/v1beta/tunedModels/t:generateContent");
}

fn whole_reply() -> Value {
    serde_json::from_str(&fixture("gemini/reply.json")).unwrap()
}

#[test]
fn a_whole_reply() {
    let reply = whole(&GeminiWire::new(), whole_reply()).unwrap();
    assert_eq!(reply.id.as_deref(), Some("resp-1"));
    assert_eq!(reply.model, "gemini-x-001");
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let mut usage = Usage::new(110, 50);
    usage.cached_input_tokens = Some(64);
    usage.reasoning_tokens = Some(30);
    usage.input_audio_tokens = Some(25);
    assert_eq!(reply.usage, usage);
    let code = json!({"executableCode": {"language": "PYTHON", "code": "print(4)"}});
    let mut first = ToolCall::new("call_1_5", "warm", r#"{"city":"Oslo"}"#);
    first.signature = Some("c2ln".into());
    let expected = [
        signed("Both cities.", "dGhv"),
        Part::text("Let me look – both."),
        signed("", "dGV4dA=="),
        Part::opaque("gemini", code),
        Part::image(vec![0x89u8, b'P'], "image/png"),
        first.into(),
        ToolCall::new("g-2", "now", "{}").into(),
    ];
    assert_eq!(reply.message.content, expected);
    let tokens = [
        TokenLogprob::new("Let", -0.5).with_top(vec![("Let".into(), -0.5), ("I".into(), -1.5)]),
        TokenLogprob::new(" me", -0.25).with_top(vec![(" me".into(), -0.25)]),
    ];
    assert_eq!(reply.logprobs, tokens);
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..5000, 0..12)) {
        let wire = GeminiWire::new();
        let body = fixture("gemini/stream.sse");
        let streamed = collect(&wire, body.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire, whole_reply()).unwrap());
    }
}

#[test]
fn every_finish_reason() {
    for (reason, expected) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
        ("SPII", FinishReason::ContentFilter),
        ("BLOCKLIST", FinishReason::ContentFilter),
        ("IMAGE_SAFETY", FinishReason::ContentFilter),
        (
            "MALFORMED_FUNCTION_CALL",
            FinishReason::Other("malformed_function_call".into()),
        ),
        ("OTHER", FinishReason::Other("other".into())),
    ] {
        let body = json!({"candidates": [{"finishReason": reason}]});
        let reply = whole(&GeminiWire::new(), body).unwrap();
        assert_eq!(reply.finish_reason, expected, "{reason}");
    }
}

#[test]
fn bad_replies_are_typed_errors() {
    let wire = GeminiWire::new();
    let text = |t: &str| json!({"candidates": [{"content": {"parts": [{"text": t}]}}]});
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 3}});
    let quota =
        json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}});
    for (events, kind) in [
        (vec![text("a"), text("b")], ErrorKind::Truncated),
        (vec![blocked.clone()], ErrorKind::ContentFiltered),
        (vec![text("a"), quota.clone()], ErrorKind::RateLimited),
        (vec![json!([quota])], ErrorKind::RateLimited),
    ] {
        let error = collect(&wire, sse(&events).as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{events:?}");
    }
    let error = whole(&wire, blocked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContentFiltered);
    assert!(error.message().contains("SAFETY"), "{error}");
    let error = whole(&wire, json!({"hello": 1})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[test]
fn a_reply_goes_back_as_it_came() {
    let reply = whole(&GeminiWire::new(), whole_reply()).unwrap();
    let results = reply.message.tool_calls().map(|c| ToolResult::to(c, "ok"));
    let results = Message::tool_results(results);
    let request = ChatRequest::from("x")
        .message(reply.message.clone())
        .message(results);
    let body = GeminiWire::new().encode("m", &request, false).unwrap().body;
    let came = whole_reply()["candidates"][0]["content"]["parts"].take();
    let mut sent = body["contents"][1]["parts"].clone();
    // The text's signature stands on a part of its own.
    let text = sent.as_array_mut().unwrap().remove(2);
    assert_eq!(text, json!({"text": "", "thoughtSignature": "dGV4dA=="}));
    let mut came = came.clone();
    came[1].as_object_mut().unwrap().remove("thoughtSignature");
    assert_eq!(sent, came);
}

fn answering() -> Gemini {
    let client = Answering::client(|request| {
        if request.url.ends_with(":countTokens") {
            return ("application/json", json!({"totalTokens": 5}).to_string());
        }
        let asked = body(request);
        if request.url.ends_with(":batchEmbedContents") {
            let vector = |r: &Value| {
                let text = r["content"]["parts"][0]["text"].as_str().unwrap();
                let bytes: u32 = text.bytes().map(u32::from).sum();
                json!({"values": [1.0, bytes, text.len()]})
            };
            let rows: Vec<Value> = asked["requests"]
                .as_array()
                .unwrap()
                .iter()
                .map(vector)
                .collect();
            return ("application/json", json!({"embeddings": rows}).to_string());
        }
        let config = &asked["generationConfig"];
        let limit = config["maxOutputTokens"].as_u64().unwrap_or(9);
        let part = if asked["toolConfig"]["functionCallingConfig"]["mode"] == "ANY" {
            let name = &asked["tools"][0]["functionDeclarations"][0]["name"];
            json!({"functionCall": {"name": name, "args": {"city": "Oslo"}}})
        } else if config["responseJsonSchema"].is_object() {
            json!({"text": r#"{"greeting": "Hello."}"#})
        } else {
            json!({"text": "Hello."})
        };
        let reply = json!({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": limit.min(2)}});
        match request.url.ends_with("?alt=sse") {
            true => ("text/event-stream", sse([&reply])),
            false => ("application/json", reply.to_string()),
        }
    });
    Gemini::new("AIza-test").unwrap().with_client(client)
}

#[tokio::test]
async fn conforms() {
    let gemini = answering();
    let suite = ChatSuite::new().with_calls_tools(true);
    chat(&gemini.chat("gemini-x"), &suite)
        .await
        .into_result()
        .unwrap();
    let model = gemini.embeddings("embed-x").with_width(3);
    embeddings(&model).await.into_result().unwrap();
}

#[tokio::test]
async fn counts_the_whole_request() {
    let double = Double::new([Canned::json(&json!({"totalTokens": 42}))]);
    let model = Gemini::new("k")
        .unwrap()
        .with_client(double.client())
        .chat("m");
    let request = calls_and_results().system("s");
    assert_eq!(model.count_tokens(&request).await.unwrap(), Some(42));
    let sent = &double.bodies()[0]["generateContentRequest"];
    let mut names: Vec<&String> = sent.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["contents", "model", "systemInstruction", "tools"]);
    assert!(
        double.requests()[0]
            .url
            .ends_with("/v1beta/models/m:countTokens")
    );
}

#[tokio::test]
async fn embeds_in_order_for_a_purpose() {
    let rows = json!({"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]});
    let double = Double::new([
        Canned::json(&rows),
        Canned::json(&json!({"embeddings": [{"values": [1, 2]}]})),
        Canned::json(&rows),
    ]);
    let model = Gemini::new("k")
        .unwrap()
        .with_client(double.client())
        .embeddings("e");
    let request = EmbedRequest::new(["a", "b"])
        .with_kind(EmbedKind::Query)
        .with_dimensions(2)
        .with_extra("gemini", "title", "t");
    let reply = model.embed(&request).await.unwrap();
    assert_eq!(reply.vectors, [[1.0, 2.0], [3.0, 4.0]]);
    let one = |text: &str| {
        json!({"model": "models/e", "content": {"parts": [{"text": text}]},
            "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2, "title": "t"})
    };
    assert_eq!(
        double.bodies()[0],
        json!({"requests": [one("a"), one("b")]})
    );
    let error = model.embed(&request).await.unwrap_err();
    assert!(
        error.message().contains("1 vectors came back for 2 texts"),
        "{error}"
    );
    let error = model
        .embed(&request.clone().with_dimensions(3))
        .await
        .unwrap_err();
    assert!(error.message().contains("2 values, not 3"), "{error}");
    let error = model.embed(&EmbedRequest::new([""])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn lists_models_page_by_page() {
    let model = |id: &str| json!({"name": format!("models/{id}"), "inputTokenLimit": 1_048_576});
    let double = Double::new([
        Canned::json(&json!({"models": [model("a")], "nextPageToken": "p 2"})),
        Canned::json(&json!({"models": [model("b")]})),
    ]);
    let models = Gemini::new("AIza-key")
        .unwrap()
        .with_client(double.client());
    let models = models.models().await.unwrap();
    assert_eq!(
        (&*models[1].id, models[1].context_window),
        ("b", Some(1_048_576))
    );
    let requests = double.requests();
    assert!(
        requests[1]
            .url
            .ends_with("/v1beta/models?pageSize=1000&pageToken=p+2")
    );
    assert_eq!(requests[0].headers["x-goog-api-key"], "AIza-key");
    assert!(!requests[0].url.contains("AIza"));
}
