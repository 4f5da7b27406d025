//! AVX-512 VNNI kernels over packed tiles.
//!
//! One 512-bit register holds four values of each of 16 rows. `vpdpbusd` multiplies it with four
//! activations, broadcast from memory, for each row of the activation block; the block's
//! accumulators stay in registers. Order of operations as in `scalar`.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]
#![allow(
    clippy::needless_range_loop,
    reason = "one index for several register arrays"
)]

use std::arch::x86_64::*;

use super::activation::{
    SMALL_SCALE, SMALL_SCALED_SUM, SMALL_SUM, SMALL_WORDS, SUPER_SCALE, SUPER_SUMS16, SUPER_SUMS32,
    SUPER_WORDS,
};
use super::block32::Small;
use super::superblock::{Scales, Super};
use super::tiles::{Kernel, SmallTile, SuperTile};
use super::{Format, block32 as b32, superblock as sb};

/// How far ahead of its use a weight is prefetched.
const AHEAD: usize = 9 * 1024;

/// Returns the kernel of a format for a block of `width` rows and `strips` strips.
pub(crate) fn kernel(format: Format, width: usize, strips: usize) -> Option<Kernel> {
    macro_rules! supers {
        ($format:ty) => {
            match (width, strips) {
                (1, 1) => super_strip::<$format, 1, 1>,
                (2, 1) => super_strip::<$format, 2, 1>,
                (4, 1) => super_strip::<$format, 4, 1>,
                (8, 1) => super_strip::<$format, 8, 1>,
                (12, 1) => super_strip::<$format, 12, 1>,
                _ => return None,
            }
        };
    }
    macro_rules! smalls {
        ($format:ty) => {
            match (width, strips) {
                (1, 1) => small_strip::<$format, 1, 1>,
                (2, 1) => small_strip::<$format, 2, 1>,
                (4, 1) => small_strip::<$format, 4, 1>,
                (4, 2) => small_strip::<$format, 4, 2>,
                (8, 1) => small_strip::<$format, 8, 1>,
                (8, 2) => small_strip::<$format, 8, 2>,
                _ => return None,
            }
        };
    }
    let kernel: Kernel = match format {
        Format::Q2_K => supers!(sb::Q2K),
        Format::Q3_K => supers!(sb::Q3K),
        Format::Q4_K => supers!(sb::Q4K),
        Format::Q5_K => supers!(sb::Q5K),
        Format::Q6_K => supers!(sb::Q6K),
        Format::IQ4_XS => supers!(sb::Iq4Xs),
        Format::Q4_0 => smalls!(b32::Q40),
        Format::Q4_1 => smalls!(b32::Q41),
        Format::Q5_0 => smalls!(b32::Q50),
        Format::Q5_1 => smalls!(b32::Q51),
        Format::Q8_0 => smalls!(b32::Q80),
        Format::IQ4_NL => smalls!(b32::Iq4Nl),
        Format::MXFP4 => smalls!(b32::Mxfp4),
        Format::F32 | Format::F16 | Format::BF16 => return None,
    };
    Some(kernel)
}

/// Loads 64 aligned bytes.
#[inline(always)]
unsafe fn load(p: *const u8) -> __m512i {
    // SAFETY: forwarded to the caller.
    unsafe { _mm512_load_si512(p.cast()) }
}

/// Broadcasts word `i`.
#[inline(always)]
unsafe fn word(p: *const i32, i: usize) -> __m512i {
    // SAFETY: forwarded to the caller.
    unsafe { _mm512_set1_epi32(*p.add(i)) }
}

/// Broadcasts word `i` as a float.
#[inline(always)]
unsafe fn float(p: *const i32, i: usize) -> __m512 {
    // SAFETY: forwarded to the caller.
    unsafe { _mm512_set1_ps(p.add(i).cast::<f32>().read()) }
}

/// Loads 16 half floats.
#[inline(always)]
unsafe fn halves(p: *const u8) -> __m512 {
    // SAFETY: forwarded to the caller.
    unsafe { _mm512_cvtph_ps(_mm256_load_si256(p.cast())) }
}

