//! Language-model APIs behind the traits of `ropewalk-core`.

pub mod abilities;
mod anthropic;
#[cfg(feature = "bedrock")]
mod bedrock;
pub mod batch;
mod chat;
mod connect;
mod decorate;
mod dialect;
mod endpoint;
mod gemini;
mod key;
mod model_info;
mod native;
mod ollama;
mod openai;
mod price;
pub mod presets;
mod settings;
#[cfg(feature = "tiktoken")]
mod tiktoken;
mod tgi;
pub mod resources;
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
#[cfg(feature = "tiktoken")]
pub use tiktoken::Tiktoken;
pub use tgi::{Tgi, TgiOutput, TgiWire};
#[cfg(feature = "vertex")]
pub use vertex::{TokenSource, Vertex, VertexChat};
pub use wire::{Call, Decoder, Notes, Wire};
