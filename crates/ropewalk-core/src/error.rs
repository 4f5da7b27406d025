//! The one error type of every model, tool and retriever.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::HttpFailure;
use crate::redact::{redact, redact_exact};
use crate::response::ChatResponse;
use crate::source::Source;

/// `Result` with [`Error`] as the default error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error that can cross threads; what implementers put behind [`Error::source`].
///
/// [`Error::source`]: std::error::Error::source
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, sorted by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key, URL, path or builder argument is missing or wrong; nothing was sent.
    Configuration,
    /// The request was rejected, locally or by the provider (400, 404, 409, 422).
    InvalidRequest,
    /// The model cannot honour an option, part or tool (only with
    /// [`OnUnsupported::Error`](crate::OnUnsupported::Error)).
    Unsupported,
    /// The credentials were not accepted (401).
    Authentication,
    /// The credentials are valid but do not allow this (403).
    PermissionDenied,
    /// The model, file or resource does not exist (404).
    NotFound,
    /// Too many requests or tokens per minute (429); waiting helps.
    RateLimited,
    /// The account has no credit left (402, 429 with a quota code); waiting does not help.
    QuotaExceeded,
    /// The provider has no capacity right now (503, 529).
    Overloaded,
    /// The provider failed (5xx).
    Server,
    /// The prompt does not fit the model's context window.
    ContextLengthExceeded,
    /// A safety filter or the model itself refused.
    ContentFiltered,
    /// The connection could not be made or broke.
    Connection,
    /// A time limit passed.
    Timeout,
    /// The caller cancelled.
    Cancelled,
    /// The reply is not what the API promises.
    Decode,
    /// The reply ended early: a stream without the provider's end marker, or a structured reply
    /// cut by `max_tokens`.
    Truncated,
    /// Structured output did not match the type after all repairs.
    Schema,
    /// A tool ended the run.
    Tool,
    /// An agent used all its turns.
    MaxTurns,
    /// A model in this process failed (weights, tokenizer, arithmetic).
    Inference,
    /// None of the above.
    Other,
}

impl ErrorKind {
    /// Returns the words used when the kind is printed, for example `rate limited`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::InvalidRequest => "invalid request",
            Self::Unsupported => "unsupported",
            Self::Authentication => "authentication",
            Self::PermissionDenied => "permission denied",
            Self::NotFound => "not found",
            Self::RateLimited => "rate limited",
            Self::QuotaExceeded => "quota exceeded",
            Self::Overloaded => "overloaded",
            Self::Server => "server error",
            Self::ContextLengthExceeded => "context length exceeded",
            Self::ContentFiltered => "content filtered",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Decode => "cannot decode reply",
            Self::Truncated => "truncated",
            Self::Schema => "schema mismatch",
            Self::Tool => "tool",
            Self::MaxTurns => "turn limit",
            Self::Inference => "inference",
            Self::Other => "error",
        }
    }

    /// Returns whether trying the same request again may succeed, when nothing more is known:
    /// true for `RateLimited`, `Overloaded`, `Server`, `Connection` and `Timeout`.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Overloaded | Self::Server | Self::Connection | Self::Timeout
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request to a model, tool or store failed.
///
/// A struct with a [`kind`](Self::kind), like `std::io::Error`, so that data and kinds can be
/// added without breaking callers. Leaf crates keep small error enums of their own and convert
/// into this one at the trait boundary.
///
/// Messages and the texts of sources are passed through [`redact`] and header values are never
/// printed, so API keys do not reach logs through `Display`, `Debug` or the chain of sources. Code
/// that knows the key it sent adds [`mask`](Self::mask).
///
/// ```
/// use std::time::Duration;
/// use ropewalk_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::RateLimited, "30 requests per minute")
///     .with_provider("openai")
///     .with_retry_after(Duration::from_secs(2));
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "openai: rate limited: 30 requests per minute");
/// ```
pub struct Error {
    kind: ErrorKind,
    retryable: bool,
    provider: Cow<'static, str>,
    message: Box<str>,
    retry_after: Option<Duration>,
    http: Option<Box<HttpFailure>>,
    partial: Option<Box<ChatResponse>>,
    source: Option<Box<Source>>,
}

