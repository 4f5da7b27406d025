//! The arithmetic of one span of keys, and the merge of spans.
use std::cell::RefCell;

use super::few;
use super::format::with_format;
use super::plan::{SPAN, Unit, partial_len, window_start};
use super::rows::{Finite, Join, Weights};
use super::widen::{WidenHalves, WidenKeys, WidenValues};
use super::{AttentionShape, KvPage, KvRef, Q8_BLOCK, Sequence};
use crate::Isa;
use crate::micro::{self, PANEL, Tile};
use crate::scratch::Scratch;
use crate::simd::line::prefetch;
use crate::simd::{LANES, dispatch_usable};

// Whole panels of keys in a span.
const _: () = assert!(SPAN.is_multiple_of(PANEL) && PANEL == LANES);

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Positions between two prefetches that only have addresses translated: at most a small page of
/// memory in heads of up to 64 features.
const STEP: usize = 16;

/// A unit of work with all it needs.
pub(super) struct Work<'a> {
    isa: Isa,
    pub(super) shape: &'a AttentionShape,
    pub(super) seq: &'a Sequence<'a>,
    pub(super) unit: &'a Unit,
    /// Query heads per key head.
    pub(super) group: usize,
    /// Queries times heads: row `r` is query `r / group`, head `r % group` of the group.
    pub(super) rows: usize,
}

/// Where keys and values of one head begin.
#[derive(Clone, Copy)]
struct Place<'a> {
    page: &'a KvPage<'a>,
    /// Position inside the page, counted over all heads.
    at: usize,
}

impl Place<'_> {
    /// Returns the place `positions` further.
    fn after(self, positions: usize) -> Self {
        Self {
            at: self.at + positions,
            ..self
        }
    }
}

/// Scratch of a unit.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// `[rows, head_dim]`, or `[head_dim, rows]` where they are few.
    q: *mut f32,
    /// `[span / 16, head_dim, 16]`, for keys that are not f32.
    keys: *mut f32,
    /// `[span, padded head_dim]`, for values that cannot be used in place.
    values: *mut f32,
    /// `[span, blocks]`, the factors of the values of a span.
    factors: *mut f32,
    /// `[rows, SPAN]`
    pub(super) scores: *mut f32,
    /// Partial results of one span and the running ones: see [`Partial`].
    partial: *mut f32,
    running: *mut f32,
}

/// Results over some keys: maxima `[rows]`, sums `[rows]`, weighted values `[rows, head_dim]`.
#[derive(Clone, Copy)]
pub(super) struct Partial {
    pub(super) max: *mut f32,
    pub(super) sum: *mut f32,
    pub(super) values: *mut f32,
}

