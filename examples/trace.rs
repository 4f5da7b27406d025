//! What happens inside a run, as a tree of spans with the names of OpenTelemetry.
//!
//! ```sh
//! cargo run --release --example trace --features apis
//! cargo run --release --example trace --features apis -- --content
//! cargo run --release --example trace --features apis -- --model openai/gpt-4o-mini
//! ```
//!
//! The libraries open `tracing` spans for calls of models and tools; this program listens with fifty
//! lines of its own and prints them as they end, the innermost first. Any other subscriber gets the
//! same, for example one that sends them to OpenTelemetry. What was said is left out unless
//! `--content` asks for it. Without `--model` it traces the small model that ships with the
//! repository. Prints lines such as `execute_tool get_ticket_price  0 ms  gen_ai.tool.name=...`.
//!
//! Smoke:
//! Smoke: --content

use std::fmt::{Debug, Write};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;
use ropewalk::core::ChatRequest;
use ropewalk::providers::Traced;
use ropewalk::tools::{ToolRunner, ToolSet};
use ropewalk_examples::{Args, desk, models, out};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const USAGE: &str = "\
usage: trace [options]
  --model MODEL    a GGUF file, a directory or provider/model
  --prompt TEXT    the question
  --content        record what was said, too";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        let listener = Listener {
            spans: Mutex::default(),
        };
        tracing::subscriber::with_default(listener, || models::block_on(example(&args)))
    })
}

async fn example(args: &Args) -> Result<()> {
    let model = Traced::new(models::chosen(args)?).with_content(args.has("--content"));
    let tools = ToolSet::new()
        .with(desk::get_ticket_price)?
        .with_captured_content(args.has("--content"));
    let prompt = args
        .text("--prompt")
        .unwrap_or("How much are tickets to London and Paris?");
    let request = ChatRequest::new()
        .system(desk::SYSTEM)
        .user(prompt)
        .max_tokens(200);
    let run = ToolRunner::new(tools).run(&model, request).await?;
    out!("answer: {}\n", run.response.text())
}

/// An open span: its name, when it began, what is known of it.
struct Open {
    name: String,
    began: Instant,
    fields: String,
    handles: usize,
}

/// Keeps open spans and prints each when its last handle is gone.
struct Listener {
    spans: Mutex<Vec<Option<Open>>>,
}

struct Fields<'a> {
    name: &'a mut String,
    text: &'a mut String,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        let value = value.trim_matches('"');
        match field.name() {
            "otel.name" => value.clone_into(self.name),
            "otel.kind" => {}
            name => {
                write!(self.text, "\n    {name}={value}").ok();
            }
        }
    }
}

impl Listener {
    fn with<T>(&self, id: &Id, act: impl FnOnce(&mut Option<Open>) -> T) -> Option<T> {
        let mut spans = self.spans.lock().unwrap_or_else(|e| e.into_inner());
        let at = usize::try_from(id.into_u64()).ok()?.checked_sub(1)?;
        Some(act(spans.get_mut(at)?))
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ropewalk")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut name = span.metadata().name().to_owned();
        let mut text = String::new();
        span.record(&mut Fields {
            name: &mut name,
            text: &mut text,
        });
        let open = Open {
            name,
            began: Instant::now(),
            fields: text,
            handles: 1,
        };
        let mut spans = self.spans.lock().unwrap_or_else(|e| e.into_inner());
        spans.push(Some(open));
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.with(id, |open| {
            if let Some(open) = open {
                values.record(&mut Fields {
                    name: &mut open.name,
                    text: &mut open.fields,
                });
            }
        });
    }

    fn event(&self, event: &Event<'_>) {
        let (mut name, mut text) = (event.metadata().name().to_owned(), String::new());
        event.record(&mut Fields {
            name: &mut name,
            text: &mut text,
        });
        out!("event{text}\n").ok();
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.with(id, |open| open.as_mut().map(|o| o.handles += 1));
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let closed = self.with(&id, |open| {
            let last = open.as_mut().is_some_and(|o| {
                o.handles -= 1;
                o.handles == 0
            });
            if last { open.take() } else { None }
        });
        let Some(open) = closed.flatten() else {
            return false;
        };
        let took = open.began.elapsed().as_millis();
        out!("{}  {took} ms{}\n", open.name, open.fields).ok();
        true
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
