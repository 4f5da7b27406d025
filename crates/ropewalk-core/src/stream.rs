//! Replies that arrive piece by piece.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::assembler::StreamAssembler;
use crate::delta::WireDelta;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::part::{Part, Reasoning, ToolCall};
use crate::response::{ChatResponse, FinishReason};

/// One step of a streamed reply.
///
/// `index` is the position of the part in the final message. The texts of all `TextDelta`s of an
/// index, concatenated, are the text of that part; the same holds for reasoning and for the
/// arguments of tool calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamEvent {
    /// The provider accepted the request.
    Started {
        /// The provider's id of the reply.
        id: Option<String>,
        /// The model that answers.
        model: Option<String>,
    },
    /// More text.
    TextDelta {
        /// Position of the part.
        index: u32,
        /// The piece of text; never empty.
        text: String,
    },
    /// More reasoning.
    ReasoningDelta {
        /// Position of the part.
        index: u32,
        /// The piece of text; never empty.
        text: String,
    },
    /// A tool call begins.
    ToolCallStarted {
        /// Position of the part.
        index: u32,
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
    },
    /// More of a call's arguments.
    ToolCallDelta {
        /// Position of the part.
        index: u32,
        /// The piece of JSON text; never empty.
        json: String,
    },
    /// A part is complete.
    PartDone {
        /// Position of the part.
        index: u32,
        /// The whole part.
        part: Part,
    },
    /// Something the provider sent that has no other event.
    Unknown {
        /// What was sent.
        value: Value,
    },
    /// Nothing yet, but the connection lives.
    Heartbeat,
    /// The end. Always last and exactly once on success; the same value `chat()` returns.
    Finished(Box<ChatResponse>),
}

/// A streamed reply: a [`Stream`] of [`StreamEvent`]s that keeps the law
/// `stream().collect() == chat()`.
///
/// On success the last event is [`StreamEvent::Finished`], exactly once. A source that ends
/// without it yields [`ErrorKind::Truncated`] with what came in [`Error::partial`]. After an error
/// or `Finished` the stream is over. Dropping it cancels the call.
pub struct ChatStream {
    inner: BoxStream<'static, Result<StreamEvent>>,
}

impl ChatStream {
    /// Wraps a source of finished events, enforcing the law above.
    ///
    /// An error of the source ends the stream and gets what came so far as its partial reply,
    /// unless it has one. [`from_events`](Self::from_events) also knows whose reply that is.
    pub fn new(events: impl Stream<Item = Result<StreamEvent>> + Send + 'static) -> Self {
        Self::from_events("", "", events)
    }

    /// As [`new`](Self::new), with the provider and the model that partial replies name.
    pub fn from_events(
        provider: impl Into<Cow<'static, str>>,
        model: impl Into<String>,
        events: impl Stream<Item = Result<StreamEvent>> + Send + 'static,
    ) -> Self {
        let guard = Guard {
            events: events.boxed(),
            provider: provider.into(),
            model: model.into(),
            id: None,
            so_far: BTreeMap::new(),
            over: false,
        };
        Self {
            inner: guard.boxed(),
        }
    }

    /// Assembles what a wire or a local model produces; ends early with
    /// [`ErrorKind::Truncated`] when the source ends before [`WireDelta::End`].
    ///
    /// An error of the source ends the stream and gets what came so far as its partial reply.
    pub fn from_deltas(
        assembler: StreamAssembler,
        deltas: impl Stream<Item = Result<WireDelta>> + Send + 'static,
    ) -> Self {
        let events = Assembling {
            deltas: deltas.boxed(),
            assembler: Some(assembler),
            ready: VecDeque::new(),
        };
        Self {
            inner: events.boxed(),
        }
    }

    /// Replays a whole reply as a stream.
    #[must_use]
    pub fn from_response(response: ChatResponse) -> Self {
        let events = replay(response).into_iter().map(Ok);
        Self {
            inner: futures_util::stream::iter(events).boxed(),
        }
    }

