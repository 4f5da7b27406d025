//! Null, constants and enums as OpenAPI 3.0 has them.

use serde_json::{Map, Value, json};

use super::merge;

/// Writes null as `nullable`, a list of types as alternatives, a constant as an enum, and moves
/// enums of anything but texts into `told`, which the description will hold.
pub(super) fn openapi(map: &mut Map<String, Value>, told: &mut Vec<(String, Value)>) {
    if let Some(value) = map.remove("const") {
        map.insert("enum".into(), json!([value]));
    }
    let mut nullable = types(map);
    nullable |= enums(map, told);
    if nullable {
        map.insert("nullable".into(), true.into());
    }
}

fn is_null(value: &Value) -> bool {
    *value == "null"
}

fn types(map: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(types)) = map.get("type").cloned() else {
        return false;
    };
    let nullable = types.iter().any(is_null);
    let types: Vec<Value> = types.into_iter().filter(|t| !is_null(t)).collect();
    match types.as_slice() {
        [] => map.insert("type".into(), "null".into()),
        [one] => map.insert("type".into(), one.clone()),
        several => {
            let several: Vec<Value> = several.iter().map(|t| json!({ "type": t })).collect();
            map.remove("type");
            map.entry("anyOf").or_insert(several.into());
            None
        }
    };
    nullable
}

/// Takes null out of the alternatives. Returns whether only one was left, which is now part of the
/// schema itself.
pub(super) fn single(map: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(mut members)) = map.remove("anyOf") else {
        return false;
    };
    let before = members.len();
    members.retain(|m| m.as_object().is_none_or(|m| m.len() > 1) || !is_null(&m["type"]));
    if members.len() < before {
        map.insert("nullable".into(), true.into());
    }
    if members.len() == 1 {
        merge::fill(map, members.remove(0));
        return true;
    }
    if !members.is_empty() {
        map.insert("anyOf".into(), members.into());
    }
    false
}

fn enums(map: &mut Map<String, Value>, told: &mut Vec<(String, Value)>) -> bool {
    let Some(Value::Array(values)) = map.remove("enum") else {
        return false;
    };
    let nullable = values.iter().any(Value::is_null);
    let values: Vec<Value> = values.into_iter().filter(|v| !v.is_null()).collect();
    if values.iter().all(Value::is_string) {
        map.entry("type").or_insert("string".into());
        map.insert("enum".into(), values.into());
        return nullable;
    }
    let whole = values.iter().all(|v| v.is_i64() || v.is_u64());
    let kind = match &values[0] {
        Value::Bool(_) => "boolean",
        Value::Number(_) if whole => "integer",
        Value::Number(_) => "number",
        _ => "string",
    };
    map.entry("type").or_insert(kind.into());
    told.push(("enum".into(), values.into()));
    nullable
}
