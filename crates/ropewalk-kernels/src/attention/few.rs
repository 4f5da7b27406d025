//! Scores and weighted values of up to sixteen rows, as in decode: the cache is read once, in order.
//!
//! The sums are those of the micro-kernel: scores are chains over the features, weighted values
//! chains over the keys. What differs is that keys are transposed in registers, 16 at a time, and
//! that memory is asked for ahead of use, from keys to values and on to the next span.
use super::plan::SPAN;
use crate::simd::line::{Line, prefetch};
use crate::simd::{Kernel, LANES, Lanes};

/// Most rows of this path.
pub(super) const MAX_ROWS: usize = 16;

/// One span of keys and values and the rows that meet it.
pub(super) struct Few<E: Line> {
    /// First key and first value of the span, rows of `dim`.
    pub(super) keys: *const E::Bits,
    pub(super) values: *const E::Bits,
    pub(super) count: usize,
    pub(super) dim: usize,
    /// Queries `[rows, dim]`.
    pub(super) q: *const f32,
    pub(super) rows: usize,
    pub(super) scale: f32,
    /// `[rows, SPAN]`
    pub(super) scores: *mut f32,
    /// `[rows, dim]`
    pub(super) out: *mut f32,
}

/// Computes `scale * q k^T` into the scores.
pub(super) struct Scores<'a, E: Line>(pub(super) &'a Few<E>);

/// Computes `scores * v` into the output.
pub(super) struct Values<'a, E: Line>(pub(super) &'a Few<E>);

impl<E: Line> Kernel for Scores<'_, E> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: forwarded to the caller.
        unsafe {
            match self.0.rows {
                1 => self.0.scores::<L, 1>(0),
                2 => self.0.scores::<L, 2>(0),
                3 | 4 => self.0.scores::<L, 4>(0),
                rows => {
                    for first in (0..rows).step_by(8) {
                        self.0.scores::<L, 8>(first);
                    }
                }
            }
        }
    }
}

impl<E: Line> Kernel for Values<'_, E> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let few = self.0;
        // Accumulators fill the registers: 16 vectors, or 4 pairs.
        // SAFETY: forwarded to the caller.
        unsafe {
            match (few.rows, L::WIDE) {
                (1, true) => few.values::<L, 1, 8>(0),
                (2, true) => few.values::<L, 2, 8>(0),
                (3 | 4, true) => few.values::<L, 4, 4>(0),
                (_, true) => {
                    for first in (0..few.rows).step_by(8) {
                        few.values::<L, 8, 2>(first);
                    }
                }
                (1, false) => few.values::<L, 1, 4>(0),
                (2, false) => few.values::<L, 2, 2>(0),
                (_, false) => {
                    for first in (0..few.rows).step_by(4) {
                        few.values::<L, 4, 1>(first);
                    }
                }
            }
        }
    }
}

impl<E: Line> Few<E> {
    /// Returns the keys between a prefetch and its use: 16 KiB of the cache, measured best
    /// on Zen 5, but at most one span.
    #[inline(always)]
    fn ahead(&self) -> usize {
        let values = (16 << 10) / size_of::<E::Bits>();
        (values / self.dim).next_multiple_of(LANES).min(SPAN)
    }

    /// Computes `R` rows from `first`; rows past the last one repeat it and are not stored.
    #[inline(always)]
    unsafe fn scores<L: Lanes, const R: usize>(&self, first: usize) {
        let (dim, size) = (self.dim, size_of::<E::Bits>());
        let ahead_by = self.ahead();
        // The first pass over the keys asks for them.
        let fetched = if first == 0 { LANES } else { 0 };
        for key in (0..self.count).step_by(LANES) {
            let present = LANES.min(self.count - key);
            // The keys to ask for; past the last one, the first values.
            let ahead = if key + ahead_by < self.count {
                self.keys.wrapping_add((key + ahead_by) * dim)
            } else {
                self.values
                    .wrapping_add((key + ahead_by).saturating_sub(self.count) * dim)
            };
            // SAFETY: `present` keys from `key`, `rows` queries.
            unsafe {
                let mut acc = [L::splat(0.0); R];
                let mut d = 0;
                while d < dim {
                    let width = LANES.min(dim - d);
                    prefetch(ahead.wrapping_add(d * LANES).cast(), width * fetched * size);
                    let start = self.keys.add(key * dim + d);
                    let mut keys = [L::splat(0.0); LANES];
                    if width == LANES && present == LANES {
                        for (i, k) in keys.iter_mut().enumerate() {
                            *k = E::load(start.add(i * dim));
                        }
                    } else {
                        for (i, k) in keys.iter_mut().enumerate().take(present) {
                            *k = E::load_part(start.add(i * dim), width);
                        }
                    }
                    let columns = L::transpose(keys);
                    if width == LANES {
                        for (i, &k) in columns.iter().enumerate() {
                            self.step::<L, R>(first, d + i, k, &mut acc);
                        }
                    } else {
                        for (i, &k) in columns.iter().enumerate().take(width) {
                            self.step::<L, R>(first, d + i, k, &mut acc);
                        }
                    }
                    d += width;
                }
                let scale = L::splat(self.scale);
                for (r, acc) in (first..self.rows).zip(&acc) {
                    scale
                        .mul(*acc)
                        .store_part(self.scores.add(r * SPAN + key), present);
                }
            }
        }
    }

    /// Adds feature `d` of 16 keys times that of each query.
    #[inline(always)]
    unsafe fn step<L: Lanes, const R: usize>(
        &self,
        first: usize,
        d: usize,
        keys: L,
        acc: &mut [L; R],
    ) {
        for (r, acc) in acc.iter_mut().enumerate() {
            let row = (first + r).min(self.rows - 1);
            // SAFETY: feature `d` of an existing query.
            unsafe { *acc = L::splat(*self.q.add(row * self.dim + d)).fma(keys, *acc) };
        }
    }

    /// Computes `R` rows from `first`, up to `C` vectors of columns at a time.
    #[inline(always)]
    unsafe fn values<L: Lanes, const R: usize, const C: usize>(&self, first: usize) {
        let dim = self.dim;
        let whole = dim / LANES;
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
            if whole * LANES < dim {
                self.columns::<L, R, 1>(first, whole * LANES, dim - whole * LANES);
            }
        }
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
        let row = |r: usize| (first + r).min(self.rows - 1);
        let ahead_by = self.ahead();
        // Each pass asks for its own columns; a second set of rows finds them in a cache.
        let wanted = (C - 1) * LANES + width;
        let bytes = if first == 0 {
            wanted * size_of::<E::Bits>()
        } else {
            0
        };
        // SAFETY: `count` values and weights; every row index is below `rows`.
        unsafe {
            let mut acc = [[L::splat(0.0); C]; R];
            for key in 0..self.count {
                // Past the last value the next span's keys follow this span's.
                let ahead = if key + ahead_by < self.count {
                    self.values.wrapping_add((key + ahead_by) * dim)
                } else {
                    self.keys.wrapping_add((key + ahead_by) * dim)
                };
                prefetch(ahead.wrapping_add(d).cast(), bytes);
                let start = self.values.add(key * dim + d);
                let mut values = [L::splat(0.0); C];
                for (c, value) in values.iter_mut().enumerate() {
                    let p = start.add(c * LANES);
                    *value = if width == LANES {
                        E::load(p)
                    } else {
                        E::load_part(p, width)
                    };
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let weight = L::splat(*self.scores.add(row(r) * SPAN + key));
                    for (c, acc) in acc.iter_mut().enumerate() {
                        *acc = weight.fma(values[c], *acc);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                if first + r >= self.rows {
                    break;
                }
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
