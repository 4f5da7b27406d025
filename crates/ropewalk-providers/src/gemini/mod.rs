//! Google's Gemini API: chat, counting, embeddings, the list of models.

mod contents;
mod decode;
mod embeddings;
mod wire;

use ropewalk_core::{Capabilities, Result};
use serde_json::Value;

use crate::chat::RemoteChat;
use crate::endpoint::{Auth, Endpoint};
use crate::key::ApiKey;
use crate::model_info::ModelInfo;
use crate::native::{count, endpoint_methods, no_reply, text};
use crate::settings::Settings;

pub use embeddings::GeminiEmbeddings;
pub use wire::{GeminiThinking, GeminiWire};

/// The Gemini API (ai.google.dev).
///
/// ```
/// use ropewalk_core::ChatModelExt;
/// use ropewalk_http::testing::{Canned, Double};
/// use ropewalk_providers::Gemini;
/// use serde_json::json;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let double = Double::new([Canned::json(&json!({"candidates": [{
///     "content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP",
/// }]}))]);
/// let gemini = Gemini::new("AIza-x")?.with_client(double.client());
/// assert_eq!(gemini.chat("gemini-x").ask("Say hello.").await?, "Hello.");
/// assert_eq!(double.requests()[0].headers["x-goog-api-key"], "AIza-x");
/// # Ok::<(), ropewalk_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gemini {
    endpoint: Endpoint,
    wire: GeminiWire,
}

endpoint_methods!(Gemini);

impl Gemini {
    /// Creates the API with a key (`AIza…`), sent as `x-goog-api-key`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) when no HTTP client
    /// can be made.
    pub fn new(key: impl Into<ApiKey>) -> Result<Self> {
        let base = "https://generativelanguage.googleapis.com";
        let auth = Auth::Header("x-goog-api-key".into());
        Ok(Self {
            endpoint: Endpoint::new("gemini", base, auth, Some(key.into()))?,
            wire: GeminiWire::new(),
        })
    }

    /// Creates the API from the environment; see [`from_settings`](Self::from_settings).
    ///
    /// # Errors
    /// As `from_settings`.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env())
    }

    /// Creates the API from `GEMINI_API_KEY` or `GOOGLE_API_KEY` and, if set, `GEMINI_BASE_URL`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`](ropewalk_core::ErrorKind::Authentication) when no key is set.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let keys = ["GEMINI_API_KEY", "GOOGLE_API_KEY"];
        let key = keys.into_iter().find_map(|name| settings.get(name));
        let this = match key {
            Some(key) => Self::new(key)?,
            None => return Err(Endpoint::missing_key("gemini", "GEMINI_API_KEY")),
        };
        Ok(match settings.get("GEMINI_BASE_URL") {
            Some(url) => this.with_base_url(url),
            None => this,
        })
    }

    /// Sets how models are told to think.
    #[must_use]
    pub fn with_thinking(mut self, thinking: GeminiThinking) -> Self {
        self.wire = self.wire.with_thinking(thinking);
        self
    }

    /// Returns a chat model.
    pub fn chat(&self, model: impl Into<String>) -> RemoteChat {
        let wire = self.wire.clone();
        RemoteChat::new(wire, self.endpoint.clone(), model, capabilities())
    }

    /// Returns an embedding model.
    pub fn embeddings(&self, model: impl Into<String>) -> GeminiEmbeddings {
        GeminiEmbeddings::new(self.endpoint.clone(), model.into())
    }

    /// Lists the models; [`ModelInfo::raw`] says by `supportedGenerationMethods` what each can do.
    ///
    /// # Errors
    /// Whatever keeps the API from answering.
    pub async fn models(&self) -> Result<Vec<ModelInfo>> {
        let mut models = Vec::new();
        let mut token = String::new();
        loop {
            let request = self.endpoint.request(http::Method::GET, "/v1beta/models")?;
            let mut request = request.with_query("pageSize", "1000");
            if !token.is_empty() {
                request = request.with_query("pageToken", &token);
            }
            let mut page = self.endpoint.json_of(&request).await?;
            let Some(Value::Array(data)) = page.get_mut("models").map(Value::take) else {
                return Err(self.endpoint.name(no_reply(&page, "models")));
            };
            models.extend(data.into_iter().filter_map(model_info));
            match text(&page, "nextPageToken") {
                // The same place twice would never end.
                Some(next) if next != token => token = next,
                _ => return Ok(models),
            }
        }
    }
}

fn model_info(raw: Value) -> Option<ModelInfo> {
    let name = text(&raw, "name")?;
    let id = name.strip_prefix("models/").unwrap_or(&name).to_owned();
    let shown = text(&raw, "displayName");
    let window = count(&raw, "inputTokenLimit");
    let output = count(&raw, "outputTokenLimit");
    let info = ModelInfo::new(id, raw).with_name(shown);
    Some(info.with_limits(window, output))
}

/// What Gemini models do.
pub(crate) fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.tools = true;
    capabilities.parallel_tools = true;
    capabilities.json_schema = true;
    capabilities.vision = true;
    capabilities.audio_in = true;
    capabilities.reasoning = true;
    capabilities.sampling = true;
    capabilities.streaming = true;
    capabilities
}
