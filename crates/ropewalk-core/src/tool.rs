//! Tools: functions a model may ask to have called.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::BoxError;
use crate::part::{Part, ToolCall, ToolResult};
use crate::retriever::Trust;

/// What a model is told about a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolSpec {
    /// Name the model calls it by, `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// What it does and when to use it.
    #[serde(default)]
    pub description: String,
    /// JSON schema of the arguments, of type `object`.
    pub parameters: Schema,
    /// Whether the provider must enforce the schema.
    #[serde(default)]
    pub strict: bool,
}

impl ToolSpec {
    /// Creates a spec from a schema.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: Schema,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            parameters,
            strict: false,
        }
    }

    /// Creates a spec whose arguments are the fields of `A`.
    pub fn of<A: JsonSchema>(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self::new(name, description, schemars::schema_for!(A))
    }

    /// Sets whether the provider must enforce the schema.
    #[must_use]
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }
}

/// What calling a tool may change, from harmless to costly.
///
/// Agents let a conversation that holds untrusted text call tools by this label.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Nothing: the tool only looks something up or computes.
    Read,
    /// Its author did not say. The default.
    #[default]
    Unknown,
    /// State of the application.
    Write,
    /// The world outside: mail, messages, requests that change something.
    External,
    /// Money.
    Pay,
}

/// Why a tool did not return a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The arguments do not fit; shown to the model, which may repair its call.
    #[error("invalid arguments: {0}")]
    InvalidArguments(String),
    /// The call failed; shown to the model as an error result.
    #[error("{0}")]
    Failed(String),
    /// The run must end; not shown to the model.
    #[error(transparent)]
    Fatal(#[from] BoxError),
}

impl ToolError {
    /// Creates a failure from anything that can be printed.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

/// What a tool returns to the model.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ToolOutput {
    /// What the model gets to see.
    pub content: Vec<Part>,
    /// Whether the content describes a failure.
    pub is_error: bool,
    /// The same result for programs; the model does not see it.
    pub structured: Option<Value>,
    /// Whether the content may steer the model; untrusted unless set.
    pub trust: Trust,
}

impl ToolOutput {
    /// Marks the content as the application's own, reviewed material, which may steer the model.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.trust = Trust::Trusted;
        self
    }

    /// Makes this the answer to `call`, for [`Message::tool`](crate::Message::tool).
    #[must_use]
    pub fn answer(self, call: &ToolCall) -> ToolResult {
        let mut result = ToolResult::to(call, self.content).with_trust(self.trust);
        result.is_error = self.is_error;
        result
    }

    /// Creates a text result.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            content: vec![Part::text(text)],
            ..Self::default()
        }
    }

    /// Creates the description of a failure.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            is_error: true,
            ..Self::text(text)
        }
    }

    /// Creates a result from a value: the model sees its JSON text.
    ///
    /// # Errors
    /// [`ToolError::Failed`] when the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, ToolError> {
        serde_json::to_value(value)
            .map(Into::into)
            .map_err(ToolError::failed)
    }
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for ToolOutput {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Vec<Part>> for ToolOutput {
    fn from(content: Vec<Part>) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }
}

/// A string is shown as it is, not quoted again; anything else as compact JSON.
impl From<Value> for ToolOutput {
    fn from(value: Value) -> Self {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self {
            structured: Some(value),
            ..Self::text(text)
        }
    }
}

/// Typed values of one run that tools need and the model never sees: credentials, database
/// handles, the session. Clones share the values.
///
/// ```
/// use ropewalk_core::{Extensions, ToolContext};
///
/// #[derive(Debug, PartialEq)]
/// struct Customer(u32);
///
/// let context = ToolContext::default().with_extensions(Extensions::new().with(Customer(7)));
/// assert_eq!(context.extensions.get::<Customer>(), Some(&Customer(7)));
/// assert_eq!(context.extensions.get::<u32>(), None);
/// ```
#[derive(Clone, Default)]
pub struct Extensions(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Extensions {
    /// Creates them without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a value, as [`insert`](Self::insert) does.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.insert(value);
        self
    }

    /// Stores a value; one per type, the last wins. Clones made before do not get it.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Returns the value of a type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({} values)", self.0.len())
    }
}

