//! From stored blocks to `f32`, in the order of operations of ggml's reference
//! (`ggml-quants.c`, `dequantize_row_*`), so that results are equal bit for bit.

mod blocks32;
mod iq;
mod k_quants;
mod tables;

pub(crate) use tables::{E2M1, UNEVEN, e4m3_half, e8m0_half};

use crate::float::{bf16_to_f32, f16_to_f32};
use crate::{Error, Result, TensorType};

/// Types to convert to, for error messages: those that are read and written.
const SUPPORTED: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K";

/// Returns the function that converts whole blocks of `ty`, or `None` for a type without one.
///
/// The function converts as many blocks as both slices hold and leaves a rest untouched; it accepts
/// bytes of any alignment and never panics. Use it for rows of known size in a loop; [`dequantize`]
/// checks lengths.
#[must_use]
pub fn dequantizer(ty: TensorType) -> Option<fn(&[u8], &mut [f32])> {
    Some(match ty {
        TensorType::F32 => f32s,
        TensorType::F16 => f16s,
        TensorType::BF16 => bf16s,
        TensorType::F64 => f64s,
        TensorType::I8 => i8s,
        TensorType::I16 => i16s,
        TensorType::I32 => i32s,
        TensorType::Q4_0 => blocks32::q4_0,
        TensorType::Q4_1 => blocks32::q4_1,
        TensorType::Q5_0 => blocks32::q5_0,
        TensorType::Q5_1 => blocks32::q5_1,
        TensorType::Q8_0 => blocks32::q8_0,
        TensorType::Q8_1 => blocks32::q8_1,
        TensorType::Q2_K => k_quants::q2_k,
        TensorType::Q3_K => k_quants::q3_k,
        TensorType::Q4_K => k_quants::q4_k,
        TensorType::Q5_K => k_quants::q5_k,
        TensorType::Q6_K => k_quants::q6_k,
        TensorType::Q8_K => k_quants::q8_k,
        TensorType::IQ1_S => iq::iq1_s,
        TensorType::IQ1_M => iq::iq1_m,
        TensorType::IQ2_XXS => iq::iq2_xxs,
        TensorType::IQ2_XS => iq::iq2_xs,
        TensorType::IQ2_S => iq::iq2_s,
        TensorType::IQ3_XXS => iq::iq3_xxs,
        TensorType::IQ3_S => iq::iq3_s,
        TensorType::Q1_0 => tables::q1_0,
        TensorType::Q2_0 => tables::q2_0,
        TensorType::IQ4_NL => tables::iq4_nl,
        TensorType::IQ4_XS => tables::iq4_xs,
        TensorType::MXFP4 => tables::mxfp4,
        TensorType::NVFP4 => tables::nvfp4,
        TensorType::TQ1_0 => tables::tq1_0,
        TensorType::TQ2_0 => tables::tq2_0,
        _ => return None,
    })
}

/// Converts `bytes`, whole blocks of `ty`, to `out`. The bytes may have any alignment.
///
/// # Errors
/// [`Error::Unsupported`] for a type without a dequantiser, [`Error::Length`] when `out` is not a
/// whole number of blocks or `bytes` does not hold exactly as many.
pub fn dequantize(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let Some(convert) = dequantizer(ty) else {
        return Err(Error::Unsupported {
            action: "dequantise",
            ty,
            supported: SUPPORTED,
        });
    };
    let Some(expected) = ty.row_bytes(out.len()) else {
        let whole = out.len().next_multiple_of(ty.block_size());
        return Err(Error::length(
            format!("values in whole {ty} blocks"),
            whole,
            out.len(),
        ));
    };
    if bytes.len() != expected {
        let what = format!("bytes of {} {ty} values", out.len());
        return Err(Error::length(what, expected, bytes.len()));
    }
    convert(bytes, out);
    Ok(())
}

macro_rules! plain {
    ($($name:ident: $t:ty => $convert:expr;)*) => {$(
        fn $name(bytes: &[u8], out: &mut [f32]) {
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
            for (x, chunk) in out.iter_mut().zip(chunks) {
                *x = $convert(<$t>::from_le_bytes(*chunk));
            }
        }
    )*};
}

plain! {
    f32s: f32 => std::convert::identity;
    f16s: u16 => f16_to_f32;
    bf16s: u16 => bf16_to_f32;
    f64s: f64 => |x| x as f32;
    i8s: i8 => f32::from;
    i16s: i16 => f32::from;
    i32s: i32 => |x| x as f32;
}

/// Reads an f16 factor at `at`.
#[inline(always)]
fn factor<const N: usize>(block: &[u8; N], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Runs `convert` on each block of `N` bytes and its `M` values.
#[inline(always)]
fn each<const N: usize, const M: usize>(
    bytes: &[u8],
    out: &mut [f32],
    convert: impl Fn(&[u8; N], &mut [f32; M]),
) {
    for (block, y) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        convert(block, y);
    }
}
