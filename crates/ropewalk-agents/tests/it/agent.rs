//! The loop.

use std::sync::Arc;
use std::time::Duration;

use ropewalk_agents::{
    Agent, AgentError, AgentEvent, Buffer, InMemoryHistory, Input, Memory, RunResult, Window,
};
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    Effect, ErrorKind, Extensions, FinishReason, Message, Options, Role, StreamEvent, Tool,
    ToolContext, ToolError, ToolOutput, ToolSpec, Usage, async_trait,
};
use ropewalk_tools::ToolSet;
use serde::Deserialize;
use serde_json::json;

use crate::desk::{Log, call, city, desk, events, noted};

#[tokio::test(start_paused = true)]
async fn tools_run_together_and_answer_in_order() {
    let log = Log::default();
    let model = Arc::new(
        ScriptedModel::new()
            .tool_calls([city("Rio"), city("Reykjavik"), city("Atlantis")])
            .reply("done"),
    );
    let (events, error) = events(desk(&model, &log).run_stream("three cities")).await;
    assert!(error.is_none());
    // The longer name is quicker.
    assert_eq!(*log.lock().unwrap(), ["Reykjavik", "Rio"]);
    let finished: Vec<String> = events
        .iter()
        .filter_map(|e| match e {
            AgentEvent::ToolFinished { result, .. } => Some(result.text()),
            _ => None,
        })
        .collect();
    assert_eq!(finished, ["no such city", "Reykjavik: 499", "Rio: 499"]);
    let told: Vec<(String, bool)> = model.requests()[1].messages[3]
        .results()
        .map(|r| (r.text(), r.is_error))
        .collect();
    let expected = [
        ("Rio: 499", false),
        ("Reykjavik: 499", false),
        ("no such city", true),
    ];
    assert_eq!(told, expected.map(|(text, bad)| (text.to_owned(), bad)));
    let AgentEvent::Done(result) = events.last().unwrap() else {
        panic!("{events:?}");
    };
    assert_eq!((result.turns, result.tool_calls), (2, 3));
    assert_eq!(result.output, "done");
    let roles: Vec<Role> = result.messages.iter().map(|m| m.role).collect();
    assert_eq!(
        roles,
        [Role::User, Role::Assistant, Role::Tool, Role::Assistant]
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_tools_at_once_than_allowed() {
    for (limit, seconds) in [(1, 4), (2, 2), (8, 1)] {
        let model = ScriptedModel::new()
            .tool_calls((0..4).map(|n| call("wait", json!({ "text": n.to_string() }))))
            .reply("done");
        let wait = ropewalk_core::tool_fn("wait", "waits", |_: crate::desk::Anything| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, ToolError>("ok")
        });
        let agent = Agent::new(model).tool(wait).concurrency(limit);
        let start = tokio::time::Instant::now();
        agent.run("go").await.unwrap();
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_its_stream() {
    let script = || {
        Arc::new(
            ScriptedModel::new()
                .tool_call("price", json!({"city": "Rome"}))
                .reply("499"),
        )
    };
    let log = Log::default();
    let input = || Input::new("Rome?").run_id("run");
    let run = desk(&script(), &log).run(input()).await.unwrap();
    let (events, _) = events(desk(&script(), &log).run_stream(input())).await;
    let Some(AgentEvent::Done(done)) = events.last() else {
        panic!("{events:?}");
    };
    // All but the time it took.
    let timeless = |result: &RunResult| {
        let mut result = result.clone();
        result.state.elapsed = Duration::ZERO;
        result
    };
    assert_eq!(timeless(done), timeless(&run));
    let text: String = events
        .iter()
        .filter_map(|e| match e {
            AgentEvent::Model(StreamEvent::TextDelta { text, .. }) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "499");
    let turns: Vec<u32> = events
        .iter()
        .filter_map(|e| match e {
            AgentEvent::Turn { turn, .. } => Some(*turn),
            _ => None,
        })
        .collect();
    assert_eq!(turns, [1, 2]);
    assert!(matches!(events[0], AgentEvent::Turn { .. }));
}

#[tokio::test]
async fn unknown_tools_and_bad_arguments_are_told_and_counted() {
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("fly", json!({}))
            .tool_call("price", json!({"town": 1}))
            .reply("sorry"),
    );
    let result = desk(&model, &Log::default()).run("x").await.unwrap();
    assert_eq!(result.tool_calls, 2);
    let told = |i: usize| {
        let request = &model.requests()[i];
        let last = request.messages.last().unwrap();
        last.results().next().unwrap().clone()
    };
    assert_eq!(told(1).text(), "there is no tool `fly`; there are: price");
    assert!(
        told(2)
            .text()
            .starts_with("invalid arguments for `price`: missing field `city`")
    );
    assert!(told(1).is_error && told(2).is_error);
}

#[tokio::test]
async fn a_tool_can_end_the_run() {
    let model = Arc::new(ScriptedModel::new().tool_calls([city("Chaos")]));
    let error = desk(&model, &Log::default()).run("x").await.unwrap_err();
    let AgentError::Tool { source, state } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), ErrorKind::Tool);
    assert_eq!(state.turns, 1);
    let core: ropewalk_core::Error = error.into();
    assert_eq!(core.kind(), ErrorKind::Tool);
}

#[tokio::test]
async fn the_request_holds_instructions_options_and_tools() {
    let model = Arc::new(ScriptedModel::new().reply("hi"));
    let options = Options {
        temperature: Some(0.1),
        ..Options::default()
    };
    let agent = desk(&model, &Log::default()).options(options);
    let earlier = vec![
        Message::user("a"),
        Message::assistant("b"),
        Message::user("c"),
    ];
    let result = agent.run(earlier.clone()).await.unwrap();
    let request = &model.requests()[0];
    assert_eq!(request.messages[0], Message::system("Sell tickets."));
    assert_eq!(request.messages[1..], earlier);
    assert_eq!(request.options.temperature, Some(0.1));
    assert_eq!(request.tools[0].name, "price");
    assert_eq!(result.messages.len(), 4);
    assert_eq!(result.finish_reason, FinishReason::Stop);
    assert_eq!(result.agent, "desk");
}

#[tokio::test]
async fn usage_and_cost_add_up() {
    use ropewalk_core::ChatResponse;
    struct Cents;
    impl ropewalk_core::Pricing for Cents {
        fn cost(&self, _: &str, model: &str, usage: &Usage) -> Option<f64> {
            (model == "script").then_some(usage.total_tokens()? as f64 * 0.01)
        }
    }
    let reply = |usage: Usage, model: &str| {
        ChatResponse::new("p", model, Message::assistant("x")).with_usage(usage)
    };
    let call = ropewalk_core::Part::ToolCall(ropewalk_core::ToolCall::new("1", "nothing", "{}"));
    let first =
        ChatResponse::new("p", "script", Message::assistant(call)).with_usage(Usage::new(10, 5));
    for (model, cost) in [("script", Some(0.36)), ("other", None)] {
        let script = ScriptedModel::new()
            .response(first.clone())
            .response(reply(Usage::new(20, 1), model));
        let agent = Agent::new(script).pricing(Cents);
        let result = agent.run("x").await.unwrap();
        assert_eq!(result.usage, Usage::new(30, 6));
        assert_eq!(result.cost.map(|c| (c * 100.0).round() / 100.0), cost);
    }
}

#[tokio::test]
async fn conversations_are_remembered_whole_or_not_at_all() {
    let history = Arc::new(InMemoryHistory::new());
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("nothing", json!({}))
            .reply("one")
            .error(crate::desk::busy())
            .reply("two"),
    );
    let agent = Agent::new(Arc::clone(&model)).memory(Memory::new(Arc::clone(&history), Buffer));
    agent
        .run(Input::new("1").conversation("ada"))
        .await
        .unwrap();
    let failed = agent.run(Input::new("lost").conversation("ada")).await;
    assert!(matches!(failed, Err(AgentError::Failed { .. })));
    let result = agent
        .run(Input::new("2").conversation("ada"))
        .await
        .unwrap();
    assert_eq!(result.messages.len(), 2);
    assert_eq!(result.state.remembered, 4);
    let texts = |messages: &[Message]| messages.iter().map(Message::text).collect::<Vec<_>>();
    let kept = ropewalk_core::ChatHistory::load(&history, "ada")
        .await
        .unwrap();
    assert_eq!(texts(&kept), ["1", "", "", "one", "2", "two"]);
    assert_eq!(
        texts(&model.requests()[3].messages),
        ["1", "", "", "one", "2"]
    );

    let short = Agent::new(ScriptedModel::new().reply("three"))
        .memory(Memory::new(Arc::clone(&history), Window::new(1)));
    let result = short
        .run(Input::new("3").conversation("ada"))
        .await
        .unwrap();
    assert_eq!(texts(&result.state.messages), ["2", "two", "3", "three"]);

    let none = Agent::new(ScriptedModel::new())
        .run(Input::new("x").conversation("ada"))
        .await;
    assert!(matches!(none, Err(AgentError::Configuration { .. })));
}

