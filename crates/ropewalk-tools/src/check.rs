//! Whether arguments fit a schema that others wrote.

use ropewalk_core::{ToolError, ToolSpec, parse_arguments};
use serde_json::{Map, Value};

/// Deepest nesting that is looked at.
const MAX_DEPTH: usize = 32;

/// Reads the arguments of a call and checks them against the schema of the tool.
///
/// # Errors
/// [`ToolError::InvalidArguments`] for what is no JSON object or does not fit.
pub(crate) fn checked(spec: &ToolSpec, arguments: &str) -> Result<Map<String, Value>, ToolError> {
    let schema = spec.parameters.as_value();
    let mut arguments = Value::Object(parse_arguments(arguments)?);
    without_nulls(schema, &mut arguments);
    fits(schema, &arguments).map_err(ToolError::InvalidArguments)?;
    match arguments {
        Value::Object(arguments) => Ok(arguments),
        _ => Ok(Map::new()),
    }
}

/// Checks what can be told without doubt: `type`, `enum`, `const`, `required`, and the same of
/// properties and items. References and combinations are left to the other side.
///
/// # Errors
/// Where in the arguments something does not fit, and what was expected.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    at(schema, value, &mut String::new(), 0)
}

/// Leaves out properties that are `null` although they may be left out and must not be `null`:
/// schemas that a provider enforces make optional arguments of this kind.
fn without_nulls(schema: &Value, value: &mut Value) {
    prune(schema, value, 0);
}

fn prune(schema: &Value, value: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(map) => {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            let required = schema.get("required").and_then(Value::as_array);
            for (name, schema) in properties {
                let needed = required.is_some_and(|r| r.iter().any(|r| r == name));
                match map.get_mut(name) {
                    Some(Value::Null) if !needed && fits(schema, &Value::Null).is_err() => {
                        drop(map.remove(name));
                    }
                    Some(value) => prune(schema, value, depth + 1),
                    None => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut()
                    .for_each(|value| prune(items, value, depth + 1));
            }
        }
        _ => {}
    }
}

fn at(schema: &Value, value: &Value, path: &mut String, depth: usize) -> Result<(), String> {
    let Some(schema) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
        return Ok(());
    };
    let place = |path: &str| match path {
        "" => "the arguments".to_owned(),
        path => format!("`{}`", path.trim_start_matches('.')),
    };
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|t| is_a(t, value)) {
        let (place, found) = (place(path), shown(value));
        return Err(format!(
            "{place} is {found}, expected {}",
            types.join(" or ")
        ));
    }
    let choices = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(choices)), _) => Some(choices.as_slice()),
        (_, Some(one)) => Some(std::slice::from_ref(one)),
        _ => None,
    };
    if let Some(choices) = choices.filter(|c| !c.contains(value)) {
        let (place, found) = (place(path), shown(value));
        let choices: Vec<_> = choices.iter().take(30).map(Value::to_string).collect();
        return Err(format!(
            "{place} is {found}, expected one of {}",
            choices.join(", ")
        ));
    }
    if let Value::Object(map) = value {
        let required = schema.get("required").and_then(Value::as_array);
        let mut required = required.into_iter().flatten().filter_map(Value::as_str);
        if let Some(missing) = required.find(|r| !map.contains_key(*r)) {
            return Err(match path.as_str() {
                "" => format!("missing field `{missing}`"),
                path => format!("missing field `{missing}` in {}", place(path)),
            });
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            if let Some(value) = map.get(name) {
                inside(schema, value, path, &format!(".{name}"), depth)?;
            }
        }
    }
    if let (Value::Array(list), Some(items)) = (value, schema.get("items")) {
        for (i, value) in list.iter().enumerate() {
            inside(items, value, path, &format!("[{i}]"), depth)?;
        }
    }
    Ok(())
}

fn inside(
    schema: &Value,
    value: &Value,
    path: &mut String,
    step: &str,
    depth: usize,
) -> Result<(), String> {
    let length = path.len();
    path.push_str(step);
    let outcome = at(schema, value, path, depth + 1);
    path.truncate(length);
    outcome
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        // What is not known is left to the other side.
        _ => true,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > 40 => "a string".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tells_what_does_not_fit() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": ["integer", "null"]},
            "b": {"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {"enum": ["x", "y"]}}}},
            "c": {"$ref": "#/$defs/C"}, "d": {"type": "new"}, "e": {"const": 1}, "f": true,
        }});
        for good in [
            json!({"a": 1}),
            json!({"a": 2.0, "b": [], "c": [], "d": 1, "e": 1, "f": {}, "g": 0}),
            json!({"a": null, "b": [{"k": "x", "l": 1}]}),
        ] {
            assert_eq!(fits(&schema, &good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            (json!([]), "the arguments is a list, expected object"),
            (json!({}), "missing field `a`"),
            (json!({"a": 1.5}), "`a` is 1.5, expected integer or null"),
            (json!({"a": "1"}), "`a` is \"1\", expected integer or null"),
            (json!({"a": 1, "b": {}}), "`b` is an object, expected array"),
            (
                json!({"a": 1, "b": [{"k": "x"}, {}]}),
                "missing field `k` in `b[1]`",
            ),
            (
                json!({"a": 1, "b": [{"k": "z"}]}),
                "`b[0].k` is \"z\", expected one of \"x\", \"y\"",
            ),
            (json!({"a": 1, "e": 2}), "`e` is 2, expected one of 1"),
        ] {
            assert_eq!(fits(&schema, &bad), Err(expected.to_owned()));
        }
        let mut nulls = json!({"a": null, "b": null, "f": null, "g": null});
        without_nulls(&schema, &mut nulls);
        assert_eq!(nulls, json!({"a": null, "f": null, "g": null}));
        let mut nulls = json!({"b": [{"k": null}], "e": null});
        without_nulls(&schema, &mut nulls);
        assert_eq!(nulls, json!({"b": [{"k": null}]}));
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"properties": {"x": deep}, "required": ["x"]});
        }
        assert!(fits(&deep, &json!({"x": {}})).is_err());
        assert_eq!(fits(&Value::Null, &json!(1)), Ok(()));
    }
}
