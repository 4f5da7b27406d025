//! Trains small language models from scratch on a CPU.
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
pub use export::ExportVocab;
pub use error::{Result, TrainError};
pub use model::{Lm, LmConfig, Param};
pub use optim::{AdamW, AdamWConfig, Schedule, clip_factor};
pub use rng::Rng;
pub use trainer::{StepReport, TrainConfig, Trainer};
