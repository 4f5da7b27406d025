//! An agent: a model that calls tools until it can answer, within limits, and asks before it pays.
//!
//! ```sh
//! cargo run --release --example agent
//! cargo run --release --example agent -- --prompt "What does a ticket to Lima cost?"
//! cargo run --release --example agent --features apis -- --model openai/gpt-4o-mini --prompt "Book me the cheaper of Lisbon and Berlin."
//! ```
//!
//! Without `--model` it is the small model that ships with the repository, which looks prices up. The
//! second part shows approval: booking is a tool that pays, so the run stops, its state goes to JSON
//! and comes back, and only then the ticket is booked. The shipped model does not know the booking
//! tool; without `--model` the calls of that part are written down here. Ends with
//! `booked once, after approval`.
//!
//! Smoke:

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use ropewalk::agents::{Agent, AgentEvent, Approvals, Gate, Limits, RunState};
use ropewalk::core::{DynChatModel, Effect, StreamEvent, ToolError};
use ropewalk::tools::{ToolSet, tool};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_examples::{Args, desk, models, out};
use serde_json::json;

const USAGE: &str = "\
usage: agent [options]
  --model MODEL    a GGUF file, a directory or provider/model
  --prompt TEXT    the question";

/// The tickets booked so far.
#[derive(Clone, Default)]
struct Bookings(Arc<AtomicU32>);

/// Book a ticket to the destination city and charge the customer.
#[tool(effect = pay)]
fn book_ticket(
    /// Where the customer flies to
    destination_city: String,
    #[tool(context)] bookings: &Bookings,
) -> Result<String, ToolError> {
    let number = bookings.0.fetch_add(1, Ordering::SeqCst) + 1;
    Ok(format!("booked {destination_city}, ticket number {number}"))
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(async {
            answer(&args).await?;
            approve(&args).await
        })
    })
}

/// Asks and shows what the agent does.
async fn answer(args: &Args) -> Result<()> {
    let agent = Agent::new(models::chosen(args)?)
        .name("desk")
        .instructions(desk::SYSTEM)
        .tools(ToolSet::new().with(desk::get_ticket_price)?)
        .limits(
            Limits::new()
                .with_turns(6)
                .with_tool_calls(8)
                .with_time(Duration::from_secs(120)),
        );
    let prompt = args
        .text("--prompt")
        .unwrap_or("How much are tickets to Berlin and Tokyo?");
    out!("> {prompt}\n")?;
    let mut events = agent.run_stream(prompt);
    while let Some(event) = events.next().await {
        match event? {
            AgentEvent::Model(StreamEvent::TextDelta { text, .. }) => out!("{text}")?,
            AgentEvent::ToolStarted(call) => out!("  calls {}({})\n", call.name, call.arguments)?,
            AgentEvent::ToolFinished { result, .. } => out!("  gets  {}\n", result.text())?,
            AgentEvent::Done(done) => out!(
                "\n  {} turns, {} calls of tools, {} tokens\n",
                done.turns,
                done.tool_calls,
                done.usage.total_tokens().unwrap_or_default()
            )?,
            _ => {}
        }
    }
    Ok(())
}

/// A tool that pays is asked about, whatever was read.
async fn approve(args: &Args) -> Result<()> {
    let model: DynChatModel = match args.text("--model") {
        Some(name) => models::named(name)?,
        None => {
            out!("approval, with the model's calls written down in this example:\n")?;
            let script = ScriptedModel::new()
                .tool_call("book_ticket", json!({ "destination_city": "Berlin" }))
                .reply("Your ticket to Berlin is booked.");
            Arc::new(script)
        }
    };
    let bookings = Bookings::default();
    let build = |model: DynChatModel| -> Result<Agent> {
        let tools = ToolSet::new()
            .with(desk::get_ticket_price)?
            .with(book_ticket)?;
        let agent = Agent::new(model)
            .name("desk")
            .instructions(desk::SYSTEM)
            .tools(tools);
        Ok(agent
            .policy(Gate::new().always_ask(Effect::Pay))
            .approvals(true))
    };
    let agent = build(Arc::clone(&model))?;
    let mut extensions = ropewalk::core::Extensions::default();
    extensions.insert(bookings.clone());

    let input = ropewalk::agents::Input::new("Book me a ticket to Berlin, please.");
    let mut events = agent.run_stream(input.extensions(extensions.clone()));
    let mut paused = None;
    while let Some(event) = events.next().await {
        if let AgentEvent::NeedsApproval(state) = event? {
            paused = Some(serde_json::to_string(&state)?);
        }
    }
    let stored = paused.context("the model booked nothing, so there is nothing to approve")?;
    ensure!(
        bookings.0.load(Ordering::SeqCst) == 0,
        "nothing is booked before approval"
    );
    out!("  the run waits, as {} bytes of JSON\n", stored.len())?;

    // Another process could go on from here.
    let state: RunState = serde_json::from_str(&stored)?;
    let approvals = Approvals::all().extensions(extensions);
    let done = build(model)?.resume(state, approvals).await?;
    out!("  {}\n", done.output)?;
    ensure!(
        bookings.0.load(Ordering::SeqCst) == 1,
        "booked {:?} times",
        bookings.0
    );
    out!("booked once, after approval\n")
}