impl Partial {
    fn new(start: *mut f32, rows: usize) -> Self {
        Self {
            max: start,
            sum: start.wrapping_add(rows),
            values: start.wrapping_add(2 * rows),
        }
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(
        isa: Isa,
        shape: &'a AttentionShape,
        seq: &'a Sequence<'a>,
        unit: &'a Unit,
    ) -> Self {
        let group = shape.q_heads / shape.kv_heads;
        Self {
            isa,
            shape,
            seq,
            unit,
            group,
            rows: unit.queries * group,
        }
    }

    /// Computes the output rows of the unit, span after span.
    ///
    /// # Safety
    /// The tier is available, the sequence was checked, nobody else touches these output rows.
    pub(super) unsafe fn whole(&self) {
        let mut scratch = SCRATCH.take();
        let room = self.room(&mut scratch);
        // SAFETY: the scratch has room for all parts.
        unsafe {
            self.gather(room);
            let running = Partial::new(room.running, self.rows);
            let partial = Partial::new(room.partial, self.rows);
            for span in self.unit.span..self.unit.end {
                self.span(room, span, partial);
                self.join(span, partial, running);
            }
            self.finish(running);
        }
        SCRATCH.set(scratch);
    }

    /// Computes the partial results of the unit's spans, one after the other from `partials`.
    ///
    /// # Safety
    /// As [`Self::whole`]; `partials` has room for the unit's spans.
    pub(super) unsafe fn part(&self, partials: *mut f32) {
        let mut scratch = SCRATCH.take();
        let room = self.room(&mut scratch);
        let each = partial_len(self.rows, self.shape.head_dim);
        // SAFETY: forwarded to the caller.
        unsafe {
            self.gather(room);
            for span in self.unit.span..self.unit.end {
                let start = partials.wrapping_add((span - self.unit.span) * each);
                self.span(room, span, Partial::new(start, self.rows));
            }
        }
        SCRATCH.set(scratch);
    }

    /// Merges the partial results of all spans of the tile into the output.
    ///
    /// # Safety
    /// As [`Self::whole`]; the partial results are complete.
    pub(super) unsafe fn merge(&self, partials: *mut f32) {
        let Some(split) = self.unit.split else { return };
        let mut scratch = SCRATCH.take();
        let room = self.room(&mut scratch);
        let each = partial_len(self.rows, self.shape.head_dim);
        let running = Partial::new(room.running, self.rows);
        // SAFETY: forwarded to the caller.
        unsafe {
            for span in split.span..split.end {
                let start = partials.wrapping_add((span - split.span) * each);
                self.join(span, Partial::new(start, self.rows), running);
            }
            self.finish(running);
        }
        SCRATCH.set(scratch);
    }

    fn padded(&self) -> usize {
        self.shape.head_dim.next_multiple_of(PANEL)
    }

    fn room(&self, scratch: &mut Scratch) -> Room {
        let (rows, dim) = (self.rows, self.shape.head_dim);
        let partial = partial_len(rows, dim).next_multiple_of(PANEL);
        let sizes = [
            (rows * dim).next_multiple_of(PANEL),
            SPAN * dim,
            SPAN * self.padded(),
            SPAN * dim.div_ceil(Q8_BLOCK),
            rows * SPAN,
            partial,
            partial,
        ];
        let mut next = scratch.get(sizes.iter().sum());
        let [q, keys, values, factors, scores, partial, running] = sizes.map(|size| {
            let start = next;
            next = next.wrapping_add(size);
            start
        });
        Room {
            q,
            keys,
            values,
            factors,
            scores,
            partial,
            running,
        }
    }

    /// Copies the unit's queries: rows one after the other, or feature by feature where few.
    unsafe fn gather(&self, room: Room) {
        let AttentionShape {
            q_heads, head_dim, ..
        } = *self.shape;
        let width = self.group * head_dim;
        let few = self.rows <= few::MAX_ROWS;
        for i in 0..self.unit.queries {
            let query = (self.unit.query + i) * q_heads * head_dim;
            let from = &self.seq.q[query + self.unit.kv_head * width..][..width];
            if few {
                for (head, x) in from.chunks_exact(head_dim).enumerate() {
                    let row = i * self.group + head;
                    for (d, &x) in x.iter().enumerate() {
                        // SAFETY: row `row` of the scratch.
                        unsafe { *room.q.add(d * self.rows + row) = x };
                    }
                }
            } else {
                // SAFETY: row block `i` of the scratch.
                unsafe {
                    std::ptr::copy_nonoverlapping(from.as_ptr(), room.q.add(i * width), width);
                }
            }
        }
    }

    /// Returns the positions inside a span that a row sees, relative to the span.
    pub(super) fn visible(&self, row: usize, span: usize) -> (usize, usize) {
        let pos = self.seq.first_pos + self.unit.query + row / self.group;
        let low = window_start(self.shape, pos).saturating_sub(span * SPAN);
        let high = (pos + 1).saturating_sub(span * SPAN);
        (low.min(SPAN), high.min(SPAN))
    }

    /// Computes the partial results of one span.
    unsafe fn span(&self, room: Room, span: usize, partial: Partial) {
        let last = self.seq.first_pos + self.unit.query + self.unit.queries;
        let count = SPAN.min(last - span * SPAN);
        let masked = self.visible(0, span).1 < count || self.visible(self.rows - 1, span).0 > 0;
        let (start, len) = (partial.values, self.rows * self.shape.head_dim);
        // SAFETY: forwarded to the caller; `len` weighted values were written.
        unsafe {
            self.span_together(room, span, count, partial);
            // A weight of zero does not hide a NaN or an infinity, so one hidden from some rows
            // shows in their results. Looking there costs less than looking at the values.
            if masked && !dispatch_usable(self.isa, Finite { start, len }) {
                self.hide(room, span, count, partial);
            }
        }
    }

    /// Computes the partial results of one span, with weights of zero where a row sees no key.
    unsafe fn span_together(&self, room: Room, span: usize, count: usize, partial: Partial) {
        let (dim, at) = (self.shape.head_dim, self.place(span));
        let few = self.rows <= few::MAX_ROWS;
        // SAFETY: `count` positions of the cache from `at`, checked by the caller; scratch as sized.
        unsafe {
            if few {
                self.few_scores(room, at, self.next(span), count);
            } else {
                let b = self.keys(room, at, count);
                micro::block(
                    self.isa,
                    &Tile {
                        k: dim,
                        a: room.q,
                        a_row: dim,
                        a_step: 1,
                        b,
                        b_panel: dim * PANEL,
                        b_step: PANEL,
                        c: room.scores,
                        c_row: SPAN,
                        rows: self.rows,
                        cols: count,
                        alpha: self.shape.scale,
                        beta: 0.0,
                    },
                );
            }
            dispatch_usable(
                self.isa,
                Weights {
                    work: self,
                    room,
                    span,
                    count,
                    partial,
                },
            );
            if few {
                return self.few_values(room, at, self.next(span), count, partial);
            }
            let (b, b_step) = self.values(room, at, count);
            micro::block(
                self.isa,
                &Tile {
                    k: count,
                    a: room.scores,
                    a_row: SPAN,
                    a_step: 1,
                    b,
                    b_panel: PANEL,
                    b_step,
                    c: partial.values,
                    c_row: dim,
                    rows: self.rows,
                    cols: dim,
                    alpha: 1.0,
                    beta: 0.0,
                },
            );
        }
    }

    /// Returns where a span of this head begins.
    fn place(&self, span: usize) -> Place<'a> {
        let page_len = self.seq.page_len;
        let pos = span * SPAN;
        Place {
            page: &self.seq.pages[pos / page_len],
            at: self.unit.kv_head * page_len + pos % page_len,
        }
    }

