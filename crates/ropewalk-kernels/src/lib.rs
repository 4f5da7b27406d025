//! CPU kernels for language models: packed quantised matrix products, attention, norms, thread pool

mod error;
mod isa;
mod micro;
mod pool;
mod sgemm;
#[cfg(test)]
mod testing;

pub use error::Error;
pub use isa::Isa;
pub use pool::Pool;
pub use sgemm::{sgemm, sgemm_batched};
