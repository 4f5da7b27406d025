//! Quantised weight formats: block layouts, packed tiles and the kernels over them.

pub(crate) mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod block32;
pub(crate) mod dense_rows;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod scalar;
pub(crate) mod superblock;
pub(crate) mod tiles;

/// Values of a superblock, the unit of the K-quants and of their activations.
pub(crate) const SUPER: usize = 256;
/// Values of a small block, the unit of the older formats and of their activations.
pub(crate) const SMALL: usize = 32;

/// How the codes of a format are stored in a tile.
pub(crate) trait Planes {
    /// Bits of a code in the low plane: 2, 4 or 8.
    const LOW: usize;
    /// Bits of a code in the high plane: 0, 1 or 2.
    const HIGH: usize;
    /// Maps codes to unsigned values.
    const TABLE: Option<&'static [u8; 16]> = None;
    /// Bits of the unsigned values.
    const BITS: usize = Self::LOW + Self::HIGH;
}

/// A weight format of ggml with a kernel of its own.
///
/// Block layouts follow `ggml/src/ggml-common.h` of llama.cpp, byte for byte.
#[expect(
    non_camel_case_types,
    reason = "the names of the formats as every GGUF tool writes them"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half-precision floats.
    F16,
    /// Brain floats, the upper half of an [`Format::F32`].
    BF16,
    /// 4-bit values, one scale per 32.
    Q4_0,
    /// 4-bit values, scale and minimum per 32.
    Q4_1,
    /// 5-bit values, one scale per 32.
    Q5_0,
    /// 5-bit values, scale and minimum per 32.
    Q5_1,
    /// 8-bit values, one scale per 32.
    Q8_0,
    /// 2-bit values, 4-bit scales and minima per 16, superblocks of 256.
    Q2_K,
    /// 3-bit values, 6-bit scales per 16, superblocks of 256.
    Q3_K,
    /// 4-bit values, 6-bit scales and minima per 32, superblocks of 256.
    Q4_K,
    /// 5-bit values, 6-bit scales and minima per 32, superblocks of 256.
    Q5_K,
    /// 6-bit values, 8-bit scales per 16, superblocks of 256.
    Q6_K,
    /// 4-bit indices into a non-linear table, one scale per 32.
    IQ4_NL,
    /// 4-bit indices into a non-linear table, 6-bit scales per 32, superblocks of 256.
    IQ4_XS,
    /// 4-bit floats (E2M1) with a power-of-two scale per 32.
    MXFP4,
}

impl Format {
    /// Every format, unquantised ones first.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
    ];

    /// Returns the name, as GGUF tools write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
            Self::IQ4_XS => "IQ4_XS",
            Self::MXFP4 => "MXFP4",
        }
    }

    /// Returns the values of one block: 1, 32 or 256.
    #[must_use]
    pub fn block_size(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0
            | Self::Q4_1
            | Self::Q5_0
            | Self::Q5_1
            | Self::Q8_0
            | Self::IQ4_NL
            | Self::MXFP4 => SMALL,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K | Self::IQ4_XS => SUPER,
        }
    }

    /// Returns the bytes of one block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 | Self::IQ4_NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_XS => 136,
            Self::MXFP4 => 17,
        }
    }

    /// Returns the bytes of a row of `k` values.
    ///
    /// # Errors
    /// [`Error::Block`](crate::Error::Block) when `k` is not a multiple of the block size,
    /// [`Error::TooLarge`](crate::Error::TooLarge) when the size overflows.
    pub fn row_bytes(self, k: usize) -> Result<usize, crate::Error> {
        let block = self.block_size();
        if !k.is_multiple_of(block) {
            return Err(crate::Error::Block {
                format: self.name(),
                block,
                cols: k,
            });
        }
        (k / block)
            .checked_mul(self.block_bytes())
            .ok_or(crate::Error::TooLarge {
                format: self.name(),
                rows: 1,
                cols: k,
            })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
