//! The schema of a typed reply, put into a request and read from a reply.

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::ExtractMode;
use crate::message::Message;
use crate::part::Part;
use crate::request::{ChatRequest, ResponseFormat, ToolChoice};
use crate::response::ChatResponse;
use crate::tool::ToolSpec;
use crate::validate::describes_object;

/// Name of the tool through which [`ExtractMode::Tool`] gets the value.
const RESULT_TOOL: &str = "final_result";

/// Field that holds the value when `T` is not an object.
pub(super) const WRAPPED: &str = "value";

/// The schema of a type, always of type `object` as tools and strict output require.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) name: String,
    /// Name of the tool in [`ExtractMode::Tool`].
    pub(super) tool: String,
    schema: Schema,
    pub(super) wrapped: bool,
}

impl Target {
    pub(super) fn of<T: JsonSchema>(request: &ChatRequest) -> Self {
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

    pub(super) fn ask(&self, mode: ExtractMode, request: &mut ChatRequest) {
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
    pub(super) fn read<T: DeserializeOwned>(
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
