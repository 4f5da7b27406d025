//! Encoders of the formats with blocks of 32. Layouts: `dequant/blocks32.rs`.

use super::Encoder;
use super::fit::{affine, symmetric};
use super::k_quants::{FINE, finite};
use super::lanes::{LANES, Lanes, side_by_side};
use crate::float::f32_to_f16;

fn each<const N: usize>(x: &[f32], out: &mut [u8], encode: impl Fn(&[f32; 32], &mut [u8; N])) {
    for (x, block) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        encode(x, block);
    }
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Folds in eight lanes, which become SIMD code, then across them.
fn fold(x: &[f32; 32], with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [x[0]; 8];
    for x in x.as_chunks::<8>().0 {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = with(*lane, x);
        }
    }
    lanes.into_iter().fold(x[0], with)
}

/// Returns the largest magnitude.
fn largest(x: &[f32; 32]) -> f32 {
    fold(x, |a, b| a.abs().max(b.abs())).abs()
}

/// Returns the value of largest magnitude with its sign; the first of equals.
fn peak(x: &[f32; 32]) -> f32 {
    let largest = largest(x);
    x.iter()
        .copied()
        .find(|x| x.abs() == largest)
        .unwrap_or_default()
}

fn bounds(x: &[f32; 32]) -> (f32, f32) {
    // Comparisons map to single instructions; `f32::min` would also look after NaN.
    (
        fold(x, |a, b| if b < a { b } else { a }),
        fold(x, |a, b| if b > a { b } else { a }),
    )
}

/// Truncates to `0..=top`, as a conversion to an unsigned byte in C does for these arguments.
fn level(x: f32, top: i32) -> u8 {
    (x as i32).clamp(0, top) as u8
}

/// Joins value `j` and value `j + 16` in byte `j`, four bits each.
fn pack_halves(q: &[u8; 32], out: &mut [u8]) {
    for (j, byte) in out.iter_mut().enumerate() {
        *byte = q[j] & 15 | q[j + 16] << 4;
    }
}

fn pack_fifth_bits(q: &[u8; 32], out: &mut [u8]) {
    for (byte, q) in out.iter_mut().zip(q.as_chunks::<8>().0) {
        *byte = q
            .iter()
            .enumerate()
            .fold(0, |bits, (j, q)| bits | (q >> 4) << j);
    }
}

/// Fits the blocks of one row with importance, eight at a time, and hands each block's levels,
/// scale and offset to `write` (`quantize_row_q*_impl`). A block whose search overflows is coded by
/// `plain`.
fn each_weighted<const N: usize>(
    row: &[f32],
    importance: &[f32],
    out: &mut [u8],
    fit: impl Fn(&[Lanes; 32], &[Lanes; 32]) -> ([Lanes; 32], Lanes, Lanes),
    write: impl Fn(&[u8; 32], f32, f32, &mut [u8; N]),
    plain: Encoder,
) {
    let squares = row.iter().fold(0.0, |sum, &x| sum + x * x) / row.len() as f32;
    let mut w = importance.to_vec();
    for (w, &x) in w.iter_mut().zip(row) {
        *w *= (squares + x * x).sqrt();
    }
    let mut rest = out.as_chunks_mut().0;
    for (x, w) in row.chunks(32 * LANES).zip(w.chunks(32 * LANES)) {
        let (q, d, m) = fit(&side_by_side(x), &side_by_side(w));
        let (blocks, others) = rest.split_at_mut((x.len() / 32).min(rest.len()));
        rest = others;
        for (k, block) in blocks.iter_mut().enumerate() {
            if finite(f32_to_f16(d.0[k])) && finite(f32_to_f16(m.0[k])) {
                write(&q.map(|q| q.0[k] as u8), d.0[k], m.0[k], block);
            } else {
                plain(&x[32 * k..32 * (k + 1)], None, block);
            }
        }
    }
}

/// Fits blocks with a scale for levels `-n..=n - 1`.
fn fit_symmetric(n: f32) -> impl Fn(&[Lanes; 32], &[Lanes; 32]) -> ([Lanes; 32], Lanes, Lanes) {
    move |x, w| {
        let fit = symmetric(x, w, n);
        (x.map(|x| fit.levels(x, n)), fit.scale, Lanes::default())
    }
}

