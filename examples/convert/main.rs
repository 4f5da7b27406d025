//! Turn a Hugging Face directory into a GGUF file.
//!
//! ```sh
//! cargo run --release --example convert -- DIR OUT.gguf
//! cargo run --release --example convert -- DIR OUT.gguf --outtype q8_0
//! cargo run --release --example convert -- DIR OUT.gguf --outtype q4_k_m
//! ```
//!
//! The file runs in llama.cpp and here. Without arguments the example writes the model that ships with the
//! repository as a Hugging Face directory, converts that, and shows that the result answers like the source.
//! The last lines:
//!
//! ```text
//! the directory answers [...]
//! the file answers      [...]
//! the same: true
//! ```
//!
//! Smoke:

mod hf_dir;

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ropewalk::gguf::Gguf;
use ropewalk::local::convert::{Content, ConvertOptions, OutType, Summary, convert};
use ropewalk::local::{GenerateOptions, LoadOptions, Model, generate_n, gguf_tokenizer};
use ropewalk_examples::{Args, TINY, out};

const USAGE: &str = "\
usage: convert [DIR OUT.GGUF] [options]
  --outtype TYPE   auto (as stored), f32, f16, bf16, q8_0, or a type of quantize such as q4_k_m (auto)
  --name NAME      general.name of the file
  --pre NAME       the pre-tokenizer, if its splitting rules are not known
  --vocab-only     the vocabulary without weights
  --no-vocab       weights without a vocabulary
  --threads N      threads that code rows";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let mut options = ConvertOptions::new(args.get("--outtype", OutType::Auto)?);
    options.pre_tokenizer = args.text("--pre").map(str::to_owned);
    options.threads = args.optional("--threads")?;
    if let Some(name) = args.text("--name") {
        options = options.with_name(name);
    }
    ensure!(
        !(args.has("--vocab-only") && args.has("--no-vocab")),
        "--vocab-only and --no-vocab exclude each other"
    );
    if args.has("--vocab-only") {
        options = options.with_content(Content::Vocabulary);
    }
    if args.has("--no-vocab") {
        options = options.with_content(Content::Weights);
    }
    match args.free(0) {
        None => demonstrate(&options),
        Some(dir) => {
            let out = args
                .free(1)
                .context("name the GGUF file to write after the directory")?;
            print(out, &run(Path::new(dir), Path::new(out), &options)?)
        }
    }
}

/// Converts and shows progress on a terminal.
fn run(dir: &Path, out: &Path, options: &ConvertOptions) -> Result<Summary> {
    let mut err = std::io::stderr();
    let show = err.is_terminal();
    let summary = convert(dir, out, options, |at| {
        if show {
            let (index, percent) = (at.index + 1, at.written * 100 / at.total.max(1));
            let _ = write!(
                err,
                "\r\x1b[K{index} of {} tensors, {percent} %, {}",
                at.tensors, at.name
            );
            let _ = err.flush();
        }
    });
    if show {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(summary?)
}

fn print(out: &str, summary: &Summary) -> Result<()> {
    out!(
        "{out}: {}, {:.1} MB\n",
        summary.architecture,
        summary.bytes as f64 / 1e6
    )?;
    for (ty, count, bytes) in &summary.types {
        out!("{count:6} tensors of {ty}, {:.1} MB\n", *bytes as f64 / 1e6)?;
    }
    for warning in &summary.warnings {
        out!("warning: {warning}\n")?;
    }
    Ok(())
}

/// Writes the shipped model as a directory, converts it and compares what both answer.
fn demonstrate(options: &ConvertOptions) -> Result<()> {
    let scratch = hf_dir::Scratch::new()?;
    let (dir, file) = (
        scratch.path().join("ropewalk-tiny"),
        scratch.path().join("tiny.gguf"),
    );
    hf_dir::write(TINY, &dir)?;
    print("tiny.gguf", &run(&dir, &file, options)?)?;
    if options.content != Content::All {
        return Ok(());
    }
    let tokenizer = gguf_tokenizer(&Gguf::open(&file)?)?;
    let prompt = tokenizer.encode(
        "<|im_start|>user\nWhat is a ropewalk?<|im_end|>\n<|im_start|>assistant\n",
        true,
    )?;
    let answer = |path: &Path| -> Result<String> {
        let model = Model::open(path, &LoadOptions::default())?;
        let options = GenerateOptions::greedy(16);
        let outputs = generate_n(&model, &prompt, &options, 1)?;
        let ids = outputs
            .first()
            .map(|output| output.ids())
            .unwrap_or_default();
        Ok(tokenizer.decode(&ids, true)?)
    };
    let (before, after) = (answer(&dir)?, answer(&file)?);
    out!("the directory answers {before:?}\n")?;
    out!("the file answers      {after:?}\n")?;
    out!("the same: {}\n", before == after)
}
