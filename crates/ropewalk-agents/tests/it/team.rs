//! Agents that work together.

use std::sync::Arc;
use std::time::Duration;

use ropewalk_agents::{Agent, AgentError, AgentEvent, Approvals, Gate, Limit, Limits};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    ChatResponse, Effect, Message, Part, Tool, ToolContext, ToolOutput, Trust, Usage, tool_fn,
};
use serde_json::json;

use crate::desk::{Anything, Log, call, events, noted};

#[tokio::test]
async fn a_conversation_is_handed_over() {
    let log = Log::default();
    let billing_model = Arc::new(
        ScriptedModel::new()
            .tool_call("refund", json!({"text": "7"}))
            .reply("refunded"),
    );
    let billing = Agent::new(Arc::clone(&billing_model))
        .name("billing")
        .instructions("You refund.")
        .tool(noted(&log, "refund", Effect::Read));
    let front_model = Arc::new(ScriptedModel::new().tool_calls([
        call("note", json!({})),
        call("transfer_to_billing", json!({"reason": "money"})),
        call("transfer_to_billing", json!({})),
    ]));
    let front = Agent::new(Arc::clone(&front_model))
        .name("front")
        .tool(noted(&log, "note", Effect::Read))
        .handoff(billing);
    let (events, _) = events(front.run_stream("my money")).await;
    let handoffs: Vec<_> = events
        .iter()
        .filter(|e| matches!(e, AgentEvent::Handoff { .. }))
        .collect();
    let expected = AgentEvent::Handoff {
        from: "front".into(),
        to: "billing".into(),
    };
    assert_eq!(handoffs, [&expected]);
    let Some(AgentEvent::Done(result)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(
        (result.output.as_str(), result.agent.as_str()),
        ("refunded", "billing")
    );
    assert_eq!(result.turns, 3);
    let request = &billing_model.requests()[0];
    assert_eq!(request.messages[0], Message::system("You refund."));
    assert_eq!(request.messages[1].text(), "my money");
    assert_eq!(request.tools.len(), 1);
    let results: Vec<String> = request.messages[3]
        .results()
        .map(ropewalk_core::ToolResult::text)
        .collect();
    assert_eq!(
        results,
        [
            "note of ",
            "billing takes over.",
            "only one agent can take over"
        ]
    );
    assert_eq!(*log.lock().unwrap(), ["note()", "refund(7)"]);
}

#[tokio::test]
async fn a_paused_run_goes_on_with_the_agent_that_had_taken_over() {
    let log = Log::default();
    let team = |front: ScriptedModel, billing: ScriptedModel| {
        let billing = Agent::new(billing)
            .name("billing")
            .tool(noted(&log, "refund", Effect::Pay))
            .policy(Gate::new().always_ask(Effect::Pay));
        Agent::new(front)
            .name("front")
            .handoff(billing)
            .approvals(true)
    };
    let first = team(
        ScriptedModel::new().tool_call("transfer_to_billing", json!({})),
        ScriptedModel::new().tool_call("refund", json!({})),
    );
    let Err(AgentError::NeedsApproval { state }) = first.run("x").await else {
        panic!("no pause");
    };
    assert_eq!(state.agent, "billing");
    let second = team(ScriptedModel::new(), ScriptedModel::new().reply("done"));
    let result = second.resume(*state, Approvals::all()).await.unwrap();
    assert_eq!(
        (result.output.as_str(), result.agent.as_str()),
        ("done", "billing")
    );
    assert_eq!(*log.lock().unwrap(), ["refund()"]);
}

#[tokio::test]
async fn an_agent_is_a_tool_and_its_usage_counts() {
    let inner = |tokens: u64| {
        let reply = ChatResponse::new("scripted", "script", Message::assistant("42"));
        ScriptedModel::new().response(reply.with_usage(Usage::new(tokens, 0)))
    };
    let tool = Agent::new(inner(100))
        .name("helper")
        .into_tool("ask_helper", "Knows numbers");
    let suite = ropewalk_core::testing::ToolSuite::new(r#"{"input": "x"}"#).with_repeatable(false);
    ropewalk_core::testing::tool(&tool, &suite)
        .await
        .into_result()
        .unwrap();

    let outer = |limits: Limits| {
        let helper = Agent::new(inner(100)).name("helper");
        let model = ScriptedModel::new()
            .tool_call("ask_helper", json!({"input": "answer?"}))
            .reply("It is 42.");
        Agent::new(model)
            .tool(helper.into_tool("ask_helper", "Knows numbers"))
            .limits(limits)
    };
    let result = outer(Limits::new()).run("?").await.unwrap();
    assert_eq!(result.output, "It is 42.");
    assert!(result.usage.input_tokens.unwrap() >= 100);
    assert_eq!((result.turns, result.tool_calls), (2, 1));
    // What the inner agent spends counts for the limit of the outer one.
    let error = outer(Limits::new().with_tokens(100))
        .run("?")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            AgentError::Limit {
                limit: Limit::Tokens(100),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn the_limits_of_both_agents_hold_inside() {
    let loops = || {
        (0..20).fold(ScriptedModel::new(), |m, n| {
            m.tool_call("note", json!({"text": n.to_string()}))
        })
    };
    let log = Log::default();
    let helper = Agent::new(loops())
        .name("helper")
        .tool(noted(&log, "note", Effect::Read))
        .limits(Limits::new().with_turns(3));
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("helper", json!({"input": "x"}))
            .reply("it failed"),
    );
    let outer = Agent::new(Arc::clone(&model)).tool(helper.into_tool("helper", "helps"));
    let result = outer.run("?").await.unwrap();
    assert_eq!(result.output, "it failed");
    let told = model.requests()[1].messages[2]
        .results()
        .next()
        .unwrap()
        .clone();
    assert!(told.is_error);
    assert_eq!(
        told.text(),
        "agent `helper` reached its limit of 3 calls of the model"
    );
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_outer_run_ends_the_inner_one() {
    let slow = tool_fn("slow", "slow", |_: Anything| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<ToolOutput, _>("late".into())
    });
    let helper = Agent::new(ScriptedModel::new().tool_call("slow", json!({}))).tool(slow);
    let outer = Agent::new(ScriptedModel::new().tool_call("helper", json!({"input": "x"})))
        .tool(helper.into_tool("helper", "helps"))
        .limits(Limits::new().with_time(Duration::from_secs(3)));
    let start = tokio::time::Instant::now();
    let error = outer.run("?").await.unwrap_err();
    let limit = Limit::Time(Duration::from_secs(3));
    assert!(
        matches!(error, AgentError::Limit { limit: l, .. } if l == limit),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn an_inner_agent_inherits_the_taint_and_cannot_ask() {
    let log = Log::default();
    for (tainted, sent) in [(false, 1), (true, 0)] {
        log.lock().unwrap().clear();
        let inner_model = Arc::new(
            ScriptedModel::new()
                .tool_call("send", json!({"text": "x"}))
                .reply("ok"),
        );
        let inner = Agent::new(Arc::clone(&inner_model))
            .name("mailer")
            .tool(noted(&log, "send", Effect::External))
            .approvals(true);
        let tool = inner.into_tool("mail", "sends mail");
        assert_eq!(tool.effect(), Effect::External);
        // The outer agent trusts everything, so that only the inner gate is tested.
        let model = ScriptedModel::new()
            .tool_call("mail", json!({"input": "send it"}))
            .reply("ok");
        let outer = Agent::new(model)
            .tool(tool)
            .policy(ropewalk_agents::AllowAll);
        let said = match tainted {
            true => Part::untrusted_text("a page"),
            false => Part::text("a wish"),
        };
        outer.run(vec![said]).await.unwrap();
        assert_eq!(log.lock().unwrap().len(), sent, "tainted: {tainted}");
        // Where it would ask, the inner model is told that nobody is there.
        let requests = inner_model.requests();
        let told = requests[1]
            .messages
            .last()
            .unwrap()
            .results()
            .next()
            .unwrap();
        assert_eq!(told.text().contains("nobody is there"), tainted);
        let request = &requests[0];
        let Part::Text { trust, .. } = &request.messages[0].content[0] else {
            panic!("no text");
        };
        assert_eq!(trust.is_trusted(), !tainted);
    }
    // Called by nobody we know, it trusts nothing.
    let inner = Arc::new(ScriptedModel::new().reply("ok"));
    let tool = Agent::new(Arc::clone(&inner)).into_tool("a", "a");
    tool.call(r#"{"input": "x"}"#, &ToolContext::new("c"))
        .await
        .unwrap();
    let Part::Text { trust, .. } = inner.requests()[0].messages[0].content[0].clone() else {
        panic!("no text");
    };
    assert_eq!(trust, Trust::Untrusted);
}