/// Fits blocks with scale and offset for levels `0..=top`.
fn fit_affine(top: f32) -> impl Fn(&[Lanes; 32], &[Lanes; 32]) -> ([Lanes; 32], Lanes, Lanes) {
    move |x, w| {
        let fit = affine::<32, false>(x, w, top, FINE);
        (x.map(|x| fit.levels(x, top)), fit.scale, -fit.min)
    }
}

fn write_q4_0(q: &[u8; 32], d: f32, _: f32, block: &mut [u8; 18]) {
    block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    pack_halves(q, &mut block[2..]);
}

fn write_q4_1(q: &[u8; 32], d: f32, m: f32, block: &mut [u8; 20]) {
    block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    block[2..4].copy_from_slice(&f32_to_f16(m).to_le_bytes());
    pack_halves(q, &mut block[4..]);
}

fn write_q5_0(q: &[u8; 32], d: f32, _: f32, block: &mut [u8; 22]) {
    block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    pack_fifth_bits(q, &mut block[2..6]);
    pack_halves(q, &mut block[6..]);
}

fn write_q5_1(q: &[u8; 32], d: f32, m: f32, block: &mut [u8; 24]) {
    block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    block[2..4].copy_from_slice(&f32_to_f16(m).to_le_bytes());
    pack_fifth_bits(q, &mut block[4..8]);
    pack_halves(q, &mut block[8..]);
}

pub(super) fn q4_0(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    if let Some(importance) = importance {
        return each_weighted(x, importance, out, fit_symmetric(8.0), write_q4_0, q4_0);
    }
    each(x, out, |x, block| {
        let d = peak(x) / -8.0;
        let id = inverse(d);
        write_q4_0(&x.map(|x| level(x * id + 8.5, 15)), d, 0.0, block);
    });
}

pub(super) fn q4_1(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    if let Some(importance) = importance {
        return each_weighted(x, importance, out, fit_affine(15.0), write_q4_1, q4_1);
    }
    each(x, out, |x, block| {
        let (lo, hi) = bounds(x);
        let d = (hi - lo) / 15.0;
        let id = inverse(d);
        write_q4_1(&x.map(|x| level((x - lo) * id + 0.5, 15)), d, lo, block);
    });
}

pub(super) fn q5_0(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    if let Some(importance) = importance {
        return each_weighted(x, importance, out, fit_symmetric(16.0), write_q5_0, q5_0);
    }
    each(x, out, |x, block| {
        let d = peak(x) / -16.0;
        let id = inverse(d);
        write_q5_0(&x.map(|x| level(x * id + 16.5, 31)), d, 0.0, block);
    });
}

pub(super) fn q5_1(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    if let Some(importance) = importance {
        return each_weighted(x, importance, out, fit_affine(31.0), write_q5_1, q5_1);
    }
    each(x, out, |x, block| {
        let (lo, hi) = bounds(x);
        let d = (hi - lo) / 31.0;
        let id = inverse(d);
        write_q5_1(&x.map(|x| level((x - lo) * id + 0.5, 31)), d, lo, block);
    });
}

pub(super) fn q8_0(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) {
    each(x, out, |x, block: &mut [u8; 34]| {
        let d = largest(x) / 127.0;
        let id = inverse(d);
        block[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
        for (byte, x) in block[2..].iter_mut().zip(x) {
            *byte = round_half_away(x * id) as u8;
        }
    });
}

/// Rounds a small number, halves away from zero. `f32::round` is a call on baseline x86-64, and
/// adding a half first would round 0.49999997 up.
fn round_half_away(x: f32) -> i8 {
    let whole = x as i32;
    let rest = x - whole as f32;
    (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_standard_library() {
        for x in [
            0.0_f32,
            0.499_999_97,
            0.5,
            0.500_000_06,
            1.5,
            2.5,
            126.5,
            126.499_99,
            127.0,
        ] {
            assert_eq!(f32::from(round_half_away(x)), x.round(), "{x}");
            assert_eq!(f32::from(round_half_away(-x)), (-x).round(), "{x}");
        }
    }
}
