//! AVX2 and AVX-VNNI kernels over packed tiles.
//!
//! A 512-bit vector of a tile is taken as two halves of eight rows. With AVX-VNNI `vpdpbusd` does
//! what it does in `avx512`. With plain AVX2 `vpmaddubsw` adds pairs of products in 16 bits; codes
//! are small enough that several such sums fit (`fits`), and `vpmaddwd` with the scale finishes
//! the job. Codes of 8 bits do not fit: there the signed value's magnitude multiplies activations
//! that took over its sign. Order of operations as in `scalar`.
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
use super::{Format, Planes, block32 as b32, superblock as sb};

/// How far ahead of its use a weight is prefetched.
const AHEAD: usize = 9 * 1024;

/// Defines a module with the kernels for one set of CPU features.
macro_rules! tier {
    ($name:ident, $vnni:literal, $features:literal) => {
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
                unsafe { super::super_strip::<F, M, $vnni>(w, tiles, a, out) }
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
                unsafe { super::small_strip::<F, M, $vnni>(w, tiles, a, out) }
            }

            /// Returns the kernel of a format for a block of `width` rows.
            pub(crate) fn kernel(format: Format, width: usize, strips: usize) -> Option<Kernel> {
                if strips != 1 {
                    return None;
                }
                macro_rules! widths {
                    ($strip:ident, $format:ty) => {
                        match width {
                            1 => $strip::<$format, 1>,
                            2 => $strip::<$format, 2>,
                            4 => $strip::<$format, 4>,
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

tier!(plain, false, "avx2,fma,f16c");
tier!(vnni, true, "avx2,fma,f16c,avxvnni");

pub(crate) use plain::kernel;
pub(crate) use vnni::kernel as kernel_vnni;

/// Loads 32 aligned bytes.
#[inline(always)]
unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: forwarded to the caller.
    unsafe { _mm256_load_si256(p.cast()) }
}

/// Broadcasts word `i`.
#[inline(always)]
unsafe fn word(p: *const i32, i: usize) -> __m256i {
    // SAFETY: forwarded to the caller.
    unsafe { _mm256_set1_epi32(*p.add(i)) }
}

/// Broadcasts word `i` as a float.
#[inline(always)]
unsafe fn float(p: *const i32, i: usize) -> __m256 {
    // SAFETY: forwarded to the caller.
    unsafe { _mm256_set1_ps(p.add(i).cast::<f32>().read()) }
}

/// Loads 8 half floats.
#[inline(always)]
unsafe fn halves(p: *const u8) -> __m256 {
    // SAFETY: forwarded to the caller.
    unsafe { _mm256_cvtph_ps(_mm_load_si128(p.cast())) }
}

/// Unpacks vector `V` of eight rows of a sub-block to unsigned bytes.
#[inline(always)]
unsafe fn codes<const V: usize>(
    sub: *const u8,
    low: usize,
    high: usize,
    table: Option<&'static [u8; 16]>,
) -> __m256i {
    // SAFETY: the planes of a sub-block hold 64 * (low + high) bytes.
    unsafe {
        let shift = |x, n: usize| _mm256_srl_epi16(x, _mm_cvtsi32_si128(n as i32));
        let left = |x, n: usize| _mm256_sll_epi16(x, _mm_cvtsi32_si128(n as i32));
        let mut code = load(sub.add(64 * (V * low / 8)));
        if low < 8 {
            let mask = _mm256_set1_epi8((1 << low) - 1);
            code = _mm256_and_si256(shift(code, V * low % 8), mask);
        }
        if high > 0 {
            let plane = load(sub.add(64 * (low + V * high / 8)));
            let field = V * high % 8;
            let moved = if field > low {
                shift(plane, field - low)
            } else {
                left(plane, low - field)
            };
            let mask = _mm256_set1_epi8(((1 << high) - 1) << low);
            code = _mm256_or_si256(code, _mm256_and_si256(moved, mask));
        }
        if let Some(table) = table {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            code = _mm256_shuffle_epi8(table, code);
        }
        code
    }
}

/// Returns how many `vpmaddubsw` results of codes with `bits` bits add up in 16 bits.
const fn fits(bits: usize) -> usize {
    32767 / (2 * 127 * ((1 << bits) - 1))
}

/// Returns 16-bit sums of pairs of products of 8-bit codes, which stand for `code - 128`, and
/// activations: at most 2 * 128 * 127.
#[inline(always)]
unsafe fn signed_products(code: __m256i, acts: __m256i) -> __m256i {
    // SAFETY: register operations; the caller's tier has AVX2.
    unsafe {
        let value = _mm256_xor_si256(code, _mm256_set1_epi8(-128));
        _mm256_maddubs_epi16(_mm256_abs_epi8(value), _mm256_sign_epi8(acts, value))
    }
}

/// Registers of both halves of a tile, for `M` rows of activations.
type Both<const M: usize> = [[__m256i; M]; 2];
/// The pairs of scales of both halves of a tile.
type Pairs = [[__m256i; 8]; 2];

/// Adds `$scale` times the products of vectors `$v..` to `$total`, for both halves of the rows.
///
/// With VNNI the products are summed in 32 bits and multiplied with the scale; without, 16-bit
/// sums are multiplied with pairs that hold the scale twice. No scale means 1; else it comes in the
/// form that the tier takes (`one_of_pair`).
macro_rules! dots {
    (
        $f:ty, $vnni:ident, $wide:expr, $sub:expr, $acts:expr, $m:ident,
        $total:ident, $scale:expr, $($v:literal)+
    ) => {{
        let scale: Option<[__m256i; 2]> = $scale;
        let mut sums: Both<$m> = [[_mm256_setzero_si256(); $m]; 2];
        if $vnni {
            $(
                let code = halves_of::<$f, $v>($sub);
                for i in 0..$m {
                    let x = word($acts, $v * $m + i);
                    for h in 0..2 {
                        sums[h][i] = _mm256_dpbusd_avx_epi32(sums[h][i], code[h], x);
                    }
                }
            )+
            for h in 0..2 {
                for i in 0..$m {
                    let scaled = match scale {
                        Some(scale) => _mm256_mullo_epi32(sums[h][i], scale[h]),
                        None => sums[h][i],
                    };
                    $total[h][i] = _mm256_add_epi32($total[h][i], scaled);
                }
            }
        } else {
            let factor = scale.unwrap_or([_mm256_set1_epi16(1); 2]);
            let limit = if $wide { 1 } else { fits(<$f>::BITS) };
            let mut held = 0;
            $(
                let code = halves_of::<$f, $v>($sub);
                if held == limit {
                    flush(&mut $total, &mut sums, factor);
                    held = 0;
                }
                for i in 0..$m {
                    let x = word($acts, $v * $m + i);
                    for h in 0..2 {
                        let products = if $wide {
                            signed_products(code[h], x)
                        } else {
                            _mm256_maddubs_epi16(code[h], x)
                        };
                        sums[h][i] = if held == 0 {
                            products
                        } else {
                            _mm256_add_epi16(sums[h][i], products)
                        };
                    }
                }
                held += 1;
            )+
            let _ = held;
            flush(&mut $total, &mut sums, factor);
        }
    }};
}

/// Unpacks vector `V` of both halves of a sub-block.
#[inline(always)]
unsafe fn halves_of<F: Planes, const V: usize>(sub: *const u8) -> [__m256i; 2] {
    // SAFETY: forwarded to the caller.
    unsafe {
        [
            codes::<V>(sub, F::LOW, F::HIGH, F::TABLE),
            codes::<V>(sub.add(32), F::LOW, F::HIGH, F::TABLE),
        ]
    }
}

/// Adds 16-bit sums times pairs of factors to `total`.
#[inline(always)]
unsafe fn flush<const M: usize>(total: &mut Both<M>, sums: &mut Both<M>, factor: [__m256i; 2]) {
    for h in 0..2 {
        for i in 0..M {
            // SAFETY: register operations; the caller's tier has AVX2.
            unsafe {
                let scaled = _mm256_madd_epi16(sums[h][i], factor[h]);
                total[h][i] = _mm256_add_epi32(total[h][i], scaled);
            }
        }
    }
}

/// Returns the scales of 16-value groups `2 s` and `2 s + 1` of eight rows as pairs of i16.
#[inline(always)]
unsafe fn scale_pairs<F: Super>(t: *const u8, s: usize, half: usize) -> __m256i {
    // SAFETY: forwarded to the caller; `s < 8`, or `s < 4` for scales per 32 values.
    unsafe {
        let at = t.add(SuperTile::<F>::SCALES + 32 * s + 16 * half);
        match F::SCALES {
            Scales::Signed16 | Scales::Signed32 => _mm256_cvtepi8_epi16(_mm_load_si128(at.cast())),
            Scales::NibbleWithMin => {
                let both = _mm256_cvtepu8_epi16(_mm_load_si128(at.cast()));
                _mm256_and_si256(both, _mm256_set1_epi16(0xf))
            }
            Scales::SixBit16 => {
                let at = t.add(SuperTile::<F>::SCALES + 16 * s + 8 * half);
                let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()));
                let high = load(t.add(SuperTile::<F>::SECOND + 32 * half));
                // The two 2-bit fields of this pair, moved to bits 4 and 20.
                let high = _mm256_srl_epi32(high, _mm_cvtsi32_si128(4 * s as i32));
                let high = _mm256_and_si256(high, _mm256_set1_epi32(0xf));
                let high =
                    _mm256_or_si256(_mm256_slli_epi32::<4>(high), _mm256_slli_epi32::<18>(high));
                let high = _mm256_and_si256(high, _mm256_set1_epi32(0x0030_0030));
                let low = _mm256_or_si256(low, _mm256_slli_epi32::<12>(low));
                let low = _mm256_and_si256(low, _mm256_set1_epi32(0x000f_000f));
                let code = _mm256_or_si256(high, low);
                _mm256_sub_epi16(code, _mm256_set1_epi16(32))
            }
            Scales::ByteWithMin => _mm256_setzero_si256(),
        }
    }
}

/// Returns what the sums of activations are multiplied with, pair `p`.
#[inline(always)]
unsafe fn correction_pairs<F: Super>(
    t: *const u8,
    p: usize,
    half: usize,
    scales: &[__m256i; 8],
) -> __m256i {
    // SAFETY: forwarded to the caller.
    unsafe {
        match F::SCALES {
            Scales::ByteWithMin => {
                let at = t.add(SuperTile::<F>::SECOND + 32 * p + 16 * half);
                _mm256_cvtepu8_epi16(_mm_load_si128(at.cast()))
            }
            Scales::NibbleWithMin => {
                let at = t.add(SuperTile::<F>::SCALES + 32 * p + 16 * half);
                _mm256_srli_epi16::<4>(_mm256_cvtepu8_epi16(_mm_load_si128(at.cast())))
            }
            // Unpacked at a price, so kept.
            Scales::SixBit16 => scales[p],
            Scales::Signed16 | Scales::Signed32 => scale_pairs::<F>(t, p, half),
        }
    }
}

/// Returns the low or high 16 bits of each pair: with VNNI sign-extended, without twice.
#[inline(always)]
unsafe fn one_of_pair<const VNNI: bool>(pairs: __m256i, high: bool) -> __m256i {
    // SAFETY: register operations; the caller's tier has AVX2.
    unsafe {
        if VNNI {
            let pairs = if high {
                pairs
            } else {
                _mm256_slli_epi32::<16>(pairs)
            };
            _mm256_srai_epi32::<16>(pairs)
        } else {
            let (a, b, c, d) = if high {
                (0x0302_0302, 0x0706_0706, 0x0b0a_0b0a, 0x0f0e_0f0e)
            } else {
                (0x0100_0100, 0x0504_0504, 0x0908_0908, 0x0d0c_0d0c)
            };
            _mm256_shuffle_epi8(pairs, _mm256_setr_epi32(a, b, c, d, a, b, c, d))
        }
    }
}

/// Returns [`one_of_pair`] of both halves of the rows.
#[inline(always)]
unsafe fn one_of_each<const VNNI: bool>(pairs: [__m256i; 2], high: bool) -> [__m256i; 2] {
    // SAFETY: forwarded to the caller.
    unsafe {
        [
            one_of_pair::<VNNI>(pairs[0], high),
            one_of_pair::<VNNI>(pairs[1], high),
        ]
    }
}

/// Returns the byte scales of sub-block `s` of eight rows in the form of [`one_of_pair`].
#[inline(always)]
unsafe fn byte_scales<F: Super, const VNNI: bool>(t: *const u8, s: usize, half: usize) -> __m256i {
    // SAFETY: forwarded to the caller; a sub-block has 16 bytes of scales.
    unsafe {
        let at = t.add(SuperTile::<F>::SCALES + 16 * s);
        if VNNI {
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(8 * half).cast()))
        } else {
            // Byte `i` becomes two 16-bit values; a negative index gives zero.
            let pair = |i: i32| 0x8000_8000_u32.cast_signed() | i | (i << 16);
            let i = 8 * half as i32;
            let index = _mm256_setr_epi32(
                pair(i),
                pair(i + 1),
                pair(i + 2),
                pair(i + 3),
                pair(i + 4),
                pair(i + 5),
                pair(i + 6),
                pair(i + 7),
            );
            let both = _mm256_broadcastsi128_si256(_mm_load_si128(at.cast()));
            _mm256_shuffle_epi8(both, index)
        }
    }
}

