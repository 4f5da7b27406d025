//! LLM.int8(): rows of 8-bit integers with one scale, products with outlier columns kept exact.
//!
//! Dettmers et al., arXiv 2208.07339, as `bitsandbytes` 0.50 computes it
//! (`backends/default/ops.py`): a row's scale is its largest magnitude, a code
//! `round(x * (127 / scale))`, ties to even. Inputs are rounded to f16 first, as there.
#![allow(unsafe_code, reason = "threads write disjoint rows of one output")]

use std::sync::atomic::{AtomicBool, Ordering};

use super::{finite, length, share};
use crate::shared::Shared;
use crate::{Error, Isa, Pool, ops};

/// `1 / 127`, by which codes times scales are multiplied.
const STEP: f32 = 7.874_016e-3;
/// `1 / 127^2` as bitsandbytes rounds it.
const PRODUCT_STEP: f32 = 6.200_124e-5;

/// Rounds to f16, the type in which bitsandbytes quantises.
fn through_f16(isa: Isa, values: &[f32]) -> Result<Vec<f32>, Error> {
    let mut halves = vec![0; values.len()];
    ops::f32_to_f16(isa, values, &mut halves)?;
    let mut out = vec![0.0; values.len()];
    ops::f16_to_f32(isa, &halves, &mut out)?;
    Ok(out)
}

/// Codes one row of finite values and returns its scale; a row of zeros has zero codes.
fn code_row(row: &[f32], codes: &mut [i8]) -> f32 {
    let scale = row.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let factor = if scale > 0.0 { 127.0 / scale } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(row) {
        // At most 127 in magnitude; a scale so small that the factor overflows saturates.
        *code = (x * factor).round_ties_even() as i8;
    }
    scale
}

fn check(values: usize, cols: usize, codes: usize, scales: usize) -> Result<usize, Error> {
    let rows = values.checked_div(cols).unwrap_or(0);
    length("int8 rows", values, rows * cols)?;
    length("int8 codes", codes, values)?;
    length("int8 scales", scales, rows)?;
    Ok(rows)
}

/// Codes rows of `cols` values (`int8_vectorwise_quant` without a threshold).
///
/// # Shapes
/// - `codes`: as `values`; `scales`: one per row
///
/// # Errors
/// [`Error::Length`]; [`Error::NotFinite`] for a NaN, an infinity or a value beyond f16.
pub fn quantize(
    isa: Isa,
    pool: Option<&Pool>,
    values: &[f32],
    cols: usize,
    codes: &mut [i8],
    scales: &mut [f32],
) -> Result<(), Error> {
    let rows = check(values.len(), cols, codes.len(), scales.len())?;
    let isa = isa.usable();
    let (codes, scales) = (Shared(codes.as_mut_ptr()), Shared(scales.as_mut_ptr()));
    let bad = AtomicBool::new(false);
    share(pool, rows, &|i| {
        let row = through_f16(isa, &values[i * cols..][..cols]).unwrap_or_default();
        if row.len() != cols || finite("", &row).is_err() {
            return bad.store(true, Ordering::Relaxed);
        }
        // SAFETY: row `i` of both outputs, which this call alone writes; lengths were checked.
        unsafe {
            let codes = std::slice::from_raw_parts_mut(codes.at(i * cols), cols);
            scales.at(i).write(code_row(&row, codes));
        }
    });
    if bad.into_inner() {
        return finite("int8 input in f16", &through_f16(isa, values)?);
    }
    Ok(())
}

/// Writes `code * scale / 127` for every value (`int8_vectorwise_dequant`).
///
/// # Shapes
/// - `codes`: as `out`, rows of `cols`; `scales`: one per row
///
/// # Errors
/// [`Error::Length`].
pub fn dequantize(codes: &[i8], cols: usize, scales: &[f32], out: &mut [f32]) -> Result<(), Error> {
    check(out.len(), cols, codes.len(), scales.len())?;
    if cols > 0 {
        let rows = out.chunks_exact_mut(cols).zip(codes.chunks_exact(cols));
        for ((out, codes), &scale) in rows.zip(scales) {
            dequantize_row(codes, scale, out);
        }
    }
    Ok(())
}

