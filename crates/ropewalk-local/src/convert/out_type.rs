//! The types that matrices are stored as.

use std::fmt;
use std::str::FromStr;

use ropewalk_gguf::{FileType, TensorType, can_quantize};

use crate::{Error, Result};

/// How matrices are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OutType {
    /// As the directory stores them: F32, F16 or BF16 each, and F32 for what bitsandbytes coded.
    /// Nothing is lost.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// 16-bit floats; values beyond 65,504 are an error.
    F16,
    /// bfloat16.
    BF16,
    /// 8-bit integers, one scale per 32 values; F16 where rows are no multiple of 32.
    Q8_0,
    /// By the rules of `llama-quantize`, such as Q4_K_M: a file as by [`Auto`](Self::Auto) is written
    /// beside the output, quantised and removed.
    Quantized(FileType),
    /// Every matrix in a type, embeddings and head too; F16 where rows are no whole blocks of it.
    Pure(TensorType),
}

/// What a name of [`OutType::Pure`] starts with.
const PURE: &str = "pure-";

impl OutType {
    /// The types that `convert_hf_to_gguf.py` has too.
    pub const ALL: [Self; 5] = [Self::Auto, Self::F32, Self::F16, Self::BF16, Self::Q8_0];

    /// The type of a matrix whose rows have `columns` values stored as `source`.
    pub(super) const fn of(self, source: TensorType, columns: usize) -> TensorType {
        match self {
            Self::Auto | Self::Quantized(_) => source,
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q8_0 if columns.is_multiple_of(32) => TensorType::Q8_0,
            Self::Pure(ty) if columns.is_multiple_of(ty.block_size()) => ty,
            Self::Q8_0 | Self::Pure(_) => TensorType::F16,
        }
    }
}

/// The name, as [`from_str`](OutType::from_str) reads it.
impl fmt::Display for OutType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::BF16 => f.write_str("bf16"),
            Self::Q8_0 => f.write_str("q8_0"),
            Self::Quantized(ty) => write!(f, "{}", ty.name().to_ascii_lowercase()),
            Self::Pure(ty) => write!(f, "{PURE}{}", ty.name().to_ascii_lowercase()),
        }
    }
}

impl FromStr for OutType {
    type Err = Error;

    /// Reads a name in any case: of `--outtype` of `convert_hf_to_gguf.py`, of a type of
    /// `llama-quantize`, or `pure-` and the name of a block type.
    fn from_str(name: &str) -> Result<Self> {
        let lower = name.to_ascii_lowercase();
        let found = Self::ALL.into_iter().find(|t| t.to_string() == lower);
        let pure = |name: &str| {
            let same = |ty: &TensorType| ty.name().eq_ignore_ascii_case(name);
            let ty = TensorType::ALL.iter().copied().find(same)?;
            can_quantize(ty).then_some(Self::Pure(ty))
        };
        let found = found.or_else(|| match lower.strip_prefix(PURE) {
            Some(ty) => pure(ty),
            None => lower.parse().ok().map(Self::Quantized),
        });
        found.ok_or_else(|| Error::Option {
            name: "output type",
            value: format!("`{name}`"),
            allowed: "auto, f32, f16, bf16, q8_0, a type of llama-quantize such as q4_k_m, \
                      or pure- and a block type",
        })
    }
}
