//! Packed tiles of 16 rows: their geometry, packing and dispatch.
//!
//! A tile holds 16 rows x 256 values of a superblock format, or 16 rows x 2 or 4 blocks of a small
//! format. Per 32 values it stores bit planes of 64-byte vectors: vector `v` of 8 is four
//! consecutive values of each of the 16 rows, row after row, which is what a 4-way dot product
//! takes. Codes are split in a low plane (2, 4 or 8 bits) and a high plane (0, 1 or 2 bits); a
//! plane of `b` bits keeps field `v * b % 8` of its vector `v * b / 8`. Scales follow the planes.
#![allow(unsafe_code, reason = "threads write disjoint strips of one buffer")]

use super::activation::SMALL_PADDING;
use super::block32::{self, Small};
use super::superblock::{self, Scales, Super};
use super::{Format, SMALL, SUPER, block32 as b32, superblock as sb};
use crate::shared::Shared;
use crate::{Isa, Pool};

/// Rows of a tile.
pub(crate) const ROWS: usize = 16;
/// Bytes of one vector: four values of each row.
const VECTOR: usize = 64;

/// The tile of a superblock format.
pub(crate) struct SuperTile<F>(F);

impl<F: Super> SuperTile<F> {
    /// Bytes of the planes of 32 values.
    pub(crate) const SUB: usize = VECTOR * (F::LOW + F::HIGH);
    /// Offset of the scales.
    pub(crate) const SCALES: usize = 8 * Self::SUB;
    /// Offset of the minima of [`Scales::ByteWithMin`], or of the high bits of
    /// [`Scales::SixBit16`].
    pub(crate) const SECOND: usize = Self::SCALES + 128;
    /// Offset of the f16 scale of each row.
    pub(crate) const D: usize = Self::SCALES
        + match F::SCALES {
            Scales::ByteWithMin | Scales::NibbleWithMin | Scales::Signed16 => 256,
            Scales::Signed32 => 128,
            Scales::SixBit16 => 192,
        };
    /// Offset of the f16 scale of each row's minima.
    pub(crate) const DMIN: usize = Self::D + 2 * ROWS;
    /// Bytes of the tile.
    pub(crate) const BYTES: usize =
        (Self::D + if F::OFFSET == 0 { 4 * ROWS } else { 2 * ROWS }).next_multiple_of(VECTOR);

    const LAYOUT: Layout = {
        // Kernels load planes by the vector and scales by 32 bytes, all aligned.
        assert!(Self::BYTES.is_multiple_of(VECTOR) && Self::SUB.is_multiple_of(VECTOR));
        assert!(Self::D.is_multiple_of(32) && Self::SECOND.is_multiple_of(VECTOR));
        assert!(F::OFFSET != 0 || Self::DMIN + 2 * ROWS <= Self::BYTES);
        Layout {
            cols: SUPER,
            bytes: Self::BYTES,
            src_bytes: F::BLOCK_BYTES,
            pack_row: Self::pack_row,
        }
    };

    /// Packs one superblock as row `row` of a zeroed tile.
    fn pack_row(src: &[u8], row: usize, tile: &mut [u8]) {
        let mut block = superblock::Block::new();
        F::read(src, &mut block);
        for (codes, planes) in block
            .codes
            .chunks_exact(32)
            .zip(tile.chunks_exact_mut(Self::SUB))
        {
            pack_codes(codes, F::LOW, F::HIGH, row, planes);
        }
        let (s, m) = (&block.scales, &block.mins);
        let scales = &mut tile[Self::SCALES..];
        match F::SCALES {
            Scales::ByteWithMin => {
                for j in 0..8 {
                    scales[16 * j + row] = s[2 * j] as u8;
                    scales[128 + 32 * (j / 2) + 2 * row + j % 2] = m[2 * j];
                }
            }
            Scales::NibbleWithMin => {
                for j in 0..16 {
                    scales[32 * (j / 2) + 2 * row + j % 2] = s[j] as u8 | (m[j] << 4);
                }
            }
            Scales::Signed16 => {
                for j in 0..16 {
                    scales[32 * (j / 2) + 2 * row + j % 2] = s[j] as u8;
                }
            }
            Scales::Signed32 => {
                for j in 0..8 {
                    scales[32 * (j / 2) + 2 * row + j % 2] = s[2 * j] as u8;
                }
            }
            Scales::SixBit16 => {
                let mut high = 0u32;
                for j in 0..16 {
                    let code = (s[j] + 32) as u8;
                    scales[16 * (j / 2) + row] |= (code & 0xf) << (4 * (j % 2));
                    high |= u32::from(code >> 4) << (2 * j);
                }
                scales[128 + 4 * row..][..4].copy_from_slice(&high.to_le_bytes());
            }
        }
        tile[Self::D + 2 * row..][..2].copy_from_slice(&block.d.to_le_bytes());
        if F::OFFSET == 0 {
            tile[Self::DMIN + 2 * row..][..2].copy_from_slice(&block.dmin.to_le_bytes());
        }
    }
}

