//! Whole models: load, prefill and decode, beside the read bandwidth measured in between.
//!
//! ```sh
//! cargo bench --bench decode
//! cargo bench --bench decode -- --model FILE.gguf --prefill 512 --decode 64 --runs 9
//! ```
//!
//! Without `--model` it makes models of 1B and 0.5B shape with made-up weights, in Q4_K and Q8_0.
//! Prints one row per model, and CSV with `--csv`. Each figure is the median of the runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use ropewalk_benches::{HALF_B, ONE_B, TEST, median, synthetic};
use ropewalk_gguf::TensorType;
use ropewalk_kernels::{Pool, bandwidth};
use ropewalk_local::{LoadOptions, Model};

struct Options {
    models: Vec<PathBuf>,
    prefill: usize,
    decode: usize,
    context: usize,
    runs: usize,
    threads: Option<NonZeroUsize>,
    csv: bool,
    test: bool,
}

fn options() -> Options {
    // `cargo bench` passes `--bench`; without it this is a test run.
    let mut o = Options {
        models: Vec::new(),
        prefill: 512,
        decode: 64,
        context: 0,
        runs: 5,
        threads: None,
        csv: false,
        test: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse().ok()).expect("a number");
        match arg.as_str() {
            "--bench" => o.test = false,
            "--prefill" => o.prefill = number(),
            "--decode" => o.decode = number(),
            "--context" => o.context = number(),
            "--runs" => o.runs = number(),
            "--threads" => o.threads = NonZeroUsize::new(number()),
            "--csv" => o.csv = true,
            "--model" => o.models.push(args.next().expect("a path").into()),
            _ => {}
        }
    }
    o
}

fn main() {
    let mut o = options();
    if o.models.is_empty() {
        let shapes: &[_] = if o.test { &[TEST] } else { &[ONE_B, HALF_B] };
        for shape in shapes {
            for ty in [TensorType::Q4_K, TensorType::Q8_0] {
                // Rows of 896 are not whole superblocks.
                if shape.hidden % ty.block_size() == 0 {
                    o.models
                        .push(synthetic(shape, ty).expect("a synthetic model"));
                }
            }
        }
    }
    if o.test {
        (o.prefill, o.decode, o.runs) = (16, 4, 1);
    }
    if o.csv {
        println!("model,load_s,prefill_tps,decode_tps,decode_gbs,bandwidth_gbs,percent");
    }
    for path in &o.models {
        row(path, &o);
    }
}

fn row(path: &std::path::Path, o: &Options) {
    let start = Instant::now();
    let total = o.context + o.prefill + o.decode;
    let mut options = LoadOptions::default().with_context(total);
    options.threads = o.threads;
    let model = Model::open(path, &options).expect("a model");
    let load = start.elapsed().as_secs_f64();
    let pool = Pool::new(model.threads().try_into().expect("at least one thread"));
    let vocab = model.spec().vocab_size;
    let ids: Vec<u32> = (0..total).map(|i| (i * 7919 % vocab) as u32).collect();
    // One short pass first, so that pages and buffers are there.
    model
        .forward(&mut model.new_cache(), &ids[..4])
        .expect("a first pass");
    let (mut prefill, mut decode, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..o.runs {
        let mut cache = model.new_cache();
        if o.context > 0 {
            model
                .forward(&mut cache, &ids[..o.context])
                .expect("context");
        }
        let start = Instant::now();
        model
            .forward(&mut cache, &ids[o.context..][..o.prefill])
            .expect("prefill");
        prefill.push(o.prefill as f64 / start.elapsed().as_secs_f64());
        read.push(bandwidth(&pool));
        let start = Instant::now();
        for id in &ids[o.context + o.prefill..] {
            model.forward(&mut cache, &[*id]).expect("decode");
        }
        decode.push(o.decode as f64 / start.elapsed().as_secs_f64());
        read.push(bandwidth(&pool));
    }
    let bytes = model.bytes_per_step(o.context + o.prefill + o.decode / 2) as f64;
    let (prefill, decode, read) = (median(&mut prefill), median(&mut decode), median(&mut read));
    let used = decode * bytes / 1e9;
    let name = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    if o.csv {
        println!(
            "{name},{load:.3},{prefill:.2},{decode:.2},{used:.2},{read:.2},{:.1}",
            100.0 * used / read
        );
    } else {
        println!(
            "{name:<28} load {load:>5.2} s  prefill {prefill:>7.1} t/s  decode {decode:>6.1} t/s = \
             {used:>5.1} GB/s, {:>3.0} % of {read:.1} GB/s  ({}, {} threads)",
            100.0 * used / read,
            model.isa().name(),
            model.threads(),
        );
    }
}
