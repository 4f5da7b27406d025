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

const _: () = {
    // The words of a block follow each other without a gap or an overlap.
    assert!(SUPER_SUMS32 * 4 == SUPER && SUPER_SUMS16 == SUPER_SUMS32 + SUPER / 64);
    assert!(SUPER_SCALE == SUPER_SUMS16 + SUPER / 32 && SUPER_WORDS == SUPER_SCALE + 1);
    assert!(SMALL_SUM * 4 == SMALL && SMALL_SCALE == SMALL_SUM + 1);
    assert!(SMALL_SCALED_SUM == SMALL_SCALE + 1 && SMALL_WORDS == SMALL_SCALED_SUM + 1);
};

/// Largest magnitude of a block that is treated as zero.
const TINY: f32 = 1e-30;

/// One quantised block: `x[i] = d * q[i]`, and sums over each 16 values.
///
/// `q` comes first: vectors are stored to it aligned.
#[repr(C, align(64))]
pub(crate) struct Quantised<const N: usize, const SUMS: usize> {
    pub(crate) q: [i8; N],
    pub(crate) sums: [i16; SUMS],
    pub(crate) d: f32,
}

impl<const N: usize, const SUMS: usize> Quantised<N, SUMS> {
    const ZERO: Self = {
        assert!(
            std::mem::offset_of!(Self, q) == 0,
            "aligned stores need q first"
        );
        assert!(N.is_multiple_of(SMALL) && SUMS * 16 == N);
        Self::zero()
    };

    const fn zero() -> Self {
        Self {
            q: [0; N],
            sums: [0; SUMS],
            d: 0.0,
        }
    }
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
    const { assert!(SUMS * 16 == N && N.is_multiple_of(32)) };
    debug_assert_eq!(x.len(), N);
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is available and `x` has `N` values.
        Isa::Avx512Vnni if N > SMALL => unsafe { x86::quantise512(x, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => unsafe { x86::quantise256(x, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Isa::Neon | Isa::NeonDot => unsafe { neon::quantise(x, out) },
        _ => quantise_scalar(x, out),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Quantised, scale};

    /// Returns lanes 0 and 4 of the sums of each four lanes, when added twice with a shuffle.
    macro_rules! sum_of_four {
        ($x:expr, $shuffle:ident, $add:ident) => {{
            let x = $x;
            let x = $add(x, $shuffle::<0b10_11_00_01>(x));
            $add(x, $shuffle::<0b01_00_11_10>(x))
        }};
    }

    /// # Safety
    /// The CPU has AVX-512 F and VNNI; `x` has `N` values.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn quantise512<const N: usize, const SUMS: usize>(
        x: &[f32],
        out: &mut Quantised<N, SUMS>,
    ) {
        // SAFETY: every load and store is inside `x` or `out`, which hold N values.
        unsafe {
            let load = |i: usize| _mm512_loadu_ps(x.as_ptr().add(16 * i));
            let mut magnitude = _mm512_setzero_si512();
            for i in 0..N / 16 {
                let bits = _mm512_castps_si512(_mm512_abs_ps(load(i)));
                magnitude = _mm512_max_epi32(magnitude, bits);
            }
            let (d, inverse) = scale(_mm512_reduce_max_epi32(magnitude).cast_unsigned());
            out.d = d;
            if inverse == 0.0 {
                out.q.fill(0);
                out.sums.fill(0);
                return;
            }
            let inverse = _mm512_set1_ps(inverse);
            for i in 0..N / 16 {
                let q = _mm512_cvtps_epi32(_mm512_mul_ps(load(i), inverse));
                _mm_store_si128(
                    out.q.as_mut_ptr().add(16 * i).cast(),
                    _mm512_cvtepi32_epi8(q),
                );
            }
            let ones = _mm256_set1_epi8(1);
            for i in 0..N / 32 {
                let q = _mm256_load_si256(out.q.as_ptr().add(32 * i).cast());
                let fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), ones, q);
                let sums = sum_of_four!(fours, _mm256_shuffle_epi32, _mm256_add_epi32);
                out.sums[2 * i] = _mm256_extract_epi32::<0>(sums) as i16;
                out.sums[2 * i + 1] = _mm256_extract_epi32::<4>(sums) as i16;
            }
        }
    }

