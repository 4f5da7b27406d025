//! Formats with superblocks of 256 values: what each block means, and its packed geometry.
//!
//! Layouts: `block_q2_K` to `block_q6_K`, `block_iq4_xs` in `ggml/src/ggml-common.h`; meaning:
//! `dequantize_row_*` in `ggml/src/ggml-quants.c` (llama.cpp).

use super::{Planes, SUPER};
use crate::f16;

/// The non-linear 4-bit table of IQ4_NL and IQ4_XS, shifted by 128 to be unsigned.
pub(crate) const IQ4_TABLE: [u8; 16] = [
    1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241,
];

/// What one superblock of one row holds, independent of how its bits are arranged.
///
/// `value[i] = d * scale[i / 16] * (code[i] - OFFSET) - dmin * min[i / 16]`.
pub(crate) struct Block {
    /// Unsigned codes before the table of the format, if it has one.
    pub(crate) codes: [u8; SUPER],
    /// Integer scale of each 16 values.
    pub(crate) scales: [i16; 16],
    /// Integer minimum of each 16 values, 0 in formats without.
    pub(crate) mins: [u8; 16],
    /// Bits of the f16 scale of the superblock.
    pub(crate) d: u16,
    /// Bits of the f16 scale of the minima.
    pub(crate) dmin: u16,
}

impl Block {
    /// Returns an all-zero block.
    pub(crate) const fn new() -> Self {
        Self {
            codes: [0; SUPER],
            scales: [0; 16],
            mins: [0; 16],
            d: 0,
            dmin: 0,
        }
    }
}

/// How a packed tile stores the scales of a format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scales {
    /// u8 scale and u8 minimum per 32 values.
    ByteWithMin,
    /// u4 scale and u4 minimum per 16 values, in one byte.
    NibbleWithMin,
    /// i8 scale per 16 values.
    Signed16,
    /// i8 scale per 32 values.
    Signed32,
    /// 6-bit scale per 16 values, stored in 4 + 2 bits, 32 too large.
    SixBit16,
}

/// A superblock format.
pub(crate) trait Super: Planes {
    /// Bytes of a ggml block.
    const BLOCK_BYTES: usize;
    /// How a tile stores scales.
    const SCALES: Scales;
    /// What to subtract from a code (after the table).
    const OFFSET: i32;
    /// Reads one ggml block of `BLOCK_BYTES` bytes.
    fn read(src: &[u8], block: &mut Block);
}

/// 6-bit scale and minimum `j` of 8, packed in 12 bytes (`get_scale_min_k4`).
fn scale_min_k4(j: usize, s: &[u8]) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (
            (s[j + 4] & 0xf) | ((s[j - 4] >> 6) << 4),
            (s[j + 4] >> 4) | ((s[j] >> 6) << 4),
        )
    }
}

/// Reads the head that Q4_K and Q5_K share: `d`, `dmin` and 12 bytes of scales.
fn read_k4_head(src: &[u8], block: &mut Block) {
    block.d = f16::bits(src, 0);
    block.dmin = f16::bits(src, 2);
    for j in 0..8 {
        let (scale, min) = scale_min_k4(j, &src[4..16]);
        block.scales[2 * j] = i16::from(scale);
        block.scales[2 * j + 1] = i16::from(scale);
        block.mins[2 * j] = min;
        block.mins[2 * j + 1] = min;
    }
}

/// Spreads 128 bytes of nibbles: low nibbles of 32 bytes, then their high nibbles.
fn nibbles_by_64(qs: &[u8], codes: &mut [u8; SUPER]) {
    for (q, c) in qs.chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
        let (low, high) = c.split_at_mut(32);
        for ((&q, l), h) in q.iter().zip(low).zip(high) {
            *l = q & 0xf;
            *h = q >> 4;
        }
    }
}

/// Q4_K.
pub(crate) struct Q4K;
impl Planes for Q4K {
    const LOW: usize = 4;
    const HIGH: usize = 0;
}
impl Super for Q4K {
    const BLOCK_BYTES: usize = 144;
    const SCALES: Scales = Scales::ByteWithMin;
    const OFFSET: i32 = 0;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        read_k4_head(src, block);
        nibbles_by_64(&src[16..144], &mut block.codes);
    }
}

/// Q5_K.
pub(crate) struct Q5K;
impl Planes for Q5K {
    const LOW: usize = 4;
    const HIGH: usize = 1;
}
impl Super for Q5K {
    const BLOCK_BYTES: usize = 176;
    const SCALES: Scales = Scales::ByteWithMin;
    const OFFSET: i32 = 0;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        read_k4_head(src, block);
        nibbles_by_64(&src[48..176], &mut block.codes);
        for (sub, codes) in block.codes.chunks_exact_mut(32).enumerate() {
            for (c, &h) in codes.iter_mut().zip(&src[16..48]) {
                *c |= ((h >> sub) & 1) << 4;
            }
        }
    }
}

