//! Constrained decoding on the shipped model: time per mask, forced tokens, tokens per second with and without a
//! grammar, and how many of a thousand seeded replies are whole, parse and were not cut.
//!
//! ```sh
//! cargo bench --bench constrained
//! cargo bench --bench constrained -- --runs 1000 --vocabulary FILE.gguf
//! ```
//!
//! | option | meaning |
//! | --- | --- |
//! | `--runs N` | seeds of all schemas together (1000) |
//! | `--vocabulary FILE` | times masks for the vocabulary of this GGUF file or directory too |
//!
//! A mask is computed before every token of a reply that is drawn from the mask alone, so its time does not depend on
//! a model; `greedy` is the check of the best token, which comes before a mask when the best token is taken.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_benches::median;
use ropewalk_gguf::Gguf;
use ropewalk_local::constrain::{Constrain, Grammar, TokenMask, Vocabulary};
use ropewalk_local::sample::SamplerOptions;
use ropewalk_local::{Finish, GenerateOptions, Generation, LoadOptions, LocalModel};
use ropewalk_tokens::Tokenizer;
use serde_json::{Value, json};

static TINY: &[u8] = include_bytes!("../examples/data/ropewalk-tiny.gguf");

type Error = Box<dyn std::error::Error>;

fn schemas() -> Vec<Value> {
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 16},
            "city": {"enum": ["Paris", "Zürich", "東京", "a\"b\\c"]},
            "age": {"type": "integer", "minimum": 0, "maximum": 130}
        },
        "required": ["name", "city", "age"]
    });
    let prices = json!({
        "type": "array", "minItems": 1, "maxItems": 4,
        "items": {"type": "object", "properties": {
            "price": {"type": "number", "minimum": 0, "maximum": 999.5},
            "class": {"anyOf": [{"const": "éco"}, {"type": "null"}]},
            "date": {"type": "string", "format": "date"}
        }, "required": ["price", "date"]}
    });
    let nested = json!({
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {
                "b": {"type": "array", "maxItems": 3, "items": {"type": "boolean"}},
                "c": {"type": "string", "pattern": "^[A-Z]{3}( [0-9]{2})?$"}
            }, "required": ["b"]}]},
            "note": {"type": ["string", "null"], "maxLength": 10}
        }
    });
    vec![person, prices, nested]
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` passes `--bench`; without it this is a test run.
    let test = !args.iter().any(|a| a == "--bench");
    let value = |name: &str| {
        let at = args.iter().position(|a| a == name)?;
        args.get(at + 1).cloned()
    };
    let runs = value("--runs").map_or(Ok(if test { 9 } else { 1000 }), |n| n.parse())?;
    let gguf = Arc::new(Gguf::from_static(TINY)?);
    let model = LocalModel::from_gguf(gguf, &LoadOptions::default())?;
    let schemas = schemas();

    masks("shipped", model.tokenizer(), &schemas)?;
    if let Some(path) = value("--vocabulary") {
        let path = Path::new(&path);
        let tokenizer = match path.is_dir() {
            true => Tokenizer::from_dir(path)?,
            false => ropewalk_local::gguf_tokenizer(&Gguf::open(path)?)?,
        };
        masks("given", &tokenizer, &schemas)?;
    }
    speed(&model, &schemas, if test { 1 } else { 9 })?;
    whole(&model, &schemas, runs)
}

/// Times the preparation of a vocabulary, compiling and the masks of replies drawn from them.
fn masks(name: &str, tokenizer: &Tokenizer, schemas: &[Value]) -> Result<(), Error> {
    let start = Instant::now();
    let vocabulary = Vocabulary::new(tokenizer)?;
    vocabulary.compile(&Grammar::choice(["a"])?)?;
    println!(
        "{name}: {} tokens, made ready in {:.1} ms",
        tokenizer.vocab_size(),
        ms(start.elapsed())
    );
    let (mut compile, mut begin, mut mask_us, mut check_us) = (vec![], vec![], vec![], vec![]);
    for schema in schemas {
        let start = Instant::now();
        let compiled = vocabulary.compile(&Grammar::json_schema(schema)?)?;
        compile.push(ms(start.elapsed()));
        for seed in 0..40u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let start = Instant::now();
            let mut reply = compiled.start()?;
            begin.push(1e3 * ms(start.elapsed()));
            let mut mask = TokenMask::new(tokenizer.vocab_size());
            for _ in 0..200 {
                for id in reply.forced()? {
                    reply.accept(id)?;
                }
                if reply.is_complete() {
                    break;
                }
                mask.clear();
                let start = Instant::now();
                reply.mask(&mut mask)?;
                mask_us.push(1e3 * ms(start.elapsed()));
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let nth = random as usize % mask.len();
                let ids = (0..tokenizer.vocab_size() as u32).filter(|&id| mask.allows(id));
                let Some(id) = ids.clone().nth(nth) else {
                    break;
                };
                let start = Instant::now();
                let allowed = reply.allows(id)?;
                check_us.push(1e3 * ms(start.elapsed()));
                assert!(allowed != Some(false), "the check and the mask differ");
                reply.accept(id)?;
            }
        }
    }
    let worst = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    println!(
        "  compile {:.1} ms, begin a reply {:.0} us, mask {:.1} us (mean {:.1}, largest {:.0}; {} masks), greedy {:.1} us",
        median(&mut compile),
        median(&mut begin),
        median(&mut mask_us.clone()),
        mask_us.iter().sum::<f64>() / mask_us.len() as f64,
        worst(&mask_us),
        mask_us.len(),
        median(&mut check_us),
    );
    Ok(())
}

/// Times replies with a grammar, with it but no forced tokens, and without.
fn speed(model: &LocalModel, schemas: &[Value], rounds: usize) -> Result<(), Error> {
    let vocabulary = Vocabulary::with_end_ids(model.tokenizer(), model.model().stop_ids())?;
    let prompt = prompt(model)?;
    let mut rates = [vec![], vec![], vec![]];
    let (mut forced, mut tokens, mut steps) = (0, 0, 0);
    for schema in schemas {
        let grammar = Grammar::json_schema(schema)?;
        let fast = vocabulary.compile(&grammar)?;
        let slow = vocabulary.compile(&grammar.with_forced_tokens(false))?;
        for round in 0..rounds {
            let sampler = SamplerOptions::greedy()
                .with_temperature(1.0)
                .with_seed(round as u64);
            let greedy = GenerateOptions::greedy(64).with_sampler(sampler);
            let all = [
                greedy.clone().with_constraint(fast.clone()),
                greedy.clone().with_constraint(slow.clone()),
                greedy.with_stop_ids([]),
            ];
            for (i, (rates, options)) in rates.iter_mut().zip(&all).enumerate() {
                let mut cache = model.model().new_cache();
                let mut run = Generation::new(model.model(), &mut cache, &prompt, options)?;
                let start = Instant::now();
                let n = run.by_ref().filter_map(Result::ok).count();
                rates.push(n as f64 / start.elapsed().as_secs_f64());
                let timings = run.timings();
                if i == 0 {
                    forced += timings.forced_tokens;
                    tokens += n;
                    steps += timings.decode_steps;
                }
            }
        }
    }
    let [with, unforced, without] = rates.each_mut().map(|rates| median(rates));
    println!(
        "forced {:.1} % of {tokens} tokens, {:.2} tokens per pass",
        100.0 * forced as f64 / tokens as f64,
        tokens as f64 / steps as f64
    );
    println!(
        "{with:.0} tokens/s with a grammar, {unforced:.0} without forced tokens, {without:.0} without a grammar: {:.2}x",
        with / without
    );
    Ok(())
}

/// Counts the replies that end by the grammar and parse.
fn whole(model: &LocalModel, schemas: &[Value], runs: usize) -> Result<(), Error> {
    let vocabulary = Vocabulary::with_end_ids(model.tokenizer(), model.model().stop_ids())?;
    let prompt = prompt(model)?;
    let compiled = schemas
        .iter()
        .map(|s| vocabulary.compile(&Grammar::json_schema(s)?));
    let compiled = compiled.collect::<Result<Vec<_>, _>>()?;
    let mut good = 0;
    for seed in 0..runs {
        let sampler = SamplerOptions::greedy()
            .with_temperature(1.0)
            .with_seed(seed as u64);
        let options = GenerateOptions::greedy(400)
            .with_sampler(sampler)
            .with_constraint(compiled[seed % compiled.len()].clone());
        let mut cache = model.model().new_cache();
        let mut run = Generation::new(model.model(), &mut cache, &prompt, &options)?;
        let ids: Vec<u32> = run
            .by_ref()
            .map(|t| Ok::<_, Error>(t?.id))
            .collect::<Result<_, _>>()?;
        let ended = matches!(run.finish(), Some(Finish::Complete | Finish::Stop(_)));
        let text = model.tokenizer().decode(&ids, true)?;
        good += usize::from(ended && serde_json::from_str::<Value>(&text).is_ok());
    }
    println!("{good} of {runs} seeded replies at temperature 1 end by the grammar and parse");
    Ok(())
}

fn prompt(model: &LocalModel) -> Result<Vec<u32>, Error> {
    let request = ropewalk_core::ChatRequest::new().user("How much is a ticket to Paris?");
    Ok(model.tokenizer().encode(&model.render(&request)?, false)?)
}

fn ms(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}
