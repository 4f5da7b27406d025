//! Tools for models that cannot call them.

use std::sync::Arc;

use proptest::prelude::*;
use ropewalk_agents::{
    Agent, AgentAction, AgentFinish, AgentStep, Limits, ReActError, parse_react,
};
use ropewalk_core::schemars;
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{Capabilities, Effect, Part, Role, Trust};

use crate::desk::{Log, desk, noted};

fn action(thought: &str, tool: &str, input: &str) -> Result<AgentStep, ReActError> {
    Ok(AgentStep::Action(AgentAction {
        thought: thought.into(),
        tool: tool.into(),
        input: input.into(),
    }))
}

fn finish(thought: &str, answer: &str) -> Result<AgentStep, ReActError> {
    Ok(AgentStep::Finish(AgentFinish {
        thought: thought.into(),
        answer: answer.into(),
    }))
}

#[test]
fn reads_what_models_write() {
    let cases = [
        (
            "Thought: t\nAction: f\nAction Input: {\"a\": 1}",
            action("t", "f", "{\"a\": 1}"),
        ),
        (
            "I think\nACTION:  `f` \naction input:\n```json\n{\"a\":\n1}\n```\n",
            action("I think", "f", "{\"a\":\n1}"),
        ),
        (
            "**Thought:** t\n**Action:** f\n**Action Input:** x",
            action("t", "f", "x"),
        ),
        ("Action: f", action("", "f", "")),
        ("Action:\nf\nAction Input: x\ny", action("", "f", "x\ny")),
        // What follows the first step is made up.
        (
            "Action: f\nAction Input: x\nObservation: 3\nFinal Answer: 3",
            action("", "f", "x"),
        ),
        (
            "Action: f\nAction Input: x\nFinal Answer: 3",
            action("", "f", "x"),
        ),
        (
            "Action: f\nAction Input: x\nThought: now\nAction: g",
            action("", "f", "x"),
        ),
        (
            "Thought: t\nFinal Answer: it is\nAction: no action",
            finish("t", "it is\nAction: no action"),
        ),
        ("final answer:42", finish("", "42")),
        ("Action: Final Answer\nAction Input: 42", finish("", "42")),
        ("Observation: x\nFinal Answer: 1", Err(ReActError::NoStep)),
        ("just text", Err(ReActError::NoStep)),
        ("", Err(ReActError::NoStep)),
        ("Action Input: x", Err(ReActError::NoStep)),
        ("Action: \nAction Input: x", Err(ReActError::NoTool)),
        ("An Action: f", Err(ReActError::NoStep)),
    ];
    for (reply, expected) in cases {
        assert_eq!(parse_react(reply), expected, "{reply:?}");
    }
}

fn without_tools(model: ScriptedModel) -> Arc<ScriptedModel> {
    Arc::new(model.with_capabilities(Capabilities::default()))
}

#[tokio::test]
async fn a_model_without_tools_uses_tools() {
    let log = Log::default();
    let model = without_tools(
        ScriptedModel::new()
            .reply("Thought: look it up\nAction: price\nAction Input: {\"city\": \"Rome\"}")
            .reply("Thought: known\nFinal Answer: It is 499."),
    );
    let result = desk(&model, &log).run("Rome?").await.unwrap();
    assert_eq!(result.output, "It is 499.");
    assert_eq!(*log.lock().unwrap(), ["Rome"]);
    // The conversation is the same as with a model that calls tools.
    let call = result.messages[1].tool_calls().next().unwrap();
    assert_eq!(
        (call.name.as_str(), call.arguments.as_str()),
        ("price", "{\"city\": \"Rome\"}")
    );
    assert_eq!(result.messages[1].text(), "look it up");
    let requests = model.requests();
    let system = requests[0].messages[0].text();
    assert!(
        system.starts_with("Sell tickets.\n\nYou can use these tools:\n- price: "),
        "{system}"
    );
    assert!(requests[0].tools.is_empty());
    assert_eq!(requests[0].options.stop, ["\nObservation:"]);
    assert_eq!(
        requests[1].messages[2].text(),
        "Thought: look it up\nAction: price\nAction Input: {\"city\": \"Rome\"}"
    );
    assert_eq!(requests[1].messages[3].text(), "Observation: Rome: 499");
    assert_eq!(requests[1].messages[3].role, Role::User);
}

