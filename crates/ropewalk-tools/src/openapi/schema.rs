//! Schemas of OpenAPI as JSON Schema without references to elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::document::Document;
use super::error::OpenApiError;

/// Most values that the schemas of all tools may hold together.
pub(super) const MAX_NODES: usize = 500_000;
/// Most values that the schema of one tool may hold.
const MAX_OWN: usize = 20_000;
/// Deepest nesting, references unfolded.
const MAX_DEPTH: usize = 100;

/// Says nothing about values, or not to a model.
const DROPPED: [&str; 9] = [
    "$schema",
    "$id",
    "$comment",
    "xml",
    "externalDocs",
    "discriminator",
    "example",
    "deprecated",
    "nullable",
];
/// Hold a schema.
const ONE: [&str; 10] = [
    "items",
    "additionalProperties",
    "not",
    "contains",
    "propertyNames",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
    "unevaluatedItems",
];
/// Hold schemas in a list.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Hold schemas under names.
const NAMED: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

/// Unfolds the schemas of one tool.
pub(super) struct Unfolder<'d> {
    document: &'d Document,
    operation: String,
    /// The references under way.
    open: Vec<String>,
    /// References that lead back to themselves and the names they get.
    cyclic: BTreeMap<String, String>,
    nodes: usize,
}

type Unfolded = Result<Value, OpenApiError>;

impl<'d> Unfolder<'d> {
    pub(super) fn new(document: &'d Document, operation: String) -> Self {
        Self {
            document,
            operation,
            open: Vec::new(),
            cyclic: BTreeMap::new(),
            nodes: 0,
        }
    }

    /// Unfolds a schema. What refers to itself is left as a reference to `$defs`.
    pub(super) fn unfold(&mut self, schema: &Value) -> Unfolded {
        self.at(schema, 0)
    }

    /// Unfolds the schemas for `$defs`.
    pub(super) fn definitions(&mut self) -> Result<Map<String, Value>, OpenApiError> {
        let mut done = BTreeSet::new();
        let mut definitions = Map::new();
        loop {
            let next = self.cyclic.iter().find(|(r, _)| !done.contains(*r));
            let Some((reference, name)) = next.map(|(r, n)| (r.clone(), n.clone())) else {
                return Ok(definitions);
            };
            done.insert(reference.clone());
            let target = self.document.find(&reference)?;
            self.open = vec![reference];
            let definition = self.at(target, 0)?;
            self.open.clear();
            definitions.insert(name, definition);
        }
    }

    /// Takes what was used off the budget of all tools.
    pub(super) fn charge(&self, budget: &mut usize) -> Result<(), OpenApiError> {
        *budget = budget
            .checked_sub(self.nodes)
            .ok_or_else(|| OpenApiError::TooLarge {
                what: "the schemas of all operations together".into(),
                limit: format!("{MAX_NODES} values"),
            })?;
        Ok(())
    }

    fn at(&mut self, schema: &Value, depth: usize) -> Unfolded {
        self.nodes += 1;
        if self.nodes > MAX_OWN {
            return Err(OpenApiError::TooLarge {
                what: format!("the schema of {}, references unfolded,", self.operation),
                limit: format!("{MAX_OWN} values"),
            });
        }
        if depth > MAX_DEPTH {
            return Err(OpenApiError::TooDeep {
                operation: self.operation.clone(),
                limit: MAX_DEPTH,
            });
        }
        let Value::Object(schema) = schema else {
            return Ok(match schema {
                Value::Bool(_) => schema.clone(),
                _ => json!({}),
            });
        };
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.reference(reference, schema, depth),
            None => self.object(schema, depth),
        }
    }

    fn reference(
        &mut self,
        reference: &str,
        around: &Map<String, Value>,
        depth: usize,
    ) -> Unfolded {
        let target = self.document.find(reference)?;
        if self.open.iter().any(|open| open == reference) {
            let name = self.definition_name(reference);
            return Ok(json!({ "$ref": format!("#/$defs/{name}") }));
        }
        self.open.push(reference.to_owned());
        let unfolded = self.at(target, depth + 1);
        self.open.pop();
        let mut unfolded = unfolded?;
        // What stands beside a reference describes this use of it.
        if let Value::Object(unfolded) = &mut unfolded {
            for key in ["description", "default", "title"] {
                if let Some(value) = around.get(key) {
                    unfolded.insert(key.to_owned(), value.clone());
                }
            }
        }
        Ok(unfolded)
    }

    fn definition_name(&mut self, reference: &str) -> String {
        if let Some(name) = self.cyclic.get(reference) {
            return name.clone();
        }
        let last = reference.rsplit('/').next().unwrap_or("");
        let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let mut name: String = last.chars().filter(fits).collect();
        while name.is_empty() || self.cyclic.values().any(|n| *n == name) {
            name.push('_');
        }
        self.cyclic.insert(reference.to_owned(), name.clone());
        name
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Unfolded {
        let mut out = Map::new();
        for (key, value) in schema {
            let key_str = key.as_str();
            if DROPPED.contains(&key_str) || key.starts_with("x-") {
                continue;
            }
            let value = match value {
                Value::Object(map) if NAMED.contains(&key_str) => self.named(map, depth)?,
                Value::Array(list) if LIST.contains(&key_str) => {
                    let list = list.iter().map(|s| self.at(s, depth + 1));
                    Value::Array(list.collect::<Result<_, _>>()?)
                }
                Value::Object(_) if ONE.contains(&key_str) => self.at(value, depth + 1)?,
                _ => {
                    self.nodes += size(value);
                    value.clone()
                }
            };
            out.insert(key.clone(), value);
        }
        drop_read_only(schema, &mut out);
        if self.document.old {
            modernise(schema, &mut out);
        }
        Ok(Value::Object(out))
    }

    fn named(&mut self, map: &Map<String, Value>, depth: usize) -> Unfolded {
        let mut out = Map::new();
        for (name, schema) in map {
            out.insert(name.clone(), self.at(schema, depth + 1)?);
        }
        Ok(Value::Object(out))
    }
}

/// Counts the values inside a value, which is no deeper than the parser allows.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(size).sum::<usize>() + 1,
        Value::Object(map) => map.values().map(size).sum::<usize>() + 1,
        Value::String(text) => 1 + text.len() / 1000,
        _ => 1,
    }
}

/// Leaves out the properties that only replies have.
fn drop_read_only(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        if property.get("readOnly") != Some(&Value::Bool(true)) {
            continue;
        }
        if let Some(kept) = out.get_mut("properties").and_then(Value::as_object_mut) {
            kept.remove(name);
        }
        if let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|r| r.as_str() != Some(name));
        }
    }
}

/// Writes what version 3.0 says otherwise the way JSON Schema does: `nullable`, and bounds that are
/// exclusive.
fn modernise(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(kind) = out.get_mut("type").filter(|k| k.is_string()) {
            *kind = json!([kind, "null"]);
        }
        let values = out.get_mut("enum").and_then(Value::as_array_mut);
        if let Some(values) = values.filter(|v| !v.contains(&Value::Null)) {
            values.push(Value::Null);
        }
    }
    for (exclusive, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        match out.get(exclusive) {
            Some(Value::Bool(true)) => {
                out.remove(exclusive);
                if let Some(value) = out.remove(bound) {
                    out.insert(exclusive.to_owned(), value);
                }
            }
            Some(Value::Bool(false)) => drop(out.remove(exclusive)),
            _ => {}
        }
    }
}
