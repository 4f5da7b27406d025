//! Activations of the feed-forward network and their gated forms.
use super::elementwise::{Binary, Unary, map_in_place, zip};
use super::exp::exp;
use crate::simd::Lanes;
use crate::{Error, Isa};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    GeluErf,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, Hendrycks and Gimpel 2016.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

#[derive(Clone, Copy)]
pub(super) struct Silu;
#[derive(Clone, Copy)]
pub(super) struct GeluErf;
#[derive(Clone, Copy)]
pub(super) struct GeluTanh;
#[derive(Clone, Copy)]
pub(super) struct Relu;

// SAFETY (all blocks below): the tier of `L` is available, as for the caller.
#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one condition for all, stated above"
)]
mod lanes {
    use super::*;

    /// Returns `1 / (1 + e^-x)` times `y`.
    #[inline(always)]
    unsafe fn sigmoid_times<L: Lanes>(x: L, y: L) -> L {
        unsafe { y.div(L::splat(1.0).add(exp(L::splat(0.0).sub(x)))) }
    }

    impl Unary for Silu {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            unsafe { sigmoid_times(x, x) }
        }
    }

    impl Unary for GeluTanh {
        /// `(1 + tanh u) / 2` is the sigmoid of `2 u`.
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            const TWICE: f32 = 1.595_769; // 2 sqrt(2 / pi)
            unsafe {
                let cubic = x.mul(x).fma(L::splat(TWICE * 0.044_715), L::splat(TWICE));
                sigmoid_times(x.mul(cubic), x)
            }
        }
    }

    /// `erf(t) / t` on 0..=1 in powers of `t^2`, highest first: Chebyshev interpolation of degree
    /// 7, relative error 8e-8.
    const ERF: [f32; 8] = [
        -9.673_59e-6,
        1.126_825_4e-4,
        -8.484_396e-4,
        5.221_053_5e-3,
        -2.686_543_8e-2,
        0.112_837_83,
        -0.376_126_38,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    /// `-ln(1 - erf(t))` on 0.95..=4.2, highest first: Chebyshev interpolation of degree 9, error
    /// of `1 - erf` 2e-8.
    const LOG_ERFC: [f32; 10] = [
        7.752_8e-8,
        -3.331_767_4e-6,
        6.210_271e-5,
        -6.830_017e-4,
        5.048_583_7e-3,
        -2.704_696_7e-2,
        0.110_953_96,
        0.631_068_47,
        1.130_603,
        -3.974_042_2e-4,
    ];

    #[inline(always)]
    unsafe fn horner<L: Lanes, const N: usize>(x: L, coefficients: [f32; N]) -> L {
        unsafe {
            let mut p = L::splat(coefficients[0]);
            for &c in &coefficients[1..] {
                p = p.fma(x, L::splat(c));
            }
            p
        }
    }

    impl Unary for GeluErf {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            unsafe {
                let zero = L::splat(0.0);
                let t = x.mul(L::splat(std::f32::consts::FRAC_1_SQRT_2));
                // 1 - erf is 3e-9 at 4.2 and no longer changes a float near 1.
                let size = L::splat(4.2).min(t.abs());
                let half = x.mul(L::splat(0.5));
                // Near 0: x / 2 (1 + erf t).
                let near = half.fma(t.mul(horner(t.mul(t), ERF)), half);
                // Far: x / 2 erfc(|t|) where x < 0, x minus that where x > 0.
                let tail = exp(zero.sub(horner(size, LOG_ERFC)));
                let far = x.select_gt(zero, x.sub(half.mul(tail)), half.mul(tail));
                L::splat(1.0).select_gt(size, near, far)
            }
        }
    }

    impl Unary for Relu {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L) -> L {
            unsafe { L::splat(0.0).max(x) }
        }
    }

    /// `f(gate) * up`.
    #[derive(Clone, Copy)]
    pub(super) struct Gated<F>(pub(super) F);

    impl<F: Unary> Binary for Gated<F> {
        #[inline(always)]
        unsafe fn apply<L: Lanes>(self, x: L, y: L) -> L {
            unsafe { self.0.apply(x).mul(y) }
        }
    }
}

/// Applies an activation in place.
pub fn activate(isa: Isa, activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::Silu => map_in_place(isa, x, Silu),
        Activation::GeluErf => map_in_place(isa, x, GeluErf),
        Activation::GeluTanh => map_in_place(isa, x, GeluTanh),
        Activation::Relu => map_in_place(isa, x, Relu),
    }
}

/// Writes `activation(gate) * up` to `out` (Shazeer 2020, "GLU variants improve transformer").
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn gate(
    isa: Isa,
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    out: &mut [f32],
) -> Result<(), Error> {
    let (what, both) = ("gate", (gate, up));
    match activation {
        Activation::Silu => zip(isa, what, both, out, lanes::Gated(Silu)),
        Activation::GeluErf => zip(isa, what, both, out, lanes::Gated(GeluErf)),
        Activation::GeluTanh => zip(isa, what, both, out, lanes::Gated(GeluTanh)),
        Activation::Relu => zip(isa, what, both, out, lanes::Gated(Relu)),
    }
}

/// Writes `silu(gate) * up` to `out`.
///
/// # Errors
/// [`Error::Length`] when the lengths differ.
pub fn silu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) -> Result<(), Error> {
    self::gate(isa, Activation::Silu, gate, up, out)
}
