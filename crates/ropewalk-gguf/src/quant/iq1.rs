//! Encoders of IQ1_S and IQ1_M. Layouts: `dequant/iq.rs`.
//!
//! With three levels the best assignment can be found exactly: in sorted order the levels are three
//! runs, and all pairs of borders are tried with both shifts (`quantize_row_iq1_s_impl` and
//! `quantize_row_iq1_m_impl` in `ggml-quants.c`, whose order of operations is kept). Groups without
//! a code then become their best neighbour.

use super::iq_book::{self, Coded};
use super::iq_search::{SUPER, code_scales, largest, mean_square, part, weigh};
use super::k_quants::each;
use crate::float::f32_to_f16;

const DELTA: f32 = 0.125;
/// The three levels, shifted up and shifted down.
const UP: [f32; 3] = [-1.0 + DELTA, DELTA, 1.0 + DELTA];
const DOWN: [f32; 3] = [-1.0 - DELTA, -DELTA, 1.0 - DELTA];

/// The best borders found so far.
struct Best {
    score: f32,
    scale: f32,
    borders: Option<(usize, usize)>,
    /// Which combination of shifts.
    shift: usize,
}

impl Best {
    fn new() -> Self {
        Self {
            score: f32::MIN,
            scale: 0.0,
            borders: None,
            shift: 0,
        }
    }

    fn offer(&mut self, (xq, qq): (f32, f32), borders: (usize, usize), shift: usize) {
        if qq > 0.0 && xq * xq > self.score * qq {
            self.scale = xq / qq;
            self.score = self.scale * xq;
            (self.borders, self.shift) = (Some(borders), shift);
        }
    }
}

/// Returns the indices of values in ascending order, equal ones as they come.
fn ascending<const S: usize>(x: &[f32; S]) -> [usize; S] {
    let mut order = std::array::from_fn(|i| i);
    order.sort_by(|&i, &j| x[i].partial_cmp(&x[j]).unwrap_or(std::cmp::Ordering::Equal));
    order
}

/// Running sums in the given order, the first being zero.
fn sums<const S: usize>(order: &[usize; S], of: impl Fn(usize) -> f32) -> [f32; 33] {
    let mut sums = [0.0; 33];
    for (j, &i) in order.iter().enumerate() {
        sums[j + 1] = sums[j] + of(i);
    }
    sums
}

/// Codes of up to four groups.
#[derive(Default)]
struct Fit {
    codes: [u16; 4],
    scale: f32,
    shift: usize,
}

/// Turns borders into codes and fits the scale again where groups moved. `shifts` gives the levels
/// of group `k` under a combination of shifts, `opposite` the combination with signs changed.
fn finish<const S: usize>(
    x: &[f32; S],
    weights: &[f32; S],
    order: &[usize; S],
    best: &Best,
    opposite: usize,
    shifts: impl Fn(usize, usize) -> &'static [f32; 3],
) -> Option<Fit> {
    let (first, second) = best.borders?;
    let mut levels = [1; S];
    order[..first].iter().for_each(|&i| levels[i] = 0);
    order[second..].iter().for_each(|&i| levels[i] = 2);
    let (mut scale, mut shift) = (best.scale, best.shift);
    if scale < 0.0 {
        levels = levels.map(|level| 2 - level);
        (scale, shift) = (-scale, opposite);
    }
    let book = &*iq_book::IQ1;
    let (x, weights) = (x.as_chunks::<8>().0, weights.as_chunks::<8>().0);
    let mut codes = [0; 4];
    let (mut moved, mut xq, mut qq) = (false, 0.0, 0.0);
    for (k, levels) in levels.as_chunks::<8>().0.iter().enumerate() {
        let shifted = shifts(shift, k);
        codes[k] = match book.coded(levels) {
            Coded::Exact(code) => code,
            Coded::Near(near) => {
                moved = true;
                nearest(near, &x[k], &weights[k], scale, shifted)
            }
        };
        add_products(
            codes[k],
            &x[k],
            &weights[k],
            shifted,
            1.0,
            (&mut xq, &mut qq),
        );
    }
    if moved && xq > 0.0 && qq > 0.0 {
        scale = xq / qq;
    }
    scale.is_finite().then_some(Fit {
        codes,
        scale,
        shift,
    })
}

