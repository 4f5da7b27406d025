//! How values are written into addresses and headers (OpenAPI 3.1, 4.8.12.3 "Style Values").

use serde_json::{Map, Value};

/// How a parameter is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `a,b`; in a query `name=a,b`.
    Commas,
    /// Objects as `k=v,k=v`, lists as `a,b`: `simple` with `explode`.
    Pairs,
    /// `name=a&name=b`, objects as `k=v&k=v`: `form` with `explode`.
    Repeated,
    /// `name=a b`.
    Spaces,
    /// `name=a|b`.
    Pipes,
    /// `name[k]=v`.
    Deep,
    /// A JSON text.
    Json,
}

impl Style {
    pub(super) fn of(place: &str, style: Option<&str>, explode: Option<&Value>) -> Option<Self> {
        let explode = explode.and_then(Value::as_bool);
        Some(match (place, style) {
            ("path", None | Some("simple")) if explode == Some(true) => Self::Pairs,
            ("path" | "header", None | Some("simple")) => Self::Commas,
            ("query", None | Some("form")) if explode != Some(false) => Self::Repeated,
            ("query" | "cookie", None | Some("form")) => Self::Commas,
            ("query", Some("spaceDelimited")) if explode == Some(true) => Self::Repeated,
            ("query", Some("spaceDelimited")) => Self::Spaces,
            ("query", Some("pipeDelimited")) if explode == Some(true) => Self::Repeated,
            ("query", Some("pipeDelimited")) => Self::Pipes,
            ("query", Some("deepObject")) => Self::Deep,
            _ => return None,
        })
    }
}

/// Writes a value without structure as it is, anything else as JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
                out.push('%');
                out.push(digit(byte >> 4).to_ascii_uppercase());
                out.push(digit(byte & 15).to_ascii_uppercase());
            }
        }
    }
    out
}

fn flat(map: &Map<String, Value>, joint: &str, encode: fn(&str) -> String) -> Vec<String> {
    let pair = |(k, v): (&String, &Value)| [&encode(k), joint, &encode(&scalar(v))].concat();
    map.iter().map(pair).collect()
}

/// Writes a value of a path or header; `encode` keeps it in its place.
pub(super) fn simple(value: &Value, style: Style, encode: fn(&str) -> String) -> String {
    match (value, style) {
        (_, Style::Json) => encode(&value.to_string()),
        (Value::Array(list), _) => {
            let list: Vec<_> = list.iter().map(|v| encode(&scalar(v))).collect();
            list.join(",")
        }
        (Value::Object(map), Style::Pairs) => flat(map, "=", encode).join(","),
        (Value::Object(map), _) => flat(map, ",", encode).join(","),
        (value, _) => encode(&scalar(value)),
    }
}

/// Writes a parameter of a query as `name=value` pairs, encoded.
pub(super) fn query(name: &str, value: &Value, style: Style) -> Vec<String> {
    let pair = |name: &str, value: String| [name, "=", &value].concat();
    let key = encoded(name);
    let joined = |joint: &str| match value {
        Value::Array(list) => {
            let list: Vec<_> = list.iter().map(|v| encoded(&scalar(v))).collect();
            vec![pair(&key, list.join(joint))]
        }
        Value::Object(map) => vec![pair(&key, flat(map, joint, encoded).join(joint))],
        other => vec![pair(&key, encoded(&scalar(other)))],
    };
    match (style, value) {
        (Style::Json, _) => vec![pair(&key, encoded(&value.to_string()))],
        (Style::Deep, Value::Object(map)) => {
            let deep = |(k, v): (&String, &Value)| {
                pair(&encoded(&format!("{name}[{k}]")), encoded(&scalar(v)))
            };
            map.iter().map(deep).collect()
        }
        (Style::Repeated | Style::Deep, Value::Array(list)) => list
            .iter()
            .map(|v| pair(&key, encoded(&scalar(v))))
            .collect(),
        (Style::Repeated, Value::Object(map)) => flat(map, "=", encoded),
        (Style::Spaces, _) => joined("%20"),
        (Style::Pipes, _) => joined("%7C"),
        _ => joined(","),
    }
}

/// Writes the fields of a form.
pub(super) fn form(map: &Map<String, Value>) -> String {
    let fields = map.iter().flat_map(|(name, value)| match value {
        Value::Object(_) => query(name, value, Style::Json),
        _ => query(name, value, Style::Repeated),
    });
    fields.collect::<Vec<_>>().join("&")
}