/// The tile of a format of small blocks.
pub(crate) struct SmallTile<F>(F);

impl<F: Small> SmallTile<F> {
    /// Blocks per row: as many as make the tile a multiple of a cache line.
    pub(crate) const BLOCKS: usize = if F::EXPONENT { 4 } else { 2 };
    /// Bytes of the planes of one block.
    pub(crate) const SUB: usize = VECTOR * (F::LOW + F::HIGH);
    /// Bytes of one scale.
    const SCALE: usize = if F::EXPONENT { 1 } else { 2 };
    /// Offset of the scales, block after block.
    pub(crate) const D: usize = Self::BLOCKS * Self::SUB;
    /// Offset of the minima, block after block.
    pub(crate) const M: usize = Self::D + Self::BLOCKS * ROWS * Self::SCALE;
    /// Bytes of the tile.
    pub(crate) const BYTES: usize = Self::M + if F::MIN { Self::BLOCKS * ROWS * 2 } else { 0 };

    const LAYOUT: Layout = {
        // As for superblocks; a row of activations has padding for the tile's last blocks.
        assert!(Self::BYTES.is_multiple_of(VECTOR) && Self::SUB.is_multiple_of(VECTOR));
        assert!(Self::D.is_multiple_of(32) && Self::M.is_multiple_of(32));
        assert!(SMALL_PADDING.is_multiple_of(Self::BLOCKS));
        Layout {
            cols: SMALL * Self::BLOCKS,
            bytes: Self::BYTES,
            src_bytes: F::BLOCK_BYTES * Self::BLOCKS,
            pack_row: Self::pack_row,
        }
    };

    /// Packs up to `BLOCKS` blocks as row `row` of a zeroed tile.
    fn pack_row(src: &[u8], row: usize, tile: &mut [u8]) {
        let mut block = block32::Block::new();
        for (j, src) in src.chunks_exact(F::BLOCK_BYTES).enumerate() {
            F::read(src, &mut block);
            let planes = &mut tile[j * Self::SUB..][..Self::SUB];
            pack_codes(&block.codes, F::LOW, F::HIGH, row, planes);
            let at = Self::D + (j * ROWS + row) * Self::SCALE;
            tile[at..at + Self::SCALE].copy_from_slice(&block.d.to_le_bytes()[..Self::SCALE]);
            if F::MIN {
                tile[Self::M + (j * ROWS + row) * 2..][..2].copy_from_slice(&block.m.to_le_bytes());
            }
        }
    }
}

/// Packs 32 codes of one row into the planes of their sub-block.
///
/// Always inlined: the widths are constants of the caller, and the loops vanish.
#[inline(always)]
fn pack_codes(codes: &[u8], low: usize, high: usize, row: usize, planes: &mut [u8]) {
    let spread = |bits: usize| 0x0101_0101 * ((1u32 << bits) - 1);
    let (low_plane, high_plane) = planes.split_at_mut(VECTOR * low);
    let word = |v: usize| {
        let c = &codes[4 * v..][..4];
        u32::from_le_bytes([c[0], c[1], c[2], c[3]])
    };
    for (bits, skip, plane) in [(low, 0, low_plane), (high, low, high_plane)] {
        if bits == 0 {
            continue;
        }
        let mask = spread(bits);
        let per_vector = 8 / bits;
        for (g, vector) in plane.chunks_exact_mut(VECTOR).enumerate() {
            let mut packed = 0;
            for field in 0..per_vector {
                let v = g * per_vector + field;
                packed |= ((word(v) >> skip) & mask) << (field * bits);
            }
            vector[4 * row..][..4].copy_from_slice(&packed.to_le_bytes());
        }
    }
}

/// The geometry of a format's tile and the function that fills one row of it.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// Values per row.
    pub(crate) cols: usize,
    /// Bytes.
    pub(crate) bytes: usize,
    /// Bytes of the same values of one row in the source.
    pub(crate) src_bytes: usize,
    /// Packs at most `src_bytes` of one row as row `.1` of a zeroed tile.
    pub(crate) pack_row: fn(&[u8], usize, &mut [u8]),
}

