//! Register-blocked f32 micro-kernels shared by `sgemm`, the dense matrices and attention.
//!
//! A micro-kernel multiplies a few rows of `a` with one to three panels of 16 columns of `b` and
//! updates that corner of `c`. Every element is one chain of multiply-adds in ascending `k`,
//! whatever the shape of the register block, so a result does not depend on how the work was cut.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]
#![allow(
    clippy::needless_range_loop,
    reason = "an index names one register of several arrays"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod transpose;

pub(crate) use transpose::transpose_to_panels;

use crate::Isa;

/// Columns of one panel of `b`.
pub(crate) const PANEL: usize = 16;

/// Longest multiply-add chain before a sum goes through memory: three panels of this depth and the
/// rows of `a` beside them fit a first-level cache of 48 KiB.
const DEPTH: usize = 192;

/// Returns the length of the cuts of `k`: equal ones, none longer than `DEPTH`.
pub(crate) fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).max(1)
}

/// Operands of one micro-tile: `c = alpha * a b + beta * c`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// Length of the multiply-add chains.
    pub(crate) k: usize,
    /// First element of `a`; element `(i, p)` is at `i * a_row + p * a_step`.
    pub(crate) a: *const f32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    /// First element of `b`; element `(p, 16 v + j)` is at `v * b_panel + p * b_step + j`.
    pub(crate) b: *const f32,
    pub(crate) b_panel: usize,
    pub(crate) b_step: usize,
    /// First element of `c`; element `(i, j)` is at `i * c_row + j`.
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    /// Rows to compute, `1..=tile_rows(isa)`.
    pub(crate) rows: usize,
    /// Columns to write, `1..=16 * tile_panels(isa)`.
    pub(crate) cols: usize,
    pub(crate) alpha: f32,
    /// With 0 the old content of `c` is not read.
    pub(crate) beta: f32,
}

/// Returns the most rows one micro-tile of this tier computes.
pub(crate) fn tile_rows(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::ROWS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => avx2::ROWS,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDot => neon::ROWS,
        _ => scalar::ROWS,
    }
}

/// Returns the most panels of 16 columns one micro-tile of this tier computes.
pub(crate) fn tile_panels(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::PANELS,
        _ => 1,
    }
}

/// Computes one micro-tile.
///
/// # Safety
/// The tier is available on this machine. `a` holds `rows` rows of `k` elements, `b` full panels
/// of 16 columns for all of `cols`, `c` `rows` rows of `cols` elements that nobody else touches.
pub(crate) unsafe fn tile(isa: Isa, t: &Tile) {
    debug_assert!((1..=tile_rows(isa)).contains(&t.rows));
    debug_assert!((1..=tile_panels(isa) * PANEL).contains(&t.cols));
    // SAFETY: forwarded to the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => avx512::tile(t),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => avx2::tile(t),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonDot => neon::tile(t),
            _ => scalar::tile(t),
        }
    }
}

/// Multiplies a block of any number of rows and columns, micro-tile by micro-tile.
///
/// `t.rows` and `t.cols` give the whole block. Panels outer, rows inner: the panels of `b` stay in
/// the first-level cache while `a` streams past. Panels are dealt out evenly, because a micro-tile
/// of one panel and another of three take longer than two of two.
///
/// # Safety
/// As [`tile`], for the whole block.
pub(crate) unsafe fn block(isa: Isa, t: &Tile) {
    let mr = tile_rows(isa);
    let panels = t.cols.div_ceil(PANEL);
    let groups = panels.div_ceil(tile_panels(isa));
    for group in 0..groups {
        let (panel, end) = (group * panels / groups, (group + 1) * panels / groups);
        let j = panel * PANEL;
        for i in (0..t.rows).step_by(mr) {
            // SAFETY: the sub-block lies inside the block the caller vouches for.
            unsafe {
                tile(
                    isa,
                    &Tile {
                        a: t.a.add(i * t.a_row),
                        b: t.b.add(panel * t.b_panel),
                        c: t.c.add(i * t.c_row + j),
                        rows: mr.min(t.rows - i),
                        cols: (end * PANEL).min(t.cols) - j,
                        ..*t
                    },
                );
            }
        }
    }
}
