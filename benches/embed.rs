//! Encoders: texts in, vectors out, tokenisation included, beside what the cores could compute.
//!
//! ```sh
//! cargo bench --bench embed
//! cargo bench --bench embed -- --model all-MiniLM-L6-v2 --threads 1 --precision int8
//! ```
//!
//! Without `--model` it makes a model of the shape of all-MiniLM-L6-v2 with made-up weights and
//! words. Prints one row per precision, and CSV with `--csv`. Times are medians of the runs.
//!
//! | option | meaning |
//! | --- | --- |
//! | `--precision f32`, `int8` | one of the two (both) |
//! | `--texts FILE`, `--set NAME` | a JSON object of lists of texts, and which one (made-up ones of about 100 tokens) |
//! | `--threads N`, `--runs N` | threads (all cores), rounds (5) |
//! | `--save FILE` | write the vectors of the last run, f32 in little-endian order |
//!
//! GFLOP/s counts the matrices and attention of the network. Its share is of the multiply-adds that
//! the same threads do in registers, in f32 or with int8 dot products, measured in the same run.

mod peak;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ropewalk_benches::median;
use ropewalk_core::EmbedKind;
use ropewalk_kernels::{Isa, Pool};
use ropewalk_local::{EmbedderOptions, EncoderOptions, LocalEmbedder};
use ropewalk_spec::EncoderSpec;
use serde_json::{Value, json};

struct Options {
    model: Option<PathBuf>,
    texts: Option<PathBuf>,
    set: Option<String>,
    precision: Option<String>,
    threads: Option<NonZeroUsize>,
    runs: usize,
    csv: bool,
    save: Option<PathBuf>,
    test: bool,
}

fn options() -> Options {
    // `cargo bench` passes `--bench`; without it this is a test run.
    let mut o = Options {
        model: None,
        texts: None,
        set: None,
        precision: None,
        threads: None,
        runs: 5,
        csv: false,
        save: None,
        test: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().expect("a value");
        match arg.as_str() {
            "--bench" => o.test = false,
            "--csv" => o.csv = true,
            "--model" => o.model = Some(value().into()),
            "--texts" => o.texts = Some(value().into()),
            "--set" => o.set = Some(value()),
            "--precision" => o.precision = Some(value()),
            "--save" => o.save = Some(value().into()),
            "--threads" => o.threads = value().parse().ok(),
            "--runs" => o.runs = value().parse().expect("a number"),
            _ => {}
        }
    }
    o
}

/// A small model for test runs, and the shape of all-MiniLM-L6-v2.
const SHAPES: [(&str, usize, usize, usize, usize); 2] =
    [("test", 64, 2, 4, 128), ("minilm", 384, 6, 12, 1536)];
/// Words of a made-up vocabulary.
const WORDS: usize = 4000;

/// Reproducible numbers below `n` (xorshift).
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % n
    }
}

