//! Typed replies: from a Rust type to a schema, to a request, to a value, with repair.

mod target;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::chat::ChatModel;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::part::ToolResult;
use crate::request::ChatRequest;
use crate::response::{ChatResponse, FinishReason, Usage};
use target::{Target, WRAPPED};

/// How a typed reply is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExtractMode {
    /// `Native` if the model enforces schemas (with tools, if the request has some), else `Tool`
    /// if it calls tools, else `Prompt`.
    #[default]
    Auto,
    /// The provider or the local sampler enforces the schema.
    Native,
    /// The model must call the tool `final_result` (`final_result_2` and so on if the request has
    /// one of that name), whose parameters are the schema.
    Tool,
    /// The schema is put into the prompt; works with any model.
    Prompt,
}

/// How [`ChatModelExt::extract_with`](crate::ChatModelExt::extract_with) works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtractOptions {
    /// How the reply is asked for.
    pub mode: ExtractMode,
    /// How many times a reply that does not parse goes back for repair; 2 unless set.
    pub retries: u32,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            mode: ExtractMode::Auto,
            retries: 2,
        }
    }
}

impl ExtractOptions {
    /// Creates the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how the reply is asked for.
    #[must_use]
    pub fn with_mode(mut self, mode: ExtractMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how many times a reply goes back for repair.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// A typed reply and what it took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Extracted<T> {
    /// The value.
    pub value: T,
    /// Tokens of all attempts together.
    pub usage: Usage,
    /// How many times the model was asked.
    pub attempts: u32,
    /// The reply the value was read from.
    pub response: ChatResponse,
}

/// How a typed reply is asked for and read: what [`extract_with`] is made of, for those who talk to
/// the model in another way, for example streaming.
///
/// [`extract_with`]: crate::ChatModelExt::extract_with
///
/// ```
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_core::{ChatModel, ChatRequest, ExtractMode, ExtractPlan};
/// use serde_json::json;
///
/// # futures_executor::block_on(async {
/// let model = ScriptedModel::new().tool_call("final_result", json!({"value": ["a", "b"]}));
/// let mut request = ChatRequest::from("Name two letters.");
/// let plan = ExtractPlan::of::<Vec<char>, _>(&model, &request, ExtractMode::Auto);
/// plan.prepare(&mut request);
/// assert_eq!((plan.mode(), plan.tool()), (ExtractMode::Tool, Some("final_result")));
/// let letters: Vec<char> = plan.read(&model.chat(&request).await?)?;
/// assert_eq!(letters, ['a', 'b']);
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ExtractPlan {
    mode: ExtractMode,
    target: Target,
    /// Names of the request's own tools.
    tools: Vec<String>,
}

impl ExtractPlan {
    /// Plans to get a `T` from a model by a request.
    pub fn of<T: JsonSchema, M: ChatModel + ?Sized>(
        model: &M,
        request: &ChatRequest,
        mode: ExtractMode,
    ) -> Self {
        Self {
            mode: resolve(mode, model, request),
            target: Target::of::<T>(request),
            tools: request.tools.iter().map(|t| t.name.clone()).collect(),
        }
    }

    /// Makes the request ask for the value.
    pub fn prepare(&self, request: &mut ChatRequest) {
        self.target.ask(self.mode, request);
    }

    /// Returns how the value is asked for; not `Auto`.
    #[must_use]
    pub fn mode(&self) -> ExtractMode {
        self.mode
    }

    /// Returns the name of the tool whose arguments are the value, in [`ExtractMode::Tool`].
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        (self.mode == ExtractMode::Tool).then_some(self.target.tool.as_str())
    }

    /// Returns the name of the field that holds the value, when `T` is not an object itself.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.target.wrapped.then_some(WRAPPED)
    }

    /// Reads the value from a whole reply.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when the reply does not fit; [`ErrorKind::Truncated`] and
    /// [`ErrorKind::ContentFiltered`] when it was cut, [`ErrorKind::Tool`] when the model called a
    /// tool of the request instead. All of them carry the reply in [`Error::partial`].
    pub fn read<T: DeserializeOwned>(&self, response: &ChatResponse) -> Result<T> {
        refuse_incomplete(response)?;
        self.target.read(self.mode, response).or_else(|problem| {
            refuse_calls(response, &self.tools)?;
            let message = format!("{} did not fit: {problem}", self.target.name);
            Err(failed(ErrorKind::Schema, message, response))
        })
    }
}

