//! How well a model predicts a text, and how far it is from another model.
//!
//! ```sh
//! cargo run --release --example perplexity
//! cargo run --release --example perplexity -- --model Q4.gguf --base F16.gguf --text wiki.txt
//! ```
//!
//! Without `--model` it takes the model that ships with the repository, without `--text` the conversations
//! beside it. `--save-logits` and `--logits` compare models that do not fit the memory together, `--imatrix`
//! writes an importance matrix for the example `quantize`. The last lines:
//!
//! ```text
//! nll          5.42... ± 0.32...
//! perplexity   225.8... ± 73.2...
//! ```
//!
//! Smoke: --context 128

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ropewalk::local::eval::{
    Divergence, EvalOptions, Perplexity, Progress, Scoring, divergence, divergence_from,
    importance, perplexity, save_logits,
};
use ropewalk::local::{LoadOptions, LocalModel, Model};
use ropewalk_examples::{Args, load, load_chat, out};

const USAGE: &str = "\
usage: perplexity [options]
  --model FILE        a GGUF file or a Hugging Face directory
  --text FILE         the text, in UTF-8
  --context N         tokens of a window (512)
  --stride N          score every token once, windows N tokens apart
  --windows N         windows at most
  --base FILE         compare with this model
  --save-logits FILE  write log-probabilities, to compare another model with
  --logits FILE       compare with such a file; text and windows are those of the file
  --imatrix FILE      write how strongly the text uses each column of the weights
  --threads N         threads that compute";

/// The conversations that the model in the repository answers in its tests.
const CONVERSATIONS: &str = include_str!("data/tiny_greedy.json");

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let mut load_options = LoadOptions::default();
    load_options.threads = args.optional("--threads")?;
    load_options.context = args.optional("--context")?;
    let chat = load_chat(args.path("--model").as_deref(), load_options.clone(), true)?;
    let model = chat.model();

    let jobs = ["--logits", "--base", "--imatrix", "--save-logits"];
    let asked: Vec<&str> = jobs
        .into_iter()
        .filter(|job| args.path(job).is_some())
        .collect();
    ensure!(
        asked.len() < 2,
        "{} exclude each other",
        asked.join(" and ")
    );
    if let Some(path) = args.path("--logits") {
        return show_divergence(&divergence_from(path, model, show)?);
    }
    let (ids, bos) = tokens(&chat, args.path("--text").as_deref())?;
    let mut options = EvalOptions::new().with_bos(bos);
    options.context = args.optional("--context")?;
    options.windows = args.optional("--windows")?;
    if let Some(stride) = args.optional("--stride")? {
        options = options.with_scoring(Scoring::Stride(stride));
    }
    if let Some(path) = args.path("--base") {
        let base = load(Some(&path), &load_options)?;
        return show_divergence(&divergence(&base, model, &ids, &options, show)?);
    }
    if let Some(path) = args.path("--imatrix") {
        let mut model: Model = load(args.path("--model").as_deref(), &load_options)?;
        let matrix = importance(&mut model, &ids, &options, false, show)?;
        matrix.write(&path)?;
        let (n, chunks) = (matrix.entries.len(), matrix.chunks);
        out!("{n} weights over {chunks} windows: {}\n", path.display())?;
        return Ok(());
    }
    let result = match args.path("--save-logits") {
        Some(path) => save_logits(path, model, &ids, &options, show)?,
        None => perplexity(model, &ids, &options, show)?,
    };
    out!("text         {} tokens\n", ids.len())?;
    show_perplexity("", &result)
}

/// Returns the tokens of the text, and the token that windows begin with where the tokenizer adds one.
fn tokens(chat: &LocalModel, text: Option<&Path>) -> Result<(Vec<u32>, Option<u32>)> {
    let text = match text {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?,
        None => {
            let json: serde_json::Value = serde_json::from_str(CONVERSATIONS)?;
            let part = |case: &serde_json::Value, key: &str| {
                case[key].as_str().unwrap_or_default().to_owned()
            };
            let cases = json["cases"].as_array().into_iter().flatten();
            cases
                .map(|c| part(c, "prompt") + &part(c, "text"))
                .collect()
        }
    };
    let ids = chat.tokenizer().encode(&text, true)?;
    ensure!(!ids.is_empty(), "the text is empty");
    let bos = chat
        .model()
        .spec()
        .bos_id
        .filter(|bos| ids.first() == Some(bos));
    Ok((ids, bos))
}

/// Writes one line that changes while the windows run.
fn show(progress: &Progress) -> ControlFlow<()> {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let Progress {
            done,
            windows,
            so_far,
            ..
        } = progress;
        let _ = write!(
            err,
            "\rwindow {done} of {windows}: {:.4}   ",
            so_far.value()
        );
        if done == windows {
            let _ = write!(err, "\r\x1b[K");
        }
        let _ = err.flush();
    }
    ControlFlow::Continue(())
}

fn show_perplexity(whose: &str, p: &Perplexity) -> Result<()> {
    let seconds = p.time.as_secs_f64();
    out!(
        "scored{whose}       {} tokens in {} windows, {seconds:.2} s\n",
        p.tokens,
        p.windows
    )?;
    out!("nll{whose}          {:.5} ± {:.5}\n", p.nll, p.nll_error)?;
    out!(
        "perplexity{whose}   {:.4} ± {:.4}\n",
        p.value(),
        p.value_error()
    )?;
    Ok(())
}

fn show_divergence(d: &Divergence) -> Result<()> {
    show_perplexity(" model", &d.model)?;
    show_perplexity(" base ", &d.base)?;
    out!(
        "ln of the quotient  {:.6} ± {:.6}\n",
        d.ln_ratio,
        d.ln_ratio_error
    )?;
    let kl = &d.kl;
    out!(
        "KL divergence       {:.6} ± {:.6}\n",
        kl.mean,
        kl.mean_error
    )?;
    out!("  median            {:.6}\n", kl.median)?;
    out!("  99 %              {:.6}\n", kl.percent_99)?;
    out!("  largest           {:.6}\n", kl.max)?;
    out!("RMS of p            {:.3} %\n", 100.0 * d.rms_probability)?;
    let (same, error) = (100.0 * d.same_top, 100.0 * d.same_top_error);
    out!("same token on top   {same:.2} ± {error:.2} %\n")?;
    Ok(())
}
