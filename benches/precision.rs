//! One model in every precision: memory, speed, and what is lost.
//!
//! ```sh
//! cargo bench --bench precision
//! cargo bench --bench precision -- --model DIR-OR-GGUF --prefill 512 --decode 64 --runs 5
//! cargo bench --bench precision -- --only q4_k,nf4 --csv
//! ```
//!
//! Every format is coded while the model loads, the output head too, so that a row is that format
//! and nothing else. Memory and speed are those of a model with made-up weights unless `--model`
//! names another; the errors are those of the model in `examples/data`, or of `--model`, over the
//! prompts and replies of `examples/data/tiny_greedy.json`: logits against those of f32 weights.
//! Prints Markdown, or CSV with `--csv`. `codec` rows compare the time of the NF4 codec alone with
//! a copy of as many values.
//!
//! Types with code books (IQ1 to IQ3) take minutes to code: their speed is measured when `--only`
//! names them.
//!
//! | column | meaning |
//! | --- | --- |
//! | `MB`, `bits` | packed weights without the embedding table, and bits per weight |
//! | `load` | seconds to read, code and pack |
//! | `prefill`, `decode` | tokens per second |
//! | `max`, `RMSE` | differences of logits |
//! | `KL` | mean Kullback-Leibler divergence of the distributions, in nats |
//! | `top-1` | share of positions with the same best token |

use std::path::{Path, PathBuf};
use std::time::Instant;

use ropewalk_benches::{Shape, TEST, median, synthetic};
use ropewalk_gguf::{TensorType, can_quantize};
use ropewalk_kernels::codec::FourBit;
use ropewalk_kernels::{Isa, Pool, ops};
use ropewalk_local::{HeadRule, LoadOptions, LoadQuantize, Model, WeightFormat};
use serde_json::Value;

/// Wide enough for blocks of 256, small enough for f32 on any machine.
const QUARTER_B: Shape = Shape {
    name: "0.25B",
    hidden: 1024,
    layers: 16,
    heads: 16,
    kv_heads: 4,
    ffn: 3072,
    vocab: 32_000,
};

struct Options {
    model: Option<PathBuf>,
    only: Vec<WeightFormat>,
    prefill: usize,
    decode: usize,
    runs: usize,
    csv: bool,
    test: bool,
}

fn options() -> Options {
    // `cargo bench` passes `--bench`; without it this is a test run.
    let mut o = Options {
        model: None,
        only: Vec::new(),
        prefill: 512,
        decode: 32,
        runs: 3,
        csv: false,
        test: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("a value");
        match arg.as_str() {
            "--bench" => o.test = false,
            "--model" => o.model = Some(value().into()),
            "--only" => {
                let list = value();
                let formats = list.split(',').map(|f| f.parse().expect("a weight format"));
                o.only = formats.collect();
            }
            "--prefill" => o.prefill = value().parse().expect("a number"),
            "--decode" => o.decode = value().parse().expect("a number"),
            "--runs" => o.runs = value().parse().expect("a number"),
            "--csv" => o.csv = true,
            _ => {}
        }
    }
    if o.test {
        (o.prefill, o.decode, o.runs) = (16, 2, 1);
    }
    o
}

/// Plain floats, the formats of bitsandbytes, then the types of GGUF files from the largest.
fn formats(o: &Options) -> Vec<WeightFormat> {
    use TensorType as T;
    if !o.only.is_empty() {
        return o.only.clone();
    }
    if o.test {
        let few = [T::F32, T::F16, T::Q8_0, T::Q4_K].map(WeightFormat::Gguf);
        return [
            few.as_slice(),
            &[WeightFormat::Int8, WeightFormat::Nf4Double],
        ]
        .concat();
    }
    let plain = [T::F32, T::BF16, T::F16];
    let mut blocks: Vec<T> = T::ALL.to_vec();
    blocks.retain(|ty| can_quantize(*ty) && ty.block_size() > 1);
    blocks.sort_by_key(|ty| std::cmp::Reverse(1024 * ty.type_size() / ty.block_size()));
    let own = [
        WeightFormat::Int8,
        WeightFormat::Nf4,
        WeightFormat::Nf4Double,
        WeightFormat::Fp4,
    ];
    let plain = plain.into_iter().map(WeightFormat::Gguf);
    let blocks = blocks.into_iter().map(WeightFormat::Gguf);
    plain.chain(own).chain(blocks).collect()
}

