//! Encoders of the formats with super-blocks of 256. Layouts: `dequant/k_quants.rs`.
//!
//! Each group's scale (and minimum) is fitted first. The super-block's factors are then fixed as
//! f16 and the weights rounded anew to the scales that result. All steps follow
//! `quantize_row_q*_K_ref` and, with importance, `quantize_row_q*_K_impl` of `ggml-quants.c`
//! operation by operation: the bytes are equal to those of llama.cpp.

use super::fit::{Grid, affine, codes, descend, symmetric};
use super::lanes::{LANES, Lanes, nearest, side_by_side};
use crate::float::{f16_to_f32, f32_to_f16};
use crate::pack::pack_scale_min;

/// The grid of searches with importance.
pub(super) const FINE: Grid = Grid {
    first: -0.9,
    step: 0.05,
    steps: 36,
};

/// Runs `encode` on each super-block with its importance and its bytes.
pub(super) fn each<const N: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    encode: impl Fn(&[f32; 256], Option<&[f32; 256]>, &mut [u8; N]),
) {
    let mut weights = importance.map(|w| w.as_chunks().0.iter());
    for (x, block) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        encode(x, weights.as_mut().and_then(Iterator::next), block);
    }
}

/// How a type with scales and minimums is searched and coded.
struct AffineKind {
    /// Largest level.
    top: f32,
    /// Largest code of a scale or minimum.
    codes: i32,
    /// The grid without importance.
    grid: Grid,
    /// Multiple of the mean square that joins each square in the weights.
    sigma: f32,
}

/// The codes of a super-block of `G` groups with scales and minimums.
struct AffineCodes<const G: usize> {
    d: u16,
    dmin: u16,
    scales: [u8; G],
    mins: [u8; G],
    levels: [u8; 256],
}

/// Returns the weights of errors: importance by the size of the value and of the block's values.
fn weigh(x: &[f32; 256], importance: &[f32; 256], sigma: f32) -> [f32; 256] {
    let squares = sigma * x.iter().fold(0.0, |sum, &x| sum + x * x) / 256.0;
    let mut w = *importance;
    for (w, &x) in w.iter_mut().zip(x) {
        *w *= (squares + x * x).sqrt();
    }
    w
}

/// Sums the weights of each group.
fn sum<const N: usize>(w: &[Lanes; N]) -> Lanes {
    w.iter().fold(Lanes::default(), |sum, &w| sum + w)
}

/// Codes non-negative `x`, the largest of which gets `top`; returns the factor.
fn codes_of<const G: usize>(x: &[f32; G], top: i32) -> (f32, [u8; G]) {
    let n = top as f32;
    let largest = x.iter().fold(0.0, |a: f32, &x| if x > a { x } else { a });
    let inverse = if largest > 0.0 { n / largest } else { 0.0 };
    let codes = x.map(|x| (nearest(inverse * x) as u8).min(top as u8));
    (largest / n, codes)
}

/// Codes `G` groups of `N` values.
#[inline(always)]
fn encode_affine<const G: usize, const N: usize>(
    x: &[f32; 256],
    importance: Option<&[f32; 256]>,
    kind: &AffineKind,
) -> AffineCodes<G> {
    let (mut scales, mut mins, mut sums) = ([0.0; G], [0.0; G], [0.0; G]);
    let mut levels = [0; 256];
    let weights = importance.map(|importance| weigh(x, importance, kind.sigma));
    for first in (0..G).step_by(LANES) {
        let span = N * first..N * (first + LANES);
        let groups: [Lanes; N] = side_by_side(&x[span.clone()]);
        let fit = if let Some(weights) = &weights {
            let w: [Lanes; N] = side_by_side(&weights[span.clone()]);
            sums[first..first + LANES].copy_from_slice(&sum(&w).0);
            affine::<N, false>(&groups, &w, kind.top, FINE)
        } else if N == 16 {
            affine::<N, true>(&groups, &groups.map(Lanes::abs), kind.top, kind.grid)
        } else {
            let squares = groups.map(|x| x * x);
            let mean = (sum(&squares) / Lanes::all(N as f32)).sqrt();
            affine::<N, false>(
                &groups,
                &groups.map(|x| mean + x.abs()),
                kind.top,
                kind.grid,
            )
        };
        scales[first..first + LANES].copy_from_slice(&fit.scale.0);
        mins[first..first + LANES].copy_from_slice(&fit.min.0);
        for (i, &x) in groups.iter().enumerate() {
            for (k, q) in fit.levels(x, kind.top).0.into_iter().enumerate() {
                levels[span.start + N * k + i] = q as u8;
            }
        }
    }
    let ((d, scales), (dmin, mins)) = if weights.is_some() {
        (
            codes(&scales, &sums, kind.codes),
            codes(&mins, &sums, kind.codes),
        )
    } else {
        (codes_of(&scales, kind.codes), codes_of(&mins, kind.codes))
    };
    let (d, dmin) = (f32_to_f16(d), f32_to_f16(dmin));
    if weights.is_some() && !(finite(d) && finite(dmin)) {
        return encode_affine::<G, N>(x, None, kind);
    }
    let (groups, _) = x.as_chunks::<N>();
    for (g, (x, levels)) in groups.iter().zip(levels.as_chunks_mut::<N>().0).enumerate() {
        let scale = f16_to_f32(d) * f32::from(scales[g]);
        let min = f16_to_f32(dmin) * f32::from(mins[g]);
        // A scale that rounds to nothing leaves the levels of the search.
        if scale != 0.0 {
            *levels = x.map(|x| level((x + min) / scale, 0.0, kind.top) as u8);
        }
    }
    AffineCodes {
        d,
        dmin,
        scales,
        mins,
        levels,
    }
}

