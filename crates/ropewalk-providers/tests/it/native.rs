//! What the tests of the native wires share.

use std::path::Path;
use std::sync::Arc;

use ropewalk_core::http::{HeaderMap, HeaderValue, StatusCode};
use ropewalk_core::{
    ChatRequest, ChatResponse, OnUnsupported, Result, StreamAssembler, Timing, ToolSpec,
    async_trait,
};
use ropewalk_http::{Client, ClientOptions, Reply, Request, Transport};
use ropewalk_providers::Wire;
use serde_json::{Value, json};

/// Reads a file of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read_to_string(path.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Opens objects that are sent as text, where the order of keys may differ.
fn opened(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with('{') => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        Value::Array(items) => items.iter().map(opened).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), opened(v))).collect(),
        other => other.clone(),
    }
}

/// Compares encoded requests with a file of `{name: {path, body, warnings}}`; every entry must have
/// its case and every case its entry.
///
/// With `ROPEWALK_BLESS` set the file is written instead; its change is then seen in the review.
pub(crate) fn golden(file: &str, cases: &[(&str, Box<dyn Wire>, ChatRequest)]) {
    let bless = std::env::var_os("ROPEWALK_BLESS").is_some();
    let mut written = Vec::new();
    let expected: Value = match bless {
        true => json!({}),
        false => serde_json::from_str(&fixture(file)).unwrap(),
    };
    let mut expected = expected.as_object().unwrap().clone();
    for (name, wire, request) in cases {
        request.validate().unwrap_or_else(|e| panic!("{name}: {e}"));
        let stream = name.starts_with("stream");
        let call = wire
            .encode("model-x", request, stream)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let warnings: Vec<&str> = call.notes.warnings().iter().map(|w| &*w.option).collect();
        let mut found = json!({"path": call.path, "body": call.body});
        if !warnings.is_empty() {
            found["warnings"] = json!(warnings);
            let strict = request.clone().on_unsupported(OnUnsupported::Error);
            let error = wire.encode("model-x", &strict, stream).unwrap_err();
            assert_eq!(
                error.kind(),
                ropewalk_core::ErrorKind::Unsupported,
                "{name}"
            );
            let silent = request.clone().on_unsupported(OnUnsupported::Ignore);
            let silent = wire.encode("model-x", &silent, stream).unwrap();
            assert_eq!(silent.body, call.body, "{name}");
            assert!(silent.notes.warnings().is_empty(), "{name}");
        }
        if bless {
            written.push(format!("  {}: {found}", json!(name)));
            continue;
        }
        let wanted = expected.remove(*name);
        let wanted = wanted.unwrap_or_else(|| panic!("{file} has no {name:?}; found {found}"));
        assert_eq!(opened(&found), opened(&wanted), "{name}: found {found}");
    }
    if bless {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        std::fs::write(
            root.join(file),
            format!("{{\n{}\n}}\n", written.join(",\n")),
        )
        .unwrap();
    }
    let left: Vec<&String> = expected.keys().collect();
    assert!(left.is_empty(), "{file}: no case for {left:?}");
}

/// Collects a streamed body that arrives cut at these places.
pub(crate) fn collect(wire: &dyn Wire, body: &[u8], cuts: &[usize]) -> Result<ChatResponse> {
    let mut framer = wire.framer(1 << 20);
    let mut decoder = wire.decoder();
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    let mut assembler = assembler(wire);
    let mut deltas = Vec::new();
    let mut frames = Vec::new();
    for cut in cuts.windows(2) {
        framer.push(&body[cut[0]..cut[1]], &mut frames)?;
    }
    framer.finish(&mut frames)?;
    for frame in &frames {
        decoder.frame(frame, &mut deltas)?;
    }
    decoder.finish(&mut deltas)?;
    for delta in deltas {
        assembler.push(delta);
    }
    Ok(timeless(assembler.finish()?))
}

/// Decodes a whole reply.
pub(crate) fn whole(wire: &dyn Wire, body: Value) -> Result<ChatResponse> {
    let mut assembler = assembler(wire);
    for delta in wire.decode(body)? {
        assembler.push(delta);
    }
    Ok(timeless(assembler.finish()?))
}

fn assembler(wire: &dyn Wire) -> StreamAssembler {
    StreamAssembler::new(wire.provider().to_owned(), "asked-for").with_call_prefix("call_1_")
}

fn timeless(response: ChatResponse) -> ChatResponse {
    response.with_timing(Timing::default())
}

/// A tool with one text argument.
pub(crate) fn tool(name: &str) -> ToolSpec {
    let schema = ropewalk_core::schemars::json_schema!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    });
    ToolSpec::new(name, "Says how warm it is", schema)
}

/// A transport that answers every request by a function: `(content type, body)`.
pub(crate) struct Answering<F>(F);

impl<F: Fn(&Request) -> (&'static str, String) + Send + Sync + 'static> Answering<F> {
    pub(crate) fn client(answer: F) -> Client {
        Client::with_transport(Arc::new(Self(answer)), ClientOptions::new().with_seed(1))
    }
}

#[async_trait]
impl<F: Fn(&Request) -> (&'static str, String) + Send + Sync> Transport for Answering<F> {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let (kind, body) = (self.0)(request);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(kind));
        Ok(Reply::new(StatusCode::OK, headers, body))
    }
}

/// Parses the body of a request.
pub(crate) fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// Writes server-sent events.
pub(crate) fn sse<'a>(events: impl IntoIterator<Item = &'a Value>) -> String {
    let event = |e: &Value| format!("data: {e}\n\n");
    events.into_iter().map(event).collect()
}