/// Multiplies a strip of superblock tiles with `M` rows of activations.
///
/// # Safety
/// The CPU has AVX2, FMA, F16C and, with `VNNI`, AVX-VNNI; `w` holds `tiles` tiles, 32-byte
/// aligned, `a` `tiles` superblocks of `M` interleaved rows, `out` `16 * M` values.
#[inline(always)]
unsafe fn super_strip<F: Super, const M: usize, const VNNI: bool>(
    w: *const u8,
    tiles: usize,
    a: *const i32,
    out: *mut f32,
) {
    // SAFETY: all offsets stay inside the tile and the superblock of activations; prefetches may
    // point anywhere.
    unsafe {
        let wide = F::BITS == 8;
        let mut result = [[_mm256_setzero_ps(); M]; 2];
        for tile in 0..tiles {
            let t = w.add(tile * SuperTile::<F>::BYTES);
            let a = a.add(tile * SUPER_WORDS * M);
            let mut total: Both<M> = [[_mm256_setzero_si256(); M]; 2];
            let mut pairs: Pairs = [[_mm256_setzero_si256(); 8]; 2];
            for s in 0..8 {
                let sub = t.add(s * SuperTile::<F>::SUB);
                for i in 0..F::LOW + F::HIGH {
                    _mm_prefetch::<_MM_HINT_T0>(sub.wrapping_add(AHEAD + 64 * i).cast());
                }
                let acts = a.add(s * 8 * M);
                match F::SCALES {
                    Scales::ByteWithMin => {
                        let scale = [
                            byte_scales::<F, VNNI>(t, s, 0),
                            byte_scales::<F, VNNI>(t, s, 1),
                        ];
                        dots!(F, VNNI, wide, sub, acts, M, total, Some(scale), 0 1 2 3 4 5 6 7);
                    }
                    Scales::Signed32 => {
                        let both = [scale_pairs::<F>(t, s / 2, 0), scale_pairs::<F>(t, s / 2, 1)];
                        let scale = one_of_each::<VNNI>(both, s % 2 == 1);
                        dots!(F, VNNI, wide, sub, acts, M, total, Some(scale), 0 1 2 3 4 5 6 7);
                    }
                    _ => {
                        let both = [scale_pairs::<F>(t, s, 0), scale_pairs::<F>(t, s, 1)];
                        (pairs[0][s], pairs[1][s]) = (both[0], both[1]);
                        let scale = one_of_each::<VNNI>(both, false);
                        dots!(F, VNNI, wide, sub, acts, M, total, Some(scale), 0 1 2 3);
                        let scale = one_of_each::<VNNI>(both, true);
                        dots!(F, VNNI, wide, sub, acts, M, total, Some(scale), 4 5 6 7);
                    }
                }
            }
            let mut at = SuperTile::<F>::SCALES;
            while at < SuperTile::<F>::BYTES {
                _mm_prefetch::<_MM_HINT_T0>(t.wrapping_add(AHEAD + at).cast());
                at += 64;
            }
            for h in 0..2 {
                // Signed products need no correction.
                let corrected = VNNI || !wide;
                finish::<F, M>(t, h, a, corrected, &pairs[h], &total[h], &mut result[h]);
            }
        }
        for (h, result) in result.iter().enumerate() {
            for (i, &result) in result.iter().enumerate() {
                _mm256_storeu_ps(out.add(16 * i + 8 * h), result);
            }
        }
    }
}

