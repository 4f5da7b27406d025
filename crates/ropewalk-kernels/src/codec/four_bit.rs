//! NF4 and FP4: 4-bit indices into 16 values, one f32 scale per block.
//!
//! Values are coded in the order they lie in, block after block; the last block may be short.
//! The scale of a block is its largest magnitude. `packed` holds two indices per byte, the first
//! in the high half; an odd last value leaves the index of zero behind it.
#![allow(unsafe_code, reason = "threads write disjoint blocks of one output")]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{block_size, finite, length, lookup, share};
use crate::shared::Shared;
use crate::simd::{Kernel, LANES, Lanes, dispatch};
use crate::{Error, Isa, Pool};

/// Values of one unit of work; a multiple of every block size.
const SPAN: usize = 1 << 14;
/// What bitsandbytes takes for the scale of a block of zeros.
const TINY: f32 = 1e-38;

/// The NF4 values, ascending (`get_4bit_type` in bitsandbytes' `functional.py`).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The FP4 values by index: a sign, two bits of exponent, one of mantissa, divided by 12.
const FP4: [f32; 16] = {
    let mut table = [
        0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0, 0.0, -0.0625, -8.0, -12.0, -4.0, -6.0, -2.0,
        -3.0,
    ];
    let mut i = 0;
    while i < 16 {
        table[i] /= 12.0;
        i += 1;
    }
    table
};

/// The FP4 indices in ascending order of their values.
const FP4_ORDER: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];

/// A 4-bit code of bitsandbytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FourBit {
    /// Quantiles of the normal distribution.
    Nf4,
    /// A sign, two bits of exponent, one of mantissa.
    Fp4,
}

impl FourBit {
    /// Returns the 16 values by index.
    #[must_use]
    pub fn table(self) -> &'static [f32; 16] {
        match self {
            Self::Nf4 => &NF4,
            Self::Fp4 => &FP4,
        }
    }

    /// Returns the name in checkpoints: `nf4` or `fp4`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
        }
    }

    /// Returns the 15 midpoints between ascending values: an index is the number of midpoints
    /// that lie below, so ties go down.
    fn bounds(self) -> [f32; 15] {
        let at = |i: usize| match self {
            Self::Nf4 => NF4[i],
            Self::Fp4 => FP4[usize::from(FP4_ORDER[i])],
        };
        std::array::from_fn(|i| (at(i) + at(i + 1)) / 2.0)
    }

    /// Codes `values` in blocks of `block`.
    ///
    /// `x * (1 / max(scale, 1e-38))` is compared with the midpoints; in a short last block
    /// `x / max(scale, 1e-38)`, and that scale is kept at 1e-38 at least (as bitsandbytes has it).
    ///
    /// # Shapes
    /// - `packed`: `values.len().div_ceil(2)`; `scales`: `values.len().div_ceil(block)`
    ///
    /// # Errors
    /// [`Error::BlockSize`], [`Error::Length`], [`Error::NotFinite`] for a NaN or an infinity.
    pub fn quantize(
        self,
        isa: Isa,
        pool: Option<&Pool>,
        block: usize,
        values: &[f32],
        packed: &mut [u8],
        scales: &mut [f32],
    ) -> Result<(), Error> {
        block_size(block)?;
        length("4-bit codes", packed.len(), values.len().div_ceil(2))?;
        length("4-bit scales", scales.len(), values.len().div_ceil(block))?;
        let bounds = self.bounds();
        let (codes, absmax) = (Shared(packed.as_mut_ptr()), Shared(scales.as_mut_ptr()));
        let bad = AtomicUsize::new(usize::MAX);
        share(pool, values.len().div_ceil(SPAN), &|span| {
            let values = &values[span * SPAN..values.len().min((span + 1) * SPAN)];
            // SAFETY: a span is whole bytes and whole blocks, which this call alone writes; the
            // lengths were checked above.
            let (codes, absmax) = unsafe {
                (
                    std::slice::from_raw_parts_mut(
                        codes.at(span * SPAN / 2),
                        values.len().div_ceil(2),
                    ),
                    std::slice::from_raw_parts_mut(
                        absmax.at(span * SPAN / block),
                        values.len().div_ceil(block),
                    ),
                )
            };
            let finite = dispatch(
                isa,
                Quantize {
                    bounds: &bounds,
                    block,
                    values,
                    codes,
                    absmax,
                },
            );
            if !finite {
                bad.fetch_min(span, Ordering::Relaxed);
            }
            if self == Self::Fp4 {
                for byte in codes {
                    let (high, low) = (usize::from(*byte >> 4), usize::from(*byte & 15));
                    *byte = FP4_ORDER[high] << 4 | FP4_ORDER[low];
                }
            }
        });
        match bad.into_inner() {
            usize::MAX => Ok(()),
            _ => finite("4-bit input", values),
        }
    }

    /// Writes `table()[index] * scale` for every value, in f32.
    ///
    /// # Shapes
    /// - `packed`: `out.len().div_ceil(2)`; `scales`: `out.len().div_ceil(block)`
    ///
    /// # Errors
    /// [`Error::BlockSize`], [`Error::Length`].
    pub fn dequantize(
        self,
        isa: Isa,
        pool: Option<&Pool>,
        block: usize,
        packed: &[u8],
        scales: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        block_size(block)?;
        length("4-bit codes", packed.len(), out.len().div_ceil(2))?;
        length("4-bit scales", scales.len(), out.len().div_ceil(block))?;
        let (n, start) = (out.len(), Shared(out.as_mut_ptr()));
        let isa = isa.usable();
        share(pool, n.div_ceil(SPAN), &|span| {
            let first = span * SPAN;
            let len = SPAN.min(n - first);
            // SAFETY: the values of this span, which this call alone writes.
            let out = unsafe { std::slice::from_raw_parts_mut(start.at(first), len) };
            let packed = &packed[first / 2..][..len.div_ceil(2)];
            lookup::blocks(
                isa,
                self.table(),
                block,
                packed,
                &scales[first / block..],
                out,
            );
        });
        Ok(())
    }
}

