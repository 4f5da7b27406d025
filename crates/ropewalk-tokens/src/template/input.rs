//! What a template is rendered with.

use super::date::DateTime;
use super::error::{Error, ErrorKind};
use super::json::Value;
use super::meter::Meter;
use super::value::Val;
use ropewalk_core::{Message, Part, Role, ToolSpec};
use std::sync::Arc;

/// A conversation and everything else that a chat template reads.
///
/// The fields mirror the arguments of `apply_chat_template` in `transformers`. Messages are JSON objects with `role`,
/// `content` and whatever else the template knows; [`from_messages`](Self::from_messages) makes them from the
/// project's own messages.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TemplateInput {
    /// The messages, each an object.
    pub messages: Vec<Value>,
    /// Tool descriptions (`{"type": "function", "function": {..}}`); `None` is what templates see as `none`.
    pub tools: Option<Vec<Value>>,
    /// Documents to ground the answer in, each an object with `title` and `text`.
    pub documents: Option<Vec<Value>>,
    /// Whether the text ends with the beginning of an assistant message. Off by default, as in the reference.
    pub add_generation_prompt: bool,
    /// Whether the text stops inside the last message, so that the model goes on with it.
    pub continue_final_message: bool,
    /// Special tokens by role, such as `bos_token`.
    pub special_tokens: Vec<(String, String)>,
    /// Further variables, such as `enable_thinking`; they win over special tokens of the same name.
    pub extra: Vec<(String, Value)>,
    /// The date that `strftime_now` prints. Without one the function does not exist, which templates that test for it
    /// notice; nothing here reads the clock.
    pub now: Option<DateTime>,
}

