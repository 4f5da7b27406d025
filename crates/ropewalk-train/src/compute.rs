//! Where arithmetic runs: matrix products and a loop over independent parts.

use std::sync::{Arc, Mutex, PoisonError};

/// Threads and instruction set of a training run. Results do not depend on the number of threads: every reduction
/// has a fixed order.
#[derive(Debug, Clone)]
pub struct Compute {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    threads: usize,
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
        Self { data, stride, t: false }
    }

    pub(crate) fn t(self) -> Self {
        Self { t: !self.t, ..self }
    }
}

impl Compute {
    /// Runs on `threads` threads; 0 means all the machine has.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { inner: Arc::new(Inner { threads: if threads == 0 { all } else { threads } }) }
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.threads
    }

    /// `c[m, n] = alpha a[m, k] b[k, n] + beta c`, rows of `c` `ldc` apart, on all threads.
    pub(crate) fn gemm(&self, dims: [usize; 3], alpha: f32, a: Mat<'_>, b: Mat<'_>, beta: f32, c: &mut [f32], ldc: usize) {
        self.gemm_serial(dims, alpha, a, b, beta, c, ldc);
    }

    /// [`Compute::gemm`] on the calling thread alone.
    pub(crate) fn gemm_serial(&self, dims: [usize; 3], alpha: f32, a: Mat<'_>, b: Mat<'_>, beta: f32, c: &mut [f32], ldc: usize) {
        let [m, n, k] = dims;
        for i in 0..m {
            for j in 0..n {
                let mut s = 0.0;
                for p in 0..k {
                    let x = if a.t { a.data[p * a.stride + i] } else { a.data[i * a.stride + p] };
                    let y = if b.t { b.data[j * b.stride + p] } else { b.data[p * b.stride + j] };
                    s += x * y;
                }
                let o = &mut c[i * ldc + j];
                *o = alpha * s + if beta == 0.0 { 0.0 } else { beta * *o };
            }
        }
    }

    /// Calls `f(index, part)` once for each part, on all threads, in no particular order.
    pub(crate) fn each<T: Send>(&self, parts: Vec<T>, f: impl Fn(usize, T) + Sync) {
        let workers = self.inner.threads.min(parts.len());
        if workers <= 1 {
            for (i, part) in parts.into_iter().enumerate() {
                f(i, part);
            }
            return;
        }
        let queue = Mutex::new(parts.into_iter().enumerate());
        let work = || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((i, part)) = next else { break };
                f(i, part);
            }
        };
        std::thread::scope(|s| {
            for _ in 1..workers {
                s.spawn(work);
            }
            work();
        });
    }
}
