//! How sure a model is: each token with its probability and what might have come instead.
//!
//! ```sh
//! cargo run --release --example logprobs
//! cargo run --release --example logprobs -- --prompt "How much is a ticket to Rome?" --html reply.html
//! cargo run --release --example logprobs -- --model model.gguf --beams 4
//! cargo run --release --example logprobs --features apis -- --model openai/gpt-4o-mini
//! ```
//!
//! Without `--model` it runs the small model that ships with the repository. Prints the tokens of a
//! reply with two alternatives each, writes all of it as a page to look at in a browser, and, for a
//! model in this process, compares beam search with taking the best token and reads a price as the
//! mean of the numbers the model holds possible. Ends with `a price of` and that mean.
//!
//! Smoke:

use std::fmt::Write;

use anyhow::{Context, Result};
use ropewalk::core::{ChatModel, ChatRequest, ChatResponse};
use ropewalk::local::view::TokenView;
use ropewalk::local::{
    BeamOptions, ExpectedNumber, GenerateOptions, LoadOptions, LocalModel, NumberOptions,
    beam_search,
};
use ropewalk_examples::{Args, load_chat, models, out};

const USAGE: &str = "\
usage: logprobs [options]
  --model MODEL    a GGUF file, a Hugging Face directory or provider/model
  --prompt TEXT    what to ask
  --top N          alternatives on the page (5)
  --max-tokens N   tokens of the reply (48)
  --beams N        hypotheses of the beam search (4)
  --number TEXT    a text that a number follows
  --html FILE      where the page goes (logprobs.html in the folder for temporary files)";

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(example)
}

fn example() -> Result<()> {
    let args = Args::parse(USAGE)?;
    let prompt = args
        .text("--prompt")
        .unwrap_or("How much is a ticket to Paris?");
    let mut request = ChatRequest::new().user(prompt);
    request.options.logprobs = Some(args.get("--top", 5)?);
    request.options.max_tokens = Some(args.get("--max-tokens", 48)?);
    if let Some(name) = args.text("--model").filter(|name| models::is_remote(name)) {
        let reply = models::block_on(async { Ok(models::named(name)?.chat(&request).await?) })?;
        return show(&args, prompt, &reply);
    }
    let model = load_chat(
        args.path("--model").as_deref(),
        LoadOptions::default(),
        true,
    )?;
    let reply = models::block_on(async { Ok(model.chat(&request).await?) })?;
    show(&args, prompt, &reply)?;
    beams(&args, &model)?;
    number(&args, &model)
}

/// Prints the predictions and writes the page.
fn show(args: &Args, prompt: &str, reply: &ChatResponse) -> Result<()> {
    out!("{prompt}\n{}\n\n", reply.text())?;
    let percent = |logprob: f32| 100.0 * logprob.exp();
    for token in &reply.logprobs {
        let others = token.top.iter().filter(|(text, _)| *text != token.token);
        let mut line = format!(
            "{:>14} {:6.2} %",
            format!("{:?}", token.token),
            percent(token.logprob)
        );
        for (text, logprob) in others.take(2) {
            write!(line, "   {text:?} {:.2} %", percent(*logprob))?;
        }
        out!("{line}\n")?;
    }
    let view = TokenView::from_response(reply).with_prompt(prompt);
    let Some(perplexity) = view.perplexity() else {
        return out!("{} reports no log probabilities\n", reply.model);
    };
    let path = args.path("--html");
    let path = path.unwrap_or_else(|| std::env::temp_dir().join("logprobs.html"));
    std::fs::write(&path, view.to_html())
        .with_context(|| format!("cannot write {}", path.display()))?;
    out!(
        "\nlog-probability {:.3}, perplexity {perplexity:.3}; page in {}\n",
        view.log_probability(),
        path.display()
    )
}

/// Continues a text with the best token each time, and with the best of several hypotheses.
fn beams(args: &Args, model: &LocalModel) -> Result<()> {
    let text = "A ticket to";
    let prompt = model.tokenizer().encode(text, true)?;
    let options = GenerateOptions::greedy(12);
    for n in [1, args.get("--beams", 4)?] {
        let found = beam_search(model.model(), &prompt, &options, &BeamOptions::new(n))?;
        if let Some(best) = found.first() {
            let more = model.tokenizer().decode(&best.ids(), true)?;
            out!(
                "{n} beams: {text}{more:?}, mean log-probability {:.3}\n",
                best.score
            )?;
        }
    }
    Ok(())
}

/// Reads a number that a text leads to.
fn number(args: &Args, model: &LocalModel) -> Result<()> {
    let text = args
        .text("--number")
        .unwrap_or("A return ticket to London is $");
    let ids = model.tokenizer().encode(text, true)?;
    let logits = model
        .model()
        .forward(&mut model.model().new_cache(), &ids)?;
    if let Some(number) = ExpectedNumber::of_next_token(&logits, model.tokenizer(), 3) {
        out!(
            "the best 3 tokens after {text:?} are worth {:.2} on average\n",
            number.value
        )?;
    }
    match model.expected_number(text, &NumberOptions::new())? {
        None => out!("no number follows {text:?}\n"),
        Some(price) => {
            for (value, p) in price.numbers.iter().take(3) {
                out!("  {value} with {:.1} %\n", 100.0 * p)?;
            }
            out!(
                "a price of {:.2} ± {:.2}, from {:.0} % of the mass\n",
                price.value,
                price.deviation,
                100.0 * price.mass
            )
        }
    }
}