fn load(path: &Path, format: WeightFormat, context: usize) -> ropewalk_local::Result<Model> {
    let rule = LoadQuantize::new(format)
        .with_head(HeadRule::Same)
        .with_requantize(true);
    let options = LoadOptions::default().with_context(context);
    Model::open(path, &options.with_quantize(rule))
}

/// Whether coding a whole model takes minutes: the types with code books are searched.
fn is_slow(format: WeightFormat) -> bool {
    use TensorType as T;
    matches!(
        format,
        WeightFormat::Gguf(
            T::IQ1_S | T::IQ1_M | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ3_XXS | T::IQ3_S
        )
    )
}

/// Sequences of the shipped model.
fn sequences(vocab: usize) -> Vec<Vec<u32>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/tiny_greedy.json");
    let text = std::fs::read_to_string(data).expect("the prompts of the shipped model");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let ids = |v: &Value| -> Vec<u32> {
        let list = v.as_array().expect("ids");
        let id = |v: &Value| v.as_u64().expect("an id") as u32 % vocab as u32;
        list.iter().map(id).collect()
    };
    let cases = json["cases"].as_array().expect("cases");
    let join = |case: &Value| [ids(&case["prompt_ids"]), ids(&case["greedy_ids"])].concat();
    cases.iter().map(join).collect()
}

/// Logits after every token of every sequence.
fn logits(model: &Model, sequences: &[Vec<u32>]) -> Vec<f32> {
    let one = |ids: &Vec<u32>| {
        let mut cache = model.new_cache();
        model.forward_all(&mut cache, ids).expect("a pass")
    };
    sequences.iter().flat_map(one).collect()
}

/// What is lost against the logits of f32 weights.
struct Loss {
    max: f64,
    rmse: f64,
    kl: f64,
    top: f64,
}

fn loss(found: &[f32], want: &[f32], vocab: usize) -> Loss {
    let difference = |(a, b): (&f32, &f32)| f64::from(a - b).abs();
    let max = found.iter().zip(want).map(difference).fold(0.0, f64::max);
    let square: f64 = found.iter().zip(want).map(|x| difference(x).powi(2)).sum();
    let isa = Isa::best();
    let (mut kl, mut top, mut rows) = (0.0, 0, 0);
    for (p, q) in want.chunks_exact(vocab).zip(found.chunks_exact(vocab)) {
        let sum = |x: &[f32]| f64::from(ops::log_sum_exp(isa, x));
        let (p_sum, q_sum) = (sum(p), sum(q));
        let term = |(p, q): (&f32, &f32)| {
            let (p, q) = (f64::from(*p) - p_sum, f64::from(*q) - q_sum);
            p.exp() * (p - q)
        };
        kl += p.iter().zip(q).map(term).sum::<f64>();
        top += usize::from(ops::argmax(isa, p) == ops::argmax(isa, q));
        rows += 1;
    }
    Loss {
        max,
        rmse: (square / found.len() as f64).sqrt(),
        kl: kl / f64::from(rows),
        top: 100.0 * top as f64 / f64::from(rows),
    }
}

