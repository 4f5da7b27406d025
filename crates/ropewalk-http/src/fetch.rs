//! Fetching pages that a model or a document names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use ropewalk_core::{Error, ErrorKind, Result};

use crate::guard::refuse;
use crate::request::Request;
use crate::transport::{ConnectOptions, ReqwestTransport, Transport};

/// What a [`Fetcher`] may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOptions {
    /// The only hosts to fetch from; `example.com` also stands for what is below it. All when empty.
    pub hosts: Vec<String>,
    /// Whether addresses of the local machine and network may be fetched; no.
    pub private: bool,
    /// Largest page, in bytes; 10 MiB.
    pub max_bytes: usize,
    /// Most redirects followed; 5.
    pub max_redirects: usize,
    /// Limit on everything together; 30 s.
    pub timeout: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            private: false,
            max_bytes: 10 << 20,
            max_redirects: 5,
            timeout: Duration::from_secs(30),
        }
    }
}

impl FetchOptions {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host to the only ones to fetch from.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Sets whether the local machine and network may be fetched from.
    #[must_use]
    pub fn with_private(mut self, allowed: bool) -> Self {
        self.private = allowed;
        self
    }

    /// Sets the largest page, in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the limit on everything together.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }
}

/// A fetched page.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// Where it was found after redirects.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The content.
    pub body: Bytes,
}

impl Page {
    /// Returns the content type without parameters, in lower case; empty when there is none.
    #[must_use]
    pub fn content_type(&self) -> String {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or("");
        kind.split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase()
    }

    /// Returns the content as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Fetches pages within limits: scheme, host, address, size, redirects and time. Each redirect is
/// checked as the first address was. Addresses of the local network are refused (server-side request
/// forgery, CWE-918), by what a name resolves to at the moment of connecting.
#[derive(Clone)]
pub struct Fetcher {
    transport: Arc<dyn Transport>,
    options: FetchOptions,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Creates a fetcher.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn new(options: FetchOptions) -> Result<Self> {
        let connect = ConnectOptions {
            public_only: !options.private,
            ..ConnectOptions::default()
        };
        let transport = Arc::new(ReqwestTransport::new(&connect)?);
        Ok(Self { transport, options })
    }

    /// Returns what this fetcher may do.
    #[must_use]
    pub fn options(&self) -> &FetchOptions {
        &self.options
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] for what the options or the guard do not allow,
    /// [`ErrorKind::NotFound`] and the like for a bad status, [`ErrorKind::Timeout`],
    /// [`ErrorKind::Connection`], [`ErrorKind::Decode`] when the page is too large.
    pub async fn get(&self, url: &str) -> Result<Page> {
        let limit = self.options.timeout;
        match tokio::time::timeout(limit, self.follow(url)).await {
            Ok(page) => page,
            Err(_) => {
                let message = format!("{url} did not come within {} s", limit.as_secs_f64());
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    async fn follow(&self, url: &str) -> Result<Page> {
        let mut url = self.allowed(url)?;
        for _ in 0..=self.options.max_redirects {
            let request = Request::get(url.as_str()).with_header(
                "accept",
                "text/html,application/json,text/*;q=0.9,*/*;q=0.1",
            )?;
            let reply = self.transport.send(&request).await?;
            if reply.status.is_redirection() {
                let target = reply
                    .headers
                    .get(header::LOCATION)
                    .and_then(|l| l.to_str().ok());
                let Some(target) = target else {
                    return refuse(&format!("{url} redirects without saying where to"));
                };
                let joined = url.join(target).map_err(|e| unreadable(target, &e))?;
                url = self.allowed(joined.as_str())?;
                continue;
            }
            let mut body = reply.body;
            let mut whole = Vec::new();
            while let Some(piece) = body.next().await {
                let piece = piece?;
                if whole.len() + piece.len() > self.options.max_bytes {
                    let limit = self.options.max_bytes;
                    let message = format!("{url} is larger than {limit} bytes");
                    return Err(Error::new(ErrorKind::Decode, message));
                }
                whole.extend_from_slice(&piece);
            }
            let body = Bytes::from(whole);
            if !reply.status.is_success() {
                let now = std::time::SystemTime::now();
                let error = crate::failure::of_reply("", reply.status, reply.headers, body, now);
                return Err(Error::new(
                    error.kind(),
                    format!("{url}: {}", error.message()),
                ));
            }
            return Ok(Page {
                url: url.into(),
                headers: reply.headers,
                body,
            });
        }
        let limit = self.options.max_redirects;
        refuse(&format!("{url} comes after more than {limit} redirects"))
    }

    fn allowed(&self, url: &str) -> Result<url::Url> {
        let url = url::Url::parse(url).map_err(|e| unreadable(url, &e))?;
        if !matches!(url.scheme(), "http" | "https") {
            return refuse(&format!("the scheme of {url} is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the address holds a user name or password");
        }
        let host = url
            .host_str()
            .unwrap_or("")
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let fits = |allowed: &String| {
            let allowed = allowed.to_ascii_lowercase();
            host == allowed
                || host
                    .strip_suffix(&allowed)
                    .is_some_and(|h| h.ends_with('.'))
        };
        if !self.options.hosts.is_empty() && !self.options.hosts.iter().any(fits) {
            return refuse(&format!("{host} is not one of the allowed hosts"));
        }
        Ok(url)
    }
}

fn unreadable(url: &str, error: &url::ParseError) -> Error {
    let message = format!("the address {url:?} cannot be read: {error}");
    Error::new(ErrorKind::InvalidRequest, message)
}