/// Reports whether a factor is a number: weights that are too far apart can overflow the sums of the
/// search. Such a block is coded without.
pub(super) fn finite(factor: u16) -> bool {
    factor & 0x7c00 != 0x7c00
}

/// Rounds to a level within bounds.
#[inline(always)]
fn level(x: f32, lo: f32, hi: f32) -> f32 {
    let q = nearest(x) as f32;
    let q = if q < hi { q } else { hi };
    if q > lo { q } else { lo }
}

/// Rounds 16 groups anew to `d` times their codes, with levels offset to start at zero.
fn round_anew(x: &[f32; 256], d: f32, codes: [f32; 16], n: f32, levels: &mut [u8; 256]) {
    let groups = x.as_chunks::<16>().0.iter();
    let levels = levels.as_chunks_mut::<16>().0.iter_mut();
    for ((x, levels), code) in groups.zip(levels).zip(codes) {
        let scale = d * code;
        if scale != 0.0 {
            *levels = x.map(|x| (level(x / scale, -n, n - 1.0) + n) as u8);
        }
    }
}

/// Stores the levels of eight groups of 16.
fn store(levels: &mut [u8], q: [Lanes; 16]) {
    for (i, q) in q.into_iter().enumerate() {
        for (k, q) in q.0.into_iter().enumerate() {
            levels[16 * k + i] = q as u8;
        }
    }
}

/// Returns the number of largest magnitude, the first of equals, with its sign.
fn peak(x: &[f32; 16]) -> f32 {
    x.iter().fold(
        0.0,
        |peak: f32, &x| if x.abs() > peak.abs() { x } else { peak },
    )
}

/// Spreads two-bit values over 64 bytes: value `128 h + 32 j + l` is bits `2 j` of byte `32 h + l`.
fn pack_pairs(levels: &[u8; 256], out: &mut [u8]) {
    for (byte, out) in out.iter_mut().enumerate() {
        let at = 128 * (byte / 32) + byte % 32;
        *out = (0..4).fold(0, |bits, j| bits | (levels[at + 32 * j] & 3) << (2 * j));
    }
}

/// Joins neighbouring groups of 32: value `64 p + l` and value `64 p + 32 + l` in byte `32 p + l`.
fn pack_nibbles(levels: &[u8; 256], out: &mut [u8]) {
    for (byte, out) in out.iter_mut().enumerate() {
        let at = 64 * (byte / 32) + byte % 32;
        *out = levels[at] & 15 | levels[at + 32] << 4;
    }
}

pub(super) fn q2_k(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    const KIND: AffineKind = AffineKind {
        top: 3.0,
        codes: 15,
        grid: Grid {
            first: -0.5,
            step: 0.1,
            steps: 15,
        },
        sigma: 1.0,
    };
    each(x, importance, out, |x, importance, block: &mut [u8; 84]| {
        let codes = encode_affine::<16, 16>(x, importance, &KIND);
        for (g, byte) in block[..16].iter_mut().enumerate() {
            *byte = codes.scales[g] | codes.mins[g] << 4;
        }
        pack_pairs(&codes.levels, &mut block[16..80]);
        block[80..82].copy_from_slice(&codes.d.to_le_bytes());
        block[82..].copy_from_slice(&codes.dmin.to_le_bytes());
    });
}

