//! Rates of attention and of the single-precision product on every tier.
//!
//! `cargo bench --bench attention -- [decode] [prefill] [sgemm] [--tiers a,b] [--threads 1,2]`
//!
//! Decode attends from one position to a context of 4,096 in caches that no cache level holds, and
//! counts the bytes of keys and values beside the read bandwidth measured in between. Prefill takes
//! 512 positions at once and counts the operations of the causal half. All take the best of several
//! short runs.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use ropewalk_kernels::attention::{AttentionScratch, AttentionShape, KvRef, attention};
use ropewalk_kernels::{Isa, Pool, ReadStream, sgemm};

/// Query heads, key heads, head size: Llama 3.2 1B, Qwen 2.5 0.5B, Llama 3.1 8B.
const LAYERS: [(usize, usize, usize); 3] = [(32, 8, 64), (14, 2, 64), (32, 8, 128)];
const CONTEXT: usize = 4096;
const PROMPT: usize = 512;
/// (m, k, n) of a training step of a small model and of a large square product.
const PRODUCTS: [(usize, usize, usize); 5] = [
    (2048, 256, 768),
    (2048, 768, 256),
    (512, 2048, 2048),
    (64, 2048, 2048),
    (256, 256, 64),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().all(|a| a != "--bench") {
        println!("nothing measured: run with `cargo bench --bench attention`");
        return;
    }
    let list = |name: &str| -> Option<Vec<&str>> {
        let at = args.iter().position(|a| a == name)?;
        Some(args.get(at + 1)?.split(',').collect())
    };
    let topics = ["decode", "prefill", "sgemm"];
    let all = !args.iter().any(|a| topics.contains(&a.as_str()));
    let wanted = |topic: &str| all || args.iter().any(|a| a == topic);
    let tiers = list("--tiers");
    for threads in list("--threads").unwrap_or_else(|| vec!["1", "2"]) {
        let pool = Pool::new(threads.parse().unwrap_or(NonZeroUsize::MIN));
        for isa in Isa::available() {
            if tiers.as_ref().is_some_and(|t| !t.contains(&isa.name())) {
                continue;
            }
            if wanted("decode") {
                decode(&pool, isa);
            }
            if wanted("prefill") {
                prefill(&pool, isa);
            }
            if wanted("sgemm") {
                products(&pool, isa);
            }
        }
    }
}

/// Returns the seconds of the fastest of the runs that fit in half a second.
fn best(mut run: impl FnMut()) -> f64 {
    run();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < Duration::from_millis(500) {
        let one = Instant::now();
        run();
        best = best.min(one.elapsed().as_secs_f64());
    }
    best
}

/// Caches of one layer, in both formats.
struct Caches {
    full: [Vec<f32>; 2],
    half: [Vec<u16>; 2],
}

impl Caches {
    fn new(values: usize) -> Self {
        // 0.5 in f32 and in f16.
        Self {
            full: [vec![0.5; values], vec![0.5; values]],
            half: [vec![0x3800; values], vec![0x3800; values]],
        }
    }

    fn of(&self, half: bool) -> (KvRef<'_>, KvRef<'_>) {
        if half {
            (KvRef::F16(&self.half[0]), KvRef::F16(&self.half[1]))
        } else {
            (KvRef::F32(&self.full[0]), KvRef::F32(&self.full[1]))
        }
    }
}

fn shape((q_heads, kv_heads, head_dim): (usize, usize, usize)) -> AttentionShape {
    AttentionShape::new(q_heads, kv_heads, head_dim)
}

fn decode(pool: &Pool, isa: Isa) {
    let stream = ReadStream::new(pool, 256 << 20).expect("256 MB");
    for layer in LAYERS {
        let (shape, (q_heads, kv_heads, head_dim)) = (shape(layer), layer);
        let values = kv_heads * CONTEXT * head_dim;
        let layers: Vec<Caches> = (0..(64 << 20) / (4 * values) + 1)
            .map(|_| Caches::new(values))
            .collect();
        let (q, mut out) = (vec![0.1; q_heads * head_dim], vec![0.0; q_heads * head_dim]);
        let mut scratch = AttentionScratch::new();
        for half in [false, true] {
            let roof = stream.read(pool);
            let seconds = best(|| {
                for caches in &layers {
                    let (k, v) = caches.of(half);
                    let first = CONTEXT - 1;
                    attention(
                        pool,
                        isa,
                        &shape,
                        &q,
                        first,
                        k,
                        v,
                        CONTEXT,
                        &mut out,
                        &mut scratch,
                    )
                    .expect("shape");
                }
            });
            let roof = stream.read(pool).max(roof);
            let bytes = layers.len() * 2 * values * if half { 2 } else { 4 };
            let rate = bytes as f64 / seconds / 1e9;
            println!(
                "decode  {:12} {} threads  {layer:?} {}  {rate:6.1} GB/s, {:3.0} % of {roof:.1}",
                isa.name(),
                pool.threads(),
                if half { "f16" } else { "f32" },
                100.0 * rate / roof,
            );
        }
    }
}

fn prefill(pool: &Pool, isa: Isa) {
    for layer in LAYERS {
        let (shape, (q_heads, kv_heads, head_dim)) = (shape(layer), layer);
        let caches = Caches::new(kv_heads * PROMPT * head_dim);
        let rows = PROMPT * q_heads * head_dim;
        let (q, mut out) = (vec![0.1; rows], vec![0.0; rows]);
        let mut scratch = AttentionScratch::new();
        for half in [false, true] {
            let (k, v) = caches.of(half);
            let seconds = best(|| {
                attention(
                    pool,
                    isa,
                    &shape,
                    &q,
                    0,
                    k,
                    v,
                    PROMPT,
                    &mut out,
                    &mut scratch,
                )
                .expect("shape");
            });
            let operations = 4 * q_heads * head_dim * PROMPT * (PROMPT + 1) / 2;
            println!(
                "prefill {:12} {} threads  {layer:?} {}  {:6.1} GFLOP/s",
                isa.name(),
                pool.threads(),
                if half { "f16" } else { "f32" },
                operations as f64 / seconds / 1e9,
            );
        }
    }
}

fn products(pool: &Pool, isa: Isa) {
    for (m, k, n) in PRODUCTS {
        let (a, b, mut c) = (vec![0.5; m * k], vec![0.5; n * k], vec![0.0; m * n]);
        // x w^T, dy w and dy^T x of a linear layer.
        for (ta, tb) in [(false, true), (false, false), (true, false)] {
            let (lda, ldb) = (if ta { m } else { k }, if tb { k } else { n });
            let seconds = best(|| {
                sgemm(
                    pool, isa, ta, tb, m, n, k, 1.0, &a, lda, &b, ldb, 0.0, &mut c, n,
                )
                .expect("shape");
            });
            let mark = |t| if t { "^T" } else { "" };
            println!(
                "sgemm   {:12} {} threads  [{m}, {k}]{} [{k}, {n}]{}  {:6.1} GFLOP/s",
                isa.name(),
                pool.threads(),
                mark(ta),
                mark(tb),
                2.0 * (m * k * n) as f64 / seconds / 1e9,
            );
        }
    }
}
