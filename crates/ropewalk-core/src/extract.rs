//! Typed replies: from a Rust type to a schema, to a request, to a value, with repair.

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::chat::ChatModel;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::part::{Part, ToolResult};
use crate::request::{ChatRequest, ResponseFormat, ToolChoice};
use crate::response::{ChatResponse, FinishReason, Usage};
use crate::tool::ToolSpec;
use crate::validate::describes_object;

/// Name of the tool through which [`ExtractMode::Tool`] gets the value.
const RESULT_TOOL: &str = "final_result";

/// Field that holds the value when `T` is not an object.
const WRAPPED: &str = "value";

/// How a typed reply is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExtractMode {
    /// `Native` if the model enforces schemas (with tools, if the request has some), else `Tool`
    /// if it calls tools, else `Prompt`.
    #[default]
    Auto,
    /// The provider or the local sampler enforces the schema.
    Native,
    /// The model must call the tool `final_result` (`final_result_2` and so on if the request has
    /// one of that name), whose parameters are the schema.
    Tool,
    /// The schema is put into the prompt; works with any model.
    Prompt,
}

/// How [`ChatModelExt::extract_with`](crate::ChatModelExt::extract_with) works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtractOptions {
    /// How the reply is asked for.
    pub mode: ExtractMode,
    /// How many times a reply that does not parse goes back for repair; 2 unless set.
    pub retries: u32,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            mode: ExtractMode::Auto,
            retries: 2,
        }
    }
}

impl ExtractOptions {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how the reply is asked for.
    #[must_use]
    pub fn with_mode(mut self, mode: ExtractMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how many times a reply goes back for repair.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// A typed reply and what it took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Extracted<T> {
    /// The value.
    pub value: T,
    /// Tokens of all attempts together.
    pub usage: Usage,
    /// How many times the model was asked.
    pub attempts: u32,
    /// The reply the value was read from.
    pub response: ChatResponse,
}

/// How a typed reply is asked for and read: what [`extract_with`] is made of, for those who talk to
/// the model in another way, for example streaming.
///
/// [`extract_with`]: crate::ChatModelExt::extract_with
///
/// ```
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_core::{ChatModel, ChatRequest, ExtractMode, ExtractPlan};
/// use serde_json::json;
///
/// # futures_executor::block_on(async {
/// let model = ScriptedModel::new().tool_call("final_result", json!({"value": ["a", "b"]}));
/// let mut request = ChatRequest::from("Name two letters.");
/// let plan = ExtractPlan::of::<Vec<char>, _>(&model, &request, ExtractMode::Auto);
/// plan.prepare(&mut request);
/// assert_eq!((plan.mode(), plan.tool()), (ExtractMode::Tool, Some("final_result")));
/// let letters: Vec<char> = plan.read(&model.chat(&request).await?)?;
/// assert_eq!(letters, ['a', 'b']);
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ExtractPlan {
    mode: ExtractMode,
    target: Target,
    /// Names of the request's own tools.
    tools: Vec<String>,
}

impl ExtractPlan {
    /// Plans to get a `T` from a model by a request.
    pub fn of<T: JsonSchema, M: ChatModel + ?Sized>(
        model: &M,
        request: &ChatRequest,
        mode: ExtractMode,
    ) -> Self {
        Self {
            mode: resolve(mode, model, request),
            target: Target::of::<T>(request),
            tools: request.tools.iter().map(|t| t.name.clone()).collect(),
        }
    }

    /// Makes the request ask for the value.
    pub fn prepare(&self, request: &mut ChatRequest) {
        self.target.ask(self.mode, request);
    }

    /// Returns how the value is asked for; not `Auto`.
    #[must_use]
    pub fn mode(&self) -> ExtractMode {
        self.mode
    }

    /// Returns the name of the tool whose arguments are the value, in [`ExtractMode::Tool`].
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        (self.mode == ExtractMode::Tool).then_some(self.target.tool.as_str())
    }

