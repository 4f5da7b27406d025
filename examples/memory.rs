//! Conversations that are remembered: on disk, and no longer than the model can read.
//!
//! ```sh
//! cargo run --release --example memory
//! cargo run --release --example memory -- --dir conversations --id anna
//! cargo run --release --example memory --features apis -- --model anthropic/claude-haiku-4-5 --dir conversations --id anna
//! ```
//!
//! Asks the same desk four times and shows what it gets to read under each policy: everything, the
//! last turns, a number of tokens. The conversation is kept in a JSON-lines file; with `--dir` it is
//! there at the next run. Without `--model` it asks the small model that ships with the repository.
//! Ends with a line such as `8 messages kept for anna`.
//!
//! Smoke:

use anyhow::Result;
use ropewalk::agents::{
    Agent, Buffer, Input, JsonlHistory, Memory, MemoryPolicy, TokenBuffer, Window,
};
use ropewalk::core::{CharsPerToken, ChatHistory};
use ropewalk::tools::ToolSet;
use ropewalk_examples::{Args, desk, models, out};

const USAGE: &str = "\
usage: memory [options]
  --model MODEL    a GGUF file, a directory or provider/model
  --dir DIR        where conversations are kept; a new directory that is removed unless given
  --id NAME        the conversation; demo unless given
  --clear          forget the conversation first";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let temporary = args.path("--dir").is_none();
    let name = format!("ropewalk-memory-{}", std::process::id());
    let dir = args
        .path("--dir")
        .unwrap_or_else(|| std::env::temp_dir().join(name));
    let id = args.text("--id").unwrap_or("demo");
    let history = JsonlHistory::open(&dir)?;
    if args.has("--clear") {
        history.clear(id).await?;
    }
    let before = history.load(id).await?.len();
    out!("{before} messages from before\n")?;

    let model = models::chosen(args)?;
    let memory = Memory::new(JsonlHistory::open(&dir)?, Window::new(3));
    let agent = Agent::new(model)
        .instructions(desk::SYSTEM)
        .tools(ToolSet::new().with(desk::get_ticket_price)?)
        .memory(memory);
    for question in [
        "Hello!",
        "How much is a ticket to Lisbon?",
        "What is a GGUF file?",
        "Thank you, goodbye.",
    ] {
        let done = agent.run(Input::new(question).conversation(id)).await?;
        out!("> {question}\n{}\n", done.output)?;
    }

    let kept = history.load(id).await?;
    let policies: [(&str, Box<dyn MemoryPolicy>); 3] = [
        ("everything", Box::new(Buffer)),
        ("the last 2 turns", Box::new(Window::new(2))),
        (
            "60 tokens",
            Box::new(TokenBuffer::new(60, CharsPerToken::default())),
        ),
    ];
    for (name, policy) in policies {
        let seen = policy.shape(id, kept.clone(), "").await?;
        out!(
            "{name}: the model reads {} of {} messages\n",
            seen.len(),
            kept.len()
        )?;
    }
    out!("{} messages kept for {id}\n", kept.len())?;
    if temporary {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}
