//! A persistent thread pool for short data-parallel phases.
//!
//! A run's chunks are cut into one contiguous range per thread. A thread works through its own
//! range in order, which keeps streaming prefetches useful, and then takes what is left of the
//! others' ranges. A run ends when every *chunk* is finished: a worker that the system has
//! descheduled before it took a chunk is never waited for.
#![allow(
    unsafe_code,
    reason = "workers borrow the caller's closure for the length of a run"
)]

use std::any::Any;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a waiting thread spins before it offers its time slice.
const SPIN: Duration = Duration::from_micros(20);
/// How long a waiting thread spins and yields before it parks.
const YIELD: Duration = Duration::from_micros(300);
/// Bits of a cursor that hold the chunk index; the rest holds the run's number.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

thread_local! {
    /// Whether this thread is executing a chunk; a run started then is executed inline.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A pool of threads for short data-parallel phases.
///
/// The thread that calls [`Pool::run`] works too, so a pool of `n` threads has `n - 1` workers.
/// Idle workers spin for some microseconds, then yield, then park. Dropping the pool joins them.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use ropewalk_kernels::Pool;
///
/// let pool = Pool::new(NonZeroUsize::new(2).unwrap());
/// let sum = AtomicUsize::new(0);
/// pool.run(10, &|i| { sum.fetch_add(i, Ordering::Relaxed); });
/// assert_eq!(sum.into_inner(), 45);
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Number of the last run; held during a run, so runs of several callers take turns.
    runs: Mutex<u64>,
    threads: NonZeroUsize,
}

/// What the caller of a run lends to the workers; lives on its stack.
struct Task<'a> {
    call: &'a (dyn Fn(usize) + Sync),
    /// Set by the first chunk that panics; later chunks are skipped.
    failed: AtomicBool,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    /// Calls per chunk and in all: more than 2^24 calls share chunks.
    per_chunk: usize,
    calls: usize,
}

impl Task<'_> {
    /// Executes one chunk, keeping a panic for the caller of the run.
    fn execute(&self, chunk: usize) {
        if self.failed.load(Ordering::Relaxed) {
            return;
        }
        let first = chunk * self.per_chunk;
        let range = first..(first + self.per_chunk).min(self.calls);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| range.for_each(self.call))) {
            self.failed.store(true, Ordering::Relaxed);
            let mut first = lock(&self.payload);
            if first.is_none() {
                *first = Some(payload);
            } else {
                // Dropping a payload may panic, and nothing may unwind from here.
                #[expect(clippy::mem_forget, reason = "a second panic, at worst a small leak")]
                std::mem::forget(payload);
            }
        }
    }
}

/// Ends the process when dropped by unwinding: workers may still use what the frame lends them.
struct AbortOnUnwind;