    /// Returns the name of the field that holds the value, when `T` is not an object itself.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.target.wrapped.then_some(WRAPPED)
    }

    /// Reads the value from a whole reply.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when the reply does not fit; [`ErrorKind::Truncated`] and
    /// [`ErrorKind::ContentFiltered`] when it was cut, [`ErrorKind::Tool`] when the model called a
    /// tool of the request instead. All of them carry the reply in [`Error::partial`].
    pub fn read<T: DeserializeOwned>(&self, response: &ChatResponse) -> Result<T> {
        refuse_incomplete(response)?;
        self.target.read(self.mode, response).or_else(|problem| {
            refuse_calls(response, &self.tools)?;
            let message = format!("{} did not fit: {problem}", self.target.name);
            Err(failed(ErrorKind::Schema, message, response))
        })
    }
}

fn failed(kind: ErrorKind, message: impl Into<String>, response: &ChatResponse) -> Error {
    Error::new(kind, message)
        .with_provider(response.provider.clone())
        .with_partial(response.clone())
}

pub(crate) async fn extract<T, M>(
    model: &M,
    mut request: ChatRequest,
    options: &ExtractOptions,
) -> Result<Extracted<T>>
where
    T: DeserializeOwned + JsonSchema + Send,
    M: ChatModel + ?Sized,
{
    let ExtractPlan {
        mode,
        target,
        tools,
    } = ExtractPlan::of::<T, M>(model, &request, options.mode);
    target.ask(mode, &mut request);
    let mut usage = Usage::default();
    let mut attempts = 0;
    loop {
        let response = model.chat(&request).await?;
        attempts += 1;
        usage += response.usage;
        refuse_incomplete(&response)?;
        let problem = match target.read::<T>(mode, &response) {
            Ok(value) => {
                return Ok(Extracted {
                    value,
                    usage,
                    attempts,
                    response,
                });
            }
            Err(problem) => problem,
        };
        refuse_calls(&response, &tools)?;
        if attempts > options.retries {
            let message = format!(
                "{} did not fit after {attempts} attempts: {problem}",
                target.name
            );
            return Err(failed(ErrorKind::Schema, message, &response));
        }
        ask_again(&mut request, response, &problem);
    }
}

fn resolve<M: ChatModel + ?Sized>(
    mode: ExtractMode,
    model: &M,
    request: &ChatRequest,
) -> ExtractMode {
    let can = model.capabilities();
    match mode {
        ExtractMode::Auto if can.json_schema_with_tools => ExtractMode::Native,
        ExtractMode::Auto if can.json_schema && request.tools.is_empty() => ExtractMode::Native,
        ExtractMode::Auto if can.tools => ExtractMode::Tool,
        ExtractMode::Auto => ExtractMode::Prompt,
        chosen => chosen,
    }
}

/// A cut or filtered reply is an error of its own: repairing it would ask for the impossible.
fn refuse_incomplete(response: &ChatResponse) -> Result<()> {
    let (kind, message) = match &response.finish_reason {
        FinishReason::Length => (
            ErrorKind::Truncated,
            "the reply was cut before it was complete; raise max_tokens".into(),
        ),
        FinishReason::ContentFilter => (
            ErrorKind::ContentFiltered,
            "a safety filter cut the reply".into(),
        ),
        FinishReason::Refusal => (
            ErrorKind::ContentFiltered,
            format!("the model refused: {}", response.text()),
        ),
        _ => return Ok(()),
    };
    Err(failed(kind, message, response))
}

/// Nobody here can run the tools of the request, and telling the model that its call is no JSON
/// would teach it not to use them.
fn refuse_calls(response: &ChatResponse, tools: &[String]) -> Result<()> {
    let is_called = |name: &&String| response.message.tool_calls().any(|c| c.name == **name);
    let Some(name) = tools.iter().find(is_called) else {
        return Ok(());
    };
    let message = format!(
        "the model called the tool `{name}`; extract does not run tools: leave them out of the \
         request, or run them first and extract from the conversation"
    );
    Err(failed(ErrorKind::Tool, message, response))
}

