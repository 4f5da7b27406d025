//! What moves bytes: reqwest, or anything else that implements [`Transport`].

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use ropewalk_core::{Error, ErrorKind, Result, async_trait};

use crate::guard::is_public;
use crate::request::{Request, without_userinfo};

/// A reply whose body has not been read.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body in pieces of any size.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl Reply {
    /// Creates a reply from a whole body, for transports in tests.
    pub fn new(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        let pieces = (!body.is_empty()).then_some(Ok(body));
        Self {
            status,
            headers,
            body: futures_util::stream::iter(pieces).boxed(),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Sends one request once. Retry, limits and time-outs are [`Client`](crate::Client)'s.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and returns when status and headers are there, whatever the status is.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when no reply comes.
    async fn send(&self, request: &Request) -> Result<Reply>;
}

/// How [`ReqwestTransport`] connects. `Debug` shows no password of a proxy.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Limit on making a connection; 10 s.
    pub connect_timeout: Duration,
    /// Address of a proxy; the system's settings when `None`.
    pub proxy: Option<String>,
    /// Whether the system's proxy settings count; yes.
    pub system_proxy: bool,
    /// Whether only public addresses are connected to; no. The system's proxy is then not used,
    /// and no other may be set: it would connect on its own. See [`Fetcher`](crate::Fetcher).
    pub public_only: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            proxy: None,
            system_proxy: true,
            public_only: false,
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connect_timeout,
            proxy,
            system_proxy,
            public_only,
        } = self;
        f.debug_struct("ConnectOptions")
            .field("connect_timeout", connect_timeout)
            .field("proxy", &proxy.as_deref().map(without_userinfo))
            .field("system_proxy", system_proxy)
            .field("public_only", public_only)
            .finish()
    }
}

/// Sends with reqwest: HTTP/1 and 2, TLS, gzip, proxies. Redirects are not followed.
#[derive(Clone)]
pub struct ReqwestTransport {
    client: reqwest::Client,
    public_only: bool,
}

impl ReqwestTransport {
    /// Creates a transport.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a proxy address that cannot be read, a proxy together with
    /// `public_only`, or when the certificates of the system cannot be read.
    pub fn new(options: &ConnectOptions) -> Result<Self> {
        let bad = |what: &str, e: &dyn fmt::Display| {
            Error::new(ErrorKind::Configuration, format!("{what}: {e}"))
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ropewalk/", env!("CARGO_PKG_VERSION")));
        if !options.system_proxy || options.public_only {
            builder = builder.no_proxy();
        }
        if options.public_only && options.proxy.is_some() {
            let message = "a proxy connects to any address: leave it or `public_only` out";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        if let Some(proxy) = &options.proxy {
            let proxy = reqwest::Proxy::all(proxy)
                .map_err(|e| bad("the address of the proxy cannot be read", &e.without_url()))?;
            builder = builder.proxy(proxy);
        }
        if options.public_only {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        #[cfg(feature = "rustls")]
        {
            builder = builder.tls_backend_preconfigured(
                tls().map_err(|e| bad("the certificates of the system cannot be read", &e))?,
            );
        }
        let client = builder
            .build()
            .map_err(|e| bad("no HTTP client could be made", &e.without_url()))?;
        Ok(Self {
            client,
            public_only: options.public_only,
        })
    }

    /// Uses a client of the caller's, with its own certificates, proxies and connection pool.
    #[must_use]
    pub fn from_client(client: reqwest::Client) -> Self {
        Self {
            client,
            public_only: false,
        }
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}

/// TLS with the system's certificates, without touching the process-wide default.
#[cfg(feature = "rustls")]
fn tls() -> std::result::Result<rustls::ClientConfig, rustls::Error> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let url = match url::Url::parse(&request.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase) => {
                Err("does not begin with http:// or https://".to_owned())
            }
            Err(e) => Err(format!("cannot be read: {e}")),
        };
        let url = url.map_err(|problem| {
            let message = format!("the address {} {problem}", request.shown_url());
            request.error(ErrorKind::Configuration, message)
        })?;
        if self.public_only {
            crate::guard::check_literal(&url)
                .map_err(|e| e.with_provider(request.provider.clone()))?;
        }
        let builder = self
            .client
            .request(request.method.clone(), url)
            .headers(request.headers.clone());
        let builder = match request.body.is_empty() {
            true => builder,
            false => builder.body(request.body.clone()),
        };
        let reply = builder.send().await.map_err(|e| failure(request, e))?;
        let status = reply.status();
        let headers = reply.headers().clone();
        let about = request.clone();
        let body = reply.bytes_stream().map_err(move |e| failure(&about, e));
        Ok(Reply {
            status,
            headers,
            body: body.boxed(),
        })
    }
}

/// Says what went wrong; reqwest's own text names the address with its query, so it is left out.
fn failure(request: &Request, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let host = url::Url::parse(&request.url).ok();
    let host = host.as_ref().and_then(|url| {
        let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
        Some(format!("{}{port}", url.host_str()?))
    });
    let host = host.as_deref().unwrap_or("the server");
    let (kind, what) = match () {
        () if error.is_timeout() => (ErrorKind::Timeout, "no connection in time to"),
        () if error.is_connect() => (ErrorKind::Connection, "cannot connect to"),
        () if error.is_builder() => (ErrorKind::Configuration, "cannot make a request to"),
        () if error.is_body() || error.is_decode() => {
            (ErrorKind::Connection, "the reply broke off from")
        }
        () => (ErrorKind::Connection, "the exchange failed with"),
    };
    // The innermost error says what happened ("Connection refused", "unknown issuer").
    let mut inner: &dyn std::error::Error = &error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let message = format!("{what} {host}: {inner}");
    let secrets = request.secrets();
    Error::new(kind, message)
        .with_provider(request.provider.clone())
        .with_source(error)
        .mask(&secrets)
}

/// Resolves names to public addresses only, so that a name cannot lead into the local network, not
/// even one that changes its address between a check and its use.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|a| is_public(a.ip())).collect();
            if public.is_empty() {
                let message = format!("{host} has no public address");
                return Err(Box::<dyn std::error::Error + Send + Sync>::from(message));
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_proxy_shows_nowhere() {
        let mut options = ConnectOptions {
            proxy: Some("http://user:hunter2@proxy.test:8080".into()),
            ..ConnectOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
        options.public_only = true;
        let error = ReqwestTransport::new(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        options.public_only = false;
        options.proxy = Some("http://user:hunter2@bad host".into());
        let error = ReqwestTransport::new(&options).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}
