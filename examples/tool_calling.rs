//! A model that calls a function: the desk of an airline and its prices.
//!
//! ```sh
//! cargo run --release --example tool_calling
//! cargo run --release --example tool_calling --features apis -- --model anthropic/claude-sonnet-4-5 --prompt "Tokyo, Lima or Sydney: where is it cheapest to go?"
//! ```
//!
//! Without `--model` it asks the small model that ships with the repository, about two cities in one
//! question. Prints each call, its result, and at last the answer with both prices:
//! `A return ticket to London costs $799, and one to Paris costs $899.`
//!
//! Smoke:

use anyhow::{Result, bail};
use ropewalk::core::{ChatRequest, Message};
use ropewalk::tools::{ToolRunner, ToolSet, tool};
use ropewalk_examples::{Args, desk, models, out};

const USAGE: &str = "\
usage: tool_calling [options]
  --model MODEL    a GGUF file, a directory or provider/model
  --prompt TEXT    the question";

/// Get the price of a return ticket to the destination city.
#[tool(effect = read)]
fn get_ticket_price(
    /// Where the customer flies to
    destination_city: String,
) -> String {
    desk::price_of(&destination_city)
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let model = models::chosen(args)?;
    let tools = ToolSet::new().with(get_ticket_price)?;
    let prompt = args
        .text("--prompt")
        .unwrap_or("How much are tickets to London and Paris?");
    out!("> {prompt}\n")?;

    let request = ChatRequest::new().system(desk::SYSTEM).user(prompt);
    let run = ToolRunner::new(tools)
        .with_max_turns(5)
        .run(&model, request)
        .await?;
    for message in &run.messages {
        show(message)?;
    }
    if run.messages.iter().all(|m| m.results().next().is_none()) && args.text("--model").is_none() {
        bail!("the shipped model called no tool");
    }
    Ok(())
}

fn show(message: &Message) -> Result<()> {
    for call in message.tool_calls() {
        out!("  calls {}({})\n", call.name, call.arguments)?;
    }
    for result in message.results() {
        out!("  gets  {}\n", result.text())?;
    }
    match message.text() {
        text if text.is_empty() || message.role != ropewalk::core::Role::Assistant => Ok(()),
        text => out!("{text}\n"),
    }
}