    /// Returns what is probably read after a span: the next one, or another head's first.
    fn next(&self, span: usize) -> Place<'a> {
        let capacity = self.seq.pages.len() * self.seq.page_len;
        if (span + 1) * SPAN < capacity {
            return self.place(span + 1);
        }
        let first = self.unit.split.map_or(self.unit.span, |s| s.span);
        self.place(first).after(self.seq.page_len)
    }

    /// Computes the weighted values of a span again, query by query, with zeros in place of the
    /// values that a query does not see.
    unsafe fn hide(&self, room: Room, span: usize, count: usize, partial: Partial) {
        let (dim, step) = (self.shape.head_dim, self.padded());
        for row in (0..self.rows).step_by(self.group) {
            let (low, high) = self.visible(row, span);
            // SAFETY: rows inside the span and the scratch, as in `span_together`.
            unsafe {
                room.values.write_bytes(0, count * step);
                if low < high {
                    let from = self.place(span).after(low);
                    self.copy_values(room, from, high - low, room.values.add(low * step));
                }
                micro::block(
                    self.isa,
                    &Tile {
                        k: count,
                        a: room.scores.add(row * SPAN),
                        a_row: SPAN,
                        a_step: 1,
                        b: room.values,
                        b_panel: PANEL,
                        b_step: step,
                        c: partial.values.add(row * dim),
                        c_row: dim,
                        rows: self.group,
                        cols: dim,
                        alpha: 1.0,
                        beta: 0.0,
                    },
                );
            }
        }
    }

    /// Computes the scores of few rows.
    unsafe fn few_scores(&self, room: Room, at: Place<'_>, after: Place<'_>, count: usize) {
        let dim = self.shape.head_dim;
        if let (KvRef::Q8_0 { scales: k, .. }, KvRef::Q8_0 { scales: v, .. }) =
            (after.page.k, at.page.v)
        {
            // The factors of this span's values and the next one's keys.
            let blocks = dim.div_ceil(Q8_BLOCK);
            for (scales, at) in [(v, at.at), (k, after.at)] {
                let start = scales.as_ptr().wrapping_add(at * blocks);
                prefetch(start.cast(), SPAN * blocks * size_of::<u16>());
            }
        }
        // Where the next span begins elsewhere, its address is translated meanwhile.
        let (k, v) = (after.page.k, after.page.v);
        for step in (0..SPAN).step_by(STEP) {
            prefetch(k.address(after.at + step, dim), 1);
            prefetch(v.address(after.at + step, dim), 1);
        }
        let next = at.page.v.address(at.at, dim);
        with_format!(at.page.k, at.at, dim, room.factors, |keys| {
            let scores = few::Scores {
                keys,
                next,
                count,
                dim,
                q: room.q,
                rows: self.rows,
                scale: self.shape.scale,
                scores: room.scores,
            };
            // SAFETY: forwarded to the caller.
            unsafe { dispatch_usable(self.isa, scores) };
        });
    }

    /// Computes the weighted values of few rows.
    unsafe fn few_values(
        &self,
        room: Room,
        at: Place<'_>,
        after: Place<'_>,
        count: usize,
        partial: Partial,
    ) {
        let dim = self.shape.head_dim;
        // SAFETY: forwarded to the caller.
        unsafe { self.widen_factors(room, at, count) };
        let next = after.page.k.address(after.at, dim);
        with_format!(at.page.v, at.at, dim, room.factors, |values| {
            let values = few::Values {
                values,
                next,
                count,
                dim,
                scores: room.scores,
                rows: self.rows,
                out: partial.values,
            };
            // SAFETY: forwarded to the caller.
            unsafe { dispatch_usable(self.isa, values) };
        });
    }

    /// Returns the panels of `count` keys in f32.
    unsafe fn keys(&self, room: Room, at: Place<'_>, count: usize) -> *const f32 {
        let dim = self.shape.head_dim;
        // The values follow after the scores.
        for i in (0..count).step_by(PANEL) {
            let (from, to) = (
                at.page.v.address(at.at + i, dim),
                at.page.v.address(at.at + i + PANEL, dim),
            );
            prefetch(from, to as usize - from as usize);
        }
        with_format!(at.page.k, at.at, dim, room.factors, |keys| {
            if let KvRef::F32(x) = at.page.k {
                return x.as_ptr().wrapping_add(at.at * dim);
            }
            let widen = WidenKeys {
                keys,
                dst: room.keys,
                panels: count.div_ceil(PANEL),
                dim,
            };
            // SAFETY: these keys are inside the cache, their panels inside the scratch.
            unsafe { dispatch_usable(self.isa, widen) };
        });
        room.keys
    }

    /// Returns `count` rows of values in f32 and their distance, whole panels wide.
    unsafe fn values(&self, room: Room, at: Place<'_>, count: usize) -> (*const f32, usize) {
        let (dim, step) = (self.shape.head_dim, self.padded());
        match at.page.v {
            KvRef::F32(v) if dim == step => (v.as_ptr().wrapping_add(at.at * dim), dim),
            _ => {
                // SAFETY: these values are inside the cache, the copy inside the scratch.
                unsafe { self.copy_values(room, at, count, room.values) };
                (room.values, step)
            }
        }
    }

    /// Writes `count` rows of values in f32, whole panels apart.
    unsafe fn copy_values(&self, room: Room, at: Place<'_>, count: usize, dst: *mut f32) {
        let (dim, step) = (self.shape.head_dim, self.padded());
        // SAFETY: forwarded to the caller.
        unsafe { self.widen_factors(room, at, count) };
        with_format!(at.page.v, at.at, dim, room.factors, |values| {
            let widen = WidenValues {
                values,
                dst,
                rows: count,
                dim,
                step,
            };
            // SAFETY: the caller vouches for `count` rows on both sides.
            unsafe { dispatch_usable(self.isa, widen) };
        });
    }

    /// Widens the factors of `count` values, where values have factors.
    unsafe fn widen_factors(&self, room: Room, at: Place<'_>, count: usize) {
        if let KvRef::Q8_0 { scales, .. } = at.page.v {
            let blocks = self.shape.head_dim.div_ceil(Q8_BLOCK);
            let widen = WidenHalves {
                src: scales.as_ptr().wrapping_add(at.at * blocks),
                dst: room.factors,
                len: count * blocks,
            };
            // SAFETY: these factors are inside the cache, their copies inside the scratch.
            unsafe { dispatch_usable(self.isa, widen) };
        }
    }

    /// Merges a span into the running results.
    unsafe fn join(&self, span: usize, partial: Partial, running: Partial) {
        // SAFETY: forwarded to the caller.
        unsafe {
            dispatch_usable(
                self.isa,
                Join {
                    work: self,
                    span,
                    partial,
                    running,
                },
            );
        };
    }

    /// Writes the quotients of weighted values and sums.
    unsafe fn finish(&self, running: Partial) {
        let AttentionShape {
            q_heads, head_dim, ..
        } = *self.shape;
        for row in 0..self.rows {
            let query = self.unit.query + row / self.group;
            let head = self.unit.kv_head * self.group + row % self.group;
            // SAFETY: one row of the running results and one head of an output row of this unit.
            unsafe {
                let sum = *running.sum.add(row);
                let from = running.values.add(row * head_dim);
                let to = self.seq.out.add((query * q_heads + head) * head_dim);
                for i in 0..head_dim {
                    *to.add(i) = *from.add(i) / sum;
                }
            }
        }
    }
}
