//! From a reply that failed to an [`Error`].

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ropewalk_core::{Error, ErrorKind, HttpFailure};
use serde_json::Value;

use crate::retry::{is_retryable, retry_after};

/// What an error object of an API says. All APIs known here fit into it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ApiError {
    /// What went wrong, in words.
    pub message: String,
    /// A code for programs, for example `insufficient_quota`.
    pub code: Option<String>,
    /// A class of errors, for example `overloaded_error`, `RESOURCE_EXHAUSTED`.
    pub error_type: Option<String>,
    /// The request field it is about.
    pub param: Option<String>,
    /// The status the object itself names.
    pub status: Option<u16>,
    /// The id of the request the object itself names.
    pub request_id: Option<String>,
    /// How long to wait, as the object itself says (Google `RetryInfo`).
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// Reads the error of a JSON body, or `None` when it holds none. Known shapes: `{"error": {…}}`
    /// (OpenAI, Anthropic, Gemini), `[{"error": {…}}]` (Gemini streams), `{"error": "…"}` (Ollama,
    /// Hugging Face), `{"message": "…"}` (Mistral, Cohere, AWS), `{"detail": …}` (FastAPI),
    /// `{"type": "error", "code": …, "message": …}` (OpenAI Responses streams).
    #[must_use]
    pub fn of(body: &Value) -> Option<Self> {
        let body = body.get(0).unwrap_or(body);
        let inner = match body.get("error") {
            Some(Value::Null) | None => body,
            Some(inner) => inner,
        };
        let text = |value: &Value, key: &str| match value.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let message = match inner {
            Value::String(text) => Some(text.clone()),
            inner => text(inner, "message")
                .or_else(|| text(inner, "Message"))
                .or_else(|| text(body, "message"))
                .or_else(|| detail(body.get("detail")?)),
        };
        // Some servers give an error without words, but none gives one without anything.
        let message = match message {
            Some(message) => message,
            None if std::ptr::eq(inner, body) => return None,
            None => inner.to_string(),
        };
        let number = |key| inner.get(key).and_then(Value::as_u64);
        let status = number("code").or_else(|| number("status"));
        Some(Self {
            message,
            code: text(inner, "code").or_else(|| text(body, "code")),
            error_type: text(inner, "type")
                .or_else(|| text(inner, "status"))
                .or_else(|| text(body, "error_type"))
                .or_else(|| text(body, "__type")),
            param: text(inner, "param"),
            status: status.and_then(|s| u16::try_from(s).ok()),
            request_id: text(body, "request_id").or_else(|| text(inner, "request_id")),
            retry_after: retry_info(inner),
        })
    }

    /// Returns the kind of failure, from the status of the reply (`None` inside a stream) and what
    /// the object says.
    #[must_use]
    pub fn kind(&self, status: Option<u16>) -> ErrorKind {
        let is = |wanted: &[&str]| {
            [&self.code, &self.error_type]
                .into_iter()
                .flatten()
                .any(|t| wanted.iter().any(|w| t.eq_ignore_ascii_case(w)))
        };
        let status = status.filter(|s| *s >= 400).or(self.status);
        let message = self.message.to_ascii_lowercase();
        if is(&[
            "insufficient_quota",
            "billing_error",
            "billing_hard_limit_reached",
        ]) || status == Some(402)
            // Anthropic calls it an invalid request.
            || (status == Some(400) && message.contains("credit balance is too low"))
        {
            return ErrorKind::QuotaExceeded;
        }
        if is(&[
            "context_length_exceeded",
            "request_too_large",
            "string_above_max_length",
        ]) || status == Some(413)
            || (matches!(status, None | Some(400 | 422 | 500)) && overflows(&message))
        {
            return ErrorKind::ContextLengthExceeded;
        }
        if is(&[
            "content_filter",
            "content_policy_violation",
            "moderation_blocked",
        ]) {
            return ErrorKind::ContentFiltered;
        }
        if is(&[
            "overloaded_error",
            "overloaded",
            "UNAVAILABLE",
            "model_overloaded",
        ]) {
            return ErrorKind::Overloaded;
        }
        if is(&[
            "rate_limit_error",
            "rate_limit_exceeded",
            "RESOURCE_EXHAUSTED",
            "ThrottlingException",
        ]) {
            return ErrorKind::RateLimited;
        }
        // Google reports a wrong key as a bad argument.
        if is(&["API_KEY_INVALID"])
            || (status == Some(400) && message.contains("api key not valid"))
        {
            return ErrorKind::Authentication;
        }
        match status {
            Some(status) => kind_of(status),
            None if is(&["authentication_error", "invalid_api_key"]) => ErrorKind::Authentication,
            None if is(&["permission_error", "PERMISSION_DENIED"]) => ErrorKind::PermissionDenied,
            None if is(&["not_found_error", "NOT_FOUND"]) => ErrorKind::NotFound,
            None if is(&[
                "invalid_request_error",
                "INVALID_ARGUMENT",
                "invalid_prompt",
            ]) =>
            {
                ErrorKind::InvalidRequest
            }
            None if is(&["timeout_error", "DEADLINE_EXCEEDED"]) => ErrorKind::Timeout,
            None => ErrorKind::Server,
        }
    }

    /// Makes an error of this object when it came inside a stream, after a good status.
    #[must_use]
    pub fn into_error(self, provider: &str) -> Error {
        let kind = self.kind(None);
        let error = Error::new(kind, self.words()).with_provider(provider.to_owned());
        match self.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    fn words(&self) -> String {
        match (&self.code, &self.error_type) {
            (Some(label), _) | (None, Some(label)) if !self.message.contains(label.as_str()) => {
                format!("{} ({label})", self.message)
            }
            _ => self.message.clone(),
        }
    }
}

