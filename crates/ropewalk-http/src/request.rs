//! What is sent: a recipe that can be sent again.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ropewalk_core::{Error, ErrorKind, Result, redact_exact};
use serde_json::Value;

use crate::multipart::Form;

/// A request as a recipe: every attempt is built from it anew, uploads included.
///
/// `Debug` prints no secret: values of sensitive headers are left out, and keys in the address are
/// masked.
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole address.
    pub url: String,
    /// The headers; secrets among them are marked as sensitive.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// Limit of the whole exchange when it is not a stream; the client's when `None`.
    pub timeout: Option<Duration>,
    /// Who is asked, for errors and traces.
    pub provider: Cow<'static, str>,
    secrets: Vec<String>,
}

impl Request {
    /// Creates a request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: None,
            provider: Cow::Borrowed(""),
            secrets: Vec::new(),
        }
    }

    /// Creates a GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// Creates a POST request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// Sets who is asked, for errors and traces.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.provider = provider.into();
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn with_json(self, body: &Value) -> Self {
        self.with_body("application/json", body.to_string())
    }

    /// Sets a multipart body.
    #[must_use]
    pub fn with_form(self, form: &Form) -> Self {
        let (content_type, body) = form.encode();
        self.with_body(&content_type, body)
    }

    /// Sets a body of any type.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        if let Ok(value) = HeaderValue::from_str(content_type) {
            self.headers.insert(header::CONTENT_TYPE, value);
        }
        self
    }

    /// Sets the limit of the whole exchange.
    #[must_use]
    pub fn with_timeout(mut self, limit: Option<Duration>) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets a header.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when name or value cannot be sent.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let (name, value) = header_of(name, value)?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sets a header that holds a secret: it is never printed, and masked in every error.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when name or value cannot be sent; the value is not named.
    pub fn with_secret_header(mut self, name: &str, prefix: &str, secret: &str) -> Result<Self> {
        let (name, mut value) = header_of(name, &format!("{prefix}{secret}"))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self.secrets.push(secret.to_owned());
        Ok(self)
    }

    /// Appends a parameter to the address.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.url
            .push(if self.url.contains('?') { '&' } else { '?' });
        let pairs = url::form_urlencoded::Serializer::new(String::new())
            .append_pair(name, value)
            .finish();
        self.url.push_str(&pairs);
        self
    }

    /// Appends a parameter that holds a secret.
    #[must_use]
    pub fn with_secret_query(mut self, name: &str, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self.with_query(name, secret)
    }

    /// Masks in errors what is secret but stands in none of the headers set as such.
    #[must_use]
    pub fn with_secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Returns the secrets of this request, for [`Error::mask`].
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        self.secrets.iter().map(String::as_str).collect()
    }

    /// Returns the address without secrets, user name and password, for people.
    #[must_use]
    pub fn shown_url(&self) -> Cow<'_, str> {
        match without_userinfo(&self.url) {
            Cow::Borrowed(url) => redact_exact(url, &self.secrets()),
            Cow::Owned(url) => redact_exact(&url, &self.secrets()).into_owned().into(),
        }
    }

    /// Returns an error about this request, free of its secrets.
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, message)
            .with_provider(self.provider.clone())
            .mask(&self.secrets())
    }
}

/// Masks user name and password of an address.
pub(crate) fn without_userinfo(url: &str) -> Cow<'_, str> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (&url[..scheme.len() + 3], rest),
        None => ("", url),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}[redacted]@{}", &rest[at + 1..]).into(),
        None => url.into(),
    }
}

fn header_of(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let bad = |what: &str| {
        Error::new(
            ErrorKind::Configuration,
            format!("header {name:?}: {what}; it may hold visible ASCII only"),
        )
    };
    let header = HeaderName::try_from(name).map_err(|_| bad("the name cannot be sent"))?;
    let value = HeaderValue::try_from(value).map_err(|_| bad("the value cannot be sent"))?;
    Ok((header, value))
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.shown_url())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_len", &self.body.len())
            .field("timeout", &self.timeout)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_errors_hold_no_secret() {
        let request = Request::post("https://x.test/v1?a=b")
            .with_secret_query("key", "AIza-secret-value-1")
            .with_secret_header("authorization", "Bearer ", "sk-secret-value-2")
            .unwrap();
        assert_eq!(request.headers["authorization"], "Bearer sk-secret-value-2");
        assert!(request.url.ends_with("?a=b&key=AIza-secret-value-1"));
        let error = request.error(ErrorKind::Other, "AIza-secret-value-1 sk-secret-value-2");
        for text in [format!("{request:?}"), format!("{error:?} {error}")] {
            assert!(!text.contains("secret-value"), "{text}");
        }
        let bad = Request::get("x").with_secret_header("x-key", "", "line\nbreak");
        assert!(!bad.unwrap_err().to_string().contains("break"));
    }
    #[test]
    fn user_names_and_passwords_are_not_shown() {
        for (url, shown) in [
            (
                "https://u:hunter2@x.test/v1",
                "https://[redacted]@x.test/v1",
            ),
            ("http://u:p@ss@x.test", "http://[redacted]@x.test"),
            ("https://x.test/a@b?c=@d", "https://x.test/a@b?c=@d"),
            ("u:hunter2@proxy:8080", "[redacted]@proxy:8080"),
        ] {
            assert_eq!(Request::get(url).shown_url(), shown);
        }
    }
}
