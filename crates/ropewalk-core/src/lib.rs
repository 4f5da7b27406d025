//! What all ropewalk crates share: messages, requests, replies, streams, errors, and one trait per
//! ability of a model.
//!
//! A program that talks to [`ChatModel`] does not care whether the model is behind an API, in this
//! process, scripted for a test, or a decorator around another one. This crate has no I/O, no
//! async runtime and no tensors; the other crates implement its traits.
//!
//! A model needs three methods. Streaming, typed replies and conversation come with them:
//!
//! ```
//! use ropewalk_core::schemars::{self, JsonSchema};
//! use ropewalk_core::{
//!     ChatModel, ChatModelExt, ChatRequest, ChatResponse, Message, Result, async_trait,
//! };
//! use serde::Deserialize;
//!
//! /// Answers with what was said last.
//! struct Echo;
//!
//! #[async_trait]
//! impl ChatModel for Echo {
//!     fn provider(&self) -> &str { "demo" }
//!     fn model(&self) -> &str { "echo-1" }
//!
//!     async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
//!         request.validate()?;
//!         let last = request.messages.last().map(Message::text).unwrap_or_default();
//!         Ok(ChatResponse::new("demo", "echo-1", Message::assistant(last)))
//!     }
//! }
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct City { name: String }
//!
//! # futures_executor::block_on(async {
//! assert_eq!(Echo.ask("hello").await?, "hello");
//! assert_eq!(Echo.ask_stream("hello").await?.collect().await?.text(), "hello");
//! let city: City = Echo.extract(r#"{"name": "Oslo"}"#).await?;
//! assert_eq!(city.name, "Oslo");
//! # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! | --- | --- |
//! | what is said | [`Message`], [`Part`], [`Media`], [`ToolCall`], [`ToolResult`] |
//! | what is asked | [`ChatRequest`], [`Options`], [`ToolSpec`], [`ResponseFormat`] |
//! | what comes back | [`ChatResponse`], [`Usage`], [`FinishReason`], [`Warning`], [`Error`] |
//! | piece by piece | [`ChatStream`], [`StreamEvent`], [`StreamAssembler`], [`WireDelta`] |
//! | abilities of models | [`ChatModel`], [`EmbeddingModel`], [`ImageModel`], [`SpeechModel`], [`TranscriptionModel`], [`ModerationModel`], [`RerankModel`] |
//! | typed replies | [`ChatModelExt::extract`], [`ExtractOptions`] |
//! | tools | [`Tool`], [`tool_fn`], [`ToolContext`], [`SchemaDialect`] |
//! | where crates meet | [`TokenCounter`], [`Pricing`], [`Retriever`], [`ChatHistory`], [`Progress`] |
//!
//! # Laws
//!
//! - `stream().collect()` equals `chat()`; exactly one [`StreamEvent::Finished`], last; a stream
//!   that ends early is [`ErrorKind::Truncated`] and carries what came.
//! - No option is dropped silently: see [`OnUnsupported`] and [`ChatResponse::warnings`].
//! - Lenient inbound, strict outbound: see [`Message`].
//! - Unknown counts are `None`, never zero: see [`Usage`].
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `testing` | no | `testing`: a scripted model, conformance suites, the data-directory helper |
//! | `full` | no | all of the above |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod assembler;
mod chat;
mod counter;
mod delta;
mod embed;
mod error;
mod extract;
mod failure;
mod forward;
mod history;
mod image;
mod json_text;
mod media;
mod message;
mod moderate;
mod part;
mod pricing;
mod progress;
mod redact;
mod reply;
mod request;
mod rerank;
mod response;
mod retriever;
mod schema;
mod source;
mod speech;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod tool;
mod transcribe;
mod validate;

pub use assembler::StreamAssembler;
pub use chat::{Capabilities, ChatModel, ChatModelExt, DynChatModel};
pub use counter::{CharsPerToken, TokenCounter};
pub use delta::WireDelta;
pub use embed::{
    DynEmbeddingModel, EmbedKind, EmbedRequest, EmbedResponse, EmbeddingModel, EmbeddingModelExt,
};
pub use error::{BoxError, Error, ErrorKind, Result};
pub use extract::{ExtractMode, ExtractOptions, ExtractPlan, Extracted};
pub use failure::HttpFailure;
pub use history::{ChatHistory, DynChatHistory};
pub use image::{DynImageModel, ImageModel, ImageRequest, ImageResponse};
pub use media::{Audio, Media, MediaSource};
pub use message::{Content, Message, Role};
pub use moderate::{
    DynModerationModel, ModerateRequest, ModerateResponse, Moderation, ModerationModel,
};
pub use part::{CacheHint, Part, Reasoning, ToolCall, ToolResult};
pub use pricing::{DynPricing, Pricing};
pub use progress::{DynProgress, NoProgress, Progress, ProgressEvent};
pub use redact::{redact, redact_exact};
pub use request::{ChatRequest, Effort, OnUnsupported, Options, ResponseFormat, ToolChoice};
pub use rerank::{DynRerankModel, Ranked, RerankModel, RerankRequest, RerankResponse};
pub use response::{ChatResponse, FinishReason, Timing, TokenLogprob, Usage, Warning};
pub use retriever::{DynRetriever, Passage, Retriever, Source, Trust};
pub use schema::SchemaDialect;
pub use speech::{DynSpeechModel, SpeechModel, SpeechRequest, SpeechResponse, SpeechStream};
pub use stream::{ChatStream, StreamEvent};
pub use tool::{
    DynTool, Effect, Extensions, FnTool, Tool, ToolContext, ToolError, ToolOutput, ToolSpec,
    parse_arguments, tool_fn,
};
pub use transcribe::{
    DynTranscriptionModel, Segment, TranscribeRequest, Transcript, TranscriptionModel,
};

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use http;
pub use schemars;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
