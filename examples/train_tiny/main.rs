//! Makes the model in `examples/data`: generates conversations of a small world, trains a tokenizer and a model of the
//! Llama architecture on them, evaluates it on phrasings and names it has not seen, and exports it.
//!
//! ```text
//! cargo run --release --example train_tiny --features train            # about an hour on two cores
//! cargo run --release --example train_tiny --features train -- --quick # a minute
//! ```
//!
//! `--help` lists the options.
//!
//! Smoke: --steps 2 --second 1 --third 1 --stage 1 --tokens 512 --cases 1 --out target/smoke/train_tiny

mod cities;
mod encode;
mod eval;
mod more;
mod phrases;
mod report;
mod topics;
mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ropewalk::gguf::{Gguf, TensorType};
use ropewalk::local::{LoadOptions, Model, gguf_tokenizer};
use ropewalk::tokens::Tokenizer;
use ropewalk::train::{Compute, ExportVocab, Lm, LmConfig, TrainConfig, Trainer};

struct Args {
    out: PathBuf,
    /// Updates of each part of the run.
    steps: [u64; PARTS],
    tokens: usize,
    lr: f64,
    threads: usize,
    every: u64,
    stage: u64,
    cases: usize,
    resume: bool,
    eval: bool,
    gguf: Option<PathBuf>,
    export: bool,
    report: bool,
    sample: u64,
}

const USAGE: &str = "\
usage: train_tiny [options]
  --quick           120 updates, to see the loss fall
  --out DIR         where everything is written (default target/train_tiny)
  --resume          goes on after an interruption
  --eval            only evaluates the last checkpoint
  --export          only writes the files of the last checkpoint
  --report          only writes the curve and the conversations of the last checkpoint
  --gguf FILE       evaluates a file in the local engine and stops
  --sample N        prints N conversations and stops
  --steps N         updates of the first part of the run
  --second N        updates of the second part
  --third N         updates of the third part
  --tokens N        tokens of an update
  --stage N         updates of one stage of the data
  --lr X            highest learning rate
  --threads N       threads (default all)
  --every N         updates between checkpoints
  --cases N         cases of each line of the evaluation";

fn args() -> Result<Args> {
    let a = ropewalk_examples::Args::parse(USAGE)?;
    let (steps, stage, cases) = match a.has("--quick") {
        true => ([120, 0, 0], 30, 48),
        false => ([7000, 4000, 1500], 500, 400),
    };
    Ok(Args {
        out: a.path("--out").unwrap_or("target/train_tiny".into()),
        steps: [
            a.get("--steps", steps[0])?,
            a.get("--second", steps[1])?,
            a.get("--third", steps[2])?,
        ],
        tokens: a.get("--tokens", 2048)?,
        lr: a.get("--lr", 3e-3)?,
        threads: a.get("--threads", 0)?,
        every: a.get("--every", 100)?,
        stage: a.get("--stage", stage)?,
        cases: a.get("--cases", cases)?,
        resume: a.has("--resume"),
        eval: a.has("--eval"),
        gguf: a.path("--gguf"),
        export: a.has("--export"),
        report: a.has("--report"),
        sample: a.get("--sample", 0)?,
    })
}

const SEED: u64 = 20_240_607;

/// Starts this program again with candle's own threads off: they wait by spinning, which costs a quarter of the speed
/// on a busy machine. Nothing else reads the variable.
fn with_quiet_candle() -> Result<Option<i32>> {
    const NAME: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(NAME).is_some() {
        return Ok(None);
    }
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(NAME, "1");
    #[cfg(unix)]
    return Err(std::os::unix::process::CommandExt::exec(&mut again).into());
    #[cfg(not(unix))]
    Ok(Some(again.status()?.code().unwrap_or(1)))
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(run)
}