impl TemplateInput {
    /// Starts from messages in JSON.
    pub fn new(messages: impl IntoIterator<Item: Into<Value>>) -> Self {
        Self {
            messages: messages.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Starts from messages in JSON text: a list of objects.
    ///
    /// # Errors
    /// `Input` when the text is not a JSON list.
    pub fn from_json(messages: &str) -> Result<Self, Error> {
        match Value::from_json(messages)? {
            Value::Array(messages) => Ok(Self::new(messages)),
            _ => Err(Error::new(ErrorKind::Input, "messages must be a JSON list")),
        }
    }

    /// Starts from the project's messages.
    ///
    /// Text parts are joined into one string; with media between them the content is a list of `text` and media parts.
    /// Tool calls carry their arguments as objects (as text when the model wrote no valid JSON), reasoning goes to
    /// `reasoning_content`, and every tool result becomes a message of its own.
    #[must_use]
    pub fn from_messages(messages: &[Message]) -> Self {
        Self::new(messages.iter().flat_map(message))
    }

    /// Offers tools, in JSON.
    #[must_use]
    pub fn with_tools(mut self, tools: impl IntoIterator<Item: Into<Value>>) -> Self {
        self.tools = Some(tools.into_iter().map(Into::into).collect());
        self
    }

    /// Offers tools; no tools is the same as not calling this.
    ///
    /// The keys of the parameters come in the order that their schema keeps: sorted, unless the program turns on
    /// `preserve_order` of `serde_json`. Where a model should see them as they were written, give the tools as JSON text
    /// with [`with_tools`](Self::with_tools).
    #[must_use]
    pub fn with_tool_specs(self, tools: &[ToolSpec]) -> Self {
        if tools.is_empty() {
            return self;
        }
        self.with_tools(tools.iter().map(tool))
    }

    /// Sets the documents.
    #[must_use]
    pub fn with_documents(mut self, documents: impl IntoIterator<Item: Into<Value>>) -> Self {
        self.documents = Some(documents.into_iter().map(Into::into).collect());
        self
    }

    /// Says whether the text ends with the beginning of an assistant message.
    #[must_use]
    pub fn with_generation_prompt(mut self, add: bool) -> Self {
        self.add_generation_prompt = add;
        self
    }

    /// Says whether the model should go on with the last message.
    #[must_use]
    pub fn with_continue_final_message(mut self, go_on: bool) -> Self {
        self.continue_final_message = go_on;
        self
    }

    /// Sets a special token, such as `bos_token` or `eos_token`.
    #[must_use]
    pub fn with_special_token(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.special_tokens.push((name.into(), text.into()));
        self
    }

    /// Sets a further variable.
    #[must_use]
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.push((name.into(), value.into()));
        self
    }

    /// Sets the date that templates print.
    #[must_use]
    pub fn with_now(mut self, now: DateTime) -> Self {
        self.now = Some(now);
        self
    }

    /// The variables of a run: special tokens, extras, then the fixed names.
    pub(crate) fn variables(&self, messages: &[Value]) -> Result<Vec<(Arc<str>, Val)>, Box<Error>> {
        let mut out: Vec<(Arc<str>, Val)> = Vec::new();
        for (name, text) in &self.special_tokens {
            out.push((name.as_str().into(), text.as_str().into()));
        }
        for (name, value) in &self.extra {
            out.push((name.as_str().into(), Val::from_json(value, 0)?));
        }
        let list = |items: &[Value]| -> Result<Val, Box<Error>> {
            let items: Result<_, _> = items.iter().map(|v| Val::from_json(v, 1)).collect();
            Ok(Val::list(items?))
        };
        let optional = |items: &Option<Vec<Value>>| items.as_deref().map_or(Ok(Val::None), list);
        out.push(("messages".into(), list(messages)?));
        out.push(("tools".into(), optional(&self.tools)?));
        out.push(("documents".into(), optional(&self.documents)?));
        out.push((
            "add_generation_prompt".into(),
            self.add_generation_prompt.into(),
        ));
        Ok(out)
    }

    /// The messages as templates get them: objects, with reasoning under both of its names.
    pub(crate) fn prepared(&self) -> Result<Vec<Value>, Error> {
        let input = |message: &str| Err(Error::new(ErrorKind::Input, message));
        let objects = |items: &Option<Vec<Value>>| {
            items
                .iter()
                .flatten()
                .all(|item| matches!(item, Value::Object(_)))
        };
        if !objects(&self.tools) {
            return input(
                "Tools should either be a JSON schema, or a callable function with type hints and a docstring suitable for auto-conversion to a schema.",
            );
        }
        if !objects(&self.documents) {
            return input("Documents should be a list of dicts with 'title' and 'text' keys!");
        }
        let mut out = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            let Value::Object(entries) = message else {
                let shown = Val::from_json(message, 0).and_then(|v| v.repr(&Meter::unlimited()));
                let shown = shown.map_err(|e| *e)?;
                return input(&format!(
                    "Chat messages should be dicts, dataclasses or pydantic models, but got {shown}."
                ));
            };
            out.push(Value::Object(with_reasoning(message, entries)));
        }
        Ok(out)
    }
}

/// `{"thinking": r, **message, "reasoning_content": r}`, as `_alias_reasoning_fields` does.
fn with_reasoning(message: &Value, entries: &[(String, Value)]) -> Vec<(String, Value)> {
    let names = ["reasoning_content", "thinking", "reasoning"];
    let found = names
        .iter()
        .find_map(|name| message.get(name).filter(|v| **v != Value::Null));
    let Some(reasoning) = found else {
        return entries.to_vec();
    };
    let mut out = vec![("thinking".to_owned(), reasoning.clone())];
    out.extend(entries.iter().cloned());
    out.push(("reasoning_content".to_owned(), reasoning.clone()));
    out
}

fn tool(spec: &ToolSpec) -> Value {
    let function = Value::object([
        ("name", Value::from(spec.name.as_str())),
        ("description", Value::from(spec.description.as_str())),
        ("parameters", Value::from(spec.parameters.as_value())),
    ]);
    Value::object([("type", Value::from("function")), ("function", function)])
}

