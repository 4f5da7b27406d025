//! A brochure of a company from its web pages: fetch, choose links, read them, write.
//!
//! ```sh
//! cargo run --release --example brochure --features apis
//! cargo run --release --example brochure --features apis -- --model openai/gpt-4o-mini --url https://huggingface.co
//! ```
//!
//! The model gets the links of the first page and answers with those worth reading, as a typed value;
//! their pages are fetched and it writes the brochure, printed while it is written. Without `--model`
//! the pages are those of an imaginary airline, served by this program, and the model's answers are
//! written down in it: the small model that ships with the repository cannot write brochures. Only
//! pages of the first page's host are fetched. Ends with a line such as `3 pages read, 912 characters`.
//!
//! Smoke:

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use futures_util::{StreamExt, pin_mut};
use ropewalk::core::{ChatModelExt, ChatRequest, DynChatModel, ExtractMode, ExtractOptions};
use ropewalk::http::FetchOptions;
use ropewalk::tools::FenceStripper;
use ropewalk::tools::builtin::web::{HttpFetch, Readable};
use ropewalk_core::testing::ScriptedModel;
use ropewalk_examples::serve::{Outgoing, serve};
use ropewalk_examples::{Args, models, out};
use schemars::JsonSchema;
use serde::Deserialize;

const USAGE: &str = "\
usage: brochure [options]
  --model MODEL    provider/model or a GGUF file
  --url URL        the first page";

/// The links worth reading for a brochure.
#[derive(Debug, Deserialize, JsonSchema)]
struct Chosen {
    /// At most five links, the most telling first.
    links: Vec<ChosenLink>,
}

/// One link.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChosenLink {
    /// What the page is about, for example "careers".
    kind: String,
    /// The whole address, as given.
    url: String,
}

fn main() -> std::process::ExitCode {
    ropewalk_examples::run(|| {
        let args = Args::parse(USAGE)?;
        models::block_on(example(&args))
    })
}

async fn example(args: &Args) -> Result<()> {
    let offline = args.text("--model").is_none();
    if offline && args.text("--url").is_some() {
        bail!(
            "--url needs --model: without one the answers are written down for this program's pages"
        );
    }
    if offline {
        out!(
            "offline: the model's answers are written down in this example, no model makes them\n"
        )?;
    }
    let first = match args.text("--url") {
        Some(url) => url.to_owned(),
        None => serve(|request| async move { page(&request.path) }).await? + "/",
    };
    let model: DynChatModel = match args.text("--model") {
        Some(name) => models::named(name)?,
        None => Arc::new(written_down(&first)),
    };
    let host = first
        .split("://")
        .nth(1)
        .and_then(|r| r.split(['/', ':']).next());
    let options = FetchOptions::new()
        .with_host(host.context("--url is no address")?)
        .with_private(args.text("--url").is_none());
    let fetch = HttpFetch::new(options)?.with_max_chars(8000);

    let home = fetch.page(&first).await?;
    out!("{}: {} links\n", home.title, home.links.len())?;
    let chosen = choose(&model, &home, offline).await?;
    for link in &chosen.links {
        out!("  {}: {}\n", link.kind, link.url)?;
    }
    let read = join_all(
        chosen
            .links
            .iter()
            .take(5)
            .map(|link| fetch.page(&link.url)),
    )
    .await;
    let mut material = format!("# {}\n{}\n", home.title, home.text);
    let mut pages = 1;
    for (link, page) in chosen.links.iter().zip(read) {
        match page {
            Ok(page) => {
                pages += 1;
                material += &format!("\n# {} ({})\n{}\n", page.title, link.kind, page.text);
            }
            Err(error) => out!("  left out {}: {error}\n", link.url)?,
        }
    }
    let written = write(&model, &material).await?;
    out!("\n{pages} pages read, {written} characters\n")
}

/// Lets the model choose; an address that is not on the page is not fetched.
async fn choose(model: &DynChatModel, home: &Readable, offline: bool) -> Result<Chosen> {
    let list: Vec<String> = home
        .links
        .iter()
        .map(|l| format!("{} <{}>", l.text, l.url))
        .collect();
    let request = ChatRequest::new()
        .system(
            "You choose the links of a company's page that a brochure about the company should draw \
             on: what it is, what it offers, its people. Leave out terms, privacy and log-in.",
        )
        .user(format!("Links of {}:\n{}", home.title, list.join("\n")));
    let mode = if offline {
        ExtractMode::Prompt
    } else {
        ExtractMode::Auto
    };
    let options = ExtractOptions::new().with_mode(mode);
    let mut chosen = model.extract_with::<Chosen>(request, &options).await?.value;
    chosen
        .links
        .retain(|c| home.links.iter().any(|l| l.url == c.url));
    Ok(chosen)
}

/// Prints the brochure while it is written, without a code fence around it.
async fn write(model: &DynChatModel, material: &str) -> Result<usize> {
    let request = ChatRequest::new()
        .system("You write a short brochure in Markdown from the pages of a company.")
        .user(material)
        .max_tokens(1500);
    let text = model.ask_stream(request).await?.text();
    pin_mut!(text);
    let (mut fence, mut length) = (FenceStripper::new(), 0);
    out!("\n")?;
    while let Some(piece) = text.next().await {
        let shown = fence.push(&piece?);
        length += shown.chars().count();
        out!("{shown}")?;
    }
    let rest = fence.finish();
    out!("{rest}\n")?;
    Ok(length + rest.chars().count())
}

fn page(path: &str) -> Outgoing {
    let html = |title: &str, body: &str| {
        let links = "<nav><a href='/'>Home</a> <a href='/about'>About us</a> \
                     <a href='/careers'>Careers</a> <a href='/terms'>Terms</a></nav>";
        let text = format!("<!doctype html><title>{title}</title>{links}<main>{body}</main>");
        Outgoing::new(200, "text/html; charset=utf-8", text)
    };
    match path {
        "/" => html(
            "Larkspur Air",
            "<h1>Larkspur Air</h1><p>Small planes, short queues: ten cities from one quiet airport.",
        ),
        "/about" => html(
            "About Larkspur Air",
            "<h1>About us</h1><p>Founded in 1998 with one borrowed plane; eleven today.\
             <p>We fly to London, Paris, Tokyo, Berlin, Lisbon, New York, Cape Town, Reykjavik, Lima \
             and Sydney.",
        ),
        "/careers" => html(
            "Careers at Larkspur Air",
            "<h1>Careers</h1><ul><li>Pilots<li>Desk staff<li>A gardener</ul>",
        ),
        "/terms" => html("Terms", "<h1>Terms</h1><p>Be kind."),
        _ => Outgoing::new(404, "text/plain", "no such page"),
    }
}

fn written_down(first: &str) -> ScriptedModel {
    let links = serde_json::json!({ "links": [
        { "kind": "about", "url": format!("{first}about") },
        { "kind": "careers", "url": format!("{first}careers") },
        { "kind": "invented", "url": format!("{first}secret") },
    ] });
    ScriptedModel::new().reply(links.to_string()).reply(
        "```markdown\n# Larkspur Air\n\n*Small planes, short queues.*\n\n## Who we are\n\nWe began in \
         1998 with one borrowed plane. Today eleven of our own fly to ten cities, from Reykjavik to \
         Cape Town.\n\n## Work with us\n\nWe look for pilots, desk staff, and a gardener: our airport \
         is a quiet one.\n```",
    )
}
