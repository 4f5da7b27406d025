//! Language-model APIs behind the traits of [`ropewalk_core`].
//!
//! A model is made of a name, or of its provider by hand. Both are a
//! [`ChatModel`](ropewalk_core::ChatModel), so what is written for one works for all, and for models
//! in this process.
//!
//! ```no_run
//! use ropewalk_core::{ChatModelExt, Result};
//! use ropewalk_providers::{Anthropic, OpenAi, connect, presets};
//!
//! # async fn f() -> Result<()> {
//! let by_name = connect("groq/openai/gpt-oss-20b")?; // the key is in GROQ_API_KEY
//! let claude = Anthropic::new("sk-ant-…")?.chat("claude-haiku-4-5");
//! let own = OpenAi::compatible(presets::VLLM, "http://gpu-box:8000/v1", None)?.chat("qwen3");
//! println!("{}", by_name.ask("What is a ropewalk?").await?);
//! println!("{}", claude.ask("What is a ropewalk?").await?);
//! println!("{}", own.ask("What is a ropewalk?").await?);
//! # Ok(()) }
//! ```
//!
//! # Which provider can do what
//!
//! | provider | made by | chat | embeddings | more |
//! | --- | --- | --- | --- | --- |
//! | OpenAI | [`OpenAi`] | Chat Completions, Responses | yes | images, speech, transcription, moderation, files, fine-tuning, [batches](batch), token counts |
//! | Anthropic | [`Anthropic`] | Messages | | batches, token counts |
//! | Gemini | [`Gemini`] | generateContent | yes | token counts |
//! | Ollama | [`Ollama`] | /api/chat | yes | pulling models |
//! | compatible servers | [`OpenAi::compatible`], [`presets`] | Chat Completions | where the server has them | as the server has them |
//! | text-generation-inference | [`Tgi`] | /generate | | token details |
//! | Vertex AI | `Vertex` (feature `vertex`) | Gemini, Claude | | |
//! | Bedrock | `Bedrock` (feature `bedrock`) | Converse | | bearer keys, signatures |
//! | Cohere, Jina, Voyage, TEI | [`RemoteRerank`] | | | ranking |
//!
//! # Models around models
//!
//! | for | see |
//! | --- | --- |
//! | another model when one fails | [`Fallback`] |
//! | requests and tokens per minute | [`RateLimit`] |
//! | equal requests answered once | [`Cache`] |
//! | tokens, cost, a budget | [`Meter`], [`PriceTable`] |
//! | exchanges written down and played back | [`Record`], [`Replay`] |
//! | spans with OpenTelemetry's names | [`Traced`]; the models of this crate open them themselves |
//!
//! # How it works
//!
//! A [`Wire`] turns a request into JSON and frames into deltas, without I/O; an [`Endpoint`] knows
//! address, key and HTTP client; [`RemoteChat`] is both together. A server that speaks OpenAI's
//! language is a [`Dialect`], a value. What a wire cannot express is a warning or an error
//! ([`OnUnsupported`](ropewalk_core::OnUnsupported)), never silence.
//!
//! Keys are in no `Debug` output, error or trace. The environment is read by functions named
//! `from_env` and by [`connect`], a `.env` file by [`Settings::with_env_file`] alone.
//!
//! Everything here was tested on doubles, on the official SDKs' types and on local servers. No key
//! was at hand to run it against the services themselves.
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `rustls` | yes | TLS by rustls |
//! | `native-tls` | no | TLS by the platform's library |
//! | `bedrock` | no | Amazon Bedrock |
//! | `vertex` | no | Vertex AI |
//! | `tiktoken` | no | `Tiktoken`, which counts tokens as OpenAI's models do |
//! | `full` | no | `bedrock`, `rustls`, `tiktoken`, `vertex` |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod abilities;
mod anthropic;
pub mod batch;
#[cfg(feature = "bedrock")]
mod bedrock;
mod chat;
mod connect;
mod decorate;
mod dialect;
mod endpoint;
mod fnv;
mod gemini;
mod key;
mod model_info;
mod native;
mod ollama;
mod openai;
pub mod presets;
mod price;
pub mod resources;
mod settings;
mod sniff;
mod tgi;
#[cfg(feature = "tiktoken")]
mod tiktoken;
#[cfg(feature = "vertex")]
mod vertex;
pub mod wire;

pub use abilities::{
    RemoteEmbeddings, RemoteImages, RemoteModeration, RemoteRerank, RemoteSpeech,
    RemoteTranscription,
};
pub use anthropic::{
    Anthropic, AnthropicBatches, AnthropicWire, BatchCounts, BatchRow, BatchStatus, MessageBatch,
    Thinking,
};
#[cfg(feature = "bedrock")]
pub use bedrock::{AwsCredentials, Bedrock, ConverseWire, SigV4Transport};
pub use chat::RemoteChat;
pub use connect::{ProviderStatus, Registry, connect};
pub use decorate::{
    Cache, CacheStore, DirStore, Fallback, MemoryStore, Meter, Metered, RateLimit, Record, Replay,
    Totals, Traced,
};
pub use dialect::{Dialect, EffortStyle, JsonSupport, SystemRole};
pub use endpoint::{Auth, Endpoint};
pub use gemini::{Gemini, GeminiEmbeddings, GeminiThinking, GeminiWire};
pub use key::{ApiKey, KeyDiagnosis};
pub use model_info::ModelInfo;
pub use ollama::{Ollama, OllamaModel, OllamaTag, OllamaWire};
pub use openai::{ChatWire, OpenAi, ResponsesWire};
pub use price::{Price, PriceTable};
pub use settings::Settings;
pub use tgi::{Tgi, TgiOutput, TgiWire};
#[cfg(feature = "tiktoken")]
pub use tiktoken::Tiktoken;
#[cfg(feature = "vertex")]
pub use vertex::{TokenSource, Vertex, VertexChat};
pub use wire::{Call, Decoder, Notes, Wire};