/// Codes blocks; returns whether all values are finite.
struct Quantize<'a> {
    bounds: &'a [f32; 15],
    block: usize,
    values: &'a [f32],
    codes: &'a mut [u8],
    absmax: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        let mut all = true;
        let blocks = self.values.chunks(self.block);
        let outputs = self.codes.chunks_mut(self.block / 2).zip(self.absmax);
        for (values, (codes, absmax)) in blocks.zip(outputs) {
            // SAFETY: the tier is the caller's promise.
            unsafe {
                let (max, finite) = extent::<L>(values);
                all &= finite;
                let short = values.len() < self.block;
                *absmax = if short { max.max(TINY) } else { max };
                code::<L>(self.bounds, max.max(TINY), short, values, codes);
            }
        }
        all
    }
}

/// Returns the largest magnitude and whether all values are finite.
#[inline(always)]
unsafe fn extent<L: Lanes>(values: &[f32]) -> (f32, bool) {
    // SAFETY: loads stay inside the slice; the tier is the caller's promise.
    unsafe {
        let mut max = L::splat(0.0);
        // x - x is zero for finite x only.
        let mut rest = L::splat(0.0);
        for part in values.chunks(LANES) {
            let x = L::load_part(part.as_ptr(), part.len());
            max = x.abs().max(max);
            rest = rest.add(x.sub(x));
        }
        (max.maximum(), rest.sum() == 0.0)
    }
}

/// Writes the indices of a block.
#[inline(always)]
unsafe fn code<L: Lanes>(
    bounds: &[f32; 15],
    scale: f32,
    short: bool,
    values: &[f32],
    codes: &mut [u8],
) {
    // SAFETY: loads stay inside the slice; the tier is the caller's promise.
    unsafe {
        let factor = L::splat(if short { scale } else { 1.0 / scale });
        for (values, codes) in values.chunks(2 * LANES).zip(codes.chunks_mut(LANES)) {
            let low = values.len().min(LANES);
            let a = L::load_part(values.as_ptr(), low);
            let b = L::load_part(values.as_ptr().wrapping_add(low), values.len() - low);
            let (even, odd) = a.deinterleave(b);
            let (even, odd) = if short {
                (even.div(factor), odd.div(factor))
            } else {
                (even.mul(factor), odd.mul(factor))
            };
            let (zero, one, sixteen) = (L::splat(0.0), L::splat(1.0), L::splat(16.0));
            let mut index = zero;
            for &bound in bounds {
                let bound = L::splat(bound);
                index = index.add(even.select_gt(bound, sixteen, zero));
                index = index.add(odd.select_gt(bound, one, zero));
            }
            let mut line = [0.0; LANES];
            index.store(line.as_mut_ptr());
            for (byte, index) in codes.iter_mut().zip(line) {
                *byte = index as u8;
            }
        }
    }
}