fn message(message: &Message) -> Vec<Value> {
    let mut out = Vec::new();
    let own: Vec<&Part> = message
        .content
        .iter()
        .filter(|p| !matches!(p, Part::ToolResult(_)))
        .collect();
    if message.role != Role::Tool || !own.is_empty() {
        let mut entries = vec![("role", Value::from(message.role.as_str()))];
        if let Some(name) = &message.name {
            entries.push(("name", Value::from(name.as_str())));
        }
        entries.push(("content", content(own.iter().copied())));
        let reasoning = message.reasoning();
        if !reasoning.is_empty() {
            entries.push(("reasoning_content", reasoning.into()));
        }
        let calls: Vec<Value> = message.tool_calls().map(call).collect();
        if !calls.is_empty() {
            entries.push(("tool_calls", Value::Array(calls)));
        }
        out.push(Value::object(entries));
    }
    for result in message.results() {
        out.push(Value::object([
            ("role", Value::from("tool")),
            ("tool_call_id", Value::from(result.call_id.as_str())),
            ("name", Value::from(result.name.as_str())),
            ("content", content(result.content.iter())),
        ]));
    }
    out
}

/// One string, or a list of parts when there is more than text.
fn content<'a>(parts: impl Iterator<Item = &'a Part> + Clone) -> Value {
    let kind = |part: &Part| match part {
        Part::Image(_) => Some("image"),
        Part::Audio(_) => Some("audio"),
        Part::Video(_) => Some("video"),
        Part::Document(_) => Some("document"),
        _ => None,
    };
    if !parts.clone().any(|p| kind(p).is_some()) {
        return Value::String(parts.filter_map(Part::as_text).collect());
    }
    let items = parts.filter_map(|part| match (part.as_text(), kind(part)) {
        (Some(text), _) => Some(Value::object([
            ("type", Value::from("text")),
            ("text", Value::from(text)),
        ])),
        (None, Some(kind)) => Some(Value::object([("type", Value::from(kind))])),
        _ => None,
    });
    Value::Array(items.collect())
}

fn call(call: &ropewalk_core::ToolCall) -> Value {
    let text = if call.arguments.trim().is_empty() {
        "{}"
    } else {
        &call.arguments
    };
    let arguments = match Value::from_json(text) {
        Ok(value @ Value::Object(_)) => value,
        _ => Value::from(call.arguments.as_str()),
    };
    let function = Value::object([
        ("name", Value::from(call.name.as_str())),
        ("arguments", arguments),
    ]);
    Value::object([
        ("id", Value::from(call.id.as_str())),
        ("type", Value::from("function")),
        ("function", function),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::{Media, MediaSource, Reasoning, ToolCall, ToolResult};

    #[test]
    fn messages_become_what_templates_expect() {
        let messages = [
            Message::system("Be brief."),
            Message::user("Price?"),
            Message::assistant(Part::Reasoning(Reasoning::new("Look it up.")))
                .with_part(Part::text("One "))
                .with_part(Part::text("moment."))
                .with_part(Part::ToolCall(ToolCall::new(
                    "call_1",
                    "price",
                    r#"{"to": "Rome", "n": 1.0}"#,
                ))),
            Message::tool(ToolResult::new("call_1", "price", "799")),
        ];
        let input = TemplateInput::from_messages(&messages);
        let json = serde_json::to_string(&input.messages).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"Price?"},"#,
                r#"{"role":"assistant","content":"One moment.","reasoning_content":"Look it up.","#,
                r#""tool_calls":[{"id":"call_1","type":"function","function":{"name":"price","arguments":{"to":"Rome","n":1.0}}}]},"#,
                r#"{"role":"tool","tool_call_id":"call_1","name":"price","content":"799"}]"#
            )
        );
    }

    #[test]
    fn media_make_a_list_of_parts() {
        let image = Part::Image(Media::new(MediaSource::Url(
            "https://example.org/a.png".into(),
        )));
        let message = Message::user([Part::text("What?"), image]);
        let input = TemplateInput::from_messages(&[message]);
        assert_eq!(
            serde_json::to_string(&input.messages[0]).unwrap(),
            r#"{"role":"user","content":[{"type":"text","text":"What?"},{"type":"image"}]}"#
        );
    }
}
