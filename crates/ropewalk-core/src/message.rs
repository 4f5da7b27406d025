//! Messages of a conversation.

use std::collections::HashSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::media::{Media, MediaSource};
use crate::part::{Part, Reasoning, ToolCall, ToolResult, text_or_json};

/// Who speaks.
///
/// On input the names other formats use are accepted too: `developer` (system), `human` (user),
/// `model` and `gpt` (assistant), `function` and `ipython` (tool).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the application.
    #[serde(alias = "developer")]
    System,
    /// The person.
    #[serde(alias = "human")]
    User,
    /// The model.
    #[serde(alias = "model", alias = "gpt")]
    Assistant,
    /// Results of tools the model called.
    #[serde(alias = "function", alias = "ipython")]
    Tool,
}

impl Role {
    /// Returns the lower-case name: `system`, `user`, `assistant` or `tool`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One turn of a conversation.
///
/// The same type feeds providers, chat templates and training sets, so it reads more than it
/// writes. Written is `{"role", "content": [parts]}`. Read is, besides that, the shape of OpenAI
/// and Hugging Face: `content` as a string or null, `tool_calls` (arguments as text or as an
/// object), `tool_call_id`, `reasoning_content` or `reasoning`, and `image_url`, `input_audio` and
/// `refusal` parts. A tool message without `tool_call_id` gets the id of the call it answers when a
/// [`ChatRequest`](crate::ChatRequest) takes it up, provided that only one call can be meant.
///
/// ```
/// use ropewalk_core::{Message, Role};
///
/// let line = r#"{"role": "user", "content": "hi"}"#;
/// let message: Message = serde_json::from_str(line)?;
/// assert_eq!(message, Message::user("hi"));
/// assert_eq!(message.role, Role::User);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Part>,
    /// Name of the speaker, where the provider knows such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The provider's id of the message, replayed only to the provider that issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Message {
    /// Creates a message of any role.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self {
            role,
            content: content.into().0,
            name: None,
            id: None,
        }
    }

    /// Creates instructions of the application.
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    /// Creates a message of the person.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content)
    }

    /// Creates a message of the model.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// Creates a message with the result of one tool call.
    #[must_use]
    pub fn tool(result: ToolResult) -> Self {
        Self::new(Role::Tool, Part::ToolResult(result))
    }

    /// Creates a message with the results of several tool calls, in order.
    pub fn tool_results(results: impl IntoIterator<Item = ToolResult>) -> Self {
        let parts: Vec<Part> = results.into_iter().map(Part::ToolResult).collect();
        Self::new(Role::Tool, parts)
    }

    /// Sets the name of the speaker.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the provider's id of the message.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Appends a part.
    #[must_use]
    pub fn with_part(mut self, part: impl Into<Part>) -> Self {
        self.content.push(part.into());
        self
    }

    /// Returns all text parts, concatenated; not reasoning, calls or results.
    #[must_use]
    pub fn text(&self) -> String {
        self.content.iter().filter_map(Part::as_text).collect()
    }

    /// Returns all readable reasoning, concatenated.
    #[must_use]
    pub fn reasoning(&self) -> String {
        self.content
            .iter()
            .filter_map(Part::as_reasoning)
            .map(|r| r.text.as_str())
            .collect()
    }

    /// Yields the tools the model wants to have called, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(Part::as_tool_call)
    }

    /// Yields the tool results of this message, in order.
    pub fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.content.iter().filter_map(Part::as_tool_result)
    }
}

/// What a message can be made from: text, a part, or several parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content(pub Vec<Part>);

impl Content {
    /// Returns all text parts, concatenated.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().filter_map(Part::as_text).collect()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self(vec![Part::text(text)])
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self(vec![Part::text(text)])
    }
}

impl From<&String> for Content {
    fn from(text: &String) -> Self {
        Self(vec![Part::text(text.as_str())])
    }
}

impl From<Part> for Content {
    fn from(part: Part) -> Self {
        Self(vec![part])
    }
}

impl From<Vec<Part>> for Content {
    fn from(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}

impl<const N: usize> From<[Part; N]> for Content {
    fn from(parts: [Part; N]) -> Self {
        Self(parts.into())
    }
}

// ---- reading -----------------------------------------------------------------------------------

/// Everything that is read; see [`Message`].
#[derive(Deserialize)]
struct Inbound {
    role: Role,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    /// The same under the name of other servers; some write both.
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<InboundCall>>,
    #[serde(default)]
    function_call: Option<InboundFunction>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

/// `{"id", "function": {"name", "arguments"}}`, or the function's fields without the wrapper.
#[derive(Deserialize)]
struct InboundCall {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<InboundFunction>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "text_or_json")]
    arguments: String,
}

