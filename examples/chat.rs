//! Talk to a model in this process.
//!
//! ```sh
//! cargo run --release --example chat
//! cargo run --release --example chat -- --prompt "How much is a ticket to Lisbon?"
//! cargo run --release --example chat -- --model model.gguf --temp 0.7
//! ```
//!
//! Without `--model` it runs the small model that ships with the repository: it knows an airline
//! desk and this project, calls a tool for prices (answered here from a small table), and says
//! when it does not know. Needs no key and no download. Ends with a line of figures such as
//! `38 tokens, 812.3 tokens/s, ...`; Ctrl-C ends a reply, and at the prompt the program.
//!
//! Smoke: --prompt "How much is a ticket to Lisbon?"

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ropewalk::core::{ChatRequest, Message, StreamEvent, ToolResult};
use ropewalk::kernels::{Pool, bandwidth};
use ropewalk::local::{LoadOptions, LocalModel, Timings};
use ropewalk_examples::{Args, desk, load_chat, sampler};

const USAGE: &str = "\
usage: chat [options]
  --model FILE        a GGUF file or a Hugging Face directory
  --prompt TEXT       answer this and stop
  --system TEXT       the system message; an empty one leaves it out
  --no-tools          offer no tools
  --max-tokens N      tokens of one reply
  --temp T            sampling temperature; 0 takes the best token (the default)
  --top-k K           keep the K best tokens
  --top-p P           keep the best tokens that make up P
  --min-p P           keep tokens at least P times as probable as the best
  --repeat-penalty R  penalise tokens that were used
  --seed N            seed of the draws
  --context N         tokens that a conversation may hold
  --threads N         threads that compute
  --quiet             print the replies alone";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let started = Instant::now();
    let args = Args::parse(USAGE)?;
    let mut options = LoadOptions::default();
    options.threads = args.optional("--threads")?;
    options.context = args.optional("--context")?;
    let shipped = args.text("--model").is_none();
    let quiet = args.has("--quiet");
    let model =
        load_chat(args.path("--model").as_deref(), options, !quiet)?.with_sampler(sampler(&args)?);

    let tools = if shipped && !args.has("--no-tools") {
        vec![desk::price_tool()]
    } else {
        vec![]
    };
    let mut chat = Chat {
        model,
        tools,
        args,
        stop: Arc::default(),
        busy: Arc::default(),
        started: Some(started),
        quiet,
    };
    let (stop, busy) = (Arc::clone(&chat.stop), Arc::clone(&chat.busy));
    ctrlc::set_handler(move || {
        if !busy.load(SeqCst) || stop.swap(true, SeqCst) {
            println!();
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")?;

    let mut messages = Vec::new();
    let system = chat
        .args
        .text("--system")
        .or(shipped.then_some(desk::SYSTEM));
    if let Some(text) = system.filter(|s| !s.is_empty()) {
        messages.push(Message::system(text));
    }
    if let Some(prompt) = chat.args.text("--prompt").map(str::to_owned) {
        if prompt.trim().is_empty() {
            bail!("the prompt is empty; give --prompt some text");
        }
        return chat.turn(&mut messages, &prompt);
    }
    let stdin = std::io::stdin();
    let interactive = stdin.is_terminal();
    if interactive && !quiet {
        eprintln!(
            "{} is ready. An empty line or Ctrl-D ends.",
            chat.model.name()
        );
    }
    loop {
        if interactive {
            print!("\n> ");
            std::io::stdout().flush()?;
        }
        let mut line = String::new();
        if stdin.lock().read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(());
        }
        chat.turn(&mut messages, line.trim())?;
    }
}

struct Chat {
    model: LocalModel,
    tools: Vec<ropewalk::core::ToolSpec>,
    args: Args,
    stop: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
    /// Start of the program, until the first token has come.
    started: Option<Instant>,
    quiet: bool,
}

/// A reply may ask for tools this often before the turn ends.
const MAX_CALLS: usize = 4;

impl Chat {
    /// Sends one message and prints the reply as it comes, with the tools it calls.
    fn turn(&mut self, messages: &mut Vec<Message>, text: &str) -> Result<()> {
        messages.push(Message::user(text));
        let mut since = self.started.take().unwrap_or_else(Instant::now);
        for _ in 0..=MAX_CALLS {
            let mut request = ChatRequest::new().messages(messages.clone());
            request.tools = self.tools.clone();
            request.options.max_tokens = self.args.optional("--max-tokens")?;
            self.busy.store(true, SeqCst);
            let mut first = None;
            let reply = self.model.respond(&request, &mut |event| {
                if matches!(
                    event,
                    StreamEvent::TextDelta { .. } | StreamEvent::ToolCallStarted { .. }
                ) {
                    first.get_or_insert_with(|| since.elapsed());
                }
                if let StreamEvent::TextDelta { text, .. } = event {
                    print!("{text}");
                    let _ = std::io::stdout().flush();
                }
                if self.stop.load(SeqCst) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            self.busy.store(false, SeqCst);
            self.stop.store(false, SeqCst);
            let reply = reply?;
            if !reply.response.text().is_empty() {
                println!();
            }
            if !self.quiet {
                self.figures(&reply.timings, first.unwrap_or_default());
            }
            since = Instant::now();
            let calls: Vec<_> = reply.response.message.tool_calls().cloned().collect();
            messages.push(reply.response.message);
            if calls.is_empty() {
                return Ok(());
            }
            for call in calls {
                let answer = desk::answer(&call);
                println!("[{}({}) = {answer}]", call.name, call.arguments);
                messages.push(Message::tool(ToolResult::to(&call, answer)));
            }
        }
        Ok(())
    }

    fn figures(&self, t: &Timings, first: Duration) {
        let rate = t.decode_rate();
        let bytes = self
            .model
            .model()
            .bytes_per_step(t.prompt_tokens + t.generated_tokens / 2);
        let used = rate * bytes as f64 / 1e9;
        let mut line = format!("{} tokens", t.generated_tokens);
        if t.decode_steps > 0 {
            let pool = std::num::NonZeroUsize::new(self.model.model().threads()).map(Pool::new);
            let peak = pool.map_or(0.0, |p| bandwidth(&p));
            line += &format!(", {rate:.1} tokens/s = {used:.1} GB/s, ");
            line += &match used / peak {
                share if share > 1.0 => {
                    format!("more than the {peak:.0} GB/s of memory: the caches hold the model")
                }
                share => format!(
                    "{:.0} % of this machine's {peak:.0} GB/s read bandwidth",
                    100.0 * share
                ),
            };
        }
        eprintln!(
            "[{line}; {} prompt tokens at {:.0} tokens/s; first token after {:.3} s]",
            t.prompt_tokens - t.cached_tokens,
            t.prefill_rate(),
            first.as_secs_f64(),
        );
    }
}
