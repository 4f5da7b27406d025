//! Two schemas that both hold, as one.

use serde_json::{Map, Value};

use super::SchemaDialect;
use super::unsupported;
use crate::error::Result;

/// Keywords that say nothing that must hold.
const ANNOTATIONS: [&str; 5] = ["description", "title", "default", "$schema", "examples"];

/// Adds what `base` says to `own`, which has the say where both speak; properties and required
/// names are united.
pub(super) fn fill(own: &mut Map<String, Value>, base: Value) {
    let Value::Object(base) = base else { return };
    for (keyword, value) in base {
        match own.get_mut(&keyword) {
            None => {
                own.insert(keyword, value);
            }
            Some(mine) if unites(&keyword) => unite(mine, value),
            Some(_) => {}
        }
    }
}

/// As [`fill`], where both must hold.
pub(super) fn both(
    dialect: SchemaDialect,
    own: &mut Map<String, Value>,
    other: &Value,
    path: &str,
) -> Result<()> {
    for (keyword, value) in other.as_object().into_iter().flatten() {
        let same = own.get(keyword).is_none_or(|mine| mine == value);
        // A closed object beside another one would allow nothing; what is meant is their union.
        let harmless = unites(keyword)
            || ANNOTATIONS.contains(&keyword.as_str())
            || keyword == "additionalProperties";
        if !same && !harmless {
            let what = format!("an `allOf` whose members differ in `{keyword}`");
            return Err(unsupported(dialect, path, &what));
        }
    }
    for (name, value) in other["properties"].as_object().into_iter().flatten() {
        let mine = own.get("properties").and_then(|p| p.get(name));
        if mine.is_some_and(|mine| mine != value) {
            let what = format!("an `allOf` whose members differ in the property `{name}`");
            return Err(unsupported(dialect, path, &what));
        }
    }
    fill(own, other.clone());
    Ok(())
}

fn unites(keyword: &str) -> bool {
    matches!(keyword, "properties" | "required" | "$defs" | "definitions")
}

fn unite(mine: &mut Value, other: Value) {
    match (mine, other) {
        (Value::Object(mine), Value::Object(other)) => {
            for (name, value) in other {
                mine.entry(name).or_insert(value);
            }
        }
        (Value::Array(mine), Value::Array(other)) => {
            for name in other {
                if !mine.contains(&name) {
                    mine.push(name);
                }
            }
        }
        _ => {}
    }
}