fn nearest(near: &[u16], x: &[f32; 8], weights: &[f32; 8], scale: f32, shifted: &[f32; 3]) -> u16 {
    let (mut best, mut code) = (f32::MAX, near[0]);
    for &other in near {
        let levels = iq_book::IQ1.levels(other);
        let mut error = 0.0;
        for i in 0..8 {
            let miss = scale * shifted[usize::from(levels[i])] - x[i];
            error += weights[i] * miss * miss;
        }
        if error < best {
            (best, code) = (error, other);
        }
    }
    code
}

/// Adds the weighted products of a group's values with its levels, times `times`, and of these with
/// themselves.
fn add_products(
    code: u16,
    x: &[f32; 8],
    weights: &[f32; 8],
    shifted: &[f32; 3],
    times: f32,
    (xq, qq): (&mut f32, &mut f32),
) {
    for (i, &level) in iq_book::IQ1.levels(code).iter().enumerate() {
        let q = shifted[usize::from(level)] * times;
        *xq += weights[i] * q * x[i];
        *qq += weights[i] * q * q;
    }
}

/// Shift 0 is up, 1 down.
fn fit_s(x: &[f32; 32], weights: &[f32; 32]) -> Option<Fit> {
    if largest(x) < 1e-12 {
        return None;
    }
    let order = ascending(x);
    let (sx, sw) = (
        sums(&order, |i| weights[i] * x[i]),
        sums(&order, |i| weights[i]),
    );
    let mut best = Best::new();
    for first in 0..=32 {
        for second in first..=32 {
            let (x0, x1, x2) = (sx[first], sx[second] - sx[first], sx[32] - sx[second]);
            let (w0, w1, w2) = (sw[first], sw[second] - sw[first], sw[32] - sw[second]);
            for (shift, v) in [&UP, &DOWN].into_iter().enumerate() {
                let xq = x0 * v[0] + x1 * v[1] + x2 * v[2];
                let qq = w0 * v[0] * v[0] + w1 * v[1] * v[1] + w2 * v[2] * v[2];
                best.offer((xq, qq), (first, second), shift);
            }
        }
    }
    let levels = |shift, _| if shift == 0 { &UP } else { &DOWN };
    finish(x, weights, &order, &best, 1 - best.shift, levels)
}

pub(super) fn iq1_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    each(x, importance, out, |x, importance, block: &mut [u8; 50]| {
        let variance = 2.0 * mean_square(x);
        let (mut scales, mut rest) = ([0.0; SUPER / 32], [0_u16; SUPER / 32]);
        for i in 0..SUPER / 32 {
            let (x, importance) = part(x, importance, i);
            let weights = weigh(x, importance, variance, |xx| xx);
            let Some(fit) = fit_s(x, &weights) else {
                continue;
            };
            for (k, code) in fit.codes.into_iter().enumerate() {
                block[2 + 4 * i + k] = code as u8;
                rest[i] |= code >> 8 << (3 * k);
            }
            rest[i] |= (fit.shift as u16) << 15;
            scales[i] = fit.scale;
        }
        let coded = code_scales(&scales, 7, 1.125);
        if let Some((d, codes)) = coded {
            block[..2].copy_from_slice(&d.to_le_bytes());
            for (rest, code) in rest.iter_mut().zip(codes) {
                *rest |= u16::from(code) << 12;
            }
        }
        for (bytes, rest) in block[34..].as_chunks_mut::<2>().0.iter_mut().zip(rest) {
            // Without a scale there is no shift either.
            let kept = if coded.is_some() { rest } else { rest & 0xfff };
            *bytes = kept.to_le_bytes();
        }
    });
}