/// Appends the reply and what is wrong with it, in the form the reply calls for: providers refuse
/// a conversation in which a tool call has no result.
fn ask_again(request: &mut ChatRequest, response: ChatResponse, problem: &str) {
    let complaint = format!("{problem}\nCorrect this and answer again in the form asked for.");
    let results: Vec<ToolResult> = response
        .message
        .tool_calls()
        .map(|call| ToolResult::to(call, complaint.as_str()).as_error())
        .collect();
    if !response.message.content.is_empty() {
        request.messages.push(response.message);
    }
    request.messages.push(match results.is_empty() {
        true => Message::user(complaint),
        false => Message::tool_results(results),
    });
}

/// The schema of a type, always of type `object` as tools and strict output require.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    /// Name of the tool in [`ExtractMode::Tool`].
    tool: String,
    schema: Schema,
    wrapped: bool,
}

impl Target {
    fn of<T: JsonSchema>(request: &ChatRequest) -> Self {
        let schema = schemars::schema_for!(T);
        let wrapped = !describes_object(&schema) || !schema_is_plain_object(&schema);
        let allowed = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name = T::schema_name().chars().take(64).map(allowed).collect();
        let schema = if wrapped { wrap(schema) } else { schema };
        let numbered = (2..).map(|n| format!("{RESULT_TOOL}_{n}"));
        let mut names = std::iter::once(RESULT_TOOL.to_owned()).chain(numbered);
        let free = |name: &String| request.tools.iter().all(|t| t.name != *name);
        Self {
            name,
            tool: names.find(free).unwrap_or_default(),
            schema,
            wrapped,
        }
    }

    fn ask(&self, mode: ExtractMode, request: &mut ChatRequest) {
        match mode {
            ExtractMode::Native => {
                request.response_format = ResponseFormat::JsonSchema {
                    name: self.name.clone(),
                    schema: self.schema.clone(),
                    strict: true,
                };
            }
            ExtractMode::Tool => {
                let description = format!("Returns the final {} to the user.", self.name);
                let schema = self.schema.clone();
                let spec = ToolSpec::new(self.tool.clone(), description, schema);
                request.tools.push(spec);
                request.tool_choice = ToolChoice::Tool(self.tool.clone());
            }
            ExtractMode::Prompt | ExtractMode::Auto => {
                let rule = format!(
                    "Answer with one JSON object that matches this JSON schema, and nothing else:\n{}",
                    self.schema.as_value()
                );
                add_to_system(request, rule);
            }
        }
    }

    /// Reads the value, or says what is wrong in words fit for the model.
    fn read<T: DeserializeOwned>(
        &self,
        mode: ExtractMode,
        response: &ChatResponse,
    ) -> Result<T, String> {
        let mut calls = response.message.tool_calls();
        if let (ExtractMode::Tool, Some(call)) = (mode, calls.find(|c| c.name == self.tool)) {
            return self.parse(&call.arguments);
        }
        // Some models write the value into the text although a tool was demanded.
        let text = response.text();
        let mut first = None;
        for json in objects_in(&text) {
            match self.parse(json) {
                Ok(value) => return Ok(value),
                Err(problem) => {
                    // What is no JSON at all is prose; its problem counts only if there is no more.
                    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
                    let old: Option<(bool, String)> = first.take();
                    first = old.filter(|(known, _)| *known || !is_json);
                    first.get_or_insert((is_json, problem));
                }
            }
        }
        Err(match (first, response.message.tool_calls().next()) {
            (Some((_, problem)), _) => problem,
            (None, Some(call)) => format!("there is no tool `{}`", call.name),
            (None, None) => "the reply holds no JSON object".into(),
        })
    }