    /// # Safety
    /// The CPU has AVX2; `x` has `N` values.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn quantise256<const N: usize, const SUMS: usize>(
        x: &[f32],
        out: &mut Quantised<N, SUMS>,
    ) {
        // SAFETY: every load and store is inside `x` or `out`, which hold N values.
        unsafe {
            let load = |i: usize| _mm256_loadu_ps(x.as_ptr().add(8 * i));
            let positive = _mm256_set1_epi32(0x7fff_ffff);
            let mut magnitude = _mm256_setzero_si256();
            for i in 0..N / 8 {
                let bits = _mm256_and_si256(_mm256_castps_si256(load(i)), positive);
                magnitude = _mm256_max_epi32(magnitude, bits);
            }
            let high = _mm256_extracti128_si256::<1>(magnitude);
            let max = _mm_max_epi32(_mm256_castsi256_si128(magnitude), high);
            let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
            let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
            let (d, inverse) = scale(_mm_cvtsi128_si32(max).cast_unsigned());
            out.d = d;
            if inverse == 0.0 {
                out.q.fill(0);
                out.sums.fill(0);
                return;
            }
            let inverse = _mm256_set1_ps(inverse);
            let (ones, pairs) = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            for i in 0..N / 32 {
                let q = |j: usize| _mm256_cvtps_epi32(_mm256_mul_ps(load(4 * i + j), inverse));
                let low = _mm256_packs_epi32(q(0), q(1));
                let high = _mm256_packs_epi32(q(2), q(3));
                // Packing works within 128-bit lanes; the permutation restores the order.
                let q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
                _mm256_store_si256(out.q.as_mut_ptr().add(32 * i).cast(), q);
                let fours = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, q), pairs);
                let sums = sum_of_four!(fours, _mm256_shuffle_epi32, _mm256_add_epi32);
                out.sums[2 * i] = _mm256_extract_epi32::<0>(sums) as i16;
                out.sums[2 * i + 1] = _mm256_extract_epi32::<4>(sums) as i16;
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{Quantised, scale};

    /// # Safety
    /// The CPU has NEON; `x` has `N` values.
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn quantise<const N: usize, const SUMS: usize>(
        x: &[f32],
        out: &mut Quantised<N, SUMS>,
    ) {
        // SAFETY: every load and store is inside `x` or `out`, which hold N values.
        unsafe {
            let load = |i: usize| vld1q_f32(x.as_ptr().add(4 * i));
            let mut magnitude = vdupq_n_u32(0);
            for i in 0..N / 4 {
                magnitude = vmaxq_u32(magnitude, vreinterpretq_u32_f32(vabsq_f32(load(i))));
            }
            let (d, inverse) = scale(vmaxvq_u32(magnitude));
            out.d = d;
            if inverse == 0.0 {
                out.q.fill(0);
                out.sums.fill(0);
                return;
            }
            let inverse = vdupq_n_f32(inverse);
            for i in 0..N / 16 {
                // Rounds to nearest, ties to even.
                let four = |j: usize| vcvtnq_s32_f32(vmulq_f32(load(4 * i + j), inverse));
                let eight = |j: usize| vqmovn_high_s32(vqmovn_s32(four(j)), four(j + 1));
                let q = vqmovn_high_s16(vqmovn_s16(eight(0)), eight(2));
                vst1q_s8(out.q.as_mut_ptr().add(16 * i), q);
                out.sums[i] = vaddlvq_s8(q);
            }
        }
    }
}

/// Stores the four-value groups of `q` as words, `width` apart.
///
/// # Safety
/// `out` is valid for word `i * width` of every group `i`.
#[inline]
unsafe fn store_groups(q: &[i8], width: usize, out: *mut i32) {
    // SAFETY: forwarded to the caller; `q` holds the groups.
    unsafe {
        let words = q.as_ptr().cast::<i32>();
        for i in 0..q.len() / 4 {
            // In memory order on every machine: kernels take the bytes of a word in order.
            out.add(i * width).write(words.add(i).read_unaligned());
        }
    }
}

/// Returns two sums as one word, the first in the low half.
fn pair(low: i16, high: i16) -> i32 {
    (u32::from(low.cast_unsigned()) | (u32::from(high.cast_unsigned()) << 16)).cast_signed()
}

/// Rows of `k` values that become one interleaved block of `width` lanes; lanes beyond the rows
/// are zero.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) k: usize,
    pub(crate) width: usize,
}

