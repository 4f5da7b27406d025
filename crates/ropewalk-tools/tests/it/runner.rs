//! The plain loop and bound tools.

use futures_executor::block_on;
use ropewalk_core::testing::{self, ChatSuite, ScriptedModel};
use ropewalk_core::{
    ChatModel, ChatModelExt, ChatRequest, ChatResponse, ErrorKind, Extensions, Message, Options,
    Role, ToolChoice, ToolContext, ToolError, ToolSpec, Usage,
};
use ropewalk_tools::{ChatModelTools, ToolRunner, ToolSet, tool};
use serde_json::json;

/// Price of a return ticket.
#[tool(effect = read)]
fn price(city: String, #[tool(context)] currency: String) -> Result<String, String> {
    match city.as_str() {
        "Oslo" => Ok(format!("499 {currency}")),
        "Rome" => Ok(format!("1400 {currency}")),
        other => Err(format!("we do not fly to {other}")),
    }
}

/// Turn of the run.
#[tool]
fn turn(context: &ToolContext) -> String {
    format!("{} {}", context.run_id, context.turn)
}

/// Stops.
#[tool]
fn stop() -> Result<(), ToolError> {
    Err(ToolError::Fatal("enough".into()))
}

fn runner() -> ToolRunner {
    let set = ToolSet::new()
        .with(price)
        .and_then(|s| s.with(turn))
        .and_then(|s| s.with(stop));
    let mut extensions = Extensions::default();
    extensions.insert(String::from("NOK"));
    let context = ToolContext::new("")
        .with_run("run_1", 0)
        .with_extensions(extensions);
    ToolRunner::new(set.unwrap()).with_context(context)
}

fn calls(model: ScriptedModel, cities: &[&str]) -> ScriptedModel {
    model.tool_calls(
        cities
            .iter()
            .map(|c| ("price".to_owned(), json!({ "city": c }))),
    )
}

#[test]
fn appends_each_turn_in_the_order_providers_want() {
    let model = calls(ScriptedModel::new(), &["Rome", "Oslo", "Mars"]);
    let model = model
        .tool_call("turn", json!({}))
        .reply("Oslo is cheapest.");
    let request = ChatRequest::new()
        .system("Be brief.")
        .user("Which is cheapest?");
    let run = block_on(runner().run(&model, request.tool_choice(ToolChoice::Required))).unwrap();
    assert_eq!(run.response.text(), "Oslo is cheapest.");
    assert_eq!(run.turns, 3);
    let roles: Vec<Role> = run.messages.iter().map(|m| m.role).collect();
    use Role::{Assistant, System, Tool, User};
    assert_eq!(
        roles,
        [System, User, Assistant, Tool, Assistant, Tool, Assistant]
    );
    let results = |i: usize| {
        let results = run.messages[i].results();
        results
            .map(|r| (r.call_id.clone(), r.text(), r.is_error))
            .collect::<Vec<_>>()
    };
    let expected = [
        ("call_0_0".to_owned(), "1400 NOK".to_owned(), false),
        ("call_0_1".to_owned(), "499 NOK".to_owned(), false),
        (
            "call_0_2".to_owned(),
            "we do not fly to Mars".to_owned(),
            true,
        ),
    ];
    assert_eq!(results(3), expected);
    assert_eq!(results(5)[0].1, "run_1 1");
    let requests = model.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].tool_choice, ToolChoice::Required);
    assert_eq!(requests[1].tool_choice, ToolChoice::Auto);
    assert_eq!(requests[2].messages, run.messages[..6]);
    assert!(requests.iter().all(|r| r.tools.len() == 3));
}

#[test]
fn counts_the_tokens_of_all_turns() {
    let reply = |message: Message, usage| ChatResponse::new("p", "m", message).with_usage(usage);
    let call = ropewalk_core::ToolCall::new("c", "turn", "{}");
    let model = ScriptedModel::new()
        .response(reply(
            Message::assistant(vec![call.into()]),
            Usage::new(10, 5),
        ))
        .response(reply(Message::assistant("done"), Usage::new(20, 2)));
    let run = block_on(runner().run(&model, "go")).unwrap();
    assert_eq!(run.usage, Usage::new(30, 7));
}

#[test]
fn a_model_that_loops_is_stopped_exactly() {
    let looping = || (0..9).fold(ScriptedModel::new(), |m, _| m.tool_call("turn", json!({})));
    for turns in [1, 3] {
        let model = looping();
        let error = block_on(runner().with_max_turns(turns).run(&model, "go")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MaxTurns);
        let expected = format!("asked {turns} times (max_turns) and still calls turn");
        assert!(error.message().contains(&expected), "{error}");
        assert!(
            error
                .partial()
                .unwrap()
                .message
                .tool_calls()
                .next()
                .is_some()
        );
        assert_eq!(model.requests().len(), turns as usize);
    }
    let model = looping();
    let error = block_on(runner().with_max_turns(0).run(&model, "go")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MaxTurns);
    assert_eq!(model.requests().len(), 0);
}

#[test]
fn a_fatal_tool_and_a_failing_model_end_the_run() {
    let model = ScriptedModel::new()
        .tool_call("stop", json!({}))
        .reply("not reached");
    let error = block_on(runner().run(&model, "go")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tool);
    assert_eq!(model.remaining(), 1);
    let model = ScriptedModel::new().tool_call("turn", json!({}));
    let error = block_on(runner().run(&model, "go")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
}

#[test]
fn what_a_request_says_wins_over_what_is_bound() {
    let set = ToolSet::new().with(price).unwrap();
    let bound = Options {
        temperature: Some(0.5),
        seed: Some(7),
        stop: vec!["END".into()],
        ..Options::default()
    };
    let model =
        ScriptedModel::respond_with(|_| Ok(ChatResponse::new("p", "m", Message::assistant("x"))));
    let model = model
        .with_tools(&set)
        .with_options(bound)
        .with_tool_choice(ToolChoice::Required);
    let mut own = ToolSpec::new(
        "price",
        "Mine.",
        ropewalk_core::schemars::json_schema!({"type": "object"}),
    );
    own.strict = true;
    let request = ChatRequest::from("hi").temperature(0.0).tool(own.clone());
    block_on(model.chat(&request.tool_choice(ToolChoice::None))).unwrap();
    block_on(model.ask("plain")).unwrap();
    let requests = model.inner().requests();
    assert_eq!(requests[0].tools, [own]);
    assert_eq!(requests[0].tool_choice, ToolChoice::None);
    let options = &requests[0].options;
    assert_eq!((options.temperature, options.seed), (Some(0.0), Some(7)));
    assert_eq!(options.stop, ["END"]);
    assert_eq!(requests[1].tools, set.specs());
    assert_eq!(requests[1].tool_choice, ToolChoice::Required);
    assert_eq!(requests[1].options.temperature, Some(0.5));
}

#[test]
fn a_bound_model_keeps_the_contract_of_models() {
    let model = ScriptedModel::echo().with_tools(&ToolSet::new().with(turn).unwrap());
    block_on(testing::chat(&model, &ChatSuite::new()))
        .into_result()
        .unwrap();
}
