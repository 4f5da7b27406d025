//! A reply as it is written, event by event.
//!
//! ```sh
//! cargo run --release --example stream
//! cargo run --release --example stream -- --events --prompt "How much is a ticket to Lima?"
//! cargo run --release --example stream --features apis -- --model openai/gpt-4o-mini --prompt "Tell a joke."
//! ```
//!
//! Without `--model` it asks the small model that ships with the repository. `--events` prints what
//! a stream consists of instead of the text alone. Ends with a line such as
//! `stop, 31 tokens in, 16 out, first piece after 9 ms, all after 21 ms`.
//!
//! Smoke:
//! Smoke: --events --prompt "Hello!"

use anyhow::Result;
use futures_util::StreamExt;
use ropewalk::core::{ChatModel, ChatRequest, StreamEvent};
use ropewalk_examples::{Args, desk, models, out};

const USAGE: &str = "\
usage: stream [options]
  --model MODEL    a GGUF file, a directory or provider/model
  --prompt TEXT    the question
  --events         print every event";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let model = models::chosen(args)?;
    let prompt = args
        .text("--prompt")
        .unwrap_or("Hello! What can you do for me?");
    let request = ChatRequest::new()
        .system(desk::SYSTEM)
        .user(prompt)
        .max_tokens(300);

    let mut stream = model.stream(&request).await?;
    while let Some(event) = stream.next().await {
        match event? {
            StreamEvent::Finished(reply) => {
                let count = |n: Option<u64>| n.map_or("?".to_owned(), |n| n.to_string());
                let first = reply.timing.first_token.unwrap_or(reply.timing.total);
                out!(
                    "\n{}, {} tokens in, {} out, first piece after {} ms, all after {} ms\n",
                    reply.finish_reason,
                    count(reply.usage.input_tokens),
                    count(reply.usage.output_tokens),
                    first.as_millis(),
                    reply.timing.total.as_millis()
                )?;
            }
            event if args.has("--events") => out!("{}\n", serde_json::to_string(&event)?)?,
            StreamEvent::TextDelta { text, .. } => out!("{text}")?,
            _ => {}
        }
    }
    Ok(())
}
