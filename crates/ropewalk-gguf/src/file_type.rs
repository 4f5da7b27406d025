use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, TensorType};

macro_rules! file_types {
    ($($variant:ident = $id:literal, $name:literal, $ty:ident, $doc:literal;)*) => {
        /// What most tensors of a file are stored as: `llama_ftype` of `llama.h`, under the names
        /// `llama-quantize` takes.
        ///
        /// Types with the ending S, M or L are mixtures: they give some tensors more bits.
        ///
        /// ```
        /// use ropewalk_gguf::{FileType, TensorType};
        ///
        /// let ty: FileType = "q4_k_m".parse()?;
        /// assert_eq!((ty.name(), ty.tensor_type()), ("Q4_K_M", TensorType::Q4_K));
        /// # Ok::<(), ropewalk_gguf::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[expect(non_camel_case_types, reason = "the names of llama.cpp, as users know them")]
        #[repr(u32)]
        pub enum FileType {
            $(#[doc = $doc] $variant = $id,)*
        }

        impl FileType {
            /// Every file type this crate writes, in order of its id.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name, such as `Q4_K_M`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns the type of the tensors that no rule singles out.
            #[must_use]
            pub const fn tensor_type(self) -> TensorType {
                match self {
                    $(Self::$variant => TensorType::$ty,)*
                }
            }
        }
    };
}

file_types! {
    F32 = 0, "F32", F32, "IEEE single precision.";
    F16 = 1, "F16", F16, "IEEE half precision.";
    Q4_0 = 2, "Q4_0", Q4_0, "4.5 bits per weight.";
    Q4_1 = 3, "Q4_1", Q4_1, "5 bits per weight.";
    Q8_0 = 7, "Q8_0", Q8_0, "8.5 bits per weight.";
    Q5_0 = 8, "Q5_0", Q5_0, "5.5 bits per weight.";
    Q5_1 = 9, "Q5_1", Q5_1, "6 bits per weight.";
    Q2_K = 10, "Q2_K", Q2_K, "Q2_K, attention values and outputs and FFN outputs with more bits.";
    Q3_K_S = 11, "Q3_K_S", Q3_K, "Q3_K throughout.";
    Q3_K_M = 12, "Q3_K_M", Q3_K, "Q3_K, half of the attention and FFN outputs with more bits.";
    Q3_K_L = 13, "Q3_K_L", Q3_K, "Q3_K, attention values and outputs and FFN outputs as Q5_K.";
    Q4_K_S = 14, "Q4_K_S", Q4_K, "Q4_K, the first layers' values and FFN outputs as Q5_K.";
    Q4_K_M = 15, "Q4_K_M", Q4_K, "Q4_K, half of the attention values and FFN outputs as Q6_K.";
    Q5_K_S = 16, "Q5_K_S", Q5_K, "Q5_K throughout.";
    Q5_K_M = 17, "Q5_K_M", Q5_K, "Q5_K, half of the attention values and FFN outputs as Q6_K.";
    Q6_K = 18, "Q6_K", Q6_K, "6.56 bits per weight.";
    IQ2_XXS = 19, "IQ2_XXS", IQ2_XXS, "2.06 bits per weight; needs importance.";
    IQ2_XS = 20, "IQ2_XS", IQ2_XS, "2.31 bits per weight; needs importance.";
    Q2_K_S = 21, "Q2_K_S", Q2_K, "Q2_K, the first FFN outputs as Q4_K; needs importance.";
    IQ3_XS = 22, "IQ3_XS", IQ3_S, "3.3 bits per weight; needs importance.";
    IQ3_XXS = 23, "IQ3_XXS", IQ3_XXS, "3.06 bits per weight; needs importance.";
    IQ1_S = 24, "IQ1_S", IQ1_S, "1.56 bits per weight; needs importance.";
    IQ4_NL = 25, "IQ4_NL", IQ4_NL, "4.5 bits per weight.";
    IQ3_S = 26, "IQ3_S", IQ3_S, "3.44 bits per weight.";
    IQ3_M = 27, "IQ3_M", IQ3_S, "IQ3_S, attention values and outputs as Q4_K.";
    IQ2_S = 28, "IQ2_S", IQ2_XS, "2.5 bits per weight; needs importance.";
    IQ2_M = 29, "IQ2_M", IQ2_S, "2.7 bits per weight; needs importance.";
    IQ4_XS = 30, "IQ4_XS", IQ4_XS, "4.25 bits per weight.";
    IQ1_M = 31, "IQ1_M", IQ1_M, "1.75 bits per weight; needs importance.";
    BF16 = 32, "BF16", BF16, "bfloat16.";
    TQ1_0 = 36, "TQ1_0", TQ1_0, "Ternary, 1.69 bits per weight.";
    TQ2_0 = 37, "TQ2_0", TQ2_0, "Ternary, 2.06 bits per weight.";
    MXFP4_MOE = 38, "MXFP4_MOE", MXFP4, "Experts as MXFP4, everything else as Q8_0.";
    Q1_0 = 40, "Q1_0", Q1_0, "Signs, 1.125 bits per weight.";
    Q2_0 = 41, "Q2_0", Q2_0, "2.25 bits per weight.";
}

impl FileType {
    /// Returns the id in `general.file_type`.
    #[must_use]
    pub const fn to_u32(self) -> u32 {
        self as u32
    }

    /// Returns the type with this id, or `None`.
    #[must_use]
    pub fn from_u32(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.to_u32() == id)
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FileType {
    type Err = Error;

    /// Reads a name in any case; `Q3_K`, `Q4_K` and `Q5_K` mean the M mixtures.
    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let name = match upper.as_str() {
            "Q3_K" => "Q3_K_M",
            "Q4_K" => "Q4_K_M",
            "Q5_K" => "Q5_K_M",
            "MXFP4" => "MXFP4_MOE",
            name => name,
        };
        let found = Self::ALL.iter().copied().find(|ty| ty.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|ty| ty.name()).collect();
            let problem = format!("no such file type; there are {}", names.join(", "));
            Error::write(text, problem)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_round_trip() {
        for &ty in FileType::ALL {
            assert_eq!(FileType::from_u32(ty.to_u32()), Some(ty));
            assert_eq!(ty.name().to_lowercase().parse::<FileType>().unwrap(), ty);
        }
        let text = "q4_x".parse::<FileType>().unwrap_err().to_string();
        assert!(text.contains("`q4_x`: no such file type; there are F32, F16"));
    }
}
