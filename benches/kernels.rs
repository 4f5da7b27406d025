//! Matrix products per weight format and tier: decode in bytes per second, prefill in operations.
//!
//! `cargo bench --bench kernels -- decode/Q4_K` selects by name. `kernel_table` prints the same as
//! one table with the read bandwidth beside it.

mod blocks;

use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ropewalk_kernels::{Acts, Format, Isa, Job, Matrix, Pool, matmul};

const N: usize = 4096;
const K: usize = 4096;
/// Rows of activations in prefill.
const ROWS: usize = 128;
/// Weights that one pass of decode reads, beyond the caches.
const SIZE: usize = 128 << 20;

fn tiers() -> impl Iterator<Item = Isa> {
    Isa::available()
        .into_iter()
        .filter(|&isa| isa != Isa::Scalar)
}

fn inputs(rows: usize) -> Vec<f32> {
    (0..rows * K)
        .map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0)
        .collect()
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    let pool = Pool::with_all_cores();
    let x = inputs(1);
    for format in Format::ALL {
        let source = blocks::random(format, N * K);
        for isa in tiers() {
            let pack = |_| Matrix::pack(isa, format, &source, N, K, &pool).expect("valid blocks");
            let weights: Vec<Matrix> = (0..SIZE.div_ceil(source.len())).map(pack).collect();
            let bytes: usize = weights.iter().map(Matrix::bytes).sum();
            group.throughput(Throughput::Bytes(bytes as u64));
            let (mut acts, mut out) = (Acts::new(), vec![0.0; N]);
            group.bench_function(BenchmarkId::new(format.name(), isa), |b| {
                b.iter(|| {
                    for w in &weights {
                        acts.prepare(&pool, isa, &x, 1, K, &[w]).expect("shape");
                        matmul(&pool, &acts, &mut [Job::new(w, &mut out)]).expect("prepared");
                    }
                });
            });
        }
    }
}

fn prefill(c: &mut Criterion) {
    let mut group = c.benchmark_group("prefill");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(2 * (ROWS * N * K) as u64));
    let pool = Pool::with_all_cores();
    let x = inputs(ROWS);
    for format in Format::ALL {
        let source = blocks::random(format, N * K);
        for isa in tiers() {
            let w = Matrix::pack(isa, format, &source, N, K, &pool).expect("valid blocks");
            let (mut acts, mut out) = (Acts::new(), vec![0.0; ROWS * N]);
            group.bench_function(BenchmarkId::new(format.name(), isa), |b| {
                b.iter(|| {
                    acts.prepare(&pool, isa, &x, ROWS, K, &[&w]).expect("shape");
                    matmul(&pool, &acts, &mut [Job::new(&w, &mut out)]).expect("prepared");
                });
            });
        }
    }
}

/// The cost of a phase that does nothing: what a decoder pays several times per layer.
fn phase(c: &mut Criterion) {
    let mut group = c.benchmark_group("phase");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    for threads in [1, 2, 4] {
        let pool = Pool::new(NonZeroUsize::new(threads).expect("not zero"));
        group.bench_function(BenchmarkId::new("empty", threads), |b| {
            b.iter(|| {
                pool.run(4 * threads, &|i| {
                    std::hint::black_box(i);
                })
            });
        });
    }
}

criterion_group!(benches, decode, prefill, phase);
criterion_main!(benches);
