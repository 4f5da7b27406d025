//! What stands between the opening and the end of a call.

use std::collections::BTreeMap;

use ropewalk_core::ToolSpec;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::literal::{Reader, compact, string};
use super::python;
use super::rules::{Body, Markup, NAMED_ARGS, NAMED_ID, SEPARATOR};

/// A call as the model wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Written {
    pub(super) fn new(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            arguments: arguments.into(),
        }
    }
}

/// Why a body holds no calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) text: String,
    /// It is well formed but means something else.
    pub(super) no_call: bool,
}

impl Problem {
    pub(super) fn malformed(problem: impl std::fmt::Display) -> Self {
        Self {
            text: format!("the tool call is malformed: {problem}"),
            no_call: false,
        }
    }

    pub(super) fn no_call(problem: impl std::fmt::Display) -> Self {
        Self {
            no_call: true,
            ..Self::malformed(problem)
        }
    }
}

/// Which parameters of which tools are strings.
#[derive(Debug, Clone, Default)]
pub(super) struct Types {
    tools: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Types {
    pub(super) fn new(tools: &[ToolSpec]) -> Self {
        let parameters = |tool: &ToolSpec| {
            let schema = tool.parameters.as_value();
            let found = schema.get("properties").and_then(|p| p.as_object());
            found
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), is_string(schema)))
                .collect()
        };
        let tools = tools.iter().map(|t| (t.name.clone(), parameters(t)));
        Self {
            tools: tools.collect(),
        }
    }

    /// Returns whether one of these calls is of a known tool, or no tools are known.
    pub(super) fn has_one_of(&self, calls: &[Written]) -> bool {
        let known = |call: &Written| self.tools.contains_key(&call.name);
        self.tools.is_empty() || calls.iter().any(known)
    }

    fn is_string(&self, tool: &str, parameter: &str) -> bool {
        let found = self.tools.get(tool).and_then(|p| p.get(parameter));
        found.copied().unwrap_or(false)
    }
}

/// Returns whether nothing but strings and `null` fit a schema.
fn is_string(schema: &serde_json::Value) -> bool {
    match (schema.get("type"), schema.get("enum")) {
        (Some(serde_json::Value::String(kind)), _) => kind == "string",
        (Some(serde_json::Value::Array(kinds)), _) => {
            kinds.iter().any(|k| k == "string")
                && kinds.iter().all(|k| k == "string" || k == "null")
        }
        (_, Some(serde_json::Value::Array(values))) => {
            values.iter().all(serde_json::Value::is_string)
        }
        _ => false,
    }
}

/// Reads a body; `strict` if a JSON object without arguments is no call.
pub(super) fn read(
    body: Body,
    text: &str,
    types: &Types,
    strict: bool,
) -> Result<Vec<Written>, Problem> {
    let calls = match body {
        Body::Json => json(text, strict)?,
        Body::Python => python::calls(text)?,
        Body::Xml(markup) => xml(text, markup, types)?,
        Body::Named => vec![named(text)?],
        Body::Separated => vec![separated(text)?],
        Body::Marked(mark) => vec![marked(text, mark)?],
        // These are settled before a body ends, except where an answer breaks off.
        Body::JsonOrXml | Body::JsonOrPython => json(text, strict)?,
        Body::Skip | Body::SkipAfterCall => Vec::new(),
    };
    if calls.is_empty() {
        return Err(Problem::no_call("it names no tool"));
    }
    match calls.iter().find(|call| call.name.is_empty()) {
        Some(_) => Err(Problem::malformed("the tool has an empty name")),
        None => Ok(calls),
    }
}

/// Reads objects, one after the other or in lists.
fn json(text: &str, strict: bool) -> Result<Vec<Written>, Problem> {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    loop {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = match values.next() {
            Some(value) => value.map_err(Problem::malformed)?.get(),
            None if calls.is_empty() => return Err(Problem::malformed("there is no JSON in it")),
            None => return Ok(calls),
        };
        if value.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(value).map_err(Problem::malformed)?;
            for item in items {
                calls.push(object(item.get(), strict)?);
            }
        } else {
            calls.push(object(value, strict)?);
        }
        let is_separator = |c: char| c.is_whitespace() || matches!(c, ';' | ',');
        rest = rest[values.byte_offset()..].trim_start_matches(is_separator);
        if rest.is_empty() {
            return Ok(calls);
        }
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    name: Option<String>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

fn object(text: &str, strict: bool) -> Result<Written, Problem> {
    if !text.starts_with('{') {
        return Err(Problem::no_call(
            "expected an object with name and arguments",
        ));
    }
    let mut object: Object<'_> = serde_json::from_str(text).map_err(Problem::malformed)?;
    let id = object.id.and_then(|id| serde_json::from_str(id.get()).ok());
    if let (None, Some(function)) = (&object.name, object.function) {
        // `"function"` holds the name, or name and arguments.
        if function.get().starts_with('{') {
            object = serde_json::from_str(function.get()).map_err(Problem::malformed)?;
        } else {
            object.name = serde_json::from_str(function.get()).map_err(Problem::malformed)?;
        }
    }
    let Some(name) = object.name else {
        return Err(Problem::no_call("missing field `name`"));
    };
    let arguments = object.arguments.or(object.parameters);
    if strict && arguments.is_none() {
        return Err(Problem::no_call("missing field `parameters`"));
    }
    let arguments = match arguments.map(RawValue::get) {
        None | Some("null") => "{}".to_owned(),
        // Some models write the arguments as a string that holds the JSON.
        Some(text) if text.starts_with('"') => {
            serde_json::from_str(text).map_err(Problem::malformed)?
        }
        Some(text) => text.to_owned(),
    };
    Ok(Written {
        id: id.filter(|id: &String| !id.is_empty()),
        name,
        arguments,
    })
}

/// Takes arguments that must be JSON; none at all are an empty object.
fn json_arguments(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok("{}".to_owned());
    }
    let arguments: &RawValue = serde_json::from_str(text).map_err(Problem::malformed)?;
    Ok(arguments.get().to_owned())
}

