//! Local language models on the CPU: ids in, logits, ids or chat out.
//!
//! One decoder runs every family that [`ropewalk_spec`] describes, from GGUF files and from
//! Hugging Face directories, on the kernels of [`ropewalk_kernels`]. There are three levels, each
//! built on the one before:
//!
//! 1. [`Model`]: token ids in, logits out. No tokenizer, no async runtime.
//! 2. [`Generation`] and [`generate_n`]: token ids in, token ids out, with a [`sample`] chain.
//! 3. [`LocalModel`]: messages in, messages out; a [`ropewalk_core::ChatModel`] with chat template,
//!    streaming, stop strings and tool calls.
//!
//! ```no_run
//! use ropewalk_core::ChatModelExt;
//! use ropewalk_local::LocalModel;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let model = LocalModel::open("model.gguf")?;
//! println!("{}", model.ask("What is a ropewalk?").await?);
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | feature | means |
//! | --- | --- |
//! | `full` | every portable feature (at present there is none beyond the default) |

mod cache;
mod chat;
mod decoder;
mod error;
mod generate;
mod load;
mod model;
mod rope;
mod rows;
pub mod sample;
mod stop;
mod vocab;

pub use cache::{Cache, CacheType};
pub use chat::{LocalModel, PROVIDER, Reply};
pub use error::{Error, Result};
pub use generate::{Finish, GenerateOptions, Generation, Output, Timings, generate_n};
pub use model::{LoadOptions, LoadProgress, Model, Step};
pub use stop::StopStrings;
pub use vocab::gguf_tokenizer;
