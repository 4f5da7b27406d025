//! Limits are exact.

use std::sync::Arc;
use std::time::Duration;

use ropewalk_agents::{Agent, AgentError, AgentEvent, Approvals, Gate, Limit, Limits};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    ChatRequest, ChatResponse, Effect, ErrorKind, Message, Part, Pricing, ToolCall, ToolError,
    Usage, WireDelta, tool_fn,
};
use serde_json::json;

use crate::desk::{Anything, Log, call, events, noted};

/// Calls a tool again and again, each time with other arguments.
fn endless(tokens: Option<u64>) -> Arc<ScriptedModel> {
    Arc::new(ScriptedModel::respond_with(move |request: &ChatRequest| {
        let n = request.messages.len();
        let arguments = json!({ "text": n.to_string() }).to_string();
        let call = Part::ToolCall(ToolCall::new(format!("c{n}"), "note", arguments));
        let reply = ChatResponse::new("scripted", "script", Message::assistant(call));
        Ok(match tokens {
            Some(tokens) => reply.with_usage(Usage::new(tokens - 1, 1)),
            None => reply,
        })
    }))
}

fn agent(model: &Arc<ScriptedModel>, log: &Log, limits: Limits) -> Agent {
    Agent::new(Arc::clone(model))
        .tool(noted(log, "note", Effect::Read))
        .limits(limits)
}

