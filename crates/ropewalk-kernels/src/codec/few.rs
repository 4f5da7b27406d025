//! Products of up to four activation rows with 4-bit tiles: weights go from memory through the
//! table straight into the multiply-adds.
//!
//! The chains are those of the tiles' other path (decode, then the f32 micro-kernel), so results
//! are equal bit for bit.
#![allow(unsafe_code, reason = "std::arch intrinsics on raw pointers")]

use std::arch::x86_64::*;

use super::tiles::STEP;
use crate::dense::{Output, TILE};
use crate::simd::line::prefetch;

/// Most activation rows.
pub(super) const MAX_ROWS: usize = 4;
/// Bytes between a prefetch and its use.
const AHEAD: usize = 4096;

/// Weights and activations.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) table: &'a [f32; 16],
    /// All tiles: per block 16 scales, then units of eight columns.
    pub(super) data: *const u8,
    pub(super) tile_bytes: usize,
    pub(super) block: usize,
    pub(super) block_bytes: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) x: *const f32,
    pub(super) out: Output,
}

impl Operands<'_> {
    /// Multiplies `m` rows, 1 to 4, with `tiles`.
    ///
    /// # Safety
    /// Needs AVX-512F; tiles, activations and output are as large as the fields say, and nobody
    /// else touches these columns.
    pub(super) unsafe fn run(&self, m: usize, tiles: std::ops::Range<usize>) {
        debug_assert!((1..=MAX_ROWS).contains(&m));
        // Several tiles hide the latency of the chains.
        let group = if m <= 2 { 4 } else { 2 };
        let mut tile = tiles.start;
        while tile < tiles.end {
            let whole = tile + group <= tiles.end;
            // SAFETY: forwarded to the caller.
            unsafe {
                match (m, whole) {
                    (1, true) => self.some::<1, 4>(tile),
                    (2, true) => self.some::<2, 4>(tile),
                    (3, true) => self.some::<3, 2>(tile),
                    (4, true) => self.some::<4, 2>(tile),
                    (1, false) => self.some::<1, 1>(tile),
                    (2, false) => self.some::<2, 1>(tile),
                    (3, false) => self.some::<3, 1>(tile),
                    _ => self.some::<4, 1>(tile),
                }
            }
            tile += if whole { group } else { 1 };
        }
    }

    /// Multiplies `M` rows with `T` tiles.
    #[target_feature(enable = "avx512f")]
    unsafe fn some<const M: usize, const T: usize>(&self, tile: usize) {
        // SAFETY: forwarded to the caller; only the low four bits of an index count.
        unsafe {
            let table = _mm512_loadu_ps(self.table.as_ptr());
            let first = self.data.add(tile * self.tile_bytes);
            let mut total = [[_mm512_setzero_ps(); T]; M];
            for start in (0..self.k).step_by(STEP) {
                let end = (start + STEP).min(self.k);
                let mut acc = [[_mm512_setzero_ps(); T]; M];
                let mut at = start;
                while at < end {
                    let (block, inside) = (at / self.block, at % self.block);
                    let len = (self.block - inside).min(end - at);
                    let offset = block * self.block_bytes;
                    let mut scales = [_mm512_setzero_ps(); T];
                    let mut units = [first; T];
                    for t in 0..T {
                        let base = first.add(t * self.tile_bytes + offset);
                        scales[t] = _mm512_loadu_ps(base.cast());
                        units[t] = base.add(64 + inside / 8 * 64);
                    }
                    let mut x = self.x.add(at);
                    for _ in 0..len / 8 {
                        let mut words = [_mm512_setzero_si512(); T];
                        for t in 0..T {
                            prefetch(units[t].wrapping_add(AHEAD), 64);
                            words[t] = _mm512_loadu_si512(units[t].cast());
                            units[t] = units[t].add(64);
                        }
                        macro_rules! columns {
                            ($($j:literal)*) => {$(
                                for t in 0..T {
                                    let index = _mm512_srli_epi32::<{ 4 * $j }>(words[t]);
                                    let w = _mm512_permutexvar_ps(index, table);
                                    let w = _mm512_mul_ps(w, scales[t]);
                                    for i in 0..M {
                                        let x = _mm512_set1_ps(*x.add(i * self.k + $j));
                                        acc[i][t] = _mm512_fmadd_ps(x, w, acc[i][t]);
                                    }
                                }
                            )*};
                        }
                        columns!(0 1 2 3 4 5 6 7);
                        x = x.add(8);
                    }
                    at += len;
                }
                for i in 0..M {
                    for t in 0..T {
                        total[i][t] = if start == 0 {
                            acc[i][t]
                        } else {
                            _mm512_add_ps(acc[i][t], total[i][t])
                        };
                    }
                }
            }
            for (i, total) in total.iter().enumerate() {
                for (t, &sums) in total.iter().enumerate() {
                    let column = (tile + t) * TILE;
                    let mask: __mmask16 = 0xffff >> (TILE - (self.n - column).min(TILE));
                    let out = self.out.start.add(i * self.out.stride + column);
                    _mm512_mask_storeu_ps(out, mask, sums);
                }
            }
        }
    }
}
