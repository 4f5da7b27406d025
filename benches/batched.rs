//! Many sequences at once: tokens per second of all together.
//!
//! ```sh
//! cargo bench --bench batched
//! cargo bench --bench batched -- --model FILE.gguf --sequences 1,4,16 --decode 64 --runs 5
//! ```
//!
//! Without `--model` it makes models of 1B and 0.5B shape with made-up weights. Prompts are of 64 to
//! 128 tokens, spread evenly; each sequence then takes `--decode` tokens (64), one per pass of all.
//! Each figure is the median of the runs (5). `--csv` prints CSV, `--profile` where the time of
//! decoding goes, `--threads N` sets the threads (all cores). `benches/peers/batched.py` sets the
//! figures beside those of llama.cpp.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ropewalk_benches::{HALF_B, ONE_B, TEST, median, synthetic};
use ropewalk_gguf::TensorType;
use ropewalk_local::{Cache, LoadOptions, Model, Step};

/// Shortest and longest prompt.
const PROMPT: (usize, usize) = (64, 128);

struct Options {
    models: Vec<PathBuf>,
    sequences: Vec<usize>,
    decode: usize,
    runs: usize,
    threads: Option<NonZeroUsize>,
    csv: bool,
    profile: bool,
    test: bool,
}

fn options() -> Options {
    // `cargo bench` passes `--bench`; without it this is a test run.
    let mut o = Options {
        models: Vec::new(),
        sequences: vec![1, 4, 16],
        decode: 64,
        runs: 5,
        threads: None,
        csv: false,
        profile: false,
        test: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("a value");
        match arg.as_str() {
            "--bench" => o.test = false,
            "--csv" => o.csv = true,
            "--profile" => o.profile = true,
            "--model" => o.models.push(value().into()),
            "--sequences" => {
                let list = value();
                o.sequences = list
                    .split(',')
                    .map(|n| n.parse().expect("numbers"))
                    .collect();
            }
            "--decode" => o.decode = value().parse().expect("a number"),
            "--runs" => o.runs = value().parse().expect("a number"),
            "--threads" => o.threads = value().parse().ok(),
            _ => {}
        }
    }
    o
}

fn main() {
    let mut o = options();
    if o.models.is_empty() {
        let ty = TensorType::Q8_0;
        let shapes: &[_] = if o.test { &[TEST] } else { &[ONE_B, HALF_B] };
        o.models.extend(
            shapes
                .iter()
                .map(|s| synthetic(s, ty).expect("a synthetic model")),
        );
    }
    if o.test {
        (o.decode, o.runs) = (2, 1);
    }
    if o.csv {
        println!("model,sequences,prefill_tps,decode_tps");
    }
    for path in &o.models {
        row(path, &o);
    }
}

/// Returns made-up ids.
fn ids(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 7919 % vocab) as u32).collect()
}

/// Returns the rates of prompts and of answers, in tokens per second of all sequences.
fn run(model: &Model, sequences: usize, decode: usize) -> (f64, f64) {
    let vocab = model.spec().vocab_size;
    let (shortest, longest) = PROMPT;
    let prompts: Vec<Vec<u32>> = (1..=sequences)
        .map(|i| ids(shortest + (longest - shortest) * i / sequences, vocab))
        .collect();
    let pool = model
        .new_pool(sequences * (longest + decode).next_multiple_of(128))
        .expect("a pool");
    let mut caches: Vec<Cache> = prompts.iter().map(|_| pool.new_cache()).collect();
    let start = Instant::now();
    let mut steps: Vec<Step<'_>> = caches
        .iter_mut()
        .zip(&prompts)
        .map(|(cache, ids)| Step::new(cache, ids))
        .collect();
    model.forward_batch(&mut steps).expect("prompts");
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let prefill = tokens as f64 / start.elapsed().as_secs_f64();
    model.take_profile();
    let start = Instant::now();
    for i in 0..decode {
        let next = [(i * 31 % vocab) as u32];
        let mut steps: Vec<Step<'_>> = caches.iter_mut().map(|c| Step::new(c, &next)).collect();
        model.forward_batch(&mut steps).expect("a token each");
    }
    let seconds = start.elapsed().as_secs_f64();
    (prefill, (sequences * decode) as f64 / seconds)
}

fn row(path: &Path, o: &Options) {
    let mut options = LoadOptions::default().with_context(PROMPT.1 + o.decode);
    (options.threads, options.profile) = (o.threads, o.profile);
    let model = Model::open(path, &options).expect("a model");
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    run(&model, 1, o.decode.min(4));
    for &sequences in &o.sequences {
        let rates: Vec<(f64, f64)> = (0..o.runs)
            .map(|_| run(&model, sequences, o.decode))
            .collect();
        let (mut prefill, mut decode): (Vec<f64>, Vec<f64>) = rates.into_iter().unzip();
        let (prefill, decode) = (median(&mut prefill), median(&mut decode));
        if o.csv {
            println!("{name},{sequences},{prefill:.2},{decode:.2}");
        } else {
            println!(
                "{name:<28} {sequences:>3} sequences  prefill {prefill:>7.1} t/s  decode {decode:>7.1} t/s  ({}, {} threads)",
                model.isa().name(),
                model.threads(),
            );
        }
        if let Some(profile) = model.take_profile() {
            let (passes, total) = (profile.passes.max(1) as f64, profile.total());
            for (stage, time) in profile.stages() {
                let time = time.as_secs_f64();
                println!(
                    "  {stage:<13} {:>8.1} us  {:>5.1} %",
                    1e6 * time / passes,
                    100.0 * time / total.as_secs_f64()
                );
            }
        }
    }
}