/// Unpacks vector `V` of a sub-block to unsigned bytes.
#[inline(always)]
unsafe fn codes<const V: usize>(
    sub: *const u8,
    low: usize,
    high: usize,
    table: Option<&'static [u8; 16]>,
) -> __m512i {
    // SAFETY: the planes of a sub-block hold 64 * (low + high) bytes.
    unsafe {
        let shift = |x, n: usize| _mm512_srl_epi16(x, _mm_cvtsi32_si128(n as i32));
        let left = |x, n: usize| _mm512_sll_epi16(x, _mm_cvtsi32_si128(n as i32));
        let mut code = load(sub.add(64 * (V * low / 8)));
        if low < 8 {
            let mask = _mm512_set1_epi8((1 << low) - 1);
            code = _mm512_and_si512(shift(code, V * low % 8), mask);
        }
        if high > 0 {
            let plane = load(sub.add(64 * (low + V * high / 8)));
            let field = V * high % 8;
            let moved = if field > low {
                shift(plane, field - low)
            } else {
                left(plane, low - field)
            };
            let mask = _mm512_set1_epi8(((1 << high) - 1) << low);
            code = _mm512_or_si512(code, _mm512_and_si512(moved, mask));
        }
        if let Some(table) = table {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            code = _mm512_shuffle_epi8(table, code);
        }
        code
    }
}

/// Adds the products of vectors `$v..` of a sub-block to the accumulators `$sums`.
macro_rules! dots {
    ($f:ty, $subs:ident, $acts:expr, $sums:ident, $m:ident, $t:ident, $($v:literal)+) => {
        $(
            let mut code = [_mm512_setzero_si512(); $t];
            for t in 0..$t {
                code[t] = codes::<$v>($subs[t], <$f>::LOW, <$f>::HIGH, <$f>::TABLE);
            }
            for i in 0..$m {
                let x = word($acts, $v * $m + i);
                for t in 0..$t {
                    $sums[t][i] = _mm512_dpbusd_epi32($sums[t][i], code[t], x);
                }
            }
        )+
    };
}

/// Returns the scales of 16-value groups `2 s` and `2 s + 1` as pairs of i16.
#[inline(always)]
unsafe fn scale_pairs<F: Super>(t: *const u8, s: usize) -> __m512i {
    // SAFETY: forwarded to the caller; `s < 8`, or `s < 4` for scales per 32 values.
    unsafe {
        let at = t.add(SuperTile::<F>::SCALES + 32 * s);
        match F::SCALES {
            Scales::Signed16 | Scales::Signed32 => {
                _mm512_cvtepi8_epi16(_mm256_load_si256(at.cast()))
            }
            Scales::NibbleWithMin => {
                let both = _mm512_cvtepu8_epi16(_mm256_load_si256(at.cast()));
                _mm512_and_si512(both, _mm512_set1_epi16(0xf))
            }
            Scales::SixBit16 => {
                let at = t.add(SuperTile::<F>::SCALES + 16 * s);
                let low = _mm512_cvtepu8_epi32(_mm_load_si128(at.cast()));
                let high = load(t.add(SuperTile::<F>::SECOND));
                let count = |n: usize| _mm_cvtsi32_si128(n as i32);
                // The two 2-bit fields of this pair, moved to bits 4 and 20.
                let high = _mm512_srl_epi32(high, count(4 * s));
                let first = _mm512_slli_epi32::<4>(_mm512_and_si512(high, _mm512_set1_epi32(3)));
                let second = _mm512_slli_epi32::<18>(_mm512_and_si512(high, _mm512_set1_epi32(12)));
                let low_first = _mm512_and_si512(low, _mm512_set1_epi32(0xf));
                let low_second =
                    _mm512_slli_epi32::<12>(_mm512_and_si512(low, _mm512_set1_epi32(0xf0)));
                let code = _mm512_or_si512(
                    _mm512_or_si512(first, second),
                    _mm512_or_si512(low_first, low_second),
                );
                _mm512_sub_epi16(code, _mm512_set1_epi16(32))
            }
            Scales::ByteWithMin => _mm512_setzero_si512(),
        }
    }
}

/// Returns what the sums of activations are multiplied with, pair `p`.
#[inline(always)]
unsafe fn correction_pairs<F: Super>(t: *const u8, p: usize) -> __m512i {
    // SAFETY: forwarded to the caller.
    unsafe {
        match F::SCALES {
            Scales::ByteWithMin => {
                let at = t.add(SuperTile::<F>::SECOND + 32 * p);
                _mm512_cvtepu8_epi16(_mm256_load_si256(at.cast()))
            }
            Scales::NibbleWithMin => {
                let at = t.add(SuperTile::<F>::SCALES + 32 * p);
                _mm512_srli_epi16::<4>(_mm512_cvtepu8_epi16(_mm256_load_si256(at.cast())))
            }
            _ => scale_pairs::<F>(t, p),
        }
    }
}

