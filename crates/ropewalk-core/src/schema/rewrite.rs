//! From one dialect to another, keyword by keyword.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::rules::{IGNORED, Rules, is_number_format};
use super::{SchemaDialect, broken, gemini, merge, object, unsupported};
use crate::error::Result;
use crate::response::Warning;

/// How many schemas inlining may make of one: references that double at each level would
/// otherwise fill the memory.
const MOST_SCHEMAS: usize = 20_000;

/// How many bytes, about, inlining may copy: a long enum that many references share would do the
/// same.
const MOST_BYTES: usize = 16 << 20;

/// How many references may be inlined in one another.
const DEEPEST: usize = 64;

/// Keywords whose value is a map of schemas.
const MAPS: [&str; 3] = ["properties", "$defs", "definitions"];

pub(super) struct Rewriter<'a> {
    dialect: SchemaDialect,
    rules: &'static Rules,
    root: &'a Value,
    /// References that are being inlined.
    inlining: Vec<String>,
    schemas: usize,
    /// Bytes copied by inlining.
    copied: usize,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(dialect: SchemaDialect, rules: &'static Rules, root: &'a Value) -> Self {
        Self {
            dialect,
            rules,
            root,
            inlining: Vec::new(),
            schemas: 0,
            copied: 0,
            warnings: Vec::new(),
        }
    }

    pub(super) fn schema(&mut self, mut schema: Value, path: &str) -> Result<Value> {
        self.schemas += 1;
        if self.schemas > MOST_SCHEMAS {
            let what = format!("a schema of more than {MOST_SCHEMAS} parts");
            return Err(self.unsupported(path, &what));
        }
        if schema.is_boolean() {
            return Err(self.any_value(path));
        }
        let map = object(&mut schema, path)?;
        let depth = self.inlining.len();
        self.flatten(map, path)?;
        one_of(self.dialect, map, path)?;
        while self.rules.openapi && gemini::single(map) {
            self.flatten(map, path)?;
            one_of(self.dialect, map, path)?;
        }
        let result = self.keywords(std::mem::take(map), path);
        self.inlining.truncate(depth);
        Ok(Value::Object(result?))
    }

    /// Replaces `allOf` and the references to be inlined by what they stand for.
    fn flatten(&mut self, map: &mut Map<String, Value>, path: &str) -> Result<()> {
        let depth = self.inlining.len();
        loop {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            if let Some(members) = map.remove("allOf") {
                self.all_of(map, members, path)?;
                continue;
            }
            let Some(pointer) = map.get("$ref") else {
                return Ok(());
            };
            let Some(pointer) = pointer.as_str().map(str::to_owned) else {
                return Err(broken(path, "`$ref` must be a text"));
            };
            if !self.rules.inline_all && map.len() == 1 {
                return target(self.root, &pointer, path).map(drop);
            }
            if self.inlining[depth..].contains(&pointer) {
                return Err(broken(path, &format!("`{pointer}` refers to itself")));
            }
            if self.inlining.contains(&pointer) || pointer == "#" {
                if self.rules.inline_all {
                    return Err(self.unsupported(path, &format!("the recursive `{pointer}`")));
                }
                for keyword in map.keys().filter(|k| *k != "$ref") {
                    self.warnings.push(left_out(
                        path,
                        keyword,
                        "it stands beside a recursive `$ref`",
                    ));
                }
                map.retain(|keyword, _| keyword == "$ref");
                return Ok(());
            }
            map.remove("$ref");
            merge::fill(map, self.inline(pointer, path)?);
        }
    }

    /// Returns a copy of what a reference points to.
    fn inline(&mut self, pointer: String, path: &str) -> Result<Value> {
        if self.inlining.len() == DEEPEST {
            let what = format!("more than {DEEPEST} references in one another");
            return Err(self.unsupported(path, &what));
        }
        let target = target(self.root, &pointer, path)?;
        self.copied += bytes(target);
        if self.copied > MOST_BYTES {
            let what = format!("references that copy more than {MOST_BYTES} bytes");
            return Err(self.unsupported(path, &what));
        }
        self.inlining.push(pointer);
        Ok(target.clone())
    }

    fn all_of(&mut self, map: &mut Map<String, Value>, members: Value, path: &str) -> Result<()> {
        let Value::Array(mut members) = members else {
            return Err(broken(path, "`allOf` must be a list"));
        };
        if let (1, false) = (members.len(), map.contains_key("$ref")) {
            merge::fill(map, members.remove(0));
            return Ok(());
        }
        for (i, mut member) in members.into_iter().enumerate() {
            let path = format!("{path}/allOf/{i}");
            while let Some(pointer) = member
                .get("$ref")
                .and_then(Value::as_str)
                .map(str::to_owned)
            {
                if self.inlining.contains(&pointer) {
                    return Err(self.unsupported(&path, "a recursive `allOf`"));
                }
                let target = self.inline(pointer, &path)?;
                let map = object(&mut member, &path)?;
                map.remove("$ref");
                merge::fill(map, target);
            }
            if member.get("allOf").is_some() {
                return Err(self.unsupported(&path, "an `allOf` in an `allOf`"));
            }
            merge::both(self.dialect, map, &member, &path)?;
        }
        Ok(())
    }

    fn keywords(&mut self, mut map: Map<String, Value>, path: &str) -> Result<Map<String, Value>> {
        if let Some(pointer) = map.get("$ref")
            && map.len() == 1
        {
            return Ok(Map::from_iter([("$ref".into(), pointer.clone())]));
        }
        let mut told = Vec::new();
        self.tuple(&mut map, path, &mut told)?;
        if self.rules.openapi {
            gemini::openapi(&mut map, &mut told);
        }
        let optional = self.object(&mut map, path)?;
        let mut result = Map::new();
        for (keyword, value) in map {
            if IGNORED.contains(&keyword.as_str()) {
                continue;
            }
            if self.keeps(&keyword, &value) {
                let value = self.subschemas(&keyword, value, &format!("{path}/{keyword}"))?;
                result.insert(keyword, value);
            } else if !is_implied(&keyword, &value) {
                told.push((keyword, value));
            }
        }
        let properties = result.get_mut("properties").and_then(Value::as_object_mut);
        for (name, schema) in properties.into_iter().flatten() {
            if optional.contains(name) {
                *schema = nullable(std::mem::take(schema));
            }
        }
        let typed = ["type", "enum", "const", "anyOf", "$ref"];
        if !typed.iter().any(|keyword| result.contains_key(*keyword)) {
            return Err(self.any_value(path));
        }
        if is(&result, "array") && !result.contains_key("items") {
            return Err(self.unsupported(path, "a list of values of any type"));
        }
        self.tell(&mut result, told, path);
        Ok(result)
    }

    fn keeps(&self, keyword: &str, value: &Value) -> bool {
        match keyword {
            "format" => value
                .as_str()
                .is_some_and(|f| self.rules.formats.contains(&f)),
            "minItems" => value.as_u64().is_some_and(|n| n <= self.rules.min_items),
            _ => self.rules.keywords.contains(&keyword),
        }
    }

    fn subschemas(&mut self, keyword: &str, value: Value, path: &str) -> Result<Value> {
        match (keyword, value) {
            ("items", value) => self.schema(value, path),
            ("anyOf", Value::Array(members)) => {
                let members = members.into_iter().enumerate();
                members
                    .map(|(i, m)| self.schema(m, &format!("{path}/{i}")))
                    .collect()
            }
            (map, Value::Object(members)) if MAPS.contains(&map) => {
                let members = members.into_iter().map(|(name, schema)| {
                    let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                    Ok((name, self.schema(schema, &path)?))
                });
                Ok(Value::Object(members.collect::<Result<_>>()?))
            }
            ("anyOf" | "properties" | "$defs" | "definitions", _) => {
                Err(broken(path, "it must hold schemas"))
            }
            (_, value) => Ok(value),
        }
    }

    /// Writes a list with a schema per place as a list whose items are any of them.
    fn tuple(
        &mut self,
        map: &mut Map<String, Value>,
        path: &str,
        told: &mut Vec<(String, Value)>,
    ) -> Result<()> {
        let Some(places) = map.remove("prefixItems") else {
            return Ok(());
        };
        let Value::Array(places) = places else {
            return Err(broken(path, "`prefixItems` must be a list"));
        };
        let mut kinds: Vec<Value> = Vec::new();
        for place in &places {
            if !kinds.contains(place) {
                kinds.push(place.clone());
            }
        }
        match map.remove("items") {
            None | Some(Value::Bool(false)) => {
                map.entry("maxItems").or_insert(places.len().into());
            }
            Some(Value::Bool(true)) => return Err(self.any_value(&format!("{path}/items"))),
            Some(rest) if !kinds.contains(&rest) => kinds.push(rest),
            Some(_) => {}
        }
        let items = match kinds.len() {
            1 => kinds.remove(0),
            _ => {
                told.push(("prefixItems".into(), places.into()));
                json!({ "anyOf": kinds })
            }
        };
        map.insert("items".into(), items);
        Ok(())
    }

    /// Closes an object and makes its properties required, or refuses a map. Returns the names of
    /// the properties that must become nullable for that.
    fn object(&mut self, map: &mut Map<String, Value>, path: &str) -> Result<Vec<String>> {
        if map.contains_key("properties") && !map.contains_key("type") {
            map.insert("type".into(), "object".into());
        }
        if !is(map, "object") {
            return Ok(Vec::new());
        }
        let properties = map.get("properties").and_then(Value::as_object);
        let has_properties = properties.is_some_and(|p| !p.is_empty());
        let map_path = |keyword: &str| format!("{path}/{keyword}");
        if map.contains_key("patternProperties") {
            return Err(self.any_keys(&map_path("patternProperties")));
        }
        match map.get("additionalProperties") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) if has_properties => {
                let reason = "further properties are not allowed";
                self.warnings
                    .push(left_out(path, "additionalProperties", reason));
            }
            Some(_) => return Err(self.any_keys(&map_path("additionalProperties"))),
        }
        if self.rules.closed {
            map.insert("additionalProperties".into(), false.into());
        }
        if self.rules.all_required {
            return Ok(self.require_all(map));
        }
        Ok(Vec::new())
    }

    fn require_all(&self, map: &mut Map<String, Value>) -> Vec<String> {
        let required = map.remove("required").unwrap_or_default();
        let required = required.as_array().map_or(&[][..], Vec::as_slice);
        let required: HashSet<&str> = required.iter().filter_map(Value::as_str).collect();
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        let properties = properties.as_object().into_iter().flatten();
        let (mut names, mut optional) = (Vec::new(), Vec::new());
        for (name, schema) in properties {
            let has_default = schema.get("default").is_some_and(|d| !d.is_null());
            if !required.contains(name.as_str())
                && !has_default
                && !allows_null(self.root, schema, &mut 100)
            {
                optional.push(name.clone());
            }
            names.push(Value::from(name.as_str()));
        }
        map.insert("required".into(), names.into());
        optional
    }

    /// Puts constraints into the description, so that the model may keep them.
    fn tell(&mut self, result: &mut Map<String, Value>, told: Vec<(String, Value)>, path: &str) {
        if told.is_empty() {
            return;
        }
        let mut text: Vec<String> = told.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        // The order of a map depends on how serde_json is built.
        text.sort();
        let text = format!("{{{}}}", text.join(", "));
        let description = match result.get("description").and_then(Value::as_str) {
            Some(description) => format!("{description}\n\n{text}"),
            None => text,
        };
        result.insert("description".into(), description.into());
        for (keyword, _) in told {
            let reason = "not enforced by the provider; told to the model in the description";
            self.warnings.push(left_out(path, &keyword, reason));
        }
    }

    fn unsupported(&self, path: &str, what: &str) -> crate::Error {
        unsupported(self.dialect, path, what)
    }

    fn any_value(&self, path: &str) -> crate::Error {
        self.unsupported(path, "a value of any type; give it a type")
    }

    fn any_keys(&self, path: &str) -> crate::Error {
        self.unsupported(
            path,
            "a map with any keys; use a list of objects with key and value",
        )
    }
}

