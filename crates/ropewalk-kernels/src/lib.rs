//! CPU kernels for language models: packed quantised matrix products, attention, norms, thread pool
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acts;
pub mod attention;
mod bandwidth;
mod buffer;
mod dense;
mod error;
mod f16;
mod isa;
mod matmul;
mod matrix;
mod micro;
pub mod ops;
mod pool;
mod quant;
mod scratch;
mod sgemm;
mod simd;
mod sys;
#[cfg(test)]
mod testing;

pub use acts::Acts;
pub use bandwidth::{ReadStream, bandwidth};
pub use error::Error;
pub use isa::Isa;
pub use matmul::{Job, matmul};
pub use matrix::{Matrix, Source};
pub use pool::Pool;
pub use quant::Format;
pub use sgemm::{sgemm, sgemm_batched};
