//! Making a quantised file of a model file, as `llama-quantize` does, and cutting files in parts.

mod code;
mod parts;
mod plan;
mod rules;
mod run;

pub use parts::{SplitPlan, merge, split};
pub use plan::{QuantizePlan, Target};
pub use run::{Progress, Summary, requantize};
