//! Code of the application inside the loop.

use std::sync::{Arc, Mutex};

use ropewalk_agents::{Agent, AgentError, Hooks, Limit, Limits, OnError, RunResult, RunState};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    ChatRequest, ChatResponse, Effect, Error, ErrorKind, Part, Result, ToolCall, ToolResult,
    async_trait,
};
use serde_json::json;

use crate::desk::{Log, busy, noted};

/// Notes every hook, changes what it may, and retries when the model is busy.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }
}

#[async_trait]
impl Hooks for Notes {
    async fn before_model(&self, run: &RunState, request: &mut ChatRequest) -> Result<()> {
        self.add(format!("before_model {}", run.turns));
        request.options.seed = Some(7);
        Ok(())
    }

    async fn after_model(&self, _run: &RunState, response: &mut ChatResponse) -> Result<()> {
        self.add(format!("after_model {}", response.finish_reason));
        for part in &mut response.message.content {
            if let Part::Text { text, .. } = part {
                *text = text.replace("secret", "[…]");
            }
        }
        Ok(())
    }

    async fn after_tool(
        &self,
        _run: &RunState,
        call: &ToolCall,
        result: &mut ToolResult,
    ) -> Result<()> {
        self.add(format!("after_tool {}", call.name));
        result.content.push(Part::text("!"));
        Ok(())
    }

    async fn on_error(&self, _run: &RunState, error: &Error) -> OnError {
        self.add(format!("on_error {}", error.kind()));
        match error.is_retryable() {
            true => OnError::Retry,
            false => OnError::Fail,
        }
    }

    async fn on_done(&self, _run: &RunState, result: &RunResult) -> Result<()> {
        self.add(format!("on_done {}", result.output));
        Ok(())
    }
}

#[tokio::test]
async fn hooks_see_and_change_what_passes() {
    let notes = Notes::default();
    let model = Arc::new(
        ScriptedModel::new()
            .error(busy())
            .tool_call("look", json!({"text": "x"}))
            .reply("the secret"),
    );
    let agent = Agent::new(Arc::clone(&model))
        .tool(noted(&Log::default(), "look", Effect::Read))
        .hooks(notes.clone());
    let result = agent.run("x").await.unwrap();
    assert_eq!(result.output, "the […]");
    assert_eq!(result.messages.last().unwrap().text(), "the […]");
    // Every call of the model is a turn, also one that failed.
    assert_eq!(result.turns, 3);
    assert_eq!(model.requests()[2].options.seed, Some(7));
    let told = model.requests()[2].messages[2]
        .results()
        .next()
        .unwrap()
        .text();
    assert_eq!(told, "look of x!");
    assert_eq!(
        *notes.0.lock().unwrap(),
        [
            "before_model 0",
            "on_error overloaded",
            "before_model 1",
            "after_model tool_calls",
            "after_tool look",
            "before_model 2",
            "after_model stop",
            "on_done the […]",
        ]
    );
}

#[tokio::test]
async fn retries_end_with_the_turns() {
    let model = (0..9).fold(ScriptedModel::new(), |m, _| m.error(busy()));
    let model = Arc::new(model);
    let agent = Agent::new(Arc::clone(&model))
        .hooks(Notes::default())
        .limits(Limits::new().with_turns(3));
    let error = agent.run("x").await.unwrap_err();
    assert!(
        matches!(
            error,
            AgentError::Limit {
                limit: Limit::Turns(3),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(model.requests().len(), 3);
}

#[tokio::test]
async fn what_does_not_pass_fails_with_the_state() {
    let model = ScriptedModel::new()
        .tool_call("look", json!({}))
        .error(Error::new(ErrorKind::Authentication, "no key"));
    let agent = Agent::new(model)
        .tool(noted(&Log::default(), "look", Effect::Read))
        .hooks(Notes::default());
    let error = agent.run("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(error.state().unwrap().messages.len(), 3);
    assert_eq!(
        error.to_string(),
        "agent `agent` failed: authentication: no key"
    );
    let source = std::error::Error::source(&error);
    assert!(source.is_none(), "what the line says is not said twice");
}

/// Fails in one place.
struct Refuses;

#[async_trait]
impl Hooks for Refuses {
    async fn after_tool(&self, _: &RunState, _: &ToolCall, _: &mut ToolResult) -> Result<()> {
        Err(Error::new(ErrorKind::Other, "not this"))
    }
}

#[tokio::test]
async fn a_hook_that_fails_does_not_undo_the_call() {
    let log = Log::default();
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("look", json!({}))
            .reply("ok"),
    );
    let plain = Agent::new(Arc::clone(&model)).tool(noted(&log, "look", Effect::Read));
    let error = plain.clone().hooks(Refuses).run("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let state = error.state().unwrap().clone();
    let result = plain
        .resume(state, ropewalk_agents::Approvals::new())
        .await
        .unwrap();
    assert_eq!(result.output, "ok");
    assert_eq!(log.lock().unwrap().len(), 1);
    // Its result is not lost either.
    let told = &model.requests()[1].messages[2];
    assert_eq!(told.results().next().unwrap().text(), "look of ");
}