/// The circumstances of a call.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ToolContext {
    /// Id of the call.
    pub call_id: String,
    /// Id of the run the call belongs to.
    pub run_id: String,
    /// Which model call of the run asked for it, from 0.
    pub turn: u32,
    /// Values of the run.
    pub extensions: Extensions,
}

impl ToolContext {
    /// Creates a context for a call.
    pub fn new(call_id: impl Into<String>) -> Self {
        Self {
            call_id: call_id.into(),
            ..Self::default()
        }
    }

    /// Sets the run and its turn.
    #[must_use]
    pub fn with_run(mut self, run_id: impl Into<String>, turn: u32) -> Self {
        self.run_id = run_id.into();
        self.turn = turn;
        self
    }

    /// Sets the values of the run.
    #[must_use]
    pub fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }
}

/// A function a model may ask to have called.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Returns what the model is told about the tool.
    fn spec(&self) -> &ToolSpec;

    /// Returns what a call may change.
    fn effect(&self) -> Effect {
        Effect::Unknown
    }

    /// Runs the tool with the JSON text the model wrote. Empty text and `null` mean `{}`.
    ///
    /// # Errors
    /// `InvalidArguments` and `Failed` go back to the model; `Fatal` ends the run.
    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError>;
}

/// A shared tool of any type.
pub type DynTool = Arc<dyn Tool>;

crate::forward::forward! { T: Tool =>
    fn spec(&self) -> &ToolSpec { (**self).spec() }

    fn effect(&self) -> Effect { (**self).effect() }

    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        (**self).call(arguments, context).await
    }
}

/// Parses arguments as the model wrote them; empty text and `null` count as `{}`.
///
/// # Errors
/// [`ToolError::InvalidArguments`] with the parser's message. Anything but a JSON object is
/// refused, although serde would read a struct from a list too.
pub fn parse_arguments<A: DeserializeOwned>(arguments: &str) -> Result<A, ToolError> {
    let text = match arguments.trim() {
        "" | "null" => "{}",
        text => text,
    };
    if !text.starts_with('{') {
        return Err(ToolError::InvalidArguments("expected a JSON object".into()));
    }
    serde_json::from_str(text).map_err(|e| ToolError::InvalidArguments(e.to_string()))
}

/// A [`Tool`] made from a closure by [`tool_fn`].
pub struct FnTool<F, A> {
    spec: ToolSpec,
    effect: Effect,
    function: F,
    arguments: PhantomData<fn(A)>,
}

/// Makes a [`Tool`] from a closure; the schema comes from its argument type.
///
/// ```
/// use ropewalk_core::{tool_fn, Tool, ToolContext};
/// use ropewalk_core::schemars::{self, JsonSchema};
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Args { x: i64 }
///
/// let double = tool_fn("double", "Doubles a number", |a: Args| async move {
///     Ok((2 * a.x).to_string())
/// });
/// # futures_executor::block_on(async {
/// let output = double.call(r#"{"x": 21}"#, &ToolContext::default()).await?;
/// assert_eq!(output.content[0].as_text(), Some("42"));
/// # Ok::<(), ropewalk_core::ToolError>(()) }).unwrap();
/// ```
pub fn tool_fn<A, O, F, Fut>(
    name: impl Into<String>,
    description: impl Into<String>,
    function: F,
) -> FnTool<F, A>
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    O: Into<ToolOutput>,
    F: Fn(A) -> Fut + Send + Sync,
    Fut: Future<Output = Result<O, ToolError>> + Send,
{
    FnTool {
        spec: ToolSpec::of::<A>(name, description),
        effect: Effect::Unknown,
        function,
        arguments: PhantomData,
    }
}

impl<F, A> FnTool<F, A> {
    /// Sets what a call may change.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets whether the provider must enforce the schema.
    #[must_use]
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.spec.strict = strict;
        self
    }
}

#[async_trait]
impl<A, O, F, Fut> Tool for FnTool<F, A>
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    O: Into<ToolOutput> + Send,
    F: Fn(A) -> Fut + Send + Sync,
    Fut: Future<Output = Result<O, ToolError>> + Send,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    async fn call(&self, arguments: &str, _context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments = parse_arguments(arguments)?;
        (self.function)(arguments).await.map(Into::into)
    }
}

impl<F, A> fmt::Debug for FnTool<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTool")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
