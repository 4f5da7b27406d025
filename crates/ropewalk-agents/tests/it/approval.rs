//! Pausing for approval, and going on in another process.

use std::sync::Arc;

use ropewalk_agents::{
    Agent, AgentError, AgentEvent, Approvals, BeforeTool, CallStatus, Gate, Hooks, RunState,
};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{Effect, ErrorKind, Result, ToolCall, ToolResult, async_trait};
use serde_json::json;

use crate::desk::{Log, call, events, noted};

fn agent(model: ScriptedModel, log: &Log) -> (Agent, Arc<ScriptedModel>) {
    let model = Arc::new(model);
    let agent = Agent::new(Arc::clone(&model))
        .name("clerk")
        .tool(noted(log, "look", Effect::Read))
        .tool(noted(log, "pay", Effect::Pay))
        .policy(Gate::new().always_ask(Effect::Write))
        .approvals(true);
    (agent, model)
}

fn three_calls() -> ScriptedModel {
    ScriptedModel::new().tool_calls([
        call("pay", json!({"text": "1"})),
        call("look", json!({"text": "2"})),
        call("pay", json!({"text": "3"})),
    ])
}

#[tokio::test]
async fn a_stored_run_goes_on_and_calls_nothing_twice() {
    let log = Log::default();
    let json = {
        let (agent, model) = agent(three_calls(), &log);
        let (events, error) = events(agent.run_stream("pay them")).await;
        assert!(error.is_none());
        let Some(AgentEvent::NeedsApproval(state)) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(model.requests().len(), 1);
        let waiting: Vec<&str> = state.waiting().map(|c| c.id.as_str()).collect();
        assert_eq!(waiting, ["call_0_0", "call_0_2"]);
        // What needs no approval is done already.
        assert_eq!(*log.lock().unwrap(), ["look(2)"]);
        state.to_json().unwrap()
        // Agent, model and state are gone here.
    };
    let state = RunState::from_json(&json).unwrap();
    let (agent, model) = agent(ScriptedModel::new().reply("paid one"), &log);
    let approvals = Approvals::new()
        .approve("call_0_0")
        .deny("call_0_2", "too dear");
    let result = agent.resume(state, approvals).await.unwrap();
    assert_eq!(result.output, "paid one");
    assert_eq!(*log.lock().unwrap(), ["look(2)", "pay(1)"]);
    assert_eq!((result.turns, result.tool_calls), (2, 2));
    let results: Vec<(String, bool)> = model.requests()[0].messages[2]
        .results()
        .map(|r| (r.text(), r.is_error))
        .collect();
    let expected = [
        ("pay of 1", false),
        ("look of 2", false),
        ("the call was denied: too dear", true),
    ];
    assert_eq!(results, expected.map(|(t, e)| (t.to_owned(), e)));
}

#[tokio::test]
async fn run_returns_the_paused_state_as_a_typed_error() {
    let log = Log::default();
    let (agent, _) = agent(three_calls().reply("ok"), &log);
    let error = agent.run("pay").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent `clerk` waits for approval of `pay` (call_0_0), `pay` (call_0_2)"
    );
    let AgentError::NeedsApproval { state } = error else {
        panic!("{error}");
    };
    // One decision at a time: the other call goes on waiting.
    let first = agent
        .resume(*state, Approvals::new().approve("call_0_2"))
        .await;
    let Err(AgentError::NeedsApproval { state }) = first else {
        panic!("{first:?}");
    };
    assert_eq!(*log.lock().unwrap(), ["look(2)", "pay(3)"]);
    assert_eq!(state.waiting().count(), 1);
    let wrong = agent
        .resume((*state).clone(), Approvals::new().approve("call_0_2"))
        .await;
    assert!(
        matches!(wrong, Err(AgentError::Configuration { .. })),
        "{wrong:?}"
    );
    let result = agent.resume(*state, Approvals::all()).await.unwrap();
    assert_eq!(result.output, "ok");
    assert_eq!(*log.lock().unwrap(), ["look(2)", "pay(3)", "pay(1)"]);
}

