//! Scores and weighted values of up to sixteen rows, as in decode: the cache is read once, in order.
//!
//! The sums are those of the micro-kernel: scores are chains over the features, weighted values
//! chains over the keys. What differs is that no panel is widened to memory first, and that memory
//! is asked for ahead of use, from keys to values and on to the next span.
use super::Q8_BLOCK;
use super::format::Format;
use super::plan::SPAN;
use crate::simd::line::prefetch;
use crate::simd::{Kernel, LANES, Lanes};

/// Most rows of this path.
pub(super) const MAX_ROWS: usize = 16;
/// Bytes between a prefetch and its use, measured best on Zen 5; at most one span.
const AHEAD: usize = 16 << 10;
const LINE: usize = 64;

/// Computes `scale * q k^T` for one span.
pub(super) struct Scores<F> {
    pub(super) keys: F,
    /// What is read after the keys.
    pub(super) next: *const u8,
    pub(super) count: usize,
    pub(super) dim: usize,
    /// Queries `[dim, rows]`.
    pub(super) q: *const f32,
    pub(super) rows: usize,
    pub(super) scale: f32,
    /// `[rows, SPAN]`
    pub(super) scores: *mut f32,
}

/// Computes `scores * v` for one span.
pub(super) struct Values<F> {
    pub(super) values: F,
    /// What is read after the values.
    pub(super) next: *const u8,
    pub(super) count: usize,
    pub(super) dim: usize,
    /// `[rows, SPAN]`
    pub(super) scores: *const f32,
    pub(super) rows: usize,
    /// `[rows, dim]`
    pub(super) out: *mut f32,
}

/// Calls a method with the number of rows as a constant, and another constant for it that keeps
/// the accumulators in registers.
macro_rules! by_rows {
    ($rows:expr, $wide:expr, |$r:ident, $n:ident| $call:expr, $($rows_is:pat, $wide_is:pat => $r_is:literal, $n_is:literal;)*) => {
        match ($rows, $wide) {
            $(($rows_is, $wide_is) => {
                const $r: usize = $r_is;
                const $n: usize = $n_is;
                $call
            })*
        }
    };
}

impl<F: Format> Kernel for Scores<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let mut first = 0;
        while first < self.rows {
            // SAFETY: `R` rows from `first` exist; the rest is forwarded to the caller.
            first += unsafe {
                by_rows!(self.rows - first, L::WIDE, |R, P| self.rows::<L, R, P>(first),
                    1, true => 1, 8;
                    2, true => 2, 4;
                    3, true => 3, 4;
                    4, true => 4, 2;
                    5, true => 5, 2;
                    6, true => 6, 2;
                    7, true => 7, 2;
                    _, true => 8, 2;
                    1, false => 1, 4;
                    2, false => 2, 2;
                    3, false => 3, 1;
                    _, false => 4, 1;
                )
            };
        }
    }
}

impl<F: Format> Kernel for Values<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let mut first = 0;
        while first < self.rows {
            // SAFETY: `R` rows from `first` exist; the rest is forwarded to the caller.
            first += unsafe {
                by_rows!(self.rows - first, L::WIDE, |R, C| self.rows::<L, R, C>(first),
                    1, true => 1, 8;
                    2, true => 2, 8;
                    3, true => 3, 4;
                    4, true => 4, 4;
                    5, true => 5, 4;
                    6, true => 6, 4;
                    7, true => 7, 2;
                    _, true => 8, 2;
                    1, false => 1, 4;
                    2, false => 2, 2;
                    3, false => 3, 1;
                    _, false => 4, 1;
                )
            };
        }
    }
}

