//! Ollama: requests, replies, the models on the server.

use std::sync::Mutex;

use proptest::prelude::*;
use ropewalk_core::testing::{ChatSuite, chat, embeddings};
use ropewalk_core::{
    CacheHint, ChatRequest, Effort, EmbedRequest, EmbeddingModel, ErrorKind, FinishReason, Media,
    Message, NoProgress, Options, Part, ProgressEvent, Reasoning, ResponseFormat, TokenLogprob,
    ToolCall, ToolChoice, ToolResult, Usage,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{Ollama, OllamaWire, Settings, Wire};
use serde_json::{Value, json};

use crate::native::{Answering, body, collect, fixture, golden, tool, whole};

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

fn history() -> ChatRequest {
    let first = ToolCall::new("a", "warm", r#"{"city": "Oslo"}"#);
    let second = ToolCall::new("b", "warm", r#"{"city": "Rome"}"#);
    let foreign = Reasoning::new("secret").with_signature("anthropic", "sig");
    let mut seen = ToolResult::to(
        &first,
        vec![Part::text("4"), Part::image(vec![1u8], "image/png")],
    );
    seen.name = String::new();
    ChatRequest::new()
        .system("Be brief.")
        .user("How warm?")
        .message(Message::assistant([
            Reasoning::new("Look it up.").into(),
            foreign.into(),
            Part::text("Let me "),
            Part::text("see."),
            first.into(),
            second.clone().into(),
        ]))
        .message(Message::tool(ToolResult::to(&second, "no city").as_error()))
        .message(Message::tool(seen))
        .tool(tool("warm"))
}

fn media() -> ChatRequest {
    ChatRequest::new().user(vec![
        Part::text("see"),
        Part::image(vec![0u8, 1], "image/jpeg"),
        Part::image_url("data:image/gif;base64,AAI="),
        Part::image_url("https://x.test/a.png"),
        Part::Audio(Media::bytes(&b"x"[..], "audio/wav")),
    ])
}

fn requests() -> Vec<(&'static str, Box<dyn Wire>, ChatRequest)> {
    let wire = OllamaWire::new;
    let levels = || wire().with_think_levels(true);
    let tools = || ChatRequest::from("x").tool(tool("warm"));
    let think = |effort| ChatRequest::from("x").reasoning(effort);
    let format = ResponseFormat::JsonSchema {
        name: "city".into(),
        schema: tool("x").parameters,
        strict: true,
    };
    let cases: Vec<(&str, OllamaWire, ChatRequest)> = vec![
        ("plain", wire(), "Hi".into()),
        ("stream", wire(), "Hi".into()),
        ("options", wire(), tools().options(every_option())),
        ("history", wire(), history()),
        ("media", wire(), media()),
        ("choice_none", wire(), tools().tool_choice(ToolChoice::None)),
        (
            "choice_any",
            wire(),
            tools().tool_choice(ToolChoice::Required),
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
        ("think_high", wire(), think(Effort::High)),
        ("think_budget", wire(), think(Effort::Budget(100))),
        ("think_level_low", levels(), think(Effort::Minimal)),
        ("think_level_medium", levels(), think(Effort::Medium)),
        ("think_level_high", levels(), think(Effort::Max)),
        (
            "extra",
            wire(),
            ChatRequest::from("x")
                .temperature(0.5)
                .extra("ollama", "options", json!({"num_ctx": 8192}))
                .extra("ollama", "keep_alive", "10m")
                .extra("openai", "store", true),
        ),
    ];
    let boxed = |(name, wire, request)| (name, Box::new(wire) as Box<dyn Wire>, request);
    cases.into_iter().map(boxed).collect()
}

#[test]
fn requests_are_as_written() {
    golden("ollama/requests.json", &requests());
}

fn whole_reply() -> Value {
    serde_json::from_str(&fixture("ollama/reply.json")).unwrap()
}

#[test]
fn a_whole_reply() {
    let reply = whole(&OllamaWire::new(), whole_reply()).unwrap();
    assert_eq!(reply.model, "llama-x");
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    assert_eq!(reply.usage, Usage::new(26, 19));
    let expected = [
        Part::from(Reasoning::new("Both cities.")),
        Part::text("Let me look – both."),
        ToolCall::new("call_1_2", "warm", r#"{"city":"Oslo"}"#).into(),
        ToolCall::new("id-2", "warm", r#"{"city":"Rome"}"#).into(),
    ];
    assert_eq!(reply.message.content, expected);
    let top = vec![("Let".into(), -0.5), ("I".into(), -1.5)];
    let tokens = [
        TokenLogprob::new("Let", -0.5).with_top(top),
        TokenLogprob::new(" me", -0.25),
    ];
    assert_eq!(reply.logprobs, tokens);
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..5000, 0..12)) {
        let wire = OllamaWire::new();
        let body = fixture("ollama/stream.ndjson");
        let streamed = collect(&wire, body.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire, whole_reply()).unwrap());
    }
}

#[test]
fn every_done_reason() {
    for (reason, expected) in [
        (json!("stop"), FinishReason::Stop),
        (json!(null), FinishReason::Stop),
        (json!("length"), FinishReason::Length),
        (json!("load"), FinishReason::Other("load".into())),
    ] {
        let body = json!({"message": {"content": ""}, "done": true, "done_reason": reason});
        let reply = whole(&OllamaWire::new(), body).unwrap();
        assert_eq!(reply.finish_reason, expected);
        assert_eq!(reply.usage, Usage::default());
    }
}

#[test]
fn bad_streams_are_typed_errors() {
    let wire = OllamaWire::new();
    let line = r#"{"model": "m", "message": {"content": "a"}, "done": false}"#;
    for (body, kind) in [
        (line.to_owned(), ErrorKind::Truncated),
        (
            format!("{line}\n{{\"error\": \"the runner died\"}}\n"),
            ErrorKind::Server,
        ),
        (format!("{line}\n{{\"mess"), ErrorKind::Decode),
        ("{}\n".to_owned(), ErrorKind::Decode),
    ] {
        let error = collect(&wire, body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{body}");
    }
}

fn answering() -> Ollama {
    let client = Answering::client(|request| {
        let asked = body(request);
        if request.url.ends_with("/api/embed") {
            let vector = |text: &Value| {
                let text = text.as_str().unwrap();
                json!([1.0, text.bytes().map(u32::from).sum::<u32>(), text.len()])
            };
            let rows: Vec<Value> = asked["input"]
                .as_array()
                .unwrap()
                .iter()
                .map(vector)
                .collect();
            let reply = json!({"model": "e", "embeddings": rows, "prompt_eval_count": 3});
            return ("application/json", reply.to_string());
        }
        let limit = asked["options"]["num_predict"].as_u64().unwrap_or(9);
        let content = match asked["format"].is_object() {
            true => r#"{"greeting": "Hello."}"#,
            false => "Hello.",
        };
        let reply = json!({"model": "m", "message": {"role": "assistant", "content": content},
            "done": true, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": limit.min(2)});
        match asked["stream"] == true {
            true => ("application/x-ndjson", format!("{reply}\n")),
            false => ("application/json", reply.to_string()),
        }
    });
    Ollama::new().unwrap().with_client(client)
}

#[tokio::test]
async fn conforms() {
    let ollama = answering();
    chat(&ollama.chat("m"), &ChatSuite::new())
        .await
        .into_result()
        .unwrap();
    embeddings(&ollama.embeddings("e"))
        .await
        .into_result()
        .unwrap();
    let reply = ollama
        .embeddings("e")
        .embed(&EmbedRequest::new(["a"]))
        .await
        .unwrap();
    assert_eq!(reply.usage.input_tokens, Some(3));
}

#[tokio::test]
async fn is_healthy_only_with_the_right_words() {
    for (reply, healthy) in [
        (Canned::new(200, "text/plain", "Ollama is running"), true),
        (Canned::new(200, "text/plain", "Ollama is running!"), false),
        (
            Canned::new(200, "text/html", "<html>It works</html>"),
            false,
        ),
        (Canned::new(404, "text/plain", "Ollama is running"), false),
    ] {
        let double = Double::new([reply]);
        let ollama = Ollama::new().unwrap().with_client(double.client());
        assert_eq!(ollama.health().await, healthy);
        assert_eq!(double.requests()[0].url, "http://127.0.0.1:11434/");
    }
}

#[tokio::test(start_paused = true)]
async fn is_not_healthy_when_nobody_answers() {
    let double = Double::new([
        Canned::unreachable(),
        Canned::unreachable(),
        Canned::unreachable(),
    ]);
    let ollama = Ollama::new().unwrap().with_client(double.client());
    assert!(!ollama.health().await);
}

#[tokio::test]
async fn pulls_with_progress() {
    let lines = [
        json!({"status": "pulling manifest"}),
        json!({"status": "pulling abc", "digest": "sha256:abc", "total": 100, "completed": 40}),
        json!({"status": "pulling abc", "digest": "sha256:abc", "total": 100, "completed": 100}),
        json!({"status": "success"}),
    ];
    let written = |lines: &[Value]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let missing = [
        json!({"status": "pulling manifest"}),
        json!({"error": "pull model manifest: file does not exist"}),
    ];
    let double = Double::new([
        Canned::ndjson(written(&lines)).in_pieces_of(5),
        Canned::ndjson(written(&lines[..2])),
        Canned::ndjson(written(&missing)),
    ]);
    let ollama = Ollama::new().unwrap().with_client(double.client());
    let heard = Mutex::new(Vec::new());
    let listener = |event: &ProgressEvent<'_>| {
        let entry = (event.stage.to_string(), event.done, event.total);
        heard.lock().unwrap().push(entry);
    };
    ollama.pull("m:1b", &listener).await.unwrap();
    let heard = heard.into_inner().unwrap();
    assert_eq!(heard.len(), 4);
    assert_eq!(heard[1], ("pulling abc".to_owned(), 40, Some(100)));
    assert_eq!(double.bodies()[0], json!({"model": "m:1b", "stream": true}));
    let error = ollama.pull("m", &NoProgress).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let error = ollama.pull("m", &NoProgress).await.unwrap_err();
    assert!(error.message().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn lists_and_shows_models() {
    let tags = json!({"models": [{"name": "m:1b", "model": "m:1b", "size": 5, "digest": "d",
        "details": {"parameter_size": "1B", "quantization_level": "Q4_K_M"}}]});
    let shown = json!({"capabilities": ["completion", "tools"], "template": "{{ .Prompt }}",
        "model_info": {"general.architecture": "llama", "llama.context_length": 131_072,
            "llama.embedding_length": 2048}});
    let double = Double::new([
        Canned::json(&tags),
        Canned::json(&json!({"models": null})),
        Canned::json(&shown),
        Canned::error(404, &json!({"error": "model 'x' not found"})),
    ]);
    let ollama = Ollama::new().unwrap().with_client(double.client());
    let listed = ollama.tags().await.unwrap();
    assert_eq!((&*listed[0].name, listed[0].size), ("m:1b", Some(5)));
    assert_eq!(listed[0].quantization.as_deref(), Some("Q4_K_M"));
    assert!(ollama.tags().await.unwrap().is_empty());
    let model = ollama.show("m:1b").await.unwrap();
    assert_eq!(
        (model.context_window, model.width),
        (Some(131_072), Some(2048))
    );
    let capabilities = model.capabilities();
    assert!(capabilities.tools && !capabilities.vision && !capabilities.reasoning);
    let error = ollama.show("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn settings_say_where_and_who() {
    let double = Double::new([Canned::json(&json!({"models": []}))]);
    let settings = Settings::new()
        .with("OLLAMA_HOST", "gpu-box")
        .with("OLLAMA_API_KEY", "secret-key");
    let ollama = Ollama::from_settings(&settings)
        .unwrap()
        .with_client(double.client());
    ollama.tags().await.unwrap();
    let request = &double.requests()[0];
    assert_eq!(request.url, "http://gpu-box:11434/api/tags");
    assert_eq!(request.headers["authorization"], "Bearer secret-key");
}
