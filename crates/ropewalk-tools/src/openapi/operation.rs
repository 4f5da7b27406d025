//! Operations and what their tools take.

use ropewalk_core::http::Method;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::encode::Style;
use super::error::OpenApiError;
use super::schema::Unfolder;

const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 4000;

/// One operation of a document.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// The `operationId`, or method and path.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: String,
    /// The tags.
    pub tags: Vec<String>,
    /// Whether it should not be used any more.
    pub deprecated: bool,
    /// The operation in the document, and the path it is under.
    pub(super) value: Value,
    pub(super) item: Value,
}

impl Operation {
    /// Returns whether a call only reads.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn description(&self) -> String {
        let text = |key: &str| {
            self.value
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("")
                .trim()
        };
        let (summary, description) = (text("summary"), text("description"));
        let joint = if summary.is_empty() || description.is_empty() {
            ""
        } else {
            "\n"
        };
        let mut whole = [summary, joint, description].concat();
        if whole.is_empty() {
            whole = self.shown();
        }
        if let Some((end, _)) = whole.char_indices().nth(MAX_DESCRIPTION) {
            whole.truncate(end);
            whole.push_str(" [cut]");
        }
        whole
    }
}

/// Lists the operations of a document.
pub(super) fn all(document: &Document) -> Result<Vec<Operation>, OpenApiError> {
    let mut found = Vec::new();
    let paths = document.root.get("paths").and_then(Value::as_object);
    for (path, item) in paths.into_iter().flatten() {
        let item = document.resolve(item)?;
        for name in METHODS {
            let Some(value) = item.get(name).filter(|v| v.is_object()) else {
                continue;
            };
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            let tags = value.get("tags").and_then(Value::as_array);
            let tags = tags.into_iter().flatten().filter_map(Value::as_str);
            let mut item = item.clone();
            if let Some(item) = item.as_object_mut() {
                item.retain(|k, _| !METHODS.contains(&k.as_str()));
            }
            found.push(Operation {
                id: match text("operationId") {
                    Some(id) if !id.is_empty() => id.to_owned(),
                    _ => format!("{name}_{}", path.replace(['{', '}'], "").trim_matches('/')),
                },
                method: name.to_ascii_uppercase().parse().unwrap_or_default(),
                path: path.clone(),
                tags: tags.map(str::to_owned).collect(),
                deprecated: value.get("deprecated") == Some(&Value::Bool(true)),
                value: value.clone(),
                item,
            });
        }
    }
    Ok(found)
}

/// Where an argument goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Path(Style),
    Query(Style),
    Header,
    Cookie,
    /// A property of the object in the body.
    Property,
    /// The whole body.
    Body,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BodyKind {
    None,
    Json,
    Form,
    Text,
}

/// One argument of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    /// Its name for the model.
    pub(super) argument: String,
    /// Its name for the API.
    pub(super) name: String,
    pub(super) place: Place,
}

/// What a tool takes and where it goes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) schema: Map<String, Value>,
    pub(super) fields: Vec<Field>,
    pub(super) body: BodyKind,
    /// The content type of the body.
    pub(super) content_type: String,
}

/// Gathers the arguments of one tool.
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<Value>,
    fields: Vec<Field>,
}

impl Arguments {
    fn add(&mut self, name: &str, place: Place, schema: Value, required: bool) {
        let suffix = match place {
            Place::Path(_) => "path",
            Place::Query(_) => "query",
            Place::Header => "header",
            Place::Cookie => "cookie",
            Place::Property | Place::Body => "body",
        };
        let mut argument = name.to_owned();
        while self.properties.contains_key(&argument) {
            argument = format!("{argument}_{suffix}");
        }
        self.properties.insert(argument.clone(), schema);
        if required {
            self.required.push(json!(argument));
        }
        self.fields.push(Field {
            argument,
            name: name.to_owned(),
            place,
        });
    }
}

/// Finds out what the tool of an operation takes.
pub(super) fn plan(
    document: &Document,
    operation: &Operation,
    budget: &mut usize,
) -> Result<Plan, OpenApiError> {
    let mut unfolder = Unfolder::new(document, operation.shown());
    let mut arguments = Arguments {
        properties: Map::new(),
        required: Vec::new(),
        fields: Vec::new(),
    };
    for parameter in parameters(document, operation)? {
        add_parameter(parameter, operation, &mut unfolder, &mut arguments)?;
    }
    let (body, content_type) = add_body(document, operation, &mut unfolder, &mut arguments)?;
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(arguments.properties));
    if !arguments.required.is_empty() {
        schema.insert("required".into(), Value::Array(arguments.required));
    }
    schema.insert("additionalProperties".into(), Value::Bool(false));
    let definitions = unfolder.definitions()?;
    if !definitions.is_empty() {
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    unfolder.charge(budget)?;
    Ok(Plan {
        schema,
        fields: arguments.fields,
        body,
        content_type,
    })
}

/// Lists the parameters: those of the operation replace those of the path.
fn parameters<'d>(
    document: &'d Document,
    operation: &'d Operation,
) -> Result<Vec<&'d Value>, OpenApiError> {
    let mut found: Vec<&Value> = Vec::new();
    let key = |p: &'d Value| (p.get("name"), p.get("in"));
    for holder in [&operation.item, &operation.value] {
        let listed = holder.get("parameters").and_then(Value::as_array);
        for parameter in listed.into_iter().flatten() {
            let parameter = document.resolve(parameter)?;
            match found.iter_mut().find(|f| key(f) == key(parameter)) {
                Some(old) => *old = parameter,
                None => found.push(parameter),
            }
        }
    }
    Ok(found)
}