    /// Reduces the stream to the pieces of text.
    pub fn text(self) -> impl Stream<Item = Result<String>> + Send {
        self.inner.filter_map(|event| {
            std::future::ready(match event {
                Ok(StreamEvent::TextDelta { text, .. }) => Some(Ok(text)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
        })
    }

    /// Waits for the end and returns the whole reply.
    ///
    /// # Errors
    /// The error the stream ended with.
    pub async fn collect(mut self) -> Result<ChatResponse> {
        while let Some(event) = self.inner.next().await {
            if let StreamEvent::Finished(response) = event? {
                return Ok(*response);
            }
        }
        Err(Error::new(
            ErrorKind::Truncated,
            "the stream was read to its end before",
        ))
    }
}

impl Stream for ChatStream {
    type Item = Result<StreamEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStream").finish_non_exhaustive()
    }
}

/// Returns the events that make up `response`, in order.
fn replay(response: ChatResponse) -> Vec<StreamEvent> {
    let mut events = vec![StreamEvent::Started {
        id: response.id.clone(),
        model: Some(response.model.clone()).filter(|m| !m.is_empty()),
    }];
    for (index, part) in (0u32..).zip(&response.message.content) {
        match part {
            Part::Text { text, .. } if !text.is_empty() => {
                events.push(StreamEvent::TextDelta {
                    index,
                    text: text.clone(),
                });
            }
            Part::Reasoning(Reasoning { text, .. }) if !text.is_empty() => {
                events.push(StreamEvent::ReasoningDelta {
                    index,
                    text: text.clone(),
                });
            }
            Part::ToolCall(ToolCall {
                id,
                name,
                arguments,
                ..
            }) => {
                let (id, name) = (id.clone(), name.clone());
                events.push(StreamEvent::ToolCallStarted { index, id, name });
                if !arguments.is_empty() {
                    events.push(StreamEvent::ToolCallDelta {
                        index,
                        json: arguments.clone(),
                    });
                }
            }
            _ => {}
        }
        events.push(StreamEvent::PartDone {
            index,
            part: part.clone(),
        });
    }
    events.push(StreamEvent::Finished(Box::new(response)));
    events
}

/// Enforces the law of [`ChatStream`] on events that somebody else made.
struct Guard {
    events: BoxStream<'static, Result<StreamEvent>>,
    provider: Cow<'static, str>,
    model: String,
    id: Option<String>,
    so_far: BTreeMap<u32, Part>,
    over: bool,
}

impl Guard {
    fn note(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Started { id, model } => {
                self.id = id.clone().or(self.id.take());
                if let Some(model) = model.as_ref().filter(|m| !m.is_empty()) {
                    self.model.clone_from(model);
                }
            }
            StreamEvent::TextDelta { index, text: piece } => {
                let part = self.so_far.entry(*index).or_insert_with(|| Part::text(""));
                if let Part::Text { text, .. } = part {
                    text.push_str(piece);
                }
            }
            StreamEvent::ReasoningDelta { index, text } => {
                let empty = || Part::Reasoning(Reasoning::default());
                if let Part::Reasoning(r) = self.so_far.entry(*index).or_insert_with(empty) {
                    r.text.push_str(text);
                }
            }
            StreamEvent::ToolCallStarted { index, id, name } => {
                let call = ToolCall::new(id.clone(), name.clone(), "");
                self.so_far.insert(*index, Part::ToolCall(call));
            }
            StreamEvent::ToolCallDelta { index, json } => {
                if let Some(Part::ToolCall(call)) = self.so_far.get_mut(index) {
                    call.arguments.push_str(json);
                }
            }
            StreamEvent::PartDone { index, part } => {
                self.so_far.insert(*index, part.clone());
            }
            _ => {}
        }
    }

    /// Returns what came so far, of a reply that did not end.
    fn partial(&mut self) -> ChatResponse {
        let parts: Vec<Part> = std::mem::take(&mut self.so_far).into_values().collect();
        let (provider, model) = (self.provider.clone(), self.model.clone());
        let mut partial =
            ChatResponse::new(provider, model, Message::assistant(parts)).with_finish_reason(cut());
        partial.id = self.id.take();
        partial
    }
}

/// The finish reason of what came before a stream ended early.
pub(crate) fn cut() -> FinishReason {
    FinishReason::Other("truncated".into())
}

/// The error of a stream that ended early.
pub(crate) fn truncated(partial: ChatResponse) -> Error {
    let message = "the stream ended before the end of the reply";
    let partial = partial.with_finish_reason(cut());
    Error::new(ErrorKind::Truncated, message)
        .with_provider(partial.provider.clone())
        .with_partial(partial)
}

impl Stream for Guard {
    type Item = Result<StreamEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let Poll::Ready(event) = self.events.poll_next_unpin(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(Some(match event {
            Some(Ok(event)) => {
                self.over = matches!(event, StreamEvent::Finished(_));
                self.note(&event);
                Ok(event)
            }
            Some(Err(error)) => {
                self.over = true;
                Err(match error.partial() {
                    Some(_) => error,
                    None => error.with_partial(self.partial()),
                })
            }
            None => {
                self.over = true;
                Err(truncated(self.partial()))
            }
        }))
    }
}

/// Turns deltas into events; `assembler` is gone once the stream is over.
struct Assembling {
    deltas: BoxStream<'static, Result<WireDelta>>,
    assembler: Option<StreamAssembler>,
    ready: VecDeque<StreamEvent>,
}

impl Stream for Assembling {
    type Item = Result<StreamEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(assembler) = &mut this.assembler else {
                return Poll::Ready(None);
            };
            if assembler.is_finished() {
                this.assembler = None;
                return Poll::Ready(None);
            }
            let Poll::Ready(delta) = this.deltas.poll_next_unpin(cx) else {
                return Poll::Pending;
            };
            let error = match delta {
                Some(Ok(delta)) => {
                    this.ready.extend(assembler.push(delta));
                    continue;
                }
                Some(Err(error)) if error.partial().is_none() => {
                    error.with_partial(assembler.partial())
                }
                Some(Err(error)) => error,
                None => truncated(assembler.partial()),
            };
            this.assembler = None;
            return Poll::Ready(Some(Err(error)));
        }
    }
}
