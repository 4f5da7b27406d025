//! The rules every [`ChatModel`] must keep.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::future::{join, ready};
use schemars::JsonSchema;
use serde::Deserialize;

use super::report::{Report, Stop, Verdict, begin_and_drop, ensure, skip};
use crate::chat::{ChatModel, ChatModelExt};
use crate::error::ErrorKind;
use crate::message::{Message, Role};
use crate::part::{CacheHint, Part, ToolCall, ToolResult};
use crate::request::{ChatRequest, OnUnsupported, ToolChoice};
use crate::response::{ChatResponse, FinishReason};
use crate::stream::StreamEvent;
use crate::tool::ToolSpec;

/// What the suite asks a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatSuite {
    /// The question.
    pub prompt: String,
    /// Limit of each reply.
    pub max_tokens: u32,
    /// Whether the same request (temperature 0, seed 1) gives the same reply.
    pub deterministic: bool,
    /// Whether the model calls a tool when one is required.
    pub calls_tools: bool,
}

impl Default for ChatSuite {
    fn default() -> Self {
        Self {
            prompt: "Say hello in one short sentence.".into(),
            max_tokens: 32,
            deterministic: true,
            calls_tools: false,
        }
    }
}

impl ChatSuite {
    /// Creates a suite for a deterministic model, with a short prompt.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the question.
    #[must_use]
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = prompt.into();
        self
    }

    /// Sets the limit of each reply.
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Sets whether equal requests give equal replies.
    #[must_use]
    pub fn with_deterministic(mut self, deterministic: bool) -> Self {
        self.deterministic = deterministic;
        self
    }

    /// Sets whether the model must call a tool when one is required.
    #[must_use]
    pub fn with_calls_tools(mut self, calls_tools: bool) -> Self {
        self.calls_tools = calls_tools;
        self
    }

    fn request(&self) -> ChatRequest {
        ChatRequest::from(&self.prompt)
            .max_tokens(self.max_tokens)
            .temperature(0.0)
            .seed(1)
    }
}

/// Checks the contract of [`ChatModel`], streaming and not.
///
/// The names of the checks, in order: `names`, `reply`, `usage`, `max_tokens`, `empty_request`,
/// `system_message`, `multi_turn`, `tool_history`, `tool_call`, `stream_events`, `stream_usage`,
/// `stream_equals_chat`, `on_unsupported`, `concurrent`, `drop_chat`, `drop_stream`, `count_tokens`, `extract`.
pub async fn chat<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Report {
    let mut report = Report::new(format!("chat model {}/{}", model.provider(), model.model()));
    report.check("names", ready(names(model))).await;
    report.check("reply", reply(model, suite)).await;
    report.check("usage", usage(model, suite)).await;
    report.check("max_tokens", max_tokens(model, suite)).await;
    report.check("empty_request", empty_request(model)).await;
    report
        .check("system_message", system_message(model, suite))
        .await;
    report.check("multi_turn", multi_turn(model, suite)).await;
    report
        .check("tool_history", tool_history(model, suite))
        .await;
    report.check("tool_call", tool_call(model, suite)).await;
    report
        .check("stream_events", stream_events(model, suite))
        .await;
    report
        .check("stream_usage", stream_usage(model, suite))
        .await;
    report
        .check("stream_equals_chat", stream_equals_chat(model, suite))
        .await;
    report
        .check("on_unsupported", on_unsupported(model, suite))
        .await;
    report.check("concurrent", concurrent(model, suite)).await;
    report.check("drop_chat", drop_chat(model, suite)).await;
    report.check("drop_stream", drop_stream(model, suite)).await;
    report
        .check("count_tokens", count_tokens(model, suite))
        .await;
    report.check("extract", extract(model)).await;
    report
}

fn names<M: ChatModel + ?Sized>(model: &M) -> Verdict {
    ensure(!model.provider().is_empty(), || {
        "provider() is empty".into()
    })?;
    ensure(!model.model().is_empty(), || "model() is empty".into())
}

