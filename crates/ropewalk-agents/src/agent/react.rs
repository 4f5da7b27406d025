//! Tools for models that cannot call them: the format of `ReAct`.

use ropewalk_core::{Content, Message, Part, Role, ToolCall, ToolResult, ToolSpec};

use crate::trust::least_trust;
use crate::trust::text_with_trust;

/// What the model must not write itself.
pub(super) const STOP: &str = "\nObservation:";

/// What a reply in the format of `ReAct` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentStep {
    /// Use a tool.
    Action(AgentAction),
    /// Answer.
    Finish(AgentFinish),
}

/// A tool that should be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAction {
    /// What the model thought before; may be empty.
    pub thought: String,
    /// Name of the tool.
    pub tool: String,
    /// The input as it was written, without a code fence around it; may be empty.
    pub input: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFinish {
    /// What the model thought before; may be empty.
    pub thought: String,
    /// The answer.
    pub answer: String,
}

/// Why a reply could not be read, in words for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReActError {
    /// There is neither an action nor an answer.
    #[error(
        "the reply has neither `Action:` nor `Final Answer:`; write one of them at the beginning \
         of a line"
    )]
    NoStep,
    /// `Action:` names no tool.
    #[error("there is no name of a tool after `Action:`")]
    NoTool,
}

#[derive(Clone, Copy, PartialEq)]
enum Marker {
    Thought,
    Action,
    Input,
    Observation,
    Answer,
}

const MARKERS: [(&str, Marker); 5] = [
    ("action input:", Marker::Input),
    ("action:", Marker::Action),
    ("thought:", Marker::Thought),
    ("observation:", Marker::Observation),
    ("final answer:", Marker::Answer),
];

/// Reads a reply in the format of `ReAct`. Every text gives a step or an error; the time is linear
/// in its length.
///
/// Of several steps the first counts: after an action the model can only have made up what
/// follows. Case, marks of emphasis before a marker and code fences around the input do not
/// matter. Everything after `Final Answer:` is the answer.
///
/// ```
/// use ropewalk_agents::{AgentAction, AgentStep, parse_react};
///
/// let reply = "Thought: I need the price.\nAction: price\nAction Input: {\"city\": \"Oslo\"}";
/// assert_eq!(parse_react(reply)?, AgentStep::Action(AgentAction {
///     thought: "I need the price.".into(),
///     tool: "price".into(),
///     input: "{\"city\": \"Oslo\"}".into(),
/// }));
/// # Ok::<(), ropewalk_agents::ReActError>(())
/// ```
///
/// # Errors
/// [`ReActError`], fit to be shown to the model.
pub fn parse_react(reply: &str) -> Result<AgentStep, ReActError> {
    let mut thought = String::new();
    let mut action: Option<String> = None;
    let mut input: Option<String> = None;
    let mut at = 0;
    // Text before the first marker is thought too.
    let mut current = Marker::Thought;
    for line in reply.split_inclusive('\n') {
        let (marker, text) = match marker(line) {
            Some((found, skip)) => (Some(found), &line[skip..]),
            None => (None, line),
        };
        match marker {
            Some(Marker::Answer) if action.is_none() => {
                let skip = line.len() - text.len();
                let answer = reply[at + skip..].trim().to_owned();
                let thought = thought.trim().to_owned();
                return Ok(AgentStep::Finish(AgentFinish { thought, answer }));
            }
            Some(Marker::Answer | Marker::Observation) => break,
            // A second action, or a thought after the first one, is made up.
            Some(Marker::Action | Marker::Thought) if action.is_some() => break,
            Some(found) => current = found,
            None => {}
        }
        at += line.len();
        match current {
            Marker::Action => action.get_or_insert_default().push_str(text),
            Marker::Input if action.is_some() => input.get_or_insert_default().push_str(text),
            _ => thought.push_str(text),
        }
    }
    let Some(action) = action else {
        return Err(ReActError::NoStep);
    };
    let quotes = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'' | '*' | '[' | ']');
    let tool = action
        .lines()
        .map(|l| l.trim_matches(quotes))
        .find(|l| !l.is_empty());
    let tool = tool.ok_or(ReActError::NoTool)?.to_owned();
    let input = unfenced(input.as_deref().unwrap_or_default()).to_owned();
    let thought = thought.trim().to_owned();
    if tool.eq_ignore_ascii_case("final answer") {
        // A common slip of small models.
        let answer = input;
        return Ok(AgentStep::Finish(AgentFinish { thought, answer }));
    }
    Ok(AgentStep::Action(AgentAction {
        thought,
        tool,
        input,
    }))
}

