//! The spans of calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use ropewalk_core::{ToolCall, ToolContext, ToolOutput};
use ropewalk_tools::{ToolSet, tool};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<String, String>;

/// Keeps the fields of all spans, and in which span the events were.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<Fields>,
    entered: Vec<u64>,
    events_in: Vec<u64>,
}

struct Into_<'a>(&'a mut Fields);

impl Visit for Into_<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        fields.insert("span".into(), span.metadata().name().into());
        span.record(&mut Into_(&mut fields));
        let spans = &mut self.0.lock().unwrap().spans;
        spans.push(fields);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let spans = &mut self.0.lock().unwrap().spans;
        let at = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Into_(&mut spans[at]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let mut recorded = self.0.lock().unwrap();
        let current = recorded.entered.last().copied().unwrap_or_default();
        recorded.events_in.push(current);
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }
}

/// Looks a secret up.
#[tool(effect = read)]
fn secret(id: u32) -> Result<String, String> {
    tracing::info!("looked up");
    match id {
        1 => Ok("hush".into()),
        _ => Err("no such secret".into()),
    }
}

/// Fails politely.
#[tool]
fn polite() -> ToolOutput {
    ToolOutput::error("sorry")
}

fn spans(capture: bool) -> Recorded {
    let recorder = Recorder::default();
    let set = ToolSet::new()
        .with(secret)
        .and_then(|s| s.with(polite))
        .unwrap();
    let set = set.with_captured_content(capture);
    let call = |id: &str, name: &str, arguments: &str| ToolCall::new(id, name, arguments);
    let calls = [
        call("c1", "secret", r#"{"id": 1}"#),
        call("c2", "secret", r#"{"id": 2}"#),
        call("c3", "secret", "{}"),
        call("c4", "polite", "{}"),
        call("c5", "nobody", "{}"),
    ];
    // With a single subscriber `tracing` asks that of whichever thread comes by first.
    let _second = tracing::Dispatch::new(recorder.clone());
    tracing::subscriber::with_default(recorder.clone(), || {
        block_on(set.call_all(&calls, &ToolContext::default(), 1)).unwrap();
    });
    std::mem::take(&mut *recorder.0.lock().unwrap())
}

#[test]
fn calls_are_spans_with_the_names_of_the_conventions() {
    let Recorded {
        spans,
        entered,
        events_in,
    } = spans(false);
    assert_eq!(spans.len(), 5);
    let expected = [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.call.id", "c1"),
        ("gen_ai.tool.name", "secret"),
        ("gen_ai.tool.type", "function"),
        ("otel.name", "execute_tool secret"),
        ("span", "execute_tool"),
    ];
    let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(spans[0], Fields::from(expected));
    let kinds: Vec<_> = spans
        .iter()
        .map(|s| s.get("error.type").map(String::as_str))
        .collect();
    let failures = [
        "failed",
        "invalid_arguments",
        "error_result",
        "unknown_tool",
    ]
    .map(Some);
    assert_eq!(kinds[0], None);
    assert_eq!(kinds[1..], failures);
    assert!(entered.is_empty());
    assert_eq!(events_in, [1, 2]);
    let all = format!("{spans:?}");
    assert!(!all.contains("hush") && !all.contains("id\\\""), "{all}");
}

#[test]
fn content_is_captured_on_request_only() {
    let spans = spans(true).spans;
    assert_eq!(spans[0]["gen_ai.tool.call.arguments"], r#"{"id": 1}"#);
    assert_eq!(spans[0]["gen_ai.tool.call.result"], "hush");
    assert!(!spans[1].contains_key("gen_ai.tool.call.result"));
}