async fn reply<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    well_formed(&model.chat(&suite.request()).await?)
}

/// What holds of every whole reply.
fn well_formed(response: &ChatResponse) -> Verdict {
    let role = response.message.role;
    ensure(role == Role::Assistant, || {
        format!("the reply has the role {role}")
    })?;
    ensure(!response.provider.is_empty(), || {
        "the reply names no provider".into()
    })?;
    ensure(!response.model.is_empty(), || {
        "the reply names no model".into()
    })?;
    let calls: Vec<&ToolCall> = response.message.tool_calls().collect();
    let whole = calls.iter().all(|c| !c.id.is_empty() && !c.name.is_empty());
    ensure(whole, || "a tool call has no id or no name".into())?;
    let misplaced = response.message.results().next().is_some();
    ensure(!misplaced, || "the reply holds a tool result".into())?;
    let stopped = response.finish_reason == FinishReason::Stop && !calls.is_empty();
    ensure(!stopped, || {
        "the reply calls tools but its finish reason is `stop`".into()
    })
}

async fn usage<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    has_usage(&model.chat(&suite.request()).await?)
}

fn has_usage(response: &ChatResponse) -> Verdict {
    let usage = response.usage;
    ensure(usage.input_tokens.is_some_and(|n| n > 0), || {
        format!("no input tokens: {usage:?}")
    })?;
    ensure(usage.output_tokens.is_some(), || {
        format!("no output tokens: {usage:?}")
    })?;
    let parts = [
        (usage.cached_input_tokens, usage.input_tokens),
        (usage.reasoning_tokens, usage.output_tokens),
    ];
    let inclusive = parts
        .iter()
        .all(|(part, whole)| part.unwrap_or(0) <= whole.unwrap_or(0));
    ensure(inclusive, || {
        format!("totals must include their parts: {usage:?}")
    })
}

async fn max_tokens<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let limit = suite.max_tokens.clamp(1, 2);
    let response = model.chat(&suite.request().max_tokens(limit)).await?;
    let output = response.usage.output_tokens.unwrap_or(0);
    ensure(output <= u64::from(limit), || {
        format!("{output} tokens came, {limit} were allowed")
    })
}

async fn empty_request<M: ChatModel + ?Sized>(model: &M) -> Verdict {
    let empty = ChatRequest::new();
    let from_chat = model.chat(&empty).await.err().map(|e| e.kind());
    let invalid = Some(ErrorKind::InvalidRequest);
    ensure(from_chat == invalid, || {
        format!("chat() gave {from_chat:?}, not InvalidRequest")
    })?;
    let from_stream = model.stream(&empty).await.err().map(|e| e.kind());
    ensure(from_stream == invalid, || {
        format!("stream() gave {from_stream:?}, not InvalidRequest")
    })
}

async fn system_message<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    well_formed(&model.chat(&suite.request().system("Be brief.")).await?)
}

async fn multi_turn<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let first = model.chat(&suite.request()).await?;
    let request = suite
        .request()
        .message(first.message)
        .user("And once more?");
    // A reply with tool calls would need results; plain models give none here.
    let calls = request.messages[1].tool_calls().next().is_some();
    if calls {
        skip("the model called a tool unasked")
    } else {
        well_formed(&model.chat(&request).await?)
    }
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct City {
    /// Name of the city.
    city: String,
}

fn with_tool(request: ChatRequest) -> ChatRequest {
    request.tool(ToolSpec::of::<City>(
        "get_temperature",
        "Returns the temperature in a city",
    ))
}

async fn tool_history<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    if !model.capabilities().tools {
        return skip("the model does not call tools");
    }
    let call = ToolCall::new("call_1", "get_temperature", r#"{"city": "Oslo"}"#);
    let result = ToolResult::to(&call, "4 degrees");
    let request = with_tool(suite.request())
        .message(Message::assistant(Part::ToolCall(call)))
        .message(Message::tool(result));
    well_formed(&model.chat(&request).await?)
}

