//! How well a model predicts a text, how far one model is from another, and which of its columns
//! a text uses.
//!
//! | function | what it measures | program that reports the same |
//! | --- | --- | --- |
//! | [`perplexity`] | how well the next tokens are predicted | `llama-perplexity`, the guide of `transformers` |
//! | [`divergence`], [`save_logits`] and [`divergence_from`] | how far predictions are from those of another model | `llama-perplexity --kl-divergence` |
//! | [`importance`] | how large the activations are that each column of a weight multiplies | `llama-imatrix` |
//!
//! Texts are token ids; a tokenizer makes them. Every function reports after each window and ends
//! with [`Error::Cancelled`](crate::Error::Cancelled) when told to stop.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use ropewalk_local::eval::{EvalOptions, perplexity};
//! # use std::sync::Arc;
//! # use ropewalk_local::{LoadOptions, Model};
//! # use ropewalk_spec::{ModelSpec, testing::{Seeded, prompt}};
//! # let config = serde_json::json!({
//! #     "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 64,
//! #     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
//! #     "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
//! # });
//! # let spec = ModelSpec::from_hf(&config)?;
//! # let weights = Arc::new(Seeded::new(spec.clone(), 7).source());
//! # let model = Model::from_parts(spec, weights, &LoadOptions::default())?;
//! # let ids = prompt(1, 200, 320);
//! let options = EvalOptions::new().with_context(64);
//! let result = perplexity(&model, &ids, &options, |progress| {
//!     println!("{}/{}: {:.2}", progress.done, progress.windows, progress.so_far.value());
//!     ControlFlow::Continue(())
//! })?;
//! // Of 64 tokens the second half is scored, all but the first of it.
//! assert_eq!((result.windows, result.tokens), (3, 3 * 31));
//! println!("perplexity {:.3} ± {:.3}", result.value(), result.value_error());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod divergence;
mod importance;
mod logits_file;
mod perplexity;
mod windows;

pub use divergence::{Distribution, Divergence, divergence, divergence_from};
pub use importance::importance;
pub use logits_file::save_logits;
pub use perplexity::{Perplexity, Progress, perplexity};
pub use windows::{EvalOptions, Scoring};
