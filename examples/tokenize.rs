//! See how a text becomes tokens.
//!
//! ```sh
//! cargo run --release --example tokenize -- --text "How much is a ticket to Lisbon?"
//! cargo run --release --example tokenize -- --model tokenizer.json --file notes.md --html tokens.html
//! ```
//!
//! Prints ids and pieces, and how many characters a token holds on average. `--model` takes a
//! GGUF file, a `tokenizer.json` or a directory with one; without it the vocabulary of the model
//! that ships with the repository is used. `--html` writes the text with each token in its colour.
//!
//! Smoke: --text "How much is a ticket to Lisbon?"

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use ropewalk::gguf::Gguf;
use ropewalk::local::gguf_tokenizer;
use ropewalk::tokens::Tokenizer;
use ropewalk_examples::{Args, TINY, out};

const USAGE: &str = "\
usage: tokenize --text TEXT | --file FILE [options]
  --model FILE   a GGUF file, a tokenizer.json, or a directory with one
  --text TEXT    the text
  --file FILE    read the text from a file
  --special      add the tokens that the model wants around a text
  --html FILE    write the text with coloured tokens";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let tokenizer = load(args.path("--model").as_deref())?;
    let text = match (args.text("--text"), args.path("--file")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {} as UTF-8 text", path.display()))?,
        (None, None) => anyhow::bail!("give --text TEXT or --file FILE"),
    };
    let ids = tokenizer.encode(&text, args.has("--special"))?;
    let pieces: Vec<String> = ids
        .iter()
        .map(|&id| {
            tokenizer
                .piece(id)
                .map_or_else(String::new, std::borrow::Cow::into_owned)
        })
        .collect();
    if let Some(path) = args.path("--html") {
        let shown = tokenizer.batch_decode(&ids, false)?;
        std::fs::write(&path, html(&ids, &shown))
            .with_context(|| format!("cannot write {}", path.display()))?;
        out!("wrote {}\n", path.display())?;
    } else {
        for (id, piece) in ids.iter().zip(&pieces) {
            out!("{id:>8}  {piece:?}\n")?;
        }
    }
    let chars = text.chars().count();
    out!(
        "{} tokens, {chars} characters, {:.2} characters per token, vocabulary of {}\n",
        ids.len(),
        chars as f64 / ids.len().max(1) as f64,
        tokenizer.vocab_size(),
    )?;
    Ok(())
}

fn load(path: Option<&Path>) -> Result<Tokenizer> {
    match path {
        None => Ok(gguf_tokenizer(&Gguf::from_static(TINY)?)?),
        Some(dir) if dir.is_dir() => Ok(Tokenizer::from_dir(dir)?),
        Some(file) if file.extension().is_some_and(|e| e == "gguf") => {
            Ok(gguf_tokenizer(&Gguf::open(file)?)?)
        }
        Some(file) => Ok(Tokenizer::from_file(file)?),
    }
}

/// One self-contained page; hovering over a token shows its id.
fn html(ids: &[u32], pieces: &[String]) -> String {
    let mut out = String::from(
        "<!doctype html><meta charset=utf-8><title>Tokens</title>\
         <style>body{font:16px/1.8 monospace;white-space:pre-wrap;margin:2em}span{border-radius:3px}</style>\n",
    );
    for (i, (id, piece)) in ids.iter().zip(pieces).enumerate() {
        let hue = i * 67 % 360;
        let text = piece
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('\n', "\u{23ce}\n");
        let _ = write!(
            out,
            "<span title={id} style=background:hsl({hue},80%,85%)>{text}</span>"
        );
    }
    out
}
