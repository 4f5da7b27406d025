//! A model that says what it is told to say.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use crate::assembler::StreamAssembler;
use crate::chat::{Capabilities, ChatModel};
use crate::counter::{CharsPerToken, TokenCounter};
use crate::delta::WireDelta;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::part::{Part, Reasoning, ToolCall};
use crate::request::ChatRequest;
use crate::response::{ChatResponse, FinishReason, Usage};
use crate::stream::ChatStream;

type Responder = Box<dyn Fn(&ChatRequest) -> Result<ChatResponse> + Send + Sync>;

/// A [`ChatModel`] for tests: answers each request with the next step of a script and keeps the
/// requests.
///
/// Requests are validated first, as real models do. When the script is over, the answer is an
/// error of kind [`ErrorKind::Other`]. Usage is estimated at four characters per token unless the
/// step gives it.
pub struct ScriptedModel {
    provider: String,
    model: String,
    capabilities: Capabilities,
    chunk: usize,
    script: Mutex<VecDeque<Step>>,
    responder: Option<Responder>,
    requests: Mutex<Vec<ChatRequest>>,
}

enum Step {
    Response(Box<ChatResponse>),
    /// Deltas, then the error if there is one, else the end of the connection.
    Deltas(Vec<WireDelta>, Option<Error>),
}

impl ScriptedModel {
    /// Creates a model with an empty script that can call tools.
    #[must_use]
    pub fn new() -> Self {
        let capabilities = Capabilities {
            tools: true,
            parallel_tools: true,
            sampling: true,
            streaming: true,
            ..Capabilities::default()
        };
        Self {
            provider: "scripted".into(),
            model: "script".into(),
            capabilities,
            chunk: 4,
            script: Mutex::default(),
            responder: None,
            requests: Mutex::default(),
        }
    }

    /// Creates a model that repeats the text of the last message, cut to `max_tokens`.
    #[must_use]
    pub fn echo() -> Self {
        Self::respond_with(|request| {
            let last = request.messages.last();
            let text = last.map(|m| match m.results().next() {
                Some(result) => result.text(),
                None => m.text(),
            });
            Ok(cut(text.unwrap_or_default(), request.options.max_tokens))
        })
    }

    /// Creates a model that answers by a function of the request, once its script is over.
    pub fn respond_with(
        respond: impl Fn(&ChatRequest) -> Result<ChatResponse> + Send + Sync + 'static,
    ) -> Self {
        Self {
            responder: Some(Box::new(respond)),
            ..Self::new()
        }
    }

    /// Sets provider and model name.
    #[must_use]
    pub fn with_name(mut self, provider: impl Into<String>, model: impl Into<String>) -> Self {
        self.provider = provider.into();
        self.model = model.into();
        self
    }

    /// Sets what the model claims to be able to do.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets how many characters each streamed piece has, 4 unless set.
    #[must_use]
    pub fn with_chunk(mut self, characters: usize) -> Self {
        self.chunk = characters.max(1);
        self
    }

    /// Adds a text reply.
    #[must_use]
    pub fn reply(self, text: impl Into<String>) -> Self {
        self.message(Message::assistant(text.into()))
    }

    /// Adds a call of one tool.
    #[must_use]
    pub fn tool_call(self, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls([(name.into(), arguments)])
    }

    /// Adds a turn that calls several tools.
    #[must_use]
    pub fn tool_calls(self, calls: impl IntoIterator<Item = (String, Value)>) -> Self {
        let step = self.steps().len();
        let part = |(i, (name, arguments)): (usize, (String, Value))| {
            Part::ToolCall(ToolCall::new(
                format!("call_{step}_{i}"),
                name,
                arguments.to_string(),
            ))
        };
        let parts: Vec<Part> = calls.into_iter().enumerate().map(part).collect();
        self.message(Message::assistant(parts))
    }

    /// Adds a reply of any parts.
    #[must_use]
    pub fn message(self, message: Message) -> Self {
        let response = ChatResponse::new(self.provider.clone(), self.model.clone(), message);
        self.response(response)
    }

    /// Adds a whole reply, with its own usage and finish reason.
    #[must_use]
    pub fn response(self, response: ChatResponse) -> Self {
        self.step(Step::Response(Box::new(response)))
    }

    /// Adds a failure.
    #[must_use]
    pub fn error(self, error: Error) -> Self {
        self.step(Step::Deltas(Vec::new(), Some(error)))
    }

    /// Adds a reply in exactly these deltas. Without [`WireDelta::End`] it is a connection that
    /// closes early.
    #[must_use]
    pub fn deltas(self, deltas: impl IntoIterator<Item = WireDelta>) -> Self {
        self.step(Step::Deltas(deltas.into_iter().collect(), None))
    }

    /// Adds a reply that fails after these deltas.
    #[must_use]
    pub fn breaks_after(self, deltas: impl IntoIterator<Item = WireDelta>, error: Error) -> Self {
        self.step(Step::Deltas(deltas.into_iter().collect(), Some(error)))
    }

    /// Returns the requests received so far, valid or not.
    #[must_use]
    pub fn requests(&self) -> Vec<ChatRequest> {
        lock(&self.requests).clone()
    }

