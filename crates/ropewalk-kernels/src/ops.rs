//! Row operations of decoders and encoders: norms, rotary positions, gates, softmax, conversions.
//!
//! Each runs on the calling thread. A row's result depends on the tier and the row alone, so the
//! caller may cut work by rows (and element-wise work anywhere) without changing a bit.
#![allow(
    unsafe_code,
    reason = "kernels over raw lanes; the public functions check every length"
)]

mod activation;
mod convert;
mod elementwise;
pub(crate) mod exp;
mod fused;
mod norm;
mod rope;
pub(crate) mod softmax;
pub(crate) mod tanh;
#[cfg(test)]
mod tests;

pub use activation::{Activation, activate, gate, silu_mul};
pub use convert::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use elementwise::{add, add_scaled, exp, scale, softcap};
pub use fused::{add_bias, add_layer_norm, bias_activate};
pub use norm::{layer_norm, layer_norm_in_place, rms_norm, rms_norm_in_place};
pub use rope::{RopeStyle, rope};
pub use softmax::{argmax, log_sum_exp, softmax};

use crate::Error;

/// Checks that an operand has the length another one fixes.
fn same_length(what: &'static str, needed: usize, found: usize) -> Result<(), Error> {
    if needed == found {
        Ok(())
    } else {
        Err(Error::Length {
            what,
            needed,
            found,
        })
    }
}

/// Checks that rows of `width` fill a slice.
fn whole_rows(what: &'static str, len: usize, width: usize) -> Result<(), Error> {
    if len.is_multiple_of(width) {
        return Ok(());
    }
    let needed = len.checked_next_multiple_of(width).unwrap_or(0);
    Err(Error::Length {
        what,
        needed,
        found: len,
    })
}
