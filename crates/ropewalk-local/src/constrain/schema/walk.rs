//! One pass over a schema: what is unknown is refused, references get one form, objects are closed, numbers bounded.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use super::{SchemaOptions, bounds};
use crate::{Error, Result};

/// Deepest nesting of a schema.
const DEEPEST: usize = 64;
/// Most schemas within one, and most values of its enumerations.
const MOST_PARTS: usize = 20_000;
/// Levels of all definitions together: what the compiler may have to go down.
const MOST_LEVELS: usize = 1_000;

/// Keywords that say nothing about values. Those that begin with `x-` are of this kind too.
const ANNOTATIONS: [&str; 17] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "default",
    "definitions",
    "deprecated",
    "description",
    "example",
    "examples",
    "id",
    "readOnly",
    "title",
    "writeOnly",
];

/// Keywords that are taken as they are.
const PLAIN: [&str; 16] = [
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
    "type",
];

/// Formats of strings that the compiler has an expression for.
const FORMATS: [&str; 10] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
];

/// Where a schema stands.
#[derive(Clone, Copy)]
struct Place {
    /// Other schemas speak of the same value, so none of them may close it.
    shared: bool,
    depth: usize,
}

pub(super) struct Walk<'a> {
    document: &'a Value,
    options: &'a SchemaOptions,
    pub(super) defs: Map<String, Value>,
    pub(super) left_out: Vec<String>,
    pub(super) suspects: Vec<(&'static str, String, Value)>,
    /// Names of the definitions that references lead to, by pointer and whether they stay open.
    names: HashMap<(String, bool), String>,
    /// Those that have not been read yet.
    waiting: VecDeque<(String, bool, String)>,
    parts: usize,
    deepest: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(document: &'a Value, options: &'a SchemaOptions) -> Self {
        Self {
            document,
            options,
            defs: Map::new(),
            left_out: Vec::new(),
            suspects: Vec::new(),
            names: HashMap::new(),
            waiting: VecDeque::new(),
            parts: 0,
            deepest: 0,
        }
    }

    /// Reads the schema and everything it refers to.
    pub(super) fn root(&mut self) -> Result<Value> {
        let top = |shared| Place { shared, depth: 0 };
        let root = self.schema(self.document, "#", top(false))?;
        let mut levels = self.deepest;
        while let Some((pointer, shared, name)) = self.waiting.pop_front() {
            self.deepest = 0;
            let path = format!("#{pointer}");
            let target = self.document.pointer(&pointer).unwrap_or(&Value::Null);
            let def = self.schema(target, &path, top(shared))?;
            self.defs.insert(name, def);
            levels += self.deepest;
            if levels > MOST_LEVELS {
                return too_large(format!(
                    "its definitions have more than {MOST_LEVELS} levels together"
                ));
            }
        }
        Ok(root)
    }

    fn schema(&mut self, schema: &Value, path: &str, place: Place) -> Result<Value> {
        self.count(1)?;
        self.deepest = self.deepest.max(place.depth + 1);
        if place.depth >= DEEPEST {
            return too_large(format!("it nests deeper than {DEEPEST} levels"));
        }
        let map = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(map) => map,
            _ => {
                return Err(Error::Grammar {
                    kind: "JSON schema",
                    reason: format!("at {path} stands no schema: an object, true or false"),
                });
            }
        };
        let has = |key: &str| map.contains_key(key);
        let combined = ["allOf", "anyOf", "oneOf", "$ref"];
        let speaks = |key: &str| !is_annotation(key) && !combined.contains(&key);
        let parts = combined.iter().filter(|key| has(key)).count();
        let shared = place.shared || parts > 1 || map.keys().any(|key| speaks(key));
        let inside = |shared| Place {
            shared,
            depth: place.depth + 1,
        };
        let mut out = Map::new();
        for (key, value) in map {
            let here = || format!("{path}/{}", escaped(key));
            match key.as_str() {
                "properties" | "patternProperties" => {
                    let mut inner = Map::new();
                    for (name, schema) in object(value, &here())? {
                        let path = format!("{}/{}", here(), escaped(name));
                        inner.insert(name.clone(), self.schema(schema, &path, inside(false))?);
                    }
                    if key == "patternProperties" {
                        for name in inner.keys() {
                            let part = json!({"type": "string", "pattern": name});
                            self.suspects
                                .push(("patternProperties", path.to_owned(), part));
                        }
                    }
                    out.insert(key.clone(), Value::Object(inner));
                }
                "items" if value.is_array() => {
                    out.insert(key.clone(), self.list(value, &here(), inside(false))?);
                }
                "items" | "additionalItems" | "additionalProperties" => {
                    out.insert(key.clone(), self.schema(value, &here(), inside(false))?);
                }
                "prefixItems" => {
                    out.insert(key.clone(), self.list(value, &here(), inside(false))?);
                }
                "allOf" => {
                    let single = value.as_array().is_some_and(|all| all.len() == 1);
                    let alone = single && !shared;
                    out.insert(key.clone(), self.list(value, &here(), inside(!alone))?);
                }
                "anyOf" => {
                    out.insert(key.clone(), self.list(value, &here(), inside(shared))?);
                }
                "oneOf" => {
                    let options = self.one_of(value, &here(), inside(shared))?;
                    self.suspects
                        .push(("oneOf", path.to_owned(), json!({"oneOf": options})));
                    out.insert(key.clone(), options);
                }
                "$ref" => {
                    let name = self.reference(value, path, shared)?;
                    out.insert(key.clone(), format!("#/$defs/{name}").into());
                }
                "format" => self.format(value, path, map, &mut out)?,
                "uniqueItems" if value == &Value::Bool(false) => {}
                "multipleOf" if !value.as_f64().is_some_and(bounds::is_multiple) => {
                    self.leave_out(key, path, "its multiples cannot be told digit by digit")?;
                }
                key if PLAIN.contains(&key) => {
                    self.count(value.as_array().map_or(0, Vec::len))?;
                    if key == "pattern" {
                        let part = json!({"type": "string", "pattern": value});
                        self.suspects.push(("pattern", path.to_owned(), part));
                    }
                    out.insert(key.to_owned(), value.clone());
                }
                key if is_annotation(key) => {}
                key => self.leave_out(key, path, "it cannot be enforced token by token")?,
            }
        }
        let decided = ["enum", "const"].iter().any(|key| has(key));
        if !decided {
            let format = map.get("format").and_then(Value::as_str);
            bounds::limit(&mut out, format);
        }
        let open = ["additionalProperties", "patternProperties"];
        let closes = has("properties") && !place.shared && parts == 0 && !self.options.open;
        if closes && !open.iter().any(|key| has(key)) {
            out.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, value: &Value, path: &str, place: Place) -> Result<Value> {
        let Some(list) = value.as_array() else {
            return Err(Error::Grammar {
                kind: "JSON schema",
                reason: format!("at {path} stands no list"),
            });
        };
        let schemas = list.iter().enumerate();
        let schemas = schemas.map(|(i, schema)| self.schema(schema, &format!("{path}/{i}"), place));
        schemas.collect::<Result<Vec<_>>>().map(Value::Array)
    }

    /// Reads alternatives of which one fits. They are told apart by what they hold, so references among them are
    /// replaced by what they lead to.
    fn one_of(&mut self, value: &Value, path: &str, place: Place) -> Result<Value> {
        let mut options = value.clone();
        for option in options.as_array_mut().into_iter().flatten() {
            for _ in 0..8 {
                let target = option.get("$ref").and_then(Value::as_str);
                let speaks = |map: &Map<String, Value>| {
                    map.keys().filter(|key| !is_annotation(key)).count() == 1
                };
                let alone = option.as_object().is_some_and(speaks);
                let found = target.filter(|_| alone).and_then(pointer);
                let Some(found) = found.and_then(|pointer| self.document.pointer(&pointer)) else {
                    break;
                };
                *option = found.clone();
            }
        }
        self.list(&options, path, place)
    }

    /// Returns the name of the definition that a reference leads to.
    fn reference(&mut self, value: &Value, path: &str, shared: bool) -> Result<String> {
        let refused = |reason: &str| {
            Err(Error::SchemaKeyword {
                keyword: "$ref".to_owned(),
                path: path.to_owned(),
                reason: format!("{value} {reason}"),
            })
        };
        let Some(pointer) = value.as_str().and_then(pointer) else {
            return refused("does not point into this schema");
        };
        if self.document.pointer(&pointer).is_none() {
            return refused("leads nowhere");
        }
        let number = self.names.len();
        let key = (pointer.clone(), shared);
        let name = self.names.entry(key).or_insert_with(|| {
            let name = format!("r{number}");
            self.waiting.push_back((pointer, shared, name.clone()));
            name
        });
        Ok(name.clone())
    }

    fn format(
        &mut self,
        value: &Value,
        path: &str,
        schema: &Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        let name = value.as_str().unwrap_or_default();
        let strings = match schema.get("type") {
            None => true,
            Some(Value::Array(types)) => types.iter().any(|t| t == "string"),
            Some(one) => one == "string",
        };
        // It says something about strings only, and numbers have got their bounds from it.
        if !strings || bounds::is_numeric(name) {
            return Ok(());
        }
        if FORMATS.contains(&name) {
            out.insert("format".to_owned(), value.clone());
            return Ok(());
        }
        let known = FORMATS.join(", ");
        self.leave_out(
            &format!("format: {name}"),
            path,
            &format!("known are {known}"),
        )
    }

    fn leave_out(&mut self, keyword: &str, path: &str, reason: &str) -> Result<()> {
        if !self.options.relaxed {
            return Err(Error::SchemaKeyword {
                keyword: keyword.to_owned(),
                path: path.to_owned(),
                reason: reason.to_owned(),
            });
        }
        self.left_out.push(format!("`{keyword}` at {path}"));
        Ok(())
    }

    fn count(&mut self, parts: usize) -> Result<()> {
        self.parts += parts;
        if self.parts > MOST_PARTS {
            return too_large(format!("it has more than {MOST_PARTS} parts"));
        }
        Ok(())
    }
}

fn is_annotation(key: &str) -> bool {
    ANNOTATIONS.contains(&key) || key.starts_with("x-")
}

fn object<'v>(value: &'v Value, path: &str) -> Result<&'v Map<String, Value>> {
    value.as_object().ok_or_else(|| Error::Grammar {
        kind: "JSON schema",
        reason: format!("at {path} stands no object"),
    })
}

/// Returns a name as part of a pointer (RFC 6901, section 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Returns the pointer that a reference into the same document holds, with `%XX` resolved (RFC 6901, section 6).
fn pointer(reference: &str) -> Option<String> {
    let fragment = reference.strip_prefix('#')?;
    if !(fragment.is_empty() || fragment.starts_with('/')) {
        return None;
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn too_large<T>(reason: String) -> Result<T> {
    Err(Error::GrammarSize {
        kind: "JSON schema",
        reason,
    })
}
