//! Connecting to a server.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{IntoTransport, StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientLifecycleMode, RoleClient, serve_client_with_lifecycle};
use ropewalk_core::{DynTool, ErrorKind, Result};
use ropewalk_http::{ConnectOptions, ReqwestTransport, Transport};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::process::ChildStderr;

use super::backend::Backend;
use super::options::{McpOptions, McpProtocol};
use super::tool::McpTool;
use super::{PROVIDER, error, why_failed, why_refused};
use crate::ToolSet;
use crate::naming::valid_name;

/// How many last lines of a child's stderr an error shows.
const SHOWN_LINES: usize = 5;
/// How long to wait for them.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) type Running = RunningService<RoleClient, ClientConfig>;

/// A connection to a server of the Model Context Protocol.
///
/// Names and descriptions of tools come from the server and steer the model before anything is called:
/// connect to servers you trust, whatever gate stands before the calls.
///
/// The tools hold the connection too: it ends when the client and all tools are dropped, or with
/// [`close`](Self::close). Needs a tokio runtime.
///
/// ```no_run
/// use std::process::Command;
/// use ropewalk_tools::mcp::{McpClient, McpOptions};
///
/// # async fn run() -> ropewalk_core::Result<()> {
/// let mut command = Command::new("npx");
/// command.args(["-y", "@modelcontextprotocol/server-everything"]);
/// let client = McpClient::spawn(command, McpOptions::new().with_prefix("demo")).await?;
/// let tools = client.tool_set().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct McpClient {
    running: Arc<tokio::sync::Mutex<Option<Running>>>,
    peer: rmcp::Peer<RoleClient>,
    options: Arc<McpOptions>,
    server: String,
    version: String,
    protocol: String,
    instructions: Option<String>,
}

