//! How a client works.

use std::time::Duration;

use crate::frame::MAX_LINE;
use crate::retry::RetryPolicy;
use crate::transport::ConnectOptions;

/// How a [`Client`](crate::Client) works.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Limit on an attempt that is no stream, and on the wait for the headers of a stream; 600 s.
    pub timeout: Duration,
    /// Limit on the wait for the next piece of a stream; 120 s. A whole stream has no limit.
    pub idle_timeout: Duration,
    /// Largest whole reply, in bytes; 256 MiB.
    pub max_body: usize,
    /// Longest line of a stream, and longest event, in bytes; 16 MiB.
    pub max_line: usize,
    /// When to send again.
    pub retry: RetryPolicy,
    /// Seed of the random part of waits; drawn by the system when `None`.
    pub seed: Option<u64>,
    /// How to connect; not used with a transport of one's own.
    pub connect: ConnectOptions,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(120),
            max_body: 256 << 20,
            max_line: MAX_LINE,
            retry: RetryPolicy::default(),
            seed: None,
            connect: ConnectOptions::default(),
        }
    }
}

impl ClientOptions {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limit on an attempt that is no stream.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets the limit on the wait for the next piece of a stream.
    #[must_use]
    pub fn with_idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = limit;
        self
    }

    /// Sets the limit on making a connection.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect.connect_timeout = limit;
        self
    }

    /// Sets when to send again.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the address of a proxy.
    #[must_use]
    pub fn with_proxy(mut self, address: impl Into<String>) -> Self {
        self.connect.proxy = Some(address.into());
        self
    }

    /// Sets the largest whole reply, in bytes.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets the longest line of a stream, and the longest event, in bytes.
    #[must_use]
    pub fn with_max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes;
        self
    }

    /// Sets the seed of the random part of waits.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}
