//! Keys and values widened to f32 in memory, for tiles.
use super::Q8_BLOCK;
use super::format::Format;
use crate::simd::{Kernel, LANES, Lanes, scalar};

/// Widens panels of keys, `[panels, dim, 16]` on both sides.
pub(super) struct WidenKeys<F> {
    pub(super) keys: F,
    pub(super) dst: *mut f32,
    pub(super) panels: usize,
    pub(super) dim: usize,
}

impl<F: Format> Kernel for WidenKeys<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for panel in 0..self.panels {
            for block in 0..self.dim.div_ceil(Q8_BLOCK) {
                // SAFETY: the caller vouches for `panels` panels on both sides.
                unsafe {
                    let scale = self.keys.key_scale::<L>(panel, block);
                    for d in block * Q8_BLOCK..self.dim.min((block + 1) * Q8_BLOCK) {
                        let to = self.dst.add((panel * self.dim + d) * LANES);
                        self.keys.key::<L>(panel, d, scale).store(to);
                    }
                }
            }
        }
    }
}

/// Widens rows of `dim` values to rows `step` apart.
pub(super) struct WidenValues<F> {
    pub(super) values: F,
    pub(super) dst: *mut f32,
    pub(super) rows: usize,
    pub(super) dim: usize,
    pub(super) step: usize,
}

impl<F: Format> Kernel for WidenValues<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for row in 0..self.rows {
            for d in (0..self.dim).step_by(LANES) {
                let width = LANES.min(self.dim - d);
                // SAFETY: the caller vouches for `rows` rows on both sides; `step` is whole vectors.
                unsafe {
                    let scale = self.values.value_scale::<L>(row, d / Q8_BLOCK);
                    let x = self.values.value::<L>(row, d, width, scale);
                    x.store_part(self.dst.add(row * self.step + d), width);
                }
            }
        }
    }
}

/// Widens `len` halves.
pub(super) struct WidenHalves {
    pub(super) src: *const u16,
    pub(super) dst: *mut f32,
    pub(super) len: usize,
}

impl Kernel for WidenHalves {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let whole = self.len / LANES * LANES;
        // SAFETY: the caller vouches for `len` elements on both sides.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                L::load_f16(self.src.add(i)).store(self.dst.add(i));
            }
            for i in whole..self.len {
                *self.dst.add(i) = scalar::f16_to_f32(*self.src.add(i));
            }
        }
    }
}