fn failed(kind: ErrorKind, message: impl Into<String>, response: &ChatResponse) -> Error {
    Error::new(kind, message)
        .with_provider(response.provider.clone())
        .with_partial(response.clone())
}

pub(crate) async fn extract<T, M>(
    model: &M,
    mut request: ChatRequest,
    options: &ExtractOptions,
) -> Result<Extracted<T>>
where
    T: DeserializeOwned + JsonSchema + Send,
    M: ChatModel + ?Sized,
{
    let ExtractPlan {
        mode,
        target,
        tools,
    } = ExtractPlan::of::<T, M>(model, &request, options.mode);
    target.ask(mode, &mut request);
    let mut usage = Usage::default();
    let mut attempts = 0;
    loop {
        let response = model.chat(&request).await?;
        attempts += 1;
        usage += response.usage;
        refuse_incomplete(&response)?;
        let problem = match target.read::<T>(mode, &response) {
            Ok(value) => {
                return Ok(Extracted {
                    value,
                    usage,
                    attempts,
                    response,
                });
            }
            Err(problem) => problem,
        };
        refuse_calls(&response, &tools)?;
        if attempts > options.retries {
            let message = format!(
                "{} did not fit after {attempts} attempts: {problem}",
                target.name
            );
            return Err(failed(ErrorKind::Schema, message, &response));
        }
        ask_again(&mut request, response, &problem);
    }
}

fn resolve<M: ChatModel + ?Sized>(
    mode: ExtractMode,
    model: &M,
    request: &ChatRequest,
) -> ExtractMode {
    let can = model.capabilities();
    match mode {
        ExtractMode::Auto if can.json_schema_with_tools => ExtractMode::Native,
        ExtractMode::Auto if can.json_schema && request.tools.is_empty() => ExtractMode::Native,
        ExtractMode::Auto if can.tools => ExtractMode::Tool,
        ExtractMode::Auto => ExtractMode::Prompt,
        chosen => chosen,
    }
}

/// A cut or filtered reply is an error of its own: repairing it would ask for the impossible.
fn refuse_incomplete(response: &ChatResponse) -> Result<()> {
    let (kind, message) = match &response.finish_reason {
        FinishReason::Length => (
            ErrorKind::Truncated,
            "the reply was cut before it was complete; raise max_tokens".into(),
        ),
        FinishReason::ContentFilter => (
            ErrorKind::ContentFiltered,
            "a safety filter cut the reply".into(),
        ),
        FinishReason::Refusal => (
            ErrorKind::ContentFiltered,
            format!("the model refused: {}", response.text()),
        ),
        _ => return Ok(()),
    };
    Err(failed(kind, message, response))
}

/// Nobody here can run the tools of the request, and telling the model that its call is no JSON
/// would teach it not to use them.
fn refuse_calls(response: &ChatResponse, tools: &[String]) -> Result<()> {
    let is_called = |name: &&String| response.message.tool_calls().any(|c| c.name == **name);
    let Some(name) = tools.iter().find(is_called) else {
        return Ok(());
    };
    let message = format!(
        "the model called the tool `{name}`; extract does not run tools: leave them out of the \
         request, or run them first and extract from the conversation"
    );
    Err(failed(ErrorKind::Tool, message, response))
}

/// Appends the reply and what is wrong with it, in the form the reply calls for: providers refuse
/// a conversation in which a tool call has no result.
fn ask_again(request: &mut ChatRequest, response: ChatResponse, problem: &str) {
    let complaint = format!("{problem}\nCorrect this and answer again in the form asked for.");
    let results: Vec<ToolResult> = response
        .message
        .tool_calls()
        .map(|call| ToolResult::to(call, complaint.as_str()).as_error())
        .collect();
    if !response.message.content.is_empty() {
        request.messages.push(response.message);
    }
    request.messages.push(match results.is_empty() {
        true => Message::user(complaint),
        false => Message::tool_results(results),
    });
}