/// Multiplies a strip of superblock tiles with `M` rows of activations.
///
/// # Safety
/// The CPU has the features below; `w` holds `tiles` tiles, 64-byte aligned, `a` `tiles`
/// superblocks of `M` interleaved rows, `out` `16 * M` values.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn super_strip<F: Super, const M: usize, const T: usize>(
    w: *const u8,
    strip_bytes: usize,
    tiles: usize,
    a: *const i32,
    out: *mut f32,
) {
    // SAFETY: all offsets stay inside the tile and the superblock of activations; prefetches may
    // point anywhere.
    unsafe {
        let mut result = [[_mm512_setzero_ps(); M]; T];
        for tile in 0..tiles {
            let mut ts = [w.add(tile * SuperTile::<F>::BYTES); T];
            for t in 1..T {
                ts[t] = ts[0].add(t * strip_bytes);
            }
            let a = a.add(tile * SUPER_WORDS * M);
            let mut total = [[_mm512_setzero_si512(); M]; T];
            for s in 0..8 {
                let mut subs = ts;
                for t in 0..T {
                    subs[t] = ts[t].add(s * SuperTile::<F>::SUB);
                }
                for sub in subs {
                    for i in 0..F::LOW + F::HIGH {
                        _mm_prefetch::<_MM_HINT_T0>(sub.wrapping_add(AHEAD + 64 * i).cast());
                    }
                }
                let acts = a.add(s * 8 * M);
                match F::SCALES {
                    Scales::ByteWithMin | Scales::Signed32 => {
                        let mut sums = [[_mm512_setzero_si512(); M]; T];
                        dots!(F, subs, acts, sums, M, T, 0 1 2 3 4 5 6 7);
                        for t in 0..T {
                            let at = ts[t].add(SuperTile::<F>::SCALES);
                            let scale = if matches!(F::SCALES, Scales::ByteWithMin) {
                                _mm512_cvtepu8_epi32(_mm_load_si128(at.add(16 * s).cast()))
                            } else {
                                let pairs = scale_pairs::<F>(ts[t], s / 2);
                                let odd = _mm_cvtsi32_si128(if s % 2 == 0 { 16 } else { 0 });
                                _mm512_srai_epi32::<16>(_mm512_sll_epi32(pairs, odd))
                            };
                            add_scaled(&mut total[t], &sums[t], scale);
                        }
                    }
                    _ => {
                        let mut sums = [[_mm512_setzero_si512(); M]; T];
                        dots!(F, subs, acts, sums, M, T, 0 1 2 3);
                        for t in 0..T {
                            let pairs = _mm512_slli_epi32::<16>(scale_pairs::<F>(ts[t], s));
                            add_scaled(&mut total[t], &sums[t], _mm512_srai_epi32::<16>(pairs));
                        }
                        let mut sums = [[_mm512_setzero_si512(); M]; T];
                        dots!(F, subs, acts, sums, M, T, 4 5 6 7);
                        for t in 0..T {
                            let scale = _mm512_srai_epi32::<16>(scale_pairs::<F>(ts[t], s));
                            add_scaled(&mut total[t], &sums[t], scale);
                        }
                    }
                }
            }
            for t in ts {
                for at in (SuperTile::<F>::SCALES..SuperTile::<F>::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(t.wrapping_add(AHEAD + at).cast());
                }
            }
            for t in 0..T {
                finish::<F, M>(ts[t], a, &total[t], &mut result[t]);
            }
        }
        for t in 0..T {
            for i in 0..M {
                _mm512_storeu_ps(out.add(16 * (t * M + i)), result[t][i]);
            }
        }
    }
}

/// Adds `sums * scale` to `total`.
#[inline(always)]
unsafe fn add_scaled<const M: usize>(
    total: &mut [__m512i; M],
    sums: &[__m512i; M],
    scale: __m512i,
) {
    for i in 0..M {
        // SAFETY: register operations; the caller's tier has AVX-512.
        unsafe { total[i] = _mm512_add_epi32(total[i], _mm512_mullo_epi32(sums[i], scale)) };
    }
}

