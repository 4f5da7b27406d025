//! Quantised activations: 8-bit blocks of 256 or 32 values with their sums.
//!
//! Rows are interleaved in blocks of `width`: word `w` of row `lane` is at `w * width + lane`, so a
//! kernel that multiplies `width` rows reads one stream.
#![allow(
    unsafe_code,
    reason = "interleaved stores through raw pointers, std::arch intrinsics"
)]

use super::{SMALL, SUPER};
use crate::Isa;

/// Words per superblock and row: 64 groups of four values, 4 pairs of sums over 32 values,
/// 8 pairs of sums over 16 values, the scale.
pub(crate) const SUPER_WORDS: usize = 64 + 4 + 8 + 1;
/// First word of the pairs of sums over 32 values.
pub(crate) const SUPER_SUMS32: usize = 64;
/// First word of the pairs of sums over 16 values.
pub(crate) const SUPER_SUMS16: usize = 68;
/// Word of the scale.
pub(crate) const SUPER_SCALE: usize = 76;

/// Words per small block and row: 8 groups of four values, -128 times their sum, the scale, the
/// scale times the sum.
pub(crate) const SMALL_WORDS: usize = 8 + 3;
/// Word of -128 times the sum.
pub(crate) const SMALL_SUM: usize = 8;
/// Word of the scale.
pub(crate) const SMALL_SCALE: usize = 9;
/// Word of the scale times the sum.
pub(crate) const SMALL_SCALED_SUM: usize = 10;
/// Small blocks per row are padded with zeros to a multiple of this.
pub(crate) const SMALL_PADDING: usize = 4;

/// Largest magnitude of a block that is treated as zero.
const TINY: f32 = 1e-30;

/// One quantised block: `x[i] = d * q[i]`, and sums over each 16 values.
#[repr(align(64))]
pub(crate) struct Quantised<const N: usize, const SUMS: usize> {
    pub(crate) q: [i8; N],
    pub(crate) sums: [i16; SUMS],
    pub(crate) d: f32,
}

impl<const N: usize, const SUMS: usize> Quantised<N, SUMS> {
    const ZERO: Self = Self {
        q: [0; N],
        sums: [0; SUMS],
        d: 0.0,
    };
}

/// Returns the scale of a block and its inverse from the bits of the largest magnitude.
fn scale(magnitude: u32) -> (f32, f32) {
    let max = f32::from_bits(magnitude);
    if !max.is_finite() {
        (f32::NAN, 0.0)
    } else if max < TINY {
        (0.0, 0.0)
    } else {
        (max / 127.0, 127.0 / max)
    }
}

/// Quantises a block with portable code.
fn quantise_scalar<const N: usize, const SUMS: usize>(x: &[f32], out: &mut Quantised<N, SUMS>) {
    // As integers magnitudes compare like floats, and infinities and NaNs come last.
    let magnitude = x.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7fff_ffff));
    let (d, inverse) = scale(magnitude);
    out.d = d;
    if inverse == 0.0 {
        out.q.fill(0);
        out.sums.fill(0);
        return;
    }
    for (q, v) in out.q.iter_mut().zip(x) {
        *q = (v * inverse).round_ties_even() as i8;
    }
    for (sum, q) in out.sums.iter_mut().zip(out.q.chunks_exact(16)) {
        *sum = q.iter().map(|&q| i16::from(q)).sum();
    }
}

/// Quantises a block of `N` values.
///
/// # Safety
/// `isa` is available on this machine.
unsafe fn quantise<const N: usize, const SUMS: usize>(
    isa: Isa,
    x: &[f32],
    out: &mut Quantised<N, SUMS>,
) {
    debug_assert!(x.len() == N && SUMS * 16 == N);
    let _ = isa;
    quantise_scalar(x, out);
}

/// Stores the four-value groups of `q` as words.
///
/// # Safety
/// `out` is valid for word `4 * i * width / 4` of every group.
unsafe fn store_groups(q: &[i8], width: usize, out: *mut i32) {
    for (i, g) in q.chunks_exact(4).enumerate() {
        let word = i32::from_le_bytes([g[0] as u8, g[1] as u8, g[2] as u8, g[3] as u8]);
        // SAFETY: forwarded to the caller.
        unsafe { out.add(i * width).write(word) };
    }
}

/// Returns two sums as one word, the first in the low half.
fn pair(low: i16, high: i16) -> i32 {
    (u32::from(low.cast_unsigned()) | (u32::from(high.cast_unsigned()) << 16)).cast_signed()
}

/// Writes one row, or zeros without one, as lane `lane` of an interleaved block of superblocks.
///
/// # Safety
/// `isa` is available; `out` is valid for `k / 256 * SUPER_WORDS * width` words; `row` has `k`
/// values.
pub(crate) unsafe fn supers(
    isa: Isa,
    row: Option<&[f32]>,
    lane: usize,
    width: usize,
    k: usize,
    out: *mut i32,
) {
    let mut block = Quantised::<SUPER, 16>::ZERO;
    for b in 0..k / SUPER {
        // SAFETY: see the function's contract; every word index is below SUPER_WORDS.
        unsafe {
            if let Some(row) = row {
                quantise(isa, &row[b * SUPER..][..SUPER], &mut block);
            }
            let out = out.add(b * SUPER_WORDS * width + lane);
            store_groups(&block.q, width, out);
            for (j, s) in block.sums.chunks_exact(4).enumerate() {
                let word = pair(s[0] + s[1], s[2] + s[3]);
                out.add((SUPER_SUMS32 + j) * width).write(word);
            }
            for (j, s) in block.sums.chunks_exact(2).enumerate() {
                out.add((SUPER_SUMS16 + j) * width).write(pair(s[0], s[1]));
            }
            out.add(SUPER_SCALE * width)
                .write(block.d.to_bits().cast_signed());
        }
    }
}

/// Writes one row, or zeros without one, as lane `lane` of an interleaved block of small blocks.
///
/// # Safety
/// As [`supers`], with `k / 32`, rounded up to a multiple of [`SMALL_PADDING`], times
/// `SMALL_WORDS * width` words.
pub(crate) unsafe fn smalls(
    isa: Isa,
    row: Option<&[f32]>,
    lane: usize,
    width: usize,
    k: usize,
    out: *mut i32,
) {
    let mut block = Quantised::<SMALL, 2>::ZERO;
    for b in 0..(k / SMALL).next_multiple_of(SMALL_PADDING) {
        // SAFETY: see the function's contract; every word index is below SMALL_WORDS.
        unsafe {
            match row {
                Some(row) if b < k / SMALL => {
                    quantise(isa, &row[b * SMALL..][..SMALL], &mut block);
                }
                _ => block = Quantised::ZERO,
            }
            let out = out.add(b * SMALL_WORDS * width + lane);
            store_groups(&block.q, width, out);
            let sum = i32::from(block.sums[0]) + i32::from(block.sums[1]);
            out.add(SMALL_SUM * width).write(-128 * sum);
            out.add(SMALL_SCALE * width)
                .write(block.d.to_bits().cast_signed());
            let scaled = block.d * sum as f32;
            out.add(SMALL_SCALED_SUM * width)
                .write(scaled.to_bits().cast_signed());
        }
    }
}
