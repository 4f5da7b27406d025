use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

macro_rules! tensor_types {
    ($($variant:ident = $id:literal, $block:literal, $bytes:literal, $doc:literal;)*) => {
        /// Storage type of a tensor: `ggml_type` of `ggml.h`.
        ///
        /// A row is a sequence of blocks; a block holds [`block_size`](Self::block_size) values in
        /// [`type_size`](Self::type_size) bytes. Plain number types have blocks of one value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[expect(non_camel_case_types, reason = "the names of ggml, as users know them")]
        #[repr(u32)]
        pub enum TensorType {
            $(#[doc = $doc] $variant = $id,)*
        }

        impl TensorType {
            /// Every type this crate knows, in order of its id.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the type with this id in a GGUF file, or `None` for an unknown or withdrawn id.
            #[must_use]
            pub fn from_u32(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns the name used by ggml, such as `Q4_K`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }

            /// Returns the number of values in a block.
            #[must_use]
            pub const fn block_size(self) -> usize {
                match self {
                    $(Self::$variant => $block,)*
                }
            }

            /// Returns the number of bytes in a block.
            #[must_use]
            pub const fn type_size(self) -> usize {
                match self {
                    $(Self::$variant => $bytes,)*
                }
            }
        }
    };
}

tensor_types! {
    F32 = 0, 1, 4, "IEEE single precision.";
    F16 = 1, 1, 2, "IEEE half precision.";
    Q4_0 = 2, 32, 18, "4-bit integers, one f16 scale per 32.";
    Q4_1 = 3, 32, 20, "4-bit integers, f16 scale and minimum per 32.";
    Q5_0 = 6, 32, 22, "5-bit integers, one f16 scale per 32.";
    Q5_1 = 7, 32, 24, "5-bit integers, f16 scale and minimum per 32.";
    Q8_0 = 8, 32, 34, "8-bit integers, one f16 scale per 32.";
    Q8_1 = 9, 32, 36, "8-bit integers, f16 scale and f16 scaled sum per 32 (an activation type).";
    Q2_K = 10, 256, 84, "2-bit integers, 4-bit scales and minimums per 16, f16 factors per 256.";
    Q3_K = 11, 256, 110, "3-bit integers, 6-bit scales per 16, f16 factor per 256.";
    Q4_K = 12, 256, 144, "4-bit integers, 6-bit scales and minimums per 32, f16 factors per 256.";
    Q5_K = 13, 256, 176, "5-bit integers, 6-bit scales and minimums per 32, f16 factors per 256.";
    Q6_K = 14, 256, 210, "6-bit integers, 8-bit scales per 16, f16 factor per 256.";
    Q8_K = 15, 256, 292, "8-bit integers, one f32 scale per 256, sums per 16 (an activation type).";
    IQ2_XXS = 16, 256, 66, "2.06 bits, code book of 256 groups of 8.";
    IQ2_XS = 17, 256, 74, "2.31 bits, code book of 512 groups of 8.";
    IQ3_XXS = 18, 256, 98, "3.06 bits, code book of 256 groups of 4.";
    IQ1_S = 19, 256, 50, "1.56 bits, code book of 2,048 groups of 8.";
    IQ4_NL = 20, 32, 18, "4-bit indices into 16 unevenly spaced values.";
    IQ3_S = 21, 256, 110, "3.44 bits, code book of 512 groups of 4.";
    IQ2_S = 22, 256, 82, "2.56 bits, code book of 1,024 groups of 8.";
    IQ4_XS = 23, 256, 136, "4-bit indices into 16 unevenly spaced values, 6-bit scales per 32.";
    I8 = 24, 1, 1, "Signed 8-bit integer.";
    I16 = 25, 1, 2, "Signed 16-bit integer.";
    I32 = 26, 1, 4, "Signed 32-bit integer.";
    I64 = 27, 1, 8, "Signed 64-bit integer.";
    F64 = 28, 1, 8, "IEEE double precision.";
    IQ1_M = 29, 256, 56, "1.75 bits, code book of 2,048 groups of 8.";
    BF16 = 30, 1, 2, "bfloat16: the upper half of an IEEE single.";
    TQ1_0 = 34, 256, 54, "Ternary, five values per byte.";
    TQ2_0 = 35, 256, 66, "Ternary, four values per byte.";
    MXFP4 = 39, 32, 17, "OCP microscaling FP4 (E2M1), one power-of-two scale per 32.";
    NVFP4 = 40, 64, 36, "FP4 (E2M1), one E4M3 scale per 16.";
    Q1_0 = 41, 128, 18, "1-bit signs, one f16 scale per 128.";
    Q2_0 = 42, 64, 18, "2-bit integers from -1 to 2, one f16 scale per 64.";
}

impl TensorType {
    /// Returns the id of the type in a GGUF file.
    #[must_use]
    pub const fn to_u32(self) -> u32 {
        self as u32
    }

    /// Returns what stands in for a type of large blocks where a row is not whole blocks
    /// (`tensor_type_fallback` in llama.cpp's `llama-quant.cpp`), or `None` for all others.
    #[must_use]
    pub const fn fallback(self) -> Option<Self> {
        Some(match self {
            Self::IQ1_S
            | Self::IQ1_M
            | Self::IQ2_XXS
            | Self::IQ2_XS
            | Self::IQ2_S
            | Self::IQ3_XXS
            | Self::IQ3_S
            | Self::IQ4_XS => Self::IQ4_NL,
            Self::Q2_0 | Self::Q2_K | Self::Q3_K | Self::TQ1_0 | Self::TQ2_0 => Self::Q4_0,
            Self::Q4_K => Self::Q5_0,
            Self::Q5_K => Self::Q5_1,
            Self::Q6_K => Self::Q8_0,
            _ => return None,
        })
    }

    /// Returns the bytes of a row of `cols` values, or `None` when `cols` is not a multiple of the
    /// block size or the count overflows.
    #[must_use]
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_size()) {
            return None;
        }
        (cols / self.block_size()).checked_mul(self.type_size())
    }

    /// Reports whether values are coded in blocks with shared scales, not as plain numbers.
    #[must_use]
    pub const fn is_quantized(self) -> bool {
        self.block_size() > 1
    }

    /// Says why `id` is unknown: withdrawn by ggml, or newer than this crate.
    pub(crate) fn why_unknown(id: u32) -> &'static str {
        match id {
            4 | 5 | 31..=33 | 36..=38 => {
                "a type ggml has withdrawn; convert the original model again"
            }
            _ => "which is not known here; update ropewalk or convert the model to a known type",
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TensorType {
    type Err = Error;

    /// Reads a name in any case.
    fn from_str(text: &str) -> Result<Self> {
        let same = |ty: &&Self| ty.name().eq_ignore_ascii_case(text);
        Self::ALL.iter().find(same).copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|ty| ty.name()).collect();
            let problem = format!("no such tensor type; there are {}", names.join(", "));
            Error::write(text, problem)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_round_trip() {
        for &ty in TensorType::ALL {
            assert_eq!(TensorType::from_u32(ty.to_u32()), Some(ty));
            assert_eq!(ty.to_string(), format!("{ty:?}"));
            assert_eq!(ty.name().to_lowercase().parse::<TensorType>().unwrap(), ty);
        }
        for withdrawn in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(TensorType::from_u32(withdrawn), None);
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(TensorType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4_K.row_bytes(500), None);
        assert_eq!(TensorType::F16.row_bytes(3), Some(6));
        assert_eq!(TensorType::F64.row_bytes(usize::MAX), None);
    }
}
