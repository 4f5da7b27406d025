//! Thousands of questions in batches that outlive the process.
//!
//! ```sh
//! cargo run --release --example api_batch --features apis -- --die-after-poll 2
//! cargo run --release --example api_batch --features apis
//! OPENAI_API_KEY=... cargo run --release --example api_batch --features apis -- --real --rows 20
//! ```
//!
//! The first command hands over 2,500 sums in three batches and dies in the middle; the second goes
//! on where the first was, fetches all answers, puts them in order and checks them. A small service
//! on this machine plays the provider and does the sums itself; its files lie beside those of the
//! run, so that they outlive the process as a provider's do. With `--real` it is OpenAI. Ends with
//! `2500 answers in order, 0 wrong, 0 failed`.
//!
//! Smoke: --rows 250 --batch 100

mod service;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use ropewalk::core::{ChatRequest, Usage};
use ropewalk::providers::batch::{BatchOptions, BatchRow, BatchRun};
use ropewalk::providers::{OpenAi, RemoteChat};
use ropewalk_examples::{Args, models, out};

const USAGE: &str = "\
usage: api_batch [options]
  --rows N            how many questions; 2500
  --batch N           how many per batch; 1000
  --dir DIR           where the run lies; a folder for temporary files unless given
  --die-after-poll N  end the process without a word after so many looks
  --keep              leave the run in its place when it is over
  --real              ask OpenAI, with the key in OPENAI_API_KEY
  --model NAME        the model to ask; gpt-4.1-nano";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(async { example(&args).await })
    })
}

async fn example(args: &Args) -> Result<()> {
    let directory = args.path("--dir");
    let directory = directory.unwrap_or_else(|| std::env::temp_dir().join("ropewalk-batch"));
    let (openai, pause) = match args.has("--real") {
        true => (OpenAi::from_env()?, Duration::from_secs(30)),
        false => {
            out!("a service on this machine plays the provider; it adds, and no model answers\n")?;
            let address = service::start(directory.join("service")).await?;
            let openai = OpenAi::new("no-key-is-needed-here")?;
            (openai.with_base_url(address), Duration::from_millis(400))
        }
    };
    let model = openai.chat(args.text("--model").unwrap_or("gpt-4.1-nano"));
    let options = BatchOptions::new().with_max_rows(args.get("--batch", 1000)?);
    let rows = questions(&model, args.get("--rows", 2500)?)?;
    let mut run = BatchRun::open(openai.batches(), directory.join("run"), rows, &options).await?;
    let before = run.summary();
    match before.created {
        0 => out!(
            "a new run of {} rows in {} batches\n",
            before.rows,
            before.batches
        )?,
        created => out!(
            "going on: {created} of {} batches are there\n",
            before.batches
        )?,
    }
    let last = args.optional::<u32>("--die-after-poll")?;
    for look in 1.. {
        let now = run.poll().await?;
        out!(
            "look {look}: {} of {} rows done, {} of {} batches here\n",
            now.done + now.failed,
            now.rows,
            now.fetched,
            now.batches
        )?;
        if now.is_over() {
            break;
        }
        if last == Some(look) {
            out!("dying; the same command without --die-after-poll goes on\n")?;
            std::process::exit(9);
        }
        tokio::time::sleep(pause).await;
    }
    report(&run, &model).await?;
    drop(run);
    if !args.has("--keep") {
        forget(&directory)?;
    }
    Ok(())
}

/// Returns sums whose answers are known.
fn questions(model: &RemoteChat, n: u64) -> Result<Vec<BatchRow>> {
    let row = |i: u64| {
        let (a, b) = terms(i);
        let text = format!("What is {a} + {b}? Reply with the number alone.");
        let request = ChatRequest::new().user(text).max_tokens(10);
        Ok(BatchRow::chat(format!("sum-{i}"), model, &request)?)
    };
    (0..n).map(row).collect()
}

fn terms(i: u64) -> (u64, u64) {
    (i * 7 % 1000, i * 13 % 997)
}

async fn report(run: &BatchRun, model: &RemoteChat) -> Result<()> {
    let (mut usage, mut wrong, mut failed, mut last) = (Usage::default(), 0, 0, None);
    let replies = run.replies().await?;
    let n = replies.len();
    for (i, reply) in (0..).zip(replies) {
        ensure!(
            reply.custom_id == format!("sum-{i}"),
            "row {i} is {}",
            reply.custom_id
        );
        match reply.chat(model) {
            Ok(response) => {
                usage += response.usage;
                let (a, b) = terms(i);
                wrong += usize::from(response.text().trim() != (a + b).to_string());
            }
            Err(error) => {
                failed += 1;
                last = Some(error);
            }
        }
    }
    if let Some(error) = last {
        out!("the last failure: {error}\n")?;
    }
    let tokens = usage.total_tokens().unwrap_or_default();
    out!("{tokens} tokens\n{n} answers in order, {wrong} wrong, {failed} failed\n")
}

/// Removes the run and the service's files, and the folder if nothing else is in it.
fn forget(directory: &Path) -> Result<()> {
    for part in ["run", "service"] {
        let path: PathBuf = directory.join(part);
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
    }
    std::fs::remove_dir(directory).ok();
    Ok(())
}
