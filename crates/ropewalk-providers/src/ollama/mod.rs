//! Ollama: chat, embeddings, and the models on the server.

mod models;
mod wire;

use std::time::Duration;

use futures_util::StreamExt;
use http::Method;
use ropewalk_core::{Capabilities, Error, ErrorKind, Progress, ProgressEvent, Result};
use ropewalk_http::Framing;
use serde_json::{Value, json};

use crate::abilities::{EmbedShape, RemoteEmbeddings};
use crate::chat::RemoteChat;
use crate::endpoint::{Auth, Endpoint};
use crate::key::ApiKey;
use crate::native::{count, endpoint_methods, no_error, no_reply, text};
use crate::settings::Settings;

pub use models::{OllamaModel, OllamaTag};
pub use wire::OllamaWire;

const PORT: u16 = 11434;
/// What a server says at its root.
const RUNNING: &[u8] = b"Ollama is running";
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// A server of Ollama, by its own API.
///
/// ```
/// use ropewalk_core::ChatModelExt;
/// use ropewalk_http::testing::{Canned, Double};
/// use ropewalk_providers::Ollama;
/// use serde_json::json;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let double = Double::new([
///     Canned::new(200, "text/plain", "Ollama is running"),
///     Canned::json(&json!({"model": "m", "message": {"content": "Hello."}, "done": true})),
/// ]);
/// let ollama = Ollama::new()?.with_client(double.client());
/// assert!(ollama.health().await);
/// assert_eq!(ollama.chat("m").ask("Say hello.").await?, "Hello.");
/// # Ok::<(), ropewalk_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ollama {
    endpoint: Endpoint,
    wire: OllamaWire,
}

endpoint_methods!(Ollama);

impl Ollama {
    /// Creates the API at `http://127.0.0.1:11434`, without a key.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn new() -> Result<Self> {
        let base = format!("http://127.0.0.1:{PORT}");
        Ok(Self {
            endpoint: Endpoint::new("ollama", base, Auth::Bearer, None)?,
            wire: OllamaWire::new(),
        })
    }

    /// Creates the API from the environment; see [`from_settings`](Self::from_settings).
    ///
    /// # Errors
    /// As `from_settings`.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env())
    }

    /// Creates the API at `OLLAMA_HOST`, if set, in any form that the server itself takes (`host`,
    /// `host:port`, `:port`, an address), with the key in `OLLAMA_API_KEY`, if set.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client can be made.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut this = Self::new()?;
        if let Some(host) = settings.get("OLLAMA_HOST") {
            this = this.with_base_url(base_url(host));
        }
        Ok(match settings.get("OLLAMA_API_KEY") {
            Some(key) => this.with_key(key),
            None => this,
        })
    }

    /// Sets a key, sent as `Authorization: Bearer`: Ollama's cloud and proxies want one.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<ApiKey>) -> Self {
        self.endpoint = self.endpoint.with_key(key);
        self
    }

    /// Sets whether models are told how much to think; see [`OllamaWire::with_think_levels`].
    #[must_use]
    pub fn with_think_levels(mut self, levels: bool) -> Self {
        self.wire = self.wire.with_think_levels(levels);
        self
    }

    /// Returns a chat model.
    pub fn chat(&self, model: impl Into<String>) -> RemoteChat {
        RemoteChat::new(self.wire, self.endpoint.clone(), model, capabilities())
    }

    /// Returns an embedding model. The API does not say what vectors are for: models that want
    /// words before a query or document get them by
    /// [`with_prefixes`](RemoteEmbeddings::with_prefixes).
    pub fn embeddings(&self, model: impl Into<String>) -> RemoteEmbeddings {
        let shape = EmbedShape {
            path: "/api/embed",
            ..EmbedShape::COMPATIBLE
        };
        RemoteEmbeddings::new(self.endpoint.clone(), model).with_shape(shape)
    }

    /// Returns whether a server of Ollama answers: one that says `Ollama is running`, nothing else.
    pub async fn health(&self) -> bool {
        let request = self.endpoint.request(Method::GET, "/");
        let Ok(request) = request.map(|r| r.with_timeout(Some(HEALTH_LIMIT))) else {
            return false;
        };
        let reply = self.endpoint.client().send(&request).await;
        reply.is_ok_and(|reply| reply.body == RUNNING)
    }

    /// Fetches a model to the server. The listener hears the server's words as stage, and bytes.
    ///
    /// # Errors
    /// What the server says, such as a model that does not exist; [`ErrorKind::Truncated`] when it
    /// stops without saying that it succeeded.
    pub async fn pull(&self, model: &str, progress: &dyn Progress) -> Result<()> {
        let body = json!({"model": model, "stream": true});
        let request = self.endpoint.request(Method::POST, "/api/pull")?;
        let request = request.with_json(&body);
        let reply = self.endpoint.client().stream(&request).await?;
        let mut lines = reply.frames(Framing::Ndjson);
        let mut succeeded = false;
        while let Some(line) = lines.next().await {
            let line = self.endpoint.named(line.and_then(|line| line.json()))?;
            self.endpoint.named(no_error(&line, "ollama"))?;
            let status = text(&line, "status").unwrap_or_default();
            succeeded |= status == "success";
            let done = count(&line, "completed").unwrap_or(0);
            let total = count(&line, "total");
            progress.report(&ProgressEvent::new(status, done, total, "bytes"));
        }
        if succeeded {
            return Ok(());
        }
        let message = format!("the server stopped before {model} was there");
        Err(self
            .endpoint
            .name(Error::new(ErrorKind::Truncated, message)))
    }

    /// Lists the models on the server.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    pub async fn tags(&self) -> Result<Vec<OllamaTag>> {
        let mut body = self.endpoint.get_json("/api/tags").await?;
        match body.get_mut("models").map(Value::take) {
            Some(Value::Array(models)) => {
                Ok(models.into_iter().filter_map(OllamaTag::of).collect())
            }
            // A server without models may give null.
            Some(Value::Null) => Ok(Vec::new()),
            _ => Err(self.endpoint.name(no_reply(&body, "models"))),
        }
    }

    /// Returns what the server knows about a model.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a model that is not there.
    pub async fn show(&self, model: &str) -> Result<OllamaModel> {
        let body = json!({ "model": model });
        let shown = self.endpoint.post_json("/api/show", &body).await?;
        Ok(OllamaModel::of(shown))
    }
}