/// Tells what the model does not see.
struct Session(ToolSpec);

#[async_trait]
impl Tool for Session {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }
    async fn call(&self, _: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let user: &String = context.extensions.get().unwrap();
        let (run, turn, id) = (&context.run_id, context.turn, &context.call_id);
        Ok(format!("{user} {run} {turn} {id}").into())
    }
}

#[tokio::test]
async fn tools_get_the_circumstances_of_the_run() {
    let spec = ToolSpec::of::<crate::desk::Anything>("whoami", "Who is this?");
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("whoami", json!({}))
            .reply("ok"),
    );
    let agent = Agent::new(Arc::clone(&model)).tool(Session(spec));
    let mut extensions = Extensions::default();
    extensions.insert("ada".to_owned());
    let input = Input::new("x").run_id("r1").extensions(extensions);
    agent.run(input).await.unwrap();
    let seen = model.requests()[1].messages[2]
        .results()
        .next()
        .unwrap()
        .text();
    assert_eq!(seen, "ada r1 0 call_0_0");
}

#[tokio::test]
async fn typed_answers() {
    #[derive(Deserialize, JsonSchema, Debug, PartialEq)]
    struct Price {
        dollars: u32,
    }
    let direct = Agent::new(ScriptedModel::new().reply(r#"{"dollars": 5}"#));
    let typed = direct.run_typed::<Price>("x").await.unwrap();
    assert_eq!((typed.value.dollars, typed.run.turns), (5, 1));

    let log = Log::default();
    let model = Arc::new(
        ScriptedModel::new()
            .tool_call("price", json!({"city": "Rome"}))
            .reply("It is 499 dollars.")
            .tool_call("final_result", json!({"dollars": "many"}))
            .tool_call("final_result", json!({"dollars": 499})),
    );
    let typed = desk(&model, &log)
        .run_typed::<Price>("Rome?")
        .await
        .unwrap();
    assert_eq!(typed.value, Price { dollars: 499 });
    assert_eq!(typed.run.turns, 4);
    assert_eq!(typed.run.output, "It is 499 dollars.");
    // Nothing but the result can be called any more.
    assert_eq!(model.requests()[2].tools.len(), 1);

    let limits = ropewalk_agents::Limits::new().with_turns(1);
    let cut = Agent::new(ScriptedModel::new().reply("five")).limits(limits);
    let error = cut.run_typed::<Price>("x").await.unwrap_err();
    assert!(matches!(error, AgentError::Limit { .. }), "{error}");
    assert_eq!(error.state().unwrap().messages.len(), 2);
}

#[tokio::test]
async fn a_dropped_run_drops_its_tools() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let end = Arc::clone(&dropped);
    let endless = ropewalk_core::tool_fn("wait", "waits", move |_: crate::desk::Anything| {
        let guard = Guard(Arc::clone(&end));
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
            Ok::<_, ToolError>("never")
        }
    });
    let agent = Agent::new(ScriptedModel::new().tool_call("wait", json!({}))).tool(endless);
    let run = tokio::time::timeout(Duration::from_millis(20), agent.run("x")).await;
    assert!(run.is_err());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_put_together_wrong_is_told_before_anything_is_sent() {
    let log = Log::default();
    let model = Arc::new(ScriptedModel::new());
    let twice = desk(&model, &log).tool(crate::desk::price(&log));
    let unpriced = desk(&model, &log).limits(ropewalk_agents::Limits::new().with_cost(1.0));
    let unnamed = desk(&model, &log).name("a b");
    let other = || desk(&model, &log).name("other");
    let clash = desk(&model, &log).handoff(other()).handoff(other());
    let inner = Agent::new(Arc::clone(&model))
        .name("outer")
        .handoff(unnamed.clone());
    for (agent, said) in [
        (twice, "two tools are called `price`"),
        (unpriced, "set Agent::pricing"),
        (unnamed, "must be 1 to 52 letters"),
        (clash, "two tools called `transfer_to_other`"),
        (inner, "must be 1 to 52 letters"),
    ] {
        let error = agent.run("x").await.unwrap_err();
        assert!(matches!(error, AgentError::Configuration { .. }));
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(model.requests().is_empty());
}

#[test]
fn agents_without_limits_on_time_need_no_runtime() {
    let log = Log::default();
    let tools = ToolSet::new()
        .with(noted(&log, "note", Effect::Read))
        .unwrap();
    let model = ScriptedModel::new()
        .tool_call("note", json!({"text": "x"}))
        .reply("ok");
    let agent = Agent::new(model).tools(tools);
    let result = futures_executor::block_on(agent.run("x")).unwrap();
    assert_eq!(result.output, "ok");
    assert_eq!(*log.lock().unwrap(), ["note(x)"]);
}

#[tokio::test]
async fn an_agent_is_a_step_of_a_chain() {
    use ropewalk_agents::{StepExt, chain, step_fn};
    let ask = step_fn(|text: String| async move { Ok(Input::new(format!("{text}?"))) });
    let model = Arc::new(ScriptedModel::echo());
    let steps = chain(ask) | chain(Agent::new(Arc::clone(&model)));
    let answer = steps.map(|run: RunResult| run.output);
    assert_eq!(answer.call("why".into()).await.unwrap(), "why?");
}
