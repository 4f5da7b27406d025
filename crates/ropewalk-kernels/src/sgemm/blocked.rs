//! The blocked loops around the micro-kernels.
use std::cell::RefCell;

use crate::micro::{self, PANEL, Tile};
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::{Isa, Pool};

/// Rows of `a` packed at a time, for a second-level cache of 512 KiB or more.
const ROWS: usize = 192;
/// Elements of the packed part of `b` (8 MiB).
const PACKED: usize = 2 << 20;
/// Panels of `b` one packing task takes, so that it reads whole cache lines of wide rows.
const PACK_PANELS: usize = 6;

/// A checked product; see `Tile` for the meaning of the strides.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) isa: Isa,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
    pub(super) beta: f32,
    pub(super) a: *const f32,
    /// Distance of (rows, columns) of op(a).
    pub(super) a_strides: (usize, usize),
    pub(super) b: *const f32,
    pub(super) b_strides: (usize, usize),
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
}

// SAFETY: the pointers are used for reads of `a` and `b` and for writes of disjoint parts of `c`.
unsafe impl Sync for Product {}

thread_local! {
    static PACKED_A: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
    static PACKED_B: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

impl Product {
    /// Returns the same product on matrices that begin so many elements later.
    pub(super) fn offset(&self, a: usize, b: usize, c: usize) -> Self {
        Self {
            a: self.a.wrapping_add(a),
            b: self.b.wrapping_add(b),
            c: self.c.wrapping_add(c),
            ..*self
        }
    }

    /// Runs the product, on the pool or (with `None`) on this thread.
    ///
    /// # Safety
    /// The pointers cover the shapes, `isa` is available and nobody else touches `c`.
    pub(super) unsafe fn run(&self, pool: Option<&Pool>) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        if self.k == 0 || self.alpha == 0.0 {
            // SAFETY: forwarded.
            unsafe { self.scale() };
            return;
        }
        let panels = self.n.div_ceil(PANEL);
        // Whole register blocks, so that only the last one of the matrix is narrow.
        let unit = micro::tile_panels(self.isa);
        let at_once = (PACKED / (self.k * PANEL)).clamp(1, panels).div_ceil(unit) * unit;
        let mut first = 0;
        while first < panels {
            let count = at_once.min(panels - first);
            // Taken out and put back: a product inside a task must not find it borrowed.
            let mut buffer = PACKED_B.take();
            let packed = Shared(buffer.get(self.k * count * PANEL + PANEL));
            // SAFETY: forwarded; the buffer holds `count` panels of `k` lines and a slack.
            unsafe { self.columns(pool, first, count, packed) };
            PACKED_B.set(buffer);
            first += count;
        }
    }

    /// `c = beta * c`, for an empty sum.
    unsafe fn scale(&self) {
        for i in 0..self.m {
            // SAFETY: row `i` of `c`.
            let row =
                unsafe { std::slice::from_raw_parts_mut(self.c.add(i * self.c_stride), self.n) };
            if self.beta == 0.0 {
                row.fill(0.0);
            } else {
                row.iter_mut().for_each(|x| *x *= self.beta);
            }
        }
    }

    /// Computes the columns of `count` panels from panel `first`.
    unsafe fn columns(&self, pool: Option<&Pool>, first: usize, count: usize, packed: Shared<f32>) {
        let threads = pool.map_or(1, |p| p.threads().get());
        let run = |tasks: usize, task: &(dyn Fn(usize) + Sync)| match pool {
            Some(pool) if tasks > 1 => pool.run(tasks, task),
            _ => (0..tasks).for_each(task),
        };
        run(count.div_ceil(PACK_PANELS), &|task| {
            let from = task * PACK_PANELS;
            // SAFETY: each task packs its own panels.
            unsafe { self.pack_b(first, count, from, PACK_PANELS.min(count - from), packed) };
        });

        let mr = micro::tile_rows(self.isa);
        let unit = micro::tile_panels(self.isa);
        // Enough tasks for an even share; the grid does not change any sum.
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let rows = self
            .m
            .div_ceil(wanted)
            .next_multiple_of(mr)
            .clamp(mr.min(ROWS), ROWS / mr * mr);
        let row_blocks = self.m.div_ceil(rows);
        let splits = (wanted / row_blocks).clamp(1, count.div_ceil(unit));
        let width = count.div_ceil(splits).next_multiple_of(unit);
        let splits = count.div_ceil(width);
        run(row_blocks * splits, &|task| {
            let (i, j) = (task / splits * rows, task % splits * width);
            let (rows, width) = (rows.min(self.m - i), width.min(count - j));
            let mut buffer = PACKED_A.take();
            let a = buffer.get(rows.next_multiple_of(mr) * micro::depth(self.k) + PANEL);
            // SAFETY: each task writes its own block of `c`; `packed` is complete.
            unsafe { self.multiply(first, count, packed, i, rows, j, width, a) };
            PACKED_A.set(buffer);
        });
    }

    /// Packs panels `from..from + n` of the columns that start at panel `first`.
    ///
    /// Cut by cut: `[cut][panel][p][16]`.
    unsafe fn pack_b(
        &self,
        first: usize,
        count: usize,
        from: usize,
        n: usize,
        packed: Shared<f32>,
    ) {
        let (row, col) = self.b_strides;
        let step = micro::depth(self.k);
        for p0 in (0..self.k).step_by(step) {
            let kc = step.min(self.k - p0);
            for panel in from..from + n {
                let j = (first + panel) * PANEL;
                let cols = PANEL.min(self.n - j);
                let dst = packed.at(p0 * count * PANEL + panel * kc * PANEL);
                let src = self.b.wrapping_add(p0 * row + j * col);
                // SAFETY: the source is inside `b`, the destination is this panel's own.
                unsafe {
                    if col == 1 {
                        copy_lines(src, row, cols, kc, dst, PANEL);
                    } else {
                        micro::transpose_to_panels(self.isa, src, col, cols, kc, dst, PANEL);
                    }
                }
            }
        }
    }

    /// Computes rows `i..i + rows` of panels `j..j + width`, with `packed_a` as scratch.
    #[expect(clippy::too_many_arguments, reason = "one block of a blocked loop")]
    unsafe fn multiply(
        &self,
        first: usize,
        count: usize,
        packed_b: Shared<f32>,
        i: usize,
        rows: usize,
        j: usize,
        width: usize,
        packed_a: *mut f32,
    ) {
        let mr = micro::tile_rows(self.isa);
        let nr = micro::tile_panels(self.isa);
        let (a_row, a_col) = self.a_strides;
        let step = micro::depth(self.k);
        for p0 in (0..self.k).step_by(step) {
            let kc = step.min(self.k - p0);
            for r in (0..rows).step_by(mr) {
                let src = self.a.wrapping_add((i + r) * a_row + p0 * a_col);
                let dst = packed_a.wrapping_add(r * kc);
                let n = mr.min(rows - r);
                // SAFETY: the source is inside `a`, the scratch has room for whole strips.
                unsafe {
                    if a_row == 1 {
                        copy_lines(src, a_col, n, kc, dst, mr);
                    } else {
                        micro::transpose_to_panels(self.isa, src, a_row, n, kc, dst, mr);
                    }
                }
            }
            // Even groups of panels: three and one take longer than two and two.
            let groups = width.div_ceil(nr);
            for group in 0..groups {
                let (q, end) = (j + group * width / groups, j + (group + 1) * width / groups);
                let col = (first + q) * PANEL;
                let cols = ((end - q) * PANEL).min(self.n - col);
                let b = packed_b.at(p0 * count * PANEL + q * kc * PANEL);
                for r in (0..rows).step_by(mr) {
                    let tile = Tile {
                        k: kc,
                        a: packed_a.wrapping_add(r * kc),
                        a_row: 1,
                        a_step: mr,
                        b,
                        b_panel: kc * PANEL,
                        b_step: PANEL,
                        c: self.c.wrapping_add((i + r) * self.c_stride + col),
                        c_row: self.c_stride,
                        rows: mr.min(rows - r),
                        cols,
                        alpha: self.alpha,
                        beta: if p0 == 0 { self.beta } else { 1.0 },
                    };
                    // SAFETY: packed operands are complete, the corner of `c` is this task's own.
                    unsafe { micro::tile(self.isa, &tile) };
                }
            }
        }
    }
}

