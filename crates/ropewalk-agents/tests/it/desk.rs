//! Tools and models for tests of agents.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use ropewalk_agents::{Agent, AgentEvent, AgentStream};
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{Effect, Error, Tool, ToolError, ToolOutput, tool_fn};
use ropewalk_tools::ToolSet;
use serde::Deserialize;
use serde_json::{Value, json};

/// What was called, in order.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct City {
    pub(crate) city: String,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Anything {
    pub(crate) text: Option<String>,
}

/// A tool that notes its calls and answers `NAME of TEXT`.
pub(crate) fn noted(log: &Log, name: &'static str, effect: Effect) -> impl Tool + use<> {
    let log = Arc::clone(log);
    tool_fn(name, name, move |a: Anything| {
        let text = a.text.unwrap_or_default();
        log.lock().unwrap().push(format!("{name}({text})"));
        async move { Ok::<ToolOutput, ToolError>(format!("{name} of {text}").into()) }
    })
    .with_effect(effect)
}

/// Looks prices up; slower for longer names, so that results come out of order.
pub(crate) fn price(log: &Log) -> impl Tool + use<> {
    let log = Arc::clone(log);
    tool_fn("price", "Price of a ticket", move |a: City| {
        let log = Arc::clone(&log);
        async move {
            if a.city == "Atlantis" {
                return Err(ToolError::failed("no such city"));
            }
            if a.city == "Chaos" {
                return Err(ToolError::Fatal("the desk is on fire".into()));
            }
            tokio::time::sleep(Duration::from_millis(10 * (20 - a.city.len() as u64))).await;
            log.lock().unwrap().push(a.city.clone());
            Ok(ToolOutput::text(format!("{}: 499", a.city)).trusted())
        }
    })
    .with_effect(Effect::Read)
}

pub(crate) fn call(name: &str, arguments: Value) -> (String, Value) {
    (name.to_owned(), arguments)
}

pub(crate) fn city(name: &str) -> (String, Value) {
    call("price", json!({ "city": name }))
}

/// An agent that can look prices up.
pub(crate) fn desk(model: &Arc<ScriptedModel>, log: &Log) -> Agent {
    Agent::new(Arc::clone(model))
        .name("desk")
        .instructions("Sell tickets.")
        .tools(ToolSet::new().with(price(log)).unwrap())
}

/// Reads a stream to its end.
pub(crate) async fn events(
    mut stream: AgentStream,
) -> (Vec<AgentEvent>, Option<ropewalk_agents::AgentError>) {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => events.push(event),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an event after the error");
                return (events, Some(error));
            }
        }
    }
    (events, None)
}

/// A core error of a kind that may pass.
pub(crate) fn busy() -> Error {
    Error::new(ropewalk_core::ErrorKind::Overloaded, "busy")
}