/// Writes one row; as many values as both slices hold.
fn dequantize_row(codes: &[i8], scale: f32, out: &mut [f32]) {
    for (x, &code) in out.iter_mut().zip(codes) {
        *x = f32::from(code) * scale * STEP;
    }
}

/// Activations as LLM.int8() multiplies them: 8-bit rows without the columns that hold outliers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decomposed {
    /// Codes, `[rows, cols]`; zero in outlier columns.
    pub codes: Vec<i8>,
    /// One scale per row: the largest magnitude below the threshold.
    pub scales: Vec<f32>,
    /// Columns in which some row reaches the threshold, ascending.
    pub outliers: Vec<usize>,
}

impl Decomposed {
    /// Codes rows of `cols` values; a column with a magnitude of `threshold` or more in any row is
    /// an outlier (6.0 is usual, 0 means none). That makes the result depend on which rows come
    /// together, as in bitsandbytes.
    ///
    /// # Errors
    /// [`Error::Length`]; [`Error::NotFinite`] for a NaN, an infinity or a value beyond f16.
    pub fn new(isa: Isa, x: &[f32], cols: usize, threshold: f32) -> Result<Self, Error> {
        let mut x = through_f16(isa, x)?;
        let rows = x.len().checked_div(cols).unwrap_or(0);
        length("int8 activations", x.len(), rows * cols)?;
        finite("int8 activations in f16", &x)?;
        let mut marked = vec![false; cols];
        if threshold > 0.0 {
            for row in x.chunks_exact_mut(cols.max(1)) {
                for (x, mark) in row.iter_mut().zip(&mut marked) {
                    if x.abs() >= threshold {
                        (*x, *mark) = (0.0, true);
                    }
                }
            }
        }
        let mut this = Self {
            codes: vec![0; x.len()],
            scales: Vec::with_capacity(rows),
            outliers: (0..cols).filter(|&c| marked[c]).collect(),
        };
        let lines = this.codes.chunks_exact_mut(cols.max(1));
        for (row, codes) in x.chunks_exact(cols.max(1)).zip(lines) {
            this.scales.push(code_row(row, codes));
            this.outliers.iter().for_each(|&c| codes[c] = 0);
        }
        Ok(this)
    }
}

/// Computes `out = x * weights^T` as `MatMul8bitLt` does: exact integer sums times both scales,
/// plus the outlier columns of `x` in f32 times the dequantised columns of the weights.
///
/// # Shapes
/// - `x`: `[m, cols]`; `codes`: `[n, cols]`; `scales`: `[n]`; `out`: `[m, n]`
///
/// # Errors
/// [`Error::Length`]; [`Error::NotFinite`] for an activation that is not finite in f16.
pub fn matmul(
    isa: Isa,
    pool: Option<&Pool>,
    x: &[f32],
    cols: usize,
    (codes, scales): (&[i8], &[f32]),
    threshold: f32,
    out: &mut [f32],
) -> Result<(), Error> {
    let n = scales.len();
    check(codes.len(), cols, codes.len(), n)?;
    let acts = Decomposed::new(isa, x, cols, threshold)?;
    length("int8 output", out.len(), acts.scales.len() * n)?;
    let out = Shared(out.as_mut_ptr());
    share(pool, n, &|j| {
        let (weights, scale) = (&codes[j * cols..][..cols], scales[j]);
        for (i, (row, own)) in acts
            .codes
            .chunks_exact(cols.max(1))
            .zip(&acts.scales)
            .enumerate()
        {
            let sum = dot(weights, row) as f32 * (own * scale) * PRODUCT_STEP;
            let exact = |&c: &usize| x[i * cols + c] * (f32::from(weights[c]) * scale * STEP);
            let sum = acts.outliers.iter().map(exact).fold(sum, |a, b| a + b);
            // SAFETY: column `j` of the output, which this call alone writes; checked above.
            unsafe { out.at(i * n + j).write(sum) };
        }
    });
    Ok(())
}

/// Returns the integer dot product of two rows of one length; wraps beyond 133,000 columns.
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let product = |(&a, &b): (&i8, &i8)| i32::from(i16::from(a) * i16::from(b));
    a.iter().zip(b).map(product).fold(0, i32::wrapping_add)
}