#[derive(Deserialize)]
struct InboundFunction {
    name: String,
    #[serde(default, deserialize_with = "text_or_json")]
    arguments: String,
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let inbound = Inbound::deserialize(deserializer)?;
        let mut content = Vec::new();
        let reasoning = [inbound.reasoning_content, inbound.reasoning];
        let reasoning = reasoning.into_iter().flatten().find(|t| !t.is_empty());
        content.extend(reasoning.map(|text| Part::Reasoning(Reasoning::new(text))));
        content.extend(parts(inbound.content).map_err(D::Error::custom)?);
        let mut calls = Vec::new();
        for (i, call) in inbound.tool_calls.into_iter().flatten().enumerate() {
            let function = match (call.function, call.name) {
                (Some(function), _) => function,
                (None, Some(name)) => InboundFunction {
                    name,
                    arguments: call.arguments,
                },
                (None, None) => {
                    return Err(D::Error::custom(format!("tool_calls[{i}] has no name")));
                }
            };
            calls.push((call.id.unwrap_or_default(), function));
        }
        calls.extend(inbound.function_call.map(|f| (String::new(), f)));
        if !calls.is_empty() {
            // An assistant turn written as `"content": ""` beside its calls has no text part.
            content.retain(|p| p.as_text() != Some(""));
            add_calls(&mut content, calls);
        }
        let mut name = inbound.name;
        let has_result = content.iter().any(|p| p.as_tool_result().is_some());
        if inbound.role == Role::Tool && !has_result {
            let call_id = inbound.tool_call_id.unwrap_or_default();
            let tool = name.take().unwrap_or_default();
            content = vec![Part::ToolResult(ToolResult::new(call_id, tool, content))];
        }
        Ok(Self {
            role: inbound.role,
            content,
            name,
            id: inbound.id,
        })
    }
}

/// Adds calls as parts, minting the ids that are missing.
fn add_calls(content: &mut Vec<Part>, calls: Vec<(String, InboundFunction)>) {
    let parts = content.iter().filter_map(Part::as_tool_call);
    let ids = parts.map(|call| &call.id).chain(calls.iter().map(|c| &c.0));
    let mut taken: HashSet<String> = ids.filter(|id| !id.is_empty()).cloned().collect();
    for (i, (mut id, function)) in calls.into_iter().enumerate() {
        if id.is_empty() {
            let mut free = (i..).map(|i| format!("call_{i}"));
            id = free.find(|id| !taken.contains(id)).unwrap_or_default();
            taken.insert(id.clone());
        }
        let InboundFunction { name, arguments } = function;
        content.push(Part::ToolCall(ToolCall::new(id, name, arguments)));
    }
}

/// Gives the results of the last message that name no call the id of the call they answer, where
/// only one is possible: the only one without a result, or the only one of the result's name.
pub(crate) fn link_last(messages: &mut [Message]) {
    let Some((last, earlier)) = messages.split_last_mut() else {
        return;
    };
    if last.results().all(|r| !r.call_id.is_empty()) {
        return;
    }
    let Some(asked) = earlier.iter().rposition(|m| m.role != Role::Tool) else {
        return;
    };
    let answered = earlier[asked..].iter().flat_map(Message::results);
    let mut answered: HashSet<String> = answered
        .chain(last.results())
        .map(|r| r.call_id.clone())
        .collect();
    for part in &mut last.content {
        let Part::ToolResult(result) = part else {
            continue;
        };
        if !result.call_id.is_empty() {
            continue;
        }
        let named = |call: &&ToolCall| result.name.is_empty() || call.name == result.name;
        let calls = earlier[asked].tool_calls();
        let mut open = calls.filter(|c| !answered.contains(&c.id)).filter(named);
        if let (Some(call), None) = (open.next(), open.next()) {
            result.call_id.clone_from(&call.id);
            result.name.clone_from(&call.name);
            answered.insert(call.id.clone());
        }
    }
}

/// Reads the messages of a conversation; see [`link_last`].
pub(crate) fn linked<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Message>, D::Error> {
    let mut messages = Vec::<Message>::deserialize(d)?;
    for end in 1..=messages.len() {
        link_last(&mut messages[..end]);
    }
    Ok(messages)
}

/// Reads the content of a tool result: a string, null, a part, or a list of parts.
pub(crate) fn parts_or_text<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Part>, D::Error> {
    parts(Value::deserialize(d)?).map_err(D::Error::custom)
}

fn parts(content: Value) -> Result<Vec<Part>, String> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Part::text(text)]),
        Value::Object(_) => Ok(vec![part(content)?]),
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(i, item)| part(item).map_err(|e| format!("content[{i}]: {e}")))
            .collect(),
        _ => Err("content must be a string, null or a list of parts".into()),
    }
}