/// Q6_K.
pub(crate) struct Q6K;
impl Planes for Q6K {
    const LOW: usize = 4;
    const HIGH: usize = 2;
}
impl Super for Q6K {
    const BLOCK_BYTES: usize = 210;
    const SCALES: Scales = Scales::Signed16;
    const OFFSET: i32 = 32;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        let (low, rest) = src.split_at(128);
        let (high, rest) = rest.split_at(64);
        let halves = low.chunks_exact(64).zip(high.chunks_exact(32));
        for ((low, high), codes) in halves.zip(block.codes.chunks_exact_mut(128)) {
            for (quarter, codes) in codes.chunks_exact_mut(32).enumerate() {
                let low = &low[32 * (quarter % 2)..][..32];
                let shift = 4 * (quarter / 2);
                for ((c, &l), &h) in codes.iter_mut().zip(low).zip(high) {
                    *c = ((l >> shift) & 0xf) | (((h >> (2 * quarter)) & 3) << 4);
                }
            }
        }
        for (s, &byte) in block.scales.iter_mut().zip(rest) {
            *s = i16::from(byte.cast_signed());
        }
        block.d = f16::bits(rest, 16);
    }
}

/// Spreads 64 bytes of 2-bit fields: field 0 of 32 bytes, then field 1, ...
fn pairs_by_128(qs: &[u8], codes: &mut [u8; SUPER]) {
    for (q, codes) in qs.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (field, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (c, &q) in codes.iter_mut().zip(q) {
                *c = (q >> (2 * field)) & 3;
            }
        }
    }
}

/// Q2_K.
pub(crate) struct Q2K;
impl Planes for Q2K {
    const LOW: usize = 2;
    const HIGH: usize = 0;
}
impl Super for Q2K {
    const BLOCK_BYTES: usize = 84;
    const SCALES: Scales = Scales::NibbleWithMin;
    const OFFSET: i32 = 0;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        for ((s, m), &byte) in block.scales.iter_mut().zip(&mut block.mins).zip(src) {
            *s = i16::from(byte & 0xf);
            *m = byte >> 4;
        }
        pairs_by_128(&src[16..80], &mut block.codes);
        block.d = f16::bits(src, 80);
        block.dmin = f16::bits(src, 82);
    }
}

/// Q3_K.
pub(crate) struct Q3K;
impl Planes for Q3K {
    const LOW: usize = 2;
    const HIGH: usize = 1;
}
impl Super for Q3K {
    const BLOCK_BYTES: usize = 110;
    const SCALES: Scales = Scales::SixBit16;
    const OFFSET: i32 = 4;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        pairs_by_128(&src[32..96], &mut block.codes);
        for (sub, codes) in block.codes.chunks_exact_mut(32).enumerate() {
            for (c, &h) in codes.iter_mut().zip(&src[..32]) {
                *c |= ((h >> sub) & 1) << 2;
            }
        }
        let packed = &src[96..108];
        for (j, s) in block.scales.iter_mut().enumerate() {
            let low = (packed[j % 8] >> (4 * (j / 8))) & 0xf;
            let high = (packed[8 + j % 4] >> (2 * (j / 4))) & 3;
            *s = i16::from(low | (high << 4)) - 32;
        }
        block.d = f16::bits(src, 108);
    }
}

/// IQ4_XS.
pub(crate) struct Iq4Xs;
impl Planes for Iq4Xs {
    const LOW: usize = 4;
    const HIGH: usize = 0;
    const TABLE: Option<&'static [u8; 16]> = Some(&IQ4_TABLE);
    const BITS: usize = 8;
}
impl Super for Iq4Xs {
    const BLOCK_BYTES: usize = 136;
    const SCALES: Scales = Scales::Signed32;
    const OFFSET: i32 = 128;
    #[inline]
    fn read(src: &[u8], block: &mut Block) {
        block.d = f16::bits(src, 0);
        let high = f16::bits(src, 2);
        for (j, scales) in block.scales.chunks_exact_mut(2).enumerate() {
            let low = (src[4 + j / 2] >> (4 * (j % 2))) & 0xf;
            let scale = i16::from(low | (((high >> (2 * j)) & 3) << 4) as u8) - 32;
            scales.fill(scale);
        }
        for (q, c) in src[8..136]
            .chunks_exact(16)
            .zip(block.codes.chunks_exact_mut(32))
        {
            let (low, rest) = c.split_at_mut(16);
            for ((&q, l), h) in q.iter().zip(low).zip(rest) {
                *l = q & 0xf;
                *h = q >> 4;
            }
        }
    }
}
