//! The formats whose groups of levels come from a code book (`code_books.rs`).

use super::{each, factor};
use crate::code_books;

/// Magnitudes of the levels of the IQ2 types, times 8 (`iq2xs_grid` in `ggml-common.h`).
const IQ2: [f32; 3] = [8.0, 25.0, 43.0];
/// Magnitudes of the levels of IQ3_XXS, times 8 (`iq3xxs_grid`).
const IQ3_XXS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
/// Magnitudes of the levels of IQ3_S: the odd numbers.
const IQ3_S: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];
/// Added to or taken from the levels -1, 0 and 1 of the IQ1 types (`IQ1S_DELTA`).
const DELTA: f32 = 0.125;

/// Completes seven signs: the number of negative values in a group is even.
#[inline(always)]
fn even(signs: u32) -> u8 {
    let seven = (signs & 127) as u8;
    seven | ((seven.count_ones() % 2) as u8) << 7
}

/// Writes a group: `scale * magnitude`, negative where the bit of `signs` is set.
#[inline(always)]
fn signed<const D: usize, const N: usize>(
    y: &mut [f32],
    scale: f32,
    levels: &[u8; D],
    magnitudes: &[f32; N],
    signs: u8,
) {
    for (j, (y, &level)) in y.iter_mut().zip(levels).enumerate() {
        let sign = if signs >> j & 1 == 1 { -1.0 } else { 1.0 };
        *y = scale * magnitudes[usize::from(level)] * sign;
    }
}

/// Writes a group of an IQ1 type: `scale * (level ± 1/8)`, minus where `minus` is set.
#[inline(always)]
fn shifted(y: &mut [f32; 8], scale: f32, code: usize, minus: bool) {
    let delta = if minus { -DELTA } else { DELTA };
    for (y, &level) in y.iter_mut().zip(&code_books::IQ1[code & 2047]) {
        *y = scale * (f32::from(level as i8 - 1) + delta);
    }
}

#[inline(always)]
fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// f16 factor; per 32 values four codes, four times seven signs and a 4-bit scale:
/// `d * (1/2 + sc) / 4 * magnitude`.
pub(super) fn iq2_xxs(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 66], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        for (group, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let at = 2 + 8 * group;
            let rest = word(block, at + 4);
            let scale = d * (0.5 + (rest >> 28) as f32) * 0.25;
            for (k, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let levels = &code_books::IQ2_XXS[usize::from(block[at + k])];
                signed(y, scale, levels, &IQ2, even(rest >> (7 * k)));
            }
        }
    });
}

/// f16 factor, 32 codes of nine bits with seven signs each, 16 4-bit scales:
/// `d * (1/2 + sc) / 4 * magnitude` per 16 values.
pub(super) fn iq2_xs(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 74], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let sc = block[66 + group / 4] >> (4 * (group / 2 % 2)) & 15;
            let scale = d * (0.5 + f32::from(sc)) * 0.25;
            let code = half(block, 2 + 2 * group);
            let levels = &code_books::IQ2_XS[usize::from(code & 511)];
            signed(y, scale, levels, &IQ2, even(u32::from(code >> 9)));
        }
    });
}

/// f16 factor, 32 low bytes of codes, 32 bytes of signs, 8 bytes of upper bit pairs, 16 4-bit
/// scales: `d * (1/2 + sc) / 4 * magnitude` per 16 values.
pub(super) fn iq2_s(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 82], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let sc = block[74 + group / 4] >> (4 * (group / 2 % 2)) & 15;
            let scale = d * (0.5 + f32::from(sc)) * 0.25;
            let upper = block[66 + group / 4] >> (2 * (group % 4)) & 3;
            let code = usize::from(block[2 + group]) | usize::from(upper) << 8;
            signed(y, scale, &code_books::IQ2_S[code], &IQ2, block[34 + group]);
        }
    });
}

/// f16 factor, 64 codes, then per 32 values four times seven signs and a 4-bit scale:
/// `d * (1/2 + sc) / 2 * magnitude`.
pub(super) fn iq3_xxs(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 98], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        for (group, y) in y.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let rest = word(block, 66 + 4 * (group / 8));
            let scale = d * (0.5 + (rest >> 28) as f32) * 0.5;
            let signs = even(rest >> (7 * (group / 2 % 4))) >> (4 * (group % 2));
            let levels = &code_books::IQ3_XXS[usize::from(block[2 + group])];
            signed(y, scale, levels, &IQ3_XXS, signs);
        }
    });
}

/// f16 factor, 64 low bytes of codes, 8 bytes of ninth bits, 32 bytes of signs, eight 4-bit scales:
/// `d * (1 + 2 sc) * magnitude` per 32 values.
pub(super) fn iq3_s(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 110], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        for (group, y) in y.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let sc = block[106 + group / 16] >> (4 * (group / 8 % 2)) & 15;
            let scale = d * f32::from(1 + 2 * sc);
            let ninth = block[66 + group / 8] >> (group % 8) & 1;
            let code = usize::from(block[2 + group]) | usize::from(ninth) << 8;
            let signs = block[74 + group / 2] >> (4 * (group % 2));
            signed(y, scale, &code_books::IQ3_S[code], &IQ3_S, signs);
        }
    });
}

/// f16 factor, 32 low bytes of codes, then per 32 values 16 bits: four times three upper bits of
/// codes, a 3-bit scale and the sign of the shift: `d * (1 + 2 sc) * (level ± 1/8)`.
pub(super) fn iq1_s(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 50], y: &mut [f32; 256]| {
        let d = factor(block, 0);
        for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let rest = half(block, 34 + 2 * (group / 4));
            let scale = d * f32::from(2 * (rest >> 12 & 7) + 1);
            let upper = usize::from(rest >> (3 * (group % 4)) & 7);
            let code = usize::from(block[2 + group]) | upper << 8;
            shifted(y, scale, code, rest & 0x8000 != 0);
        }
    });
}

/// 32 low bytes of codes; 32 half bytes with three upper bits and the sign of the shift; four times
/// 16 bits, each of four 3-bit scales and, on top, four bits of the f16 factor, lowest first:
/// `d * (1 + 2 sc) * (level ± 1/8)` per 16 values.
pub(super) fn iq1_m(bytes: &[u8], out: &mut [f32]) {
    each(bytes, out, |block: &[u8; 56], y: &mut [f32; 256]| {
        let scales: [u16; 4] = std::array::from_fn(|i| half(block, 48 + 2 * i));
        let bits = (0..4).fold(0, |bits, i| bits | (scales[i] >> 12) << (4 * i));
        let d = crate::float::f16_to_f32(bits);
        for (group, y) in y.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let sc = scales[group / 8] >> (3 * (group / 2 % 4)) & 7;
            let scale = d * f32::from(2 * sc + 1);
            let high = block[32 + group / 2] >> (4 * (group % 2));
            let code = usize::from(block[group]) | usize::from(high & 7) << 8;
            shifted(y, scale, code, high & 8 != 0);
        }
    });
}