/// Applies minima or offset and the f16 scales of a superblock to one half of the rows.
#[inline(always)]
unsafe fn finish<F: Super, const M: usize>(
    t: *const u8,
    half: usize,
    a: *const i32,
    corrected: bool,
    scales: &[__m256i; 8],
    total: &[__m256i; M],
    result: &mut [__m256; M],
) {
    // SAFETY: forwarded to the caller.
    unsafe {
        let d = halves(t.add(SuperTile::<F>::D + 16 * half));
        let by32 = matches!(F::SCALES, Scales::ByteWithMin | Scales::Signed32);
        let (pairs, first) = if by32 {
            (4, SUPER_SUMS32)
        } else {
            (8, SUPER_SUMS16)
        };
        for i in 0..M {
            let mut correction = _mm256_setzero_si256();
            for p in 0..if corrected { pairs } else { 0 } {
                let factor = correction_pairs::<F>(t, p, half, scales);
                let sums = word(a, (first + p) * M + i);
                correction = _mm256_add_epi32(correction, _mm256_madd_epi16(factor, sums));
            }
            let value = if F::OFFSET == 0 {
                let dmin = halves(t.add(SuperTile::<F>::DMIN + 16 * half));
                let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(total[i]), d);
                _mm256_fnmadd_ps(_mm256_cvtepi32_ps(correction), dmin, scaled)
            } else {
                let offset = _mm256_mullo_epi32(correction, _mm256_set1_epi32(F::OFFSET));
                _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(total[i], offset)), d)
            };
            result[i] = _mm256_fmadd_ps(value, float(a, SUPER_SCALE * M + i), result[i]);
        }
    }
}

