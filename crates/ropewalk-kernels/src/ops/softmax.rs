//! Softmax, its logarithmic norm, and the largest element.
use super::exp::exp;
use super::whole_rows;
use crate::simd::{Kernel, LANES, Lanes, dispatch};
use crate::{Error, Isa};

/// Returns the largest element of a row, minus infinity for an empty one. NaN is passed over.
///
/// # Safety
/// The tier of `L` is available.
#[inline(always)]
pub(crate) unsafe fn max_row<L: Lanes>(x: &[f32]) -> f32 {
    // SAFETY: whole vectors, then single elements, all inside the slice.
    unsafe {
        let mut best = [L::splat(f32::NEG_INFINITY); 4];
        let step = 4 * LANES;
        let mut i = 0;
        while i + step <= x.len() {
            for (lane, best) in best.iter_mut().enumerate() {
                *best = L::load(x.as_ptr().add(i + lane * LANES)).max(*best);
            }
            i += step;
        }
        while i + LANES <= x.len() {
            best[0] = L::load(x.as_ptr().add(i)).max(best[0]);
            i += LANES;
        }
        let joined = best[0].max(best[1]).max(best[2].max(best[3])).maximum();
        x[i..]
            .iter()
            .fold(joined, |m, &x| if x > m { x } else { m })
    }
}

/// Replaces each element by `e^(x - max)` and returns the sum, in one fixed order.
///
/// # Safety
/// The tier of `L` is available.
#[inline(always)]
pub(crate) unsafe fn exp_row<L: Lanes>(x: &mut [f32], max: f32) -> f32 {
    // SAFETY: whole vectors, then the rest, all inside the slice.
    unsafe {
        let shift = L::splat(max);
        let (p, n, whole) = (x.as_mut_ptr(), x.len(), x.len() / LANES * LANES);
        let mut sum = L::splat(0.0);
        let mut i = 0;
        while i < whole {
            let e = exp(L::load(p.add(i)).sub(shift));
            e.store(p.add(i));
            sum = sum.add(e);
            i += LANES;
        }
        if whole < n {
            let e = exp(L::load_part(p.add(whole), n - whole).sub(shift));
            e.store_part(p.add(whole), n - whole);
            sum = sum.add(L::load_part(p.add(whole), n - whole));
        }
        sum.sum()
    }
}

struct Softmax<'a>(&'a mut [f32], usize);

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for row in self.0.chunks_exact_mut(self.1) {
            // SAFETY: forwarded to the caller.
            unsafe {
                let max = max_row::<L>(row);
                let sum = exp_row::<L>(row, max);
                for x in row {
                    *x /= sum;
                }
            }
        }
    }
}

/// Replaces each row by its softmax.
///
/// A row of minus infinities becomes NaN, as the quotient 0 / 0 says.
///
/// # Shapes
/// - `x`: `[rows, columns]`
///
/// # Errors
/// [`Error::Length`] when `x` is not whole rows.
pub fn softmax(isa: Isa, x: &mut [f32], columns: usize) -> Result<(), Error> {
    whole_rows("softmax x", x.len(), columns)?;
    if !x.is_empty() {
        dispatch(isa, Softmax(x, columns));
    }
    Ok(())
}

struct LogSumExp<'a>(&'a [f32]);

impl Kernel for LogSumExp<'_> {
    type Output = f32;
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        // SAFETY: forwarded to the caller; pieces are copied before they are changed.
        unsafe {
            let max = max_row::<L>(self.0);
            if max.is_infinite() {
                return max;
            }
            let mut total = 0.0f64;
            let mut piece = [0.0f32; 1024];
            for x in self.0.chunks(piece.len()) {
                let piece = &mut piece[..x.len()];
                piece.copy_from_slice(x);
                total += f64::from(exp_row::<L>(piece, max));
            }
            (f64::from(max) + total.ln()) as f32
        }
    }
}

/// Returns `ln(sum(e^x))`, minus infinity for an empty slice.
#[must_use]
pub fn log_sum_exp(isa: Isa, x: &[f32]) -> f32 {
    dispatch(isa, LogSumExp(x))
}

struct Max<'a>(&'a [f32]);

impl Kernel for Max<'_> {
    type Output = f32;
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        // SAFETY: forwarded to the caller.
        unsafe { max_row::<L>(self.0) }
    }
}

/// Returns the index of the first largest element, passing over NaN; `None` where nothing is left.
#[must_use]
pub fn argmax(isa: Isa, x: &[f32]) -> Option<usize> {
    let max = dispatch(isa, Max(x));
    x.iter().position(|&x| x == max)
}