async fn tool_call<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    if !suite.calls_tools {
        return skip("not expected of this model");
    }
    let request = with_tool(ChatRequest::from("How warm is it in Oslo?"))
        .tool_choice(ToolChoice::Required)
        .max_tokens(suite.max_tokens);
    let response = model.chat(&request).await?;
    well_formed(&response)?;
    let reason = &response.finish_reason;
    ensure(*reason == FinishReason::ToolCalls, || {
        format!("the finish reason is `{reason}`")
    })?;
    for call in response.message.tool_calls() {
        let parsed = call.args::<serde_json::Map<String, serde_json::Value>>();
        ensure(call.name == "get_temperature", || {
            format!("the call names {:?}", call.name)
        })?;
        ensure(parsed.is_ok(), || {
            format!("the arguments are no object: {}", call.arguments)
        })?;
    }
    Ok(())
}

async fn stream_events<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let mut stream = model.stream(&suite.request()).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    well_formed(&audit(&events)?)
}

/// Checks that events make up the message of the final one, and returns that.
fn audit(events: &[StreamEvent]) -> Result<ChatResponse, Stop> {
    let finished = events
        .iter()
        .filter(|e| matches!(e, StreamEvent::Finished(_)))
        .count();
    ensure(finished == 1, || format!("{finished} Finished events came"))?;
    let Some(StreamEvent::Finished(response)) = events.last() else {
        return Err(Stop::Fail("events came after Finished".into()));
    };
    let mut texts: BTreeMap<u32, String> = BTreeMap::new();
    let mut calls: BTreeMap<u32, (String, String)> = BTreeMap::new();
    let mut done: BTreeMap<u32, &Part> = BTreeMap::new();
    for event in events {
        match event {
            StreamEvent::TextDelta { index, text }
            | StreamEvent::ReasoningDelta { index, text } => {
                ensure(!done.contains_key(index), || {
                    format!("part {index} grew after PartDone")
                })?;
                texts.entry(*index).or_default().push_str(text);
            }
            StreamEvent::ToolCallStarted { index, id, name } => {
                let old = calls.insert(*index, (id.clone(), name.clone()));
                ensure(old.is_none(), || format!("call {index} started twice"))?;
                texts.entry(*index).or_default();
            }
            StreamEvent::ToolCallDelta { index, json } => {
                let begun = calls.contains_key(index) && !done.contains_key(index);
                ensure(begun, || {
                    format!("arguments of call {index} came out of order")
                })?;
                texts.entry(*index).or_default().push_str(json);
            }
            StreamEvent::PartDone { index, part } => {
                let old = done.insert(*index, part);
                ensure(old.is_none(), || format!("part {index} was done twice"))?;
            }
            _ => {}
        }
    }
    let parts = &response.message.content;
    let in_order = (0u32..)
        .zip(parts)
        .all(|(i, part)| done.get(&i).is_some_and(|d| *d == part));
    ensure(in_order && done.len() == parts.len(), || {
        format!("PartDone gave {done:?}, the final message has {parts:?}")
    })?;
    for (index, text) in texts {
        let part = parts.get(index as usize);
        let whole = match part {
            Some(Part::Text { text, .. }) => Some(text),
            Some(Part::Reasoning(reasoning)) => Some(&reasoning.text),
            Some(Part::ToolCall(call)) => {
                let started = calls.get(&index);
                let same = started.is_some_and(|(id, name)| *id == call.id && *name == call.name);
                ensure(same, || {
                    format!("call {index} started as {started:?}, ended as {call:?}")
                })?;
                Some(&call.arguments)
            }
            _ => None,
        };
        ensure(whole == Some(&text), || {
            format!("the deltas of part {index} make {text:?}, the part is {part:?}")
        })?;
    }
    Ok((**response).clone())
}

