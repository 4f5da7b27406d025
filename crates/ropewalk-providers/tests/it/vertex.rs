//! Vertex AI: where requests go, and their tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::ready;
use ropewalk_core::{
    ChatModel, ChatRequest, Effort, Error, ErrorKind, Message, Part, Reasoning, Result,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{Settings, Vertex};
use serde_json::{Value, json};

use crate::native::sse;

fn gemini_reply() -> Value {
    json!({"candidates": [{"content": {"parts": [
        {"text": "Hm.", "thought": true, "thoughtSignature": "c2ln"}, {"text": "Hello."}]},
        "finishReason": "STOP"}]})
}

fn claude_reply() -> Value {
    json!({"id": "m", "model": "claude-x", "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}})
}

fn asked(effort: Effort) -> ChatRequest {
    ChatRequest::from("Hi").reasoning(effort)
}

#[tokio::test]
async fn both_publishers_have_their_paths_and_bodies() {
    let start = json!({"type": "message_start", "message": {"id": "m", "model": "claude-x"}});
    let stop = json!({"type": "message_stop"});
    let double = Double::new([
        Canned::json(&gemini_reply()),
        Canned::sse(sse([&gemini_reply()])),
        Canned::json(&json!({"totalTokens": 3})),
        Canned::json(&claude_reply()),
        Canned::sse(sse([&start, &stop])),
    ]);
    let calls = Arc::new(AtomicU32::new(0));
    let tokens = {
        let calls = Arc::clone(&calls);
        move || {
            ready(Ok(format!(
                "token-{}",
                calls.fetch_add(1, Ordering::SeqCst)
            )))
        }
    };
    let vertex = Vertex::new("my-project", "us-east5", tokens).unwrap();
    let vertex = vertex.with_client(double.client());
    let gemini = vertex.gemini("gemini-x");
    let request = asked(Effort::Low);
    let reply = gemini.chat(&request).await.unwrap();
    assert_eq!(
        (&*reply.provider, reply.text()),
        ("vertex", "Hello.".to_owned())
    );
    gemini
        .stream(&request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(gemini.count_tokens(&request).await.unwrap(), Some(3));
    let claude = vertex.claude("claude-x@1");
    let reply = claude.chat(&request).await.unwrap();
    claude
        .stream(&request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(claude.count_tokens(&request).await.unwrap(), None);

    let publishers = "https://us-east5-aiplatform.googleapis.com/v1/projects/my-project/locations/us-east5/publishers";
    let requests = double.requests();
    let paths: Vec<&str> = requests
        .iter()
        .map(|r| r.url.strip_prefix(publishers).unwrap())
        .collect();
    let expected = [
        "/google/models/gemini-x:generateContent",
        "/google/models/gemini-x:streamGenerateContent?alt=sse",
        "/google/models/gemini-x:countTokens",
        "/anthropic/models/claude-x@1:rawPredict",
        "/anthropic/models/claude-x@1:streamRawPredict",
    ];
    assert_eq!(paths, expected);
    let keys: Vec<_> = requests
        .iter()
        .map(|r| r.headers["authorization"].to_str().unwrap())
        .collect();
    let tokens = [0, 1, 2, 3, 4].map(|i| format!("Bearer token-{i}"));
    assert_eq!(keys, tokens);
    assert!(
        requests
            .iter()
            .all(|r| !r.headers.contains_key("anthropic-version"))
    );

    let bodies = double.bodies();
    let contents = json!([{"role": "user", "parts": [{"text": "Hi"}]}]);
    assert_eq!(bodies[2]["contents"], contents);
    let message = json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]);
    let sent = json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 4096,
        "messages": message, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}});
    assert_eq!(bodies[3], sent);
    assert_eq!(bodies[4]["stream"], true);

    // Thoughts go back to the publisher they came from only.
    let thought = Reasoning::new("Hm.").with_signature("vertex-anthropic", "sig");
    assert_eq!(reply.message.content[0], Part::Reasoning(thought));
    let history = ChatRequest::from("Hi").message(reply.message).user("And?");
    double.push(Canned::json(&gemini_reply()));
    double.push(Canned::json(&claude_reply()));
    gemini.chat(&history).await.unwrap();
    claude.chat(&history).await.unwrap();
    let bodies = double.bodies();
    assert_eq!(
        bodies[5]["contents"][1]["parts"],
        json!([{"text": "Hello."}])
    );
    assert_eq!(bodies[6]["messages"][1]["content"][0]["signature"], "sig");
}

#[tokio::test]
async fn sampling_options_are_sent_to_claude() {
    let double = Double::new([Canned::json(&claude_reply())]);
    let vertex = Vertex::new("p", "global", || ready(Ok("t".to_owned()))).unwrap();
    let claude = vertex.with_client(double.client()).claude("c");
    let request = ChatRequest::new()
        .message(Message::user("x"))
        .temperature(0.5);
    assert!(claude.chat(&request).await.unwrap().warnings.is_empty());
    assert_eq!(double.bodies()[0]["temperature"], 0.5);
    let url = &double.requests()[0].url;
    assert!(url.starts_with("https://aiplatform.googleapis.com/v1/projects/p/locations/global/"));
}

#[tokio::test]
async fn no_token_is_an_error_before_anything_is_sent() {
    let double = Double::new([]);
    let failing = || {
        ready(Err::<String, _>(Error::new(
            ErrorKind::Connection,
            "no metadata server",
        )))
    };
    let vertex = Vertex::new("p", "global", failing)
        .unwrap()
        .with_client(double.client());
    let error = vertex.gemini("g").chat(&"x".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.is_retryable() && error.message().contains("no metadata server"));
    assert!(double.requests().is_empty());
}

#[test]
fn projects_and_locations_are_checked() {
    let token = || ready(Ok::<_, Error>("t".to_owned()));
    for (project, location) in [("", "global"), ("p/q", "global"), ("p", "us?x")] {
        let error = Vertex::new(project, location, token).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
    let error = Vertex::from_settings(&Settings::new(), token).unwrap_err();
    assert!(error.message().contains("GOOGLE_CLOUD_PROJECT"));
    let settings = Settings::new().with("GOOGLE_CLOUD_PROJECT", "p");
    let vertex: Result<Vertex> = Vertex::from_settings(&settings, token);
    assert_eq!(
        vertex.unwrap().endpoint().base_url(),
        "https://aiplatform.googleapis.com"
    );
}