/// Tokens per second of a prompt and of decoding after it.
fn speed(model: &Model, o: &Options) -> (f64, f64) {
    let vocab = model.spec().vocab_size;
    let ids: Vec<u32> = (0..o.prefill + o.decode)
        .map(|i| (i * 7919 % vocab) as u32)
        .collect();
    let (prompt, rest) = ids.split_at(o.prefill);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..o.runs {
        let mut cache = model.new_cache();
        let start = Instant::now();
        model.forward(&mut cache, prompt).expect("a prompt");
        prefill.push(o.prefill as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for id in rest {
            model.forward(&mut cache, &[*id]).expect("a token");
        }
        decode.push(o.decode as f64 / start.elapsed().as_secs_f64());
    }
    (median(&mut prefill), median(&mut decode))
}

/// Memory and speed of a model in one format.
struct Measured {
    mb: f64,
    bits: f64,
    load: f64,
    prefill: f64,
    decode: f64,
}

fn measure(path: &Path, format: WeightFormat, o: &Options) -> Measured {
    let start = Instant::now();
    let model = load(path, format, o.prefill + o.decode).expect("a model");
    let load = start.elapsed().as_secs_f64();
    let spec = model.spec();
    let mut weights = model.memory().parameters as usize;
    if !spec.tied {
        weights -= spec.vocab_size * spec.hidden;
    }
    let bytes = model.weight_bytes() as f64;
    let (prefill, decode) = speed(&model, o);
    Measured {
        mb: bytes / 1e6,
        bits: 8.0 * bytes / weights as f64,
        load,
        prefill,
        decode,
    }
}

fn row(o: &Options, format: WeightFormat, measured: Option<Measured>, l: &Loss) {
    let [mb, bits, load, prefill, decode] = match measured {
        Some(m) => [
            format!("{:.1}", m.mb),
            format!("{:.2}", m.bits),
            format!("{:.2}", m.load),
            format!("{:.0}", m.prefill),
            format!("{:.1}", m.decode),
        ],
        None => [const { String::new() }; 5],
    };
    let lost = [
        format!("{:.3}", l.max),
        format!("{:.4}", l.rmse),
        format!("{:.2e}", l.kl),
        format!("{:.1}", l.top),
    ];
    let name = format.to_string();
    let cells = [name, mb, bits, load, prefill, decode]
        .into_iter()
        .chain(lost);
    let cells: Vec<String> = cells.collect();
    if o.csv {
        println!("{}", cells.join(","));
    } else {
        println!("| {} |", cells.join(" | "));
    }
}

fn main() {
    let o = options();
    let shape = if o.test { &TEST } else { &QUARTER_B };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/ropewalk-tiny.gguf");
    let fast = match &o.model {
        Some(path) => path.clone(),
        None => synthetic(shape, TensorType::BF16).expect("a synthetic model"),
    };
    let judged = o.model.clone().unwrap_or(shipped);
    let reference = load(&judged, WeightFormat::Gguf(TensorType::F32), 256).expect("a model");
    let vocab = reference.spec().vocab_size;
    let sequences = sequences(vocab);
    let want = logits(&reference, &sequences);
    let positions = want.len() / vocab;
    drop(reference);

    if o.csv {
        println!("format,mb,bits,load_s,prefill_tps,decode_tps,max,rmse,kl,top1");
    } else {
        println!(
            "Speed: {}; errors: {}, {positions} positions\n",
            fast.file_stem().unwrap_or_default().display(),
            judged.file_stem().unwrap_or_default().display(),
        );
        println!(
            "| format | MB | bits | load s | prefill t/s | decode t/s | max | RMSE | KL | top-1 % |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    }
    for format in formats(&o) {
        let model = match load(&judged, format, 256) {
            Ok(model) => model,
            Err(e) => {
                // Types that need importance, for one.
                eprintln!("{format}: {e}");
                continue;
            }
        };
        let lost = loss(&logits(&model, &sequences), &want, vocab);
        drop(model);
        // With `--only` one waits.
        let measured = (!is_slow(format) || !o.only.is_empty()).then(|| measure(&fast, format, &o));
        row(&o, format, measured, &lost);
    }
    codec(&o);
}

/// Times the NF4 codec on 16.8 million values.
fn codec(o: &Options) {
    let n = if o.test { 1 << 14 } else { 1 << 24 };
    let pool = Pool::with_all_cores();
    let isa = Isa::best();
    let values: Vec<f32> = (0..n)
        .map(|i| ((i * 7919 % 10_007) as f32 * 0.01).sin())
        .collect();
    let (mut packed, mut scales) = (vec![0; n / 2], vec![0.0; n / 64]);
    let mut out = vec![0.0; n];
    let (mut code, mut decode, mut copy) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if o.test { 1 } else { 9 } {
        let start = Instant::now();
        FourBit::Nf4
            .quantize(isa, Some(&pool), 64, &values, &mut packed, &mut scales)
            .expect("codes");
        code.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        FourBit::Nf4
            .dequantize(isa, Some(&pool), 64, &packed, &scales, &mut out)
            .expect("values");
        decode.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        out.copy_from_slice(std::hint::black_box(&values));
        copy.push(start.elapsed().as_secs_f64() * 1e3);
        std::hint::black_box(&mut out);
    }
    let (code, decode, copy) = (median(&mut code), median(&mut decode), median(&mut copy));
    if o.csv {
        println!("codec_nf4_{n},{code:.3},{decode:.3},{copy:.3}");
    } else {
        println!(
            "\nNF4 codec, {n} values: quantise {code:.2} ms, dequantise {decode:.2} ms (a copy on one \
             thread takes {copy:.2} ms), {isa}, {} threads",
            pool.threads()
        );
    }
}
