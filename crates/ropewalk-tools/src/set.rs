//! Sets of tools.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use ropewalk_core::{
    DynTool, Effect, Error, Tool, ToolCall, ToolContext, ToolError, ToolResult, ToolSpec,
};
use serde_json::Value;
use tracing::Instrument;

use crate::error::{ToolFailure, ToolSetError};
use crate::telemetry;

/// Tools under distinct names, in the order they were added.
///
/// ```
/// use ropewalk_core::{ToolCall, ToolContext};
/// use ropewalk_tools::{ToolSet, tool};
///
/// /// Adds two numbers.
/// #[tool(effect = read)]
/// fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// let tools = ToolSet::new().with(add)?;
/// # futures_executor::block_on(async {
/// let call = ToolCall::new("call_1", "add", r#"{"a": 2, "b": 3}"#);
/// let result = tools.answer(&call, &ToolContext::default()).await?;
/// assert_eq!(result.text(), "5");
/// let wrong = ToolCall::new("call_2", "subtract", "{}");
/// let result = tools.answer(&wrong, &ToolContext::default()).await?;
/// assert_eq!(result.text(), "there is no tool `subtract`; there are: add");
/// # Ok::<(), ropewalk_core::Error>(()) })
/// # .unwrap();
/// # Ok::<(), ropewalk_tools::ToolSetError>(())
/// ```
#[derive(Clone, Default)]
pub struct ToolSet {
    tools: Vec<DynTool>,
    index: HashMap<String, usize>,
    capture_content: bool,
}

impl ToolSet {
    /// How many calls run at once unless said otherwise.
    pub const CONCURRENCY: usize = 8;

    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a set of shared tools.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn of(tools: impl IntoIterator<Item = DynTool>) -> Result<Self, ToolSetError> {
        let mut set = Self::new();
        tools.into_iter().try_for_each(|tool| set.add(tool))?;
        Ok(set)
    }

    /// Adds a tool and returns the set: a function under [`#[tool]`](macro@crate::tool) by its name, or
    /// any [`Tool`].
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn with<Kind>(mut self, tool: impl IntoTool<Kind>) -> Result<Self, ToolSetError> {
        self.add(tool.into_tool())?;
        Ok(self)
    }

    /// Adds a shared tool.
    ///
    /// # Errors
    /// [`ToolSetError`] for a name that is no `[A-Za-z0-9_-]{1,64}` or taken, and for a schema
    /// whose root does not say `"type": "object"`.
    pub fn add(&mut self, tool: DynTool) -> Result<(), ToolSetError> {
        let spec = tool.spec();
        let name = spec.name.clone();
        if !is_name(&name) {
            return Err(ToolSetError::BadName { name });
        }
        if let Some(problem) = schema_problem(spec) {
            return Err(ToolSetError::BadSchema { name, problem });
        }
        if let Some(there) = self.get(&name) {
            return Err(ToolSetError::NameClash {
                first: there.spec().description.clone(),
                second: spec.description.clone(),
                name,
            });
        }
        self.index.insert(name, self.tools.len());
        self.tools.push(tool);
        Ok(())
    }

    /// Adds the tools of another set. Whether content is captured stays as it is here.
    ///
    /// # Errors
    /// [`ToolSetError::NameClash`].
    pub fn merge(mut self, other: Self) -> Result<Self, ToolSetError> {
        other
            .tools
            .into_iter()
            .try_for_each(|tool| self.add(tool))?;
        Ok(self)
    }

    /// Keeps the tools that `keep` says yes to.
    #[must_use]
    pub fn filter(self, mut keep: impl FnMut(&dyn Tool) -> bool) -> Self {
        let mut kept = Self {
            capture_content: self.capture_content,
            ..Self::new()
        };
        for tool in self.tools {
            if keep(&*tool) {
                kept.index
                    .insert(tool.spec().name.clone(), kept.tools.len());
                kept.tools.push(tool);
            }
        }
        kept
    }

    /// Sets whether the spans of calls hold arguments and results; off unless set.
    #[must_use]
    pub fn with_captured_content(mut self, capture: bool) -> Self {
        self.capture_content = capture;
        self
    }

