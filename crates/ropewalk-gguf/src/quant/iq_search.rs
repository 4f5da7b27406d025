//! The search that the encoders of IQ2 and IQ3 share (`quantize_row_iq2_xs_impl` and its relatives
//! in `ggml-quants.c`, whose order of operations it keeps, so that bytes are equal).
//!
//! Signs are split off first. Then a range of step sizes is tried: magnitudes are rounded to levels,
//! groups without a code become the neighbour with the least weighted error, and the scale is the
//! weighted least-squares fit to these levels. The best is refined once at its own scale.

use super::iq_book::{Book, Coded};
use super::lanes::nearest;
use crate::float::f32_to_f16;

/// Values per super-block.
pub(super) const SUPER: usize = 256;

/// Which groups are rounded again at the scale found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// All.
    Always,
    /// Those that were without a code.
    Missed,
    /// All, where one was without a code.
    AllIfMissed,
}

/// How a type is searched, with groups of `D` values.
pub(super) struct Search<const D: usize> {
    pub(super) book: &'static Book<D>,
    /// Number of levels; level `l` stands for the odd number `2 l + 1`.
    pub(super) levels: i32,
    /// Step sizes tried on either side, and their distance in odd numbers.
    pub(super) steps: i32,
    pub(super) step: f32,
    /// Blocks whose largest magnitude is below are zeros.
    pub(super) least: f32,
    /// Only seven signs of eight are stored; the number of negative ones is even.
    pub(super) even: bool,
    pub(super) again: Again,
}

/// The codes of up to 32 values.
#[derive(Default)]
pub(super) struct Fit {
    /// One per group.
    pub(super) codes: [u16; 8],
    /// One byte per eight values.
    pub(super) signs: [u8; 4],
    pub(super) scale: f32,
}

impl<const D: usize> Search<D> {
    /// Codes `S` values. `reach` gives, from magnitudes and their largest, the value that the
    /// largest odd number is to stand for.
    pub(super) fn fit<const S: usize>(
        &self,
        x: &[f32; S],
        weights: &[f32; S],
        reach: impl Fn(&[f32; S], f32) -> f32,
    ) -> Fit {
        let (x, mut signs) = self.split(x, weights);
        let largest = x.iter().fold(x[0], |a, &b| if b > a { b } else { a });
        let reach = if largest < self.least {
            0.0
        } else {
            reach(&x, largest)
        };
        if reach <= 0.0 || !reach.is_finite() {
            return Fit::default();
        }
        let roots = weights.map(f32::sqrt);
        let top = (2 * self.levels - 1) as f32;
        let (mut best, mut scale) = (0.0, reach / top);
        let mut codes = [0; 8];
        let mut exact = [self.again == Again::Missed; 8];
        for step in -self.steps..=self.steps {
            let inverse = (top + step as f32 * self.step) / reach;
            let (mut these, mut these_exact) = ([0; 8], [true; 8]);
            for (k, (x, roots)) in groups::<D>(&x, &roots).enumerate() {
                (these[k], these_exact[k]) = self.round(x, roots, inverse, 1.0 / inverse);
            }
            let (xq, qq) = self.products(&x, weights, &these);
            if qq > 0.0 && xq * xq > best * qq {
                scale = xq / qq;
                best = scale * xq;
                (codes, exact) = (these, these_exact);
            }
        }
        let missed = exact[..S / D].contains(&false);
        if scale > 0.0 && (missed || self.again == Again::Always) {
            let inverse = 1.0 / scale;
            for (k, (x, roots)) in groups::<D>(&x, &roots).enumerate() {
                if self.again != Again::Missed || !exact[k] {
                    codes[k] = self.round(x, roots, inverse, scale).0;
                }
            }
            let (xq, qq) = self.products(&x, weights, &codes);
            if qq > 0.0 {
                scale = xq / qq;
            }
        }
        if !scale.is_finite() {
            // Importance so large or small that sums overflow says nothing.
            scale = reach / top;
        }
        if scale < 0.0 {
            scale = -scale;
            signs = signs.map(|s| if self.even { !s & 127 } else { !s });
        }
        Fit {
            codes,
            signs,
            scale,
        }
    }

