//! Tokenizers (tokenizer.json, GGUF vocabularies), chat templates, tool-call parsing and token budgets.

mod alphabet;
mod encoding;
mod error;
mod files;
mod json;
mod metadata;
mod native;
mod pre;
mod stream;
pub mod template;
mod tokenizer;
pub mod tool_calls;
mod train;
mod unicode;

pub use encoding::{BatchOptions, EncodeOptions, Encoding, Padding, Side};
pub use error::{BoxError, Error, Result};
pub use metadata::VocabMetadata;
pub use pre::PreTokenizer;
pub use stream::DecodeStream;
pub use tokenizer::Tokenizer;
pub use train::{BpeTrainOptions, TrainedBpe, train_bpe};
