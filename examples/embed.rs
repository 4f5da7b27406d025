//! Texts as vectors: how alike sentences are, and search by meaning.
//!
//! ```sh
//! cargo run --release --example embed
//! cargo run --release --example embed -- --model all-MiniLM-L6-v2 "a dog barks" "the hound is loud" "tax law"
//! cargo run --release --example embed -- --model all-MiniLM-L6-v2 --int8 --query "Who builds ropes?" A.md B.md
//! ```
//!
//! `--model` takes a folder of sentence-transformers (from the Hugging Face hub:
//! sentence-transformers/all-MiniLM-L6-v2, BAAI/bge-small-en-v1.5, intfloat/multilingual-e5-small; download it first,
//! `hf:` is not read here) or a GGUF file. At most eight texts or files can be named.
//! The repository ships no encoder. Without `--model` the hidden states of the language model in `data/` are averaged;
//! it was not trained for this and knows few topics, so its vectors show how the call works, not how well search can.
//!
//! Ends with the paragraphs that were found, best first, each behind its cosine with the query.
//!
//! Smoke: --query "What is a token?"

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ropewalk::core::EmbedKind;
use ropewalk::gguf::Gguf;
use ropewalk::local::{EmbedderOptions, EncoderOptions, LocalEmbedder};
use ropewalk::spec::PoolingMode;
use ropewalk_examples::{Args, PASSAGES, TINY, out};

const USAGE: &str = "\
usage: embed [TEXT TEXT TEXT TEXT TEXT TEXT TEXT TEXT] [options]
  --model FILE       a folder of sentence-transformers, or a GGUF file
  --query TEXT       search the paragraphs of the files that are named, or of a few built in
  --top N            paragraphs to show (3)
  --dimensions N     shorten the vectors (for models that were trained so)
  --int8             hold matrices in 8 bits
  --threads N        threads that compute";

const SENTENCES: [&str; 4] = [
    "What is a token?",
    "A token is a piece of text with a number; models read and write tokens.",
    "How much is a ticket to London?",
    "A ticket to London costs $799.",
];

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let model = open(&args)?;
    let texts: Vec<&str> = (0..).map_while(|at| args.free(at)).collect();
    if args.text("--query").is_some() || texts.is_empty() {
        let query = args.text("--query").unwrap_or("What does quantisation do?");
        if args.text("--query").is_none() {
            similarities(&args, &model, &SENTENCES)?;
        }
        return search(&args, &model, query, &texts);
    }
    similarities(&args, &model, &texts)
}

fn open(args: &Args) -> Result<LocalEmbedder> {
    let mut encoder = EncoderOptions::default();
    encoder.threads = args.optional("--threads")?;
    if args.has("--int8") {
        encoder = encoder.with_int8();
    }
    let options = EmbedderOptions::default().with_encoder(encoder);
    if let Some(path) = args.path("--model") {
        return Ok(LocalEmbedder::open_with(path, &options)?);
    }
    ensure!(
        !args.has("--int8"),
        "the shipped model has 8 bits already; give --model"
    );
    out!(
        "averaging hidden states of the shipped language model, which is no encoder; see --model\n\n"
    )?;
    let options = options.with_pooling(PoolingMode::Mean).with_normalize(true);
    Ok(LocalEmbedder::from_gguf(
        Arc::new(Gguf::from_static(TINY)?),
        &options,
    )?)
}

/// Embeds texts, shortened as asked, and says what was cut.
fn embed<T: AsRef<str>>(
    args: &Args,
    model: &LocalEmbedder,
    texts: &[T],
    kind: EmbedKind,
) -> Result<Vec<Vec<f32>>> {
    let out = match args.optional("--dimensions")? {
        Some(width) => model.embed_short(texts, kind, width)?,
        None => model.embed_texts(texts, kind)?,
    };
    for cut in out.truncated {
        out!(
            "text {} has {} tokens, of which {} were read\n",
            cut.index + 1,
            cut.tokens,
            cut.kept
        )?;
    }
    Ok(out.vectors)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
}

/// Prints how alike every two texts are.
fn similarities(args: &Args, model: &LocalEmbedder, texts: &[&str]) -> Result<()> {
    let vectors = embed(args, model, texts, EmbedKind::Document)?;
    for (i, text) in texts.iter().enumerate() {
        out!("{:>2}  {text}\n", i + 1)?;
    }
    out!("\n    ")?;
    (1..=texts.len()).try_for_each(|i| out!("{i:>7}"))?;
    for (i, a) in vectors.iter().enumerate() {
        out!("\n{:>2}  ", i + 1)?;
        vectors
            .iter()
            .try_for_each(|b| out!("{:>7.3}", cosine(a, b)))?;
    }
    out!("\n\n")
}

/// Prints the paragraphs nearest to a query.
fn search(args: &Args, model: &LocalEmbedder, query: &str, files: &[&str]) -> Result<()> {
    let mut paragraphs: Vec<String> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let parts = text.split("\n\n").map(str::trim).filter(|p| !p.is_empty());
        paragraphs.extend(parts.map(str::to_owned));
    }
    if files.is_empty() {
        paragraphs = PASSAGES.map(str::to_owned).to_vec();
    }
    let vectors = embed(args, model, &paragraphs, EmbedKind::Document)?;
    let query_vector = embed(args, model, &[query], EmbedKind::Query)?.concat();
    let scores = vectors.iter().map(|v| cosine(&query_vector, v));
    let mut found: Vec<_> = scores.zip(&paragraphs).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    out!("{query}\n")?;
    for (score, paragraph) in found.into_iter().take(args.get("--top", 3)?) {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        out!(
            "{score:>7.3}  {}\n",
            line.chars().take(100).collect::<String>()
        )?;
    }
    Ok(())
}