impl<'a> Rows<'a> {
    /// Returns block `b` of `N` values of row `lane`, if there is one.
    #[inline]
    fn block<const N: usize>(&self, lane: usize, b: usize) -> Option<&'a [f32]> {
        if (b + 1) * N > self.k {
            return None;
        }
        self.x.get(lane * self.k + b * N..)?.get(..N)
    }
}

/// Writes an interleaved block of rows as superblocks.
///
/// # Safety
/// `isa` is available; `out` is valid for `k / 256 * SUPER_WORDS * width` words.
pub(crate) unsafe fn supers(isa: Isa, rows: Rows<'_>, out: *mut i32) {
    let mut block = Quantised::<SUPER, 16>::ZERO;
    let width = rows.width;
    // Lanes inside: the lines of one interleaved superblock stay in the first-level cache.
    for b in 0..rows.k / SUPER {
        for lane in 0..width {
            // SAFETY: see the function's contract; every word index is below SUPER_WORDS.
            unsafe {
                match rows.block::<SUPER>(lane, b) {
                    Some(x) => quantise(isa, x, &mut block),
                    None => block = Quantised::ZERO,
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
}

/// Writes an interleaved block of rows as small blocks.
///
/// # Safety
/// As [`supers`], with `k / 32`, rounded up to a multiple of [`SMALL_PADDING`], times
/// `SMALL_WORDS * width` words.
pub(crate) unsafe fn smalls(isa: Isa, rows: Rows<'_>, out: *mut i32) {
    let mut block = Quantised::<SMALL, 2>::ZERO;
    let width = rows.width;
    for b in 0..(rows.k / SMALL).next_multiple_of(SMALL_PADDING) {
        for lane in 0..width {
            // SAFETY: see the function's contract; every word index is below SMALL_WORDS.
            unsafe {
                match rows.block::<SMALL>(lane, b) {
                    Some(x) => quantise(isa, x, &mut block),
                    None => block = Quantised::ZERO,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random;

    fn check<const N: usize, const SUMS: usize>(x: &[f32], what: &str) {
        let mut want = Quantised::<N, SUMS>::ZERO;
        quantise_scalar(x, &mut want);
        for isa in Isa::available() {
            let mut got = Quantised::<N, SUMS>::ZERO;
            got.q.fill(9);
            got.sums.fill(9);
            // SAFETY: available.
            unsafe { quantise(isa, x, &mut got) };
            assert_eq!(got.d.to_bits(), want.d.to_bits(), "{what} {isa}");
            assert_eq!(got.q, want.q, "{what} {isa}");
            assert_eq!(got.sums, want.sums, "{what} {isa}");
        }
        for (sum, q) in want.sums.iter().zip(want.q.chunks(16)) {
            assert_eq!(
                i32::from(*sum),
                q.iter().map(|&q| i32::from(q)).sum::<i32>()
            );
        }
    }

    #[test]
    fn every_tier_quantises_to_the_same_integers() {
        for seed in 0..50 {
            let scale = [1.0, 1e-20, 3e30, 127.0][seed as usize % 4];
            let x: Vec<f32> = random(seed, SUPER).iter().map(|v| v * scale).collect();
            check::<SUPER, 16>(&x, "random");
            check::<SMALL, 2>(&x[..SMALL], "random");
        }
    }

    #[test]
    fn ties_go_to_the_even_integer() {
        // With a largest magnitude of 127 the inverse scale is exactly 1.
        let mut x: Vec<f32> = (0..SUPER).map(|i| (i % 64) as f32 / 2.0 - 16.0).collect();
        x[0] = -127.0;
        check::<SUPER, 16>(&x, "ties");
        let mut block = Quantised::<SUPER, 16>::ZERO;
        quantise_scalar(&x, &mut block);
        assert_eq!(block.q[..6], [-127, -16, -15, -14, -14, -14]);
    }

    #[test]
    fn zero_tiny_and_broken_blocks() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = random(1, SUPER);
            x[77] = bad;
            check::<SUPER, 16>(&x, "broken");
            let mut block = Quantised::<SUPER, 16>::ZERO;
            quantise_scalar(&x, &mut block);
            assert!(block.d.is_nan() && block.q == [0; SUPER]);
        }
        for tiny in [0.0, -0.0, 1e-31, f32::from_bits(1)] {
            check::<SUPER, 16>(&[tiny; SUPER], "tiny");
            check::<SMALL, 2>(&[tiny; SMALL], "tiny");
        }
        check::<SMALL, 2>(&[f32::MAX; SMALL], "huge");
    }
}
