//! NEON kernels over packed tiles.
//!
//! A 64-byte vector of a tile is taken as four quarters of four rows. A kernel finishes one quarter
//! of a tile after the other, so that its sums stay in registers; the tile itself stays in the
//! first-level cache. Offsets are subtracted from the codes, which are then signed bytes as the
//! activations are, so only formats with minima need the sums of activations. Order of operations
//! on floats as in `scalar`.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]
#![allow(
    clippy::needless_range_loop,
    reason = "one index for several register arrays"
)]

mod dot;

use std::arch::aarch64::*;

use dot::{Dot, DotProduct, Widening, limit};

use super::activation::{
    SMALL_SCALE, SMALL_SCALED_SUM, SMALL_WORDS, SUPER_SCALE, SUPER_SUMS16, SUPER_SUMS32,
    SUPER_WORDS,
};
use super::block32::{Small, offset};
use super::superblock::{Scales, Super};
use super::tiles::{Kernel, SmallTile, SuperTile};
use super::{Format, Planes, block32 as b32, superblock as sb};
use crate::simd::line::prefetch;
use crate::simd::neon::widen_f16;

/// How far ahead of its use a weight is prefetched.
const AHEAD: usize = 8 * 1024;

/// Defines a module with the kernels for one set of CPU features.
macro_rules! tier {
    ($name:ident, $dot:ty, $features:literal, $($width:literal)+) => {
        /// Entry points compiled for one set of CPU features.
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            unsafe fn super_strip<F: Super, const M: usize>(
                w: *const u8,
                _strip_bytes: usize,
                tiles: usize,
                a: *const i32,
                out: *mut f32,
            ) {
                // SAFETY: forwarded to the caller.
                unsafe { super::super_strip::<F, $dot, M>(w, tiles, a, out) }
            }

            #[target_feature(enable = $features)]
            unsafe fn small_strip<F: Small, const M: usize>(
                w: *const u8,
                _strip_bytes: usize,
                tiles: usize,
                a: *const i32,
                out: *mut f32,
            ) {
                // SAFETY: forwarded to the caller.
                unsafe { super::small_strip::<F, $dot, M>(w, tiles, a, out) }
            }

            /// Returns the kernel of a format for a block of `width` rows.
            pub(crate) fn kernel(format: Format, width: usize, strips: usize) -> Option<Kernel> {
                if strips != 1 {
                    return None;
                }
                macro_rules! widths {
                    ($strip:ident, $format:ty) => {
                        match width {
                            $($width => $strip::<$format, $width>,)+
                            _ => return None,
                        }
                    };
                }
                let kernel: Kernel = match format {
                    Format::Q2_K => widths!(super_strip, sb::Q2K),
                    Format::Q3_K => widths!(super_strip, sb::Q3K),
                    Format::Q4_K => widths!(super_strip, sb::Q4K),
                    Format::Q5_K => widths!(super_strip, sb::Q5K),
                    Format::Q6_K => widths!(super_strip, sb::Q6K),
                    Format::IQ4_XS => widths!(super_strip, sb::Iq4Xs),
                    Format::Q4_0 => widths!(small_strip, b32::Q40),
                    Format::Q4_1 => widths!(small_strip, b32::Q41),
                    Format::Q5_0 => widths!(small_strip, b32::Q50),
                    Format::Q5_1 => widths!(small_strip, b32::Q51),
                    Format::Q8_0 => widths!(small_strip, b32::Q80),
                    Format::IQ4_NL => widths!(small_strip, b32::Iq4Nl),
                    Format::MXFP4 => widths!(small_strip, b32::Mxfp4),
                    Format::F32 | Format::F16 | Format::BF16 => return None,
                };
                Some(kernel)
            }
        }
    };
}

tier!(widening, Widening, "neon", 1 2 4);
tier!(dotprod, DotProduct, "neon,dotprod", 1 2 4 8);

pub(crate) use dotprod::kernel as kernel_dot;
pub(crate) use widening::kernel;

/// Loads four half floats.
#[inline(always)]
unsafe fn halves(p: *const u8) -> float32x4_t {
    // SAFETY: forwarded to the caller.
    unsafe { widen_f16(vld1_u16(p.cast())) }
}

/// Loads a float kept as a word.
#[inline(always)]
unsafe fn float(p: *const i32, i: usize) -> f32 {
    // SAFETY: forwarded to the caller.
    unsafe { p.add(i).cast::<f32>().read() }
}

