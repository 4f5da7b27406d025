//! The weight codecs of bitsandbytes: 4-bit blocks ([`four_bit`]), 8-bit blocks for their scales
//! ([`dynamic`]) and 8-bit rows ([`int8`]).
//!
//! Slices in, slices out; one implementation for inference and training. Codes and scales are
//! those that bitsandbytes 0.50 computes with its portable kernels, bit for bit, and dequantised
//! values are equal bit for bit; each function says where its formula comes from. A pool, if one
//! is given, shares the work; results do not depend on it. All functions take linear time.
//!
//! | code | bits per value | block | reference |
//! | --- | --- | --- | --- |
//! | NF4, FP4 | 4 + 32 / block | 32 to 4,096 values | `bitsandbytes::quantize_4bit` |
//! | NF4, FP4 with double quantisation | 4 + 8 / block + 32 / (256 block) | the same | `compress_statistics=True` |
//! | int8 | 8 + 32 / columns | a row | `bitsandbytes::int8_vectorwise_quant` |
//!
//! ```
//! use ropewalk_kernels::Isa;
//! use ropewalk_kernels::codec::{DoubleScales, FourBit};
//!
//! let weights: Vec<f32> = (0..128).map(|i| (i as f32 * 0.37).sin()).collect();
//! let (mut packed, mut scales) = (vec![0; 64], vec![0.0; 2]);
//! FourBit::Nf4.quantize(Isa::best(), None, 64, &weights, &mut packed, &mut scales)?;
//!
//! // Scales may be coded once more, to 8 bits.
//! let scales = DoubleScales::quantize(&scales)?.dequantize();
//!
//! let mut back = vec![0.0; 128];
//! FourBit::Nf4.dequantize(Isa::best(), None, 64, &packed, &scales, &mut back)?;
//! assert!(weights.iter().zip(&back).all(|(a, b)| (a - b).abs() < 0.16));
//! # Ok::<(), ropewalk_kernels::Error>(())
//! ```

pub mod dynamic;
#[cfg(target_arch = "x86_64")]
mod few;
pub mod four_bit;
pub mod int8;
mod lookup;
pub(crate) mod tiles;

pub use dynamic::DoubleScales;
pub use four_bit::FourBit;

use crate::{Error, Pool};

/// Smallest and largest block of [`four_bit`] and [`dynamic`].
const BLOCKS: std::ops::RangeInclusive<usize> = 32..=4096;

/// Checks the size of a block.
fn block_size(block: usize) -> Result<(), Error> {
    if block.is_power_of_two() && BLOCKS.contains(&block) {
        Ok(())
    } else {
        Err(Error::BlockSize { found: block })
    }
}

/// Checks the length of an operand.
fn length(what: &'static str, found: usize, needed: usize) -> Result<(), Error> {
    if found == needed {
        Ok(())
    } else {
        Err(Error::Length {
            what,
            needed,
            found,
        })
    }
}

/// Refuses a value that is not finite, with its place.
fn finite(what: &'static str, values: &[f32]) -> Result<(), Error> {
    // Without an early exit this becomes vector code.
    if values.iter().fold(true, |all, x| all & x.is_finite()) {
        return Ok(());
    }
    let index = values.iter().position(|x| !x.is_finite());
    let index = index.unwrap_or_default();
    Err(Error::NotFinite { what, index })
}

/// Runs `task` on `0..n`, with the pool if there is one.
fn share(pool: Option<&Pool>, n: usize, task: &(dyn Fn(usize) + Sync)) {
    match pool {
        Some(pool) => pool.run(n, task),
        None => (0..n).for_each(task),
    }
}
