//! Typed replies and their repair.

use futures_executor::block_on;
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_core::{
    Capabilities, ChatModelExt, ChatRequest, ChatResponse, ErrorKind, ExtractMode, ExtractOptions,
    FinishReason, Message, ResponseFormat, Role, ToolChoice, ToolSpec, Usage,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Person {
    name: String,
    age: u8,
}

fn ann() -> Person {
    Person {
        name: "Ann".into(),
        age: 41,
    }
}

fn can(edit: impl FnOnce(&mut Capabilities)) -> Capabilities {
    let mut capabilities = Capabilities::default();
    edit(&mut capabilities);
    capabilities
}

fn mode_of(request: &ChatRequest) -> ExtractMode {
    match (&request.response_format, &request.tool_choice) {
        (
            ResponseFormat::JsonSchema {
                name, strict: true, ..
            },
            _,
        ) if name == "Person" => ExtractMode::Native,
        (_, ToolChoice::Tool(name)) if name == "final_result" => ExtractMode::Tool,
        _ => ExtractMode::Prompt,
    }
}

#[test]
fn auto_follows_capabilities() {
    let other = || ToolSpec::new("t", "a tool", schemars::json_schema!({"type": "object"}));
    let cases = [
        (can(|c| c.json_schema = true), false, ExtractMode::Native),
        (
            can(|c| (c.json_schema, c.tools) = (true, true)),
            true,
            ExtractMode::Tool,
        ),
        (
            can(|c| (c.json_schema, c.json_schema_with_tools) = (true, true)),
            true,
            ExtractMode::Native,
        ),
        (can(|c| c.json_schema = true), true, ExtractMode::Prompt),
        (can(|c| c.tools = true), false, ExtractMode::Tool),
        (can(|_| ()), false, ExtractMode::Prompt),
    ];
    for (capabilities, with_tool, expected) in cases {
        let json = json!({"name": "Ann", "age": 41});
        let model = ScriptedModel::new().with_capabilities(capabilities);
        let model = match expected {
            ExtractMode::Tool => model.tool_call("final_result", json),
            _ => model.reply(json.to_string()),
        };
        let request = ChatRequest::from("who?");
        let request = if with_tool {
            request.tool(other())
        } else {
            request
        };
        assert_eq!(block_on(model.extract::<Person>(request)).unwrap(), ann());
        assert_eq!(mode_of(&model.requests()[0]), expected, "{capabilities:?}");
    }
}

#[test]
fn prompt_mode_shows_the_schema_and_finds_the_json() {
    let model = ScriptedModel::new()
        .with_capabilities(Capabilities::default())
        .reply("Sure!\n```json\n{\"name\": \"Ann\", \"age\": 41}\n```");
    let request = ChatRequest::from("who?").system("Be terse.");
    assert_eq!(block_on(model.extract::<Person>(request)).unwrap(), ann());
    let sent = &model.requests()[0].messages;
    assert_eq!(sent.len(), 2);
    assert!(sent[0].text().starts_with("Be terse."));
    assert!(sent[0].text().contains("\"age\""), "{}", sent[0].text());
}

#[test]
fn a_bad_call_goes_back_as_an_error_result() {
    let model = ScriptedModel::new()
        .tool_call("final_result", json!({"name": "Ann"}))
        .tool_call("final_result", json!({"name": "Ann", "age": 41}));
    let got = block_on(model.extract_with::<Person>("who?", &ExtractOptions::new())).unwrap();
    assert_eq!((got.value, got.attempts), (ann(), 2));
    let second = &model.requests()[1].messages;
    let result = second[2].results().next().unwrap();
    assert!(
        result.is_error && result.text().contains("missing field `age`"),
        "{}",
        result.text()
    );
    assert_eq!(result.call_id, second[1].tool_calls().next().unwrap().id);
}

#[test]
fn a_bad_text_goes_back_as_a_user_message_and_usage_adds_up() {
    let reply = |text: &str| {
        ChatResponse::new("p", "m", Message::assistant(text)).with_usage(Usage::new(10, 5))
    };
    let model = ScriptedModel::new()
        .response(reply("no idea"))
        .response(reply(r#"{"name":"Ann","age":41}"#));
    let options = ExtractOptions::new().with_mode(ExtractMode::Native);
    let got = block_on(model.extract_with::<Person>("who?", &options)).unwrap();
    assert_eq!(
        (got.value, got.attempts, got.usage),
        (ann(), 2, Usage::new(20, 10))
    );
    let second = &model.requests()[1].messages;
    assert_eq!(
        (second[1].role, second[2].role),
        (Role::Assistant, Role::User)
    );
    assert!(second[2].text().contains("no JSON object"));
}

#[test]
fn braces_of_prose_are_skipped() {
    let replies = [
        r#"use {x}: {"name":"Ann","age":41}"#,
        r#"like {"name": "..."}, so {"name":"Ann","age":41}"#,
        r#"{} {"name":"Ann","age":41} {"name":"Bob","age":1}"#,
    ];
    for reply in replies {
        let model = ScriptedModel::new().reply(reply);
        let options = ExtractOptions::new()
            .with_mode(ExtractMode::Prompt)
            .with_retries(0);
        let got = block_on(model.extract_with::<Person>("who?", &options)).unwrap();
        assert_eq!(got.value, ann(), "{reply}");
    }
    // The complaint is about the object, not about the braces before it.
    let model = ScriptedModel::new().reply(r#"use {x}: {"name":"Ann"}"#);
    let options = ExtractOptions::new()
        .with_mode(ExtractMode::Prompt)
        .with_retries(0);
    let error = block_on(model.extract_with::<Person>("who?", &options)).unwrap_err();
    assert!(error.message().contains("missing field `age`"), "{error}");
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec::new(name, "a tool", schemars::json_schema!({"type": "object"}))
}

#[test]
fn a_tool_of_the_user_keeps_its_name() {
    let json = json!({"name": "Ann", "age": 41});
    let model = ScriptedModel::new().tool_call("final_result_2", json);
    let request = ChatRequest::from("who?").tool(tool("final_result"));
    assert_eq!(block_on(model.extract::<Person>(request)).unwrap(), ann());
    let sent = &model.requests()[0];
    let names: Vec<&str> = sent.tools.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["final_result", "final_result_2"]);
    assert_eq!(sent.tool_choice, ToolChoice::Tool("final_result_2".into()));
}

#[test]
fn a_call_of_the_users_tool_is_an_error_of_its_own() {
    for mode in [ExtractMode::Tool, ExtractMode::Native, ExtractMode::Prompt] {
        let model = ScriptedModel::new().tool_call("price", json!({}));
        let request = ChatRequest::from("who?").tool(tool("price"));
        let options = ExtractOptions::new().with_mode(mode);
        let error = block_on(model.extract_with::<Person>(request, &options)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tool);
        assert!(
            error
                .message()
                .contains("`price`; extract does not run tools")
        );
        let call = error.partial().unwrap().message.tool_calls().next();
        assert_eq!(call.unwrap().name, "price");
        assert_eq!(model.requests().len(), 1);
    }
}

#[test]
fn a_call_of_no_tool_goes_back() {
    let model = ScriptedModel::new()
        .tool_call("answer", json!({}))
        .tool_call("final_result", json!({"name": "Ann", "age": 41}));
    assert_eq!(block_on(model.extract::<Person>("who?")).unwrap(), ann());
    let second = &model.requests()[1].messages;
    let result = second[2].results().next().unwrap();
    assert!(
        result.text().contains("there is no tool `answer`"),
        "{}",
        result.text()
    );
}

#[test]
fn gives_up_after_the_retries() {
    for retries in 0..3 {
        let model = ScriptedModel::respond_with(|_| {
            Ok(ChatResponse::new(
                "p",
                "m",
                Message::assistant("{\"name\": 3}"),
            ))
        });
        let options = ExtractOptions::new()
            .with_mode(ExtractMode::Prompt)
            .with_retries(retries);
        let error = block_on(model.extract_with::<Person>("who?", &options)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.message().contains("expected a string"), "{error}");
        assert_eq!(error.partial().unwrap().text(), "{\"name\": 3}");
        assert_eq!(model.requests().len(), 1 + retries as usize);
    }
}

#[test]
fn cut_and_filtered_replies_are_not_repaired() {
    let cases = [
        (FinishReason::Length, ErrorKind::Truncated),
        (FinishReason::ContentFilter, ErrorKind::ContentFiltered),
        (FinishReason::Refusal, ErrorKind::ContentFiltered),
    ];
    for (reason, expected) in cases {
        let response = ChatResponse::new("p", "m", Message::assistant("{\"name\": \"An"));
        let model = ScriptedModel::new().response(response.with_finish_reason(reason));
        let error = block_on(model.extract::<Person>("who?")).unwrap_err();
        assert_eq!(error.kind(), expected);
        assert!(error.partial().is_some());
        assert_eq!(model.requests().len(), 1);
    }
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mood {
    Good,
    Bad,
}

/// A recursive type that is not an object at its root.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Tree {
    Leaf(i32),
    Node(Vec<Self>),
}

#[test]
fn types_that_are_not_objects_are_wrapped() {
    let model = ScriptedModel::new()
        .tool_call("final_result", json!({"value": "bad"}))
        .tool_call("final_result", json!({"value": [1, 2]}))
        .tool_call("final_result", json!({"value": [1, [2]]}))
        .tool_call("final_result", json!({"value": 7}));
    assert_eq!(block_on(model.extract::<Mood>("how?")).unwrap(), Mood::Bad);
    assert_eq!(
        block_on(model.extract::<Vec<u8>>("which?")).unwrap(),
        [1, 2]
    );
    let tree = Tree::Node(vec![Tree::Leaf(1), Tree::Node(vec![Tree::Leaf(2)])]);
    assert_eq!(block_on(model.extract::<Tree>("which?")).unwrap(), tree);
    assert_eq!(block_on(model.extract::<u32>("how many?")).unwrap(), 7);
    for request in model.requests() {
        let schema = request.tools[0].parameters.as_value().to_string();
        assert!(schema.contains("\"type\":\"object\""), "{schema}");
        assert!(!schema.contains("\"#\""), "{schema}");
    }
}
