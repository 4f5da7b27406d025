//! The dialects of JSON Schema that providers understand.

mod gemini;
mod merge;
mod rewrite;
mod rules;

use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::response::Warning;
use rewrite::Rewriter;

/// What a provider understands of JSON Schema.
///
/// [`apply`](Self::apply) rewrites a schema so that the provider takes it. What only constrains a
/// value and has no place in the dialect is told to the model in the description and noted in a
/// warning; what changes the shape of the value and cannot be expressed is an error.
///
/// | dialect | references | objects | what else |
/// | --- | --- | --- | --- |
/// | `OpenAiStrict` | inlined beside other keywords | closed, all properties required | what openai-python's `to_strict_json_schema` does, and the keywords it lets the API refuse |
/// | `AnthropicStrict` | inlined beside other keywords | closed | no limits of numbers and lengths |
/// | `Gemini` | all inlined | no maps | `nullable`, enums of texts, the formats of OpenAPI 3.0 |
/// | `OpenAi`, `Anthropic` | as they are | as they are | the root is an object, without alternatives |
/// | `Generic` | as they are | as they are | no `$schema` |
///
/// ```
/// use ropewalk_core::SchemaDialect;
/// use ropewalk_core::schemars::json_schema;
/// use serde_json::json;
///
/// let schema = json_schema!({
///     "type": "object",
///     "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer"}},
///     "required": ["city"],
/// });
/// let (strict, warnings) = SchemaDialect::OpenAiStrict.apply(&schema)?;
/// assert_eq!(strict, json!({
///     "type": "object",
///     "properties": {
///         "city": {"type": "string", "description": "{minLength: 2}"},
///         "days": {"type": ["integer", "null"]},
///     },
///     "required": ["city", "days"],
///     "additionalProperties": false,
/// }));
/// assert_eq!(warnings[0].option, "schema #/properties/city/minLength");
/// # Ok::<(), ropewalk_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaDialect {
    /// OpenAI with `strict: true`: structured output and strict functions.
    OpenAiStrict,
    /// Parameters of OpenAI functions without `strict`.
    OpenAi,
    /// Anthropic structured output and strict tools.
    AnthropicStrict,
    /// `input_schema` of Anthropic tools.
    Anthropic,
    /// Gemini's own `responseSchema` and `parameters`. Its newer fields `responseJsonSchema` and
    /// `parametersJsonSchema` take the generic dialect, which loses nothing.
    Gemini,
    /// JSON Schema as it is.
    Generic,
}

impl SchemaDialect {
    /// Returns the schema in this dialect, and what was left out or added on the way.
    ///
    /// Applying it to its own result changes nothing. In `OpenAiStrict` a property that was not
    /// required becomes nullable, unless it has a default: a program that has a default for a
    /// missing value seldom takes null for it, so the model must always write that one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what the dialect cannot express (a map with any keys or a
    /// value of any type in strict mode, recursion in `Gemini`, a root that is not an object);
    /// [`ErrorKind::InvalidRequest`] for a schema that is broken. Both name the place, for
    /// example `#/properties/labels`.
    pub fn apply(self, schema: &Schema) -> Result<(Value, Vec<Warning>)> {
        let mut root = schema.as_value().clone();
        match self {
            Self::Generic => {
                without_meta(&mut root);
                Ok((root, Vec::new()))
            }
            Self::OpenAi | Self::Anthropic => {
                without_meta(&mut root);
                Ok((self.tool_root(root)?, Vec::new()))
            }
            Self::OpenAiStrict => self.rewrite(&root, &rules::OPENAI_STRICT),
            Self::AnthropicStrict => self.rewrite(&root, &rules::ANTHROPIC_STRICT),
            Self::Gemini => self.rewrite(&root, &rules::GEMINI),
        }
    }

    /// Returns the name of the dialect as errors have it.
    fn name(self) -> &'static str {
        match self {
            Self::OpenAiStrict => "OpenAI's strict mode",
            Self::OpenAi => "OpenAI",
            Self::AnthropicStrict => "Anthropic's strict mode",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Gemini's `responseSchema`",
            Self::Generic => "JSON Schema",
        }
    }

    fn rewrite(self, root: &Value, rules: &'static rules::Rules) -> Result<(Value, Vec<Warning>)> {
        let mut rewriter = Rewriter::new(self, rules, root);
        let rewritten = rewriter.schema(root.clone(), "#")?;
        if rules.object_root && rewritten["type"] != "object" {
            return Err(unsupported(self, "#", "a root that is not an object"));
        }
        Ok((rewritten, rewriter.warnings))
    }

    /// Checks the root of a tool's parameters.
    fn tool_root(self, mut root: Value) -> Result<Value> {
        let pointer = root.get("$ref").and_then(Value::as_str).map(str::to_owned);
        if let Some(pointer) = pointer {
            let target = rewrite::target(&root, &pointer, "#")?.clone();
            merge::fill(object(&mut root, "#")?, target);
            object(&mut root, "#")?.remove("$ref");
        }
        let map = object(&mut root, "#")?;
        for keyword in ["anyOf", "oneOf", "allOf", "enum", "not", "$ref"] {
            if map.contains_key(keyword) {
                let what = format!("`{keyword}` at the root of a tool's parameters");
                return Err(unsupported(self, "#", &what));
            }
        }
        if map.get("type").is_some_and(|t| t != "object") {
            return Err(unsupported(self, "#", "a root that is not an object"));
        }
        map.insert("type".into(), "object".into());
        map.entry("properties").or_insert_with(|| json!({}));
        Ok(root)
    }
}

fn without_meta(root: &mut Value) {
    if let Some(map) = root.as_object_mut() {
        map.remove("$schema");
    }
}

fn object<'a>(value: &'a mut Value, path: &str) -> Result<&'a mut Map<String, Value>> {
    value
        .as_object_mut()
        .ok_or_else(|| broken(path, "a schema must be a JSON object"))
}

fn unsupported(dialect: SchemaDialect, path: &str, what: &str) -> Error {
    let message = format!(
        "{} cannot express {what} (at {path} of the schema)",
        dialect.name()
    );
    Error::new(ErrorKind::Unsupported, message)
}

fn broken(path: &str, problem: &str) -> Error {
    Error::invalid_request(format!("the schema is broken at {path}: {problem}"))
}