/// Copies `k` lines of `cols` elements, `stride` apart, to lines of `width`, zero-filled.
///
/// # Safety
/// `src` and `dst` hold those lines.
unsafe fn copy_lines(
    src: *const f32,
    stride: usize,
    cols: usize,
    k: usize,
    dst: *mut f32,
    width: usize,
) {
    // SAFETY: forwarded.
    unsafe {
        match (cols, width) {
            (16, 16) => copy_fixed::<16>(src, stride, k, dst),
            (8, 8) => copy_fixed::<8>(src, stride, k, dst),
            (6, 6) => copy_fixed::<6>(src, stride, k, dst),
            (4, 4) => copy_fixed::<4>(src, stride, k, dst),
            _ => {
                for p in 0..k {
                    let line = std::slice::from_raw_parts_mut(dst.add(p * width), width);
                    std::ptr::copy_nonoverlapping(src.add(p * stride), line.as_mut_ptr(), cols);
                    line[cols..].fill(0.0);
                }
            }
        }
    }
}

unsafe fn copy_fixed<const N: usize>(src: *const f32, stride: usize, k: usize, dst: *mut f32) {
    for p in 0..k {
        // SAFETY: forwarded by `copy_lines`.
        unsafe {
            let line = src.add(p * stride).cast::<[f32; N]>().read_unaligned();
            dst.add(p * N).cast::<[f32; N]>().write_unaligned(line);
        }
    }
}
