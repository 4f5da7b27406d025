//! Bodies as they are sent, beside the bodies in `tests/fixtures`.

use std::path::Path;

use ropewalk_http::Request;
use serde_json::{Map, Value, json};

/// Compares with the file `tests/fixtures/NAME.json`. With `ROPEWALK_BLESS` set the file is written
/// instead; its change is then seen in the review.
#[track_caller]
pub(crate) fn golden(name: &str, found: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path = root.join(name).with_extension("json");
    if std::env::var_os("ROPEWALK_BLESS").is_some() {
        std::fs::write(&path, format!("{found:#}\n")).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    // The order of keys is nothing that an API sees a difference in.
    let expected: Value = serde_json::from_str(&expected).unwrap_or_default();
    assert_eq!(*found, expected, "{name} differs from its file");
}

/// Returns the JSON body of a request.
pub(crate) fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// Reads a multipart body as strictly as RFC 7578 writes it. Repeated fields become lists, files
/// `{"file", "mime", "bytes"}` with the number of bytes.
#[track_caller]
pub(crate) fn form(request: &Request) -> Value {
    let mut fields = Map::new();
    for (name, file, data) in parts(request) {
        let value = match file {
            Some((file, mime)) => json!({"file": file, "mime": mime, "bytes": data.len()}),
            None => json!(String::from_utf8(data).unwrap()),
        };
        match (fields.get_mut(&name), name.ends_with("[]")) {
            (Some(Value::Array(list)), true) => list.push(value),
            (None, true) => drop(fields.insert(name, json!([value]))),
            (None, false) => drop(fields.insert(name, value)),
            (Some(_), _) => panic!("field {name} comes twice"),
        }
    }
    Value::Object(fields)
}

type Part = (String, Option<(String, String)>, Vec<u8>);

/// Returns name, file name and type, and bytes of every part.
#[track_caller]
pub(crate) fn parts(request: &Request) -> Vec<Part> {
    let kind = request.headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let (open, close) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
    let mut rest = request.body.strip_prefix(open.as_bytes()).unwrap();
    let mut parts = Vec::new();
    loop {
        let head = find(rest, b"\r\n\r\n");
        let end = find(rest, close.as_bytes());
        let text = std::str::from_utf8(&rest[..head]).unwrap();
        let between = |from: &str| {
            let start = text.find(from)? + from.len();
            let text = &text[start..];
            Some(text[..text.find(['"', '\r']).unwrap_or(text.len())].to_owned())
        };
        let name = between("form-data; name=\"").unwrap();
        let file = between("filename=\"").zip(between("Content-Type: "));
        parts.push((name, file, rest[head + 4..end].to_vec()));
        rest = &rest[end + close.len()..];
        if rest == b"--\r\n" {
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").unwrap();
    }
}

#[track_caller]
fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .position(|w| w == wanted)
        .unwrap()
}