impl fmt::Debug for McpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpClient")
            .field("server", &self.server)
            .field("version", &self.version)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl McpClient {
    /// Starts a program and talks to it over its stdin and stdout. Its stderr goes to `tracing` and,
    /// when connecting fails, its last lines into the error. The program ends with the connection.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the program cannot be started, [`ErrorKind::Connection`]
    /// and [`ErrorKind::Timeout`] when it does not speak the protocol.
    pub async fn spawn(command: Command, options: McpOptions) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let started = TokioChildProcess::builder(tokio::process::Command::from(command))
            .stderr(Stdio::piped())
            .spawn();
        let (child, stderr) = started.map_err(|e| {
            error(
                ErrorKind::Configuration,
                format!("{program:?} cannot be started: {e}"),
            )
        })?;
        let lines = Lines::default();
        let reading = stderr.map(|s| tokio::spawn(lines.clone().collect(s, program.clone())));
        let failure = match Self::begin(child, options).await {
            Ok(client) => return Ok(client),
            Err(failure) => failure,
        };
        if let Some(reading) = reading {
            // The child is being ended; what it said may still be on its way.
            drop(tokio::time::timeout(LAST_WORDS, reading).await);
        }
        let said = match lines.shown() {
            empty if empty.is_empty() => empty,
            shown => format!("; it said: {shown}"),
        };
        Err(error(
            failure.kind(),
            format!("{program:?}: {}{said}", failure.message()),
        ))
    }

    /// Connects to an address (Streamable HTTP) with the default client.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for an address or header that cannot be used,
    /// [`ErrorKind::Authentication`], [`ErrorKind::Connection`] and [`ErrorKind::Timeout`].
    pub async fn http(url: &str, options: McpOptions) -> Result<Self> {
        let transport = ReqwestTransport::new(&ConnectOptions::default())?;
        Self::http_over(Arc::new(transport), url, options).await
    }

    /// Connects to an address (Streamable HTTP) over a transport of one's own.
    ///
    /// # Errors
    /// As [`http`](Self::http).
    pub async fn http_over(
        transport: Arc<dyn Transport>,
        url: &str,
        options: McpOptions,
    ) -> Result<Self> {
        let backend = Backend::new(transport, url, &options)?;
        let config = StreamableHttpClientTransportConfig::with_uri(url);
        Self::begin(
            StreamableHttpClientTransport::with_client(backend, config),
            options,
        )
        .await
    }

    /// Talks to a server over any pair of streams, one JSON message per line.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] and [`ErrorKind::Timeout`].
    pub async fn connect(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        options: McpOptions,
    ) -> Result<Self> {
        Self::begin((read, write), options).await
    }

    async fn begin<T, E, A>(transport: T, options: McpOptions) -> Result<Self>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let us = Implementation::new("ropewalk", env!("CARGO_PKG_VERSION"));
        let handshake = ProtocolVersion::LATEST_WITH_INITIALIZE;
        let config = ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(handshake.clone());
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        let lifecycle = match options.protocol {
            McpProtocol::Handshake => ClientLifecycleMode::Initialize,
            McpProtocol::Stateless => ClientLifecycleMode::Discover { preferred_versions },
            McpProtocol::Auto => ClientLifecycleMode::Auto {
                preferred_versions,
                legacy_version: Some(handshake),
            },
        };
        // The future holds the whole transport.
        let serving = Box::pin(serve_client_with_lifecycle(config, transport, lifecycle));
        let limit = options.connect_timeout;
        let running = match tokio::time::timeout(limit, serving).await {
            Ok(Ok(running)) => running,
            Ok(Err(failure)) => {
                let kind = match failure.is_authorization_required() {
                    true => ErrorKind::Authentication,
                    false => ErrorKind::Connection,
                };
                return Err(error(
                    kind,
                    format!("no connection: {}", why_refused(&failure)),
                ));
            }
            Err(_) => {
                let seconds = limit.as_secs_f64();
                let message = format!("the server did not answer within {seconds} s");
                return Err(error(ErrorKind::Timeout, message));
            }
        };
        let info = running.peer().peer_info();
        let them = info.as_ref().and_then(|i| i.server_info.as_ref());
        Ok(Self {
            peer: running.peer().clone(),
            server: them.map(|s| s.name.clone()).unwrap_or_default(),
            version: them.map(|s| s.version.clone()).unwrap_or_default(),
            protocol: info
                .as_ref()
                .map(|i| i.protocol_version.to_string())
                .unwrap_or_default(),
            instructions: info.as_ref().and_then(|i| i.instructions.clone()),
            running: Arc::new(tokio::sync::Mutex::new(Some(running))),
            options: Arc::new(options),
        })
    }

    /// Returns the name of the server; empty when it has none.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the version of the server; empty when it has none.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the version of the protocol in use, such as `2025-11-25`.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Returns how the server wants to be used. Text from outside: it must not steer a model unless
    /// the server is trusted.
    #[must_use]
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// Asks for the tools of the server, as they are now.
    ///
    /// A name gets the prefix; what is no letter, digit, `_` or `-` becomes `_`; it is cut to 64
    /// characters, and of two that are then the same the second gets a number. Hints become effects:
    /// reading is [`Effect::Read`](ropewalk_core::Effect::Read) where hints are trusted and
    /// `Unknown` where not, destructive is `External`, changing only the server's own state is
    /// `Write`, other changes are `External`, no hint is `Unknown`. Descriptions come from the server
    /// and reach the model: connect only to servers whose texts may be shown to it.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when the server is gone, [`ErrorKind::Timeout`].
    pub async fn tools(&self) -> Result<Vec<DynTool>> {
        let limit = self.options.call_timeout;
        let listed = match tokio::time::timeout(limit, self.peer.list_all_tools()).await {
            Ok(listed) => listed.map_err(|e| error(ErrorKind::Connection, why_failed(&e)))?,
            Err(_) => {
                let message = format!("no list of tools within {} s", limit.as_secs_f64());
                return Err(error(ErrorKind::Timeout, message));
            }
        };
        let mut taken = HashSet::new();
        let tools = listed.into_iter().map(|tool| {
            let prefix = self.options.prefix.as_str();
            let joint = if prefix.is_empty() { "" } else { "_" };
            let name = valid_name(&[prefix, joint, &tool.name].concat(), &mut taken);
            let tool = McpTool::new(self.clone(), name, tool, &self.options);
            Arc::new(tool) as DynTool
        });
        Ok(tools.collect())
    }

    /// Asks for the tools of the server as a set.
    ///
    /// # Errors
    /// As [`tools`](Self::tools), and [`ErrorKind::Configuration`] for a tool whose arguments are no
    /// object.
    pub async fn tool_set(&self) -> Result<ToolSet> {
        Ok(ToolSet::of(self.tools().await?)?)
    }

    /// Ends the connection, also for its tools, and waits until a child process is gone (at most a
    /// few seconds).
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when it had ended badly before.
    pub async fn close(&self) -> Result<()> {
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            let ended = running.cancel().await;
            drop(ended.map_err(|e| error(ErrorKind::Connection, e))?);
        }
        Ok(())
    }

    pub(super) fn peer(&self) -> &rmcp::Peer<RoleClient> {
        &self.peer
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.options.call_timeout
    }
}

/// The last lines of a child's stderr.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<VecDeque<String>>>);

impl Lines {
    async fn collect(self, stderr: ChildStderr, program: String) {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line[..line.len().min(500)])
                .trim()
                .to_owned();
            tracing::debug!(provider = PROVIDER, program, "{line}");
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(line);
            if kept.len() > SHOWN_LINES {
                kept.pop_front();
            }
        }
    }

    fn shown(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<_> = kept
            .iter()
            .map(String::as_str)
            .filter(|l| !l.is_empty())
            .collect();
        kept.join(" | ")
    }
}
