//! Replies that cannot be malformed: JSON of a Rust type, a date, a sum, one of several words.
//!
//! ```sh
//! cargo run --release --example constrained
//! cargo run --release --example constrained -- --seed 7 --model my-model.gguf
//! cargo run --release --example constrained -- --runs 1000
//! ```
//!
//! Runs the model that ships with the repository, at temperature 1 so that the grammar has something to hold. After
//! each reply stands how many of its tokens the grammar left no choice in and how many passes through the model that
//! saved. With `--runs N` the schema is asked for with N seeds and the replies that parse are counted. Ends with
//! `32 of 32 replies are tickets` or so.
//!
//! Smoke: --runs 8

use anyhow::{Result, ensure};
use ropewalk::core::{ChatModelExt, ChatRequest, ErrorKind};
use ropewalk::local::constrain::{Grammar, Vocabulary};
use ropewalk::local::sample::SamplerOptions;
use ropewalk::local::{Finish, GenerateOptions, Generation, LoadOptions, LocalModel};
use ropewalk_examples::{Args, load_chat, models, out};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const USAGE: &str = "\
usage: constrained [options]
  --model FILE   a GGUF file or a Hugging Face directory
  --seed N       seed of the draws (1)
  --runs N       how many seeds the schema is asked for with (32)";

/// A ticket of the airline desk.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Ticket {
    city: City,
    class: Class,
    seats: u8,
    #[schemars(length(max = 12))]
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum City {
    Paris,
    #[serde(rename = "Zürich")]
    Zurich,
    Tokyo,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Class {
    Economy,
    First,
}

/// Sums and products of small numbers, in the notation of llama.cpp.
const SUM: &str = r#"
root   ::= term (("+" | "-") term){1,3} "="
term   ::= factor ("*" factor)?
factor ::= [1-9] [0-9]? | "(" [1-9] "+" [1-9] ")"
"#;

/// The same idea in the notation of Lark: a greeting in three languages.
const GREETING: &str = r#"
start: HELLO ", " NAME "!"
HELLO: "Hello" | "Grüezi" | "Bonjour"
NAME: /[A-Z][a-z]{2,7}/
"#;

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        let path = args.path("--model");
        let model = load_chat(path.as_deref(), LoadOptions::default(), path.is_some())?;
        let seed = args.get("--seed", 1)?;
        replies(&model, seed)?;
        typed(&model, args.get("--runs", 32)?, seed)
    })
}

/// One reply under each grammar.
fn replies(model: &LocalModel, seed: u64) -> Result<()> {
    let vocabulary = Vocabulary::with_end_ids(model.tokenizer(), model.model().stop_ids())?;
    let schema = schemars::schema_for!(Ticket);
    let grammars = [
        ("JSON schema", Grammar::json_schema(schema.as_value())?),
        (
            "date",
            Grammar::regex(r"20\d{2}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])")?,
        ),
        ("phone", Grammar::regex(r"\+\d{2} \d{2} \d{3} \d{2} \d{2}")?),
        ("GBNF", Grammar::gbnf(SUM)?),
        ("Lark", Grammar::lark(GREETING)?),
        (
            "choice",
            Grammar::choice(["window", "aisle", "no preference"])?,
        ),
    ];
    let request = ChatRequest::new().user("How much is a ticket to Paris?");
    let prompt = model.tokenizer().encode(&model.render(&request)?, false)?;
    for (name, grammar) in grammars {
        let sampler = SamplerOptions::greedy()
            .with_temperature(1.0)
            .with_seed(seed);
        let options = GenerateOptions::greedy(200)
            .with_sampler(sampler)
            .with_constraint(vocabulary.compile(&grammar)?);
        let mut cache = model.model().new_cache();
        let mut tokens = Generation::new(model.model(), &mut cache, &prompt, &options)?;
        let ids = tokens
            .by_ref()
            .map(|token| Ok(token?.id))
            .collect::<Result<Vec<u32>>>()?;
        ensure!(
            matches!(tokens.finish(), Some(Finish::Complete | Finish::Stop(_))),
            "the reply was cut"
        );
        let timings = tokens.timings();
        // The pass over the prompt gives one token.
        let saved = ids.len().saturating_sub(timings.decode_steps + 1);
        out!(
            "{name:<12} {}\n{:12} {} tokens, {} forced, {saved} passes saved\n",
            model.tokenizer().decode(&ids, true)?,
            "",
            ids.len(),
            timings.forced_tokens,
        )?;
    }
    Ok(())
}

/// The same schema through a chat: the reply is a value, or the token limit cut it.
fn typed(model: &LocalModel, runs: u64, seed: u64) -> Result<()> {
    let mut tickets = 0;
    for i in 0..runs {
        let request = ChatRequest::new()
            .user("How much is a ticket to Paris?")
            .temperature(1.0)
            .seed(seed.wrapping_add(i));
        match models::block_on(async { Ok(model.extract::<Ticket>(request).await) })? {
            Ok(_) => tickets += 1,
            Err(e) => out!("seed {}: {e}\n", seed.wrapping_add(i))?,
        }
    }
    let request = ChatRequest::new().user("A ticket, please.").max_tokens(4);
    let cut = models::block_on(async { Ok(model.extract::<Ticket>(request).await) })?;
    let kind = cut.err().map(|e| e.kind());
    ensure!(
        kind == Some(ErrorKind::Truncated),
        "a reply of 4 tokens is no ticket"
    );
    out!(
        "a reply of 4 tokens is an error: {}\n",
        ErrorKind::Truncated.as_str()
    )?;
    out!("{tickets} of {runs} replies are tickets\n")
}
