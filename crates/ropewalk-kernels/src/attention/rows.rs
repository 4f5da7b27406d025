//! Row by row: scores to weights, the merge of spans.
use super::plan::{SPAN, window_start};
use super::span::{Partial, Room, Work};
use crate::ops::exp::exp;
use crate::ops::softmax::{exp_row, max_row};
use crate::ops::tanh::tanh;
use crate::simd::{Kernel, LANES, Lanes};

/// Turns the scores of a span into weights, with their maxima and sums.
pub(super) struct Weights<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) room: Room,
    pub(super) span: usize,
    pub(super) count: usize,
    pub(super) partial: Partial,
}

impl Kernel for Weights<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for row in 0..self.work.rows {
            let (low, high) = self.work.visible(row, self.span);
            // SAFETY: row `row` of the scores, `high <= count <= SPAN`.
            unsafe {
                let start = self.room.scores.add(row * SPAN);
                let scores = std::slice::from_raw_parts_mut(start, self.count);
                let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0);
                if low < high {
                    let seen = &mut scores[low..high];
                    if let Some(cap) = self.work.shape.softcap {
                        soften::<L>(seen, cap);
                    }
                    max = max_row::<L>(seen);
                    sum = exp_row::<L>(seen, max);
                    scores[..low].fill(0.0);
                    scores[high..].fill(0.0);
                } else {
                    scores.fill(0.0);
                }
                *self.partial.max.add(row) = max;
                *self.partial.sum.add(row) = sum;
            }
        }
    }
}

/// Replaces each score `s` by `cap tanh(s / cap)`.
#[inline(always)]
unsafe fn soften<L: Lanes>(scores: &mut [f32], cap: f32) {
    // SAFETY: whole vectors, then the rest, all inside the slice.
    unsafe {
        let (cap, inverse) = (L::splat(cap), L::splat(1.0 / cap));
        for piece in scores.chunks_mut(LANES) {
            let p = piece.as_mut_ptr();
            let whole = piece.len() == LANES;
            let x = if whole {
                L::load(p)
            } else {
                L::load_part(p, piece.len())
            };
            let y = cap.mul(tanh(x.mul(inverse)));
            if whole {
                y.store(p);
            } else {
                y.store_part(p, piece.len());
            }
        }
    }
}

/// Returns whether no value is infinite or not a number.
pub(super) struct Finite {
    pub(super) start: *const f32,
    pub(super) len: usize,
}

impl Kernel for Finite {
    type Output = bool;
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        const STEP: usize = 4 * LANES;
        // SAFETY: whole vectors and then the rest of `len` values.
        unsafe {
            // A product with zero is zero or not a number, and so are sums of them.
            let zero = L::splat(0.0);
            let mut sums = [zero; 4];
            let whole = self.len / STEP * STEP;
            for i in (0..whole).step_by(STEP) {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(self.start.add(i + v * LANES)).fma(zero, *sum);
                }
            }
            for i in (whole..self.len).step_by(LANES) {
                let x = L::load_part(self.start.add(i), LANES.min(self.len - i));
                sums[0] = x.fma(zero, sums[0]);
            }
            let [a, b, c, d] = sums;
            !a.add(b).add(c.add(d)).sum().is_nan()
        }
    }
}

/// Merges one span into the running results of every row that sees it.
pub(super) struct Join<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) span: usize,
    pub(super) partial: Partial,
    pub(super) running: Partial,
}

impl Kernel for Join<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let dim = self.work.shape.head_dim;
        for row in 0..self.work.rows {
            let (low, high) = self.work.visible(row, self.span);
            if low >= high {
                continue;
            }
            // The first span a row sees holds its first visible position.
            let pos = self.work.seq.first_pos + self.work.unit.query + row / self.work.group;
            let first = window_start(self.work.shape, pos) / SPAN == self.span;
            // SAFETY: row `row` of both results.
            unsafe {
                let (max, sum) = (self.running.max.add(row), self.running.sum.add(row));
                let (new_max, new_sum) = (*self.partial.max.add(row), *self.partial.sum.add(row));
                let to = self.running.values.add(row * dim);
                let from = self.partial.values.add(row * dim);
                if first {
                    *max = new_max;
                    *sum = new_sum;
                    std::ptr::copy_nonoverlapping(from, to, dim);
                    continue;
                }
                let top = if *max > new_max { *max } else { new_max };
                let (old, new) = (exp(L::splat(*max - top)), exp(L::splat(new_max - top)));
                let mut factors = [0.0f32; 2 * LANES];
                old.store(factors.as_mut_ptr());
                new.store(factors.as_mut_ptr().add(LANES));
                *max = top;
                *sum = L::fma1(*sum, factors[0], new_sum * factors[LANES]);
                let mut i = 0;
                while i + LANES <= dim {
                    let scaled = L::load(from.add(i)).mul(new);
                    L::load(to.add(i)).fma(old, scaled).store(to.add(i));
                    i += LANES;
                }
                if i < dim {
                    let rest = dim - i;
                    let scaled = L::load_part(from.add(i), rest).mul(new);
                    L::load_part(to.add(i), rest)
                        .fma(old, scaled)
                        .store_part(to.add(i), rest);
                }
            }
        }
    }
}
