//! How a client connects.

use std::fmt;
use std::time::Duration;

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum McpProtocol {
    /// Asks `server/discover` of 2026-07-28 and falls back to the handshake when the server does not
    /// know it. The default.
    #[default]
    Auto,
    /// The handshake of 2024-11-05 to 2025-11-25, for servers that stumble over anything else.
    Handshake,
    /// 2026-07-28 only.
    Stateless,
}

/// How a [`McpClient`](super::McpClient) connects and what it makes of a server's tools.
///
/// `Debug` prints no token and no value of a header.
#[derive(Clone)]
#[non_exhaustive]
pub struct McpOptions {
    /// Put before the name of each tool with `_`; nothing when empty.
    pub prefix: String,
    /// Whether a tool that calls itself reading is taken at its word; no. The protocol says that
    /// the hints of a server that is not trusted must not be relied on.
    pub trust_hints: bool,
    /// How the connection begins.
    pub protocol: McpProtocol,
    /// Limit on connecting; 30 s.
    pub connect_timeout: Duration,
    /// Limit on a call of a tool; 60 s.
    pub call_timeout: Duration,
    pub(super) token: Option<String>,
    pub(super) headers: Vec<(String, String)>,
}

impl Default for McpOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            trust_hints: false,
            protocol: McpProtocol::Auto,
            connect_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(60),
            token: None,
            headers: Vec::new(),
        }
    }
}

impl fmt::Debug for McpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("McpOptions")
            .field("prefix", &self.prefix)
            .field("trust_hints", &self.trust_hints)
            .field("protocol", &self.protocol)
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

impl McpOptions {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what stands before the name of each tool.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets whether a tool that calls itself reading is taken at its word.
    #[must_use]
    pub fn with_trusted_hints(mut self, trusted: bool) -> Self {
        self.trust_hints = trusted;
        self
    }

    /// Sets how the connection begins.
    #[must_use]
    pub fn with_protocol(mut self, protocol: McpProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the limit on connecting.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets the limit on a call of a tool.
    #[must_use]
    pub fn with_call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// Sets the bearer token for a server on the web.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Adds a header for a server on the web; its value counts as a secret.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
