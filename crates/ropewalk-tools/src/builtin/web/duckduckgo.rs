//! DuckDuckGo: instant answers and the results of its page without scripts.

use std::fmt::Write as _;

use ropewalk_core::{
    Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait, parse_arguments,
};
use ropewalk_http::{Client, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::markup::{Token, Tokens, attribute, decoded};
use super::text;

const PROVIDER: &str = "duckduckgo";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to search for
    query: String,
    /// How many results, 1 to 20
    #[serde(default)]
    limit: Option<usize>,
}

/// The tool `web_search`: what DuckDuckGo answers at once, and pages with their snippets.
///
/// Asks the instant answer API and reads the results of the page without scripts; the latter is no
/// documented interface and may change or ask for a proof that a person is searching. What one of
/// them cannot give is said in the result; only when both fail the call fails. The result is
/// untrusted.
///
/// ```no_run
/// use ropewalk_http::{Client, ClientOptions};
/// use ropewalk_tools::builtin::DuckDuckGo;
///
/// # fn run() -> ropewalk_core::Result<()> {
/// let tool = DuckDuckGo::new(Client::new(ClientOptions::new())?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DuckDuckGo {
    spec: ToolSpec,
    client: Client,
    answers: String,
    results: String,
}

impl DuckDuckGo {
    /// Creates the tool.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let description = "Searches the web: an instant answer if there is one, and pages with \
            their titles, addresses and snippets.";
        Self {
            spec: crate::__private::spec::<Arguments>("web_search", description, false),
            client,
            answers: "https://api.duckduckgo.com/".into(),
            results: "https://html.duckduckgo.com/html/".into(),
        }
    }

    /// Sets the address of the instant answers and the one of the results.
    #[must_use]
    pub fn with_base_urls(
        mut self,
        answers: impl Into<String>,
        results: impl Into<String>,
    ) -> Self {
        (self.answers, self.results) = (answers.into(), results.into());
        self
    }

    async fn answer(&self, query: &str) -> Result<Value, ToolError> {
        let request = Request::get(&self.answers)
            .with_provider(PROVIDER)
            .with_query("q", query)
            .with_query("format", "json")
            .with_query("no_html", "1")
            .with_query("skip_disambig", "1");
        let reply = super::json(&self.client, &request).await?;
        Ok(instant(&reply))
    }

    async fn pages(&self, query: &str, limit: usize) -> Result<Vec<Hit>, ToolError> {
        let request = Request::get(&self.results)
            .with_provider(PROVIDER)
            .with_query("q", query);
        let body = super::body(&self.client, &request).await?;
        let page = String::from_utf8_lossy(&body);
        let found = hits(&page, limit);
        match found.is_empty() && page.contains("anomaly") {
            true => Err(ToolError::failed(
                "duckduckgo: it asks for a proof that a person searches",
            )),
            false => Ok(found),
        }
    }
}

/// Picks the answer of the instant answer API: text and address, `null` when there is none.
fn instant(reply: &Value) -> Value {
    let pairs = [
        ("/Answer", ""),
        ("/AbstractText", "/AbstractURL"),
        ("/Definition", "/DefinitionURL"),
        ("/RelatedTopics/0/Text", "/RelatedTopics/0/FirstURL"),
    ];
    let found = pairs
        .iter()
        .find(|(field, _)| !text(reply, field).is_empty());
    found.map_or(Value::Null, |(field, url)| {
        let heading = text(reply, "/Heading");
        let url = if url.is_empty() { "" } else { text(reply, url) };
        json!({"heading": heading, "text": text(reply, field), "url": url})
    })
}

/// A result of the search.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Hit {
    title: String,
    url: String,
    snippet: String,
}

