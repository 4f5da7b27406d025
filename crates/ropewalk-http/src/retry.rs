//! When to send a request again, and how long to wait before.
//!
//! The numbers are those of the official OpenAI and Anthropic SDKs (`_base_client.py`): two retries,
//! waits of `min(0.5 · 2ⁿ, 8)` seconds less up to a quarter, and what the server asks for if that is
//! at most two minutes.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use ropewalk_core::Error;

/// When to send a request again, and how long to wait before.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How many times a request is sent again; 2.
    pub max_retries: u32,
    /// The first wait; 0.5 s. Each wait is twice the one before.
    pub base: Duration,
    /// The longest wait of our own; 8 s.
    pub cap: Duration,
    /// Which part of a wait may be left off at random; 0.25.
    pub jitter: f64,
    /// The longest wait a server may ask for; 120 s. Asked for more, the request fails at once.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 2,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            jitter: 0.25,
            max_retry_after: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a policy that sends everything once.
    #[must_use]
    pub fn none() -> Self {
        Self::default().with_max_retries(0)
    }

    /// Sets how many times a request is sent again.
    #[must_use]
    pub fn with_max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Sets the first wait and the longest.
    #[must_use]
    pub fn with_backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.base, self.cap) = (base, cap);
        self
    }

    /// Sets the longest wait a server may ask for.
    #[must_use]
    pub fn with_max_retry_after(mut self, limit: Duration) -> Self {
        self.max_retry_after = limit;
        self
    }

    /// Returns the wait before retry `number` (from 0) of a request that failed with `error`, or
    /// `None` when it must not be sent again. `random` is in [0, 1).
    #[must_use]
    pub fn wait(&self, number: u32, error: &Error, random: f64) -> Option<Duration> {
        if number >= self.max_retries || !error.is_retryable() {
            return None;
        }
        match error.retry_after() {
            Some(asked) if asked > self.max_retry_after => None,
            Some(asked) if !asked.is_zero() => Some(asked),
            _ => {
                let doubled = self
                    .base
                    .saturating_mul(2u32.saturating_pow(number.min(31)));
                let factor = 1.0 - self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0);
                Some(doubled.min(self.cap).mul_f64(factor))
            }
        }
    }
}

/// Returns how long the server asks to wait: `retry-after-ms`, or `retry-after` as seconds (with a
/// fraction, too) or as a date (RFC 9110, section 10.2.3).
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |s: f64| Duration::try_from_secs_f64(s).ok();
    let number = |t: &str| t.parse::<f64>().ok().filter(|n| n.is_finite());
    if let Some(milliseconds) = text("retry-after-ms").and_then(number) {
        return seconds(milliseconds / 1000.0);
    }
    let value = text("retry-after")?;
    match number(value) {
        Some(n) => seconds(n),
        None => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

/// Returns whether a reply with this status may be asked for again, as `x-should-retry` says or, if
/// that is not there, for 408, 409, 429 and all of 5xx.
#[must_use]
pub fn is_retryable(status: StatusCode, headers: &HeaderMap) -> bool {
    match headers
        .get("x-should-retry")
        .map(http::HeaderValue::as_bytes)
    {
        Some(b"true") => true,
        Some(b"false") => false,
        _ => matches!(status.as_u16(), 408 | 409 | 429 | 500..=599),
    }
}

#[cfg(test)]
mod tests {
    use ropewalk_core::ErrorKind;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn reads_every_form_of_retry_after() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (name, value, seconds) in [
            ("retry-after-ms", "1500", Some(1.5)),
            ("retry-after", "2", Some(2.0)),
            ("retry-after", " 0.25 ", Some(0.25)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(7.0)),
            ("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT", Some(0.0)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "inf", None),
            ("retry-after", "1e300", None),
        ] {
            let found = retry_after(&headers(name, value), now);
            assert_eq!(
                found,
                seconds.map(Duration::from_secs_f64),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = RetryPolicy::new().with_max_retries(7);
        let error = Error::new(ErrorKind::Server, "x");
        let waits: Vec<f64> = (0..8)
            .map_while(|n| Some(policy.wait(n, &error, 0.0)?.as_secs_f64()))
            .collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        assert_eq!(policy.wait(4, &error, 1.0), Some(Duration::from_secs(6)));
        let asked = |s| error_asking(Duration::from_secs(s));
        assert_eq!(
            policy.wait(0, &asked(120), 0.5),
            Some(Duration::from_secs(120))
        );
        assert_eq!(policy.wait(0, &asked(121), 0.5), None);
        assert_eq!(policy.wait(0, &asked(0), 0.0), Some(policy.base));
        assert_eq!(
            policy.wait(0, &Error::new(ErrorKind::NotFound, "x"), 0.0),
            None
        );
        assert_eq!(RetryPolicy::none().wait(0, &error, 0.0), None);
    }

    fn error_asking(wait: Duration) -> Error {
        Error::new(ErrorKind::RateLimited, "x").with_retry_after(wait)
    }

    #[test]
    fn the_server_may_say_whether() {
        for (status, header, expected) in [
            (429, None, true),
            (529, None, true),
            (409, None, true),
            (400, None, false),
            (400, Some("true"), true),
            (503, Some("false"), false),
        ] {
            let headers = header
                .map(|h| headers("x-should-retry", h))
                .unwrap_or_default();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                is_retryable(status, &headers),
                expected,
                "{status} {header:?}"
            );
        }
    }
}