/// Applies minima or offset and the f16 scales of a superblock.
#[inline(always)]
unsafe fn finish<F: Super, const M: usize>(
    t: *const u8,
    a: *const i32,
    total: &[__m512i; M],
    result: &mut [__m512; M],
) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let d = halves(t.add(SuperTile::<F>::D));
        let by32 = matches!(F::SCALES, Scales::ByteWithMin | Scales::Signed32);
        let (pairs, first) = if by32 {
            (4, SUPER_SUMS32)
        } else {
            (8, SUPER_SUMS16)
        };
        for i in 0..M {
            let mut correction = _mm512_setzero_si512();
            for p in 0..pairs {
                let factor = correction_pairs::<F>(t, p);
                let sums = word(a, (first + p) * M + i);
                correction = _mm512_dpwssd_epi32(correction, factor, sums);
            }
            let value = if F::OFFSET == 0 {
                let dmin = halves(t.add(SuperTile::<F>::DMIN));
                let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(total[i]), d);
                _mm512_fnmadd_ps(_mm512_cvtepi32_ps(correction), dmin, scaled)
            } else {
                let offset = _mm512_mullo_epi32(correction, _mm512_set1_epi32(F::OFFSET));
                _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(total[i], offset)), d)
            };
            result[i] = _mm512_fmadd_ps(value, float(a, SUPER_SCALE * M + i), result[i]);
        }
    }
}

/// Returns the scales of block `j` of a tile.
#[inline(always)]
unsafe fn small_scale<F: Small>(t: *const u8, j: usize) -> __m512 {
    // SAFETY: forwarded to the caller; `j` is a block of the tile.
    unsafe {
        if F::EXPONENT {
            let e = _mm_load_si128(t.add(SmallTile::<F>::D + 16 * j).cast());
            let e = _mm512_cvtepu8_epi32(e);
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
            let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), e);
            let small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
            _mm512_castsi512_ps(_mm512_mask_blend_epi32(small, normal, subnormal))
        } else {
            halves(t.add(SmallTile::<F>::D + 32 * j))
        }
    }
}

/// Multiplies a strip of small-block tiles with `M` rows of activations.
///
/// # Safety
/// As [`super_strip`], with `SmallTile::BLOCKS * tiles` small blocks of activations.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn small_strip<F: Small, const M: usize, const T: usize>(
    w: *const u8,
    strip_bytes: usize,
    tiles: usize,
    a: *const i32,
    out: *mut f32,
) {
    // SAFETY: all offsets stay inside the tile and its blocks of activations; prefetches may
    // point anywhere.
    unsafe {
        let mut result = [[_mm512_setzero_ps(); M]; T];
        for tile in 0..tiles {
            let mut ts = [w.add(tile * SmallTile::<F>::BYTES); T];
            for t in 1..T {
                ts[t] = ts[0].add(t * strip_bytes);
            }
            for t in ts {
                for at in (0..SmallTile::<F>::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(t.wrapping_add(AHEAD + at).cast());
                }
            }
            for j in 0..SmallTile::<F>::BLOCKS {
                let mut subs = ts;
                for t in 0..T {
                    subs[t] = ts[t].add(j * SmallTile::<F>::SUB);
                }
                let a = a.add((tile * SmallTile::<F>::BLOCKS + j) * SMALL_WORDS * M);
                let mut sums = [[_mm512_setzero_si512(); M]; T];
                if F::OFFSET_BITS > 0 {
                    for i in 0..M {
                        // From -128 times the sum to -2^OFFSET_BITS times the sum, exactly.
                        let count = _mm_cvtsi32_si128(7 - F::OFFSET_BITS as i32);
                        let start = _mm512_sra_epi32(word(a, SMALL_SUM * M + i), count);
                        for t in 0..T {
                            sums[t][i] = start;
                        }
                    }
                }
                dots!(F, subs, a, sums, M, T, 0 1 2 3 4 5 6 7);
                for t in 0..T {
                    let d = small_scale::<F>(ts[t], j);
                    for i in 0..M {
                        let scale = _mm512_mul_ps(d, float(a, SMALL_SCALE * M + i));
                        let sum = _mm512_cvtepi32_ps(sums[t][i]);
                        result[t][i] = _mm512_fmadd_ps(sum, scale, result[t][i]);
                    }
                    if F::MIN {
                        let min = halves(ts[t].add(SmallTile::<F>::M + 32 * j));
                        for i in 0..M {
                            let sum = float(a, SMALL_SCALED_SUM * M + i);
                            result[t][i] = _mm512_fmadd_ps(min, sum, result[t][i]);
                        }
                    }
                }
            }
        }
        for t in 0..T {
            for i in 0..M {
                _mm512_storeu_ps(out.add(16 * (t * M + i)), result[t][i]);
            }
        }
    }
}
