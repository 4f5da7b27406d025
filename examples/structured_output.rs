//! Values in place of text: a Rust type is the schema, and the reply is a value of it.
//!
//! ```sh
//! cargo run --release --example structured_output
//! cargo run --release --example structured_output --features apis -- --model openai/gpt-4o-mini
//! cargo run --release --example structured_output --features apis -- --model ollama/llama3.2 --text "My name is Ana Li, ..."
//! ```
//!
//! Without `--model` the answers are written down in this example, one of them wrong on purpose, so
//! that the repair is seen: the small model that ships with the repository cannot write JSON of this
//! kind. Shows extraction, a repaired reply, classification, a list out of a long text, and a value
//! that grows while it is written. Ends with `growing: 5 steps` or so.
//!
//! Smoke:

use std::sync::Arc;

use anyhow::Result;
use futures_util::StreamExt;
use ropewalk::core::{ChatModelExt, DynChatModel, ExtractMode, ExtractOptions};
use ropewalk::tools::{Extractor, Growing, classify, extract_stream};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_examples::{Args, models, out};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const USAGE: &str = "\
usage: structured_output [options]
  --model MODEL    provider/model or a GGUF file
  --text TEXT      what to read";

const TEXT: &str = "Grace Hopper, born in New York in 1906, wrote the first compiler; Ada Lovelace of \
                    London published the first program in 1843, for Charles Babbage's engine.";

/// A person that a text speaks of.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Person {
    /// First and last name.
    name: String,
    /// Where the person lived or was born, if the text says so.
    city: Option<String>,
    /// What the person is known for.
    known_for: String,
}

/// What a text is about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Topic {
    Science,
    Sport,
    Travel,
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

/// What a model would answer, in the order of the questions below.
fn written_down() -> ScriptedModel {
    let hopper =
        r#"{"name": "Grace Hopper", "city": "New York", "known_for": "the first compiler"}"#;
    let lovelace =
        r#"{"name": "Ada Lovelace", "city": "London", "known_for": "the first program"}"#;
    ScriptedModel::new()
        .reply(r#"{"name": "Grace Hopper", "city": "New York"}"#)
        .reply(hopper)
        .reply(r#"{"value": "science"}"#)
        .reply(format!(r#"{{"items": [{hopper}, {lovelace}]}}"#))
        .reply(lovelace)
}

async fn example(args: &Args) -> Result<()> {
    let model: DynChatModel = match args.text("--model") {
        Some(name) => models::named(name)?,
        None => {
            out!("offline: the answers are written down in this example, no model makes them\n")?;
            Arc::new(written_down())
        }
    };
    let text = args.text("--text").unwrap_or(TEXT);
    let mode = match args.text("--model") {
        Some(_) => ExtractMode::Auto,
        None => ExtractMode::Prompt,
    };
    let options = ExtractOptions::new().with_mode(mode);

    let asked = format!("Who is the first person this text names?\n\n{text}");
    let found = model.extract_with::<Person>(asked, &options).await?;
    out!(
        "extracted in {} attempts: {:?}\n",
        found.attempts,
        found.value
    )?;

    let topic: Topic = match args.text("--model") {
        Some(_) => classify(&model, text).await?,
        None => {
            ropewalk::tools::classify_with(&model, text, &options)
                .await?
                .value
        }
    };
    out!("classified: {topic:?}\n")?;

    let people = Extractor::<Person>::new()
        .with_instructions("List every person the text names.")
        .with_options(options)
        .with_windows(2000, 200)
        .with_key(|p| p.name.to_lowercase())
        .extract(&model, text)
        .await?;
    for person in &people.items {
        out!("listed: {}\n", serde_json::to_string(person)?)?;
    }

    let asked = format!("Who is the second person this text names?\n\n{text}");
    let mut growing = extract_stream::<Person, _>(&model, asked, mode).await?;
    let mut steps = 0;
    while let Some(step) = growing.next().await {
        match step? {
            Growing::Partial(value) => {
                steps += 1;
                out!("  {value}\n")?;
            }
            Growing::Done { value, .. } => out!("grown: {value:?}\n")?,
            _ => {}
        }
    }
    out!("growing: {steps} steps\n")
}