impl AbortOnUnwind {
    #[expect(clippy::mem_forget, reason = "a guard that has done its work")]
    fn defuse(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// A value alone on its cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Padded<T>(T);

/// A worker's parking place.
#[derive(Default)]
struct Seat {
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

struct Shared {
    /// Number of the current run; changes when a run is published.
    epoch: Padded<AtomicU64>,
    /// Chunks of the current run that are finished.
    finished: Padded<AtomicUsize>,
    /// The current run: its chunks and the caller's task with its lifetime erased.
    chunks: AtomicUsize,
    task: AtomicPtr<Task<'static>>,
    /// Next chunk of each thread's range, tagged with the run's number.
    cursors: Box<[Padded<AtomicU64>]>,
    seats: Box<[Seat]>,
    /// Set while the caller is parked.
    caller_parked: AtomicBool,
    caller: Mutex<Option<Thread>>,
    stop: AtomicBool,
}

/// Locks a mutex that guards plain data, which a panic elsewhere cannot leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Returns the first chunk of range `slot`.
    fn bound(&self, slot: usize, chunks: usize) -> usize {
        slot * chunks / self.cursors.len()
    }

    /// Executes chunks of run `run`, those of range `slot` first, until none is left.
    fn work(&self, run: u64, slot: usize) {
        // These may already belong to a later run. Then that run's tags are in every cursor
        // (they are stored before these fields, and these loads acquire), so no claim succeeds.
        let chunks = self.chunks.load(Ordering::Acquire);
        let task = self.task.load(Ordering::Acquire);
        let slots = self.cursors.len();
        let mut done = 0;
        'ranges: for offset in 0..slots {
            let range = (slot + offset) % slots;
            let end = self.bound(range + 1, chunks) as u64;
            let cursor = &self.cursors[range].0;
            let mut seen = cursor.load(Ordering::Acquire);
            loop {
                if seen >> INDEX_BITS != run {
                    break 'ranges;
                }
                let chunk = seen & INDEX_MASK;
                if chunk >= end {
                    break;
                }
                let claim = cursor.compare_exchange_weak(
                    seen,
                    seen + 1,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if let Err(now) = claim {
                    seen = now;
                    continue;
                }
                // SAFETY: the claim carries this run's number, so `task` belongs to this run, and
                // its caller waits for this chunk before it lets the task go.
                unsafe { &*task }.execute(chunk as usize);
                done += 1;
                seen = cursor.load(Ordering::Acquire);
            }
        }
        if done > 0 && self.finished.0.fetch_add(done, Ordering::SeqCst) + done == chunks {
            // From here on the task may be gone.
            if self.caller_parked.load(Ordering::SeqCst)
                && let Some(caller) = lock(&self.caller).as_ref()
            {
                caller.unpark();
            }
        }
    }

    /// Publishes a run and wakes parked workers.
    fn publish(&self, run: u64, chunks: usize, task: *mut Task<'static>) {
        // Close all cursors for stragglers before the fields below change under them.
        let tag = run << INDEX_BITS;
        for cursor in &self.cursors {
            cursor.0.store(tag | INDEX_MASK, Ordering::Relaxed);
        }
        self.task.store(task, Ordering::Release);
        self.chunks.store(chunks, Ordering::Release);
        self.finished.0.store(0, Ordering::Relaxed);
        for (slot, cursor) in self.cursors.iter().enumerate() {
            cursor
                .0
                .store(tag | self.bound(slot, chunks) as u64, Ordering::Release);
        }
        self.epoch.0.store(run, Ordering::SeqCst);
        for seat in self.seats.iter().take(chunks - 1) {
            if seat.parked.load(Ordering::SeqCst)
                && seat.parked.swap(false, Ordering::SeqCst)
                && let Some(thread) = seat.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// Waits until all chunks of the current run are finished.
    fn wait(&self, chunks: usize) {
        let finished = || self.finished.0.load(Ordering::SeqCst) == chunks;
        if spin_until(finished) {
            return;
        }
        *lock(&self.caller) = Some(thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        while !finished() {
            thread::park();
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }

    /// The life of worker `index`, whose range is `index + 1`.
    fn serve(&self, index: usize) {
        INSIDE.set(true);
        let seat = &self.seats[index];
        seat.thread.get_or_init(thread::current);
        let mut last = 0;
        loop {
            let changed = || self.epoch.0.load(Ordering::SeqCst) != last;
            if !spin_until(changed) {
                loop {
                    seat.parked.store(true, Ordering::SeqCst);
                    if changed() {
                        break;
                    }
                    thread::park();
                }
                seat.parked.store(false, Ordering::SeqCst);
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            last = self.epoch.0.load(Ordering::SeqCst);
            self.work(last, index + 1);
        }
    }
}

/// Spins, then yields, until `done` or the patience ends; returns whether it was done.
fn spin_until(done: impl Fn() -> bool) -> bool {
    for _ in 0..64 {
        if done() {
            return true;
        }
        std::hint::spin_loop();
    }
    let start = Instant::now();
    loop {
        let waited = start.elapsed();
        if waited > YIELD {
            return done();
        }
        for _ in 0..16 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if waited > SPIN {
            thread::yield_now();
        }
    }
}

impl Pool {
    /// Returns a pool of `threads` threads, the caller included.
    ///
    /// When the system refuses a thread the pool has fewer; [`Pool::threads`] tells.
    #[must_use]
    pub fn new(threads: NonZeroUsize) -> Self {
        // Far above any machine; bounds what a hostile configuration can ask for.
        let wanted = threads.get().min(1024);
        let shared = Arc::new(Shared {
            epoch: Padded::default(),
            finished: Padded::default(),
            chunks: AtomicUsize::new(0),
            task: AtomicPtr::new(std::ptr::null_mut()),
            cursors: (0..wanted)
                .map(|_| Padded(AtomicU64::new(INDEX_MASK)))
                .collect(),
            seats: (1..wanted).map(|_| Seat::default()).collect(),
            caller_parked: AtomicBool::new(false),
            caller: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let workers: Vec<_> = (0..wanted - 1)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                let name = format!("ropewalk-{}", index + 1);
                thread::Builder::new()
                    .name(name)
                    .spawn(move || shared.serve(index))
                    .ok()
            })
            .collect();
        let threads = NonZeroUsize::MIN.saturating_add(workers.len());
        Self {
            shared,
            workers,
            runs: Mutex::new(0),
            threads,
        }
    }

    /// Returns a pool with one thread per core this process may use.
    #[must_use]
    pub fn with_all_cores() -> Self {
        Self::new(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// Returns the number of threads, the caller included.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// Returns how many runs were shared among threads so far: the barriers that were paid. Runs
    /// that executed inline are not counted.
    #[must_use]
    pub fn phases(&self) -> u64 {
        *lock(&self.runs)
    }

    /// Calls `task` once for each of `0..chunks` and returns when all calls have returned.
    ///
    /// Each thread begins with its own contiguous part of `0..chunks`, in ascending order. A run
    /// inside a chunk, a run of one chunk and a run on a pool of one thread execute inline.
    ///
    /// # Panics
    /// When a call panics: the remaining chunks are skipped and the panic continues here, once no
    /// thread uses `task` any more.
    pub fn run(&self, chunks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || chunks <= 1 || INSIDE.get() {
            return (0..chunks).for_each(task);
        }
        let per_chunk = chunks.div_ceil(INDEX_MASK as usize - 1);
        let calls = chunks;
        let chunks = calls.div_ceil(per_chunk);
        let task = Task {
            call: task,
            failed: AtomicBool::new(false),
            payload: Mutex::new(None),
            per_chunk,
            calls,
        };
        let mut runs = lock(&self.runs);
        *runs = (*runs + 1) & (u64::MAX >> INDEX_BITS);
        INSIDE.set(true);
        // The lifetime is erased here; `wait` below restores it: nothing above it can unwind,
        // because `execute` catches what the closure throws. The guard makes that a certainty.
        let shared = &self.shared;
        let guard = AbortOnUnwind;
        shared.publish(*runs, chunks, (&raw const task).cast_mut().cast());
        shared.work(*runs, 0);
        shared.wait(chunks);
        guard.defuse();
        INSIDE.set(false);
        drop(runs);
        let payload = lock(&task.payload).take();
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.0.store(u64::MAX, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches every panic of a chunk, so there is nothing to report.
            let _joined = worker.join();
        }
    }
}

#[cfg(test)]
mod tests;