#[tokio::test]
async fn replies_that_cannot_be_read_go_back_and_are_not_kept() {
    let model = without_tools(
        ScriptedModel::new()
            .reply("Rome is nice.")
            .reply("")
            .reply("Final Answer: yes"),
    );
    let result = desk(&model, &Log::default()).run("Rome?").await.unwrap();
    assert_eq!((result.output.as_str(), result.turns), ("yes", 3));
    assert_eq!(result.messages.len(), 2);
    let second = &model.requests()[1].messages;
    assert_eq!(second[2].text(), "Rome is nice.");
    assert!(
        second[3]
            .text()
            .contains("neither `Action:` nor `Final Answer:`")
    );
    assert_eq!(model.requests()[2].messages.len(), 5);

    let model = without_tools(
        ScriptedModel::new()
            .reply("Hm.")
            .reply("Action: price\nAction Input: Rome")
            .reply("Final Answer: 499"),
    );
    desk(&model, &Log::default()).run("Rome?").await.unwrap();
    let last = model.requests()[2].messages.clone();
    // Once a reply could be read, what could not is forgotten.
    assert!(last.iter().all(|m| m.text() != "Hm."), "{last:?}");
    assert_eq!(last.len(), 4);

    let stubborn = (0..9).fold(ScriptedModel::new(), |m, _| m.reply("no"));
    let agent = desk(&without_tools(stubborn), &Log::default());
    let error = agent
        .limits(Limits::new().with_turns(4))
        .run("x")
        .await
        .unwrap_err();
    assert_eq!(error.state().unwrap().turns, 4);
}

#[tokio::test]
async fn a_plain_input_is_the_only_argument() {
    let log = Log::default();
    let model = without_tools(
        ScriptedModel::new()
            .reply("Action: price\nAction Input: Rome")
            .reply("Action: price\nAction Input: \"Oslo\"")
            .reply("Action: note\nAction Input: hello there")
            .reply("Action: fly\nAction Input: away")
            .reply("Final Answer: ok"),
    );
    let agent = desk(&model, &log).tool(noted(&log, "note", Effect::Read));
    agent.run("x").await.unwrap();
    // The property of `note` may be null too, so a text is no clear case.
    assert_eq!(*log.lock().unwrap(), ["Rome", "Oslo"]);
    let last = &model.requests()[4].messages;
    assert!(
        last.last()
            .unwrap()
            .text()
            .contains("there is no tool `fly`")
    );
}

#[tokio::test]
async fn on_demand_and_only_with_tools() {
    let capable = Arc::new(ScriptedModel::new().reply("Final Answer: 1"));
    let agent = desk(&capable, &Log::default()).react(true);
    assert_eq!(agent.run("x").await.unwrap().output, "1");
    let plain = without_tools(ScriptedModel::new().reply("just text"));
    let agent = Agent::new(Arc::clone(&plain));
    assert_eq!(agent.run("x").await.unwrap().output, "just text");
}

#[tokio::test]
async fn a_value_is_asked_for_in_plain_words() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Price {
        dollars: u32,
    }
    let model = without_tools(
        ScriptedModel::new()
            .reply("Action: price\nAction Input: Rome")
            .reply("Final Answer: 499 dollars")
            .reply("{\"dollars\": 499}"),
    );
    let typed = desk(&model, &Log::default())
        .run_typed::<Price>("Rome?")
        .await
        .unwrap();
    assert_eq!((typed.value.dollars, typed.run.turns), (499, 3));
    let last = &model.requests()[2];
    let system = last.messages[0].text();
    assert!(
        system.contains("JSON schema") && !system.contains("Action Input"),
        "{system}"
    );
    assert_eq!(last.messages[3].text(), "Observation: Rome: 499");
    assert!(last.options.stop.is_empty());
}

#[tokio::test]
async fn observations_keep_their_label() {
    let log = Log::default();
    let model = without_tools(
        ScriptedModel::new()
            .reply("Action: look\nAction Input: {}")
            .reply("Action: send\nAction Input: {}")
            .reply("Final Answer: done"),
    );
    let agent = Agent::new(Arc::clone(&model))
        .tool(noted(&log, "look", Effect::Read))
        .tool(noted(&log, "send", Effect::External));
    agent.run("x").await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["look()"]);
    let observed = &model.requests()[1].messages[3];
    assert!(matches!(
        observed.content[0],
        Part::Text {
            trust: Trust::Untrusted,
            ..
        }
    ));
}

proptest! {
    #[test]
    fn every_reply_is_read_or_refused(
        reply in "(Thought:|Action:|Action Input:|Observation:|Final Answer:|```|\n|\\*\\*|é| |x|\\{|\"){0,40}",
    ) {
        match parse_react(&reply) {
            Ok(AgentStep::Action(action)) => prop_assert!(!action.tool.is_empty()),
            Ok(AgentStep::Finish(finish)) => prop_assert!(reply.contains(&finish.answer)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
