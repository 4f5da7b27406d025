//! The rules behind [`ChatRequest::validate`].

use std::collections::HashSet;

use schemars::Schema;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::media::{Media, MediaSource};
use crate::message::{Message, Role};
use crate::part::Part;
use crate::request::{ChatRequest, Options, ResponseFormat, ToolChoice};

/// Longest tool and schema name that every provider accepts.
const LONGEST_NAME: usize = 64;

pub(crate) fn request(request: &ChatRequest) -> Result<()> {
    if request.messages.is_empty() {
        return invalid("messages", "the request has no messages");
    }
    for (i, m) in request.messages.iter().enumerate() {
        message(&format!("messages[{i}]"), m)?;
    }
    calls_have_results(&request.messages)?;
    tools(request)?;
    if let ResponseFormat::JsonSchema { name, schema, .. } = &request.response_format {
        if !is_name(name) {
            return invalid("response_format.name", &bad_name(name));
        }
        if !matches!(schema.as_value(), Value::Object(_)) {
            return invalid("response_format.schema", "the schema must be a JSON object");
        }
    }
    options(&request.options)
}

/// Returns whether `name` matches `[A-Za-z0-9_-]{1,64}`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn bad_name(name: &str) -> String {
    format!("name {name:?} must be 1 to {LONGEST_NAME} letters, digits, `_` or `-`")
}

fn invalid<T>(place: &str, problem: &str) -> Result<T> {
    Err(Error::invalid_request(format!("{place}: {problem}")))
}