fn run() -> Result<()> {
    let a = args()?;
    if let Some(code) = with_quiet_candle()? {
        std::process::exit(code);
    }
    let overlap = world::overlap();
    ensure!(
        overlap.is_empty(),
        "the evaluation shares these with training: {overlap:?}"
    );
    std::fs::create_dir_all(&a.out).with_context(|| a.out.display().to_string())?;
    if let Some(path) = &a.gguf {
        let model = &Model::open(path, &LoadOptions::default())?;
        let tok = &gguf_tokenizer(&Gguf::open(path)?)?;
        return evaluate(&eval::Local { model, tok }, tok, &a);
    }
    let began = Instant::now();
    let vocab = encode::train_tokenizer(SEED)?;
    let tok = Tokenizer::from_bytes(vocab.json.as_bytes())?;
    println!(
        "tokenizer: {} pieces, {:.1} s",
        vocab.table.tokens.len(),
        began.elapsed().as_secs_f64()
    );
    if a.sample > 0 {
        return sample(&tok, a.sample);
    }
    let compute = Compute::new(a.threads);
    let all = !(a.eval || a.export || a.report);
    if all {
        let config = LmConfig::tiny(vocab.table.tokens.len());
        println!(
            "model: {:.2} million parameters, {} threads",
            config.parameters() as f64 / 1e6,
            compute.threads()
        );
        let parts: Vec<usize> = (0..PARTS).filter(|&p| p == 0 || a.steps[p] > 0).collect();
        // A later --resume must not find parts of an earlier run.
        for dir in (0..PARTS)
            .map(|p| a.checkpoint(p))
            .filter(|d| !a.resume && d.exists())
        {
            std::fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        // A resumed run goes on in the last part that it had begun.
        let begun = |&p: &usize| a.resume && Trainer::has_checkpoint(&a.checkpoint(p));
        let from = parts.iter().rposition(begun).unwrap_or(0);
        for &p in &parts[from..] {
            let lm = match p {
                0 => Lm::new(config, SEED, compute.clone())?,
                _ => Lm::from_checkpoint(&a.checkpoint(p - 1), compute.clone())?,
            };
            train(&a, &tok, lm, p)?;
        }
        println!("trained in {:.1} min", began.elapsed().as_secs_f64() / 60.0);
    }
    let done = |&p: &usize| a.steps[p] > 0 && Trainer::has_checkpoint(&a.checkpoint(p));
    let last = a.checkpoint((0..PARTS).rfind(done).unwrap_or(0));
    let lm = Lm::from_checkpoint(&last, compute)?;
    if all || a.export {
        export(&lm, &vocab, &a.out)?;
    }
    if all || a.report {
        report(&lm, &tok, &a)?;
    }
    if all || a.eval {
        evaluate(&eval::Own { lm: &lm, tok: &tok }, &tok, &a)
    } else {
        Ok(())
    }
}

/// Trains one part of the run, or goes on where it was interrupted. The second and third parts start from the end of
/// the one before, with lower rates and questions that are taken apart.
fn train(a: &Args, tok: &Tokenizer, lm: Lm, part: usize) -> Result<()> {
    let checkpoint = &a.checkpoint(part);
    let data = encode::World {
        tok: tok.clone(),
        seed: SEED,
        tokens: a.tokens,
        stage: a.stage,
        part,
        longest: 512,
    };
    let (steps, lr) = (a.steps[part], a.lr * [1.0, 0.4, 0.2][part]);
    let settings = TrainConfig::new(SEED, lr, (steps / 20).clamp(10, 200), steps);
    let mut trainer = if a.resume && Trainer::has_checkpoint(checkpoint) {
        Trainer::resume(checkpoint, lm, settings, &data)?
    } else {
        Trainer::new(lm, settings, &data)
    };
    let [metrics, held_out] = metrics(part).map(|name| a.out.join(name));
    if trainer.step() == 0 {
        write(&metrics, "")?;
        write(&held_out, "")?;
    }
    trainer.log_to(&metrics)?;
    let held: Vec<_> = (0..96)
        .map(|i| encode::doc(tok, &world::conversation(SEED + 1, i, world::Stage::HELD)))
        .collect::<Result<_>>()?;
    let (mut loss, mut tokens, mut clock) = (0.0, 0, Instant::now());
    while !trainer.finished() {
        let r = trainer.advance(&data)?;
        loss = if loss == 0.0 {
            r.loss
        } else {
            0.9 * loss + 0.1 * r.loss
        };
        tokens += r.tokens;
        if r.step % 10 == 0 || trainer.finished() {
            let rate = tokens as f64 / clock.elapsed().as_secs_f64();
            let left = (r.total - r.step) as f64 * r.tokens as f64 / rate / 60.0;
            println!(
                "step {:5}/{}  loss {loss:.4}  norm {:.2}  lr {:.1e}  {rate:.0} tok/s  {left:.1} min left",
                r.step, r.total, r.grad_norm, r.lr
            );
            (tokens, clock) = (0, Instant::now());
        }
        if r.step % a.every == 0 || trainer.finished() {
            trainer.save(checkpoint)?;
            let lm = trainer.model();
            let calls = eval::unseen_calls(&eval::Own { lm, tok }, tok, SEED + 3, 48)?;
            let held = lm.evaluate(&held)?;
            println!(
                "step {:5}  held-out loss {held:.4}  tool calls, phrasing and city unseen: {calls} of 48",
                r.step
            );
            let line = serde_json::json!({ "step": r.step, "loss": held, "calls": calls });
            append(&held_out, &format!("{line}\n"))?;
            clock = Instant::now();
        }
    }
    Ok(())
}

/// Parts of the run, and how the names of their files end.
const PARTS: usize = 3;
const SUFFIX: [&str; PARTS] = ["", "-second", "-third"];

/// The files of losses and of held-out figures of a part of the run.
fn metrics(part: usize) -> [String; 2] {
    ["metrics", "held_out"].map(|name| format!("{name}{}.jsonl", SUFFIX[part]))
}

impl Args {
    /// Where a part of the run keeps its state.
    fn checkpoint(&self, part: usize) -> PathBuf {
        self.out.join(format!("checkpoint{}", SUFFIX[part]))
    }
}

/// Writes the model for transformers and for GGUF readers, the latter as shipped and in f32 for comparisons.
fn export(lm: &Lm, vocab: &ExportVocab, out: &Path) -> Result<()> {
    lm.save_hf(&out.join("hf"), vocab)?;
    for (file, ty) in [
        ("ropewalk-tiny.gguf", TensorType::Q8_0),
        ("ropewalk-tiny-f32.gguf", TensorType::F32),
    ] {
        let path = out.join(file);
        lm.save_gguf(&path, "ropewalk-tiny", ty, vocab)?;
        println!(
            "{}: {:.2} MB",
            path.display(),
            std::fs::metadata(&path)?.len() as f64 / 1e6
        );
    }
    Ok(())
}

fn evaluate(model: &dyn eval::Greedy, tok: &Tokenizer, a: &Args) -> Result<()> {
    let scores = eval::run(model, tok, SEED + 2, a.cases)?;
    for s in &scores {
        println!(
            "{:45} {:5.1} %  ({} of {})",
            s.name,
            100.0 * s.right as f64 / s.of as f64,
            s.right,
            s.of
        );
        for [q, r] in s.wrong.iter().take(3) {
            println!("      {q}  ->  {r}");
        }
    }
    write(
        &a.out.join("eval.json"),
        &serde_json::to_string_pretty(&scores)?,
    )
}

/// Writes the curve and ten conversations.
fn report(lm: &Lm, tok: &Tokenizer, a: &Args) -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(a.out.join(name)).unwrap_or_default();
    let mut curves = [Vec::new(), Vec::new()];
    let mut shift = 0;
    for part in 0..PARTS {
        for (curve, name) in curves.iter_mut().zip(metrics(part)) {
            curve.extend(report::points(&read(&name), shift));
        }
        shift += a.steps[part];
    }
    let [train, held] = curves;
    write(&a.out.join("curve.svg"), &report::curve(&train, &held))?;
    write(
        &a.out.join("transcripts.md"),
        &report::transcripts(&eval::Own { lm, tok }, tok)?,
    )
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    file.and_then(|mut f| f.write_all(text.as_bytes()))
        .with_context(|| path.display().to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn sample(tok: &Tokenizer, n: u64) -> Result<()> {
    let mut lengths = Vec::new();
    for i in 0..1000 {
        let c = world::conversation(SEED, i, world::Stage::HELD);
        let d = encode::doc(tok, &c)?;
        ensure!(
            d.ids == tok.encode(&encode::text(&c, false), false)?,
            "the parts of a conversation tokenize differently from the whole"
        );
        if i < n {
            println!("{}\n--- {} tokens", encode::text(&c, false), d.ids.len());
        }
        lengths.push(d.ids.len());
    }
    lengths.sort_unstable();
    println!(
        "tokens per conversation: median {}, 90 % {}, longest {}",
        lengths[500], lengths[900], lengths[999]
    );
    for name in [
        "London",
        "Reykjavik",
        "Samarkand",
        "San Francisco",
        "Kuala Lumpur",
    ] {
        let show = |s: &str| -> Result<Vec<String>> {
            Ok(tok
                .encode(s, false)?
                .iter()
                .filter_map(|&i| tok.piece(i))
                .map(|p| p.into_owned())
                .collect())
        };
        println!(
            "{:?} {:?}",
            show(&format!("to {name}?"))?,
            show(&format!("\": \"{name}\"}}"))?
        );
    }
    Ok(())
}
