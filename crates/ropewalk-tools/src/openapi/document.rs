//! The document and its references.

use percent::decoded;
use serde_json::{Map, Value};
use url::Url;

use super::error::OpenApiError;
use super::operation::Operation;

/// Largest document, in bytes.
const MAX_DOCUMENT: usize = 32 << 20;
/// Most references in a row.
const MAX_HOPS: usize = 32;

pub(super) struct Document {
    pub(super) root: Value,
    /// Whether the schemas are those of version 3.0.
    pub(super) old: bool,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, OpenApiError> {
        if text.len() > MAX_DOCUMENT {
            return Err(OpenApiError::TooLarge {
                what: "the OpenAPI document".into(),
                limit: format!("{MAX_DOCUMENT} bytes"),
            });
        }
        let root: Value =
            serde_json::from_str(text).map_err(|e| OpenApiError::NoJson(e.to_string()))?;
        let version = match root.get("openapi").or_else(|| root.get("swagger")) {
            Some(Value::String(version)) => version.clone(),
            _ => "none".to_owned(),
        };
        let old = version.starts_with("3.0");
        if !old && !version.starts_with("3.1") {
            return Err(OpenApiError::Version(version));
        }
        Ok(Self { root, old })
    }

    /// Returns the text at a JSON pointer, empty when there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        let found = self.root.pointer(pointer);
        found.and_then(Value::as_str).unwrap_or("")
    }

    /// Finds what a reference leads to.
    pub(super) fn find(&self, reference: &str) -> Result<&Value, OpenApiError> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(OpenApiError::ExternalReference(reference.to_owned()));
        };
        let found = self.root.pointer(&decoded(pointer));
        found.ok_or_else(|| OpenApiError::MissingReference(reference.to_owned()))
    }

    /// Follows references until something else stands there.
    pub(super) fn resolve<'d>(&'d self, value: &'d Value) -> Result<&'d Value, OpenApiError> {
        let mut value = value;
        for _ in 0..MAX_HOPS {
            match value.get("$ref").and_then(Value::as_str) {
                None => return Ok(value),
                Some(reference) => value = self.find(reference)?,
            }
        }
        let reference = value.get("$ref").and_then(Value::as_str);
        Err(OpenApiError::ReferenceLoop(
            reference.unwrap_or("").to_owned(),
        ))
    }

    /// Returns the address that the path of an operation is appended to, without `/` at the end.
    pub(super) fn base(
        &self,
        given: Option<&str>,
        operation: &Operation,
    ) -> Result<String, OpenApiError> {
        let problem = |problem: String| OpenApiError::NoAddress {
            operation: operation.shown(),
            problem,
        };
        let url = match given {
            Some(given) => given.to_owned(),
            None => {
                let servers = ["servers"].map(|s| operation.value.get(s));
                let servers = servers
                    .into_iter()
                    .chain([operation.item.get("servers"), self.root.get("servers")]);
                let first = servers.flatten().find_map(|s| s.get(0));
                let Some(server) = first.and_then(Value::as_object) else {
                    return Err(problem("the document names no server".into()));
                };
                server_url(server)
            }
        };
        let parsed = Url::parse(&url).map_err(|e| problem(format!("the server {url:?}: {e}")))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.query().is_some() {
            return Err(problem(format!(
                "the server {url:?} is no plain web address"
            )));
        }
        Ok(url.trim_end_matches('/').to_owned())
    }
}

/// Puts the defaults of its variables into the address of a server.
fn server_url(server: &Map<String, Value>) -> String {
    let mut url = server
        .get("url")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let variables = server.get("variables").and_then(Value::as_object);
    for (name, variable) in variables.into_iter().flatten() {
        if let Some(default) = variable.get("default").and_then(Value::as_str) {
            url = url.replace(&format!("{{{name}}}"), default);
        }
    }
    url
}

mod percent {
    /// Replaces `%XX` by bytes; what is no UTF-8 then is replaced.
    pub(super) fn decoded(text: &str) -> String {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            let hex = (*first == b'%').then(|| after.get(..2)).flatten();
            let hex = hex.and_then(|h| std::str::from_utf8(h).ok());
            match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
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
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