/// Returns the scales of eight rows of block `j` of a tile.
#[inline(always)]
unsafe fn small_scale<F: Small>(t: *const u8, j: usize, half: usize) -> __m256 {
    // SAFETY: forwarded to the caller; `j` is a block of the tile.
    unsafe {
        if F::EXPONENT {
            let e = _mm_loadl_epi64(t.add(SmallTile::<F>::D + 16 * j + 8 * half).cast());
            let e = _mm256_cvtepu8_epi32(e);
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
            let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
            let small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
            _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, small))
        } else {
            halves(t.add(SmallTile::<F>::D + 32 * j + 16 * half))
        }
    }
}

/// Multiplies a strip of small-block tiles with `M` rows of activations.
///
/// # Safety
/// As [`super_strip`], with `SmallTile::BLOCKS * tiles` small blocks of activations.
#[inline(always)]
unsafe fn small_strip<F: Small, const M: usize, const VNNI: bool>(
    w: *const u8,
    tiles: usize,
    a: *const i32,
    out: *mut f32,
) {
    // SAFETY: all offsets stay inside the tile and its blocks of activations; prefetches may
    // point anywhere.
    unsafe {
        let wide = F::BITS == 8;
        let mut result = [[_mm256_setzero_ps(); M]; 2];
        for tile in 0..tiles {
            let t = w.add(tile * SmallTile::<F>::BYTES);
            let mut at = 0;
            while at < SmallTile::<F>::BYTES {
                _mm_prefetch::<_MM_HINT_T0>(t.wrapping_add(AHEAD + at).cast());
                at += 64;
            }
            for j in 0..SmallTile::<F>::BLOCKS {
                let a = a.add((tile * SmallTile::<F>::BLOCKS + j) * SMALL_WORDS * M);
                let sub = t.add(j * SmallTile::<F>::SUB);
                let mut total: Both<M> = [[_mm256_setzero_si256(); M]; 2];
                // Signed products need no correction.
                if F::OFFSET_BITS > 0 && (VNNI || !wide) {
                    for i in 0..M {
                        // From -128 times the sum to -2^OFFSET_BITS times the sum, exactly.
                        let count = _mm_cvtsi32_si128(7 - F::OFFSET_BITS as i32);
                        let start = _mm256_sra_epi32(word(a, SMALL_SUM * M + i), count);
                        (total[0][i], total[1][i]) = (start, start);
                    }
                }
                dots!(F, VNNI, wide, sub, a, M, total, None, 0 1 2 3 4 5 6 7);
                for h in 0..2 {
                    let d = small_scale::<F>(t, j, h);
                    for i in 0..M {
                        let scale = _mm256_mul_ps(d, float(a, SMALL_SCALE * M + i));
                        let sum = _mm256_cvtepi32_ps(total[h][i]);
                        result[h][i] = _mm256_fmadd_ps(sum, scale, result[h][i]);
                    }
                    if F::MIN {
                        let min = halves(t.add(SmallTile::<F>::M + 32 * j + 16 * h));
                        for i in 0..M {
                            let sum = float(a, SMALL_SCALED_SUM * M + i);
                            result[h][i] = _mm256_fmadd_ps(min, sum, result[h][i]);
                        }
                    }
                }
            }
        }
        for (h, result) in result.iter().enumerate() {
            for (i, &result) in result.iter().enumerate() {
                _mm256_storeu_ps(out.add(16 * i + 8 * h), result);
            }
        }
    }
}
