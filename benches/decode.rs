//! Whole models: load, prefill and decode, beside the read bandwidth measured in between.
//!
//! ```sh
//! cargo bench --bench decode
//! cargo bench --bench decode -- --model FILE.gguf --prefill 512 --decode 64 --runs 9
//! ```
//!
//! Without `--model` it makes models of 1B and 0.5B shape with made-up weights, in Q4_K and Q8_0.
//! Prints one row per model, and CSV with `--csv`. Each figure is the median of the runs.
//!
//! | option | meaning |
//! | --- | --- |
//! | `--prefill N`, `--decode N` | tokens of the prompt (512), tokens one by one (64) |
//! | `--context N` | tokens in the cache before both (0) |
//! | `--first N` | prompt of the first answer after loading (16): its time with the loading is `first` |
//! | `--cache f32`, `f16`, `q8_0` | how keys and values are stored (f16) |
//! | `--device NAME` | `cuda`, `cuda:1`, `metal` or `candle-cpu`, built with that feature; the bandwidth is that of its memory |
//! | `--profile` | print also where the time of decoding goes, per token |
//! | `--threads N`, `--runs N` | threads (all cores), rounds (5) |
//!
//! Memory is what the system counts for the process after the first pass (`VmRSS`, Linux) before
//! the bandwidth is measured, which takes memory itself.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use ropewalk_benches::{HALF_B, ONE_B, TEST, median, synthetic};
use ropewalk_gguf::TensorType;
use ropewalk_kernels::{Pool, ReadStream};
use ropewalk_local::device::{self, Device};
use ropewalk_local::{CacheType, LoadOptions, Model};

/// Tokens between two readings of the memory.
const SLICE: usize = 8;

struct Options {
    models: Vec<PathBuf>,
    prefill: usize,
    decode: usize,
    context: usize,
    first: usize,
    cache: CacheType,
    runs: usize,
    threads: Option<NonZeroUsize>,
    csv: bool,
    profile: bool,
    device: Device,
    test: bool,
}

fn options() -> Options {
    // `cargo bench` passes `--bench`; without it this is a test run.
    let mut o = Options {
        models: Vec::new(),
        prefill: 512,
        decode: 64,
        context: 0,
        first: 16,
        cache: CacheType::F16,
        runs: 5,
        threads: None,
        csv: false,
        profile: false,
        device: Device::Cpu,
        test: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--cache" {
            o.cache = match args.next().as_deref() {
                Some("f32") => CacheType::F32,
                Some("q8_0") => CacheType::Q8_0,
                _ => CacheType::F16,
            };
            continue;
        }
        if arg == "--device" {
            let name = args.next().expect("a device");
            o.device = name.parse().expect("a device");
            continue;
        }
        if arg == "--profile" {
            o.profile = true;
            continue;
        }
        let mut number = || args.next().and_then(|v| v.parse().ok()).expect("a number");
        match arg.as_str() {
            "--bench" => o.test = false,
            "--prefill" => o.prefill = number(),
            "--decode" => o.decode = number(),
            "--context" => o.context = number(),
            "--first" => o.first = number(),
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
        println!(
            "model,load_s,first_s,prefill_tps,decode_tps,decode_gbs,bandwidth_gbs,percent,rss_mb"
        );
    }
    for path in &o.models {
        row(path, &o);
    }
}

/// Returns the resident memory of this process in MB, NaN where the system does not tell.
fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .map_or(f64::NAN, |kib: f64| kib * 1024.0 / 1e6)
}

fn row(path: &std::path::Path, o: &Options) {
    let start = Instant::now();
    let total = (o.context + o.prefill + o.decode).max(o.first);
    let mut options = LoadOptions::default().with_context(total);
    (options.threads, options.cache, options.profile) = (o.threads, o.cache, o.profile);
    options = options.with_device(o.device);
    let model = Model::open(path, &options).expect("a model");
    let load = start.elapsed().as_secs_f64();
    let ids: Vec<u32> = (0..total)
        .map(|i| (i * 7919 % model.spec().vocab_size) as u32)
        .collect();
    model
        .forward(&mut model.new_cache(), &ids[..o.first])
        .expect("a first answer");
    let (first, resident) = (start.elapsed().as_secs_f64(), resident_mb());
    let pool = Pool::new(model.threads().try_into().expect("at least one thread"));
    let stream = ReadStream::new(&pool, 256 << 20).expect("256 MB");
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
        model.take_profile();
        // The bandwidth of shared machines changes from second to second, so reading takes turns
        // with decoding, in slices of equal time.
        let (mut seconds, mut reading, mut gigabytes) = (0.0, 0.0, 0.0);
        for slice in ids[o.context + o.prefill..][..o.decode].chunks(SLICE) {
            let start = Instant::now();
            for id in slice {
                model.forward(&mut cache, &[*id]).expect("decode");
            }
            seconds += start.elapsed().as_secs_f64();
            if o.device != Device::Cpu {
                // Other memory, which nobody else uses.
                let rate = device::bandwidth(o.device, 256 << 20).expect("256 MB twice");
                (reading, gigabytes) = (1.0, rate / 1e9);
            }
            while o.device == Device::Cpu && reading < seconds {
                let start = Instant::now();
                let rate = stream.read(&pool);
                let time = start.elapsed().as_secs_f64();
                (reading, gigabytes) = (reading + time, gigabytes + rate * time);
            }
        }
        decode.push(o.decode as f64 / seconds);
        read.push(gigabytes / reading);
    }
    let bytes = model.bytes_per_step(o.context + o.prefill + o.decode / 2) as f64;
    // Per round, so that both rates are of the same seconds.
    let share = |(d, r): (&f64, &f64)| 100.0 * d * bytes / 1e9 / r;
    let percent = median(&mut decode.iter().zip(&read).map(share).collect::<Vec<_>>());
    let (prefill, decode, read) = (median(&mut prefill), median(&mut decode), median(&mut read));
    let used = decode * bytes / 1e9;
    let name = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    if o.csv {
        println!(
            "{name},{load:.3},{first:.3},{prefill:.2},{decode:.2},{used:.2},{read:.2},{percent:.1},{resident:.0}",
        );
    } else {
        println!(
            "{name:<28} load {load:>5.2} s  first {first:>5.2} s  {resident:>5.0} MB  prefill {prefill:>7.1} t/s  decode {decode:>6.1} t/s = \
             {used:>5.1} GB/s, {percent:>3.0} % of {read:.1} GB/s  ({}, {} threads, {})",
            model.isa().name(),
            model.threads(),
            o.device,
        );
    }
    if let Some(profile) = model.take_profile() {
        let tokens = profile.passes.max(1) as f64;
        let total = profile.total().as_secs_f64();
        for (stage, time) in profile.stages() {
            let time = time.as_secs_f64();
            println!(
                "  {stage:<13} {:>8.1} us  {:>5.1} %",
                1e6 * time / tokens,
                100.0 * time / total
            );
        }
        println!("  barriers      {:>8.1}", profile.phases as f64 / tokens);
    }
}
