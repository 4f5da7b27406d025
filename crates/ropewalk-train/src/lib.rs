//! Trains small language models from scratch on a CPU.
mod batch;
mod compute;
mod error;
mod math;
mod model;
mod ops;
mod optim;
mod rng;

pub use batch::{Batch, BatchSource, Doc};
pub use compute::Compute;
pub use error::{Result, TrainError};
pub use model::{Lm, LmConfig};
pub use optim::{AdamW, AdamWConfig, Schedule, clip_factor};
pub use rng::Rng;
