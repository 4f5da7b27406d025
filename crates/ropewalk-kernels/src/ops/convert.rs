//! Conversions between f32 and the two 16-bit formats, as raw bits.
use super::same_length;
use crate::simd::{Kernel, LANES, Lanes, dispatch, scalar};
use crate::{Error, Isa};

struct Widen<'a, const BF: bool>(&'a [u16], &'a mut [f32]);

impl<const BF: bool> Kernel for Widen<'_, BF> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let whole = self.0.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: both slices have the same length, `whole` at least.
            unsafe {
                let p = self.0.as_ptr().add(i);
                let x = if BF { L::load_bf16(p) } else { L::load_f16(p) };
                x.store(self.1.as_mut_ptr().add(i));
            }
        }
        for (y, &x) in self.1[whole..].iter_mut().zip(&self.0[whole..]) {
            *y = if BF {
                scalar::bf16_to_f32(x)
            } else {
                scalar::f16_to_f32(x)
            };
        }
    }
}

struct Narrow<'a, const BF: bool>(&'a [f32], &'a mut [u16]);

impl<const BF: bool> Kernel for Narrow<'_, BF> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let whole = self.0.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: both slices have the same length, `whole` at least.
            unsafe {
                let x = L::load(self.0.as_ptr().add(i));
                let p = self.1.as_mut_ptr().add(i);
                if BF { x.store_bf16(p) } else { x.store_f16(p) }
            }
        }
        for (y, &x) in self.1[whole..].iter_mut().zip(&self.0[whole..]) {
            *y = if BF {
                scalar::f32_to_bf16(x)
            } else {
                scalar::f32_to_f16(x)
            };
        }
    }
}

/// Widens half-precision numbers (IEEE 754 binary16), given as bits.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn f16_to_f32(isa: Isa, x: &[u16], out: &mut [f32]) -> Result<(), Error> {
    same_length("f16_to_f32 out", x.len(), out.len())?;
    dispatch(isa, Widen::<false>(x, out));
    Ok(())
}

/// Widens bfloat16 numbers, given as bits.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn bf16_to_f32(isa: Isa, x: &[u16], out: &mut [f32]) -> Result<(), Error> {
    same_length("bf16_to_f32 out", x.len(), out.len())?;
    dispatch(isa, Widen::<true>(x, out));
    Ok(())
}

/// Rounds to half precision (IEEE 754 binary16), to nearest even.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn f32_to_f16(isa: Isa, x: &[f32], out: &mut [u16]) -> Result<(), Error> {
    same_length("f32_to_f16 out", x.len(), out.len())?;
    dispatch(isa, Narrow::<false>(x, out));
    Ok(())
}

/// Rounds to bfloat16, to nearest even; a NaN becomes quiet.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn f32_to_bf16(isa: Isa, x: &[f32], out: &mut [u16]) -> Result<(), Error> {
    same_length("f32_to_bf16 out", x.len(), out.len())?;
    dispatch(isa, Narrow::<true>(x, out));
    Ok(())
}
