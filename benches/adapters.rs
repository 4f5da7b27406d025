//! What adapters cost beside a model: tokens one by one, with and without, in turns.
//!
//! ```sh
//! cargo bench --bench adapters
//! cargo bench --bench adapters -- --model FILE.gguf --rank 16 --decode 48 --runs 7
//! ```
//!
//! Without `--model` it makes a model of 1B shape with made-up weights in Q4_0. The adapter changes all seven projections
//! of every block. Each figure is the median over the runs of the time of a pass; the ratio is to the same pass of the base.
//!
//! | option | meaning |
//! | --- | --- |
//! | `--rank N` | rank of the adapter (16) |
//! | `--decode N`, `--runs N` | passes of one run (32), runs (5) |
//! | `--threads N` | threads (all cores) |

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use ropewalk_benches::{ONE_B, TEST, median, synthetic};
use ropewalk_gguf::TensorType;
use ropewalk_local::{ActiveAdapter, Adapter, LoadOptions, Model, Step};
use ropewalk_spec::adapter::LoraAdapter;
use ropewalk_spec::{ModelSpec, NameLayout, TensorData, TensorSource};
use serde_json::json;

const TARGETS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// Tensors of an adapter, all of them small and the same.
struct Made(HashMap<String, (Vec<usize>, Vec<u8>)>, TensorType);

impl Made {
    fn new(spec: &ModelSpec, rank: usize, ty: TensorType) -> Self {
        let mut tensors = HashMap::new();
        for tensor in spec.stored_tensors() {
            let module = tensor.hf.trim_end_matches(".weight");
            let ([out, inputs], true) = (
                &tensor.shape[..],
                TARGETS.iter().any(|target| module.ends_with(target)),
            ) else {
                continue;
            };
            for (end, shape) in [("lora_A", [rank, *inputs]), ("lora_B", [*out, rank])] {
                let values: Vec<f32> = (0..shape[0] * shape[1])
                    .map(|i| ((i * 37 % 101) as f32 - 50.0) / 5000.0)
                    .collect();
                let bytes = ropewalk_gguf::quantize(ty, &values).expect("floats");
                tensors.insert(format!("{module}.{end}.weight"), (shape.to_vec(), bytes));
            }
        }
        Self(tensors, ty)
    }
}

impl TensorSource for Made {
    fn layout(&self) -> NameLayout {
        NameLayout::HuggingFace
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn tensor(&self, name: &str) -> ropewalk_spec::Result<Option<TensorData<'_>>> {
        let found = self.0.get(name);
        Ok(found.map(|(shape, data)| TensorData::new(shape.clone(), self.1, &data[..])))
    }
}

struct Options {
    model: Option<PathBuf>,
    rank: usize,
    decode: usize,
    runs: usize,
    threads: Option<NonZeroUsize>,
    test: bool,
}

fn options() -> Options {
    // `cargo bench` passes `--bench`; without it this is a test run.
    let mut o = Options {
        model: None,
        rank: 16,
        decode: 32,
        runs: 5,
        threads: None,
        test: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse().ok()).expect("a number");
        match arg.as_str() {
            "--bench" => o.test = false,
            "--rank" => o.rank = number(),
            "--decode" => o.decode = number(),
            "--runs" => o.runs = number(),
            "--threads" => o.threads = NonZeroUsize::new(number()),
            "--model" => o.model = Some(args.next().expect("a path").into()),
            _ => {}
        }
    }
    if o.test {
        (o.decode, o.runs) = (3, 1);
    }
    o
}

fn main() {
    let o = options();
    let shape = if o.test { &TEST } else { &ONE_B };
    let path = o.model.clone();
    let path = path.unwrap_or_else(|| synthetic(shape, TensorType::Q4_0).expect("a model"));
    let mut load = LoadOptions::default().with_context(128);
    load.threads = o.threads;
    let model = Model::open(&path, &load).expect("a model");
    let adapter = |ty| {
        let config = json!({
            "peft_type": "LORA", "r": o.rank, "lora_alpha": o.rank, "target_modules": TARGETS,
        });
        let source = Made::new(model.spec(), o.rank, ty);
        let read = LoraAdapter::from_peft("made", &config, &source, model.spec());
        Adapter::new(&model, &read.expect("an adapter")).expect("an adapter")
    };
    let (half, single) = (adapter(TensorType::F16), adapter(TensorType::F32));
    println!(
        "{} threads, base {} MB, adapter of rank {}: {} MB in F16, {} MB in F32",
        model.threads(),
        model.weight_bytes() >> 20,
        o.rank,
        half.bytes() >> 20,
        single.bytes() >> 20,
    );
    let with = |adapter: &Adapter| vec![ActiveAdapter::new(adapter.clone())];
    // The adapters of each sequence of a pass.
    let cases: [(&str, Vec<Vec<ActiveAdapter>>); 7] = [
        ("1 sequence, base", vec![vec![]]),
        ("1 sequence, F16", vec![with(&half)]),
        ("1 sequence, F32", vec![with(&single)]),
        ("4 sequences, base", vec![vec![]; 4]),
        ("4 sequences, one F16", vec![with(&half); 4]),
        (
            "4 sequences, one adapter each but one",
            vec![
                vec![],
                with(&half),
                with(&single),
                with(&adapter(TensorType::F16)),
            ],
        ),
        (
            "4 sequences, 3 of base",
            vec![vec![], vec![], vec![], with(&half)],
        ),
    ];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..o.runs {
        for ((_, sequences), times) in cases.iter().zip(&mut times) {
            let mut caches: Vec<_> = sequences.iter().map(|_| model.new_cache()).collect();
            let mut pass = || {
                let steps = caches.iter_mut().zip(sequences);
                let steps = steps.map(|(cache, list)| Step::new(cache, &[5]).with_adapters(list));
                let mut steps: Vec<Step<'_>> = steps.collect();
                model.forward_batch(&mut steps).expect("logits");
            };
            pass();
            let start = Instant::now();
            (0..o.decode).for_each(|_| pass());
            times.push(start.elapsed().as_secs_f64() / o.decode as f64);
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|t| median(t)).collect();
    println!("| pass | ms | ratio to base |\n| --- | --- | --- |");
    for ((name, sequences), time) in cases.iter().zip(&medians) {
        let base = medians[if sequences.len() == 1 { 0 } else { 3 }];
        println!("| {name} | {:.2} | {:.3} |", 1000.0 * time, time / base);
    }
}
