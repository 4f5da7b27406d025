//! Products of up to four activation rows with weights streamed from memory.
use std::marker::PhantomData;
use std::ops::Range;

use super::{Output, TILE};
use crate::micro;
use crate::simd::line::{Line, prefetch};
use crate::simd::{Kernel, Lanes};

/// Most activation rows of [`Run`].
pub(super) const MAX_ROWS: usize = 4;
/// Lines of a tile between two rounds of prefetches.
const LINES: usize = 8;

/// Operands: `m <= 4` rows of `x` times the rows of the weights in `tiles`.
pub(super) struct Strip {
    pub(super) data: *const u8,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) x: *const f32,
    pub(super) m: usize,
    pub(super) tiles: Range<usize>,
    pub(super) out: Output,
}

/// A strip of one weight format.
pub(super) struct Run<E>(Strip, PhantomData<E>);

impl<E> Run<E> {
    pub(super) fn new(strip: Strip) -> Self {
        Self(strip, PhantomData)
    }
}

impl<E: Line> Kernel for Run<E> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: forwarded to the caller.
        unsafe {
            match self.0.m {
                1 => self.0.all::<L, E, 1>(),
                2 => self.0.all::<L, E, 2>(),
                3 => self.0.all::<L, E, 3>(),
                4 => self.0.all::<L, E, 4>(),
                _ => {}
            }
        }
    }
}

impl Strip {
    /// Two tiles at a time hide the latency of the multiply-add chains; a last one goes alone.
    #[inline(always)]
    unsafe fn all<L: Lanes, E: Line, const M: usize>(&self) {
        let mut tile = self.tiles.start;
        // SAFETY: forwarded to the caller.
        unsafe {
            // The accumulators of three rows and two tiles fill 16 small registers.
            while (L::WIDE || M < 3) && tile + 2 <= self.tiles.end {
                self.some::<L, E, M, 2>(tile);
                tile += 2;
            }
            while tile < self.tiles.end {
                self.some::<L, E, M, 1>(tile);
                tile += 1;
            }
        }
    }

    /// Computes `M` rows of `T` tiles.
    #[inline(always)]
    unsafe fn some<L: Lanes, E: Line, const M: usize, const T: usize>(&self, tile: usize) {
        let tile_bytes = self.k * TILE * size_of::<E::Bits>();
        let step = micro::depth(self.k);
        // Bytes per stream between a prefetch and its use, measured best on Zen 5.
        let ahead_by = if size_of::<E::Bits>() == 4 {
            4096
        } else {
            8192
        };
        // SAFETY: `k` lines of each tile and `k` elements of each row of `x`.
        unsafe {
            let first = self.data.add(tile * tile_bytes);
            let mut total = [[L::splat(0.0); T]; M];
            let mut p = 0;
            while p < self.k {
                let end = (p + step).min(self.k);
                let start = p;
                let mut acc = [[L::splat(0.0); T]; M];
                while p < end {
                    // Past the end of a tile its stream goes on in the next group of tiles.
                    let offset = p * TILE * size_of::<E::Bits>();
                    let wrap = if offset + ahead_by >= tile_bytes {
                        (T - 1) * tile_bytes
                    } else {
                        0
                    };
                    for t in 0..T {
                        let ahead = first.wrapping_add(t * tile_bytes + offset + ahead_by + wrap);
                        prefetch(ahead, LINES * TILE * size_of::<E::Bits>());
                    }
                    if p + LINES <= end {
                        for _ in 0..LINES {
                            self.line::<L, E, M, T>(first, tile_bytes, p, &mut acc);
                            p += 1;
                        }
                    } else {
                        while p < end {
                            self.line::<L, E, M, T>(first, tile_bytes, p, &mut acc);
                            p += 1;
                        }
                    }
                }
                for i in 0..M {
                    for t in 0..T {
                        total[i][t] = if start == 0 {
                            acc[i][t]
                        } else {
                            acc[i][t].add(total[i][t])
                        };
                    }
                }
            }
            for (i, total) in total.iter().enumerate() {
                for (t, &sums) in total.iter().enumerate() {
                    let column = (tile + t) * TILE;
                    let out = self.out.start.add(i * self.out.stride + column);
                    if self.n - column >= TILE {
                        sums.store(out);
                    } else {
                        sums.store_part(out, self.n - column);
                    }
                }
            }
        }
    }

    /// One step of the chains: line `p` of each tile times element `p` of each row.
    #[inline(always)]
    unsafe fn line<L: Lanes, E: Line, const M: usize, const T: usize>(
        &self,
        first: *const u8,
        tile_bytes: usize,
        p: usize,
        acc: &mut [[L; T]; M],
    ) {
        // SAFETY: line `p < k` of each tile, element `p` of each row.
        unsafe {
            let mut w = [L::splat(0.0); T];
            for (t, w) in w.iter_mut().enumerate() {
                let line = first.add(t * tile_bytes).cast::<E::Bits>().add(p * TILE);
                *w = E::load::<L>(line);
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let x = L::splat(*self.x.add(i * self.k + p));
                for (t, acc) in acc.iter_mut().enumerate() {
                    *acc = x.fma(w[t], *acc);
                }
            }
        }
    }
}
