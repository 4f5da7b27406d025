//! Read bandwidth, the roofline of decoding, by number of threads.

use std::num::NonZeroUsize;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ropewalk_kernels::{Pool, ReadStream};

const SIZE: usize = 256 << 20;

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("bandwidth");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(SIZE as u64));
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for threads in (0..)
        .map(|i| 1 << i)
        .take_while(|&t| t < cores)
        .chain([cores])
    {
        let pool = Pool::new(NonZeroUsize::new(threads).expect("not zero"));
        let stream = ReadStream::new(&pool, SIZE).expect("256 MB");
        group.bench_function(BenchmarkId::new("read", threads), |b| {
            b.iter(|| stream.read(&pool))
        });
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
