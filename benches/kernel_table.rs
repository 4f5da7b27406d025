//! Decode and prefill rates of every weight format on every tier, beside the read bandwidth.
//!
//! `cargo bench --bench kernel_table -- [FORMAT ...] [--tiers a,b] [--threads 1,2] [--quick]`
//!
//! Decode multiplies one row of activations with distinct 4096 x 4096 matrices, at least 256 MB of
//! them, and counts packed bytes; reads of a plain stream are interleaved and `%` is the ratio of
//! the two. Prefill multiplies 512 rows and counts 2 m n k operations. Both take the best of
//! several short runs and include quantising the activations.

mod blocks;

use std::num::NonZeroUsize;
use std::time::Instant;

use ropewalk_kernels::{Acts, Format, Isa, Job, Matrix, Pool, ReadStream, matmul};

const N: usize = 4096;
const K: usize = 4096;
const PREFILL: usize = 512;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let list = |name: &str| {
        let at = args.iter().position(|a| a == name)?;
        Some(
            args.get(at + 1)?
                .split(',')
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    };
    let quick = args.iter().any(|a| a == "--quick");
    let tiers = list("--tiers");
    let threads = list("--threads").unwrap_or_else(|| vec!["1".into(), "2".into()]);
    let formats: Vec<Format> = Format::ALL
        .into_iter()
        .filter(|f| {
            let named = |a: &String| Format::ALL.iter().any(|f| f.name() == a);
            !args.iter().any(named) || args.iter().any(|a| a == f.name())
        })
        .collect();
    if std::env::args().all(|a| a != "--bench") {
        println!("nothing measured: run with `cargo bench --bench kernel_table`");
        return;
    }
    println!(
        "{:8} {:12} {:>3}  {:>6} {:>6} {:>4}  {:>6}  {:>6}",
        "format", "tier", "thr", "GB/s", "stream", "%", "GOP/s", "pack"
    );
    for threads in threads {
        let threads: NonZeroUsize = threads.parse().unwrap_or(NonZeroUsize::MIN);
        let pool = Pool::new(threads);
        let stream = ReadStream::new(&pool, 256 << 20).expect("256 MB");
        for &format in &formats {
            for isa in Isa::available() {
                if tiers
                    .as_ref()
                    .is_some_and(|t| t.iter().all(|t| t != isa.name()))
                {
                    continue;
                }
                measure(&pool, &stream, format, isa, quick);
            }
        }
    }
}

fn measure(pool: &Pool, stream: &ReadStream, format: Format, isa: Isa, quick: bool) {
    let slow = isa == Isa::Scalar;
    let source = blocks::random(format, N * K);
    let copies = if slow {
        1
    } else {
        (256 << 20) / source.len() + 1
    };
    let start = Instant::now();
    let weights: Vec<Matrix> = (0..copies)
        .map(|_| Matrix::pack(isa, format, &source, N, K, pool).expect("valid blocks"))
        .collect();
    let pack = (copies * source.len()) as f64 / start.elapsed().as_secs_f64() / 1e9;
    let x: Vec<f32> = (0..PREFILL * K)
        .map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0)
        .collect();
    let mut acts = Acts::new();
    let mut out = vec![0.0; PREFILL * N];
    let (mut decode, mut roof) = (0f64, 0f64);
    for _ in 0..if slow {
        1
    } else if quick {
        5
    } else {
        12
    } {
        roof = roof.max(stream.read(pool));
        let start = Instant::now();
        for w in &weights {
            acts.prepare(pool, isa, &x[..K], 1, K, &[w]).expect("shape");
            matmul(pool, &acts, &mut [Job::new(w, &mut out[..N])]).expect("prepared");
        }
        let bytes: usize = weights.iter().map(Matrix::bytes).sum();
        decode = decode.max(bytes as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    let m = if slow { 4 } else { PREFILL };
    let mut prefill = 0f64;
    for _ in 0..if slow {
        1
    } else if quick {
        3
    } else {
        6
    } {
        let start = Instant::now();
        acts.prepare(pool, isa, &x[..m * K], m, K, &[&weights[0]])
            .expect("shape");
        matmul(pool, &acts, &mut [Job::new(&weights[0], &mut out[..m * N])]).expect("prepared");
        prefill = prefill.max(2.0 * (m * N * K) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    println!(
        "{:8} {:12} {:3}  {decode:6.1} {roof:6.1} {:4.0}  {prefill:6.0}  {pack:6.2}",
        format.name(),
        isa.name(),
        pool.threads(),
        100.0 * decode / roof,
    );
}