impl Error {
    /// Creates an error; whether it can be retried follows from [`ErrorKind::is_transient`].
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            kind,
            retryable: kind.is_transient(),
            provider: Cow::Borrowed(""),
            message: redact(&message).into_owned().into_boxed_str(),
            retry_after: None,
            http: None,
            partial: None,
            source: None,
        }
    }

    /// Creates an [`ErrorKind::InvalidRequest`] error.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// Creates an error that takes its message from another one and the errors below that as its
    /// sources, so that printing the chain says nothing twice.
    pub fn from_error(kind: ErrorKind, error: impl Into<BoxError>) -> Self {
        let error = error.into();
        let mut this = Self::new(kind, error.to_string());
        this.source = Some(Box::new(Source::new(error, true)));
        this
    }

    /// Creates an [`ErrorKind::Inference`] error from the error of a model in this process; see
    /// [`from_error`](Self::from_error).
    pub fn inference(error: impl Into<BoxError>) -> Self {
        Self::from_error(ErrorKind::Inference, error)
    }

    /// Sets the name of the provider that failed.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.provider = provider.into();
        self
    }

    /// Overrides whether the same request may be tried again.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Sets how long to wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Attaches the HTTP exchange that failed.
    #[must_use]
    pub fn with_http(mut self, http: HttpFailure) -> Self {
        self.http = Some(Box::new(http));
        self
    }

    /// Attaches what had arrived before the failure.
    #[must_use]
    pub fn with_partial(mut self, partial: ChatResponse) -> Self {
        self.partial = Some(Box::new(partial));
        self
    }

    /// Attaches the underlying error, which is printed by whoever walks the chain.
    ///
    /// If it or an error below it would print a key, the chain shows their texts with the key
    /// masked; [`find_source`](Self::find_source) still returns the errors themselves.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Box::new(Source::new(source.into(), false)));
        self
    }

    /// As [`with_source`](Self::with_source), for an error whose text the message ends with: the
    /// chain goes on with what is below it, so that nothing is printed twice.
    /// [`find_source`](Self::find_source) returns it all the same.
    ///
    /// ```
    /// use std::error::Error as _;
    /// use ropewalk_core::{Error, ErrorKind};
    ///
    /// let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    /// let error = Error::new(ErrorKind::Tool, format!("`save` ended the run: {full}"));
    /// let error = error.with_told_source(full);
    /// assert!(error.source().is_none());
    /// assert!(error.find_source::<std::io::Error>().is_some());
    /// ```
    #[must_use]
    pub fn with_told_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(Box::new(Source::new(source.into(), true)));
        self
    }

    /// Masks secrets that are known exactly, by the rule of
    /// [`redact_exact`](crate::redact_exact): in the message, the HTTP reply (headers and body
    /// too) and the texts of the sources.
    #[must_use]
    pub fn mask(mut self, secrets: &[&str]) -> Self {
        self.message = redact_exact(&self.message, secrets).into_owned().into();
        if let Some(http) = &mut self.http {
            http.mask(secrets);
        }
        if let Some(source) = &mut self.source {
            source.mask(secrets);
        }
        self
    }

    /// Returns the first error of type `E` among the sources, for example an `std::io::Error`.
    /// Its own text is not masked.
    #[must_use]
    pub fn find_source<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.source.as_ref()?.find()
    }

    /// Returns what kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the same request may be tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Returns the name of the provider, or `""` when the error arose before one was involved.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Returns the message without kind and provider.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns how long the provider asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.or_else(|| self.http.as_ref()?.retry_after)
    }

    /// Returns the HTTP status, when there was a reply.
    #[must_use]
    pub fn status(&self) -> Option<http::StatusCode> {
        Some(self.http.as_ref()?.status)
    }

    /// Returns the provider's id of the failed request, for support tickets.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.http.as_ref()?.request_id.as_deref()
    }

    /// Returns the HTTP exchange that failed.
    #[must_use]
    pub fn http(&self) -> Option<&HttpFailure> {
        self.http.as_deref()
    }

    /// Returns what had arrived before a stream failed.
    #[must_use]
    pub fn partial(&self) -> Option<&ChatResponse> {
        self.partial.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.provider.is_empty() {
            write!(f, "{}: ", self.provider)?;
        }
        write!(f, "{}", self.kind)?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("provider", &self.provider)
            .field("message", &self.message)
            .field("retryable", &self.retryable)
            .field("retry_after", &self.retry_after())
            .field("http", &self.http)
            .field("partial", &self.partial.as_ref().map(|p| p.text().len()))
            .field("source", &std::error::Error::source(self))
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref()?.below()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn stays_small_and_shareable() {
        fn shareable<T: Send + Sync + 'static>() {}
        shareable::<Error>();
        assert!(size_of::<Error>() <= 128, "{}", size_of::<Error>());
    }

    #[test]
    fn retry_follows_kind_unless_overridden() {
        assert!(Error::new(ErrorKind::Overloaded, "x").is_retryable());
        assert!(!Error::new(ErrorKind::QuotaExceeded, "x").is_retryable());
        assert!(
            Error::new(ErrorKind::Other, "x")
                .with_retryable(true)
                .is_retryable()
        );
    }

    #[test]
    fn reads_through_to_the_http_reply() {
        let mut http = HttpFailure::new(http::StatusCode::TOO_MANY_REQUESTS);
        http.request_id = Some("req_1".into());
        http.retry_after = Some(Duration::from_secs(3));
        let error = Error::new(ErrorKind::RateLimited, "slow down").with_http(http);
        assert_eq!(error.status(), Some(http::StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(error.request_id(), Some("req_1"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        let sooner = error.with_retry_after(Duration::from_secs(1));
        assert_eq!(sooner.retry_after(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn never_prints_keys() {
        let key = "sk-proj-abcdefghijklmnop123456";
        let mut http = HttpFailure::new(http::StatusCode::UNAUTHORIZED);
        http.body = Bytes::from(format!("{{\"message\":\"bad key {key}\"}}"));
        http.headers.insert("x-echo", key.parse().unwrap());
        let error = Error::new(ErrorKind::Authentication, format!("bad key {key}"))
            .with_http(http)
            .with_source(std::io::Error::other(format!(
                "Authorization: Bearer {key}"
            )));
        for text in [
            error.to_string(),
            format!("{error:?}"),
            format!("{error:#?}"),
        ] {
            assert!(!text.contains("abcdefghijklmnop"), "{text}");
        }
    }

    #[test]
    fn display_does_not_repeat_the_source() {
        let error = Error::new(ErrorKind::Connection, "cannot reach host")
            .with_source(std::io::Error::other("refused"));
        assert_eq!(error.to_string(), "connection: cannot reach host");
        assert_eq!(error.source().unwrap().to_string(), "refused");
    }
}
