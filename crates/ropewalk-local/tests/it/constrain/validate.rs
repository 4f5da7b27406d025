//! A validator of JSON schemas that shares nothing with what is tested: what is allowed, keyword by keyword.

use serde_json::Value;

/// Checks a value against a schema of a document.
///
/// # Errors
/// The keyword that does not hold, and the value.
pub(crate) fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let map = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Object(map) => map,
        other => return Err(format!("{value} stands where the schema is {other}")),
    };
    for (key, rule) in map {
        if !holds(document, schema, key, rule, value) {
            return Err(format!("`{key}`: {rule} does not hold for {value}"));
        }
    }
    Ok(())
}

fn holds(document: &Value, schema: &Value, key: &str, rule: &Value, value: &Value) -> bool {
    let ok = |schema: &Value, value: &Value| fits(document, schema, value).is_ok();
    let all = |rule: &Value| rule.as_array().unwrap().clone();
    let number = value.as_f64();
    let limit = || rule.as_f64().unwrap();
    let count = || rule.as_u64().unwrap() as usize;
    let chars = value.as_str().map(|s| s.chars().count());
    let list = value.as_array();
    let object = value.as_object();
    match key {
        "type" => match rule {
            Value::Array(types) => types.iter().any(|t| is(t.as_str().unwrap(), value)),
            one => is(one.as_str().unwrap(), value),
        },
        "enum" => all(rule).contains(value),
        "const" => rule == value,
        "$ref" => {
            let pointer = rule.as_str().unwrap().trim_start_matches('#');
            ok(document.pointer(pointer).unwrap(), value)
        }
        "anyOf" => all(rule).iter().any(|s| ok(s, value)),
        "allOf" => all(rule).iter().all(|s| ok(s, value)),
        "oneOf" => all(rule).iter().filter(|s| ok(s, value)).count() == 1,
        "minimum" => number.is_none_or(|n| n >= limit()),
        "maximum" => number.is_none_or(|n| n <= limit()),
        "exclusiveMinimum" => number.is_none_or(|n| n > limit()),
        "exclusiveMaximum" => number.is_none_or(|n| n < limit()),
        "multipleOf" => number.is_none_or(|n| (n / limit()).fract() == 0.0),
        "minLength" => chars.is_none_or(|n| n >= count()),
        "maxLength" => chars.is_none_or(|n| n <= count()),
        "pattern" => {
            let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
            value.as_str().is_none_or(|s| pattern.is_match(s))
        }
        "format" => match (rule.as_str().unwrap(), value) {
            ("date", Value::String(s)) => {
                regex::Regex::new(r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")
                    .unwrap()
                    .is_match(s)
            }
            ("uint8", Value::Number(n)) => n.as_u64().is_some_and(|n| n < 256),
            _ => true,
        },
        "minItems" => list.is_none_or(|l| l.len() >= count()),
        "maxItems" => list.is_none_or(|l| l.len() <= count()),
        "prefixItems" => {
            list.is_none_or(|l| all(rule).iter().zip(l).all(|(s, value)| ok(s, value)))
        }
        "items" => {
            let first = schema.get("prefixItems").map_or(0, |p| all(p).len());
            list.is_none_or(|l| l.iter().skip(first).all(|value| ok(rule, value)))
        }
        "required" => object.is_none_or(|o| {
            all(rule)
                .iter()
                .all(|k| o.contains_key(k.as_str().unwrap()))
        }),
        "properties" => object.is_none_or(|o| {
            let known = rule.as_object().unwrap();
            known
                .iter()
                .all(|(k, s)| o.get(k).is_none_or(|value| ok(s, value)))
        }),
        "patternProperties" => object.is_none_or(|o| {
            rule.as_object().unwrap().iter().all(|(pattern, s)| {
                let pattern = regex::Regex::new(pattern).unwrap();
                o.iter()
                    .all(|(k, value)| !pattern.is_match(k) || ok(s, value))
            })
        }),
        "additionalProperties" => object.is_none_or(|o| {
            let known = |k: &str| schema.get("properties").is_some_and(|p| p.get(k).is_some());
            let matched = |k: &str| {
                let patterns = schema.get("patternProperties").and_then(Value::as_object);
                let mut patterns = patterns.into_iter().flatten().map(|(p, _)| p);
                patterns.any(|p| regex::Regex::new(p).unwrap().is_match(k))
            };
            o.iter()
                .all(|(k, value)| known(k) || matched(k) || ok(rule, value))
        }),
        "minProperties" => object.is_none_or(|o| o.len() >= count()),
        "maxProperties" => object.is_none_or(|o| o.len() <= count()),
        "$defs" => true,
        other => panic!("the validator does not know `{other}`"),
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("unknown type {other}"),
    }
}
