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

struct Norm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
    centered: bool,
    out: &'a mut [f32],
}

impl Kernel for Norm<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let n = self.weight.len();
        for (x, out) in self.x.chunks_exact(n).zip(self.out.chunks_exact_mut(n)) {
            // SAFETY: every slice of the row has `n` elements.
            unsafe {
                let mean = if self.centered {
                    sum_row::<L, false>(x, 0.0) / n as f32
                } else {
                    0.0
                };
                let variance = sum_row::<L, true>(x, mean) / n as f32;
                let factor = L::splat(1.0 / (variance + self.eps).sqrt());
                let mean = L::splat(mean);
                let mut i = 0;
                while i < n {
                    let count = LANES.min(n - i);
                    let (x, w) = if count == LANES {
                        (
                            L::load(x.as_ptr().add(i)),
                            L::load(self.weight.as_ptr().add(i)),
                        )
                    } else {
                        (
                            L::load_part(x.as_ptr().add(i), count),
                            L::load_part(self.weight.as_ptr().add(i), count),
                        )
                    };
                    let scaled = x.sub(mean).mul(factor);
                    let y = match self.bias {
                        Some(bias) if count == LANES => {
                            scaled.fma(w, L::load(bias.as_ptr().add(i)))
                        }
                        Some(bias) => scaled.fma(w, L::load_part(bias.as_ptr().add(i), count)),
                        None => scaled.mul(w),
                    };
                    if count == LANES {
                        y.store(out.as_mut_ptr().add(i));
                    } else {
                        y.store_part(out.as_mut_ptr().add(i), count);
                    }
                    i += LANES;
                }
            }
        }
    }
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
    whole_rows("rms_norm x", x.len(), weight.len())?;
    same_length("rms_norm out", x.len(), out.len())?;
    if !x.is_empty() {
        dispatch(
            isa,
            Norm {
                x,
                weight,
                bias: None,
                eps,
                centered: false,
                out,
            },
        );
    }
    Ok(())
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
    whole_rows("layer_norm x", x.len(), weight.len())?;
    same_length("layer_norm out", x.len(), out.len())?;
    if let Some(bias) = bias {
        same_length("layer_norm bias", weight.len(), bias.len())?;
    }
    if !x.is_empty() {
        dispatch(
            isa,
            Norm {
                x,
                weight,
                bias,
                eps,
                centered: true,
                out,
            },
        );
    }
    Ok(())
}
