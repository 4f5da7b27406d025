//! Pages as text.

use std::fmt::Write as _;

use ropewalk_core::{
    Effect, Result, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, async_trait,
    parse_arguments,
};
use ropewalk_http::{FetchOptions, Fetcher, Page};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::readable::{Readable, readable};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The address, such as https://example.com/page
    url: String,
    /// The character to begin with, for a page that was cut
    #[serde(default)]
    start: usize,
}

/// The tool `fetch_page`: a page as readable text with its title and links.
///
/// What may be fetched is up to [`FetchOptions`]: the public internet or only some hosts, never the
/// local network unless allowed. HTML becomes text, other text and JSON stay as they are, anything
/// else is refused. A long text is cut and says how to get the rest. The result is untrusted.
///
/// ```no_run
/// use ropewalk_core::{Tool, ToolContext};
/// use ropewalk_http::FetchOptions;
/// use ropewalk_tools::builtin::HttpFetch;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let fetch = HttpFetch::new(FetchOptions::new().with_host("example.com"))?;
/// let page = fetch.page("https://example.com/").await?;
/// println!("{}: {} links", page.title, page.links.len());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct HttpFetch {
    spec: ToolSpec,
    fetcher: Fetcher,
    max_chars: usize,
    max_links: usize,
}

impl HttpFetch {
    /// Creates the tool.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) when no HTTP client can
    /// be made.
    pub fn new(options: FetchOptions) -> Result<Self> {
        let mut description =
            "Fetches a web page and returns its title, readable text and links.".to_owned();
        if !options.hosts.is_empty() {
            let hosts = options.hosts.join(", ");
            // Writing into a String does not fail.
            _ = write!(description, " Only pages of these hosts: {hosts}.");
        }
        Ok(Self {
            spec: crate::__private::spec::<Arguments>("fetch_page", &description, false),
            fetcher: Fetcher::new(options)?,
            max_chars: 20_000,
            max_links: 60,
        })
    }

    /// Sets how many characters of text one call returns; 20,000.
    #[must_use]
    pub fn with_max_chars(mut self, chars: usize) -> Self {
        self.max_chars = chars.max(1);
        self
    }

    /// Sets how many links one call returns; 60.
    #[must_use]
    pub fn with_max_links(mut self, links: usize) -> Self {
        self.max_links = links;
        self
    }

    /// Fetches a page, for programs.
    ///
    /// # Errors
    /// [`ToolError::Failed`] for what may not or cannot be fetched, a bad status, a page that is too
    /// large or no text.
    pub async fn page(&self, url: &str) -> Result<Readable, ToolError> {
        let page = self.fetch(url).await?;
        Ok(read(&page))
    }

    async fn fetch(&self, url: &str) -> Result<Page, ToolError> {
        let page = self.fetcher.get(url).await.map_err(ToolError::failed)?;
        let kind = page.content_type();
        let text = kind.is_empty()
            || kind.starts_with("text/")
            || ["json", "xml", "yaml", "javascript"]
                .iter()
                .any(|k| kind.ends_with(k));
        match text {
            true => Ok(page),
            false => Err(ToolError::Failed(format!(
                "{} is {kind}, which is no text",
                page.url
            ))),
        }
    }
}

/// Reads the text of a page.
fn read(page: &Page) -> Readable {
    let kind = page.content_type();
    let text = page.text();
    let html = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => true,
        "" => text.trim_start().starts_with('<'),
        _ => false,
    };
    match html {
        true => readable(&text, &page.url),
        false => Readable {
            text,
            ..Readable::default()
        },
    }
}

#[async_trait]
impl Tool for HttpFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let arguments: Arguments = parse_arguments(arguments)?;
        let page = self.fetch(arguments.url.trim()).await?;
        let found = read(&page);
        let total = found.text.chars().count();
        let shown: String = found
            .text
            .chars()
            .skip(arguments.start)
            .take(self.max_chars)
            .collect();
        let end = (arguments.start + shown.chars().count()).min(total);
        let mut text = format!("Address: {}\n", page.url);
        let title = &found.title;
        // Writing into a String does not fail.
        if !title.is_empty() {
            _ = writeln!(text, "Title: {title}");
        }
        _ = write!(text, "\n{shown}");
        if end < total {
            _ = write!(
                text,
                "\n\n[cut: characters {} to {end} of {total}; for more set start to {end}]",
                arguments.start
            );
        }
        let links = &found.links[..found.links.len().min(self.max_links)];
        if arguments.start == 0 && !links.is_empty() {
            text.push_str("\n\nLinks:");
            for link in links {
                _ = write!(text, "\n- {}: {}", link.text, link.url);
            }
            if links.len() < found.links.len() {
                _ = write!(text, "\n[{} more links]", found.links.len() - links.len());
            }
        }
        let mut output = ToolOutput::text(text);
        output.structured = Some(json!({
            "url": page.url, "title": title, "text": shown, "links": links,
            "characters": total, "truncated": end < total,
        }));
        Ok(output)
    }
}
