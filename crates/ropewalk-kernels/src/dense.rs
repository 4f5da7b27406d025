//! Unquantised weight matrices: f32, f16 or bf16 weights, f32 activations and sums.
//!
//! Weights lie in tiles of 16 rows, `[tile][k][16]`, so that a product reads one stream of memory
//! per tile and needs no horizontal sums. An output is one chain of multiply-adds per cut of `k`
//! (the cuts of `sgemm`), so it is bit-identical for any number of activation rows, range of tiles
//! and number of threads.
#![allow(unsafe_code, reason = "threads write disjoint columns of one output")]

mod strip;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;

use crate::buffer::Buffer;
use crate::micro::{self, PANEL, Tile};
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::simd::line::{Bf16, F16, F32};
use crate::simd::{Kernel, LANES, Lanes, dispatch_usable};
use crate::{Error, Format, Isa, Pool};

/// Rows of one tile.
pub(crate) const TILE: usize = PANEL;

// A tile is as wide as the panels that it is multiplied as and the lines it is widened by, and
// as the strips that work is cut into.
const _: () = assert!(TILE == PANEL && TILE == LANES && TILE == crate::quant::tiles::ROWS);

/// The number format of unquantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    fn of(format: Format) -> Option<Self> {
        match format {
            Format::F32 => Some(Self::F32),
            Format::F16 => Some(Self::F16),
            Format::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// A weight matrix `[n, k]` of floats, packed into tiles of 16 rows.
#[derive(Debug)]
pub(crate) struct DenseMatrix {
    n: usize,
    k: usize,
    element: Element,
    data: Buffer,
}

/// Where a product writes: row `i`, column `j` is at `i * stride + j`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
}

