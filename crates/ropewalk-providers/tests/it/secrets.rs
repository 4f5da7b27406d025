//! Keys are in no output: not in errors, their sources, `Debug` of anything, or traces.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use ropewalk_core::{ChatModel, ChatModelExt, ChatRequest, Error};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_http::{Client, ClientOptions, RetryPolicy};
use ropewalk_providers::{
    Anthropic, ApiKey, Gemini, Ollama, OpenAi, Registry, RemoteChat, Settings, presets,
};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Of no form that a redactor would know as a key.
const KEY: &str = "zq8w-opensesame-v71k";

/// Keeps everything that is recorded as text.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<String>>);

impl Visit for Tape {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Tape {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn everything_of(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?} {:?}", error.http());
    if let Some(http) = error.http() {
        let headers: Vec<_> = http
            .headers
            .values()
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        write!(text, "{headers:?} {}", String::from_utf8_lossy(&http.body)).unwrap();
    }
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = source {
        write!(text, "{inner} {inner:?}").unwrap();
        source = inner.source();
    }
    text
}

/// What servers that echo the key might send.
fn echoes() -> Vec<Canned> {
    let object = json!({"error": {"message": format!("no such key: {KEY}"), "code": KEY, "type": KEY, "param": KEY}});
    let in_band = format!(
        "data: {}\n\n",
        json!({"error": {"message": KEY, "type": KEY}})
    );
    let in_line = format!("{}\n", json!({"error": KEY}));
    vec![
        Canned::error(401, &object)
            .with_header("x-echo", KEY)
            .with_header("x-request-id", KEY),
        Canned::error(500, &object),
        Canned::new(403, "text/html", format!("<title>{KEY}</title>")),
        Canned::new(400, "text/plain", KEY),
        Canned::new(200, "application/json", format!("{{\"broken\": {KEY}")),
        Canned::new(200, "text/html", format!("<html>{KEY}")),
        Canned::sse(in_band),
        Canned::sse(format!("data: {KEY}\n\n")),
        Canned::ndjson(in_line),
        Canned::ndjson(format!("{KEY}\n")),
    ]
}

fn client(double: &Arc<Double>) -> Client {
    let retry = RetryPolicy::new().with_max_retries(1);
    double.client_with(ClientOptions::new().with_retry(retry).with_seed(1))
}

fn models(client: &Client) -> Vec<RemoteChat> {
    let key = || Some(ApiKey::new(KEY));
    let compatible = |preset| OpenAi::compatible(preset, "https://api.test/v1", key()).unwrap();
    vec![
        OpenAi::new(KEY)
            .unwrap()
            .with_client(client.clone())
            .chat("m"),
        OpenAi::new(KEY)
            .unwrap()
            .with_client(client.clone())
            .responses("m"),
        compatible(presets::AZURE)
            .with_client(client.clone())
            .chat("m"),
        Anthropic::new(KEY)
            .unwrap()
            .with_client(client.clone())
            .chat("m"),
        Gemini::new(KEY)
            .unwrap()
            .with_client(client.clone())
            .chat("m"),
    ]
}

#[tokio::test(start_paused = true)]
async fn keys_are_in_no_error_and_no_trace() {
    let tape = Tape::default();
    // With a single subscriber `tracing` asks that of whichever thread comes by first.
    let _second = tracing::Dispatch::new(tape.clone());
    let guard = tracing::subscriber::set_default(tape.clone());
    let mut failures = 0;
    for canned in echoes() {
        for n in 0..models(&Double::new([]).client()).len() {
            let double = Double::new([
                canned.clone(),
                canned.clone(),
                canned.clone(),
                canned.clone(),
            ]);
            let model = models(&client(&double)).remove(n);
            let mut errors = Vec::new();
            errors.extend(model.chat(&ChatRequest::from("hi")).await.err());
            match model.ask_stream("hi").await {
                Err(error) => errors.push(error),
                Ok(stream) => {
                    let events: Vec<_> = StreamExt::collect(stream).await;
                    errors.extend(events.into_iter().filter_map(Result::err));
                }
            }
            let sent = double.requests();
            assert!(
                sent.iter().all(|r| !r.secrets().is_empty()),
                "the key was sent as a secret"
            );
            for error in &errors {
                let text = everything_of(error);
                assert!(!text.contains(KEY), "{}: {text}", model.provider());
            }
            failures += errors.len();
            assert!(!format!("{model:?} {model:#?} {sent:?} {sent:#?}").contains(KEY));
        }
    }
    drop(guard);
    assert!(failures >= 80, "{failures} failures were looked at");
    let tape = tape.0.lock().unwrap();
    assert!(
        tape.contains("gen_ai.provider.name") && tape.contains("retrying"),
        "{tape}"
    );
    assert!(!tape.contains(KEY), "{tape}");
}

#[test]
fn keys_are_in_no_debug_output() {
    let settings = Settings::new()
        .with("OPENAI_API_KEY", KEY)
        .with("ANTHROPIC_API_KEY", KEY);
    let registry = Registry::new(settings.clone()).unwrap();
    let shown = [
        format!("{:?}", ApiKey::new(KEY)),
        format!("{settings:?} {registry:?} {:?}", registry.diagnose()),
        format!("{:?}", OpenAi::new(KEY).unwrap()),
        format!("{:?}", Anthropic::new(KEY).unwrap()),
        format!("{:?}", Gemini::new(KEY).unwrap()),
        format!("{:?}", OpenAi::new(KEY).unwrap().endpoint()),
        format!("{:?}", Ollama::new().unwrap()),
    ];
    for text in shown {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn bad_keys_are_named_before_anything_is_sent() {
    for (key, words) in [
        ("", "no key"),
        ("sk-abc\n", "white space"),
        ("sk-ä", "cannot be sent"),
    ] {
        let double = Double::new([]);
        let model = OpenAi::new(key)
            .unwrap()
            .with_client(double.client())
            .chat("m");
        let error = model.ask("hi").await.unwrap_err();
        assert_eq!(error.kind(), ropewalk_core::ErrorKind::Authentication);
        assert!(error.to_string().contains(words), "{error}");
        assert!(double.requests().is_empty());
    }
}

#[test]
fn passwords_in_addresses_are_in_no_debug_output() {
    let url = "https://user:hunter2@gateway.test/v1";
    let server = OpenAi::compatible(presets::VLLM, url, None).unwrap();
    let shown = format!("{server:?} {:?} {:?}", server.chat("m"), server.endpoint());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("gateway.test"), "{shown}");
}

/// A refused signature is answered with the text that was signed, which holds the session's token.
#[cfg(feature = "bedrock")]
#[tokio::test]
async fn keys_of_aws_are_in_no_error() {
    use ropewalk_providers::{AwsCredentials, Bedrock};

    let (secret, token) = ("zq8w-secret-of-aws", "zq8w-token-of-session");
    let message =
        format!("The Canonical String should have been x-amz-security-token:{token} {secret}");
    let double = Double::new([Canned::error(403, &json!({ "message": message }))]);
    let credentials = AwsCredentials::new("AKIAX", secret).with_session_token(token);
    let bedrock = Bedrock::signed("us-east-1", credentials).unwrap();
    let bedrock = bedrock.with_transport(double, ClientOptions::new());
    let error = bedrock.chat("m").ask("hi").await.unwrap_err();
    let text = everything_of(&error);
    assert!(text.contains("Canonical String"), "{text}");
    assert!(!text.contains("zq8w"), "{text}");
}