fn limit_of(error: &AgentError) -> Limit {
    match error {
        AgentError::Limit { limit, .. } => *limit,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn turns_are_calls_of_the_model() {
    for turns in [0, 1, 3, 10] {
        let (model, log) = (endless(None), Log::default());
        let agent = agent(&model, &log, Limits::new().with_turns(turns));
        let error = agent.run("x").await.unwrap_err();
        assert_eq!(limit_of(&error), Limit::Turns(turns));
        assert_eq!(model.requests().len(), turns as usize);
        // Calls whose results nobody would read are not made.
        assert_eq!(log.lock().unwrap().len(), turns.saturating_sub(1) as usize);
        assert_eq!(error.state().unwrap().turns, turns);
    }
    let model = endless(None);
    let error = Agent::new(Arc::clone(&model)).run("x").await.unwrap_err();
    assert_eq!(limit_of(&error), Limit::Turns(10));
    let core: ropewalk_core::Error = error.into();
    assert_eq!(core.kind(), ErrorKind::MaxTurns);
    assert!(core.to_string().contains("10 calls of the model"), "{core}");
}

#[tokio::test]
async fn an_answer_in_the_last_turn_is_an_answer() {
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("note", json!({}))
            .reply("done"),
    );
    let log = Log::default();
    let result = agent(&model, &log, Limits::new().with_turns(2))
        .run("x")
        .await;
    assert_eq!(result.unwrap().turns, 2);
}

#[tokio::test]
async fn tool_calls_beyond_the_limit_are_not_begun() {
    let log = Log::default();
    let two = || {
        [
            call("note", json!({"text": "a"})),
            call("note", json!({"text": "b"})),
        ]
    };
    let model = Arc::new(ScriptedModel::new().tool_calls(two()).tool_calls(two()));
    let error = agent(&model, &log, Limits::new().with_tool_calls(3))
        .run("x")
        .await
        .unwrap_err();
    assert_eq!(limit_of(&error), Limit::ToolCalls(3));
    assert_eq!(log.lock().unwrap().len(), 2);
    let state = error.state().unwrap();
    assert_eq!((state.tool_calls, state.pending.len()), (2, 2));
}

#[tokio::test]
async fn no_call_begins_after_so_many_tokens() {
    for (limit, calls) in [(100, 1), (101, 2), (500, 5)] {
        let (model, log) = (endless(Some(100)), Log::default());
        let agent = agent(&model, &log, Limits::new().with_tokens(limit));
        let error = agent.run("x").await.unwrap_err();
        assert_eq!(limit_of(&error), Limit::Tokens(limit));
        assert_eq!(model.requests().len(), calls, "{limit}");
        assert_eq!(error.state().unwrap().spent.tokens, 100 * calls as u64);
    }
}

struct Dollar;

impl Pricing for Dollar {
    fn cost(&self, provider: &str, _: &str, _: &Usage) -> Option<f64> {
        (provider == "scripted").then_some(1.0)
    }
}

#[tokio::test]
async fn no_call_begins_after_so_many_dollars() {
    let (model, log) = (endless(None), Log::default());
    let limits = Limits::new().with_cost(2.5);
    let error = agent(&model, &log, limits)
        .pricing(Dollar)
        .run("x")
        .await
        .unwrap_err();
    assert_eq!(limit_of(&error), Limit::Cost(2.5));
    assert_eq!(model.requests().len(), 3);
    assert_eq!(error.state().unwrap().spent.cost, 3.0);
}

#[tokio::test]
async fn what_is_not_told_is_not_taken_for_nothing() {
    // Deltas without usage: the scripted model estimates it for whole replies.
    let silent = || {
        let call = WireDelta::ToolCall {
            slot: 0,
            id: Some("c".into()),
            name: Some("note".into()),
            arguments: "{}".into(),
        };
        let model = ScriptedModel::new().with_name("other", "script");
        model.deltas([call, WireDelta::End])
    };
    for (limits, unknown) in [
        (Limits::new().with_tokens(1000), "tokens"),
        (Limits::new().with_cost(1000.0), "cost"),
    ] {
        let model = Arc::new(silent());
        let log = Log::default();
        let error = agent(&model, &log, limits)
            .pricing(Dollar)
            .run("x")
            .await
            .unwrap_err();
        assert!(
            matches!(error, AgentError::Unmetered { what, .. } if what == unknown),
            "{error}"
        );
        assert!(log.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn time_ends_a_run_in_the_middle_of_a_call() {
    let slow = tool_fn("slow", "slow", |_: Anything| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, ToolError>("late")
    });
    let model = ScriptedModel::new()
        .tool_calls([call("slow", json!({})), call("nothing", json!({}))])
        .reply("never");
    let agent = Agent::new(model)
        .tool(slow)
        .limits(Limits::new().with_time(Duration::from_secs(5)));
    let start = tokio::time::Instant::now();
    let error = agent.run("x").await.unwrap_err();
    assert_eq!(limit_of(&error), Limit::Time(Duration::from_secs(5)));
    assert_eq!(start.elapsed().as_secs(), 5);
    let state = error.state().unwrap();
    assert_eq!(state.elapsed.as_secs(), 5);

    // The call that was under way is not made again.
    let model = Arc::new(ScriptedModel::new().reply("I see."));
    let calls = Log::default();
    let again = Agent::new(Arc::clone(&model)).tool(noted(&calls, "slow", Effect::Write));
    let result = again.resume(state.clone(), Approvals::new()).await.unwrap();
    assert_eq!(result.output, "I see.");
    assert!(calls.lock().unwrap().is_empty());
    let results = model.requests()[0].messages.last().unwrap().clone();
    let told: Vec<String> = results
        .results()
        .map(ropewalk_core::ToolResult::text)
        .collect();
    assert!(told[0].contains("may have taken effect"), "{told:?}");
    assert!(told[1].contains("there is no tool `nothing`"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_tool_is_given_up_and_the_model_told() {
    let slow = |name: &'static str| {
        tool_fn(name, "slow", |_: Anything| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, ToolError>("late")
        })
    };
    let model = Arc::new(
        ScriptedModel::new()
            .tool_calls([call("a", json!({})), call("b", json!({}))])
            .reply("ok"),
    );
    let agent = Agent::new(Arc::clone(&model))
        .tool(slow("a"))
        .tool(slow("b"))
        .tool_timeout(Duration::from_secs(2))
        .tool_timeout_of("b", Duration::from_secs(90));
    agent.run("x").await.unwrap();
    let results = model.requests()[1].messages[2].clone();
    let told: Vec<String> = results
        .results()
        .map(ropewalk_core::ToolResult::text)
        .collect();
    assert_eq!(told, ["the call was given up after 2s", "late"]);
}

#[tokio::test]
async fn the_same_call_over_and_over_ends_the_run() {
    let same = || call("note", json!({"text": "x"}));
    let script = |n: usize| {
        Arc::new(
            (0..n)
                .fold(ScriptedModel::new(), |m, _| m.tool_calls([same()]))
                .reply("ok"),
        )
    };
    let log = Log::default();
    let model = script(4);
    let error = agent(&model, &log, Limits::new())
        .repeats(Some(3))
        .run("x")
        .await
        .unwrap_err();
    let AgentError::Repeated { tool, times, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((tool.as_str(), *times), ("note", 3));
    assert_eq!(log.lock().unwrap().len(), 3);
    for (calls, repeats) in [(3, Some(3)), (8, None)] {
        let model = script(calls);
        let agent = agent(&model, &log, Limits::new()).repeats(repeats);
        assert_eq!(agent.run("x").await.unwrap().tool_calls as usize, calls);
    }
}

#[tokio::test]
async fn a_run_that_was_cut_goes_on_with_more() {
    let log = Log::default();
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("note", json!({"text": "a"}))
            .tool_call("note", json!({"text": "b"}))
            .reply("done"),
    );
    let few = agent(&model, &log, Limits::new().with_turns(2));
    let error = few.run("x").await.unwrap_err();
    let json = error.state().unwrap().to_json().unwrap();
    let state = ropewalk_agents::RunState::from_json(&json).unwrap();
    let more = agent(&model, &log, Limits::new().with_turns(3));
    let (events, none) = events(more.resume_stream(state, Approvals::new())).await;
    assert!(none.is_none());
    let Some(AgentEvent::Done(result)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!((result.turns, result.tool_calls), (3, 2));
    assert_eq!(*log.lock().unwrap(), ["note(a)", "note(b)"]);
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_where_it_stopped() {
    let work = || {
        tool_fn("work", "works", |_: Anything| async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, ToolError>("done")
        })
    };
    let agent = |model: ScriptedModel| {
        Agent::new(model)
            .tool(work())
            .tool(noted(&Log::default(), "pay", Effect::Pay))
            .policy(Gate::new().always_ask(Effect::Pay))
            .approvals(true)
            .limits(Limits::new().with_time(Duration::from_secs(5)))
    };
    let script = ScriptedModel::new();
    let first = script.tool_calls([call("work", json!({})), call("pay", json!({}))]);
    let Err(AgentError::NeedsApproval { state }) = agent(first).run("x").await else {
        panic!("no pause");
    };
    assert_eq!(state.elapsed.as_secs(), 3);
    // Waiting for somebody takes no time of the run.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let start = tokio::time::Instant::now();
    let second = ScriptedModel::new()
        .tool_call("work", json!({}))
        .reply("never");
    let error = agent(second)
        .resume(*state, Approvals::all())
        .await
        .unwrap_err();
    assert_eq!(limit_of(&error), Limit::Time(Duration::from_secs(5)));
    assert_eq!(start.elapsed().as_secs(), 2);
}