    fn parse<T: DeserializeOwned>(&self, json: &str) -> Result<T, String> {
        let explain = |e: serde_json::Error| format!("the JSON does not fit: {e}");
        if !self.wrapped {
            return serde_json::from_str(json).map_err(explain);
        }
        let mut object: Map<String, Value> = serde_json::from_str(json).map_err(explain)?;
        let value = object
            .remove(WRAPPED)
            .ok_or_else(|| format!("missing field `{WRAPPED}`"))?;
        serde_json::from_value(value).map_err(explain)
    }
}

/// Returns whether the root says `type: object` itself: tool parameters may not be a bare `$ref`,
/// `anyOf` or `enum` there.
fn schema_is_plain_object(schema: &Schema) -> bool {
    schema.get("type").is_some_and(|t| t == "object")
        && !["anyOf", "oneOf", "enum", "$ref"]
            .iter()
            .any(|k| schema.get(*k).is_some())
}

/// Makes `{"value": T}`, keeping shared definitions at the root where references point to.
fn wrap(mut schema: Schema) -> Schema {
    let definitions = schema.remove("$defs");
    schema.remove("$schema");
    let mut object = Map::new();
    object.insert("type".into(), json!("object"));
    let mut inner = schema.to_value();
    move_root_references(&mut inner);
    object.insert("properties".into(), json!({ WRAPPED: inner }));
    object.insert("required".into(), json!([WRAPPED]));
    object.insert("additionalProperties".into(), json!(false));
    if let Some(mut definitions) = definitions {
        move_root_references(&mut definitions);
        object.insert("$defs".into(), definitions);
    }
    object.into()
}

/// A recursive type refers to its own root as `#`, which wrapping moves.
fn move_root_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if key == "$ref" && inner == "#" {
                    *inner = format!("#/properties/{WRAPPED}").into();
                } else {
                    move_root_references(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_root_references),
        _ => {}
    }
}

/// Appends a rule to the leading system message, or makes one.
fn add_to_system(request: &mut ChatRequest, rule: String) {
    match request.messages.first_mut() {
        Some(first) if first.role == crate::Role::System => {
            first.content.push(Part::text(format!("\n\n{rule}")));
        }
        _ => request.messages.insert(0, Message::system(rule)),
    }
}

/// Yields what is between matching braces, in text that may have prose or a code fence around it.
/// What is inside of one is not looked at again: half of a cut object is not taken for the whole.
fn objects_in(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = &rest[rest.find('{')?..];
        let object = first_object(rest);
        rest = &rest[object.len()..];
        Some(object)
    })
}

/// Returns the balanced object that text begins with, or all of it if the object does not end.
fn first_object(text: &str) -> &str {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return &text[..=at];
                }
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_json_in_prose_and_fences() {
        let cases: [(&str, &[&str]); 6] = [
            ("```json\n{\"a\": 1}\n```", &["{\"a\": 1}"]),
            ("Sure: {\"a\": \"}\\\"{\"} ok", &["{\"a\": \"}\\\"{\"}"]),
            (
                "{\"a\": {\"b\": 2}} {\"c\": 3}",
                &["{\"a\": {\"b\": 2}}", "{\"c\": 3}"],
            ),
            ("use {x}: {\"a\":1}", &["{x}", "{\"a\":1}"]),
            ("none", &[]),
            ("{\"cut\": {\"a\": 1}", &["{\"cut\": {\"a\": 1}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(objects_in(text).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn wraps_what_is_not_an_object() {
        let none = ChatRequest::new();
        let target = Target::of::<Vec<u8>>(&none);
        assert!(target.wrapped && describes_object(&target.schema));
        assert_eq!(
            target.schema.as_value()["properties"]["value"]["type"],
            "array"
        );
        let map = Target::of::<std::collections::BTreeMap<String, u8>>(&none);
        assert!(!map.wrapped);
    }
}