/// Unpacks vector `V` of four rows of a sub-block to signed bytes: codes (after the table) less
/// `offset`.
#[inline(always)]
unsafe fn codes<F: Planes, const V: usize>(sub: *const u8, offset: i32) -> int8x16_t {
    // SAFETY: the planes of a sub-block hold 64 * (LOW + HIGH) bytes.
    unsafe {
        let left = |x, n: isize| vshlq_u8(x, vdupq_n_s8(n as i8));
        let offset = vdupq_n_u8(offset as u8);
        let mut code = vld1q_u8(sub.add(64 * (V * F::LOW / 8)));
        if F::LOW < 8 {
            let moved = left(code, -((V * F::LOW % 8) as isize));
            code = vandq_u8(moved, vdupq_n_u8((1 << F::LOW) - 1));
        }
        if F::HIGH > 0 {
            let plane = vld1q_u8(sub.add(64 * (F::LOW + V * F::HIGH / 8)));
            let moved = left(plane, F::LOW as isize - (V * F::HIGH % 8) as isize);
            let mask = vdupq_n_u8(((1 << F::HIGH) - 1) << F::LOW);
            code = vorrq_u8(code, vandq_u8(moved, mask));
        }
        vreinterpretq_s8_u8(match F::TABLE {
            Some(table) => vqtbl1q_u8(vsubq_u8(vld1q_u8(table.as_ptr()), offset), code),
            None => vsubq_u8(code, offset),
        })
    }
}

/// Returns the largest magnitude of a code less `offset`.
const fn magnitude(bits: usize, offset: i32) -> i32 {
    let above = (1 << bits) - 1 - offset;
    if above > offset { above } else { offset }
}

/// Returns the products of vectors `$v..` of a sub-block with `$m` rows of activations, summed over
/// the values of each row.
macro_rules! dots {
    ($f:ty, $dot:ty, $offset:expr, $sub:expr, $acts:expr, $m:ident, $($v:literal)+) => {{
        let limit = const { limit::<$dot>(magnitude(<$f>::BITS, $offset)) };
        let mut sums = [<$dot>::zero(); $m];
        let mut held = 0;
        $(
            let code = codes::<$f, $v>($sub, $offset);
            if held == limit {
                for sum in &mut sums {
                    *sum = <$dot>::widen(*sum);
                }
                held = 0;
            }
            <$dot>::add::<$v, $m>(&mut sums, code, $acts);
            held += 1;
        )+
        let _ = held;
        let mut words = [vdupq_n_s32(0); $m];
        for i in 0..$m {
            words[i] = <$dot>::finish(sums[i]);
        }
        words
    }};
}

/// Returns the scales of 16-value groups `2 s` and `2 s + 1` of four rows as pairs of i16.
#[inline(always)]
unsafe fn scale_pairs<F: Super>(t: *const u8, s: usize, quarter: usize) -> int16x8_t {
    // SAFETY: forwarded to the caller; `s < 8`, or `s < 4` for scales per 32 values.
    unsafe {
        let at = t.add(SuperTile::<F>::SCALES + 32 * s + 8 * quarter);
        match F::SCALES {
            Scales::Signed16 | Scales::Signed32 => vmovl_s8(vld1_s8(at.cast())),
            Scales::NibbleWithMin => {
                let both = vmovl_u8(vld1_u8(at));
                vreinterpretq_s16_u16(vandq_u16(both, vdupq_n_u16(0xf)))
            }
            Scales::SixBit16 => {
                let low = bytes(t.add(SuperTile::<F>::SCALES + 16 * s + 4 * quarter));
                let high = vld1q_u32(t.add(SuperTile::<F>::SECOND + 16 * quarter).cast());
                // The two 2-bit fields of this pair, moved to bits 4 and 20.
                let high = vshlq_u32(high, vdupq_n_s32(-4 * s as i32));
                let first = vshlq_n_u32::<4>(vandq_u32(high, vdupq_n_u32(3)));
                let second = vshlq_n_u32::<18>(vandq_u32(high, vdupq_n_u32(12)));
                let low_first = vandq_u32(low, vdupq_n_u32(0xf));
                let low_second = vshlq_n_u32::<12>(vandq_u32(low, vdupq_n_u32(0xf0)));
                let code = vorrq_u32(vorrq_u32(first, second), vorrq_u32(low_first, low_second));
                vsubq_s16(vreinterpretq_s16_u32(code), vdupq_n_s16(32))
            }
            Scales::ByteWithMin => vdupq_n_s16(0),
        }
    }
}

/// Loads four bytes as words.
#[inline(always)]
unsafe fn bytes(p: *const u8) -> uint32x4_t {
    // SAFETY: forwarded to the caller.
    unsafe {
        let bytes = vreinterpret_u8_u32(vdup_n_u32(p.cast::<u32>().read_unaligned()));
        vmovl_u16(vget_low_u16(vmovl_u8(bytes)))
    }
}