thread_local! {
    /// Widened weights of one group of tiles.
    static WIDE: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

impl DenseMatrix {
    /// Packs row-major little-endian weights of any alignment; `None` for a quantised format.
    ///
    /// # Errors
    /// [`Error::Length`] when `src` is not exactly `n * k` weights, [`Error::TooLarge`],
    /// [`Error::OutOfMemory`].
    pub(crate) fn pack(
        format: Format,
        src: &[u8],
        n: usize,
        k: usize,
        pool: &Pool,
    ) -> Option<Result<Self, Error>> {
        let element = Element::of(format)?;
        Some(Self::pack_elements(format, element, src, n, k, pool))
    }

    fn pack_elements(
        format: Format,
        element: Element,
        src: &[u8],
        n: usize,
        k: usize,
        pool: &Pool,
    ) -> Result<Self, Error> {
        let too_large = || Error::TooLarge {
            format: format.name(),
            rows: n,
            cols: k,
        };
        let row = k.checked_mul(element.bytes()).ok_or_else(too_large)?;
        let needed = n.checked_mul(row).ok_or_else(too_large)?;
        if src.len() != needed {
            return Err(Error::Length {
                what: "dense weights",
                needed,
                found: src.len(),
            });
        }
        let tile = row.checked_mul(TILE).ok_or_else(too_large)?;
        let total = n.div_ceil(TILE).checked_mul(tile).ok_or_else(too_large)?;
        let mut data = Buffer::zeroed(total)?;
        if total > 0 {
            let start = Shared(data.bytes_mut().as_mut_ptr());
            pool.run(n.div_ceil(TILE), &|t| {
                let rows = &src[t * TILE * row..((t + 1) * TILE).min(n) * row];
                // SAFETY: tile `t` of the buffer, which this task alone writes.
                let tile = unsafe { std::slice::from_raw_parts_mut(start.at(t * tile), tile) };
                match element {
                    Element::F32 => interleave::<4>(rows, row, tile),
                    Element::F16 | Element::Bf16 => interleave::<2>(rows, row, tile),
                }
            });
        }
        Ok(Self {
            n,
            k,
            element,
            data,
        })
    }

    /// Returns the number of tiles of 16 rows.
    pub(crate) fn tiles(&self) -> usize {
        self.n.div_ceil(TILE)
    }

    /// Returns the bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Writes columns `16 * tiles.start..min(16 * tiles.end, n)` of `x * weights^T`.
    ///
    /// Groups of three tiles fill the registers when `m` is 5 or more: cut there.
    ///
    /// # Safety
    /// `isa` is available. `x` holds `m` rows of `k`, `tiles` lie inside the matrix, `out` has `m`
    /// rows of `n` columns and nobody else touches these columns.
    pub(crate) unsafe fn mul_tiles(
        &self,
        isa: Isa,
        x: &[f32],
        m: usize,
        tiles: Range<usize>,
        out: Output,
    ) {
        debug_assert!(x.len() >= m * self.k && tiles.end <= self.tiles());
        if self.k == 0 {
            for i in 0..m {
                for j in tiles.start * TILE..(tiles.end * TILE).min(self.n) {
                    // SAFETY: inside the output columns of this call.
                    unsafe { out.start.add(i * out.stride + j).write(0.0) };
                }
            }
            return;
        }
        // SAFETY: forwarded to the caller.
        unsafe {
            if m <= strip::MAX_ROWS {
                self.stream(isa, x, m, tiles, out);
            } else {
                self.blocks(isa, x, m, tiles, out);
            }
        }
    }

    /// Few activation rows: weights go from memory straight into the multiply-adds.
    unsafe fn stream(&self, isa: Isa, x: &[f32], m: usize, tiles: Range<usize>, out: Output) {
        let strip = strip::Strip {
            data: self.data.bytes().as_ptr(),
            n: self.n,
            k: self.k,
            x: x.as_ptr(),
            m,
            tiles,
            out,
        };
        // SAFETY: forwarded to the caller.
        unsafe {
            match self.element {
                Element::F32 => dispatch_usable(isa, strip::Run::<F32>::new(strip)),
                Element::F16 => dispatch_usable(isa, strip::Run::<F16>::new(strip)),
                Element::Bf16 => dispatch_usable(isa, strip::Run::<Bf16>::new(strip)),
            }
        }
    }

    /// Many activation rows: weights are widened once per cut and group of tiles.
    unsafe fn blocks(&self, isa: Isa, x: &[f32], m: usize, tiles: Range<usize>, out: Output) {
        let (k, step, group) = (self.k, micro::depth(self.k), micro::tile_panels(isa));
        let mut wide = WIDE.take();
        let room = wide.get(group * step * TILE);
        for first in tiles.clone().step_by(group) {
            let count = group.min(tiles.end - first);
            for p0 in (0..k).step_by(step) {
                let kc = step.min(k - p0);
                let at = |tile: usize| (tile * k + p0) * TILE;
                let data = self.data.bytes().as_ptr();
                // SAFETY: panels inside the buffer or the scratch, output as the caller vouches.
                unsafe {
                    let (b, b_panel) = if self.element == Element::F32 {
                        (data.cast::<f32>().add(at(first)), k * TILE)
                    } else {
                        let half = data.cast::<u16>();
                        for v in 0..count {
                            let (src, dst) = (half.add(at(first + v)), room.add(v * kc * TILE));
                            let bf16 = self.element == Element::Bf16;
                            dispatch_usable(
                                isa,
                                Widen {
                                    src,
                                    dst,
                                    lines: kc,
                                    bf16,
                                },
                            );
                        }
                        (room.cast_const(), kc * TILE)
                    };
                    micro::block(
                        isa,
                        &Tile {
                            k: kc,
                            a: x.as_ptr().add(p0),
                            a_row: k,
                            a_step: 1,
                            b,
                            b_panel,
                            b_step: TILE,
                            c: out.start.add(first * TILE),
                            c_row: out.stride,
                            rows: m,
                            cols: (count * TILE).min(self.n - first * TILE),
                            alpha: 1.0,
                            beta: if p0 == 0 { 0.0 } else { 1.0 },
                        },
                    );
                }
            }
        }
        WIDE.set(wide);
    }
}

/// Widens lines of 16 halves.
struct Widen {
    src: *const u16,
    dst: *mut f32,
    lines: usize,
    bf16: bool,
}

impl Kernel for Widen {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for i in 0..self.lines {
            // SAFETY: the caller vouches for `lines` lines on both sides.
            unsafe {
                let src = self.src.add(i * TILE);
                let line = if self.bf16 {
                    L::load_bf16(src)
                } else {
                    L::load_f16(src)
                };
                line.store(self.dst.add(i * TILE));
            }
        }
    }
}

/// Writes up to 16 rows of `N`-byte elements as `[k][16]`; missing rows stay as they are (zero).
fn interleave<const N: usize>(rows: &[u8], row_bytes: usize, tile: &mut [u8]) {
    // A stretch of every row at a time keeps the written lines in the first-level cache.
    const STRETCH: usize = 128;
    if row_bytes == 0 {
        return;
    }
    let (tile, _) = tile.as_chunks_mut::<N>();
    for start in (0..row_bytes / N).step_by(STRETCH) {
        for (i, row) in rows.chunks_exact(row_bytes).enumerate() {
            let (row, _) = row.as_chunks::<N>();
            let lines = tile[start * TILE..].chunks_exact_mut(TILE);
            for (line, &element) in lines.zip(row[start..].iter().take(STRETCH)) {
                line[i] = element;
            }
        }
    }
}
