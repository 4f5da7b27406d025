//! Show what is in a GGUF file or a Hugging Face directory.
//!
//! ```sh
//! cargo run --release --example inspect
//! cargo run --release --example inspect -- --model model.gguf --tensors
//! ```
//!
//! Prints metadata, tensor types, the module tree and the memory the model takes, from headers
//! alone: no weight is read. Without `--model` it shows the model that ships with the repository.
//!
//! Smoke: --tensors

use std::path::Path;

use anyhow::{Context, Result};
use ropewalk::gguf::Gguf;
use ropewalk::spec::{ModelSpec, describe, memory};
use ropewalk_examples::{Args, TINY, out};

const USAGE: &str = "\
usage: inspect [options]
  --model FILE   a GGUF file or a Hugging Face directory
  --tensors      list every tensor of a GGUF file";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let path = args.path("--model");
    let spec = match path.as_deref() {
        Some(dir) if dir.is_dir() => ModelSpec::from_dir(dir)?,
        file => {
            let gguf = open(file)?;
            print_gguf(&gguf, args.has("--tensors"))?;
            match ModelSpec::from_gguf(&gguf) {
                Ok(spec) => spec,
                Err(e) => {
                    out!("\nno decoder of this library runs it: {e}\n")?;
                    return Ok(());
                }
            }
        }
    };
    out!("\n{}\n", describe(&spec))?;
    let m = memory(&spec);
    out!("\nparameters          {:>16}\n", m.parameters)?;
    for (name, bytes) in [
        ("fp32", m.fp32),
        ("bf16", m.bf16),
        ("int8", m.int8),
        ("nf4", m.nf4),
        ("nf4, double quant", m.nf4_double_quant),
    ] {
        out!("{name:<20}{:>13.1} MB\n", bytes as f64 / 1e6)?;
    }
    Ok(())
}

fn print_gguf(gguf: &Gguf, tensors: bool) -> Result<()> {
    let text = gguf.describe();
    if tensors {
        out!("{text}")?;
        return Ok(());
    }
    // The table of tensors is long; the totals after it are not.
    for line in text.lines().filter(|l| !l.trim_start().starts_with("blk.")) {
        out!("{line}\n")?;
    }
    Ok(())
}

fn open(path: Option<&Path>) -> Result<Gguf> {
    match path {
        Some(path) => Gguf::open(path).with_context(|| format!("cannot read {}", path.display())),
        None => Ok(Gguf::from_static(TINY)?),
    }
}
