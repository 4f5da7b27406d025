//! Rates of attention and of the single-precision product on every tier.
//!
//! `cargo bench --bench attention -- [decode] [prefill] [sgemm] [--tiers a,b] [--threads 1,2]
//! [--contexts 256,4096]`
//!
//! Decode attends from one position to contexts up to 4,096 in caches that no cache level holds, and
//! counts the bytes of keys and values beside the read bandwidth measured in between; first each layer's
//! cache is one stretch, then pages of 128 positions that hold all layers, as models keep them. Prefill takes
//! 512 positions at once and counts the operations of the causal half. All take the best of several
//! short runs.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use ropewalk_kernels::attention::{
    AttentionScratch, AttentionSeq, AttentionShape, KvPage, KvRef, PAGE_STEP, Q8_BLOCK, attention,
    attention_batch,
};
use ropewalk_kernels::{Isa, Pool, ReadStream, sgemm};

/// Query heads, key heads, head size: Llama 3.2 1B, Qwen 2.5 0.5B, Llama 3.1 8B, a small model,
/// Gemma 3 1B.
const LAYERS: [(usize, usize, usize); 5] = [
    (32, 8, 64),
    (14, 2, 64),
    (32, 8, 128),
    (8, 2, 64),
    (4, 1, 256),
];
const CONTEXTS: [usize; 3] = [256, 1024, 4096];
/// Bytes of each kind of cache that a run of decode reads.
const READ: usize = 96 << 20;
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
    let contexts = list("--contexts").map_or(CONTEXTS.to_vec(), |list| {
        list.iter().filter_map(|c| c.parse().ok()).collect()
    });
    for threads in list("--threads").unwrap_or_else(|| vec!["1", "2"]) {
        let pool = Pool::new(threads.parse().unwrap_or(NonZeroUsize::MIN));
        for isa in Isa::available() {
            if tiers.as_ref().is_some_and(|t| !t.contains(&isa.name())) {
                continue;
            }
            if wanted("decode") {
                decode(&pool, isa, &contexts);
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

/// The ways to store keys and values.
#[derive(Clone, Copy)]
enum Format {
    F32,
    F16,
    Q8,
}

impl Format {
    const ALL: [(Self, &str); 3] = [(Self::F32, "f32 "), (Self::F16, "f16 "), (Self::Q8, "q8_0")];
}

/// Keys and values of one layer.
enum Caches {
    F32([Vec<f32>; 2]),
    F16([Vec<u16>; 2]),
    Q8([(Vec<i8>, Vec<u16>); 2]),
}

impl Caches {
    /// Caches full of 0.5.
    fn new(format: Format, values: usize) -> Self {
        match format {
            Format::F32 => Self::F32([vec![0.5; values], vec![0.5; values]]),
            Format::F16 => Self::F16([vec![0x3800; values], vec![0x3800; values]]),
            Format::Q8 => {
                Self::Q8([(); 2].map(|()| (vec![64; values], vec![0x2000; values / Q8_BLOCK])))
            }
        }
    }

    /// Returns keys and values of one of several layers.
    fn layer(&self, index: usize, layers: usize) -> KvPage<'_> {
        fn part<T>(x: &[T], index: usize, of: usize) -> &[T] {
            &x[index * (x.len() / of)..][..x.len() / of]
        }
        let [k, v] = [0, 1].map(|i| match self {
            Self::F32(kv) => KvRef::F32(part(&kv[i], index, layers)),
            Self::F16(kv) => KvRef::F16(part(&kv[i], index, layers)),
            Self::Q8(kv) => KvRef::Q8_0 {
                values: part(&kv[i].0, index, layers),
                scales: part(&kv[i].1, index, layers),
            },
        });
        KvPage::new(k, v)
    }

    fn of(&self) -> (KvRef<'_>, KvRef<'_>) {
        match self {
            Self::F32([k, v]) => (KvRef::F32(k), KvRef::F32(v)),
            Self::F16([k, v]) => (KvRef::F16(k), KvRef::F16(v)),
            Self::Q8(kv) => {
                let [k, v] = kv
                    .each_ref()
                    .map(|(values, scales)| KvRef::Q8_0 { values, scales });
                (k, v)
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32([k, _]) => 8 * k.len(),
            Self::F16([k, _]) => 4 * k.len(),
            Self::Q8([(k, scales), _]) => 2 * k.len() + 4 * scales.len(),
        }
    }
}

fn shape((q_heads, kv_heads, head_dim): (usize, usize, usize)) -> AttentionShape {
    AttentionShape::new(q_heads, kv_heads, head_dim)
}

fn decode(pool: &Pool, isa: Isa, contexts: &[usize]) {
    let stream = ReadStream::new(pool, 256 << 20).expect("256 MB");
    for (layer, &context) in LAYERS
        .iter()
        .flat_map(|l| contexts.iter().map(move |c| (*l, c)))
    {
        let (shape, (q_heads, kv_heads, head_dim)) = (shape(layer), layer);
        let values = kv_heads * context * head_dim;
        let (q, mut out) = (vec![0.1; q_heads * head_dim], vec![0.0; q_heads * head_dim]);
        let mut scratch = AttentionScratch::new();
        for (format, name) in Format::ALL {
            let one = Caches::new(format, values);
            let more = (READ / one.bytes()).max(1);
            let mut layers = vec![one];
            layers.resize_with(more, || Caches::new(format, values));
            let roof = stream.read(pool);
            let seconds = best(|| {
                for caches in &layers {
                    let (k, v) = caches.of();
                    let first = context - 1;
                    attention(
                        pool,
                        isa,
                        &shape,
                        &q,
                        first,
                        k,
                        v,
                        context,
                        &mut out,
                        &mut scratch,
                    )
                    .expect("shape");
                }
            });
            let roof = stream.read(pool).max(roof);
            let bytes: usize = layers.iter().map(Caches::bytes).sum();
            let count = layers.len();
            let show = |kind: &str, seconds: f64| {
                let rate = bytes as f64 / seconds / 1e9;
                println!(
                    "decode  {:12} {} threads  {layer:?} {context:5} {name} {kind}  {rate:6.1} GB/s, {:3.0} % of {roof:.1}, {:.1} us a layer",
                    isa.name(),
                    pool.threads(),
                    100.0 * rate / roof,
                    1e6 * seconds / count as f64,
                );
            };
            show("whole", seconds);
            drop(layers);
            let each = count * kv_heads * PAGE_STEP * head_dim;
            let stored: Vec<Caches> = (0..context.div_ceil(PAGE_STEP))
                .map(|_| Caches::new(format, each))
                .collect();
            let mut pages = Vec::new();
            let seconds = best(|| {
                for index in 0..count {
                    pages.clear();
                    pages.extend(stored.iter().map(|page| page.layer(index, count)));
                    let mut seqs = [AttentionSeq {
                        q: &q,
                        first_pos: context - 1,
                        pages: &pages,
                        page_len: PAGE_STEP,
                        out: &mut out,
                    }];
                    attention_batch(pool, isa, &shape, &mut seqs, &mut scratch).expect("shape");
                }
            });
            show("pages", seconds);
        }
    }
}

fn prefill(pool: &Pool, isa: Isa) {
    for layer in LAYERS {
        let (shape, (q_heads, kv_heads, head_dim)) = (shape(layer), layer);
        let rows = PROMPT * q_heads * head_dim;
        let (q, mut out) = (vec![0.1; rows], vec![0.0; rows]);
        let mut scratch = AttentionScratch::new();
        for (format, name) in Format::ALL {
            let caches = Caches::new(format, kv_heads * PROMPT * head_dim);
            let (k, v) = caches.of();
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
                "prefill {:12} {} threads  {layer:?} {name}  {:6.1} GFLOP/s",
                isa.name(),
                pool.threads(),
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