/// Returns the marker a line begins with and where what it marks begins.
fn marker(line: &str) -> Option<(Marker, usize)> {
    let before = |c: char| c.is_whitespace() || matches!(c, '*' | '#' | '-' | '_' | '>');
    let text = line.trim_start_matches(before);
    let start = line.len() - text.len();
    let (word, found) = MARKERS.into_iter().find(|(word, _)| {
        let head = text.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
    })?;
    let after = &text[word.len()..];
    let rest = after.trim_start_matches('*');
    Some((found, start + word.len() + (after.len() - rest.len())))
}

/// Returns what is inside of a code fence that is around the whole text.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = || {
        let inside = text.strip_prefix("```")?.strip_suffix("```")?;
        let (language, rest) = inside.split_once('\n').unwrap_or(("", inside));
        let is_word = language.trim().chars().all(char::is_alphanumeric);
        Some(if is_word { rest } else { inside }.trim())
    };
    inside().unwrap_or(text)
}

/// Instructions, the tools and the format.
pub(super) fn instructions(instructions: &Content, specs: &[ToolSpec]) -> Content {
    let mut text = String::new();
    if !instructions.0.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str("You can use these tools:\n");
    for spec in specs {
        let parameters = serde_json::Value::from(spec.parameters.clone());
        let ToolSpec {
            name, description, ..
        } = spec;
        text.push_str(&format!("- {name}: {description}\n  Input: {parameters}\n"));
    }
    text.push_str(
        "\nAnswer in this form:\n\nThought: what to do next\nAction: the name of one tool\n\
         Action Input: its input, as a JSON object\n\nThen wait for the result, which comes as:\n\n\
         Observation: the result\n\nRepeat this as often as needed. When you can answer, write:\n\n\
         Thought: I can answer\nFinal Answer: the answer",
    );
    let mut parts = instructions.0.clone();
    parts.push(Part::text(text));
    Content(parts)
}

/// Writes calls and results as text.
pub(super) fn as_text(message: &Message) -> Message {
    let mut written = message.clone();
    match message.role {
        Role::Assistant if message.tool_calls().next().is_some() => {
            let thought = message.text();
            let mut text = format!("Thought: {}", thought.trim());
            for ToolCall {
                name, arguments, ..
            } in message.tool_calls()
            {
                text.push_str(&format!("\nAction: {name}\nAction Input: {arguments}"));
            }
            written.content = vec![text_with_trust(text, least_trust(message))];
        }
        Role::Tool => {
            written.role = Role::User;
            let text = |r: &ToolResult| format!("Observation: {}", r.text());
            let texts: Vec<String> = message.results().map(text).collect();
            written.content = vec![text_with_trust(texts.join("\n"), least_trust(message))];
        }
        _ => {}
    }
    written
}

/// What the model is told about a reply that could not be read.
pub(super) fn complaint(error: ReActError) -> Message {
    Message::user(format!("Observation: {error}."))
}

/// Returns the arguments of a call: an object as it is written; anything else as the only required
/// property, or the only property, of the tool when that is a text, which is what models without
/// practice in JSON mean by it.
pub(super) fn arguments(input: &str, spec: Option<&ToolSpec>) -> String {
    let text = input.trim();
    if text.is_empty() || text.starts_with('{') {
        return text.to_owned();
    }
    let wrapped = || {
        let schema = spec?.parameters.as_value();
        let properties = schema["properties"].as_object()?;
        let required = schema["required"].as_array().map(Vec::as_slice);
        let name = match (required.unwrap_or_default(), properties.len()) {
            ([one], _) => one.as_str()?,
            ([], 1) => properties.keys().next()?,
            _ => return None,
        };
        let is_text = properties.get(name)?["type"] == "string";
        let unquoted = serde_json::from_str::<String>(text);
        let value = unquoted.unwrap_or_else(|_| text.to_owned());
        is_text.then(|| serde_json::json!({ name: value }).to_string())
    };
    wrapped().unwrap_or_else(|| text.to_owned())
}
