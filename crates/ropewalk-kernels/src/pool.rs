//! Thread pool.
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A pool of threads for short data-parallel phases.
#[derive(Debug)]
pub struct Pool {
    threads: NonZeroUsize,
}

impl Pool {
    /// Returns a pool of `threads` threads, the caller included.
    #[must_use]
    pub fn new(threads: NonZeroUsize) -> Self {
        Self { threads }
    }

    /// Returns the number of threads, the caller included.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// Calls `task` once for each of `0..chunks` and returns when all calls have returned.
    pub fn run(&self, chunks: usize, task: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = || loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= chunks {
                break;
            }
            task(i);
        };
        std::thread::scope(|s| {
            for _ in 1..self.threads.get() {
                s.spawn(work);
            }
            work();
        });
    }
}