fn named(text: &str) -> Result<Written, Problem> {
    let at = text.find('{').unwrap_or(text.len());
    let (head, arguments) = text.split_at(at);
    let head = head.trim().trim_end_matches(NAMED_ARGS);
    let (name, id) = match head.split_once(NAMED_ID) {
        Some((name, id)) => (name, Some(id.trim().to_owned())),
        None => (head, None),
    };
    Ok(Written {
        id: id.filter(|id| !id.is_empty()),
        ..Written::new(name.trim(), json_arguments(arguments)?)
    })
}

fn separated(text: &str) -> Result<Written, Problem> {
    let Some((before, after)) = text.split_once(SEPARATOR) else {
        return Err(Problem::malformed(format!("`{SEPARATOR}` is missing")));
    };
    let after = after.trim();
    if after.is_empty() || after.starts_with('{') {
        return Ok(Written::new(before.trim(), json_arguments(after)?));
    }
    // Before the separator stands the kind of tool, after it the name and a code block.
    let (name, block) = after.split_once('\n').unwrap_or((after, ""));
    let block = block.trim();
    let block = block.strip_prefix("```json").unwrap_or(block);
    let block = block.strip_suffix("```").unwrap_or(block);
    Ok(Written::new(name.trim(), json_arguments(block)?))
}

fn marked(text: &str, mark: &'static str) -> Result<Written, Problem> {
    let text = text.trim();
    let text = text.strip_prefix("call:").unwrap_or(text);
    let at = text.find('{').unwrap_or(text.len());
    let (name, rest) = text.split_at(at);
    let mut reader = Reader::marked(rest, mark);
    let mut arguments = String::new();
    reader.value(&mut arguments).map_err(Problem::malformed)?;
    reader.skip_space();
    if !reader.rest.is_empty() {
        let problem = format!("{} follows the arguments", reader.next());
        return Err(Problem::malformed(problem));
    }
    Ok(Written::new(name.trim(), arguments))
}

fn xml(text: &str, markup: &Markup, types: &Types) -> Result<Vec<Written>, Problem> {
    let missing = |what: &str| Problem::malformed(format!("`{what}` is missing"));
    // The name in a tag, the rest of its text, and what follows the tag.
    let tag = |text| match str::split_once(text, '>') {
        Some((tag, after)) => Ok((name(tag), after)),
        None => Err(missing(">")),
    };
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let after = rest.strip_prefix(markup.function);
        let ((function, _), after) = tag(after.ok_or_else(|| missing(markup.function))?)?;
        rest = after.trim_start();
        if rest.starts_with('{') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
            let value = values.next().transpose().map_err(Problem::malformed)?;
            calls.push(Written::new(function, value.map_or("{}", RawValue::get)));
            rest = rest[values.byte_offset()..].trim_start();
        } else {
            let mut arguments = String::from("{");
            while let Some(after) = rest.strip_prefix(markup.parameter) {
                let ((key, attributes), after) = tag(after)?;
                let (value, after) = after
                    .split_once(markup.parameter_end)
                    .ok_or_else(|| missing(markup.parameter_end))?;
                if arguments.len() > 1 {
                    arguments.push(',');
                }
                string(&mut arguments, key);
                arguments.push(':');
                let is_string = match attributes.trim() {
                    "string=\"true\"" => true,
                    "string=\"false\"" => false,
                    _ => types.is_string(function, key),
                };
                xml_value(&mut arguments, value, is_string);
                rest = after.trim_start();
            }
            arguments.push('}');
            calls.push(Written::new(function, arguments));
        }
        rest = rest.strip_prefix(markup.function_end).unwrap_or(rest);
        rest = rest.trim_start();
    }
    Ok(calls)
}

/// Splits the text of a tag into its name, which may stand in quotes, and the rest.
fn name(tag: &str) -> (&str, &str) {
    let tag = tag.trim();
    match tag.strip_prefix('"').and_then(|tag| tag.split_once('"')) {
        Some((name, rest)) => (name, rest),
        None => (tag, ""),
    }
}

/// Appends the text of a parameter as JSON.
fn xml_value(out: &mut String, text: &str, is_string: bool) {
    let text = text.strip_prefix('\n').unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    let json = match text.trim() {
        _ if is_string => None,
        "True" => Some("true".to_owned()),
        "False" => Some("false".to_owned()),
        "None" => Some("null".to_owned()),
        // Text in quotes is text with quotes: strings stand without them.
        quoted if quoted.starts_with('"') => None,
        other => serde_json::from_str::<&RawValue>(other)
            .ok()
            .map(|json| compact(json.get())),
    };
    match json {
        Some(json) => out.push_str(&json),
        None => string(out, text),
    }
}
