//! Single-precision matrix product over slices: packed panels and register-blocked micro-kernels.
//!
//! The blocking follows Goto and van de Geijn 2008, "Anatomy of high-performance matrix
//! multiplication", and Van Zee and van de Geijn 2015 (BLIS). The inner dimension is cut at places
//! that depend on `k` alone and every element is summed by one chain per cut, so the result is
//! bit-identical for any number of threads.
#![allow(
    unsafe_code,
    reason = "raw pointers let threads write disjoint parts of one matrix"
)]

mod blocked;
#[cfg(test)]
mod tests;

use crate::{Error, Isa, Pool};

/// One operand of [`sgemm`]: a row-major slice and whether it enters transposed.
struct Operand<'a> {
    data: &'a [f32],
    stride: usize,
    transposed: bool,
}

impl<'a> Operand<'a> {
    /// Checks that a `rows x cols` operand (after the transposition) fits `data`.
    fn new(
        what: &'static str,
        data: &'a [f32],
        stride: usize,
        transposed: bool,
        rows: usize,
        cols: usize,
    ) -> Result<Self, Error> {
        let (stored_rows, stored_cols) = if transposed {
            (cols, rows)
        } else {
            (rows, cols)
        };
        check_extent(what, data.len(), stride, stored_rows, stored_cols)?;
        Ok(Self {
            data,
            stride,
            transposed,
        })
    }

    /// Returns the element strides of (row, column) of the operand as it enters the product.
    fn strides(&self) -> (usize, usize) {
        if self.transposed {
            (1, self.stride)
        } else {
            (self.stride, 1)
        }
    }
}

/// Checks that `rows` rows of `cols` elements, `stride` apart, lie in `len` elements.
pub(crate) fn check_extent(
    what: &'static str,
    len: usize,
    stride: usize,
    rows: usize,
    cols: usize,
) -> Result<(), Error> {
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    if stride < cols {
        return Err(Error::Length {
            what,
            needed: cols,
            found: stride,
        });
    }
    let needed = (rows - 1)
        .checked_mul(stride)
        .and_then(|n| n.checked_add(cols));
    match needed {
        Some(needed) if needed <= len => Ok(()),
        _ => Err(Error::Length {
            what,
            needed: needed.unwrap_or(usize::MAX),
            found: len,
        }),
    }
}

/// Computes `C = alpha * op(A) * op(B) + beta * C` on row-major matrices.
///
/// `op` transposes when `ta` or `tb` is set. With `beta == 0` the old content of `c` is not read.
/// For one tier the result is bit-identical for any number of threads; it also does not depend on
/// the leading dimensions.
///
/// # Shapes
/// - `op(a)`: `[m, k]`; `a` is stored `[m, k]`, or `[k, m]` with `ta`, rows `lda` apart
/// - `op(b)`: `[k, n]`; `b` is stored `[k, n]`, or `[n, k]` with `tb`, rows `ldb` apart
/// - `c`: `[m, n]`, rows `ldc` apart
///
/// # Errors
/// [`Error::Length`] when a slice is too short for its shape or a row stride is shorter than a row.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ropewalk_kernels::{Isa, Pool, sgemm};
///
/// let pool = Pool::new(NonZeroUsize::MIN);
/// let (a, b) = ([1.0, 2.0], [3.0, 4.0]);
/// let mut c = [0.0];
/// sgemm(&pool, Isa::best(), false, true, 1, 1, 2, 1.0, &a, 2, &b, 2, 0.0, &mut c, 1)?;
/// assert_eq!(c, [11.0]);
/// # Ok::<(), ropewalk_kernels::Error>(())
/// ```
#[expect(clippy::too_many_arguments, reason = "the BLAS signature")]
pub fn sgemm(
    pool: &Pool,
    isa: Isa,
    ta: bool,
    tb: bool,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: &[f32],
    lda: usize,
    b: &[f32],
    ldb: usize,
    beta: f32,
    c: &mut [f32],
    ldc: usize,
) -> Result<(), Error> {
    let a = Operand::new("sgemm a", a, lda, ta, m, k)?;
    let b = Operand::new("sgemm b", b, ldb, tb, k, n)?;
    check_extent("sgemm c", c.len(), ldc, m, n)?;
    let product = blocked::Product {
        isa: isa.usable(),
        m,
        n,
        k,
        alpha,
        beta,
        a: a.data.as_ptr(),
        a_strides: a.strides(),
        b: b.data.as_ptr(),
        b_strides: b.strides(),
        c: c.as_mut_ptr(),
        c_stride: ldc,
    };
    // SAFETY: the extents were checked above, `usable` returns a tier of this machine and `c` is
    // borrowed exclusively.
    unsafe { product.run(Some(pool)) };
    Ok(())
}

/// Computes `batch` independent products of one shape, as [`sgemm`] does for each.
///
/// Matrix `i` of an operand begins `i * stride` elements into its slice; the strides of `a` and
/// `b` may be 0 to share a matrix. Each element equals what [`sgemm`] gives for that matrix.
///
/// # Errors
/// [`Error::Length`] as for [`sgemm`], and when the matrices of `c` overlap.
#[expect(
    clippy::too_many_arguments,
    reason = "the BLAS signature with batch strides"
)]
pub fn sgemm_batched(
    pool: &Pool,
    isa: Isa,
    batch: usize,
    ta: bool,
    tb: bool,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: &[f32],
    lda: usize,
    a_stride: usize,
    b: &[f32],
    ldb: usize,
    b_stride: usize,
    beta: f32,
    c: &mut [f32],
    ldc: usize,
    c_stride: usize,
) -> Result<(), Error> {
    if batch == 0 || m == 0 || n == 0 {
        return Ok(());
    }
    let last = batch - 1;
    let tail = |what, len: usize, stride: usize| {
        let offset = last.saturating_mul(stride);
        len.checked_sub(offset).ok_or(Error::Length {
            what,
            needed: offset,
            found: len,
        })
    };
    let (a_tail, b_tail, c_tail) = (
        tail("sgemm_batched a", a.len(), a_stride)?,
        tail("sgemm_batched b", b.len(), b_stride)?,
        tail("sgemm_batched c", c.len(), c_stride)?,
    );
    let a_last = Operand::new("sgemm_batched a", &a[a.len() - a_tail..], lda, ta, m, k)?;
    let b_last = Operand::new("sgemm_batched b", &b[b.len() - b_tail..], ldb, tb, k, n)?;
    check_extent("sgemm_batched c", c_tail, ldc, m, n)?;
    let extent = (m - 1) * ldc + n;
    if last > 0 && c_stride < extent {
        return Err(Error::Length {
            what: "sgemm_batched c stride",
            needed: extent,
            found: c_stride,
        });
    }
    let first = blocked::Product {
        isa: isa.usable(),
        m,
        n,
        k,
        alpha,
        beta,
        a: a.as_ptr(),
        a_strides: a_last.strides(),
        b: b.as_ptr(),
        b_strides: b_last.strides(),
        c: c.as_mut_ptr(),
        c_stride: ldc,
    };
    let first = &first;
    let nth = |i: usize| first.offset(i * a_stride, i * b_stride, i * c_stride);
    // Few matrices leave threads idle unless each is cut itself.
    if batch < 2 * pool.threads().get() {
        for i in 0..batch {
            // SAFETY: the last matrix was checked, so every one lies inside its slice.
            unsafe { nth(i).run(Some(pool)) };
        }
    } else {
        // SAFETY: as above, and the matrices of `c` do not overlap.
        pool.run(batch, &|i| unsafe { nth(i).run(None) });
    }
    Ok(())
}
