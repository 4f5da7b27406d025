//! CPU kernels for language models: packed quantised matrix products, attention, norms and the
//! thread pool that runs them.
//!
//! The crate exists so that a model runs close to the limits of the machine: generating a token
//! reads every weight once, so it should take as long as reading them takes ([`bandwidth`]), and a
//! prompt should keep the integer units busy. It works on slices, knows no file format and no
//! model, and depends on nothing but `thiserror`.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use ropewalk_kernels::{Acts, Format, Isa, Job, Matrix, Pool, matmul};
//!
//! let pool = Pool::new(NonZeroUsize::new(2).unwrap());
//! let isa = Isa::best();
//! // A 4-bit matrix of 40 rows and 256 columns, as it would lie in a model file.
//! let file = vec![0x11; 40 * Format::Q4_K.row_bytes(256)?];
//! let weights = Matrix::pack(isa, Format::Q4_K, &file, 40, 256, &pool)?;
//!
//! // Three rows of activations, quantised once for all matrices that share them.
//! let mut acts = Acts::new();
//! acts.prepare(&pool, isa, &[0.5; 3 * 256], 3, 256, &[&weights])?;
//! let mut out = vec![0.0; 3 * 40];
//! matmul(&pool, &acts, &mut [Job::new(&weights, &mut out)])?;
//! assert!(out.iter().all(|&x| x == out[0]));
//! # Ok::<(), ropewalk_kernels::Error>(())
//! ```
//!
//! - [`Isa`] is the instruction-set tier, a run-time value; [`Pool`] the threads.
//! - [`Matrix`] holds weights of one [`Format`], [`Acts`] activations, [`matmul`] multiplies them.
//! - [`codec`] has the 4-bit and 8-bit codes of bitsandbytes.
//! - [`attention`] and [`ops`] are what a decoder needs besides, [`bidirectional`] what an encoder
//!   needs; [`sgemm`] what training needs.
//! - [`bandwidth`] and [`ReadStream`] measure the memory.
//!
//! **Exactness.** Activations are quantised to 8 bits in the blocks of the weight format (256 or
//! 32 values); the integer arithmetic that follows is exact and the few f32 operations per block
//! come in one order, so quantised products are equal bit for bit on all tiers. Everything else is
//! bit-identical for any number of threads and rows on one tier.
//!
//! | tier | CPUs | integer products | rows at once |
//! | --- | --- | --- | --- |
//! | `avx512-vnni` | x86-64 with AVX-512 VNNI | `vpdpbusd`, 512 bits | 12 or 8 |
//! | `avx-vnni` | x86-64 with AVX-VNNI | `vpdpbusd`, 256 bits | 4 |
//! | `avx2` | x86-64 with AVX2, FMA and F16C | `vpmaddubsw` | 4 |
//! | `neon-dotprod` | AArch64 with the dot product | `sdot` | 8 |
//! | `neon` | every other AArch64 | `smlal` | 4 |
//! | `scalar` | any | portable code | 1 |
//!
//! The tiers of AArch64 are tested under emulation (`cargo xtask arm` in the repository); their speed
//! has not been measured.
//!
//! | format | bits per weight, file | packed | activations |
//! | --- | --- | --- | --- |
//! | Q4_0, IQ4_NL | 4.5 | 4.5 | blocks of 32 |
//! | Q4_1 | 5.0 | 5.0 | blocks of 32 |
//! | Q5_0 | 5.5 | 5.5 | blocks of 32 |
//! | Q5_1 | 6.0 | 6.0 | blocks of 32 |
//! | Q8_0 | 8.5 | 8.5 | blocks of 32 |
//! | MXFP4 | 4.25 | 4.25 | blocks of 32 |
//! | Q2_K | 2.625 | 2.625 | superblocks of 256 |
//! | Q3_K | 3.4375 | 3.5 | superblocks of 256 |
//! | Q4_K | 4.5 | 4.625 | superblocks of 256 |
//! | Q5_K | 5.5 | 5.625 | superblocks of 256 |
//! | Q6_K | 6.5625 | 6.625 | superblocks of 256 |
//! | IQ4_XS | 4.25 | 4.375 | superblocks of 256 |
//! | F32, F16, BF16 | 32, 16, 16 | 32, 16, 16 | f32 |
//! | NF4, FP4 ([`Matrix::pack_four_bit`]) | 4.5 | 4.5 | f32 |
//! | int8 rows ([`Matrix::pack_int8`]) | 8 | 8.5 | blocks of 32 |
//!
//! The crate has no optional features; `full` is there because every crate of the workspace has it.

#[cfg(target_endian = "big")]
compile_error!(
    "ropewalk-kernels reads little-endian weights in place; it needs a little-endian target"
);

mod acts;
pub mod attention;
mod bandwidth;
pub mod bidirectional;
mod buffer;
pub mod codec;
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
mod shared;
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
pub use sys::give_memory_back;
