//! A server on a port: Streamable HTTP.

use std::convert::Infallible;
use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use ropewalk_core::http::{Request, Response, StatusCode, header};
use ropewalk_core::{Bytes, ErrorKind, Result};
use tokio::task::JoinSet;

use super::error;
use super::server::{Handler, McpServer};

/// Most connections at once; more wait.
const MAX_CONNECTIONS: usize = 256;

/// Who may ask a server on a port, and where. `Debug` prints no token.
///
/// By default only requests to a loopback host without an `Origin` pass, which keeps web pages in a
/// browser on this machine out (DNS rebinding).
#[derive(Clone)]
#[non_exhaustive]
pub struct McpListen {
    /// The path; `/mcp`.
    pub path: String,
    /// The names of this server in the `Host` header; `localhost`, `127.0.0.1` and `::1`.
    pub hosts: Vec<String>,
    /// The origins of web pages that may ask, such as `https://app.example.com:443`; none.
    pub origins: Vec<String>,
    token: Option<String>,
}

impl fmt::Debug for McpListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpListen")
            .field("path", &self.path)
            .field("hosts", &self.hosts)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Default for McpListen {
    fn default() -> Self {
        Self {
            path: "/mcp".into(),
            hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into(),
            origins: Vec::new(),
            token: None,
        }
    }
}

impl McpListen {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Adds a name of this server.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Adds an origin of web pages that may ask.
    #[must_use]
    pub fn with_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Sets the bearer token that every request must carry.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let sent = request.headers().get(header::AUTHORIZATION);
        let sent = sent
            .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "))
            .unwrap_or(b"");
        // The time does not tell how much of the token was right.
        let different = sent
            .iter()
            .zip(token.as_bytes())
            .fold(0, |d, (a, b)| d | (a ^ b));
        sent.len() == token.len() && different == 0
    }
}

type Reply = Response<BoxBody<Bytes, Infallible>>;
type Service = StreamableHttpService<Handler, NeverSessionManager>;

impl McpServer {
    /// Serves any number of clients on a port (Streamable HTTP over HTTP/1.1, without TLS) until the
    /// future is dropped. Every request stands alone: there are no sessions to run out of.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the listener cannot be used.
    pub async fn serve_http(self, listener: TcpListener, listen: McpListen) -> Result<()> {
        let bad = |e: std::io::Error| error(ErrorKind::Configuration, e);
        listener.set_nonblocking(true).map_err(bad)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(bad)?;
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_allowed_hosts(listen.hosts.clone())
            .with_allowed_origins(listen.origins.clone())
            .enforce_origin_validation();
        let handler = self.handler();
        let sessions = Arc::new(NeverSessionManager::default());
        let service = Service::new(move || Ok(handler.clone()), sessions, config);
        let shared = Arc::new((service, listen));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= MAX_CONNECTIONS {
                drop(connections.join_next().await);
            }
            let Ok((socket, _)) = listener.accept().await else {
                // Such as too many open files: the next one may do.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                let answer = service_fn(|request| answer(&shared, request));
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(socket), answer);
                if let Err(e) = serving.await {
                    tracing::debug!(error = %e, "a connection of the MCP server broke off");
                }
            });
        }
    }
}

async fn answer(
    shared: &(Service, McpListen),
    request: Request<Incoming>,
) -> std::result::Result<Reply, Infallible> {
    let (service, listen) = shared;
    if request.uri().path() != listen.path {
        return Ok(plain(StatusCode::NOT_FOUND, "there is nothing here"));
    }
    if !listen.admits(&request) {
        let mut reply = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed");
        let challenge = header::HeaderValue::from_static("Bearer");
        reply
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        return Ok(reply);
    }
    Ok(service.handle(request).await)
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Full::from(text).boxed());
    *reply.status_mut() = status;
    reply
}
