//! The HTTP exchange behind an error.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::redact::{redact, redact_exact};

/// The reply to an HTTP request that failed.
///
/// `Debug` prints header names without values and about 2 KiB of the body, all of it redacted.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpFailure {
    /// Status of the reply.
    pub status: http::StatusCode,
    /// Headers of the reply.
    pub headers: http::HeaderMap,
    /// Body of the reply, as received.
    pub body: Bytes,
    /// The provider's error code, for example `insufficient_quota`.
    pub code: Option<String>,
    /// The provider's error type, for example `overloaded_error`.
    pub error_type: Option<String>,
    /// The request field the provider complains about.
    pub param: Option<String>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// How many times the request was sent.
    pub attempts: u32,
}

impl HttpFailure {
    /// Creates a failure with a status and nothing else; the fields are public.
    #[must_use]
    pub fn new(status: http::StatusCode) -> Self {
        Self {
            status,
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            code: None,
            error_type: None,
            param: None,
            request_id: None,
            retry_after: None,
            attempts: 1,
        }
    }

    /// Masks known secrets in every field, the body included.
    pub(crate) fn mask(&mut self, secrets: &[&str]) {
        let fields = [&mut self.code, &mut self.error_type, &mut self.param];
        for field in fields.into_iter().chain([&mut self.request_id]).flatten() {
            *field = redact_exact(field, secrets).into_owned();
        }
        let body = String::from_utf8_lossy(&self.body);
        let masked = redact_exact(&body, secrets);
        if masked != body {
            self.body = Bytes::from(masked.into_owned());
        }
        for value in self.headers.values_mut() {
            let text = String::from_utf8_lossy(value.as_bytes());
            let masked = redact_exact(&text, secrets);
            if masked != text {
                let masked = http::HeaderValue::from_str(&masked);
                *value = masked.unwrap_or(http::HeaderValue::from_static("[redacted]"));
            }
        }
    }
}

impl fmt::Debug for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 2048;
        // Cut after masking: half a key would not be known as one.
        let body = String::from_utf8_lossy(&self.body);
        let body = redact(&body);
        let mut ends = (0..=SHOWN.min(body.len())).rev();
        let end = ends.find(|i| body.is_char_boundary(*i));
        let shown = &body[..end.unwrap_or(0)];
        let masked = |field: &Option<String>| field.as_deref().map(|t| redact(t).into_owned());
        f.debug_struct("HttpFailure")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body", &shown)
            .field("body_len", &self.body.len())
            .field("code", &masked(&self.code))
            .field("error_type", &masked(&self.error_type))
            .field("param", &masked(&self.param))
            .field("request_id", &masked(&self.request_id))
            .field("retry_after", &self.retry_after)
            .field("attempts", &self.attempts)
            .finish()
    }
}
