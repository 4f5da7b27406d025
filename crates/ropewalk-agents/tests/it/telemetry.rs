//! Spans and their fields.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ropewalk_agents::{Agent, AgentError, Input, Limits, Memory, StepExt, step_fn};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{ChatResponse, Effect, Message, Usage};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::desk::{Log, noted};

type Fields = BTreeMap<String, String>;

/// Keeps the fields of all spans, with the name of each span.
#[derive(Clone, Default)]
struct Spans {
    next: Arc<AtomicU64>,
    kept: Arc<Mutex<BTreeMap<u64, Fields>>>,
}

struct Into<'f>(&'f mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        let mut fields = Fields::new();
        fields.insert("span".into(), attributes.metadata().name().into());
        attributes.record(&mut Into(&mut fields));
        self.kept.lock().unwrap().insert(id, fields);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut kept = self.kept.lock().unwrap();
        values.record(&mut Into(kept.get_mut(&span.into_u64()).unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Spans {
    /// The spans of this name, in the order in which they were opened.
    fn named(&self, name: &str) -> Vec<Fields> {
        let kept = self.kept.lock().unwrap();
        kept.values()
            .filter(|f| f["span"] == name)
            .cloned()
            .collect()
    }
}

/// Runs something and returns its spans.
fn traced<T>(work: impl Future<Output = T>) -> (T, Spans) {
    let spans = Spans::default();
    // With a single subscriber `tracing` asks that of whichever thread comes by first.
    let _second = tracing::Dispatch::new(spans.clone());
    let output =
        tracing::subscriber::with_default(spans.clone(), || futures_executor::block_on(work));
    (output, spans)
}

fn reply(text: &str) -> ChatResponse {
    ChatResponse::new("scripted", "script-2", Message::assistant(text))
        .with_usage(Usage::new(30, 4))
}

fn agent() -> Agent {
    let model = ScriptedModel::new()
        .tool_call("look", json!({"text": "private"}))
        .response(reply("secret answer"));
    let history = ropewalk_agents::InMemoryHistory::new();
    Agent::new(model)
        .name("desk")
        .tool(noted(&Log::default(), "look", Effect::Read))
        .memory(Memory::new(history, ropewalk_agents::Buffer))
}

#[test]
fn a_run_has_spans_with_the_names_of_the_conventions() {
    let input = Input::new("secret question")
        .conversation("c1")
        .run_id("r1");
    let (result, spans) = traced(agent().run(input));
    let result = result.unwrap();
    let run = &spans.named("invoke_agent")[0];
    for (field, value) in [
        ("otel.name", "invoke_agent desk"),
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", "desk"),
        ("gen_ai.provider.name", "scripted"),
        ("gen_ai.request.model", "script"),
        ("gen_ai.conversation.id", "c1"),
        ("run.id", "r1"),
    ] {
        assert_eq!(run[field], value, "{field}");
    }
    let total = result.usage.input_tokens.unwrap().to_string();
    assert_eq!(run["gen_ai.usage.input_tokens"], total);
    assert!(!run.contains_key("error.type"));
    let turns = spans.named("turn");
    assert_eq!(turns.len(), 2);
    assert_eq!(
        turns[0]["gen_ai.response.finish_reasons"],
        "[\"tool_calls\"]"
    );
    assert_eq!(turns[1]["gen_ai.response.model"], "script-2");
    assert_eq!(turns[1]["gen_ai.usage.output_tokens"], "4");
    assert_eq!(spans.named("execute_tool")[0]["gen_ai.tool.name"], "look");
    // What was said is private unless asked for.
    let everything = format!("{:?}", spans.kept.lock().unwrap());
    assert!(
        !everything.contains("secret") && !everything.contains("private"),
        "{everything}"
    );
}

#[test]
fn content_is_there_on_request() {
    let (result, spans) = traced(agent().trace_content(true).run("secret question"));
    result.unwrap();
    let run = &spans.named("invoke_agent")[0];
    assert!(run["gen_ai.input.messages"].contains("secret question"));
    assert!(run["gen_ai.output.messages"].contains("secret answer"));
    let tool = &spans.named("execute_tool")[0];
    assert!(tool["gen_ai.tool.call.arguments"].contains("private"));
}

#[test]
fn a_failed_run_says_what_kind_of_failure() {
    let (result, spans) = traced(agent().limits(Limits::new().with_turns(1)).run("x"));
    assert!(matches!(result, Err(AgentError::Limit { .. })));
    assert_eq!(spans.named("invoke_agent")[0]["error.type"], "turn limit");

    let broken = Agent::new(ScriptedModel::new().error(crate::desk::busy()));
    let (result, spans) = traced(broken.run("x"));
    assert!(result.is_err());
    assert_eq!(spans.named("turn")[0]["error.type"], "overloaded");
}

#[test]
fn named_steps_have_spans() {
    let step = step_fn(|n: u32| async move { Ok(n + 1) }).named("increment");
    let (output, spans) = traced(step.call(1));
    assert_eq!(output.unwrap(), 2);
    assert_eq!(spans.named("step")[0]["otel.name"], "step increment");
}
