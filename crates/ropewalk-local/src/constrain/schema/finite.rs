//! Schemas whose values never end: an object that must hold one of its own kind.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Refuses a schema that no finite value fits.
pub(super) fn check(schema: &Value, defs: &Map<String, Value>) -> Result<()> {
    let mut ends: HashSet<&str> = HashSet::new();
    // Each round finds the definitions whose values need only those that were found before.
    loop {
        let more: Vec<&str> = defs
            .iter()
            .filter(|(name, def)| !ends.contains(name.as_str()) && finite(def, &ends))
            .map(|(name, _)| name.as_str())
            .collect();
        if more.is_empty() {
            break;
        }
        ends.extend(more);
    }
    if finite(schema, &ends) {
        return Ok(());
    }
    Err(Error::Unsatisfiable {
        kind: "JSON schema",
        reason: "its values never end: each must hold another of its kind".to_owned(),
    })
}

fn finite(schema: &Value, ends: &HashSet<&str>) -> bool {
    let Some(schema) = schema.as_object() else {
        return true;
    };
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let number = |key: &str| schema.get(key).and_then(Value::as_u64);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let name = target.strip_prefix("#/$defs/");
        if !name.is_some_and(|name| ends.contains(name)) {
            return false;
        }
    }
    if list("allOf").is_some_and(|all| !all.iter().all(|s| finite(s, ends))) {
        return false;
    }
    for key in ["anyOf", "oneOf"] {
        if list(key).is_some_and(|any| !any.iter().any(|s| finite(s, ends))) {
            return false;
        }
    }
    // What may be something else than an object or a list can end as that.
    let only = |name: &str| schema.get("type").is_some_and(|t| t == name);
    if only("object") {
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = list("required")
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let of = |name: &str| properties.and_then(|p| p.get(name));
        return required.filter_map(of).all(|s| finite(s, ends));
    }
    if only("array") {
        let least = number("minItems").unwrap_or(0) as usize;
        let first = list("prefixItems").map_or(&[][..], Vec::as_slice);
        let items = schema.get("items").filter(|_| least > first.len());
        return first
            .iter()
            .take(least)
            .chain(items)
            .all(|s| finite(s, ends));
    }
    true
}
