//! Two models talk to each other: a customer and the desk of an airline.
//!
//! ```sh
//! cargo run --release --example chatbots_talking
//! cargo run --release --example chatbots_talking -- --seed 5 --turns 8
//! cargo run --release --example chatbots_talking --features apis -- --model openai/gpt-4o-mini --other anthropic/claude-haiku-4-5
//! ```
//!
//! What one says is what the other hears: each has its own view of the conversation, in which it is
//! the assistant. Without `--model` both are the small model that ships with the repository; the
//! customer is made of it by a chat template that swaps the roles, so that it writes questions. It is
//! small, and so is its talk. Ends with the number of turns and tokens.
//!
//! Smoke: --turns 4

use std::sync::Arc;

use anyhow::Result;
use ropewalk::core::{ChatModel, ChatRequest, DynChatModel, Message, Options, Usage};
use ropewalk::local::LoadOptions;
use ropewalk::tools::{ToolRunner, ToolSet};
use ropewalk_examples::{Args, desk, load_chat, models, out};

const USAGE: &str = "\
usage: chatbots_talking [options]
  --model MODEL    the desk: a GGUF file, a directory or provider/model
  --other MODEL    the customer
  --turns N        replies in all; 6 unless given
  --temp T         temperature of the customer; 0.5 unless given
  --seed N         seed of the customer's draws";

/// ChatML with the roles swapped: the model writes what users write.
const SWAPPED: &str = "{% for m in messages %}\
    {{ '<|im_start|>' + {'assistant': 'user', 'user': 'assistant'}.get(m.role, m.role) + '\\n' }}\
    {{ m.content + '<|im_end|>\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>user\\n' }}{% endif %}";

const CUSTOMER: &str = "You are a customer of Larkspur Air, curious and brief. You ask one question \
                        at a time about tickets, luggage and opening hours.";

/// One side of the conversation: in its view it is the assistant and the other one the user.
struct Persona {
    name: &'static str,
    model: DynChatModel,
    runner: ToolRunner,
    heard: Vec<Message>,
    options: Options,
}

impl Persona {
    fn new(name: &'static str, model: DynChatModel, system: &str, tools: ToolSet) -> Self {
        let runner = ToolRunner::new(tools).with_max_turns(5);
        let heard = vec![Message::system(system)];
        let options = Options {
            max_tokens: Some(120),
            ..Options::default()
        };
        Self {
            name,
            model,
            runner,
            heard,
            options,
        }
    }

    /// Hears something, answers it and remembers both.
    async fn answer(&mut self, said: &str) -> Result<(String, Usage)> {
        self.heard.push(Message::user(said));
        let request = ChatRequest::new()
            .messages(self.heard.clone())
            .options(self.options.clone());
        let run = self.runner.run(&self.model, request).await?;
        self.heard = run.messages;
        // Each turn is drawn anew.
        self.options.seed = self.options.seed.map(|s| s + 1);
        Ok((run.response.text().trim().to_owned(), run.usage))
    }
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let shipped = || load_chat(None, LoadOptions::default(), false);
    let customer: DynChatModel = match args.text("--other") {
        Some(name) => models::named(name)?,
        None => Arc::new(shipped()?.with_template(SWAPPED)?),
    };
    let prices = ToolSet::new().with(desk::get_ticket_price)?;
    let mut desk = Persona::new("desk", models::chosen(args)?, desk::SYSTEM, prices);
    let system = if args.text("--other").is_some() {
        CUSTOMER
    } else {
        desk::SYSTEM
    };
    let mut customer = Persona::new("customer", customer, system, ToolSet::new());
    customer.options.temperature = Some(args.get("--temp", 0.5)?);
    customer.options.max_tokens = Some(24);
    customer.options.seed = Some(args.get("--seed", 1)?);

    let mut said = "Larkspur Air, how can I help you?".to_owned();
    out!("desk: {said}\n")?;
    desk.heard.push(Message::user("Hello."));
    desk.heard.push(Message::assistant(said.as_str()));
    let (turns, mut used) = (args.get("--turns", 6)?, Usage::default());
    for turn in 0..turns {
        let speaker = if turn % 2 == 0 {
            &mut customer
        } else {
            &mut desk
        };
        let (text, usage) = speaker.answer(&said).await?;
        used += usage;
        out!("{}: {text}\n", speaker.name)?;
        said = if text.is_empty() {
            "…".to_owned()
        } else {
            text
        };
    }
    let names = (customer.model.model(), desk.model.model());
    out!(
        "{turns} turns of {} and {}, {} tokens\n",
        names.0,
        names.1,
        used.total_tokens()
            .map_or("an unknown number of".to_owned(), |n| n.to_string())
    )
}
