//! Root-mean-square and layer normalisation.
use super::{same_length, whole_rows};
use crate::simd::{Kernel, LANES, Lanes, dispatch};
use crate::{Error, Isa};

/// Sums `x - center`, or its squares, over a row: four running vectors, added pairwise at the end.
///
/// # Safety
/// The tier of `L` is available.
#[inline(always)]
unsafe fn sum_row<L: Lanes, const SQUARES: bool>(x: &[f32], center: f32) -> f32 {
    // SAFETY: whole vectors, then the rest, all inside the slice.
    unsafe {
        let mut sums = [L::splat(0.0); 4];
        let centers = L::splat(center);
        let mut groups = x.chunks_exact(4 * LANES);
        for group in &mut groups {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let d = L::load(group.as_ptr().add(lane * LANES)).sub(centers);
                *sum = if SQUARES { d.fma(d, *sum) } else { sum.add(d) };
            }
        }
        for (piece, sum) in groups.remainder().chunks(LANES).zip(&mut sums) {
            // Lanes past the end hold the center, which adds nothing.
            let mut lanes = [center; LANES];
            lanes[..piece.len()].copy_from_slice(piece);
            let d = L::load(lanes.as_ptr()).sub(centers);
            *sum = if SQUARES { d.fma(d, *sum) } else { sum.add(d) };
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
    }
}

/// Loads `count` elements and zeros.
///
/// # Safety
/// The tier of `L` is available and `count <= 16` elements follow `p`.
#[inline(always)]
pub(super) unsafe fn part<L: Lanes>(p: *const f32, count: usize) -> L {
    // SAFETY: forwarded to the caller.
    unsafe {
        if count == LANES {
            L::load(p)
        } else {
            L::load_part(p, count)
        }
    }
}

/// Rows to normalise; `x` and `out` hold `len` values and may be the same memory.
pub(super) struct Norm<'a> {
    pub(super) x: *const f32,
    pub(super) out: *mut f32,
    pub(super) len: usize,
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) eps: f32,
    pub(super) centered: bool,
}

impl Kernel for Norm<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.weight.len();
        for row in (0..self.len).step_by(n) {
            // SAFETY: `len` is whole rows of `n` elements, so is every slice; a vector is read
            // before it is written, and the sums are done before.
            unsafe {
                let (x, out) = (self.x.add(row), self.out.add(row));
                let values = std::slice::from_raw_parts(x, n);
                let mean = if self.centered {
                    sum_row::<L, false>(values, 0.0) / n as f32
                } else {
                    0.0
                };
                let variance = sum_row::<L, true>(values, mean) / n as f32;
                let factor = L::splat(1.0 / (variance + self.eps).sqrt());
                let mean = L::splat(mean);
                let mut i = 0;
                while i < n {
                    let count = LANES.min(n - i);
                    let scaled = part::<L>(x.add(i), count).sub(mean).mul(factor);
                    let w = part::<L>(self.weight.as_ptr().add(i), count);
                    let y = match self.bias {
                        Some(bias) => scaled.fma(w, part(bias.as_ptr().add(i), count)),
                        None => scaled.mul(w),
                    };
                    if count == LANES {
                        y.store(out.add(i));
                    } else {
                        y.store_part(out.add(i), count);
                    }
                    i += LANES;
                }
            }
        }
    }
}

/// Checks the operands and normalises; `what` names the rows.
fn normalise(isa: Isa, what: &'static str, norm: Norm<'_>) -> Result<(), Error> {
    whole_rows(what, norm.len, norm.weight.len())?;
    if let Some(bias) = norm.bias {
        same_length("layer_norm bias", norm.weight.len(), bias.len())?;
    }
    if norm.len > 0 {
        dispatch(isa, norm);
    }
    Ok(())
}

/// Writes `x / sqrt(mean(x^2) + eps) * weight` for each row.
///
/// # Shapes
/// - `x`, `out`: `[rows, n]`
/// - `weight`: `[n]`
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows or `out` differs in length.
///
/// Zhang and Sennrich 2019, eq. 4; `modeling_llama.py::LlamaRMSNorm`.
pub fn rms_norm(
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), Error> {
    same_length("rms_norm out", x.len(), out.len())?;
    let norm = Norm {
        x: x.as_ptr(),
        out: out.as_mut_ptr(),
        len: x.len(),
        weight,
        bias: None,
        eps,
        centered: false,
    };
    normalise(isa, "rms_norm x", norm)
}

/// Does what [`rms_norm`] does, in place.
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) -> Result<(), Error> {
    let out = x.as_mut_ptr();
    let norm = Norm {
        x: out,
        out,
        len: x.len(),
        weight,
        bias: None,
        eps,
        centered: false,
    };
    normalise(isa, "rms_norm x", norm)
}

/// Writes `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` for each row.
///
/// # Shapes
/// - `x`, `out`: `[rows, n]`
/// - `weight`, `bias`: `[n]`
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows or another slice differs in length.
///
/// Ba, Kiros and Hinton 2016, eq. 3 and 4, with the biased variance.
pub fn layer_norm(
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) -> Result<(), Error> {
    same_length("layer_norm out", x.len(), out.len())?;
    let norm = Norm {
        x: x.as_ptr(),
        out: out.as_mut_ptr(),
        len: x.len(),
        weight,
        bias,
        eps,
        centered: true,
    };
    normalise(isa, "layer_norm x", norm)
}

/// Does what [`layer_norm`] does, in place.
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows or `bias` differs from `weight` in length.
pub fn layer_norm_in_place(
    isa: Isa,
    x: &mut [f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
) -> Result<(), Error> {
    let out = x.as_mut_ptr();
    let norm = Norm {
        x: out,
        out,
        len: x.len(),
        weight,
        bias,
        eps,
        centered: true,
    };
    normalise(isa, "layer_norm x", norm)
}
