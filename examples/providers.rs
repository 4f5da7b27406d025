//! One question to several models side by side, with what each costs and how long it takes.
//!
//! ```sh
//! cargo run --release --example providers --features apis
//! cargo run --release --example providers --features apis -- --model openai/gpt-4o-mini --model anthropic/claude-haiku-4-5 --model gemini/gemini-2.5-flash --model ollama/llama3.2
//! cargo run --release --example providers --features apis -- --keys
//! ```
//!
//! Without `--model` a server on this machine speaks the languages of OpenAI, Anthropic, Gemini and
//! Ollama, and the small model that ships with the repository answers behind it: requests, replies, tokens and
//! prices take the real path, the words are those of the small model. `--keys` says which keys the
//! environment (or a file `.env`) holds and whether they look right. Ends with the sum, such as
//! `4 of 4 answered, 0.0123 cents`.
//!
//! Smoke:
//! Smoke: --keys

use std::sync::Arc;

use anyhow::Result;
use futures_util::future::join_all;
use ropewalk::core::{ChatModel, ChatRequest, ChatResponse, DynChatModel};
use ropewalk::providers::{Meter, PriceTable, Registry, Settings};
use ropewalk_examples::serve::{Incoming, Outgoing, serve};
use ropewalk_examples::{Args, models, out};
use serde_json::{Value, json};

const USAGE: &str = "\
usage: providers [options]
  --model MODEL    provider/model or a GGUF file; any number of them
  --prompt TEXT    the question
  --prices FILE    a price list of LiteLLM in place of the one built in
  --keys           say which keys there are and stop";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    if args.has("--keys") {
        return keys(&models::registry()?);
    }
    let prices = match args.path("--prices") {
        Some(path) => PriceTable::from_litellm_file(path)?,
        None => PriceTable::builtin(),
    };
    let asked: Vec<DynChatModel> = if args.all("--model").next().is_some() {
        args.all("--model")
            .map(models::named)
            .collect::<Result<_>>()?
    } else {
        out!("offline: a server on this machine speaks for all, and the shipped model answers\n")?;
        let registry = offline().await?;
        let names = [
            "openai/gpt-4o-mini",
            "anthropic/claude-haiku-4-5",
            "gemini/gemini-2.5-flash",
            "ollama/llama3.2",
        ];
        names
            .map(|n| registry.connect(n))
            .into_iter()
            .collect::<Result<_, _>>()?
    };
    let prompt = args.text("--prompt").unwrap_or("What is a GGUF file?");
    out!("> {prompt}\n")?;

    let meter = Meter::new().with_pricing(prices);
    let request = ChatRequest::new()
        .system("Answer in one sentence.")
        .user(prompt)
        .temperature(0.7)
        .max_tokens(200);
    let replies = join_all(asked.iter().map(|model| {
        let (model, request) = (meter.on(model), &request);
        async move { model.chat(request).await }
    }));
    for (model, reply) in asked.iter().zip(replies.await) {
        match reply {
            Ok(reply) => show(&meter, &reply)?,
            Err(error) => out!("\n{}/{}\n  {error}\n", model.provider(), model.model())?,
        }
    }
    let totals = meter.totals();
    let cost = totals
        .cents()
        .map_or("a price is not known".to_owned(), |c| {
            format!("{c:.4} cents")
        });
    out!("\n{} of {} answered, {cost}\n", totals.calls, asked.len())
}

fn show(meter: &Meter, reply: &ChatResponse) -> Result<()> {
    out!(
        "\n{}/{}\n  {}\n",
        reply.provider,
        reply.model,
        reply.text().trim()
    )?;
    let count = |n: Option<u64>| n.map_or("?".to_owned(), |n| n.to_string());
    let cost = meter
        .cost_of(reply)
        .map_or("?".to_owned(), |c| format!("{:.4}", c * 100.0));
    out!(
        "  {} tokens in, {} out, {cost} cents, {} ms\n",
        count(reply.usage.input_tokens),
        count(reply.usage.output_tokens),
        reply.timing.total.as_millis()
    )?;
    for warning in &reply.warnings {
        out!("  not honoured: {warning}\n")?;
    }
    Ok(())
}

fn keys(registry: &Registry) -> Result<()> {
    for status in registry.diagnose() {
        let found = match status.key {
            None => "needs no key".to_owned(),
            Some(key) => format!("{}: {key}", status.variable),
        };
        out!("{:<18} {found}\n", status.name)?;
    }
    Ok(())
}

/// Returns a registry whose providers are all the server of this example.
async fn offline() -> Result<Registry> {
    let model = models::shipped()?;
    let address = serve(move |request| {
        let model = Arc::clone(&model);
        async move { answer(&model, &request).await }
    })
    .await?;
    let settings = Settings::new()
        .with("OPENAI_API_KEY", "sk-offline")
        .with("OPENAI_BASE_URL", format!("{address}/v1"))
        .with("ANTHROPIC_API_KEY", "sk-ant-offline")
        .with("ANTHROPIC_BASE_URL", address.as_str())
        .with("GEMINI_API_KEY", "AIza-offline")
        .with("GEMINI_BASE_URL", address.as_str())
        .with("OLLAMA_HOST", address);
    Ok(Registry::new(settings)?)
}

/// Answers in the language of the request's path.
async fn answer(model: &DynChatModel, request: &Incoming) -> Outgoing {
    let body = request.json();
    let last = |list: &Value| {
        list.as_array()
            .and_then(|l| l.last())
            .cloned()
            .unwrap_or_default()
    };
    let words = |content: &Value| match content {
        Value::String(text) => text.clone(),
        parts => last(parts)["text"].as_str().unwrap_or_default().to_owned(),
    };
    let question = match body.get("contents") {
        Some(contents) => words(&last(contents)["parts"]),
        None => words(&last(&body["messages"])["content"]),
    };
    let reply = match model.chat(&ChatRequest::from(question)).await {
        Ok(reply) => reply,
        Err(error) => {
            return Outgoing::json(500, &json!({ "error": { "message": error.to_string() } }));
        }
    };
    let text = reply.text();
    let used = (reply.usage.input_tokens, reply.usage.output_tokens);
    let body = match request.path.as_str() {
        "/v1/chat/completions" => json!({
            "id": "chatcmpl-offline", "object": "chat.completion", "model": body["model"],
            "choices": [{ "index": 0, "finish_reason": "stop",
                          "message": { "role": "assistant", "content": text } }],
            "usage": { "prompt_tokens": used.0, "completion_tokens": used.1 }
        }),
        "/v1/messages" => json!({
            "id": "msg_offline", "type": "message", "role": "assistant", "model": body["model"],
            "content": [{ "type": "text", "text": text }], "stop_reason": "end_turn",
            "usage": { "input_tokens": used.0, "output_tokens": used.1 }
        }),
        "/api/chat" => json!({
            "model": body["model"], "message": { "role": "assistant", "content": text },
            "done": true, "done_reason": "stop",
            "prompt_eval_count": used.0, "eval_count": used.1
        }),
        path if path.ends_with(":generateContent") => json!({
            "candidates": [{ "content": { "role": "model", "parts": [{ "text": text }] },
                             "finishReason": "STOP" }],
            "usageMetadata": { "promptTokenCount": used.0, "candidatesTokenCount": used.1 }
        }),
        path => {
            let message = format!("the server of this example has no {path}");
            return Outgoing::json(404, &json!({ "error": { "message": message } }));
        }
    };
    Outgoing::json(200, &body)
}
