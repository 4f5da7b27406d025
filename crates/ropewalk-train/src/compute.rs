//! Where arithmetic runs: matrix products and a loop over independent parts.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use ropewalk_kernels::{Isa, Pool, sgemm};

/// Threads and instruction set of a training run. Results do not depend on the number of threads: every reduction
/// has a fixed order.
#[derive(Debug, Clone)]
pub struct Compute {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    isa: Isa,
}

/// A matrix operand: row-major values, distance between rows, and whether it is read transposed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mat<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) t: bool,
}

impl<'a> Mat<'a> {
    pub(crate) fn new(data: &'a [f32], stride: usize) -> Self {
        Self {
            data,
            stride,
            t: false,
        }
    }

    pub(crate) fn t(self) -> Self {
        Self { t: !self.t, ..self }
    }
}

impl Compute {
    /// Runs on `threads` threads; 0 means all the machine has.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let pool = NonZeroUsize::new(threads).map_or_else(Pool::with_all_cores, Pool::new);
        Self {
            inner: Arc::new(Inner {
                pool,
                isa: Isa::best(),
            }),
        }
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.pool.threads().get()
    }

    /// `c[m, n] = alpha a[m, k] b[k, n] + beta c`, rows of `c` `ldc` apart; on all threads, or on the calling one
    /// inside [`Compute::each`].
    #[expect(clippy::too_many_arguments, reason = "a matrix product has as many")]
    pub(crate) fn gemm(
        &self,
        [m, n, k]: [usize; 3],
        alpha: f32,
        a: Mat<'_>,
        b: Mat<'_>,
        beta: f32,
        c: &mut [f32],
        ldc: usize,
    ) {
        let Inner { pool, isa } = &*self.inner;
        let done = sgemm(
            pool, *isa, a.t, b.t, m, n, k, alpha, a.data, a.stride, b.data, b.stride, beta, c, ldc,
        );
        debug_assert!(done.is_ok(), "{done:?}");
    }

    /// Calls `f(index, part)` once for each part, on all threads, in no particular order.
    pub(crate) fn each<T: Send>(&self, parts: Vec<T>, f: impl Fn(usize, T) + Sync) {
        let parts: Vec<_> = parts.into_iter().map(|p| Mutex::new(Some(p))).collect();
        self.inner.pool.run(parts.len(), &|i| {
            let part = parts[i]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(part) = part {
                f(i, part);
            }
        });
    }
}