/// Makes an address of `OLLAMA_HOST`, as the server reads it (envconfig of its source).
fn base_url(host: &str) -> String {
    let host = host.trim().trim_matches(['"', '\'']);
    let (scheme, rest, port) = match host.split_once("://") {
        Some(("https", rest)) => ("https", rest, 443),
        Some((_, rest)) => ("http", rest, 80),
        None => ("http", host, PORT),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // What follows the last colon is a port, unless it is inside an IPv6 address.
    let (name, given) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse::<u16>().ok()),
        _ => (authority, None),
    };
    let name = match name {
        // The address to listen on all interfaces is none to connect to.
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "[::]" => "[::1]".to_owned(),
        name => name.to_owned(),
    };
    format!("{scheme}://{name}:{}{path}", given.unwrap_or(port))
}

/// What models on this server usually do.
fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.tools = true;
    capabilities.parallel_tools = true;
    capabilities.json_schema = true;
    capabilities.vision = true;
    capabilities.reasoning = true;
    capabilities.sampling = true;
    capabilities.streaming = true;
    capabilities
}

#[cfg(test)]
mod tests {
    use super::base_url;

    #[test]
    fn hosts_in_every_form() {
        for (host, expected) in [
            ("box", "http://box:11434"),
            ("box:80", "http://box:80"),
            (":8080", "http://127.0.0.1:8080"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:99", "http://127.0.0.1:99"),
            ("http://box", "http://box:80"),
            ("https://box/ollama", "https://box:443/ollama"),
            ("http://box:1234/", "http://box:1234/"),
            ("[::1]", "http://[::1]:11434"),
            ("[::1]:5", "http://[::1]:5"),
            ("[::]:5", "http://[::1]:5"),
            (" \"box:80\" ", "http://box:80"),
            ("box:port", "http://box:11434"),
        ] {
            assert_eq!(base_url(host), expected, "{host}");
        }
    }
}