    /// Returns what models are told, for [`ChatRequest::tools`](ropewalk_core::ChatRequest::tools).
    #[must_use]
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.iter().map(|t| t.spec().clone()).collect()
    }

    /// Returns the names in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.iter().map(|t| t.spec().name.clone()).collect()
    }

    /// Returns the tool of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&DynTool> {
        self.tools.get(*self.index.get(name)?)
    }

    /// Returns what a call of the tool of this name may change, if there is one.
    #[must_use]
    pub fn effect(&self, name: &str) -> Option<Effect> {
        self.get(name).map(Tool::effect)
    }

    /// Returns how many tools there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Returns whether there are no tools.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Yields the tools in order.
    pub fn iter(&self) -> std::slice::Iter<'_, DynTool> {
        self.tools.iter()
    }

    /// Runs one call. The tool gets `context` with the id of the call.
    ///
    /// # Errors
    /// [`ToolFailure`]; its [`answer`](ToolFailure::answer) is what the model is told. A panic of
    /// the tool is caught (unless panics abort the program).
    pub async fn call(
        &self,
        call: &ToolCall,
        context: &ToolContext,
    ) -> Result<ToolResult, ToolFailure> {
        let span = telemetry::execute_tool(call, self.capture_content);
        let outcome = self.run(call, context).instrument(span.clone()).await;
        telemetry::finish(&span, &outcome, self.capture_content);
        outcome
    }

    /// Runs one call; what the model can hear of becomes an error result.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`](ropewalk_core::ErrorKind::Tool) when the tool ends the run.
    pub async fn answer(
        &self,
        call: &ToolCall,
        context: &ToolContext,
    ) -> Result<ToolResult, Error> {
        match self.call(call, context).await {
            Ok(result) => Ok(result),
            Err(failure) => failure.answer(call),
        }
    }

    /// Runs several calls, at most `limit` (at least 1) at once, and returns the results in the
    /// order of the calls. What the model can hear of becomes an error result.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`](ropewalk_core::ErrorKind::Tool) when a tool ends the run; the calls
    /// still under way are dropped.
    pub async fn call_all(
        &self,
        calls: &[ToolCall],
        context: &ToolContext,
        limit: usize,
    ) -> Result<Vec<ToolResult>, Error> {
        let answers: Vec<_> = calls.iter().map(|c| self.answer(c, context)).collect();
        stream::iter(answers)
            .buffered(limit.max(1))
            .try_collect()
            .await
    }

    async fn run(&self, call: &ToolCall, context: &ToolContext) -> Result<ToolResult, ToolFailure> {
        let name = || call.name.clone();
        let Some(tool) = self.get(&call.name) else {
            let (name, known) = (name(), self.names());
            return Err(ToolFailure::Unknown { name, known });
        };
        let mut context = context.clone();
        context.call_id.clone_from(&call.id);
        let running = async { tool.call(&call.arguments, &context).await };
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(Ok(output)) => Ok(output.answer(call)),
            Ok(Err(error)) => Err(failure(name(), error)),
            Err(panic) => {
                let (name, message) = (name(), panic_message(&*panic));
                Err(ToolFailure::Panicked { name, message })
            }
        }
    }
}

/// What [`ToolSet::with`] takes: a [`Tool`], or a function that makes one, such as the one that
/// [`#[tool]`](macro@crate::tool) leaves in place of a function. `Kind` is found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tool",
    note = "write `#[tool]` on a function, make a closure one by `tool_fn`, or implement `Tool`"
)]
pub trait IntoTool<Kind> {
    /// Returns the tool.
    fn into_tool(self) -> DynTool;
}

/// Kind of [`IntoTool`]: it is one.
#[derive(Debug)]
pub struct IsTool;

/// Kind of [`IntoTool`]: it makes one.
#[derive(Debug)]
pub struct MakesTool;

impl<T: Tool + 'static> IntoTool<IsTool> for T {
    fn into_tool(self) -> DynTool {
        Arc::new(self)
    }
}

impl<F: FnOnce() -> T, T: Tool + 'static> IntoTool<MakesTool> for F {
    fn into_tool(self) -> DynTool {
        Arc::new(self())
    }
}

fn failure(name: String, error: ToolError) -> ToolFailure {
    match error {
        ToolError::InvalidArguments(problem) => ToolFailure::InvalidArguments { name, problem },
        ToolError::Failed(reason) => ToolFailure::Failed { name, reason },
        ToolError::Fatal(source) => ToolFailure::Fatal { name, source },
        other => ToolFailure::Failed {
            name,
            reason: other.to_string(),
        },
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// Returns what is wrong with the schema of a tool's arguments.
fn schema_problem(spec: &ToolSpec) -> Option<String> {
    let Some(schema) = spec.parameters.as_object() else {
        return Some("the schema of its arguments is not a JSON object".into());
    };
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => None,
        Some(kind) => Some(format!(
            "the schema of its arguments has the type {kind}, but providers take only `\"type\": \
             \"object\"`"
        )),
        None => Some(
            "the schema of its arguments has no `type`; add `\"type\": \"object\"` beside \
             `properties`"
                .into(),
        ),
    }
}

impl<'a> IntoIterator for &'a ToolSet {
    type Item = &'a DynTool;
    type IntoIter = std::slice::Iter<'a, DynTool>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for ToolSet {
    type Item = DynTool;
    type IntoIter = std::vec::IntoIter<DynTool>;

    fn into_iter(self) -> Self::IntoIter {
        self.tools.into_iter()
    }
}

impl fmt::Debug for ToolSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|t| &t.spec().name);
        f.debug_set().entries(names).finish()
    }
}