/// Returns the levels of half `k` under a combination of shifts: bit 1 says that the first half is
/// shifted down, bit 0 that the second is.
fn shifts_m(shift: usize, k: usize) -> &'static [f32; 3] {
    if shift >> (1 - k) & 1 == 0 {
        &UP
    } else {
        &DOWN
    }
}

fn fit_m(x: &[f32; 16], weights: &[f32; 16]) -> Option<Fit> {
    if largest(x) < 1e-7 {
        return None;
    }
    let order = ascending(x);
    // Sums for each half, which have shifts of their own.
    let half = |h: usize, i: usize, value: f32| if i / 8 == h { value } else { 0.0 };
    let sx = [0, 1].map(|h| sums(&order, |i| half(h, i, weights[i] * x[i])));
    let sw = [0, 1].map(|h| sums(&order, |i| half(h, i, weights[i])));
    let mut best = Best::new();
    for first in 0..=16 {
        for second in first..=16 {
            // Consecutive levels differ by one, so three runs' sums are two differences.
            let products = |h: usize, v: &[f32; 3]| {
                let (x, w): (&[f32; 33], &[f32; 33]) = (&sx[h], &sw[h]);
                let xq = x[16] * v[2] - (x[first] + x[second]);
                let qq = w[16] * v[2] * v[2]
                    + w[first] * (v[0] * v[0] - v[1] * v[1])
                    + w[second] * (v[1] * v[1] - v[2] * v[2]);
                (xq, qq)
            };
            let of = [0, 1].map(|h| [products(h, &UP), products(h, &DOWN)]);
            for shift in 0..4 {
                let (a, b) = (of[0][shift >> 1], of[1][shift & 1]);
                best.offer((a.0 + b.0, a.1 + b.1), (first, second), shift);
            }
        }
    }
    finish(x, weights, &order, &best, 3 - best.shift, shifts_m)
}

pub(super) fn iq1_m(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    each(x, importance, out, |x, importance, block: &mut [u8; 56]| {
        let variance = 2.0 * mean_square(x);
        let fits: [Fit; SUPER / 16] = std::array::from_fn(|i| {
            let (x, importance) = part(x, importance, i);
            fit_m(x, &weigh(x, importance, variance, |xx| xx)).unwrap_or_default()
        });
        for (i, fit) in fits.iter().enumerate() {
            for (k, code) in fit.codes[..2].iter().enumerate() {
                block[2 * i + k] = *code as u8;
                block[32 + i] |= ((code >> 8) as u8) << (4 * k);
            }
        }
        let scales = std::array::from_fn(|i| fits[i].scale);
        let Some((_, scale_codes)) = code_scales::<{ SUPER / 16 }>(&scales, 7, 1.0) else {
            return;
        };
        let mut d = scales
            .iter()
            .fold(0.0, |a: f32, &b| if b > a { b } else { a })
            / 15.0;
        let mut words = [0_u16; 4];
        let (mut xq, mut qq) = (0.0, 0.0);
        for (i, (fit, &code)) in fits.iter().zip(&scale_codes).enumerate() {
            words[i / 4] |= u16::from(code) << (3 * (i % 4));
            block[32 + i] |= [0x00, 0x80, 0x08, 0x88][fit.shift];
            let (x, importance) = part::<16>(x, importance, i);
            let weights = weigh(x, importance, variance, |xx| xx);
            let (x, weights) = (x.as_chunks().0, weights.as_chunks().0);
            for k in 0..2 {
                let (levels, times) = (shifts_m(fit.shift, k), f32::from(2 * code + 1));
                add_products(
                    fit.codes[k],
                    &x[k],
                    &weights[k],
                    levels,
                    times,
                    (&mut xq, &mut qq),
                );
            }
        }
        if qq > 0.0 && (xq / qq).is_finite() {
            d = xq / qq;
        }
        let bits = f32_to_f16(d * 1.1125);
        for (i, word) in words.into_iter().enumerate() {
            let word = word | (bits >> (4 * i) & 15) << 12;
            block[48 + 2 * i..][..2].copy_from_slice(&word.to_le_bytes());
        }
    });
}
