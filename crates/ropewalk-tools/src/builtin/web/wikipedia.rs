//! Articles of Wikipedia, by its action API and its REST API.

use std::fmt::Write as _;

use futures_util::future::join_all;
use ropewalk_core::{
    Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait, parse_arguments,
};
use ropewalk_http::{Client, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::readable::readable;
use super::text;

const PROVIDER: &str = "wikipedia";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to look up: a name or a few words
    query: String,
    /// Code of the language, such as en, de or fr
    #[serde(default)]
    language: Option<String>,
    /// How many articles, 1 to 10
    #[serde(default)]
    limit: Option<u8>,
}

/// The tool `wikipedia`: the articles that fit some words, each with its summary and address.
///
/// Searches with `action=query&list=search` of the action API and reads
/// `/api/rest_v1/page/summary/TITLE`. The result is untrusted.
///
/// ```no_run
/// use ropewalk_http::{Client, ClientOptions};
/// use ropewalk_tools::builtin::Wikipedia;
///
/// # fn run() -> ropewalk_core::Result<()> {
/// let tool = Wikipedia::new(Client::new(ClientOptions::new())?).with_language("de");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Wikipedia {
    spec: ToolSpec,
    client: Client,
    base: String,
    language: String,
}

impl Wikipedia {
    /// Creates the tool for the English Wikipedia.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let description = "Looks up articles of Wikipedia and returns their summaries.";
        Self {
            spec: crate::__private::spec::<Arguments>("wikipedia", description, false),
            client,
            base: "https://{language}.wikipedia.org".into(),
            language: "en".into(),
        }
    }

    /// Sets the address; `{language}` in it stands for the code of the language.
    #[must_use]
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.base = url.into();
        self
    }

    /// Sets the language when a call names none.
    #[must_use]
    pub fn with_language(mut self, code: impl Into<String>) -> Self {
        self.language = code.into();
        self
    }

    fn url(&self, language: &str, path: &[&str]) -> Result<String, ToolError> {
        let base = self.base.replace("{language}", language);
        let unreadable = || ToolError::failed(format!("{PROVIDER}: the address {base:?} is none"));
        let mut url = Url::parse(&base).map_err(|_| unreadable())?;
        let mut segments = url.path_segments_mut().map_err(|()| unreadable())?;
        segments.pop_if_empty().extend(path);
        drop(segments);
        Ok(url.into())
    }

    async fn search(
        &self,
        language: &str,
        query: &str,
        limit: u8,
    ) -> Result<Vec<Value>, ToolError> {
        let request = Request::get(self.url(language, &["w", "api.php"])?)
            .with_provider(PROVIDER)
            .with_query("action", "query")
            .with_query("list", "search")
            .with_query("format", "json")
            .with_query("formatversion", "2")
            .with_query("srlimit", &limit.to_string())
            .with_query("srsearch", query);
        let mut reply = super::json(&self.client, &request).await?;
        if let Some(info) = reply.pointer("/error/info").and_then(Value::as_str) {
            return Err(ToolError::Failed(format!("{PROVIDER}: {info}")));
        }
        match reply.pointer_mut("/query/search").map(Value::take) {
            Some(Value::Array(mut hits)) => {
                hits.truncate(limit.into());
                Ok(hits)
            }
            _ => Err(ToolError::failed(
                "wikipedia: the reply holds no search results",
            )),
        }
    }

    /// Reads the summary of an article; what the search said when there is none.
    async fn summary(&self, language: &str, hit: &Value) -> Value {
        let title = text(hit, "/title");
        let snippet = readable(text(hit, "/snippet"), "").text;
        let summary = async {
            let path = [
                "api",
                "rest_v1",
                "page",
                "summary",
                &title.replace(' ', "_"),
            ];
            let request = Request::get(self.url(language, &path)?).with_provider(PROVIDER);
            super::json(&self.client, &request).await
        };
        let summary = summary.await.unwrap_or_default();
        let extract = match text(&summary, "/extract") {
            "" => snippet.as_str(),
            extract => extract,
        };
        json!({
            "title": title,
            "description": text(&summary, "/description"),
            "summary": extract,
            "url": text(&summary, "/content_urls/desktop/page"),
        })
    }
}

#[async_trait]
impl Tool for Wikipedia {
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
        let language = arguments.language.as_deref().unwrap_or(&self.language);
        let code = |b: u8| b.is_ascii_lowercase() || b == b'-';
        if !(2..=16).contains(&language.len()) || !language.bytes().all(code) {
            let problem = format!("the language {language:?} is no code such as en or de");
            return Err(ToolError::InvalidArguments(problem));
        }
        let limit = arguments.limit.unwrap_or(3).clamp(1, 10);
        let hits = self.search(language, query, limit).await?;
        if hits.is_empty() {
            return Ok(ToolOutput::text(format!("No article fits {query:?}.")));
        }
        let articles = join_all(hits.iter().map(|h| self.summary(language, h))).await;
        let mut shown = String::new();
        for article in &articles {
            let field = |name: &str| text(article, name);
            let gap = if shown.is_empty() { "" } else { "\n\n" };
            // Writing into a String does not fail.
            _ = writeln!(shown, "{gap}# {}", field("/title"));
            for part in ["/description", "/summary", "/url"].map(field) {
                if !part.is_empty() {
                    _ = write!(shown, "\n{part}");
                }
            }
        }
        let mut output = ToolOutput::text(shown);
        output.structured = Some(Value::Array(articles));
        Ok(output)
    }
}