/// Reads one part, in our shape or in OpenAI's.
fn part(value: Value) -> Result<Part, String> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let read = match value.get("type").and_then(Value::as_str) {
        Some("image_url") => {
            let inner = &value["image_url"];
            text(inner).or_else(|| text(&inner["url"])).map(|url| {
                let mut media = Media::url(url);
                media.detail = text(&inner["detail"]);
                Part::Image(media)
            })
        }
        Some("input_audio") => {
            let inner = &value["input_audio"];
            let format = text(&inner["format"]).unwrap_or_else(|| "wav".into());
            let source = serde_json::json!({ "bytes": inner["data"] });
            let source: MediaSource = serde_json::from_value(source).map_err(|e| e.to_string())?;
            Some(Part::Audio(
                Media::new(source).with_mime(format!("audio/{format}")),
            ))
        }
        Some("refusal") => text(&value["refusal"]).map(Part::text),
        Some(_) => return serde_json::from_value(value).map_err(|e| e.to_string()),
        None if value.is_string() => text(&value).map(Part::text),
        None => None,
    };
    read.ok_or_else(|| "a part needs `type` and the field of that name".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Message {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn reads_openai_tool_turns() {
        let call = read(
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
                "function":{"name":"price","arguments":"{\"city\": \"Oslo\"}"}}]}"#,
        );
        let calls: Vec<_> = call.tool_calls().collect();
        assert_eq!(
            calls,
            [&ToolCall::new("c1", "price", r#"{"city": "Oslo"}"#)]
        );
        let result = read(r#"{"role":"tool","tool_call_id":"c1","name":"price","content":"$5"}"#);
        assert_eq!(result, Message::tool(ToolResult::new("c1", "price", "$5")));
    }

    #[test]
    fn reads_calls_without_wrapper_or_id() {
        let m = read(
            r#"{"role":"assistant","content":"","tool_calls":[{"name":"f","arguments":{"x":1}}]}"#,
        );
        assert_eq!(
            m,
            Message::assistant(ToolCall::new("call_0", "f", r#"{"x":1}"#).into_part())
        );
    }

    #[test]
    fn keeps_the_order_of_keys_in_arguments() {
        let m = read(
            r#"{"role":"assistant","tool_calls":[{"function":{"name":"f",
                "arguments":{"to": "Rome", "from": "Os\"lo", "at": {"z": [1, -2.5, null, true], "a": {}}}}}]}"#,
        );
        let expected = r#"{"to":"Rome","from":"Os\"lo","at":{"z":[1,-2.5,null,true],"a":{}}}"#;
        assert_eq!(m.tool_calls().next().unwrap().arguments, expected);
    }

    #[test]
    fn reads_reasoning_under_both_names() {
        for (json, expected) in [
            (
                r#"{"role":"assistant","reasoning":"a","reasoning_content":"a"}"#,
                "a",
            ),
            (
                r#"{"role":"assistant","reasoning":"a","reasoning_content":""}"#,
                "a",
            ),
            (
                r#"{"role":"assistant","reasoning":null,"reasoning_content":"b"}"#,
                "b",
            ),
            (r#"{"role":"assistant","reasoning":"c"}"#, "c"),
        ] {
            assert_eq!(read(json).reasoning(), expected);
        }
    }

    #[test]
    fn minted_ids_do_not_repeat_given_ones() {
        let m = read(
            r#"{"role":"assistant","content":"","tool_calls":[{"name":"f"},{"id":"call_0","name":"g"},{"name":"h"}],
                "function_call":{"name":"i"}}"#,
        );
        let ids: Vec<&str> = m.tool_calls().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["call_1", "call_0", "call_2", "call_3"]);
        assert_eq!(m.text(), "");
        assert_eq!(m.content.len(), 4);
    }

    #[test]
    fn reads_foreign_parts() {
        let m = read(
            r#"{"role":"user","content":[{"type":"text","text":"see"},
                {"type":"image_url","image_url":{"url":"http://x/a.png","detail":"low"}},
                {"type":"input_audio","input_audio":{"data":"AAE=","format":"mp3"}}]}"#,
        );
        let audio = Media::bytes(vec![0u8, 1], "audio/mp3");
        let image = Media::url("http://x/a.png").with_detail("low");
        let expected = [Part::text("see"), Part::Image(image), Part::Audio(audio)];
        assert_eq!(m, Message::user(expected));
    }

    #[test]
    fn round_trips_its_own_shape() {
        let m = Message::assistant([
            Part::Reasoning(Reasoning::new("hm").with_signature("anthropic", "sig")),
            Part::text("ok"),
            Part::image(vec![1u8, 2, 3], "image/png"),
            Part::ToolCall(ToolCall::new("a", "f", "{bad json")),
        ])
        .with_id("msg_1");
        assert_eq!(read(&serde_json::to_string(&m).unwrap()), m);
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            (
                r#"{"role":"robot","content":""}"#,
                "unknown variant `robot`",
            ),
            (r#"{"role":"user","content":5}"#, "content must be"),
            (
                r#"{"role":"user","content":[{"type":"text"}]}"#,
                "content[0]: missing field `text`",
            ),
            (
                r#"{"role":"user","content":[{"type":"hologram"}]}"#,
                "unknown variant `hologram`",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{}]}"#,
                "tool_calls[0] has no name",
            ),
        ];
        for (json, expected) in cases {
            let error = serde_json::from_str::<Message>(json)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    impl ToolCall {
        fn into_part(self) -> Part {
            Part::ToolCall(self)
        }
    }
}