fn detail(detail: &Value) -> Option<String> {
    match detail {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => Some(detail.to_string()),
        _ => None,
    }
}

/// Google's `google.rpc.RetryInfo`: `"retryDelay": "7.5s"`.
fn retry_info(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|d| d.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Phrases by which APIs say that the prompt is too long.
fn overflows(message: &str) -> bool {
    const PHRASES: [&str; 12] = [
        "context length",
        "context_length",
        "context window",
        "context size",
        "maximum context",
        "prompt is too long",
        "input is too long",
        "too many tokens",
        "input token count",
        "exceeds the maximum number of tokens",
        "exceed context limit",
        "reduce the length",
    ];
    !message.contains("rate limit") && PHRASES.iter().any(|p| message.contains(p))
}

fn kind_of(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Authentication,
        402 => ErrorKind::QuotaExceeded,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        413 => ErrorKind::ContextLengthExceeded,
        429 => ErrorKind::RateLimited,
        503 | 529 => ErrorKind::Overloaded,
        400..=499 => ErrorKind::InvalidRequest,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Other,
    }
}

/// Makes an error of a reply that is no success.
pub(crate) fn of_reply(
    provider: &str,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    now: SystemTime,
) -> Error {
    let json = serde_json::from_slice::<Value>(&body).ok();
    let api = json.as_ref().and_then(ApiError::of);
    let kind = match &api {
        Some(api) => api.kind(Some(status.as_u16())),
        None => kind_of(status.as_u16()),
    };
    let message = match &api {
        Some(api) => format!("{} (HTTP {})", api.words(), status.as_u16()),
        None => without_json(status, &headers, &body),
    };
    let api = api.unwrap_or_default();
    let mut http = HttpFailure::new(status);
    http.retry_after = retry_after(&headers, now).or(api.retry_after);
    http.request_id = request_id(&headers).or(api.request_id);
    (http.code, http.error_type, http.param) = (api.code, api.error_type, api.param);
    let retryable = is_retryable(status, &headers)
        && !matches!(
            kind,
            ErrorKind::QuotaExceeded | ErrorKind::ContextLengthExceeded
        );
    (http.headers, http.body) = (headers, body);
    Error::new(kind, message)
        .with_provider(provider.to_owned())
        .with_retryable(retryable)
        .with_http(http)
}

