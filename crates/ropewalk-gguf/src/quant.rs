//! From `f32` to stored blocks.
//!
//! Encoders follow ggml's (`ggml-quants.c`) operation by operation, so that bytes are equal to those
//! of llama.cpp, with and without importance.

mod blocks32;
mod fit;
mod iq1;
mod iq2;
mod iq3;
mod iq_book;
mod iq_search;
mod k_quants;
mod lanes;
mod tables;
mod ternary;

use crate::float::{f32_to_bf16, f32_to_f16};
use crate::{Error, Result, TensorType};

/// Types that [`quantize`] produces, for error messages.
const SUPPORTED: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ1_S to IQ4_XS, TQ1_0, TQ2_0, \
     MXFP4, NVFP4, Q1_0, Q2_0";

/// Largest finite f16. Block scales and minimums are f16, so block types take values up to it.
const F16_MAX: f32 = 65504.0;

/// Codes the whole blocks of one row: values, a weight per value where weights are given, output of
/// exactly the row's size. Without weights, several rows may come as one.
type Encoder = fn(&[f32], Option<&[f32]>, &mut [u8]);

/// Reports whether [`quantize`] (or, for types that need importance, [`quantize_with`]) can produce
/// `ty`.
#[must_use]
pub fn can_quantize(ty: TensorType) -> bool {
    matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16) || encoder(ty).is_some()
}

/// Reports whether `ty` is coded only by [`quantize_with`] and importance: IQ1_S, IQ2_XXS and IQ2_XS
/// (`ggml_quantize_requires_imatrix`).
#[must_use]
pub fn requires_importance(ty: TensorType) -> bool {
    matches!(
        ty,
        TensorType::IQ1_S | TensorType::IQ2_XXS | TensorType::IQ2_XS
    )
}

/// Codes `values` as whole blocks of `ty`.
///
/// A matrix is coded row after row; because rows are whole blocks, parts of it may be coded by
/// several threads and joined.
///
/// # Errors
/// [`Error::Unsupported`] for a type without an encoder, [`Error::Length`] when the values are not
/// whole blocks, [`Error::Range`] for values that the type cannot hold: beyond the range of f16, or
/// (block types) not finite; [`Error::Importance`] for a type that needs importance
/// ([`requires_importance`]).
pub fn quantize(ty: TensorType, values: &[f32]) -> Result<Vec<u8>> {
    quantize_with(ty, values, values.len(), None)
}

/// Codes the rows of `values`, `columns` values each, as whole blocks of `ty`, weighting errors by
/// `importance`: one non-negative number per column, such as the mean square of the activations that
/// meet it (an importance matrix).
///
/// Types that store numbers one by one, and Q8_0, have no choice to weigh and ignore importance.
/// Parts of a matrix (whole rows) may be coded by several threads and joined.
///
/// # Errors
/// As [`quantize`]; [`Error::Length`] when `importance` has not `columns` values or `values` are not
/// whole rows, [`Error::Importance`] when a number of it is negative or not finite.
pub fn quantize_with(
    ty: TensorType,
    values: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>> {
    let (Some(n_bytes), Some(row_bytes)) = (ty.row_bytes(values.len()), ty.row_bytes(columns))
    else {
        let uneven = if ty.row_bytes(columns).is_none() {
            columns
        } else {
            values.len()
        };
        let whole = uneven.next_multiple_of(ty.block_size());
        return Err(Error::length(
            format!("values in whole {ty} blocks"),
            whole,
            uneven,
        ));
    };
    if let Some(importance) = importance {
        check_importance(values, columns, importance)?;
    }
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
            if importance.is_none() && requires_importance(ty) {
                return Err(Error::importance(
                    "the values",
                    format!(
                        "{ty} cannot be coded without; give a number per column (an importance \
                         matrix) or choose IQ1_M, IQ2_S or a larger type"
                    ),
                ));
            }
            check(ty, values, |x| x.abs() <= F16_MAX)?;
            let mut out = vec![0; n_bytes];
            if importance.is_none() {
                encode(values, None, &mut out);
            } else if columns > 0 {
                let rows = values.chunks_exact(columns);
                for (row, out) in rows.zip(out.chunks_exact_mut(row_bytes)) {
                    encode(row, importance, out);
                }
            }
            Ok(out)
        }
    }
}

fn check_importance(values: &[f32], columns: usize, importance: &[f32]) -> Result<()> {
    if importance.len() != columns {
        return Err(Error::length(
            "importance per column",
            columns,
            importance.len(),
        ));
    }
    let whole = values.len().next_multiple_of(columns.max(1));
    if whole != values.len() {
        return Err(Error::length("values in whole rows", whole, values.len()));
    }
    match importance
        .iter()
        .position(|&w| !(0.0..f32::INFINITY).contains(&w))
    {
        Some(at) => Err(Error::importance(
            "the values",
            format!(
                "{} at column {at}; each is a finite number from 0",
                importance[at]
            ),
        )),
        None => Ok(()),
    }
}

fn encoder(ty: TensorType) -> Option<Encoder> {
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
        TensorType::IQ1_S => iq1::iq1_s,
        TensorType::IQ1_M => iq1::iq1_m,
        TensorType::IQ2_XXS => iq2::iq2_xxs,
        TensorType::IQ2_XS => iq2::iq2_xs,
        TensorType::IQ2_S => iq2::iq2_s,
        TensorType::IQ3_XXS => iq3::iq3_xxs,
        TensorType::IQ3_S => iq3::iq3_s,
        TensorType::IQ4_NL => tables::iq4_nl,
        TensorType::IQ4_XS => tables::iq4_xs,
        TensorType::MXFP4 => |x, _, out| tables::mxfp4(x, out),
        TensorType::NVFP4 => |x, _, out| tables::nvfp4(x, out),
        TensorType::TQ1_0 => |x, _, out| ternary::tq1_0(x, out),
        TensorType::TQ2_0 => |x, _, out| ternary::tq2_0(x, out),
        TensorType::Q1_0 => |x, _, out| ternary::q1_0(x, out),
        TensorType::Q2_0 => |x, _, out| ternary::q2_0(x, out),
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
