//! Encoders of the formats with super-blocks of 256. Layouts: `dequant/k_quants.rs`.
//!
//! Each group's scale (and minimum) is fitted first. The super-block's factors are then fixed as
//! f16, and every group chooses among the neighbouring codes of its scale and minimum the pair
//! whose error, with the weights rounded anew, is smallest.

use super::fit::{
    Affine, affine_error, affine_levels, fit_affine, fit_symmetric, importance, symmetric_error,
    symmetric_levels,
};
use crate::float::{f16_to_f32, f32_to_f16};
use crate::pack::pack_scale_min;

fn each<const N: usize>(x: &[f32], out: &mut [u8], encode: impl Fn(&[f32; 256], &mut [u8; N])) {
    for (x, block) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        encode(x, block);
    }
}

/// The codes of a super-block of `G` groups with scales and minimums.
struct AffineCodes<const G: usize> {
    d: u16,
    dmin: u16,
    scales: [u8; G],
    mins: [u8; G],
    levels: [u8; 256],
}

/// Returns the factor that gives `largest` the code `codes`, as f16 bits and as the f32 they stand
/// for.
fn f16_factor(largest: f32, codes: f32) -> (u16, f32) {
    let bits = f32_to_f16(largest / codes);
    (bits, f16_to_f32(bits))
}

fn code(x: f32, factor: f32, lo: i32, hi: i32) -> i32 {
    if factor == 0.0 {
        0
    } else {
        ((x / factor).round() as i32).clamp(lo, hi)
    }
}

/// Codes `G` groups of `N` values with levels `0..=top` and scale codes `0..=codes`.
fn encode_affine<const G: usize, const N: usize>(
    x: &[f32; 256],
    top: f32,
    codes: i32,
) -> AffineCodes<G> {
    let (groups, _) = x.as_chunks::<N>();
    let mut fits = [Affine::default(); G];
    for (fit, x) in fits.iter_mut().zip(groups) {
        *fit = fit_affine(x, &importance(x), top);
    }
    let largest = |of: fn(&Affine) -> f32| fits.iter().map(of).fold(0.0, f32::max);
    let (d_bits, d) = f16_factor(largest(|fit| fit.scale), codes as f32);
    let (dmin_bits, dmin) = f16_factor(largest(|fit| fit.min), codes as f32);
    let mut result = AffineCodes {
        d: d_bits,
        dmin: dmin_bits,
        scales: [0; G],
        mins: [0; G],
        levels: [0; 256],
    };
    let (levels, _) = result.levels.as_chunks_mut::<N>();
    for (g, (x, levels)) in groups.iter().zip(levels).enumerate() {
        let w = importance(x);
        let (sc, m) = (
            code(fits[g].scale, d, 0, codes),
            code(fits[g].min, dmin, 0, codes),
        );
        let mut best = f32::INFINITY;
        for sc in (sc - 1).max(0)..=(sc + 1).min(codes) {
            for m in (m - 1).max(0)..=(m + 1).min(codes) {
                let fit = Affine {
                    scale: d * sc as f32,
                    min: dmin * m as f32,
                };
                let q = affine_levels(x, fit, top);
                let error = affine_error(x, &w, &q, fit);
                if error < best {
                    best = error;
                    (result.scales[g], result.mins[g]) = (sc as u8, m as u8);
                    *levels = q.map(|q| q as u8);
                }
            }
        }
    }
    result
}

/// The codes of a super-block of 16 groups with signed scales. Levels are offset to start at zero.
struct SymmetricCodes {
    d: u16,
    scales: [i8; 16],
    levels: [u8; 256],
}