fn add_parameter(
    parameter: &Value,
    operation: &Operation,
    unfolder: &mut Unfolder<'_>,
    arguments: &mut Arguments,
) -> Result<(), OpenApiError> {
    let text = |key: &str| parameter.get(key).and_then(Value::as_str);
    let unsupported = |problem: String| OpenApiError::Unsupported {
        operation: operation.shown(),
        problem,
    };
    let Some(name) = text("name").filter(|n| !n.is_empty()) else {
        return Err(unsupported("a parameter has no name".into()));
    };
    let kind = text("in").unwrap_or("");
    if !["path", "query", "header", "cookie"].contains(&kind) {
        return Err(unsupported(format!(
            "the parameter {name:?} is in {kind:?}"
        )));
    }
    let content = parameter.get("content").and_then(Value::as_object);
    let content = content.and_then(|c| c.values().next());
    let style = match content {
        Some(_) => Some(Style::Json),
        None => Style::of(kind, text("style"), parameter.get("explode")),
    };
    let Some(style) = style else {
        let style = text("style").unwrap_or("");
        return Err(unsupported(format!(
            "the style {style:?} of the parameter {name:?} is not sent"
        )));
    };
    let place = match kind {
        "path" => Place::Path(style),
        "query" => Place::Query(style),
        // These are set by the request itself, says the specification.
        "header"
            if ["accept", "content-type", "authorization"]
                .contains(&name.to_ascii_lowercase().as_str()) =>
        {
            return Ok(());
        }
        "header" => Place::Header,
        _ => Place::Cookie,
    };
    let nothing = json!({});
    let schema = content
        .unwrap_or(parameter)
        .get("schema")
        .unwrap_or(&nothing);
    let mut schema = unfolder.unfold(schema)?;
    if let (Some(text), Value::Object(schema)) = (text("description"), &mut schema) {
        schema.insert("description".into(), json!(text));
    }
    let required = kind == "path" || parameter.get("required") == Some(&Value::Bool(true));
    arguments.add(name, place, schema, required);
    Ok(())
}

/// Adds the body; JSON is preferred to a form, a form to text.
fn add_body(
    document: &Document,
    operation: &Operation,
    unfolder: &mut Unfolder<'_>,
    arguments: &mut Arguments,
) -> Result<(BodyKind, String), OpenApiError> {
    let none = (BodyKind::None, String::new());
    let Some(body) = operation.value.get("requestBody") else {
        return Ok(none);
    };
    let body = document.resolve(body)?;
    let required = body.get("required") == Some(&Value::Bool(true));
    let contents = body.get("content").and_then(Value::as_object);
    let kinds = contents.into_iter().flatten().map(|(name, content)| {
        let plain = name
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        let kind = match plain.as_str() {
            "application/json" | "*/*" | "application/*" => BodyKind::Json,
            other if other.ends_with("+json") => BodyKind::Json,
            "application/x-www-form-urlencoded" => BodyKind::Form,
            "text/plain" => BodyKind::Text,
            _ => BodyKind::None,
        };
        let name = if plain.contains('*') {
            "application/json"
        } else {
            name
        };
        (kind, name, content)
    });
    let rank = |kind: BodyKind| match kind {
        BodyKind::Json => 0,
        BodyKind::Form => 1,
        BodyKind::Text => 2,
        BodyKind::None => 3,
    };
    let best = kinds.min_by_key(|(kind, ..)| rank(*kind));
    let (kind, name, content) = match best {
        Some((BodyKind::None, name, _)) if required => {
            return Err(OpenApiError::Unsupported {
                operation: operation.shown(),
                problem: format!("a body of {name} is not sent"),
            });
        }
        Some((BodyKind::None, ..)) | None => return Ok(none),
        Some(best) => best,
    };
    let nothing = json!({});
    let schema = unfolder.unfold(content.get("schema").unwrap_or(&nothing))?;
    match schema.as_object().filter(|s| is_plain(s)) {
        Some(schema) => {
            let needed = schema.get("required").and_then(Value::as_array);
            let needed: Vec<_> = needed
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let required = required && needed.contains(&name.as_str());
                arguments.add(name, Place::Property, property.clone(), required);
            }
        }
        None => arguments.add("body", Place::Body, schema, required),
    }
    Ok((kind, name.to_owned()))
}

/// Returns whether a schema is an object with known properties and nothing else is said of it, so
/// that its properties may stand beside others.
fn is_plain(schema: &Map<String, Value>) -> bool {
    let kind = schema.get("type").is_none_or(|t| t == "object");
    let closed = schema
        .get("additionalProperties")
        .is_none_or(Value::is_boolean);
    let known = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "title",
        "description",
        "examples",
        "default",
    ];
    let properties = schema.get("properties").and_then(Value::as_object);
    kind && closed
        && properties.is_some_and(|p| !p.is_empty())
        && schema.keys().all(|k| known.contains(&k.as_str()))
}