/// Writes a model folder to the temporary directory, unless it is there, and returns its path.
fn synthetic(test: bool) -> io::Result<PathBuf> {
    let (name, hidden, layers, heads, ffn) = SHAPES[usize::from(!test)];
    let dir = std::env::temp_dir().join(format!("ropewalk-bench-encoder-{name}"));
    if dir.join("tokenizer.json").is_file() {
        return Ok(dir);
    }
    std::fs::create_dir_all(&dir)?;
    let config = json!({
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu",
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": ffn, "max_position_embeddings": 512, "type_vocab_size": 2,
        "vocab_size": WORDS + 3, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "position_embedding_type": "absolute",
    });
    std::fs::write(dir.join("config.json"), config.to_string())?;
    let mut tensors = vec![
        (
            "embeddings.word_embeddings.weight".to_owned(),
            vec![WORDS + 3, hidden],
        ),
        (
            "embeddings.position_embeddings.weight".to_owned(),
            vec![512, hidden],
        ),
        (
            "embeddings.token_type_embeddings.weight".to_owned(),
            vec![2, hidden],
        ),
        ("embeddings.LayerNorm.weight".to_owned(), vec![hidden]),
        ("embeddings.LayerNorm.bias".to_owned(), vec![hidden]),
    ];
    for layer in 0..layers {
        for (part, n, k) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("attention.output.LayerNorm", hidden, 0),
            ("intermediate.dense", ffn, hidden),
            ("output.dense", hidden, ffn),
            ("output.LayerNorm", hidden, 0),
        ] {
            let shape = if k == 0 { vec![n] } else { vec![n, k] };
            tensors.push((format!("encoder.layer.{layer}.{part}.weight"), shape));
            tensors.push((format!("encoder.layer.{layer}.{part}.bias"), vec![n]));
        }
    }
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, shape) in &tensors {
        let end = at + 4 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
        header.insert(name.clone(), entry);
        at = end;
    }
    let header = Value::Object(header).to_string();
    let mut file = io::BufWriter::new(std::fs::File::create(dir.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut next = numbers(88_172_645_463_325_252);
    for (name, shape) in &tensors {
        let norm = name.ends_with("LayerNorm.weight");
        for _ in 0..shape.iter().product::<usize>() {
            let noise = next(1 << 16) as f32 / (1 << 16) as f32 - 0.5;
            let value = if norm {
                1.0 + 0.2 * noise
            } else {
                0.15 * noise
            };
            file.write_all(&value.to_le_bytes())?;
        }
    }
    file.flush()?;
    let specials = ["[UNK]", "[CLS]", "[SEP]"];
    let mut vocabulary: serde_json::Map<String, Value> = (0..WORDS)
        .map(|i| (format!("w{i}"), json!(i + specials.len())))
        .collect();
    for (id, name) in specials.iter().enumerate() {
        vocabulary.insert((*name).to_owned(), json!(id));
    }
    let added: Vec<Value> = (specials.iter().enumerate())
        .map(|(id, name)| {
            json!({
                "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let special = |name: &str, id: usize| json!({"id": name, "ids": [id], "tokens": [name]});
    let piece = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]")],
            "pair": [piece("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, piece("[SEP]"),
                {"Sequence": {"id": "B", "type_id": 1}}, piece("[SEP]")],
            "special_tokens": {"[CLS]": special("[CLS]", 1), "[SEP]": special("[SEP]", 2)}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string())?;
    Ok(dir)
}

/// Texts of 60 to 140 made-up words.
fn made_up(count: usize) -> Vec<String> {
    let mut next = numbers(42);
    (0..count)
        .map(|_| {
            let words: Vec<String> = (0..60 + next(80))
                .map(|_| format!("w{}", next(WORDS)))
                .collect();
            words.join(" ")
        })
        .collect()
}

fn texts(o: &Options) -> Vec<String> {
    let Some(path) = &o.texts else {
        return made_up(if o.test { 12 } else { 512 });
    };
    let sets: Value =
        serde_json::from_slice(&std::fs::read(path).expect("the texts")).expect("JSON");
    let sets = sets.as_object().expect("an object of lists");
    let list = match &o.set {
        Some(name) => &sets[name],
        None => sets.values().next().expect("a list"),
    };
    let texts = list.as_array().expect("a list of texts").iter();
    texts
        .map(|t| t.as_str().expect("a text").to_owned())
        .collect()
}

/// Operations of the network on texts of these many tokens: two for each weight and token, four for
/// each feature and pair of tokens in attention.
fn operations(spec: &EncoderSpec, lens: &[usize]) -> f64 {
    let parts = if spec.gated { 3 } else { 2 };
    let weights = 4 * spec.hidden * spec.hidden + parts * spec.hidden * spec.ffn;
    let of = |&n: &usize| (2 * n * weights + 4 * n * n * spec.hidden) * spec.layers;
    lens.iter().map(of).sum::<usize>() as f64
}

fn main() {
    let mut o = options();
    let made = o.model.is_none();
    let model = o.model.clone();
    let model = model.unwrap_or_else(|| synthetic(o.test).expect("a made-up model"));
    if o.test {
        o.runs = 1;
    }
    let texts = texts(&o);
    let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = o.threads.unwrap_or_else(all);
    let peaks = peak::peak(&Pool::new(threads), Isa::best());
    if o.csv {
        println!("precision,threads,texts,tokens,seconds,texts_ps,tokens_ps,gflops,peak_gflops");
    } else {
        println!(
            "{} texts, {threads} threads, {}; peak {:.0} GFLOP/s in f32, {:.0} GOP/s in int8",
            texts.len(),
            if made {
                "a made-up model"
            } else {
                "the given model"
            },
            peaks.0 / 1e9,
            peaks.1 / 1e9
        );
        println!("| precision | texts/s | tokens/s | GFLOP/s | share of peak |");
        println!("| --- | --- | --- | --- | --- |");
    }
    for (precision, peak) in [("f32", peaks.0), ("int8", peaks.1)] {
        if o.precision.as_ref().is_none_or(|p| p == precision) {
            row(&model, precision, peak, threads, &texts, &o);
        }
    }
}

fn row(
    path: &Path,
    precision: &str,
    peak: f64,
    threads: NonZeroUsize,
    texts: &[String],
    o: &Options,
) {
    let encoder = EncoderOptions::default().with_threads(threads);
    let encoder = if precision == "int8" {
        encoder.with_int8()
    } else {
        encoder
    };
    let options = EmbedderOptions::default()
        .with_encoder(encoder)
        .with_normalize(true);
    let model = LocalEmbedder::open_with(path, &options).expect("a model");
    let embed = |texts: &[String]| {
        model
            .embed_texts(texts, EmbedKind::Document)
            .expect("vectors")
    };
    embed(&texts[..texts.len().min(64)]);
    let mut last = None;
    let mut seconds: Vec<f64> = (0..o.runs.max(1))
        .map(|_| {
            let start = Instant::now();
            last = Some(embed(texts));
            start.elapsed().as_secs_f64()
        })
        .collect();
    let (seconds, out) = (median(&mut seconds), last.expect("a run"));
    let spec = model.encoder().expect("an encoder").spec();
    // Attention goes by the mean length, which is a lower bound.
    let mean = out.tokens / texts.len();
    let rate = operations(spec, &vec![mean; texts.len()]) / seconds;
    let (texts_ps, tokens_ps) = (texts.len() as f64 / seconds, out.tokens as f64 / seconds);
    if o.csv {
        println!(
            "{precision},{threads},{},{},{seconds:.6},{texts_ps:.1},{tokens_ps:.1},{:.1},{:.1}",
            texts.len(),
            out.tokens,
            rate / 1e9,
            peak / 1e9
        );
    } else {
        println!(
            "| {precision} | {texts_ps:.0} | {tokens_ps:.0} | {:.0} | {:.0} % |",
            rate / 1e9,
            100.0 * rate / peak
        );
    }
    if let Some(file) = &o.save {
        let bytes: Vec<u8> = (out.vectors.iter().flatten())
            .flat_map(|x| x.to_le_bytes())
            .collect();
        std::fs::write(file, bytes).expect("a file for the vectors");
    }
}