/// Returns the tile layout of a format, if the tier has packed kernels for it.
pub(crate) fn layout(isa: Isa, format: Format) -> Option<Layout> {
    if isa == Isa::Scalar {
        return None;
    }
    Some(match format {
        Format::Q2_K => SuperTile::<sb::Q2K>::LAYOUT,
        Format::Q3_K => SuperTile::<sb::Q3K>::LAYOUT,
        Format::Q4_K => SuperTile::<sb::Q4K>::LAYOUT,
        Format::Q5_K => SuperTile::<sb::Q5K>::LAYOUT,
        Format::Q6_K => SuperTile::<sb::Q6K>::LAYOUT,
        Format::IQ4_XS => SuperTile::<sb::Iq4Xs>::LAYOUT,
        Format::Q4_0 => SmallTile::<b32::Q40>::LAYOUT,
        Format::Q4_1 => SmallTile::<b32::Q41>::LAYOUT,
        Format::Q5_0 => SmallTile::<b32::Q50>::LAYOUT,
        Format::Q5_1 => SmallTile::<b32::Q51>::LAYOUT,
        Format::Q8_0 => SmallTile::<b32::Q80>::LAYOUT,
        Format::IQ4_NL => SmallTile::<b32::Iq4Nl>::LAYOUT,
        Format::MXFP4 => SmallTile::<b32::Mxfp4>::LAYOUT,
        Format::F32 | Format::F16 | Format::BF16 => return None,
    })
}

/// Packs `n` rows into strips of tiles, in parallel over strips.
pub(crate) fn pack(
    layout: Layout,
    src: &[u8],
    n: usize,
    row_bytes: usize,
    dst: &mut [u8],
    strip_bytes: usize,
    pool: &Pool,
) {
    let strips = n.div_ceil(ROWS);
    debug_assert_eq!(dst.len(), strips * strip_bytes);
    let base = Shared(dst.as_mut_ptr());
    pool.run(strips, &|strip| {
        // SAFETY: strips are disjoint parts of `dst`.
        let dst = unsafe {
            std::slice::from_raw_parts_mut(base.get().add(strip * strip_bytes), strip_bytes)
        };
        let first = strip * ROWS;
        let rows = (n - first).min(ROWS);
        for (tile, dst) in dst.chunks_exact_mut(layout.bytes).enumerate() {
            for row in 0..rows {
                let row_src = &src[(first + row) * row_bytes..][..row_bytes];
                let at = tile * layout.src_bytes;
                let end = (at + layout.src_bytes).min(row_bytes);
                (layout.pack_row)(&row_src[at..end], row, dst);
            }
        }
    });
}

/// Multiplies strips with one block of activation rows: first strip, bytes from strip to strip,
/// tiles of a strip, interleaved activations, output `[strips][width][16]`.
pub(crate) type Kernel = unsafe fn(*const u8, usize, usize, *const i32, *mut f32);

/// Returns the kernel for a block of `width` rows and `strips` strips at once, if there is one.
pub(crate) fn kernel(isa: Isa, format: Format, width: usize, strips: usize) -> Option<Kernel> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => super::avx512::kernel(format, width, strips),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::avx2::kernel(format, width, strips),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => super::avx2::kernel_vnni(format, width, strips),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => super::neon::kernel(format, width, strips),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => super::neon::kernel_dot(format, width, strips),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_hold_whole_blocks() {
        for format in Format::ALL {
            let Some(layout) = layout(Isa::Avx2, format) else {
                continue;
            };
            assert_eq!(layout.cols % format.block_size(), 0, "{format}");
            let blocks = layout.cols / format.block_size();
            assert_eq!(layout.src_bytes, blocks * format.block_bytes(), "{format}");
        }
    }

    #[test]
    fn codes_keep_their_place_in_the_planes() {
        let codes: Vec<u8> = (0..32).map(|i| (i * 37 % 64) as u8).collect();
        let (low, high, row) = (4, 2, 5);
        let mut planes = vec![0; VECTOR * (low + high)];
        pack_codes(&codes, low, high, row, &mut planes);
        for (i, &code) in codes.iter().enumerate() {
            let (v, byte) = (i / 4, i % 4);
            let field = |plane: &[u8], bits: usize| {
                let at = VECTOR * (v * bits / 8) + 4 * row + byte;
                (plane[at] >> (v * bits % 8)) & ((1 << bits) - 1)
            };
            let (l, h) = planes.split_at(VECTOR * low);
            assert_eq!(field(l, low) | (field(h, high) << low), code, "value {i}");
        }
    }
}
