//! Talk to a model in this process.
//!
//! ```sh
//! cargo run --release --example chat
//! cargo run --release --example chat -- --prompt "How much is a ticket to Lisbon?"
//! cargo run --release --example chat -- --model model.gguf --temp 0.7
//! cargo run --release --example chat --features apis -- --model anthropic/claude-haiku-4-5
//! ```
//!
//! Without `--model` it runs the small model that ships with the repository: it knows an airline
//! desk and this project, calls a tool for prices (answered here from a small table), and says
//! when it does not know. Needs no key and no download. Ends with a line of figures such as
//! `38 tokens, 812.3 tokens/s, ...`; Ctrl-C ends a reply, and at the prompt the program.
//!
//! Smoke: --prompt "How much is a ticket to Lisbon?"

use std::io::{BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use ropewalk::core::{
    ChatModel, ChatRequest, FinishReason, Message, Options, Role, StreamEvent, ToolResult,
};
use ropewalk::kernels::{Pool, bandwidth};
use ropewalk::local::{LoadOptions, LocalModel, Timings};
use ropewalk_examples::{Args, desk, load_chat, models, out, sampler};

const USAGE: &str = "\
usage: chat [options]
  --model MODEL       a GGUF file, a Hugging Face directory or provider/model
  --prompt TEXT       answer this and stop
  --system TEXT       the system message; an empty one leaves it out
  --no-tools          do not offer the price tool (a model of yours gets none)
  --max-tokens N      tokens of one reply
  --temp T            sampling temperature; 0 takes the best token (the default)
  --top-k K           keep the K best tokens
  --top-p P           keep the best tokens that make up P
  --min-p P           keep tokens at least P times as probable as the best
  --repeat-penalty R  penalise tokens that were used
  --seed N            seed of the draws
  --context N         tokens that a conversation may hold
  --threads N         threads that compute
  --device NAME       cuda, cuda:1, metal or candle-cpu, built with that feature
  --quiet             print the replies alone";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let started = Instant::now();
    let args = Args::parse(USAGE)?;
    if let Some(name) = args.text("--model").filter(|name| models::is_remote(name)) {
        return models::block_on(remote(&args, name));
    }
    let mut options = LoadOptions::default();
    options.threads = args.optional("--threads")?;
    options.context = args.optional("--context")?;
    if let Some(device) = args.optional("--device")? {
        options = options.with_device(device);
    }
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
        started: None,
        quiet,
        window: usize::MAX,
    };
    let (stop, busy) = (Arc::clone(&chat.stop), Arc::clone(&chat.busy));
    ctrlc::set_handler(move || {
        if !busy.load(SeqCst) || stop.swap(true, SeqCst) {
            let _ = out!("\n");
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
        chat.started = Some(started);
        if prompt.trim().is_empty() {
            bail!("the prompt is empty; give --prompt some text");
        }
        return chat.turn(&mut messages, &prompt);
    }
    let mut stdin = std::io::stdin().lock();
    let interactive = std::io::stdin().is_terminal();
    if interactive && !quiet {
        eprintln!(
            "{} is ready. An empty line or Ctrl-D ends.",
            chat.model.name()
        );
    }
    // The shipped model saw conversations of at most 512 tokens and goes astray in longer ones.
    chat.window = if shipped {
        448
    } else {
        // An eighth is left for the reply.
        chat.model.model().context() / 8 * 7
    };
    let mut failed = false;
    loop {
        if interactive {
            out!("\n> ")?;
        }
        let mut line = Vec::new();
        let read = stdin
            .read_until(b'\n', &mut line)
            .context("cannot read standard input")?;
        let text = String::from_utf8_lossy(&line);
        match text.trim() {
            _ if read == 0 && failed => bail!("not every line could be answered"),
            "" if read == 0 || interactive => return Ok(()),
            "" => continue,
            text => {
                // A turn that fails is left out of the conversation, which goes on.
                let before = messages.len();
                if let Err(e) = chat.turn(&mut messages, text) {
                    if e.is::<std::io::Error>() {
                        return Err(e);
                    }
                    eprintln!("error: {e:#}");
                    messages.truncate(before);
                    failed = !interactive;
                }
            }
        }
    }
}

/// Talks to a model behind an API; Ctrl-C ends the program.
async fn remote(args: &Args, name: &str) -> Result<()> {
    let model = models::named(name)?;
    let options = Options {
        temperature: args.optional("--temp")?,
        top_p: args.optional("--top-p")?,
        top_k: args.optional("--top-k")?,
        seed: args.optional("--seed")?,
        max_tokens: args.optional("--max-tokens")?,
        ..Options::default()
    };
    let mut request = ChatRequest::new().options(options);
    if let Some(system) = args.text("--system").filter(|s| !s.is_empty()) {
        request = request.system(system);
    }
    let interactive = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let line = match args.text("--prompt") {
            Some(prompt) => prompt.to_owned(),
            None => {
                if interactive {
                    out!("\n> ")?;
                }
                let line = lines
                    .next()
                    .transpose()
                    .context("cannot read standard input")?;
                match line.filter(|l| !l.trim().is_empty()) {
                    Some(line) => line,
                    None => return Ok(()),
                }
            }
        };
        request = request.user(line);
        let mut events = model.stream(&request).await?;
        while let Some(event) = events.next().await {
            match event? {
                StreamEvent::TextDelta { text, .. } => out!("{text}")?,
                StreamEvent::Finished(reply) => {
                    out!("\n")?;
                    if !args.has("--quiet") {
                        let (tokens, took) = (reply.usage.output_tokens, reply.timing.total);
                        let tokens = tokens.map_or("?".to_owned(), |n| n.to_string());
                        eprintln!("[{tokens} tokens in {:.1} s]", took.as_secs_f64());
                        for warning in &reply.warnings {
                            eprintln!("[not honoured: {warning}]");
                        }
                    }
                    request = request.message(reply.message);
                }
                _ => {}
            }
        }
        if args.text("--prompt").is_some() {
            return Ok(());
        }
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
    /// Tokens of a conversation above which its oldest turns are left out.
    window: usize,
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
            self.forget(&mut request)?;
            self.busy.store(true, SeqCst);
            let (mut first, mut written) = (None, Ok(()));
            let reply = self.model.respond(&request, &mut |event| {
                if matches!(
                    event,
                    StreamEvent::TextDelta { .. } | StreamEvent::ToolCallStarted { .. }
                ) {
                    first.get_or_insert_with(|| since.elapsed());
                }
                if let StreamEvent::TextDelta { text, .. } = event {
                    written = out!("{text}");
                }
                if self.stop.load(SeqCst) || written.is_err() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            self.busy.store(false, SeqCst);
            self.stop.store(false, SeqCst);
            written?;
            let reply = reply?;
            if !reply.response.text().is_empty() {
                out!("\n")?;
            }
            if reply.response.finish_reason == FinishReason::Length && !self.quiet {
                eprintln!("[cut short: --max-tokens or the context is used up]");
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
                out!("[{}({}) = {answer}]\n", call.name, call.arguments)?;
                messages.push(Message::tool(ToolResult::to(&call, answer)));
            }
        }
        Ok(())
    }

    /// Leaves out the oldest turns of a conversation that has grown too long; the last one stays.
    fn forget(&self, request: &mut ChatRequest) -> Result<()> {
        let user = |m: &Message| m.role == Role::User;
        while self.model.tokenizer().count(&self.model.render(request)?) > self.window {
            let turns = &request.messages;
            let Some(first) = turns.iter().position(user) else {
                break;
            };
            let Some(next) = turns[first + 1..].iter().position(user) else {
                break;
            };
            request.messages.drain(first..=first + next);
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
