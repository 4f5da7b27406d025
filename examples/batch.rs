//! Many prompts at once over one model.
//!
//! ```sh
//! cargo run --release --example batch
//! cargo run --release --example batch -- --model model.gguf --prompts questions.txt --at-once 8
//! ```
//!
//! Asks every line of a file, or some questions about the airline desk and the project that the
//! shipped model knows, with 1, 4 and 16 sequences at once. The weights are read once per step for
//! all of them, prompts that begin alike are read once, and the replies are the same each time.
//! The shipped model lies in the caches of the processor, so that sharing its weights gains little; a
//! model of a gigabyte shows what it is for. Needs no key and no download. Ends with a line for each number of sequences, the last
//! `16 at once: ... tokens/s, ...x one at a time; ...`.
//!
//! Smoke: --max-tokens 8

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_executor::block_on;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ropewalk::core::{ChatModel, ChatRequest};
use ropewalk::local::{LoadOptions, LocalModel, SchedulerOptions, SchedulerStats, Speculate};
use ropewalk_examples::{Args, desk, load_chat, out};

const USAGE: &str = "\
usage: batch [options]
  --model FILE     a GGUF file or a Hugging Face directory
  --prompts FILE   a text file with a question on each line
  --at-once N      only this many sequences at once; 1, 4 and 16 unless given
  --max-tokens N   tokens of one reply (64)
  --speculate      guess tokens ahead from the text itself
  --threads N      threads that compute
  --show           print the replies";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let mut options = LoadOptions::default();
    options.threads = args.optional("--threads")?;
    let mut model = load_chat(args.path("--model").as_deref(), options, true)?;
    if args.has("--speculate") {
        model = model.with_speculation(Speculate::new());
    }
    let requests = requests(&args)?;
    let sizes = match args.optional("--at-once")? {
        Some(n) => vec![n],
        None => vec![1, 4, 16],
    };
    let mut runs: Vec<(usize, Run)> = Vec::new();
    for n in sizes {
        let run = ask(&model, &requests, n)?;
        if let Some((_, first)) = runs.first() {
            ensure!(
                run.replies == first.replies,
                "a reply depends on its neighbours"
            );
        }
        runs.push((n, run));
    }
    if args.has("--show") {
        let replies = runs.iter().take(1).flat_map(|(_, run)| &run.replies);
        for (i, text) in replies.enumerate() {
            out!("{:>3}  {text}\n", i + 1)?;
        }
    }
    let one = runs.first().map_or(0.0, |(_, run)| run.rate());
    for (n, run) in &runs {
        let s = &run.stats;
        out!(
            "{n:>2} at once: {:.0} tokens/s, {:.1}x {}; {} replies in {:.2} s, {} steps, {} prompts began with {} known tokens\n",
            run.rate(),
            run.rate() / one,
            if runs[0].0 == 1 {
                "one at a time"
            } else {
                "the first"
            },
            run.replies.len(),
            run.time.as_secs_f64(),
            s.steps,
            s.prefix_hits,
            s.prefix_tokens,
        )?;
    }
    Ok(())
}

/// What came of asking everything once.
struct Run {
    replies: Vec<String>,
    stats: SchedulerStats,
    time: Duration,
}

impl Run {
    /// Generated tokens per second, the time for prompts included.
    fn rate(&self) -> f64 {
        self.stats.generated_tokens as f64 / self.time.as_secs_f64()
    }
}

/// Asks everything, at most `n` at once; replies are in the order of the requests.
fn ask(model: &LocalModel, requests: &[ChatRequest], n: usize) -> Result<Run> {
    // Four contexts, or a page and its successor for each sequence where contexts are short.
    let tokens = (4 * model.model().context()).max(256 * n);
    let options = SchedulerOptions::new()
        .with_max_sequences(n)
        .with_pool_tokens(tokens);
    let model = model.clone().with_scheduler(&options)?;
    let done = AtomicUsize::new(0);
    let start = Instant::now();
    let all: FuturesUnordered<_> = requests
        .iter()
        .enumerate()
        .map(|(i, request)| {
            let (model, done) = (&model, &done);
            async move {
                let reply = model.chat(request).await?;
                progress(n, done.fetch_add(1, Relaxed) + 1, requests.len());
                anyhow::Ok((i, reply.text()))
            }
        })
        .collect();
    let mut replies = block_on(all.collect::<Vec<_>>())
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let time = start.elapsed();
    replies.sort();
    let scheduler = model.scheduler().context("the model has a scheduler")?;
    Ok(Run {
        replies: replies.into_iter().map(|(_, text)| text).collect(),
        stats: scheduler.stats(),
        time,
    })
}

/// Shows on a terminal how far it is.
fn progress(n: usize, done: usize, total: usize) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let end = if done == total { "\r\x1b[K" } else { "" };
        let _ = write!(err, "\r{n} at once: {done} of {total} replies{end}");
        let _ = err.flush();
    }
}

/// The questions: one for each line of the file, or those below.
fn requests(args: &Args) -> Result<Vec<ChatRequest>> {
    let max = args.get("--max-tokens", 64)?;
    let ask = |text: String| ChatRequest::new().user(text).max_tokens(max);
    if let Some(path) = args.path("--prompts") {
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let requests: Vec<_> = lines.map(|line| ask(line.to_owned())).collect();
        ensure!(
            !requests.is_empty(),
            "{} has no line to ask",
            path.display()
        );
        return Ok(requests);
    }
    let cities = [
        "London",
        "Paris",
        "Tokyo",
        "Berlin",
        "Lisbon",
        "New York",
        "Cape Town",
        "Reykjavik",
    ];
    let of_city = cities.iter().flat_map(|city| {
        [
            format!("How much is a ticket to {city}?"),
            format!("Can I bring my dog to {city}?"),
        ]
    });
    let about = [
        "What is GGUF?",
        "What does ropewalk-gguf do?",
        "How do I train you?",
        "Who painted the Mona Lisa?",
        "Hello!",
        "Thanks!",
        "What can you do?",
        "What is a KV cache?",
    ];
    let texts = of_city.chain(about.map(str::to_owned));
    Ok(texts.map(|text| ask(text).system(desk::SYSTEM)).collect())
}
