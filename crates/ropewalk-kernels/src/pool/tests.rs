use super::*;

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap())
}

/// Runs `chunks` chunks and checks that each was called once.
fn check(pool: &Pool, chunks: usize) {
    let calls: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
    pool.run(chunks, &|i| {
        calls[i].fetch_add(1, Ordering::Relaxed);
    });
    for (i, n) in calls.into_iter().enumerate() {
        assert_eq!(n.into_inner(), 1, "chunk {i} of {chunks}");
    }
}

#[test]
fn calls_every_chunk_once() {
    for threads in [1, 2, 3, 8] {
        let pool = pool(threads);
        assert_eq!(pool.threads().get(), threads);
        for chunks in [0, 1, 2, 3, 7, 8, 9, 100, 1001] {
            check(&pool, chunks);
        }
    }
}

#[test]
fn phases_are_the_runs_that_were_shared() {
    let (one, two) = (pool(1), pool(2));
    for chunks in [0, 1, 2, 50] {
        check(&one, chunks);
        check(&two, chunks);
    }
    assert_eq!((one.phases(), two.phases()), (0, 2));
}

#[test]
fn survives_many_runs_with_more_threads_than_cores() {
    let pool = pool(8);
    for round in 0..3000 {
        check(&pool, 1 + round % 23);
    }
}

#[test]
fn wakes_parked_workers() {
    let pool = pool(3);
    for _ in 0..5 {
        check(&pool, 50);
        // Busy for longer than the workers' patience.
        let start = Instant::now();
        while start.elapsed() < 2 * YIELD {
            thread::yield_now();
        }
    }
}

#[test]
fn work_is_visible_to_the_caller() {
    let pool = pool(4);
    let mut cells = vec![0u64; 997];
    for round in 1..200u64 {
        let base = cells.as_mut_ptr() as usize;
        // SAFETY: every chunk writes its own element.
        pool.run(997, &|i| unsafe { *(base as *mut u64).add(i) += round });
    }
    assert!(cells.iter().all(|&c| c == 199 * 100));
}

#[test]
fn a_nested_run_is_executed_inline() {
    let pool = pool(3);
    let sum = AtomicUsize::new(0);
    pool.run(20, &|i| {
        pool.run(10, &|j| {
            sum.fetch_add(10 * i + j, Ordering::Relaxed);
        });
    });
    assert_eq!(sum.into_inner(), 199 * 100);
}

#[test]
fn callers_take_turns() {
    let pool = pool(3);
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for round in 0..300 {
                    check(&pool, 1 + round % 17);
                }
            });
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    for threads in [1, 4] {
        let pool = pool(threads);
        for bad in [0, 13, 99] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(100, &|i| assert!(i != bad, "chunk {bad} fails"));
            }));
            let payload = result.unwrap_err();
            let text = payload.downcast_ref::<String>().unwrap();
            assert_eq!(text, &format!("chunk {bad} fails"));
            check(&pool, 100);
        }
    }
}

#[test]
fn more_calls_than_a_cursor_counts_share_chunks() {
    let pool = pool(2);
    let calls = (1 << INDEX_BITS) + 77;
    let sum = AtomicU64::new(0);
    let largest = AtomicUsize::new(0);
    pool.run(calls, &|i| {
        if i % 4096 == 0 || i + 1 == calls {
            sum.fetch_add(1, Ordering::Relaxed);
            largest.fetch_max(i, Ordering::Relaxed);
        }
    });
    assert_eq!(sum.into_inner(), (calls as u64).div_ceil(4096) + 1);
    assert_eq!(largest.into_inner(), calls - 1);
}

#[test]
fn dropping_joins_idle_and_parked_workers() {
    for _ in 0..50 {
        drop(pool(4));
    }
    let parked = pool(4);
    check(&parked, 10);
    let start = Instant::now();
    while start.elapsed() < 2 * YIELD {
        thread::yield_now();
    }
}

#[test]
fn panics_in_two_chunks_whose_payloads_panic_when_dropped() {
    struct Evil;
    impl Drop for Evil {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let pool = Pool::new(NonZeroUsize::new(2).unwrap());
    let both = std::sync::Barrier::new(2);
    for _ in 0..20 {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(2, &|_| {
                both.wait();
                std::panic::panic_any(Evil);
            });
        }));
        // Its payload must not be dropped here.
        let _kept = std::mem::ManuallyDrop::new(caught);
    }
    let count = AtomicUsize::new(0);
    pool.run(100, &|_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(count.into_inner(), 100);
}