/// Returns one scale of pair `s` of four rows.
#[inline(always)]
unsafe fn scale<F: Super>(t: *const u8, s: usize, quarter: usize, second: bool) -> int32x4_t {
    // SAFETY: forwarded to the caller.
    unsafe {
        let pairs = vreinterpretq_s32_s16(scale_pairs::<F>(t, s, quarter));
        let high = if second {
            pairs
        } else {
            vshlq_n_s32::<16>(pairs)
        };
        vshrq_n_s32::<16>(high)
    }
}

/// Returns the two minima of pair `p` of four rows.
#[inline(always)]
unsafe fn minima<F: Super>(t: *const u8, p: usize, quarter: usize) -> [int16x4_t; 2] {
    // SAFETY: forwarded to the caller.
    unsafe {
        let pairs = if matches!(F::SCALES, Scales::ByteWithMin) {
            vmovl_u8(vld1_u8(
                t.add(SuperTile::<F>::SECOND + 32 * p + 8 * quarter),
            ))
        } else {
            let both = vld1_u8(t.add(SuperTile::<F>::SCALES + 32 * p + 8 * quarter));
            vmovl_u8(vshr_n_u8::<4>(both))
        };
        let pairs = vreinterpretq_s16_u16(pairs);
        [
            vget_low_s16(vuzp1q_s16(pairs, pairs)),
            vget_low_s16(vuzp2q_s16(pairs, pairs)),
        ]
    }
}

/// Asks for the part of a tile ahead that belongs to one of `parts` steps.
#[inline(always)]
fn prefetch_part(t: *const u8, bytes: usize, step: usize, parts: usize) {
    let mut at = 64 * step;
    while at < bytes {
        prefetch(t.wrapping_add(AHEAD + at), 64);
        at += 64 * parts;
    }
}

/// Multiplies a strip of superblock tiles with `M` rows of activations.
///
/// # Safety
/// The CPU has NEON and what `D` needs; `w` holds `tiles` tiles, `a` `tiles` superblocks of `M`
/// interleaved rows, `out` `16 * M` values.
#[inline(always)]
unsafe fn super_strip<F: Super, D: Dot, const M: usize>(
    w: *const u8,
    tiles: usize,
    a: *const i32,
    out: *mut f32,
) {
    // SAFETY: all offsets stay inside the tile and the superblock of activations; prefetches may
    // point anywhere.
    unsafe {
        let mut result = [[vdupq_n_f32(0.0); M]; 4];
        for tile in 0..tiles {
            let t = w.add(tile * SuperTile::<F>::BYTES);
            let a = a.add(tile * SUPER_WORDS * M);
            for quarter in 0..4 {
                let mut total = [vdupq_n_s32(0); M];
                for s in 0..8 {
                    prefetch_part(t, SuperTile::<F>::BYTES, 8 * quarter + s, 32);
                    let sub = t.add(s * SuperTile::<F>::SUB + 16 * quarter);
                    let acts = a.add(s * 8 * M);
                    match F::SCALES {
                        Scales::ByteWithMin | Scales::Signed32 => {
                            let sums = dots!(F, D, F::OFFSET, sub, acts, M, 0 1 2 3 4 5 6 7);
                            let scale = if matches!(F::SCALES, Scales::ByteWithMin) {
                                let at = t.add(SuperTile::<F>::SCALES + 16 * s + 4 * quarter);
                                vreinterpretq_s32_u32(bytes(at))
                            } else {
                                scale::<F>(t, s / 2, quarter, s % 2 == 1)
                            };
                            add_scaled(&mut total, sums, scale);
                        }
                        _ => {
                            let sums = dots!(F, D, F::OFFSET, sub, acts, M, 0 1 2 3);
                            add_scaled(&mut total, sums, scale::<F>(t, s, quarter, false));
                            let sums = dots!(F, D, F::OFFSET, sub, acts, M, 4 5 6 7);
                            add_scaled(&mut total, sums, scale::<F>(t, s, quarter, true));
                        }
                    }
                }
                finish::<F, M>(t, quarter, a, &total, &mut result[quarter]);
            }
        }
        store(&result, out);
    }
}

/// Adds `sums * scale` to `total`.
#[inline(always)]
unsafe fn add_scaled<const M: usize>(
    total: &mut [int32x4_t; M],
    sums: [int32x4_t; M],
    scale: int32x4_t,
) {
    for i in 0..M {
        // SAFETY: register operations; every tier here has NEON.
        unsafe { total[i] = vmlaq_s32(total[i], sums[i], scale) };
    }
}

