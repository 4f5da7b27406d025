//! One head of one sequence.
use std::cell::RefCell;

use super::{BidirectionalShape, Rows};
use crate::Isa;
use crate::micro::{self, PANEL, Tile};
use crate::ops::exp::exp;
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::simd::{Four, Kernel, LANES, Lanes, dispatch_usable};

/// Most queries of a task: enough to make turning the keys into panels cheap.
pub(super) const QUERIES: usize = 512;
/// Scores of one block of queries, for a first-level cache of 48 KiB with panels beside them.
const SCORES: usize = 6 << 10;
/// Least queries of a block, whole micro-tiles of every tier.
const LEAST: usize = 24;

// Scores become weights by the vector, in rows of whole panels.
const _: () = assert!(PANEL == LANES && LEAST <= QUERIES);

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Queries `query..query + queries` of the sequence whose `len` rows begin at row `first`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) first: usize,
    pub(super) len: usize,
    pub(super) query: usize,
    pub(super) queries: usize,
}

/// The operands of an attention, checked.
pub(super) struct Task<'a> {
    pub(super) isa: Isa,
    pub(super) shape: &'a BidirectionalShape,
    pub(super) q: Rows<'a>,
    pub(super) k: Rows<'a>,
    pub(super) v: Rows<'a>,
    pub(super) out: Shared<f32>,
}

impl Task<'_> {
    /// Returns the keys that queries `first..end` of a sequence of `len` tokens see.
    fn seen(&self, first: usize, end: usize, len: usize) -> (usize, usize) {
        match self.shape.window {
            Some(w) => (first.saturating_sub(w), end.saturating_add(w).min(len)),
            None => (0, len),
        }
    }

    /// Computes the output of one head of a unit.
    ///
    /// # Safety
    /// The operands were checked, `isa` is available, nobody else touches this head of these rows.
    pub(super) unsafe fn run(&self, unit: Unit, head: usize) {
        let dim = self.shape.head_dim;
        let kv_head = head / (self.shape.q_heads / self.shape.kv_heads);
        let (low, high) = self.seen(unit.query, unit.query + unit.queries, unit.len);
        let panels = (high - low).div_ceil(PANEL);
        let padded = dim.next_multiple_of(PANEL);
        let row = panels * PANEL;
        let block = (SCORES / row / LEAST * LEAST).clamp(LEAST, QUERIES);
        let block = block.min(unit.queries);
        // Values are used in place where a head is whole panels.
        let copied = if padded == dim { 0 } else { row * padded };
        let mut scratch = SCRATCH.take();
        let keys = scratch.get(row * dim + PANEL + block * row + block + copied);
        // SAFETY: the parts of the scratch follow each other; rows of the operands were checked.
        unsafe {
            let scores = keys.add(row * dim + PANEL);
            let factors = scores.add(block * row);
            let k = self.k.data.as_ptr().add(kv_head * dim);
            for panel in 0..panels {
                let from = low + panel * PANEL;
                micro::transpose_to_panels(
                    self.isa,
                    k.add((unit.first + from) * self.k.stride),
                    self.k.stride,
                    PANEL.min(high - from),
                    dim,
                    keys.add(panel * PANEL * dim),
                    PANEL,
                );
            }
            let v = self.v.data.as_ptr().add(kv_head * dim);
            let v = v.add((unit.first + low) * self.v.stride);
            let (values, v_stride) = if copied == 0 {
                (v, self.v.stride)
            } else {
                let room = factors.add(block);
                for i in 0..high - low {
                    let line = std::slice::from_raw_parts_mut(room.add(i * padded), padded);
                    std::ptr::copy_nonoverlapping(v.add(i * self.v.stride), line.as_mut_ptr(), dim);
                    line[dim..].fill(0.0);
                }
                (room.cast_const(), padded)
            };
            let width = self.shape.q_heads * dim;
            for done in (0..unit.queries).step_by(block) {
                let rows = block.min(unit.queries - done);
                let query = unit.query + done;
                // Panels of keys that these queries see, counted from `low`.
                let (from, to) = self.seen(query, query + rows, unit.len);
                let (from, to) = ((from - low) / PANEL * PANEL, to - low);
                let token = unit.first + query;
                micro::block(
                    self.isa,
                    &Tile {
                        k: dim,
                        a: self.q.data.as_ptr().add(token * self.q.stride + head * dim),
                        a_row: self.q.stride,
                        a_step: 1,
                        b: keys.add(from * dim),
                        b_panel: dim * PANEL,
                        b_step: PANEL,
                        c: scores,
                        c_row: row,
                        rows,
                        cols: to - from,
                        alpha: self.shape.scale,
                        beta: 0.0,
                    },
                );
                dispatch_usable(
                    self.isa,
                    Weights {
                        scores,
                        row,
                        rows,
                        count: to - from,
                        window: self.shape.window,
                        // Position of the first query relative to that of the first score.
                        query: (query - low) - from,
                        factors,
                    },
                );
                let out = self.out.at(token * width + head * dim);
                micro::block(
                    self.isa,
                    &Tile {
                        k: to - from,
                        a: scores,
                        a_row: row,
                        a_step: 1,
                        b: values.add(from * v_stride),
                        b_panel: PANEL,
                        b_step: v_stride,
                        c: out,
                        c_row: width,
                        rows,
                        cols: dim,
                        alpha: 1.0,
                        beta: 0.0,
                    },
                );
                dispatch_usable(
                    self.isa,
                    Divide {
                        out,
                        width,
                        dim,
                        rows,
                        factors,
                    },
                );
            }
        }
        SCRATCH.set(scratch);
    }
}

