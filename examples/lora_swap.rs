//! One base model, several LoRA adapters: another one per request, and all of them in one batch.
//!
//! ```sh
//! cargo run --release --example lora_swap
//! cargo run --release --example lora_swap -- --prompt "Who are you?"
//! cargo run --release --example lora_swap -- --model BASE --adapter PEFT_DIR --adapter LORA.GGUF
//! ```
//!
//! Without arguments it runs the small model that ships with the repository and two adapters (files of 160 KB,
//! 376 KB in memory) that `data/make_lora.py` trained with PEFT: a pirate and a butler. First the same question goes to
//! the base and to each adapter, one request after another over the same weights. Then all of them, and a mixture, take
//! each token of their replies in one forward pass; every reply is the one of before. Needs no key and no download.
//!
//! Smoke: --prompt "Can I bring my dog?"

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use ropewalk::core::ChatRequest;
use ropewalk::local::{ActiveAdapter, Adapter, LoadOptions, LocalModel, Step};
use ropewalk_examples::{Args, load_chat, out};

const USAGE: &str = "\
usage: lora_swap [options]
  --model FILE      a GGUF file or a Hugging Face directory
  --adapter PATH    a PEFT directory or a GGUF adapter; give it once per adapter
  --prompt TEXT     the question
  --max-tokens N    tokens of one reply (48)
  --threads N       threads that compute";

/// The adapters in `data/`.
const SHIPPED: [&str; 2] = ["lora-pirate", "lora-butler"];

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let mut options = LoadOptions::default();
    options.threads = args.optional("--threads")?;
    let model_path = args.path("--model");
    let model = load_chat(model_path.as_deref(), options, true)?;
    let mut paths: Vec<PathBuf> = args.all("--adapter").map(PathBuf::from).collect();
    if paths.is_empty() {
        ensure!(
            model_path.is_none(),
            "give the adapters of this model with --adapter"
        );
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        paths = SHIPPED.iter().map(|name| data.join(name)).collect();
    }
    let mut adapters = Vec::new();
    for path in &paths {
        let adapter = Adapter::open(model.model(), path)?;
        out!(
            "{}: rank {}, {} parameters, {} KB beside {} KB of the base\n",
            adapter.name(),
            adapter.rank(),
            adapter.parameters(),
            adapter.bytes() / 1000,
            model.model().weight_bytes() / 1000,
        )?;
        adapters.push(adapter);
    }

    // Who answers: the base, each adapter, and all of them at equal parts.
    let mut voices: Vec<(String, Vec<ActiveAdapter>)> = vec![("base".to_owned(), Vec::new())];
    for adapter in &adapters {
        voices.push((adapter.name().to_owned(), vec![adapter.clone().into()]));
    }
    if adapters.len() > 1 {
        let part = 1.0 / adapters.len() as f32;
        let list = adapters
            .iter()
            .map(|a| ActiveAdapter::new(a.clone()).with_scale(part));
        voices.push(("all in equal parts".to_owned(), list.collect()));
    }

    let question = args.text("--prompt").unwrap_or("What is ropewalk?");
    let limit: usize = args.get("--max-tokens", 48)?;
    let request = ChatRequest::new()
        .user(question)
        .max_tokens(u32::try_from(limit)?);
    out!("\n> {question}\n\none request after another:\n")?;
    let mut replies = Vec::new();
    for (name, list) in &voices {
        let voice = model.clone().with_adapters(list.clone());
        let reply = voice.respond(&request, &mut |_| ControlFlow::Continue(()))?;
        out!("  {name}: {}\n", reply.response.text())?;
        replies.push(reply.response.text());
    }

    out!("\nall in one batch:\n")?;
    let together = batch(&model, &model.render(&request)?, &voices, limit)?;
    for (i, (name, _)) in voices.iter().enumerate() {
        let same = together[i].trim() == replies[i].trim();
        let note = if same { "the same" } else { "another reply" };
        out!("  {name}: {} ({note})\n", together[i].trim())?;
    }
    Ok(())
}

/// Answers a prompt once per voice; each forward pass takes one token of every reply.
fn batch(
    model: &LocalModel,
    prompt: &str,
    voices: &[(String, Vec<ActiveAdapter>)],
    limit: usize,
) -> Result<Vec<String>> {
    let (engine, tokenizer) = (model.model(), model.tokenizer());
    let ids = tokenizer.encode(prompt, false)?;
    let mut caches: Vec<_> = voices.iter().map(|_| engine.new_cache()).collect();
    let mut next: Vec<Vec<u32>> = voices.iter().map(|_| ids.clone()).collect();
    let mut replies: Vec<Vec<u32>> = vec![Vec::new(); voices.len()];
    while next.iter().any(|ids| !ids.is_empty()) {
        let waiting: Vec<usize> = (0..voices.len()).filter(|&i| !next[i].is_empty()).collect();
        let mut steps: Vec<Step<'_>> = caches
            .iter_mut()
            .zip(&next)
            .zip(voices)
            .filter(|((_, ids), _)| !ids.is_empty())
            .map(|((cache, ids), (_, list))| Step::new(cache, ids).with_adapters(list))
            .collect();
        let logits = engine.forward_batch(&mut steps)?;
        for (i, row) in waiting.into_iter().zip(logits) {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            let id = u32::try_from(best.unwrap_or_default())?;
            next[i].clear();
            if !engine.stop_ids().contains(&id) {
                replies[i].push(id);
                if replies[i].len() < limit {
                    next[i].push(id);
                }
            }
        }
    }
    let texts = replies.iter().map(|ids| tokenizer.decode(ids, true));
    Ok(texts.collect::<Result<_, _>>()?)
}