    /// Returns how many steps of the script are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.steps().len()
    }

    fn step(self, step: Step) -> Self {
        self.steps().push_back(step);
        self
    }

    fn steps(&self) -> MutexGuard<'_, VecDeque<Step>> {
        lock(&self.script)
    }

    /// Records the request and returns the deltas of the answer and the error they end in.
    fn next(&self, request: &ChatRequest) -> Result<(Vec<WireDelta>, Option<Error>)> {
        lock(&self.requests).push(request.clone());
        request.validate()?;
        let step = self.steps().pop_front();
        let response = match (step, &self.responder) {
            (Some(Step::Deltas(deltas, Some(error))), _) if deltas.is_empty() => return Err(error),
            (Some(Step::Deltas(deltas, error)), _) => return Ok((deltas, error)),
            (Some(Step::Response(response)), _) => *response,
            (None, Some(respond)) => respond(request)?,
            (None, None) => {
                let asked = self.requests().len();
                let message = format!("the script is over; this is request {asked}");
                return Err(Error::new(ErrorKind::Other, message).with_provider("scripted"));
            }
        };
        let deltas = deltas_of(request, response, self.chunk, &self.provider);
        Ok((deltas, None))
    }

    fn assembler(&self, request: &ChatRequest) -> StreamAssembler {
        StreamAssembler::new(self.provider.clone(), self.model.clone())
            .with_call_prefix(format!("call_{}_", request.messages.len()))
    }
}

impl Default for ScriptedModel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedModel")
            .field("provider", &self.provider)
            .field("model", &self.model)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ChatModel for ScriptedModel {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.stream(request).await?.collect().await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let (deltas, error) = self.next(request)?;
        let items = deltas.into_iter().map(Ok).chain(error.map(Err));
        Ok(ChatStream::from_deltas(
            self.assembler(request),
            futures_util::stream::iter(items),
        ))
    }
}

/// Cuts text to a number of estimated tokens.
fn cut(text: String, max_tokens: Option<u32>) -> ChatResponse {
    let CharsPerToken(per_token) = CharsPerToken::default();
    let limit = max_tokens.map_or(usize::MAX, |n| per_token.saturating_mul(n as usize));
    let (text, reason) = match text.char_indices().nth(limit) {
        Some((at, _)) => (text[..at].to_owned(), FinishReason::Length),
        None => (text, FinishReason::Stop),
    };
    ChatResponse::new("scripted", "script", Message::assistant(text)).with_finish_reason(reason)
}

/// Writes a reply as a wire would send it, texts in pieces of `chunk` characters.
fn deltas_of(
    request: &ChatRequest,
    response: ChatResponse,
    chunk: usize,
    provider: &str,
) -> Vec<WireDelta> {
    let estimate = CharsPerToken::default();
    let input = estimate.count_messages(&request.messages) as u64;
    let output = estimate.count(&response.text()) as u64;
    let mut usage = Usage::new(input, output);
    usage.replace_with(response.usage);
    let mut deltas = vec![WireDelta::Started {
        id: response.id,
        model: Some(response.model),
    }];
    deltas.extend(response.warnings.into_iter().map(WireDelta::Warning));
    deltas.push(WireDelta::Logprobs(response.logprobs));
    deltas.extend(response.raw.map(WireDelta::Raw));
    for (slot, part) in (0u32..).zip(response.message.content) {
        match part {
            // The assembler signs with its own name; thoughts of others come whole.
            Part::Reasoning(r) if is_foreign(&r, provider) => {
                deltas.push(WireDelta::Part(Part::Reasoning(r)));
            }
            Part::Text {
                text, cache: None, ..
            } => {
                let piece = |text| WireDelta::Text { slot, text };
                deltas.extend(pieces(&text, chunk).map(piece));
            }
            Part::Reasoning(Reasoning {
                text,
                signature,
                redacted,
                id,
                ..
            }) => {
                let piece = |text| WireDelta::Reasoning { slot, text };
                deltas.extend(pieces(&text, chunk).map(piece));
                if signature.is_some() || redacted.is_some() || id.is_some() {
                    deltas.push(WireDelta::ReasoningMeta {
                        slot,
                        signature,
                        redacted,
                        id,
                    });
                }
            }
            Part::ToolCall(call) => {
                let piece = |arguments| WireDelta::ToolCall {
                    slot,
                    id: None,
                    name: None,
                    arguments,
                };
                deltas.push(WireDelta::ToolCall {
                    slot,
                    id: Some(call.id),
                    name: Some(call.name),
                    arguments: String::new(),
                });
                deltas.extend(pieces(&call.arguments, chunk).map(piece));
                if call.item_id.is_some() || call.signature.is_some() {
                    deltas.push(WireDelta::ToolCallMeta {
                        slot,
                        item_id: call.item_id,
                        signature: call.signature,
                    });
                }
            }
            part => deltas.push(WireDelta::Part(part)),
        }
        deltas.push(WireDelta::PartDone { slot });
    }
    deltas.push(WireDelta::FinishReason(response.finish_reason));
    deltas.push(WireDelta::Usage(usage));
    deltas.push(WireDelta::End);
    deltas
}

/// Whether the assembler of `provider` would name another provider for these thoughts.
fn is_foreign(reasoning: &Reasoning, provider: &str) -> bool {
    let Reasoning {
        signature,
        redacted,
        id,
        ..
    } = reasoning;
    let signed = signature.is_some() || redacted.is_some() || id.is_some();
    reasoning.provider.as_deref() != signed.then_some(provider)
}

fn pieces(text: &str, characters: usize) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .char_indices()
            .nth(characters)
            .map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece.to_owned())
    })
}

/// A panic of another test thread does not spoil the queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
