//! The Model Context Protocol: tools of other programs, and tools for other programs.
//!
//! | for | see |
//! | --- | --- |
//! | tools of a server: a child process, an address, any pair of streams | [`McpClient`], [`McpOptions`] |
//! | a set of tools as a server on stdin and stdout, on a port, on any pair of streams | [`McpServer`], [`McpListen`] |
//!
//! The protocol itself is the work of the crate `rmcp`. Versions 2024-11-05 to 2025-11-25 begin
//! with a handshake; 2026-07-28 has none, every request stands alone. The client asks for the newer
//! way and falls back, or does as [`McpProtocol`] says; the server speaks both.
//!
//! Only tools are covered: not prompts, resources, sampling or elicitation. A server that asks the
//! client for these is told that they are not there.
//!
//! ```
//! use ropewalk_core::{ToolCall, ToolContext};
//! use ropewalk_tools::builtin::Calculator;
//! use ropewalk_tools::mcp::{McpClient, McpOptions, McpServer};
//! use ropewalk_tools::ToolSet;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let server = McpServer::new("math", "1.0", ToolSet::new().with(Calculator::new())?);
//! let (ours, theirs) = tokio::io::duplex(4096);
//! let (read, write) = tokio::io::split(theirs);
//! let serving = tokio::spawn(server.serve(read, write));
//!
//! let (read, write) = tokio::io::split(ours);
//! let client = McpClient::connect(read, write, McpOptions::new().with_prefix("math")).await?;
//! let tools = client.tool_set().await?;
//! assert_eq!(tools.names(), ["math_calculator"]);
//! let call = ToolCall::new("1", "math_calculator", r#"{"expression": "6 * 7"}"#);
//! assert_eq!(tools.answer(&call, &ToolContext::default()).await?.text(), "42");
//! client.close().await?;
//! serving.await.unwrap()?;
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! ```

mod backend;
mod client;
mod content;
mod listen;
mod options;
mod server;
mod tool;

use std::fmt;

use rmcp::ServiceError;
use rmcp::service::ClientInitializeError;
use ropewalk_core::{Error, ErrorKind};

pub use client::McpClient;
pub use listen::McpListen;
pub use options::{McpOptions, McpProtocol};
pub use server::McpServer;

const PROVIDER: &str = "mcp";

fn error(kind: ErrorKind, message: impl fmt::Display) -> Error {
    Error::new(kind, message.to_string()).with_provider(PROVIDER)
}

/// Returns what an error says with its sources, each text once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut whole = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !whole.contains(&text) {
            whole = [whole.as_str(), ": ", &text].concat();
        }
        next = error.source();
    }
    whole
}

/// Returns why a request failed; errors of transports without the names of their types.
fn why_failed(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportSend(transport) => chain(&*transport.error),
        ServiceError::TransportClosed => "the connection has ended".to_owned(),
        other => chain(other),
    }
}

/// Returns why there is no connection.
fn why_refused(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::TransportError { error, .. } => chain(&*error.error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => why_refused(fallback),
        other => chain(other),
    }
}