pub(super) fn q3_k(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    each(
        x,
        importance,
        out,
        |x, importance, block: &mut [u8; 110]| {
            let weights = importance.map(|importance| weigh(x, importance, 2.0));
            let (mut scales, mut sums) = ([0.0; 16], [0.0; 16]);
            let mut levels = [0; 256];
            for first in [0, LANES] {
                let span = 16 * first..16 * (first + LANES);
                let groups = side_by_side(&x[span.clone()]);
                let scale = if let Some(weights) = &weights {
                    let w = side_by_side(&weights[span.clone()]);
                    sums[first..first + LANES].copy_from_slice(&sum(&w).0);
                    let fit = symmetric(&groups, &w, 4.0);
                    store(&mut levels[span], groups.map(|x| fit.levels(x, 4.0)));
                    fit.scale
                } else {
                    let (scale, q) = descend(&groups, 4.0);
                    store(&mut levels[span], q);
                    scale
                };
                scales[first..first + LANES].copy_from_slice(&scale.0);
            }
            let (d, codes) = if weights.is_some() {
                // The 16 scales are one more group.
                let x = scales.map(Lanes::all);
                let fit = symmetric(&x, &sums.map(Lanes::all), 32.0);
                (fit.scale.0[0], x.map(|x| fit.levels(x, 32.0).0[0] as u8))
            } else {
                let peak = peak(&scales);
                let inverse = if peak == 0.0 { 0.0 } else { -32.0 / peak };
                let codes = scales.map(|scale| (level(inverse * scale, -32.0, 31.0) + 32.0) as u8);
                // The bytes of a block without scales stay zero.
                if peak == 0.0 {
                    (0.0, [0; 16])
                } else {
                    (1.0 / inverse, codes)
                }
            };
            let d = f32_to_f16(d);
            if weights.is_some() && !finite(d) {
                return q3_k(x, None, block);
            }
            let signed = codes.map(|code| f32::from(code) - 32.0);
            round_anew(x, f16_to_f32(d), signed, 4.0, &mut levels);
            for (l, byte) in block[..32].iter_mut().enumerate() {
                *byte = (0..8).fold(0, |bits, j| bits | (levels[32 * j + l] >> 2) << j);
            }
            pack_pairs(&levels, &mut block[32..96]);
            for (g, code) in codes.into_iter().enumerate() {
                block[96 + g % 8] |= (code & 15) << (4 * (g / 8));
                block[104 + g % 4] |= (code >> 4) << (2 * (g / 4));
            }
            block[108..].copy_from_slice(&d.to_le_bytes());
        },
    );
}

pub(super) fn q4_k(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    const KIND: AffineKind = AffineKind {
        top: 15.0,
        codes: 63,
        grid: Grid {
            first: -1.0,
            step: 0.1,
            steps: 20,
        },
        sigma: 2.0,
    };
    each(
        x,
        importance,
        out,
        |x, importance, block: &mut [u8; 144]| {
            let codes = encode_affine::<8, 32>(x, importance, &KIND);
            block[..2].copy_from_slice(&codes.d.to_le_bytes());
            block[2..4].copy_from_slice(&codes.dmin.to_le_bytes());
            block[4..16].copy_from_slice(&pack_scale_min(codes.scales, codes.mins));
            pack_nibbles(&codes.levels, &mut block[16..]);
        },
    );
}

pub(super) fn q5_k(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    const KIND: AffineKind = AffineKind {
        top: 31.0,
        codes: 63,
        grid: Grid {
            first: -0.5,
            step: 0.1,
            steps: 15,
        },
        sigma: 2.0,
    };
    each(
        x,
        importance,
        out,
        |x, importance, block: &mut [u8; 176]| {
            let codes = encode_affine::<8, 32>(x, importance, &KIND);
            block[..2].copy_from_slice(&codes.d.to_le_bytes());
            block[2..4].copy_from_slice(&codes.dmin.to_le_bytes());
            block[4..16].copy_from_slice(&pack_scale_min(codes.scales, codes.mins));
            for (l, byte) in block[16..48].iter_mut().enumerate() {
                *byte = (0..8).fold(0, |bits, j| bits | (codes.levels[32 * j + l] >> 4) << j);
            }
            pack_nibbles(&codes.levels, &mut block[48..]);
        },
    );
}

pub(super) fn q6_k(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    each(
        x,
        importance,
        out,
        |x, importance, block: &mut [u8; 210]| {
            let mut scales = [0.0; 16];
            let mut levels = [0; 256];
            for first in [0, LANES] {
                let span = 16 * first..16 * (first + LANES);
                let groups = side_by_side(&x[span.clone()]);
                let w = match importance {
                    Some(importance) => side_by_side(&importance[span.clone()]),
                    None => groups.map(|x| x * x),
                };
                let fit = symmetric(&groups, &w, 32.0);
                store(&mut levels[span], groups.map(|x| fit.levels(x, 32.0)));
                scales[first..first + LANES].copy_from_slice(&fit.scale.0);
            }
            let peak = peak(&scales);
            let inverse = -128.0 / peak;
            let d = f32_to_f16(1.0 / inverse);
            if importance.is_some() && !(finite(d) && scales.iter().all(|x| x.is_finite())) {
                return q6_k(x, None, block);
            }
            if peak.abs() < 1e-15 {
                return;
            }
            let codes = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
            round_anew(x, f16_to_f32(d), codes.map(f32::from), 32.0, &mut levels);
            for (byte, out) in block[..128].iter_mut().enumerate() {
                let at = 128 * (byte / 64) + byte % 64;
                *out = levels[at] & 15 | levels[at + 64] << 4;
            }
            for (byte, out) in block[128..192].iter_mut().enumerate() {
                let at = 128 * (byte / 32) + byte % 32;
                *out = (0..4).fold(0, |bits, j| bits | (levels[at + 32 * j] >> 4) << (2 * j));
            }
            for (byte, code) in block[192..208].iter_mut().zip(codes) {
                *byte = code as u8;
            }
            block[208..].copy_from_slice(&d.to_le_bytes());
        },
    );
}
