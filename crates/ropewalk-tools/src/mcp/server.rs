//! Tools for other programs.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool as McpTool,
    ToolAnnotations,
};
use rmcp::service::{RequestContext, serve_server};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use ropewalk_core::{DynTool, Effect, ErrorKind, Extensions, Result, ToolContext, ToolError};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{chain, content, error};
use crate::ToolSet;

/// A set of tools as a server of the Model Context Protocol.
///
/// Effects become hints, failures of a tool and arguments that do not fit become error results, which
/// the other side's model can mend; a fatal error is told as an internal one, without its text.
///
/// ```no_run
/// use ropewalk_tools::ToolSet;
/// use ropewalk_tools::builtin::Clock;
/// use ropewalk_tools::mcp::McpServer;
///
/// # async fn run() -> ropewalk_core::Result<()> {
/// let tools = ToolSet::new().with(Clock::new())?;
/// McpServer::new("clock", "1.0", tools).serve_stdio().await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct McpServer {
    tools: ToolSet,
    name: String,
    version: String,
    instructions: Option<String>,
    extensions: Extensions,
}

impl McpServer {
    /// Creates a server with its name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>, tools: ToolSet) -> Self {
        Self {
            tools,
            name: name.into(),
            version: version.into(),
            instructions: None,
            extensions: Extensions::default(),
        }
    }

    /// Sets how the tools want to be used.
    #[must_use]
    pub fn with_instructions(mut self, text: impl Into<String>) -> Self {
        self.instructions = Some(text.into());
        self
    }

    /// Sets the values that tools find in their context.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Serves one client on stdin and stdout until it goes. Nothing else may print to stdout.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when the client does not speak the protocol.
    pub async fn serve_stdio(self) -> Result<()> {
        self.serve(tokio::io::stdin(), tokio::io::stdout()).await
    }

    /// Serves one client on any pair of streams, one JSON message per line, until it goes.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] when the client does not speak the protocol.
    pub async fn serve(
        self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<()> {
        // The future holds the whole transport.
        let serving = Box::pin(serve_server(self.handler(), (read, write)));
        let running = serving
            .await
            .map_err(|e| error(ErrorKind::Connection, chain(&e)))?;
        let ended = running.waiting().await;
        drop(ended.map_err(|e| error(ErrorKind::Connection, e))?);
        Ok(())
    }

    pub(super) fn handler(self) -> Handler {
        Handler(Arc::new(self))
    }
}

/// Answers one client.
#[derive(Clone)]
pub(super) struct Handler(Arc<McpServer>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let us = Implementation::new(self.0.name.clone(), self.0.version.clone());
        let mut config = ServerConfig::new(capabilities).with_server_info(us);
        config.instructions.clone_from(&self.0.instructions);
        config
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        let tools = self.0.tools.iter().map(described).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.0.tools.get(&request.name) else {
            let message = format!("there is no tool {:?}", request.name);
            return Err(ErrorData::invalid_params(message, None));
        };
        let arguments = Value::Object(request.arguments.unwrap_or_default()).to_string();
        let ours =
            ToolContext::new(context.id.to_string()).with_extensions(self.0.extensions.clone());
        let call = AssertUnwindSafe(tool.call(&arguments, &ours)).catch_unwind();
        let given_up = Box::pin(context.ct.cancelled());
        let outcome = match select(Box::pin(call), given_up).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return Err(ErrorData::internal_error("cancelled", None)),
        };
        let told = |text: String| CallToolResult::error(vec![ContentBlock::text(text)]);
        let result = match outcome {
            Ok(Ok(output)) => content::result(output),
            Ok(Err(ToolError::Fatal(cause))) => return Err(hidden(&request.name, &cause)),
            Ok(Err(failure)) => told(failure.to_string()),
            Err(panic) => return Err(hidden(&request.name, &panic_text(&*panic))),
        };
        Ok(result.into())
    }
}

/// Tells the client that a tool broke, and `tracing` how.
fn hidden(name: &str, cause: &dyn std::fmt::Display) -> ErrorData {
    tracing::error!(tool = name, error = %cause, "the tool broke");
    ErrorData::internal_error(format!("the tool {name:?} broke"), None)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic").to_owned()
}

fn described(tool: &DynTool) -> McpTool {
    let spec = tool.spec();
    let schema: Map<String, Value> = spec.parameters.as_object().cloned().unwrap_or_default();
    let described = McpTool::new(spec.name.clone(), spec.description.clone(), schema);
    match hints(tool.effect()) {
        Some(hints) => described.with_annotations(hints),
        None => described,
    }
}

/// Returns the hints for an effect; none when it is not known.
fn hints(effect: Effect) -> Option<ToolAnnotations> {
    let hints = ToolAnnotations::new();
    Some(match effect {
        Effect::Unknown => return None,
        Effect::Read => hints.read_only(true),
        Effect::Write => hints.read_only(false).open_world(false),
        _ => hints.read_only(false).destructive(true).open_world(true),
    })
}