/// Applies minima and the f16 scales of a superblock to one quarter of the rows.
#[inline(always)]
unsafe fn finish<F: Super, const M: usize>(
    t: *const u8,
    quarter: usize,
    a: *const i32,
    total: &[int32x4_t; M],
    result: &mut [float32x4_t; M],
) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let d = halves(t.add(SuperTile::<F>::D + 8 * quarter));
        let mut value = [vdupq_n_f32(0.0); M];
        for i in 0..M {
            value[i] = vmulq_f32(vcvtq_f32_s32(total[i]), d);
        }
        if F::OFFSET == 0 {
            let (pairs, first) = if matches!(F::SCALES, Scales::ByteWithMin) {
                (4, SUPER_SUMS32)
            } else {
                (8, SUPER_SUMS16)
            };
            let mut correction = [vdupq_n_s32(0); M];
            for p in 0..pairs {
                let [even, odd] = minima::<F>(t, p, quarter);
                for i in 0..M {
                    let sums = a.add((first + p) * M + i).cast::<i16>();
                    correction[i] = vmlal_n_s16(correction[i], even, *sums);
                    correction[i] = vmlal_n_s16(correction[i], odd, *sums.add(1));
                }
            }
            let dmin = halves(t.add(SuperTile::<F>::DMIN + 8 * quarter));
            for i in 0..M {
                value[i] = vfmsq_f32(value[i], vcvtq_f32_s32(correction[i]), dmin);
            }
        }
        for i in 0..M {
            result[i] = vfmaq_n_f32(result[i], value[i], float(a, SUPER_SCALE * M + i));
        }
    }
}

/// Returns the scales of four rows of block `j` of a tile.
#[inline(always)]
unsafe fn small_scale<F: Small>(t: *const u8, j: usize, quarter: usize) -> float32x4_t {
    // SAFETY: forwarded to the caller; `j` is a block of the tile.
    unsafe {
        if F::EXPONENT {
            let e = bytes(t.add(SmallTile::<F>::D + 16 * j + 4 * quarter));
            let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
            let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
            let small = vcltq_u32(e, vdupq_n_u32(2));
            vreinterpretq_f32_u32(vbslq_u32(small, subnormal, normal))
        } else {
            halves(t.add(SmallTile::<F>::D + 32 * j + 8 * quarter))
        }
    }
}

/// Multiplies a strip of small-block tiles with `M` rows of activations.
///
/// # Safety
/// As [`super_strip`], with `SmallTile::BLOCKS * tiles` small blocks of activations.
#[inline(always)]
unsafe fn small_strip<F: Small, D: Dot, const M: usize>(
    w: *const u8,
    tiles: usize,
    a: *const i32,
    out: *mut f32,
) {
    // SAFETY: all offsets stay inside the tile and its blocks of activations; prefetches may
    // point anywhere.
    unsafe {
        let blocks = SmallTile::<F>::BLOCKS;
        let mut result = [[vdupq_n_f32(0.0); M]; 4];
        for tile in 0..tiles {
            let t = w.add(tile * SmallTile::<F>::BYTES);
            for quarter in 0..4 {
                for j in 0..blocks {
                    prefetch_part(t, SmallTile::<F>::BYTES, blocks * quarter + j, 4 * blocks);
                    let a = a.add((tile * blocks + j) * SMALL_WORDS * M);
                    let sub = t.add(j * SmallTile::<F>::SUB + 16 * quarter);
                    let sums = dots!(F, D, offset(F::OFFSET_BITS), sub, a, M, 0 1 2 3 4 5 6 7);
                    let d = small_scale::<F>(t, j, quarter);
                    let result = &mut result[quarter];
                    for i in 0..M {
                        let scale = vmulq_n_f32(d, float(a, SMALL_SCALE * M + i));
                        result[i] = vfmaq_f32(result[i], vcvtq_f32_s32(sums[i]), scale);
                    }
                    if F::MIN {
                        let min = halves(t.add(SmallTile::<F>::M + 32 * j + 8 * quarter));
                        for i in 0..M {
                            let sum = float(a, SMALL_SCALED_SUM * M + i);
                            result[i] = vfmaq_n_f32(result[i], min, sum);
                        }
                    }
                }
            }
        }
        store(&result, out);
    }
}

/// Writes the lines of `M` rows.
#[inline(always)]
unsafe fn store<const M: usize>(result: &[[float32x4_t; M]; 4], out: *mut f32) {
    for (quarter, result) in result.iter().enumerate() {
        for (i, &result) in result.iter().enumerate() {
            // SAFETY: the caller vouches for `16 * M` values.
            unsafe { vst1q_f32(out.add(16 * i + 4 * quarter), result) };
        }
    }
}
