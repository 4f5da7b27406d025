//! Token ids in, token ids or logits out: the engine without tokenizer or runtime.
//!
//! ```sh
//! cargo run --release --example generate -- --ids 1,2,3 --greedy --max-tokens 8
//! cargo run --release --example generate -- --model DIR --ids 1,2,3 --logits logits.bin
//! ```
//!
//! Without `--model` it runs the model that ships with the repository. Prints the ids on one line;
//! with `--logits FILE` writes the logits after each prompt token instead, `[ids, vocab]`, as
//! little-endian f32.
//!
//! Smoke: --ids 1,2,3 --greedy --max-tokens 8

use std::io::Write;

use anyhow::{Context, Result, bail};
use ropewalk::local::{
    CacheType, GenerateOptions, LoadOptions, generate_n, sample::SamplerOptions,
};
use ropewalk_examples::{Args, load, out};

const USAGE: &str = "\
usage: generate --ids IDS [options]
  --model FILE      a GGUF file or a Hugging Face directory
  --ids IDS         the prompt, ids separated by commas
  --greedy          always take the best token (the default)
  --temp T          sample at this temperature
  --seed N          seed of the draws
  --n N             number of sequences
  --max-tokens N    tokens to generate (16)
  --ignore-eos      go on after an end-of-text token
  --logits FILE     write the logits of the prompt instead
  --f32-cache       keep keys and values in 32 bits
  --threads N       threads that compute";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let ids = args
        .text("--ids")
        .context("give the prompt with --ids 1,2,3")?;
    let ids = ids
        .split(',')
        .map(|s| {
            s.trim()
                .parse()
                .with_context(|| format!("`{s}` is not a token id"))
        })
        .collect::<Result<Vec<u32>>>()?;

    let mut options = LoadOptions::default();
    options.threads = args.optional("--threads")?;
    if args.has("--f32-cache") {
        options.cache = CacheType::F32;
    }
    let model = load(args.path("--model").as_deref(), &options)?;

    if let Some(path) = args.path("--logits") {
        let logits = model.forward_all(&mut model.new_cache(), &ids)?;
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        out!(
            "wrote {} x {} logits to {}\n",
            ids.len(),
            model.spec().vocab_size,
            path.display()
        )?;
        return Ok(());
    }
    if args.has("--greedy") && args.text("--temp").is_some() {
        bail!("--greedy and --temp exclude each other");
    }
    let sampler = SamplerOptions::default()
        .with_temperature(args.get("--temp", 0.0)?)
        .with_seed(args.get("--seed", 0)?);
    let mut options = GenerateOptions::greedy(args.get("--max-tokens", 16)?).with_sampler(sampler);
    if args.has("--ignore-eos") {
        options = options.with_stop_ids([]);
    }
    let mut out = std::io::stdout().lock();
    for sequence in generate_n(&model, &ids, &options, args.get("--n", 1)?)? {
        let ids: Vec<String> = sequence.ids().iter().map(u32::to_string).collect();
        writeln!(out, "{}", ids.join(","))?;
    }
    Ok(())
}