/// Codes 16 groups of 16 values with levels `-n..=n - 1` and scale codes `-codes..=codes - 1`.
fn encode_symmetric(x: &[f32; 256], n: f32, codes: i32) -> SymmetricCodes {
    let (groups, _) = x.as_chunks::<16>();
    let mut fits = [0.0; 16];
    for (fit, x) in fits.iter_mut().zip(groups) {
        *fit = fit_symmetric(x, &importance(x), n);
    }
    // The scale of largest magnitude gets the code of largest magnitude, which is negative.
    let largest = fits
        .iter()
        .fold(0.0, |a: f32, &s| if s.abs() > a.abs() { s } else { a });
    let (d_bits, d) = f16_factor(largest, -codes as f32);
    let mut result = SymmetricCodes {
        d: d_bits,
        scales: [0; 16],
        levels: [n as u8; 256],
    };
    let (levels, _) = result.levels.as_chunks_mut::<16>();
    for (g, (x, levels)) in groups.iter().zip(levels).enumerate() {
        let w = importance(x);
        let sc = code(fits[g], d, -codes, codes - 1);
        let mut best = f32::INFINITY;
        for sc in (sc - 1).max(-codes)..=(sc + 1).min(codes - 1) {
            let scale = d * sc as f32;
            let q = symmetric_levels(x, scale, n);
            let error = symmetric_error(x, &w, &q, scale);
            if error < best {
                best = error;
                result.scales[g] = sc as i8;
                *levels = q.map(|q| (q + n) as u8);
            }
        }
    }
    result
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

pub(super) fn q2_k(x: &[f32], out: &mut [u8]) {
    each(x, out, |x, block: &mut [u8; 84]| {
        let codes = encode_affine::<16, 16>(x, 3.0, 15);
        for (g, byte) in block[..16].iter_mut().enumerate() {
            *byte = codes.scales[g] | codes.mins[g] << 4;
        }
        pack_pairs(&codes.levels, &mut block[16..80]);
        block[80..82].copy_from_slice(&codes.d.to_le_bytes());
        block[82..].copy_from_slice(&codes.dmin.to_le_bytes());
    });
}

pub(super) fn q3_k(x: &[f32], out: &mut [u8]) {
    each(x, out, |x, block: &mut [u8; 110]| {
        let codes = encode_symmetric(x, 4.0, 32);
        for (l, byte) in block[..32].iter_mut().enumerate() {
            *byte = (0..8).fold(0, |bits, j| bits | (codes.levels[32 * j + l] >> 2) << j);
        }
        pack_pairs(&codes.levels, &mut block[32..96]);
        for (g, &scale) in codes.scales.iter().enumerate() {
            let scale = (scale + 32) as u8;
            block[96 + g % 8] |= (scale & 15) << (4 * (g / 8));
            block[104 + g % 4] |= (scale >> 4) << (2 * (g / 4));
        }
        block[108..].copy_from_slice(&codes.d.to_le_bytes());
    });
}

pub(super) fn q4_k(x: &[f32], out: &mut [u8]) {
    each(x, out, |x, block: &mut [u8; 144]| {
        let codes = encode_affine::<8, 32>(x, 15.0, 63);
        block[..2].copy_from_slice(&codes.d.to_le_bytes());
        block[2..4].copy_from_slice(&codes.dmin.to_le_bytes());
        block[4..16].copy_from_slice(&pack_scale_min(codes.scales, codes.mins));
        pack_nibbles(&codes.levels, &mut block[16..]);
    });
}

pub(super) fn q5_k(x: &[f32], out: &mut [u8]) {
    each(x, out, |x, block: &mut [u8; 176]| {
        let codes = encode_affine::<8, 32>(x, 31.0, 63);
        block[..2].copy_from_slice(&codes.d.to_le_bytes());
        block[2..4].copy_from_slice(&codes.dmin.to_le_bytes());
        block[4..16].copy_from_slice(&pack_scale_min(codes.scales, codes.mins));
        for (l, byte) in block[16..48].iter_mut().enumerate() {
            *byte = (0..8).fold(0, |bits, j| bits | (codes.levels[32 * j + l] >> 4) << j);
        }
        pack_nibbles(&codes.levels, &mut block[48..]);
    });
}

pub(super) fn q6_k(x: &[f32], out: &mut [u8]) {
    each(x, out, |x, block: &mut [u8; 210]| {
        let codes = encode_symmetric(x, 32.0, 128);
        for (byte, out) in block[..128].iter_mut().enumerate() {
            let at = 128 * (byte / 64) + byte % 64;
            *out = codes.levels[at] & 15 | codes.levels[at + 64] << 4;
        }
        for (byte, out) in block[128..192].iter_mut().enumerate() {
            let at = 128 * (byte / 32) + byte % 32;
            *out = (0..4).fold(0, |bits, j| {
                bits | (codes.levels[at + 32 * j] >> 4) << (2 * j)
            });
        }
        for (byte, scale) in block[192..208].iter_mut().zip(codes.scales) {
            *byte = scale as u8;
        }
        block[208..].copy_from_slice(&codes.d.to_le_bytes());
    });
}