/// Reads the results of the page: links of class `result__a`, then elements of class
/// `result__snippet`. Advertisements, which lead through `/y.js`, are left out.
fn hits(page: &str, limit: usize) -> Vec<Hit> {
    let mut found: Vec<Hit> = Vec::new();
    // Where words go: the element that is open and whether it is a title.
    let mut open: Option<(String, bool)> = None;
    let mut skipped = false;
    for token in Tokens::new(page) {
        match token {
            Token::Open(name, attributes) if open.is_none() => {
                let class = attribute(attributes, "class").unwrap_or_default();
                let mut classes = class.split_ascii_whitespace();
                match classes.find(|c| ["result__a", "result__snippet"].contains(c)) {
                    Some("result__a") => {
                        let target = attribute(attributes, "href").and_then(|h| target(&h));
                        skipped = target.is_none();
                        let Some(url) = target else { continue };
                        if found.len() == limit {
                            break;
                        }
                        found.push(Hit {
                            url,
                            ..Hit::default()
                        });
                        open = Some((name, true));
                    }
                    Some(_) if !skipped => open = Some((name, false)),
                    _ => {}
                }
            }
            Token::Close(name) if open.as_ref().is_some_and(|(n, _)| *n == name) => open = None,
            Token::Text(words) => {
                if let (Some((_, title)), Some(hit)) = (&open, found.last_mut()) {
                    let field = if *title {
                        &mut hit.title
                    } else {
                        &mut hit.snippet
                    };
                    field.push_str(&decoded(words));
                }
            }
            _ => {}
        }
    }
    for hit in &mut found {
        for field in [&mut hit.title, &mut hit.snippet] {
            *field = field.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
    found
}

/// Returns where a result leads: the `uddg` of a link through DuckDuckGo, or the link itself.
fn target(href: &str) -> Option<String> {
    let base = Url::parse("https://duckduckgo.com/").ok()?;
    let url = base.join(href).ok()?;
    let inner = url.query_pairs().find(|(name, _)| name == "uddg");
    let target = match inner {
        Some((_, inner)) => Url::parse(&inner).ok()?,
        None => url,
    };
    let web = matches!(target.scheme(), "http" | "https");
    let own = target
        .host_str()
        .is_some_and(|h| h.ends_with("duckduckgo.com"));
    (web && !own).then(|| target.into())
}

#[async_trait]
impl Tool for DuckDuckGo {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments: Arguments = parse_arguments(arguments)?;
        let query = arguments.query.trim();
        if query.is_empty() {
            return Err(ToolError::InvalidArguments("the query is empty".into()));
        }
        let limit = arguments.limit.unwrap_or(8).clamp(1, 20);
        let (answer, pages) =
            futures_util::future::join(self.answer(query), self.pages(query, limit)).await;
        let mut shown = Vec::new();
        let mut structured = json!({"answer": null, "results": []});
        if let (Err(_), Err(error)) = (&answer, &pages) {
            return Err(ToolError::Failed(error.to_string()));
        }
        match answer {
            Ok(answer) if !answer.is_null() => {
                let parts = ["/heading", "/text", "/url"].map(|p| text(&answer, p));
                let parts: Vec<_> = parts.into_iter().filter(|p| !p.is_empty()).collect();
                shown.push(parts.join("\n"));
                structured["answer"] = answer;
            }
            Ok(_) => {}
            Err(error) => shown.push(format!("[no instant answer: {error}]")),
        }
        match pages {
            Ok(pages) if pages.is_empty() => shown.push("[no results]".to_owned()),
            Ok(pages) => {
                for (i, hit) in pages.iter().enumerate() {
                    let mut text = String::new();
                    // Writing into a String does not fail.
                    _ = write!(
                        text,
                        "{}. {}\n{}\n{}",
                        i + 1,
                        hit.title,
                        hit.url,
                        hit.snippet
                    );
                    shown.push(text.trim_end().to_owned());
                }
                structured["results"] = json!(pages);
            }
            Err(error) => shown.push(format!("[no results: {error}]")),
        }
        let mut output = ToolOutput::text(shown.join("\n\n"));
        output.structured = Some(structured);
        Ok(output)
    }
}