    /// Splits values into magnitudes and signs. Where the number of signs is to be even, the value
    /// that matters least keeps its sign in its magnitude.
    fn split<const S: usize>(&self, x: &[f32; S], weights: &[f32; S]) -> ([f32; S], [u8; 4]) {
        let (mut magnitudes, mut signs) = (*x, [0_u8; 4]);
        for (k, x) in magnitudes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut least = (f32::INFINITY, 0);
            for (i, x) in x.iter_mut().enumerate() {
                let loss = weights[8 * k + i] * *x * *x;
                if i == 0 || loss < least.0 {
                    least = (loss, i);
                }
                if *x < 0.0 {
                    *x = -*x;
                    signs[k] |= 1 << i;
                }
            }
            if self.even {
                if signs[k].count_ones() % 2 == 1 {
                    x[least.1] = -x[least.1];
                    signs[k] ^= 1 << least.1;
                }
                signs[k] &= 127;
            }
        }
        (magnitudes, signs)
    }

    /// Codes a group at a scale, and says whether the rounded levels had a code.
    fn round(&self, x: &[f32; D], roots: &[f32; D], inverse: f32, scale: f32) -> (u16, bool) {
        let levels = x.map(|x| nearest(0.5 * (inverse * x - 1.0)).clamp(0, self.levels - 1) as u8);
        match self.book.coded(&levels) {
            Coded::Exact(code) => (code, true),
            Coded::Near(near) => {
                let (mut best, mut code) = (f32::MAX, near[0]);
                for &other in near {
                    let mut error = 0.0;
                    for ((q, x), root) in self.odd(other).iter().zip(x).zip(roots) {
                        let miss = scale * q - x;
                        error += root * miss * miss;
                    }
                    if error < best {
                        (best, code) = (error, other);
                    }
                }
                (code, false)
            }
        }
    }

    /// Returns the odd numbers of a code.
    fn odd(&self, code: u16) -> [f32; D] {
        self.book.levels(code).map(|level| f32::from(2 * level + 1))
    }

    /// Returns the weighted products of values with their codes' numbers and of these with
    /// themselves.
    fn products<const S: usize>(
        &self,
        x: &[f32; S],
        weights: &[f32; S],
        codes: &[u16; 8],
    ) -> (f32, f32) {
        let (mut xq, mut qq) = (0.0, 0.0);
        for ((x, weights), &code) in groups::<D>(x, weights).zip(codes) {
            for ((q, x), w) in self.odd(code).iter().zip(x).zip(weights) {
                xq += w * x * q;
                qq += w * q * q;
            }
        }
        (xq, qq)
    }
}

/// Walks two arrays by groups of `D`.
fn groups<'a, const D: usize>(
    x: &'a [f32],
    y: &'a [f32],
) -> impl Iterator<Item = (&'a [f32; D], &'a [f32; D])> {
    x.as_chunks::<D>().0.iter().zip(y.as_chunks::<D>().0)
}

/// Returns the mean square of a super-block.
pub(super) fn mean_square(x: &[f32; SUPER]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x) / SUPER as f32
}

/// Returns the largest magnitude.
pub(super) fn largest(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |a, b| if b.abs() > a { b.abs() } else { a })
}

/// Weighs `S` values: importance where given times `sqrt(variance + x²)`, else `otherwise(x²)`.
pub(super) fn weigh<const S: usize>(
    x: &[f32; S],
    importance: Option<&[f32; S]>,
    variance: f32,
    otherwise: impl Fn(f32) -> f32,
) -> [f32; S] {
    match importance {
        Some(importance) => {
            std::array::from_fn(|i| importance[i] * (variance + x[i] * x[i]).sqrt())
        }
        None => x.map(|x| otherwise(x * x)),
    }
}

/// Codes scales as odd numbers `2 l + 1`, `l` from 0 to `top`, of a common factor, which is returned
/// as f16 after a multiplication by `stretch`. `None` when all are zero.
pub(super) fn code_scales<const N: usize>(
    scales: &[f32; N],
    top: i32,
    stretch: f32,
) -> Option<(u16, [u8; N])> {
    let largest = scales.iter().fold(0.0, |a, &b| if b > a { b } else { a });
    if largest == 0.0 {
        return None;
    }
    let d = largest / (2 * top + 1) as f32;
    let inverse = 1.0 / d;
    let codes = scales.map(|s| nearest(0.5 * (inverse * s - 1.0)).clamp(0, top) as u8);
    Some((f32_to_f16(d * stretch), codes))
}

/// Returns part `i` of a super-block and of its importance.
pub(super) fn part<'a, const S: usize>(
    x: &'a [f32; SUPER],
    importance: Option<&'a [f32; SUPER]>,
    i: usize,
) -> (&'a [f32; S], Option<&'a [f32; S]>) {
    (&x.as_chunks().0[i], importance.map(|w| &w.as_chunks().0[i]))
}