fn message(place: &str, message: &Message) -> Result<()> {
    let role = message.role;
    // Models do answer with nothing; such a turn must not make the conversation unusable.
    if message.content.is_empty() && role != Role::Assistant {
        return invalid(place, &format!("the {role} message is empty"));
    }
    let only_blank = message
        .content
        .iter()
        .all(|p| p.as_text().is_some_and(|t| t.trim().is_empty()));
    if only_blank && matches!(role, Role::System | Role::User) {
        return invalid(place, &format!("the {role} message has no text"));
    }
    let mut ids = HashSet::new();
    for (i, part) in message.content.iter().enumerate() {
        let place = format!("{place}.content[{i}]");
        if !fits(role, part) {
            return invalid(
                &place,
                &format!("a {role} message cannot hold a {} part", part.kind()),
            );
        }
        match part {
            Part::Image(m) | Part::Audio(m) | Part::Video(m) | Part::Document(m) => {
                media(&place, m)?;
            }
            Part::ToolCall(call) if call.id.is_empty() => {
                return invalid(&place, "the tool call has no id");
            }
            Part::ToolCall(call) if call.name.is_empty() => {
                return invalid(&place, "the tool call has no name");
            }
            Part::ToolCall(call) if !ids.insert(call.id.as_str()) => {
                return invalid(&place, &format!("tool call id {:?} occurs twice", call.id));
            }
            Part::ToolResult(result) => {
                for (i, part) in result.content.iter().enumerate() {
                    result_part(&format!("{place}.content[{i}]"), part)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a tool returns is text, media, or an item of the provider.
fn result_part(place: &str, part: &Part) -> Result<()> {
    match part {
        Part::Text { .. } | Part::Opaque { .. } => Ok(()),
        Part::Image(m) | Part::Audio(m) | Part::Video(m) | Part::Document(m) => media(place, m),
        other => invalid(
            place,
            &format!("a tool result cannot hold a {} part", other.kind()),
        ),
    }
}

fn fits(role: Role, part: &Part) -> bool {
    let is_media = matches!(
        part,
        Part::Image(_) | Part::Audio(_) | Part::Video(_) | Part::Document(_)
    );
    match (role, part) {
        (_, Part::Opaque { .. })
        | (Role::System | Role::User | Role::Assistant, Part::Text { .. }) => true,
        (Role::User, _) => is_media,
        (Role::Assistant, part) => !matches!(part, Part::ToolResult(_)),
        (Role::Tool, part) => matches!(part, Part::ToolResult(_)),
        (Role::System, _) => false,
    }
}

fn media(place: &str, media: &Media) -> Result<()> {
    let empty = match &media.source {
        MediaSource::Url(url) => url.is_empty(),
        MediaSource::Bytes(bytes) => bytes.is_empty(),
        MediaSource::FileId(id) => id.is_empty(),
    };
    if empty {
        invalid(place, "the media has no content")
    } else {
        Ok(())
    }
}

/// Providers refuse histories in which a call lacks its result or a result its call.
fn calls_have_results(messages: &[Message]) -> Result<()> {
    let mut open: Vec<&str> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        for result in message.results() {
            if result.call_id.is_empty() {
                let problem = format!(
                    "a tool result has no call_id, and which of the {} calls without a result it answers is not clear",
                    open.len()
                );
                return invalid(&format!("messages[{i}]"), &problem);
            }
            match open.iter().position(|id| *id == result.call_id) {
                Some(at) => {
                    open.remove(at);
                }
                None => {
                    let problem = format!("no tool call before it has the id {:?}", result.call_id);
                    return invalid(&format!("messages[{i}]"), &problem);
                }
            }
        }
        if message.role != Role::Tool {
            unanswered(&open)?;
            open.extend(message.tool_calls().map(|c| c.id.as_str()));
        }
    }
    unanswered(&open)
}

fn unanswered(open: &[&str]) -> Result<()> {
    match open.first() {
        None => Ok(()),
        Some(id) => invalid(
            "messages",
            &format!("tool call {id:?} has no result right after it"),
        ),
    }
}

fn tools(request: &ChatRequest) -> Result<()> {
    let mut names = HashSet::new();
    for (i, tool) in request.tools.iter().enumerate() {
        let place = format!("tools[{i}]");
        if !is_name(&tool.name) {
            return invalid(&place, &bad_name(&tool.name));
        }
        if !names.insert(tool.name.as_str()) {
            return invalid(&place, &format!("name {:?} occurs twice", tool.name));
        }
        if !describes_object(&tool.parameters) {
            return invalid(&place, "the parameters must be a schema of type `object`");
        }
    }
    match &request.tool_choice {
        ToolChoice::Required if names.is_empty() => {
            invalid("tool_choice", "a tool is required but there are none")
        }
        ToolChoice::Tool(name) if !names.contains(name.as_str()) => {
            invalid("tool_choice", &format!("there is no tool {name:?}"))
        }
        _ => Ok(()),
    }
}

/// Returns whether a schema is an object whose `type`, if given, is `object`.
pub(crate) fn describes_object(schema: &Schema) -> bool {
    let Some(object) = schema.as_object() else {
        return false;
    };
    object.get("type").is_none_or(|t| t == "object")
}

fn options(options: &Options) -> Result<()> {
    let Options {
        temperature,
        top_p,
        top_k,
        max_tokens,
        stop,
        seed: _,
        frequency_penalty,
        presence_penalty,
        logprobs: _,
        reasoning: _,
        parallel_tool_calls: _,
        cache: _,
        cache_key: _,
        user: _,
    } = options;
    let check = |name: &str, ok: bool, rule: &str| {
        if ok {
            Ok(())
        } else {
            invalid(&format!("options.{name}"), rule)
        }
    };
    check(
        "temperature",
        temperature.is_none_or(|t| t.is_finite() && t >= 0.0),
        "must be 0 or more",
    )?;
    check(
        "top_p",
        top_p.is_none_or(|p| p > 0.0 && p <= 1.0),
        "must be above 0 and at most 1",
    )?;
    check("top_k", *top_k != Some(0), "must be 1 or more")?;
    check("max_tokens", *max_tokens != Some(0), "must be 1 or more")?;
    check(
        "stop",
        stop.iter().all(|s| !s.is_empty()),
        "must not hold an empty text",
    )?;
    let finite = |x: &Option<f32>| x.is_none_or(f32::is_finite);
    check(
        "frequency_penalty",
        finite(frequency_penalty),
        "must be finite",
    )?;
    check(
        "presence_penalty",
        finite(presence_penalty),
        "must be finite",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::{Reasoning, ToolCall, ToolResult};
    use crate::tool::ToolSpec;

    fn problem(request: &ChatRequest) -> String {
        let error = request.validate().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidRequest);
        error.message().to_owned()
    }

    fn call(id: &str) -> Part {
        Part::ToolCall(ToolCall::new(id, "f", "{}"))
    }

    fn result(id: &str) -> Message {
        Message::tool(ToolResult::new(id, "f", "ok"))
    }

    fn spec(name: &str) -> ToolSpec {
        ToolSpec::new(name, "a tool", schemars::json_schema!({"type": "object"}))
    }

    #[test]
    fn accepts_a_whole_conversation() {
        let request = ChatRequest::new()
            .system("s")
            .user(vec![Part::text("see"), Part::image_url("http://x")])
            .message(Message::assistant([
                Part::Reasoning(Reasoning::new("hm")),
                call("a"),
                call("b"),
            ]))
            .message(result("b"))
            .message(result("a"))
            .assistant("done")
            .message(Message::assistant(vec![]))
            .user("thanks")
            .tool(spec("f"))
            .tool_choice(ToolChoice::Tool("f".into()))
            .temperature(0.0)
            .top_p(1.0);
        request.validate().unwrap();
    }

    #[test]
    fn refuses_empty_and_misplaced_content() {
        let cases = [
            (ChatRequest::new(), "no messages"),
            (
                ChatRequest::from(""),
                "messages[0]: the user message has no text",
            ),
            (ChatRequest::new().user(vec![]), "the user message is empty"),
            (
                ChatRequest::new().user("x").system(" \n"),
                "the system message has no text",
            ),
            (
                ChatRequest::new().message(Message::tool_results([])),
                "the tool message is empty",
            ),
            (
                ChatRequest::new().user(call("a")),
                "messages[0].content[0]: a user message cannot hold a tool_call part",
            ),
            (
                ChatRequest::new().user("x").system(Part::image_url("u")),
                "a system message cannot hold a image part",
            ),
            (
                ChatRequest::new().message(Message::new(Role::Tool, "text")),
                "a tool message cannot hold a text part",
            ),
            (
                ChatRequest::new().user(Part::image_url("")),
                "the media has no content",
            ),
        ];
        for (request, expected) in cases {
            let problem = problem(&request);
            assert!(problem.contains(expected), "{problem} != {expected}");
        }
    }

    #[test]
    fn pairs_calls_with_results() {
        let start = || ChatRequest::from("x");
        let calls = || start().message(Message::assistant([call("a"), call("b")]));
        let cases = [
            (
                start().message(result("a")),
                "no tool call before it has the id \"a\"",
            ),
            (
                calls().message(result("a")).user("y"),
                "tool call \"b\" has no result",
            ),
            (calls(), "tool call \"a\" has no result"),
            (
                calls().message(result("a")).message(result("a")),
                "has the id \"a\"",
            ),
            (
                start().message(Message::assistant([call("a"), call("a")])),
                "occurs twice",
            ),
            (start().message(Message::assistant(call(""))), "has no id"),
        ];
        for (request, expected) in cases {
            let problem = problem(&request);
            assert!(problem.contains(expected), "{problem} != {expected}");
        }
    }

    #[test]
    fn results_hold_no_calls_and_results() {
        let nested = [
            call("b"),
            Part::from(ToolResult::new("b", "f", "x")),
            Part::from(Reasoning::new("hm")),
        ];
        for part in nested {
            let kind = part.kind();
            let request = ChatRequest::from("x")
                .message(Message::assistant(call("a")))
                .message(Message::tool(ToolResult::new("a", "f", part)));
            let problem = problem(&request);
            let expected = format!(
                "messages[2].content[0].content[0]: a tool result cannot hold a {kind} part"
            );
            assert!(problem.contains(&expected), "{problem}");
        }
    }

    #[test]
    fn a_result_without_id_gets_it_when_one_call_is_meant() {
        let calls = |names: &[&str]| {
            let call = |(i, name): (usize, &&str)| {
                Part::from(ToolCall::new(format!("id{i}"), *name, "{}"))
            };
            let parts: Vec<Part> = names.iter().enumerate().map(call).collect();
            ChatRequest::from("x").message(Message::assistant(parts))
        };
        let result = |name: &str| Message::tool(ToolResult::new("", name, "ok"));
        let ids = |request: ChatRequest| {
            request.validate().unwrap();
            let json = serde_json::to_string(&request).unwrap();
            assert_eq!(serde_json::from_str::<ChatRequest>(&json).unwrap(), request);
            let results = request.messages.iter().flat_map(Message::results);
            results.map(|r| r.call_id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(calls(&["f"]).message(result(""))), ["id0"]);
        let by_name = calls(&["f", "g"]).messages([result("g"), result("")]);
        assert_eq!(ids(by_name), ["id1", "id0"]);
        let ambiguous = calls(&["f", "f"]).messages([result("f"), result("f")]);
        let problem = problem(&ambiguous);
        assert!(
            problem.contains("messages[2]: a tool result has no call_id, and which of the 2 calls"),
            "{problem}"
        );
        let json = r#"{"messages": [{"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "ok"}]}"#;
        assert_eq!(ids(serde_json::from_str(json).unwrap()), ["call_0"]);
    }

    #[test]
    fn checks_tools_and_options() {
        let x = || ChatRequest::from("x");
        let not_object = ToolSpec::new("f", "", schemars::json_schema!({"type": "string"}));
        let format = ResponseFormat::JsonSchema {
            name: "a b".into(),
            schema: schemars::json_schema!({}),
            strict: true,
        };
        let cases = [
            (x().tool(spec("my tool")), "tools[0]: name \"my tool\""),
            (x().tool(spec(&"a".repeat(65))), "tools[0]: name"),
            (
                x().tool(spec("f")).tool(spec("f")),
                "tools[1]: name \"f\" occurs twice",
            ),
            (x().tool(not_object), "type `object`"),
            (x().tool_choice(ToolChoice::Required), "there are none"),
            (
                x().tool_choice(ToolChoice::Tool("g".into())),
                "there is no tool \"g\"",
            ),
            (x().response_format(format), "response_format.name"),
            (x().temperature(f32::NAN), "options.temperature"),
            (x().temperature(-0.1), "options.temperature"),
            (x().top_p(0.0), "options.top_p"),
            (x().max_tokens(0), "options.max_tokens"),
            (x().stop(""), "options.stop"),
        ];
        for (request, expected) in cases {
            let problem = problem(&request);
            assert!(problem.contains(expected), "{problem} != {expected}");
        }
    }
}
