//! What happens when a provider is down, busy or over its limit.
//!
//! ```sh
//! cargo run --release --example fallback_and_retry --features apis
//! cargo run --release --example fallback_and_retry --features apis -- --model openai/gpt-4o-mini --then anthropic/claude-haiku-4-5
//! ```
//!
//! Without `--model` a server on this machine plays the provider: it is overloaded, then asks to wait,
//! then breaks off, and at last refuses for good, so that the small model that ships with the
//! repository answers in its place. Prints each attempt with the wait before it and ends with
//! `all four as expected`.
//!
//! Smoke:

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ropewalk::core::{ChatModel, ChatModelExt, ChatRequest, ErrorKind};
use ropewalk::http::{Client, ClientOptions, RetryPolicy};
use ropewalk::providers::{Cache, Fallback, MemoryStore, OpenAi, RateLimit, presets};
use ropewalk_examples::serve::{Outgoing, serve};
use ropewalk_examples::{Args, models, out};
use serde_json::json;

const USAGE: &str = "\
usage: fallback_and_retry [options]
  --model MODEL    the model to ask first
  --then MODEL     the model to ask when it fails; the shipped one unless given
  --prompt TEXT    the question";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(async {
            match args.text("--model") {
                Some(first) => ask(&args, first).await,
                None => offline().await,
            }
        })
    })
}

/// The real thing: limits around the first model, another one behind it, equal questions once.
async fn ask(args: &Args, first: &str) -> Result<()> {
    let then = match args.text("--then") {
        Some(name) => models::named(name)?,
        None => models::shipped()?,
    };
    let first = RateLimit::new(models::named(first)?)
        .requests_per_minute(60)
        .concurrent(4);
    let model = Cache::new(Fallback::new(first).or(then), MemoryStore::new(100));
    let reply = model
        .chat(
            &args
                .text("--prompt")
                .unwrap_or("What is a ropewalk?")
                .into(),
        )
        .await?;
    out!(
        "{}/{} after {} attempts: {}\n",
        reply.provider,
        reply.model,
        reply.timing.attempts,
        reply.text()
    )
}

/// What the server of this example does next.
fn script() -> Vec<Outgoing> {
    let error = |status, message: &str, code: &str| {
        Outgoing::json(
            status,
            &json!({ "error": { "message": message, "code": code } }),
        )
    };
    let fine = |text: &str| {
        let message = json!({ "role": "assistant", "content": text });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        Outgoing::json(200, &json!({ "model": "demo", "choices": [choice] }))
    };
    vec![
        // 1. Overloaded twice, then fine: retried after waits of our own.
        error(503, "overloaded", "overloaded"),
        error(503, "overloaded", "overloaded"),
        fine("back again"),
        // 2. Asks for a wait: that one is kept.
        error(429, "slow down", "rate_limit_exceeded").with_header("retry-after-ms", "150"),
        fine("thanks for waiting"),
        // 3. The money is spent: no retry helps, the next model answers.
        error(429, "you exceeded your quota", "insufficient_quota"),
        // 4. A wrong key: no retry, and no other model if the caller says so.
        error(401, "invalid key", "invalid_api_key"),
    ]
}

async fn offline() -> Result<()> {
    out!("offline: a server on this machine plays a provider in trouble\n")?;
    let started = Instant::now();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (next, log) = (AtomicUsize::new(0), Arc::clone(&seen));
    let address = serve(move |_| {
        let at = next.fetch_add(1, Ordering::SeqCst);
        let reply = script().into_iter().nth(at);
        let reply = reply.unwrap_or_else(|| Outgoing::json(500, &json!({ "error": "over" })));
        log.lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(started.elapsed());
        async move { reply }
    })
    .await?;
    let retry = RetryPolicy::new().with_backoff(Duration::from_millis(40), Duration::from_secs(1));
    let client = Client::new(ClientOptions::new().with_retry(retry).with_seed(7))?;
    let provider = OpenAi::compatible(presets::OPENAI, address, Some("sk-offline".into()))?;
    let first = provider.with_client(client).chat("demo");
    let report = |title: &str, from: usize| -> Result<usize> {
        let seen = seen.lock().unwrap_or_else(|e| e.into_inner());
        out!("{title}\n")?;
        for (number, at) in seen.iter().enumerate().skip(from) {
            let before = number.checked_sub(1).map_or(Duration::ZERO, |n| seen[n]);
            let wait = if number == from {
                Duration::ZERO
            } else {
                *at - before
            };
            out!(
                "  attempt {} after {} ms\n",
                number - from + 1,
                wait.as_millis()
            )?;
        }
        Ok(seen.len())
    };

    let reply = first.chat(&ChatRequest::from("hello")).await?;
    let so_far = report("overloaded, retried:", 0)?;
    ensure!(reply.text() == "back again" && reply.timing.attempts == 3);

    let reply = first.chat(&ChatRequest::from("hello")).await?;
    let so_far = report("asked to wait 150 ms:", so_far)?;
    ensure!(reply.text() == "thanks for waiting" && reply.timing.attempts == 2);

    let chain = Fallback::new(first.clone()).or(models::shipped()?);
    let reply = chain.chat(&ChatRequest::from("Hello!")).await?;
    let so_far = report("quota spent, no retry, the next model answers:", so_far)?;
    out!("  {}/{}: {}\n", reply.provider, reply.model, reply.text())?;
    ensure!(&*reply.provider == "local");

    let careful = Fallback::new(first).or(models::shipped()?);
    let careful = careful.when(|e| e.is_retryable() || e.kind() == ErrorKind::QuotaExceeded);
    let error = careful.ask("Hello!").await.err();
    report("a wrong key, which is ours to mend:", so_far)?;
    ensure!(
        error
            .as_ref()
            .is_some_and(|e| e.kind() == ErrorKind::Authentication)
    );
    out!(
        "  {}\nall four as expected\n",
        error.map(|e| e.to_string()).unwrap_or_default()
    )
}
