//! 4-bit weights as tiles of 16 rows that are decoded on the way into the f32 micro-kernel.
//!
//! A tile holds, block after block of `block` columns, the 16 scales of its rows and then units of
//! eight columns: 16 words of 32 bits, word `r` with the eight indices of row `r`, the first in the
//! low bits. So one load and seven shifts give the indices of 16 rows for eight columns. Decoded
//! weights are those of [`FourBit::dequantize`], bit for bit; sums are chains of multiply-adds over
//! at most [`STEP`] columns, the same for any number of activation rows.
#![allow(unsafe_code, reason = "threads write disjoint columns of one output")]

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::few;
use super::{FourBit, length, lookup};
use crate::buffer::Buffer;
use crate::dense::{Output, TILE};
use crate::micro::{self, Tile};
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::{Error, Isa, Pool};

/// Columns of one unit.
const UNIT: usize = 8;
/// Bytes of one unit, and of the scales of a block.
const LINE: usize = 64;
/// Columns decoded at once: three panels of them fit a first-level cache.
pub(super) const STEP: usize = 192;

const _: () = assert!(STEP.is_multiple_of(UNIT) && TILE * size_of::<f32>() == LINE);

thread_local! {
    /// Decoded weights of one group of tiles.
    static DECODED: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// A weight matrix `[n, k]` in 4-bit blocks.
#[derive(Debug)]
pub(crate) struct FourBitTiles {
    n: usize,
    k: usize,
    block: usize,
    table: &'static [f32; 16],
    data: Buffer,
}

impl FourBitTiles {
    /// Packs row-major codes and scales whose blocks do not cross rows.
    ///
    /// # Errors
    /// [`Error::Block`], [`Error::Length`], [`Error::TooLarge`], [`Error::OutOfMemory`].
    pub(crate) fn pack(
        code: FourBit,
        block: usize,
        (packed, scales): (&[u8], &[f32]),
        (n, k): (usize, usize),
        pool: &Pool,
    ) -> Result<Self, Error> {
        super::block_size(block)?;
        if !k.is_multiple_of(block) {
            return Err(Error::Block {
                format: code.name(),
                block,
                cols: k,
            });
        }
        let too_large = || Error::TooLarge {
            format: code.name(),
            rows: n,
            cols: k,
        };
        let values = n.checked_mul(k).ok_or_else(too_large)?;
        length("4-bit codes", packed.len(), values / 2)?;
        length("4-bit scales", scales.len(), values / block)?;
        let mut this = Self {
            n,
            k,
            block,
            table: code.table(),
            data: Buffer::zeroed(0)?,
        };
        let bytes = n.div_ceil(TILE).checked_mul(this.tile_bytes());
        this.data = Buffer::zeroed(bytes.ok_or_else(too_large)?)?;
        let (tile_bytes, blocks) = (this.tile_bytes(), k / block);
        let start = Shared(this.data.bytes_mut().as_mut_ptr());
        pool.run(n.div_ceil(TILE), &|t| {
            // SAFETY: tile `t` of the buffer, which this call alone writes.
            let tile =
                unsafe { std::slice::from_raw_parts_mut(start.at(t * tile_bytes), tile_bytes) };
            for row in t * TILE..((t + 1) * TILE).min(n) {
                let scales = &scales[row * blocks..][..blocks];
                interleave(row % TILE, &packed[row * k / 2..][..k / 2], scales, tile);
            }
        });
        Ok(this)
    }

    /// Returns the bytes of a tile.
    fn tile_bytes(&self) -> usize {
        self.k / self.block * self.block_bytes()
    }

    /// Returns the bytes of a block of a tile.
    fn block_bytes(&self) -> usize {
        LINE + self.block / UNIT * LINE
    }

    /// Returns the bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Writes columns `16 * tiles.start..min(16 * tiles.end, n)` of `x * weights^T`.
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
        debug_assert!(x.len() >= m * self.k && tiles.end <= self.n.div_ceil(TILE));
        if self.k == 0 {
            for i in 0..m {
                for j in tiles.start * TILE..(tiles.end * TILE).min(self.n) {
                    // SAFETY: inside the output columns of this call.
                    unsafe { out.start.add(i * out.stride + j).write(0.0) };
                }
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512Vnni && (1..=few::MAX_ROWS).contains(&m) {
            let operands = few::Operands {
                table: self.table,
                data: self.data.bytes().as_ptr(),
                tile_bytes: self.tile_bytes(),
                block: self.block,
                block_bytes: self.block_bytes(),
                n: self.n,
                k: self.k,
                x: x.as_ptr(),
                out,
            };
            // SAFETY: the tier has AVX-512F, and as the caller vouches.
            return unsafe { operands.run(m, tiles) };
        }
        let group = micro::tile_panels(isa);
        let mut decoded = DECODED.take();
        let room = decoded.get(group * STEP * TILE);
        for first in tiles.clone().step_by(group) {
            let count = group.min(tiles.end - first);
            for start in (0..self.k).step_by(STEP) {
                let columns = start..(start + STEP).min(self.k);
                let depth = columns.len();
                for v in 0..count {
                    // SAFETY: the scratch has room for `group` panels of `STEP` lines.
                    unsafe {
                        self.decode(isa, first + v, columns.clone(), room.add(v * depth * TILE));
                    }
                }
                // SAFETY: panels inside the scratch, output as the caller vouches.
                unsafe {
                    micro::block(
                        isa,
                        &Tile {
                            k: depth,
                            a: x.as_ptr().add(start),
                            a_row: self.k,
                            a_step: 1,
                            b: room,
                            b_panel: depth * TILE,
                            b_step: TILE,
                            c: out.start.add(first * TILE),
                            c_row: out.stride,
                            rows: m,
                            cols: (count * TILE).min(self.n - first * TILE),
                            alpha: 1.0,
                            beta: if start == 0 { 0.0 } else { 1.0 },
                        },
                    );
                }
            }
        }
        DECODED.set(decoded);
    }

    /// Writes columns of a tile as lines of 16 rows.
    ///
    /// # Safety
    /// `isa` is available, `out` has room for a line per column.
    unsafe fn decode(&self, isa: Isa, tile: usize, columns: Range<usize>, out: *mut f32) {
        let data = &self.data.bytes()[tile * self.tile_bytes()..][..self.tile_bytes()];
        let mut at = columns.start;
        while at < columns.end {
            let (block, inside) = (at / self.block, at % self.block);
            let len = (self.block - inside).min(columns.end - at);
            let block = &data[block * self.block_bytes()..][..self.block_bytes()];
            let (scales, units) = block.split_at(LINE);
            let units = &units[inside / UNIT * LINE..][..len / UNIT * LINE];
            // SAFETY: forwarded to the caller; the lines of these columns.
            unsafe {
                let out = out.add((at - columns.start) * TILE);
                lookup::units(isa, self.table, scales, units, out);
            }
            at += len;
        }
    }
}

/// Writes one row into its tile.
fn interleave(row: usize, packed: &[u8], scales: &[f32], tile: &mut [u8]) {
    let blocks = scales.len();
    let (codes, bytes) = (packed.len() / blocks.max(1), tile.len() / blocks.max(1));
    let rows = packed.chunks_exact(codes.max(1)).zip(scales);
    for (block, (packed, scale)) in tile.chunks_exact_mut(bytes.max(1)).zip(rows) {
        let lines = block.chunks_exact_mut(LINE);
        let words = packed.as_chunks::<{ UNIT / 2 }>().0.iter().map(|bytes| {
            // In a file the first of two indices is in the high half.
            let word = u32::from_le_bytes(*bytes);
            ((word & 0x0f0f_0f0f) << 4 | (word >> 4) & 0x0f0f_0f0f).to_le_bytes()
        });
        let contents = std::iter::once(scale.to_le_bytes()).chain(words);
        for (line, word) in lines.zip(contents) {
            line[row * 4..][..4].copy_from_slice(&word);
        }
    }
}
