//! Makes the model in `examples/data`: generates conversations of a small world, trains a tokenizer and a model of the
//! Llama architecture on them, evaluates it on phrasings and names it has not seen, and exports it.
//!
//! ```text
//! cargo run --release --example train_tiny --features train            # about an hour on two cores
//! cargo run --release --example train_tiny --features train -- --quick # two minutes
//! ```
//!
//! `--out DIR` (default `target/train_tiny`), `--resume` continues from the last checkpoint, `--eval` only evaluates it,
//! `--steps N`, `--tokens N` per update, `--lr X`, `--threads N`, `--sample N` prints conversations and stops.

mod cities;
mod encode;
mod eval;
mod phrases;
mod topics;
mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ropewalk::tokens::Tokenizer;
use ropewalk::train::{Compute, Lm, LmConfig, TrainConfig, Trainer};

struct Args {
    out: PathBuf,
    steps: u64,
    tokens: usize,
    lr: f64,
    threads: usize,
    every: u64,
    drills: u64,
    cases: usize,
    resume: bool,
    eval: bool,
    sample: u64,
}

fn args() -> Result<Args> {
    let mut a = Args { out: "target/train_tiny".into(), steps: 3000, tokens: 4096, lr: 2e-3, threads: 0, every: 200, drills: 300, cases: 400, resume: false, eval: false, sample: 0 };
    let mut it = std::env::args().skip(1);
    while let Some(flag) = it.next() {
        let mut value = || it.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--out" => a.out = value()?.into(),
            "--steps" => a.steps = value()?.parse()?,
            "--tokens" => a.tokens = value()?.parse()?,
            "--lr" => a.lr = value()?.parse()?,
            "--threads" => a.threads = value()?.parse()?,
            "--drills" => a.drills = value()?.parse()?,
            "--every" => a.every = value()?.parse()?,
            "--cases" => a.cases = value()?.parse()?,
            "--sample" => a.sample = value()?.parse()?,
            "--resume" => a.resume = true,
            "--eval" => a.eval = true,
            "--quick" => (a.steps, a.tokens, a.cases) = (120, 2048, 100),
            _ => bail!("unknown option {flag}; the head of examples/train_tiny/main.rs lists them"),
        }
    }
    Ok(a)
}

const SEED: u64 = 20_240_607;

fn main() -> Result<()> {
    let a = args()?;
    let overlap = world::overlap();
    ensure!(overlap.is_empty(), "the evaluation shares these with training: {overlap:?}");
    std::fs::create_dir_all(&a.out).with_context(|| a.out.display().to_string())?;
    let began = Instant::now();
    let vocab = encode::train_tokenizer(SEED)?;
    let tok = Tokenizer::from_bytes(vocab.json.as_bytes())?;
    println!("tokenizer: {} pieces, {:.1} s", vocab.tokens.len(), began.elapsed().as_secs_f64());
    if a.sample > 0 {
        return sample(&tok, a.sample);
    }
    let data = encode::World { tok: tok.clone(), seed: SEED, tokens: a.tokens, drill_steps: a.drills, longest: 512 };
    let compute = Compute::new(a.threads);
    let checkpoint = a.out.join("checkpoint");
    if a.eval {
        let lm = Lm::from_checkpoint(&checkpoint, compute)?;
        return evaluate(&lm, &tok, &a);
    }
    let config = LmConfig::tiny(vocab.tokens.len());
    let lm = Lm::new(config, SEED, compute)?;
    println!("model: {:.2} million parameters, {} threads", config.parameters() as f64 / 1e6, lm.compute().threads());
    let settings = TrainConfig::new(SEED, a.lr, (a.steps / 20).clamp(10, 200), a.steps);
    let mut trainer = if a.resume {
        Trainer::resume(&checkpoint, lm, settings, &data)?
    } else {
        Trainer::new(lm, settings, &data)
    };
    trainer.log_to(&a.out.join("metrics.jsonl"))?;
    let held: Vec<_> = (0..96).map(|i| encode::doc(&tok, &world::conversation(SEED + 1, i, 0.04))).collect::<Result<_>>()?;
    let (mut loss, mut tokens, mut clock) = (0.0, 0, Instant::now());
    while !trainer.finished() {
        let r = trainer.advance(&data)?;
        loss = if loss == 0.0 { r.loss } else { 0.9 * loss + 0.1 * r.loss };
        tokens += r.tokens;
        if r.step % 10 == 0 || trainer.finished() {
            let rate = tokens as f64 / clock.elapsed().as_secs_f64();
            let left = (r.total - r.step) as f64 * r.tokens as f64 / rate / 60.0;
            println!("step {:5}/{}  loss {loss:.4}  norm {:.2}  lr {:.1e}  {rate:.0} tok/s  {left:.1} min left", r.step, r.total, r.grad_norm, r.lr);
            (tokens, clock) = (0, Instant::now());
        }
        if r.step % a.every == 0 || trainer.finished() {
            trainer.save(&checkpoint)?;
            let calls = eval::unseen_calls(&eval::Own { lm: trainer.model(), tok: &tok }, &tok, SEED + 3, 48)?;
            println!("step {:5}  held-out loss {:.4}  tool calls, phrasing and city unseen: {calls} of 48", r.step, trainer.model().evaluate(&held)?);
            clock = Instant::now();
        }
    }
    println!("trained in {:.1} min", began.elapsed().as_secs_f64() / 60.0);
    evaluate(trainer.model(), &tok, &a)
}

fn evaluate(lm: &Lm, tok: &Tokenizer, a: &Args) -> Result<()> {
    let scores = eval::run(&eval::Own { lm, tok }, tok, SEED + 2, a.cases)?;
    for s in &scores {
        println!("{:45} {:5.1} %  ({} of {})", s.name, 100.0 * s.right as f64 / s.of as f64, s.right, s.of);
        for [q, r] in s.wrong.iter().take(3) {
            println!("      {q}  ->  {r}");
        }
    }
    write(&a.out.join("eval.json"), &serde_json::to_string_pretty(&scores)?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn sample(tok: &Tokenizer, n: u64) -> Result<()> {
    let mut lengths = Vec::new();
    for i in 0..1000 {
        let c = world::conversation(SEED, i, 0.04);
        let d = encode::doc(tok, &c)?;
        ensure!(d.ids == tok.encode(&encode::text(&c, false), false)?, "the parts of a conversation tokenize differently from the whole");
        if i < n {
            println!("{}\n--- {} tokens", encode::text(&c, false), d.ids.len());
        }
        lengths.push(d.ids.len());
    }
    lengths.sort_unstable();
    println!("tokens per conversation: median {}, 90 % {}, longest {}", lengths[500], lengths[900], lengths[999]);
    for name in ["London", "Reykjavik", "Samarkand", "San Francisco", "Kuala Lumpur"] {
        let show = |s: &str| -> Result<Vec<String>> { Ok(tok.encode(s, false)?.iter().filter_map(|&i| tok.piece(i)).map(|p| p.into_owned()).collect()) };
        println!("{:?} {:?}", show(&format!("to {name}?"))?, show(&format!("\": \"{name}\"}}"))?);
    }
    Ok(())
}
