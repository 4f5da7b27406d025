//! Tokenizers, chat templates, tool calls in text, and token budgets.
//!
//! The crate turns text into the ids a model reads and ids back into text, byte for byte as the model's
//! own library does. It exists so that the engines, trainers and memories of ropewalk share one
//! [`Tokenizer`], whatever file a vocabulary came in. It downloads nothing and knows no tensor format:
//! the reader of a GGUF file lends its metadata through [`VocabMetadata`].
//!
//! ```
//! use ropewalk_tokens::{BpeTrainOptions, Side, train_bpe};
//!
//! // Train a small vocabulary; `Tokenizer::from_file`, `from_dir` and `from_metadata` load finished ones.
//! let mut options = BpeTrainOptions::default();
//! options.vocab_size = 300;
//! options.special_tokens = vec!["<|im_start|>".to_owned(), "<|im_end|>".to_owned()];
//! let trained = train_bpe(["a ticket to Paris, a ticket to London", "the ticket"], &options)?;
//! let tokenizer = trained.tokenizer()?;
//!
//! let ids = tokenizer.encode("<|im_start|>a ticket 🦙<|im_end|>", false)?;
//! assert_eq!(tokenizer.decode(&ids, true)?, "a ticket 🦙");
//! assert!(tokenizer.end_ids().contains(&ids[ids.len() - 1]));
//!
//! // Ids that arrive one by one give text as soon as its characters are complete.
//! let mut stream = tokenizer.decode_stream(true);
//! let mut text = String::new();
//! for id in ids {
//!     text.extend(stream.push(id)?);
//! }
//! assert_eq!(text + &stream.finish(), "a ticket 🦙");
//!
//! // Cut to a budget without splitting a character.
//! assert_eq!(tokenizer.truncate_to_tokens("a ticket 🦙", 2, Side::Right)?, "a ticket");
//! # Ok::<(), ropewalk_tokens::Error>(())
//! ```
//!
//! # Where vocabularies come from
//!
//! | source | loaded by | run by |
//! | --- | --- | --- |
//! | `tokenizer.json`, model directories | [`Tokenizer::from_file`], [`Tokenizer::from_dir`] | the `tokenizers` library |
//! | directories with `vocab.json` and `merges.txt` | [`Tokenizer::from_dir`] | the `tokenizers` library |
//! | directories with `tokenizer.model` (SentencePiece) | [`Tokenizer::from_dir`] | this crate |
//! | GGUF: `gpt2`, `llama`, `gemma4` | [`Tokenizer::from_metadata`] | this crate |
//! | GGUF: `bert` | [`Tokenizer::from_metadata`] | the `tokenizers` library |
//! | tiktoken rank files | [`Tokenizer::from_tiktoken`] | this crate |
//! | texts | [`train_bpe`] | this crate trains, `tokenizers` runs |
//!
//! [`Tokenizer::export`] gives a vocabulary as the keys of a GGUF file.
//!
//! [`PreTokenizer`] names the families of splitting rules, [`template`] renders chat templates,
//! [`tool_calls`] takes tool calls out of an answer, [`reasoning`] what a model thinks before it.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `full` | everything; nothing is optional at present |

mod alphabet;
mod encoding;
mod error;
mod export;
mod files;
mod json;
mod legacy;
mod metadata;
mod native;
mod pair;
mod pre;
pub mod reasoning;
mod sentencepiece;
mod stream;
pub mod template;
mod tokenizer;
pub mod tool_calls;
mod train;
mod unicode;

pub use encoding::{BatchOptions, EncodeOptions, Encoding, Padding, Side};
pub use error::{BoxError, Error, Result};
pub use export::{VocabExport, VocabValue};
pub use metadata::VocabMetadata;
pub use pair::PairEncoding;
pub use pre::PreTokenizer;
pub use stream::DecodeStream;
pub use tokenizer::Tokenizer;
pub use train::{BpeTrainOptions, TrainedBpe, train_bpe};