/// Turns rows of scores into `e^(score - largest)` and writes the inverse of each row's sum.
struct Weights {
    scores: *mut f32,
    /// Distance of rows, whole vectors.
    row: usize,
    rows: usize,
    /// Scores of a row.
    count: usize,
    window: Option<usize>,
    /// Position of the first row's query, counted from the first score.
    query: usize,
    factors: *mut f32,
}

impl Kernel for Weights {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let whole = self.count.next_multiple_of(LANES);
        for i in 0..self.rows {
            // SAFETY: `whole <= row` elements of row `i`, a factor for each row.
            unsafe {
                let p = self.scores.add(i * self.row);
                let scores = std::slice::from_raw_parts_mut(p, whole);
                scores[self.count..].fill(f32::NEG_INFINITY);
                if let Some(w) = self.window {
                    let at = self.query + i;
                    scores[..at.saturating_sub(w)].fill(f32::NEG_INFINITY);
                    scores[at.saturating_add(w).saturating_add(1).min(whole)..]
                        .fill(f32::NEG_INFINITY);
                }
                let fours = whole / (4 * LANES) * 4 * LANES;
                let mut many = Four::<L>::splat(f32::NEG_INFINITY);
                let mut max = L::splat(f32::NEG_INFINITY);
                for j in (0..fours).step_by(4 * LANES) {
                    many = Four::load(p.add(j)).max(many);
                }
                for j in (fours..whole).step_by(LANES) {
                    max = L::load(p.add(j)).max(max);
                }
                let (many, max) = (many.maximum(), max.maximum());
                let max = if many > max { many } else { max };
                let (mut sums, mut sum) = (Four::<L>::splat(0.0), L::splat(0.0));
                for j in (0..fours).step_by(4 * LANES) {
                    let e = exp(Four::<L>::load(p.add(j)).sub(Four::splat(max)));
                    e.store(p.add(j));
                    sums = sums.add(e);
                }
                for j in (fours..whole).step_by(LANES) {
                    let e = exp(L::load(p.add(j)).sub(L::splat(max)));
                    e.store(p.add(j));
                    sum = sum.add(e);
                }
                let sum = sums.sum() + sum.sum();
                *self.factors.add(i) = 1.0 / sum;
            }
        }
    }
}

/// Multiplies each row of a head's output with its factor.
struct Divide {
    out: *mut f32,
    width: usize,
    dim: usize,
    rows: usize,
    factors: *const f32,
}

impl Kernel for Divide {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for i in 0..self.rows {
            // SAFETY: `dim` elements of row `i`, whole vectors and then the rest.
            unsafe {
                let p = self.out.add(i * self.width);
                let factor = L::splat(*self.factors.add(i));
                let mut j = 0;
                while j + LANES <= self.dim {
                    L::load(p.add(j)).mul(factor).store(p.add(j));
                    j += LANES;
                }
                if j < self.dim {
                    let rest = self.dim - j;
                    let x = L::load_part(p.add(j), rest).mul(factor);
                    x.store_part(p.add(j), rest);
                }
            }
        }
    }
}
