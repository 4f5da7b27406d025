//! What follows a projection in one pass over its output: bias, activation, residual and norm.
use super::activation::{Activation, GeluErf, GeluTanh, Relu, Silu};
use super::elementwise::Unary;
use super::norm::{Norm, part};
use super::{same_length, whole_rows};
use crate::simd::{Four, Kernel, LANES, Lanes, dispatch};
use crate::{Error, Isa};

/// Stores the first `count` lanes.
///
/// # Safety
/// The tier of `L` is available and `count <= 16` elements follow `p`.
#[inline(always)]
unsafe fn store<L: Lanes>(x: L, p: *mut f32, count: usize) {
    // SAFETY: forwarded to the caller.
    unsafe {
        if count == LANES {
            x.store(p);
        } else {
            x.store_part(p, count);
        }
    }
}

/// Replaces `x` by `f(x + bias)`, row by row.
struct BiasMap<'a, F> {
    x: &'a mut [f32],
    bias: &'a [f32],
    f: F,
}

impl<F: Unary> Kernel for BiasMap<'_, F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.bias.len();
        for row in self.x.chunks_exact_mut(n) {
            // SAFETY: row and bias hold `n` elements.
            unsafe {
                let (p, bias) = (row.as_mut_ptr(), self.bias.as_ptr());
                let mut i = 0;
                while i + 4 * LANES <= n {
                    let x = Four::<L>::load(p.add(i)).add(Four::load(bias.add(i)));
                    self.f.apply(x).store(p.add(i));
                    i += 4 * LANES;
                }
                while i + LANES <= n {
                    let x = L::load(p.add(i)).add(L::load(bias.add(i)));
                    self.f.apply(x).store(p.add(i));
                    i += LANES;
                }
                if i < n {
                    let rest = n - i;
                    let x = L::load_part(p.add(i), rest).add(L::load_part(bias.add(i), rest));
                    self.f.apply(x).store_part(p.add(i), rest);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl Unary for Identity {
    #[inline(always)]
    unsafe fn apply<L: Lanes>(self, x: L) -> L {
        x
    }
}

fn bias_map<F: Unary>(
    isa: Isa,
    what: &'static str,
    x: &mut [f32],
    bias: &[f32],
    f: F,
) -> Result<(), Error> {
    whole_rows(what, x.len(), bias.len())?;
    if !x.is_empty() {
        dispatch(isa, BiasMap { x, bias, f });
    }
    Ok(())
}

/// Adds `bias` to each row of `x`.
///
/// # Shapes
/// - `x`: `[rows, n]`; `bias`: `[n]`
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows.
pub fn add_bias(isa: Isa, x: &mut [f32], bias: &[f32]) -> Result<(), Error> {
    bias_map(isa, "add_bias x", x, bias, Identity)
}

/// Replaces `x` by `activation(x + bias)`: the bits of [`add_bias`] and then
/// [`activate`](super::activate), in one pass.
///
/// # Shapes
/// - `x`: `[rows, n]`; `bias`: `[n]`
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows.
pub fn bias_activate(
    isa: Isa,
    activation: Activation,
    x: &mut [f32],
    bias: &[f32],
) -> Result<(), Error> {
    let what = "bias_activate x";
    match activation {
        Activation::Silu => bias_map(isa, what, x, bias, Silu),
        Activation::GeluErf => bias_map(isa, what, x, bias, GeluErf),
        Activation::GeluTanh => bias_map(isa, what, x, bias, GeluTanh),
        Activation::Relu => bias_map(isa, what, x, bias, Relu),
    }
}

/// Rows `x`, of which each becomes the norm of `x + y + bias`.
struct AddNorm<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
    bias: Option<&'a [f32]>,
    weight: &'a [f32],
    norm_bias: Option<&'a [f32]>,
    eps: f32,
}

impl Kernel for AddNorm<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.weight.len();
        for (row, y) in self.x.chunks_exact_mut(n).zip(self.y.chunks_exact(n)) {
            let p = row.as_mut_ptr();
            // SAFETY: row, `y`, weights and biases hold `n` elements.
            unsafe {
                for i in (0..n).step_by(LANES) {
                    let count = LANES.min(n - i);
                    let mut sum = part::<L>(p.add(i), count).add(part(y.as_ptr().add(i), count));
                    if let Some(bias) = self.bias {
                        sum = sum.add(part(bias.as_ptr().add(i), count));
                    }
                    store(sum, p.add(i), count);
                }
                let norm = Norm {
                    x: p,
                    out: p,
                    len: n,
                    weight: self.weight,
                    bias: self.norm_bias,
                    eps: self.eps,
                    centered: true,
                };
                norm.run::<L>();
            }
        }
    }
}

/// Replaces each row of `x` by the layer norm of `x + y + bias`: the residual connection after a
/// projection `y` of a post-norm block (Vaswani et al. 2017, section 3.1).
///
/// The bits are those of adding `y` and then `bias` and of
/// [`layer_norm_in_place`](super::layer_norm_in_place).
///
/// # Shapes
/// - `x`, `y`: `[rows, n]`
/// - `bias`, `weight`, `norm_bias`: `[n]`
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows or another slice differs in length.
pub fn add_layer_norm(
    isa: Isa,
    x: &mut [f32],
    y: &[f32],
    bias: Option<&[f32]>,
    (weight, norm_bias): (&[f32], Option<&[f32]>),
    eps: f32,
) -> Result<(), Error> {
    whole_rows("add_layer_norm x", x.len(), weight.len())?;
    same_length("add_layer_norm y", x.len(), y.len())?;
    for b in [bias, norm_bias].into_iter().flatten() {
        same_length("add_layer_norm bias", weight.len(), b.len())?;
    }
    if !x.is_empty() {
        let kernel = AddNorm {
            x,
            y,
            bias,
            weight,
            norm_bias,
            eps,
        };
        dispatch(isa, kernel);
    }
    Ok(())
}