/// Writes `oneOf` as `anyOf`, which no dialect lacks; a value that fits two is rarely meant.
fn one_of(dialect: SchemaDialect, map: &mut Map<String, Value>, path: &str) -> Result<()> {
    let Some(members) = map.remove("oneOf") else {
        return Ok(());
    };
    match map.insert("anyOf".into(), members) {
        None => Ok(()),
        Some(_) => Err(unsupported(
            dialect,
            path,
            "`anyOf` and `oneOf` side by side",
        )),
    }
}

/// Returns whether a keyword that is not kept says nothing worth telling.
fn is_implied(keyword: &str, value: &Value) -> bool {
    match keyword {
        "format" => value.as_str().is_some_and(is_number_format),
        "additionalProperties" | "$defs" | "definitions" => true,
        _ => false,
    }
}

fn left_out(path: &str, keyword: &str, reason: &'static str) -> Warning {
    Warning::new(format!("schema {path}/{keyword}"), reason)
}

/// Returns whether a schema is of a type, alone or beside null.
fn is(map: &Map<String, Value>, kind: &str) -> bool {
    match map.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|k| k == kind),
        Some(one) => one == kind,
        None => false,
    }
}

/// Makes a schema that allows null too.
fn nullable(mut schema: Value) -> Value {
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    let plain = !["enum", "const", "$ref", "anyOf", "oneOf", "allOf"]
        .iter()
        .any(|k| map.contains_key(*k));
    match map.get("type") {
        Some(Value::String(kind)) if plain => {
            let kinds = json!([kind, "null"]);
            map.insert("type".into(), kinds);
            schema
        }
        _ => {
            let description = map.remove("description");
            let mut outer = json!({ "anyOf": [schema, {"type": "null"}] });
            if let Some(description) = description {
                outer["description"] = description;
            }
            outer
        }
    }
}

