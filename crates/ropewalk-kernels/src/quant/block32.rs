//! Formats with blocks of 32 values: what each block means, and its packed geometry.
//!
//! Layouts: `block_q4_0` to `block_q8_0`, `block_iq4_nl`, `block_mxfp4` in
//! `ggml/src/ggml-common.h`; meaning: `dequantize_row_*` in `ggml/src/ggml-quants.c` (llama.cpp).

use super::superblock::IQ4_TABLE;
use super::{Planes, SMALL};
use crate::f16;

/// Twice the values of a 4-bit float (E2M1, OCP Microscaling Formats 1.0), shifted by 16.
const MXFP4_TABLE: [u8; 16] = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];

/// What one block of one row holds: `value[i] = d * (code[i] - OFFSET) + m`.
pub(crate) struct Block {
    /// Unsigned codes before the table of the format, if it has one.
    pub(crate) codes: [u8; SMALL],
    /// Stored form of `d`: f16 bits, or the exponent byte.
    pub(crate) d: u16,
    /// f16 bits of the minimum, 0 in formats without.
    pub(crate) m: u16,
}

impl Block {
    /// Returns an all-zero block.
    pub(crate) const fn new() -> Self {
        Self {
            codes: [0; SMALL],
            d: 0,
            m: 0,
        }
    }
}

/// A format of small blocks.
pub(crate) trait Small: Planes {
    /// Bytes of a ggml block.
    const BLOCK_BYTES: usize;
    /// Whether blocks have a minimum.
    const MIN: bool = false;
    /// Whether the scale is an exponent byte instead of an f16.
    const EXPONENT: bool = false;
    /// log2 of what to subtract from a code (after the table); 0 subtracts nothing.
    const OFFSET_BITS: u32;
    /// Reads one ggml block of `BLOCK_BYTES` bytes.
    fn read(src: &[u8], block: &mut Block);
}

/// Returns the offset that `OFFSET_BITS` stands for.
pub(crate) const fn offset(bits: u32) -> i32 {
    if bits == 0 { 0 } else { 1 << bits }
}

/// Returns half of the E8M0 scale `2^(e - 127)`, as the doubled table wants it.
pub(crate) fn half_exponent(e: u8) -> f32 {
    f32::from_bits(if e < 2 {
        0x0020_0000 << e
    } else {
        (u32::from(e) - 1) << 23
    })
}

/// Spreads 16 bytes of nibbles: all low nibbles, then all high nibbles.
fn nibbles(qs: &[u8], codes: &mut [u8; SMALL]) {
    let (low, high) = codes.split_at_mut(16);
    for ((&q, l), h) in qs.iter().zip(low).zip(high) {
        *l = q & 0xf;
        *h = q >> 4;
    }
}

/// Adds the fifth bits.
fn fifth_bits(qh: &[u8], codes: &mut [u8; SMALL]) {
    let bits = u32::from_le_bytes([qh[0], qh[1], qh[2], qh[3]]);
    for (i, c) in codes.iter_mut().enumerate() {
        *c |= (((bits >> i) & 1) as u8) << 4;
    }
}

/// Q4_0.
pub(crate) struct Q40;
impl Planes for Q40 {
    const LOW: usize = 4;
    const HIGH: usize = 0;
}
impl Small for Q40 {
    const BLOCK_BYTES: usize = 18;
    const OFFSET_BITS: u32 = 3;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = f16::bits(src, 0);
        nibbles(&src[2..18], &mut block.codes);
    }
}

/// Q4_1.
pub(crate) struct Q41;
impl Planes for Q41 {
    const LOW: usize = 4;
    const HIGH: usize = 0;
}
impl Small for Q41 {
    const BLOCK_BYTES: usize = 20;
    const MIN: bool = true;
    const OFFSET_BITS: u32 = 0;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = f16::bits(src, 0);
        block.m = f16::bits(src, 2);
        nibbles(&src[4..20], &mut block.codes);
    }
}

/// Q5_0.
pub(crate) struct Q50;
impl Planes for Q50 {
    const LOW: usize = 4;
    const HIGH: usize = 1;
}
impl Small for Q50 {
    const BLOCK_BYTES: usize = 22;
    const OFFSET_BITS: u32 = 4;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = f16::bits(src, 0);
        nibbles(&src[6..22], &mut block.codes);
        fifth_bits(&src[2..6], &mut block.codes);
    }
}

/// Q5_1.
pub(crate) struct Q51;
impl Planes for Q51 {
    const LOW: usize = 4;
    const HIGH: usize = 1;
}
impl Small for Q51 {
    const BLOCK_BYTES: usize = 24;
    const MIN: bool = true;
    const OFFSET_BITS: u32 = 0;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = f16::bits(src, 0);
        block.m = f16::bits(src, 2);
        nibbles(&src[8..24], &mut block.codes);
        fifth_bits(&src[4..8], &mut block.codes);
    }
}

/// Q8_0.
pub(crate) struct Q80;
impl Planes for Q80 {
    const LOW: usize = 8;
    const HIGH: usize = 0;
}
impl Small for Q80 {
    const BLOCK_BYTES: usize = 34;
    const OFFSET_BITS: u32 = 7;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = f16::bits(src, 0);
        for (c, &q) in block.codes.iter_mut().zip(&src[2..34]) {
            *c = q ^ 0x80;
        }
    }
}

/// IQ4_NL.
pub(crate) struct Iq4Nl;
impl Planes for Iq4Nl {
    const LOW: usize = 4;
    const HIGH: usize = 0;
    const TABLE: Option<&'static [u8; 16]> = Some(&IQ4_TABLE);
    const BITS: usize = 8;
}
impl Small for Iq4Nl {
    const BLOCK_BYTES: usize = 18;
    const OFFSET_BITS: u32 = 7;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        Q40::read(src, block);
    }
}

/// MXFP4.
pub(crate) struct Mxfp4;
impl Planes for Mxfp4 {
    const LOW: usize = 4;
    const HIGH: usize = 0;
    const TABLE: Option<&'static [u8; 16]> = Some(&MXFP4_TABLE);
    const BITS: usize = 5;
}
impl Small for Mxfp4 {
    const BLOCK_BYTES: usize = 17;
    const EXPONENT: bool = true;
    const OFFSET_BITS: u32 = 4;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = u16::from(src[0]);
        nibbles(&src[1..17], &mut block.codes);
    }
}