async fn stream_usage<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    has_usage(&model.stream(&suite.request()).await?.collect().await?)
}

async fn stream_equals_chat<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    if !suite.deterministic {
        return skip("equal requests may give different replies");
    }
    let whole = model.chat(&suite.request()).await?;
    let streamed = model.stream(&suite.request()).await?.collect().await?;
    let differs = |what: &str| format!("{what} differs: chat {whole:?}, stream {streamed:?}");
    ensure(whole.message.content == streamed.message.content, || {
        differs("the message")
    })?;
    ensure(whole.finish_reason == streamed.finish_reason, || {
        differs("the finish reason")
    })?;
    ensure(
        whole.usage.output_tokens == streamed.usage.output_tokens,
        || differs("the usage"),
    )?;
    ensure(whole.warnings == streamed.warnings, || {
        differs("the list of warnings")
    })?;
    ensure(whole.model == streamed.model, || differs("the model"))?;
    ensure(whole.provider == streamed.provider, || {
        differs("the provider")
    })?;
    ensure(whole.logprobs == streamed.logprobs, || {
        differs("the list of logprobs")
    })
}

/// Asks for much at once: what the model cannot do is an error, a warning or nothing, as demanded,
/// and the same in each case.
async fn on_unsupported<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let ask = |policy| {
        let mut request = suite.request().top_p(0.9).on_unsupported(policy);
        request.options.top_k = Some(40);
        request.options.frequency_penalty = Some(0.1);
        request.options.presence_penalty = Some(0.1);
        request.options.logprobs = Some(1);
        request.options.cache = Some(CacheHint::Short);
        request.options.cache_key = Some("suite".into());
        request.options.user = Some("suite".into());
        request
    };
    let ignoring = model.chat(&ask(OnUnsupported::Ignore)).await?;
    ensure(ignoring.warnings.is_empty(), || {
        format!("Ignore was asked for, these came: {:?}", ignoring.warnings)
    })?;
    let warning = model.chat(&ask(OnUnsupported::Warn)).await?.warnings;
    match model.chat(&ask(OnUnsupported::Error)).await {
        Ok(response) => ensure(warning.is_empty() && response.warnings.is_empty(), || {
            format!("Error was asked for, but the call went through; Warn gave {warning:?}")
        }),
        Err(error) if error.kind() == ErrorKind::Unsupported => ensure(!warning.is_empty(), || {
            format!("Error gave `{error}`, Warn gave no warning")
        }),
        Err(error) => Err(error.into()),
    }
}

async fn concurrent<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let request = suite.request();
    let streamed = async { model.stream(&request).await?.collect().await };
    let (whole, streamed) = join(model.chat(&request), streamed).await;
    well_formed(&whole?)?;
    well_formed(&streamed?)
}

async fn drop_chat<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let request = suite.request();
    begin_and_drop(model.chat(&request)).await;
    well_formed(&model.chat(&request).await?)
}

async fn drop_stream<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    let request = suite.request();
    let mut unread = model.stream(&request).await?;
    begin_and_drop(unread.next()).await;
    drop(unread);
    let mut begun = model.stream(&request).await?;
    if let Some(event) = begun.next().await {
        event?;
    }
    drop(begun);
    well_formed(&model.chat(&request).await?)
}

async fn count_tokens<M: ChatModel + ?Sized>(model: &M, suite: &ChatSuite) -> Verdict {
    match model.count_tokens(&suite.request()).await? {
        Some(n) => ensure(n > 0, || "a prompt of no tokens was counted".into()),
        None => skip("the model does not count"),
    }
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "parsing it is the check")]
struct Greeting {
    /// A short greeting.
    greeting: String,
}

async fn extract<M: ChatModel + ?Sized>(model: &M) -> Verdict {
    if !model.capabilities().json_schema {
        return skip("the model does not enforce schemas");
    }
    model
        .extract::<Greeting>("Greet me.")
        .await
        .map(drop)
        .map_err(Into::into)
}