impl<F: Format> Scores<F> {
    /// Computes `R` rows from `first`, up to `P` panels at a time; returns `R`.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const R: usize, const P: usize>(&self, first: usize) -> usize {
        let panels = self.count.div_ceil(LANES);
        let mut panel = 0;
        // SAFETY: forwarded to the caller.
        unsafe {
            while panel + P <= panels {
                self.panels::<L, R, P>(first, panel);
                panel += P;
            }
            while panel < panels {
                self.panels::<L, R, 1>(first, panel);
                panel += 1;
            }
        }
        R
    }

    #[inline(always)]
    unsafe fn panels<L: Lanes, const R: usize, const P: usize>(&self, first: usize, panel: usize) {
        let dim = self.dim;
        // The first pass over the keys asks for what comes `AHEAD` of them in the order of the
        // loops below: features of `P` panels, then the next `P` panels.
        let column = LANES * F::BYTES;
        let (fetch, per_line) = (first == 0, LINE / column);
        let steps = (AHEAD / (P * column)).min(SPAN / LANES * dim / P);
        let (groups, later) = (steps / dim, steps % dim);
        let panels = self.count.div_ceil(LANES);
        let place = |panel: usize| match panel.checked_sub(panels) {
            Some(behind) => self.next.wrapping_add(behind * dim * column),
            None => self.keys.start().wrapping_add(panel * dim * column),
        };
        let near: [*const u8; P] =
            std::array::from_fn(|p| place(panel + p + groups * P).wrapping_add(later * column));
        let far: [*const u8; P] = std::array::from_fn(|p| {
            place(panel + p + (groups + 1) * P).wrapping_sub((dim - later) * column)
        });
        // SAFETY: the panels are in the cache; `R` queries from `first`.
        unsafe {
            let mut acc = [[L::splat(0.0); P]; R];
            let mut d = 0;
            while d < dim {
                let block = d / Q8_BLOCK;
                let mut scales = [self.keys.key_scale::<L>(panel, block); P];
                for (p, scale) in scales.iter_mut().enumerate().skip(1) {
                    *scale = self.keys.key_scale::<L>(panel + p, block);
                }
                let end = (d + Q8_BLOCK).min(dim);
                while d < end {
                    if fetch && d.is_multiple_of(per_line) {
                        let ahead = if d + later < dim { &near } else { &far };
                        for ahead in ahead {
                            prefetch(ahead.wrapping_add(d * column), LINE);
                        }
                    }
                    let mut keys = [L::splat(0.0); P];
                    for (p, keys) in keys.iter_mut().enumerate() {
                        *keys = self.keys.key::<L>(panel + p, d, scales[p]);
                    }
                    let q = self.q.add(d * self.rows + first);
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let q = L::splat(*q.add(r));
                        for (acc, &keys) in acc.iter_mut().zip(&keys) {
                            *acc = q.fma(keys, *acc);
                        }
                    }
                    d += 1;
                }
            }
            let scale = L::splat(self.scale);
            for (r, acc) in acc.iter().enumerate() {
                for (p, acc) in acc.iter().enumerate() {
                    let key = (panel + p) * LANES;
                    let to = self.scores.add((first + r) * SPAN + key);
                    let scores = scale.mul(*acc);
                    if key + LANES <= self.count {
                        scores.store(to);
                    } else {
                        scores.store_part(to, self.count - key);
                    }
                }
            }
        }
    }
}

impl<F: Format> Values<F> {
    /// Computes `R` rows from `first`, up to `C` vectors of columns at a time; returns `R`.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const R: usize, const C: usize>(&self, first: usize) -> usize {
        let whole = self.dim / LANES;
        let mut v = 0;
        // SAFETY: forwarded to the caller.
        unsafe {
            while v < whole {
                let (d, left) = (v * LANES, whole - v);
                v += if C >= 8 && left >= 8 {
                    self.columns::<L, R, 8>(first, d, LANES);
                    8
                } else if C >= 4 && left >= 4 {
                    self.columns::<L, R, 4>(first, d, LANES);
                    4
                } else if C >= 2 && left >= 2 {
                    self.columns::<L, R, 2>(first, d, LANES);
                    2
                } else {
                    self.columns::<L, R, 1>(first, d, LANES);
                    1
                };
            }
            if whole * LANES < self.dim {
                self.columns::<L, R, 1>(first, whole * LANES, self.dim - whole * LANES);
            }
        }
        R
    }

    /// Computes `C` vectors of columns from column `d`; `width` lanes of the last are valid.
    #[inline(always)]
    unsafe fn columns<L: Lanes, const R: usize, const C: usize>(
        &self,
        first: usize,
        d: usize,
        width: usize,
    ) {
        let dim = self.dim;
        // Each pass asks for its own columns; a second set of rows finds them in a cache.
        let bytes = if first == 0 {
            ((C - 1) * LANES + width) * F::BYTES
        } else {
            0
        };
        let row = dim * F::BYTES;
        let ahead_by = (AHEAD / row).min(SPAN);
        let start = self.values.start().wrapping_add(d * F::BYTES);
        let columns_after = d + C * LANES;
        let next = if columns_after < dim {
            self.values.start().wrapping_add(columns_after * F::BYTES)
        } else {
            self.next
        };
        // SAFETY: `count` values and weights; `R` rows from `first`.
        unsafe {
            let mut acc = [[L::splat(0.0); C]; R];
            for key in 0..self.count {
                // Past the last value comes what is read next.
                let ahead = match (key + ahead_by).checked_sub(self.count) {
                    Some(behind) => next.wrapping_add(behind * row),
                    None => start.wrapping_add((key + ahead_by) * row),
                };
                prefetch(ahead, bytes);
                let mut values = [L::splat(0.0); C];
                for (c, value) in values.iter_mut().enumerate() {
                    let d = d + c * LANES;
                    let scale = self.values.value_scale::<L>(key, d / Q8_BLOCK);
                    *value = self.values.value::<L>(key, d, width, scale);
                }
                let weights = self.scores.add(first * SPAN + key);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let weight = L::splat(*weights.add(r * SPAN));
                    for (acc, &values) in acc.iter_mut().zip(&values) {
                        *acc = weight.fma(values, *acc);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (c, acc) in acc.iter().enumerate() {
                    let p = self.out.add((first + r) * dim + d + c * LANES);
                    if width == LANES {
                        acc.store(p);
                    } else {
                        acc.store_part(p, width);
                    }
                }
            }
        }
    }
}