/// A proxy's page, plain text or nothing.
fn without_json(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> String {
    let status = status.as_u16();
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let text = text.trim();
    let kind = headers.get(http::header::CONTENT_TYPE);
    let is_html =
        kind.is_some_and(|k| k.as_bytes().starts_with(b"text/html")) || text.starts_with('<');
    if is_html {
        let title = text
            .split_once("<title>")
            .and_then(|(_, t)| t.split_once("</title>"))
            .map_or("without a title", |(t, _)| t.trim());
        return format!(
            "HTTP {status} with an HTML page ({title}), which a proxy or a wrong base URL gives"
        );
    }
    match text.lines().next() {
        Some(line) => format!(
            "HTTP {status}: {}",
            line.chars().take(200).collect::<String>()
        ),
        None => format!("HTTP {status} with an empty body"),
    }
}

/// Returns the provider's id of a request, from the headers in use.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    const NAMES: [&str; 8] = [
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "apim-request-id",
        "x-ms-request-id",
        "x-goog-request-id",
        "x-generation-id",
        "cf-ray",
    ];
    let mut found = NAMES.iter().filter_map(|n| headers.get(*n)?.to_str().ok());
    found.find(|v| !v.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_shape() {
        for (body, status, kind) in [
            (
                json!({"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}),
                429,
                ErrorKind::QuotaExceeded,
            ),
            (
                json!({"error": {"message": "m", "code": "context_length_exceeded"}}),
                400,
                ErrorKind::ContextLengthExceeded,
            ),
            (
                json!({"error": {"message": "m", "code": "content_filter"}}),
                400,
                ErrorKind::ContentFiltered,
            ),
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
                529,
                ErrorKind::Overloaded,
            ),
            (
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}),
                400,
                ErrorKind::ContextLengthExceeded,
            ),
            (
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}),
                400,
                ErrorKind::QuotaExceeded,
            ),
            (
                json!([{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}]),
                429,
                ErrorKind::RateLimited,
            ),
            (
                json!({"error": {"code": 400, "message": "API key not valid. Pass one.", "status": "INVALID_ARGUMENT"}}),
                400,
                ErrorKind::Authentication,
            ),
            (
                json!({"error": "model 'x' not found"}),
                404,
                ErrorKind::NotFound,
            ),
            (
                json!({"message": "Unauthorized"}),
                401,
                ErrorKind::Authentication,
            ),
            (
                json!({"detail": [{"loc": ["body"], "msg": "field required"}]}),
                422,
                ErrorKind::InvalidRequest,
            ),
            (
                json!({"error": {"message": "m"}}),
                503,
                ErrorKind::Overloaded,
            ),
        ] {
            let error = ApiError::of(&body).unwrap_or_else(|| panic!("{body}"));
            assert_eq!(error.kind(Some(status)), kind, "{body}");
            assert!(!error.message.is_empty());
        }
        assert_eq!(ApiError::of(&json!({"choices": []})), None);
    }

    #[test]
    fn in_band_errors_have_a_kind_without_a_status() {
        let of = |body| ApiError::of(&body).map(|e| e.into_error("p"));
        let error = of(json!({"error": {"type": "overloaded_error", "message": "busy"}})).unwrap();
        assert_eq!(
            (error.kind(), error.provider()),
            (ErrorKind::Overloaded, "p")
        );
        assert!(
            error.to_string().contains("busy (overloaded_error)"),
            "{error}"
        );
        let google = json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "7.5s"}]}});
        assert_eq!(
            of(google).unwrap().retry_after(),
            Some(Duration::from_millis(7500))
        );
    }

    #[test]
    fn a_page_is_named_as_one() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "text/html".parse().unwrap());
        headers.insert("cf-ray", "abc".parse().unwrap());
        let body = Bytes::from("<html><head><title>502 Bad Gateway</title>");
        let now = SystemTime::UNIX_EPOCH;
        let error = of_reply("p", StatusCode::BAD_GATEWAY, headers, body, now);
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(error.message().contains("502 Bad Gateway"), "{error}");
        assert_eq!(error.request_id(), Some("abc"));
        assert!(error.is_retryable());
    }
}
