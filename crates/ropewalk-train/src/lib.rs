//! Trains small language models of the Llama family from scratch, on a CPU, with results that repeat to the bit.
//!
//! candle's automatic differentiation records what happened; the operations are our own, because candle's fused norms,
//! softmax and rotary embedding have no backward pass and cut the gradient without an error. Each operation here is
//! checked against finite differences, and losses, gradients and AdamW updates of a whole model against PyTorch.
//!
//! - [`Lm`] is the model, [`LmConfig`] its shape; [`Lm::save_gguf`] and [`Lm::save_hf`] export it.
//! - [`BatchSource`] makes the documents of an update from its number alone; [`Batch`] packs them so that attention never
//!   crosses a document.
//! - [`Trainer`] makes updates, writes JSON-lines metrics and checkpoints. A run that was killed and resumed ends in the
//!   same bytes as one that was not, for any number of threads.
//!
//! ```
//! use ropewalk_train::{BatchSource, Compute, Doc, Lm, LmConfig, Result, TrainConfig, Trainer};
//!
//! /// Counts to four, again and again.
//! struct Counting;
//!
//! impl BatchSource for Counting {
//!     fn docs(&self, step: u64) -> Result<Vec<Doc>> {
//!         let ids: Vec<u32> = (0..20).map(|i| (i + step as u32) % 4).collect();
//!         Ok(vec![Doc::new(ids, vec![1.0; 20])])
//!     }
//!     fn fingerprint(&self) -> u64 {
//!         4
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let shape = LmConfig::tiny(4).with_width(16, 32).with_layers(1).with_heads(2, 1, 8);
//! let model = Lm::new(shape, 1, Compute::new(1))?;
//! let mut trainer = Trainer::new(model, TrainConfig::new(1, 1e-2, 5, 60), &Counting);
//! while !trainer.finished() {
//!     trainer.advance(&Counting)?;
//! }
//! assert_eq!(trainer.model().greedy(&[vec![2, 3, 0, 1]], 3, u32::MAX)?, [[2, 3, 0]]);
//! # Ok(()) }
//! ```
//!
//! candle's own elementwise loops wait for each other by spinning; on a busy machine training is a quarter faster with
//! `CANDLE_NUM_THREADS=1` in the environment, and no result changes.
//!
//! # Features
//!
//! | feature | means |
//! | --- | --- |
//! | `full` | every portable feature (at present there is none beyond the default) |

mod batch;
mod checkpoint;
mod compute;
mod decode;
mod error;
mod export;
mod math;
mod model;
mod ops;
mod optim;
mod rng;
#[cfg(test)]
mod tests;
mod trainer;

pub use batch::{Batch, BatchSource, Doc};
pub use compute::Compute;
pub use error::{Result, TrainError};
pub use export::ExportVocab;
pub use model::{Lm, LmConfig, Param};
pub use optim::{AdamW, AdamWConfig, Schedule, clip_factor};
pub use rng::Rng;
pub use trainer::{StepReport, TrainConfig, Trainer};