#[tokio::test]
async fn without_somebody_to_ask_the_call_is_denied_and_the_model_told() {
    let log = Log::default();
    let (agent, model) = agent(three_calls().reply("I could not pay."), &log);
    let result = agent.approvals(false).run("pay").await.unwrap();
    assert_eq!(result.output, "I could not pay.");
    assert_eq!(*log.lock().unwrap(), ["look(2)"]);
    let results = model.requests()[1].messages[2].clone();
    let told = results.results().next().unwrap().clone();
    assert!(told.is_error);
    assert_eq!(
        told.text(),
        "the call was denied: `pay` needs approval and nobody is there"
    );
}

#[tokio::test]
async fn a_state_is_checked_before_it_is_used() {
    let log = Log::default();
    let (agent, _) = agent(three_calls(), &log);
    let Err(AgentError::NeedsApproval { state }) = agent.run("pay").await else {
        panic!("no pause");
    };
    let json = state.to_json().unwrap();
    assert_eq!(RunState::from_json(&json).unwrap(), *state);
    let later = json.replacen("\"version\":1", "\"version\":2", 1);
    let error = RunState::from_json(&later).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(
        error
            .message()
            .contains("version 2 of the state is not known, only 1"),
        "{error}"
    );
    assert!(RunState::from_json("{}").is_err());
    let stranger = agent
        .name("stranger")
        .resume(*state, Approvals::all())
        .await;
    let Err(AgentError::Configuration { message }) = stranger else {
        panic!("{stranger:?}");
    };
    assert!(message.contains("belongs to agent `clerk`"), "{message}");
}

/// Decides by the name of the tool.
struct Rules;

#[async_trait]
impl Hooks for Rules {
    async fn before_tool(&self, _run: &RunState, call: &ToolCall) -> Result<BeforeTool> {
        Ok(match call.name.as_str() {
            "ask" => BeforeTool::Ask,
            "skip" => BeforeTool::Skip(ToolResult::new("", "skip", "not today")),
            "stop" => BeforeTool::Stop("enough".into()),
            _ => BeforeTool::Proceed,
        })
    }
}

#[tokio::test]
async fn hooks_ask_skip_and_stop() {
    let log = Log::default();
    let tools = ["ask", "skip", "stop", "go"].map(|n| noted(&log, n, Effect::Read));
    let model = Arc::new(
        ScriptedModel::new()
            .tool_calls(["ask", "skip", "go"].map(|n| call(n, json!({}))))
            .tool_call("stop", json!({})),
    );
    let agent = tools
        .into_iter()
        .fold(Agent::new(Arc::clone(&model)), Agent::tool)
        .hooks(Rules)
        .approvals(true);
    let Err(AgentError::NeedsApproval { state }) = agent.run("x").await else {
        panic!("no pause");
    };
    assert_eq!(*log.lock().unwrap(), ["go()"]);
    assert!(matches!(&state.pending[1].status, CallStatus::Done(r) if r.text() == "not today"));
    let stopped = agent.resume(*state, Approvals::all()).await;
    let Err(AgentError::Stopped { reason, state }) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!(reason, "enough");
    assert_eq!(*log.lock().unwrap(), ["go()", "ask()"]);
    assert_eq!(state.messages[2].results().count(), 3);
}

#[tokio::test]
async fn a_paused_run_is_remembered_once_and_whole() {
    use ropewalk_agents::{Buffer, InMemoryHistory, Input, Memory};
    use ropewalk_core::ChatHistory;
    let (log, history) = (Log::default(), Arc::new(InMemoryHistory::new()));
    let with_memory = |model: ScriptedModel| {
        let memory = Memory::new(Arc::clone(&history), Buffer);
        agent(model, &log).0.memory(memory)
    };
    let input = Input::new("pay").conversation("ada");
    let Err(AgentError::NeedsApproval { state }) = with_memory(three_calls()).run(input).await
    else {
        panic!("no pause");
    };
    assert_eq!(history.load("ada").await.unwrap(), []);
    let forgetful = agent(ScriptedModel::new().reply("ok"), &log).0;
    let error = forgetful.resume((*state).clone(), Approvals::all()).await;
    assert!(
        matches!(error, Err(AgentError::Configuration { .. })),
        "{error:?}"
    );
    let remembering = with_memory(ScriptedModel::new().reply("paid"));
    let result = remembering.resume(*state, Approvals::all()).await.unwrap();
    let kept = history.load("ada").await.unwrap();
    assert_eq!(kept, result.messages);
    assert_eq!(kept.len(), 4);
}