/// Returns what a reference points to.
pub(super) fn target<'a>(root: &'a Value, pointer: &str, path: &str) -> Result<&'a Value> {
    let found = pointer.strip_prefix('#').and_then(|p| root.pointer(p));
    found.ok_or_else(|| broken(path, &format!("`{pointer}` is not in the schema")))
}

/// Returns about how many bytes a value takes.
fn bytes(value: &Value) -> usize {
    const ONE: usize = size_of::<Value>();
    match value {
        Value::String(text) => ONE + text.len(),
        Value::Array(items) => ONE + items.iter().map(bytes).sum::<usize>(),
        Value::Object(map) => ONE + map.iter().map(|(k, v)| k.len() + bytes(v)).sum::<usize>(),
        _ => ONE,
    }
}

/// Returns whether a schema allows null, looking at no more than `budget` schemas.
fn allows_null(root: &Value, schema: &Value, budget: &mut u32) -> bool {
    if *budget == 0 {
        return false;
    }
    *budget -= 1;
    let null = |v: &Value| v == "null";
    let kind = &schema["type"];
    let listed = schema["enum"]
        .as_array()
        .is_some_and(|e| e.contains(&Value::Null));
    let plain = null(kind)
        || kind.as_array().is_some_and(|kinds| kinds.iter().any(null))
        || kind.is_null() && listed
        || schema.get("const").is_some_and(Value::is_null);
    if plain {
        return true;
    }
    let members = ["anyOf", "oneOf"]
        .iter()
        .filter_map(|k| schema[*k].as_array());
    let pointed = schema["$ref"]
        .as_str()
        .and_then(|p| target(root, p, "").ok());
    members
        .flatten()
        .chain(pointed)
        .any(|s| allows_null(root, s, budget))
}
