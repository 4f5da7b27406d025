//! From `f32` to stored blocks.
//!
//! Q4_0 to Q8_0 follow ggml's reference (`quantize_row_*_ref` in `ggml-quants.c`) operation by
//! operation, so their bytes are equal to those of llama.cpp and of the `gguf` package. The K-quants
//! have no canonical encoder; theirs here searches scales by weighted least squares.

mod blocks32;
mod fit;
mod k_quants;

use crate::float::{f32_to_bf16, f32_to_f16};
use crate::{Error, Result, TensorType};

/// Types that [`quantize`] produces, for error messages.
const SUPPORTED: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K";

/// Largest finite f16. Block scales and minimums are f16, so block types take values up to it.
const F16_MAX: f32 = 65504.0;

/// Reports whether [`quantize`] can produce `ty`.
#[must_use]
pub fn can_quantize(ty: TensorType) -> bool {
    matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16) || encoder(ty).is_some()
}

/// Codes `values` as whole blocks of `ty`.
///
/// A matrix is coded row after row; because rows are whole blocks, parts of it may be coded by
/// several threads and joined.
///
/// # Errors
/// [`Error::Unsupported`] for a type without an encoder, [`Error::Length`] when the values are not
/// whole blocks, [`Error::Range`] for values that the type cannot hold: beyond the range of f16, or
/// (block types) not finite.
pub fn quantize(ty: TensorType, values: &[f32]) -> Result<Vec<u8>> {
    let Some(n_bytes) = ty.row_bytes(values.len()) else {
        let whole = values.len().next_multiple_of(ty.block_size());
        return Err(Error::length(
            format!("values in whole {ty} blocks"),
            whole,
            values.len(),
        ));
    };
    match ty {
        TensorType::F32 => Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        TensorType::BF16 => Ok(values
            .iter()
            .flat_map(|&x| f32_to_bf16(x).to_le_bytes())
            .collect()),
        TensorType::F16 => {
            // 65,520 is the first value that rounds to infinity.
            check(ty, values, |x| x.abs() < 65520.0 || !x.is_finite())?;
            Ok(values
                .iter()
                .flat_map(|&x| f32_to_f16(x).to_le_bytes())
                .collect())
        }
        _ => {
            let Some(encode) = encoder(ty) else {
                return Err(Error::Unsupported {
                    action: "quantise to",
                    ty,
                    supported: SUPPORTED,
                });
            };
            check(ty, values, |x| x.abs() <= F16_MAX)?;
            let mut out = vec![0; n_bytes];
            encode(values, &mut out);
            Ok(out)
        }
    }
}

fn encoder(ty: TensorType) -> Option<fn(&[f32], &mut [u8])> {
    Some(match ty {
        TensorType::Q4_0 => blocks32::q4_0,
        TensorType::Q4_1 => blocks32::q4_1,
        TensorType::Q5_0 => blocks32::q5_0,
        TensorType::Q5_1 => blocks32::q5_1,
        TensorType::Q8_0 => blocks32::q8_0,
        TensorType::Q2_K => k_quants::q2_k,
        TensorType::Q3_K => k_quants::q3_k,
        TensorType::Q4_K => k_quants::q4_k,
        TensorType::Q5_K => k_quants::q5_k,
        TensorType::Q6_K => k_quants::q6_k,
        _ => return None,
    })
}

fn check(ty: TensorType, values: &[f32], fits: impl Fn(f32) -> bool) -> Result<()> {
    // The first pass has no early exit and so becomes SIMD code.
    if values.iter().fold(true, |all, &x| all & fits(x)) {
        return Ok(());
    }
    let index = values.iter().position(|&x| !fits(x)).unwrap_or_default();
    let hint = "scale or clean the tensor, or store it as F32 or BF16";
    Err(Error::Range {
        ty,
        index,
        value: values[index],
        hint,
    })
}
