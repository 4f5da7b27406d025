//! JSON schemas: what is enforced, what is refused, and how a schema is made ready to be compiled.

mod bounds;
mod finite;
mod walk;

use serde_json::{Map, Value, json};

use super::{Grammar, Vocabulary};
use crate::{Error, Result};
use walk::Walk;

/// How a schema is read and how the JSON is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaOptions {
    /// Leave keywords out that cannot be enforced, instead of an error.
    pub relaxed: bool,
    /// Let objects have properties that the schema does not list, where it does not forbid them.
    pub open: bool,
    /// Write no space after `,` and `:`.
    pub compact: bool,
}

impl SchemaOptions {
    /// Returns the defaults: everything is enforced or refused, objects are closed, one space after
    /// `,` and `:`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves keywords out that cannot be enforced.
    #[must_use]
    pub fn with_relaxed(mut self, on: bool) -> Self {
        self.relaxed = on;
        self
    }

    /// Lets objects have properties that the schema does not list.
    #[must_use]
    pub fn with_open(mut self, on: bool) -> Self {
        self.open = on;
        self
    }

    /// Writes no space after `,` and `:`.
    #[must_use]
    pub fn with_compact(mut self, on: bool) -> Self {
        self.compact = on;
        self
    }
}

/// A schema ready to be compiled.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    schema: Value,
    defs: Map<String, Value>,
    compact: bool,
    /// What was left out, each as `keyword at path`.
    pub(crate) left_out: Vec<String>,
    /// Parts that only the compiler can judge: keyword, path and the part alone.
    suspects: Vec<(&'static str, String, Value)>,
}

impl Prepared {
    pub(crate) fn new(schema: &Value, options: &SchemaOptions) -> Result<Self> {
        let mut walk = Walk::new(schema, options);
        let root = walk.root()?;
        let prepared = Self {
            schema: root,
            defs: walk.defs,
            compact: options.compact,
            left_out: walk.left_out,
            suspects: walk.suspects,
        };
        finite::check(&prepared.schema, &prepared.defs)?;
        Ok(prepared)
    }

    /// Returns the schema of the whole, with definitions and options of the compiler.
    pub(super) fn root(&self) -> Value {
        self.part(&self.schema)
    }

    /// Returns the properties of an object with their schemas and whether each is required.
    pub(super) fn properties(&self) -> Vec<(&str, &Value, bool)> {
        let schema = self.resolve(&self.schema);
        let required = schema.get("required").and_then(Value::as_array);
        let needed = |name: &str| required.is_some_and(|r| r.iter().any(|r| r == name));
        let listed = schema.get("properties").and_then(Value::as_object);
        listed
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), schema, needed(name)))
            .collect()
    }

    /// Follows references.
    pub(super) fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..self.defs.len() {
            let target = schema.get("$ref").and_then(Value::as_str);
            let name = target.and_then(|t| t.strip_prefix("#/$defs/"));
            match name.and_then(|name| self.defs.get(name)) {
                Some(next) => schema = next,
                None => break,
            }
        }
        schema
    }

    /// Returns a part of the schema that can be compiled alone.
    pub(super) fn part(&self, schema: &Value) -> Value {
        let (item, key) = match self.compact {
            true => (",", ":"),
            false => (", ", ": "),
        };
        let how = json!({
            "whitespace_flexible": false,
            "item_separator": item,
            "key_separator": key,
        });
        let mut part = match schema {
            Value::Object(map) => map.clone(),
            // The compiler takes options in objects only.
            Value::Bool(false) => Map::from_iter([("enum".to_owned(), json!([]))]),
            _ => Map::new(),
        };
        if !self.defs.is_empty() {
            part.insert("$defs".to_owned(), Value::Object(self.defs.clone()));
        }
        part.insert("x-guidance".to_owned(), how);
        Value::Object(part)
    }

    /// Finds the keyword that keeps the schema from being compiled.
    pub(super) fn blame(&self, vocabulary: &Vocabulary) -> Option<Error> {
        self.suspects
            .iter()
            .take(32)
            .find_map(|(keyword, path, part)| {
                let text = format!("start: %json {}", self.part(part));
                let alone = Grammar::lark_unchecked(text);
                match vocabulary.compile(&alone).err()? {
                    Error::Grammar { reason, .. } => Some(Error::SchemaKeyword {
                        keyword: (*keyword).to_owned(),
                        path: path.clone(),
                        reason,
                    }),
                    _ => None,
                }
            })
    }
}

#[cfg(test)]
mod tests;
