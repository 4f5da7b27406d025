//! Anthropic: the Messages API, counting, the list of models, batches.

mod batches;
mod decode;
mod messages;
mod wire;

use std::borrow::Cow;

use http::Method;
use ropewalk_core::{Capabilities, Result};
use ropewalk_http::Request;
use serde_json::Value;

use crate::chat::RemoteChat;
use crate::endpoint::{Auth, Endpoint};
use crate::key::ApiKey;
use crate::model_info::ModelInfo;
use crate::native::{count, endpoint_methods, no_reply, text};
use crate::settings::Settings;

pub use batches::{AnthropicBatches, BatchCounts, BatchRow, BatchStatus, MessageBatch};
pub use wire::{AnthropicWire, Thinking};

/// Most models on a page of the list.
const PAGE: u32 = 1000;

/// Anthropic's API.
///
/// ```
/// use ropewalk_core::{ChatModel, ChatModelExt};
/// use ropewalk_http::testing::{Canned, Double};
/// use ropewalk_providers::Anthropic;
/// use serde_json::json;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let double = Double::new([Canned::json(&json!({
///     "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
///     "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn",
///     "usage": {"input_tokens": 9, "output_tokens": 3},
/// }))]);
/// let anthropic = Anthropic::new("sk-ant-x")?.with_client(double.client());
/// let claude = anthropic.chat("claude-x");
/// assert_eq!(claude.ask("Say hello.").await?, "Hello.");
/// assert_eq!(double.bodies()[0]["max_tokens"], 4096);
/// # Ok::<(), ropewalk_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Anthropic {
    endpoint: Endpoint,
    wire: AnthropicWire,
}

endpoint_methods!(Anthropic);

impl Anthropic {
    /// Creates the API with a key (`sk-ant-…`), sent as `x-api-key`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](ropewalk_core::ErrorKind::Configuration) when no HTTP client
    /// can be made.
    pub fn new(key: impl Into<ApiKey>) -> Result<Self> {
        Self::with_auth(Auth::Header("x-api-key".into()), key.into())
    }

    /// Creates the API from the environment; see [`from_settings`](Self::from_settings).
    ///
    /// # Errors
    /// As `from_settings`.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env())
    }

    /// Creates the API from `ANTHROPIC_API_KEY`, or the token in `ANTHROPIC_AUTH_TOKEN`, and, if
    /// set, `ANTHROPIC_BASE_URL`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`](ropewalk_core::ErrorKind::Authentication) when neither is set.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let [key, token] = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"].map(|n| settings.get(n));
        let this = match (key, token) {
            (Some(key), _) => Self::new(key)?,
            (None, Some(token)) => Self::with_auth(Auth::Bearer, token.into())?,
            (None, None) => return Err(Endpoint::missing_key("anthropic", "ANTHROPIC_API_KEY")),
        };
        Ok(match settings.get("ANTHROPIC_BASE_URL") {
            Some(url) => this.with_base_url(url),
            None => this,
        })
    }

    fn with_auth(auth: Auth, key: ApiKey) -> Result<Self> {
        let base = "https://api.anthropic.com";
        Ok(Self {
            endpoint: Endpoint::new("anthropic", base, auth, Some(key))?,
            wire: AnthropicWire::new(),
        })
    }

    /// Sets the version of the API; `2023-06-01` unless set. See [`AnthropicWire`].
    #[must_use]
    pub fn with_version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.wire = self.wire.with_version(version);
        self
    }

    /// Asks for a beta feature.
    #[must_use]
    pub fn with_beta(mut self, name: impl Into<String>) -> Self {
        self.wire = self.wire.with_beta(name);
        self
    }

    /// Sets how models are told to think.
    #[must_use]
    pub fn with_thinking(mut self, thinking: Thinking) -> Self {
        self.wire = self.wire.with_thinking(thinking);
        self
    }

    /// Sets the limit of replies when a request has none; 4,096 unless set.
    #[must_use]
    pub fn with_max_tokens(mut self, tokens: u32) -> Self {
        self.wire = self.wire.with_max_tokens(tokens);
        self
    }

    /// Returns a chat model.
    pub fn chat(&self, model: impl Into<String>) -> RemoteChat {
        let wire = self.wire.clone();
        RemoteChat::new(wire, self.endpoint.clone(), model, capabilities())
    }

    /// Returns the batches: many requests at half the price, within a day.
    #[must_use]
    pub fn batches(&self) -> AnthropicBatches {
        AnthropicBatches::new(self.clone())
    }

    /// Lists the models, newest first.
    ///
    /// # Errors
    /// Whatever keeps the API from answering.
    pub async fn models(&self) -> Result<Vec<ModelInfo>> {
        let mut models = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/models?limit={PAGE}{after}");
            let request = self.request(Method::GET, &path)?;
            let mut page = self.endpoint.json_of(&request).await?;
            let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) else {
                return Err(self.endpoint.name(no_reply(&page, "data")));
            };
            models.extend(data.into_iter().filter_map(model_info));
            let last = text(&page, "last_id").filter(|_| page["has_more"] == true);
            match last.map(|id| format!("&after_id={id}")) {
                // The same place twice would never end.
                Some(next) if next != after => after = next,
                _ => return Ok(models),
            }
        }
    }

    /// Makes a request with the headers of the version.
    fn request(&self, method: Method, path: &str) -> Result<Request> {
        let mut request = self.endpoint.request(method, path)?;
        for (name, value) in self.wire.headers() {
            request = request.with_header(name, &value)?;
        }
        Ok(request)
    }
}

fn model_info(raw: Value) -> Option<ModelInfo> {
    let id = text(&raw, "id")?;
    let name = text(&raw, "display_name");
    let limits = (count(&raw, "max_input_tokens"), count(&raw, "max_tokens"));
    let info = ModelInfo::new(id, raw).with_name(name);
    Some(info.with_limits(limits.0, limits.1))
}

/// What Claude models do.
pub(crate) fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.tools = true;
    capabilities.parallel_tools = true;
    capabilities.json_schema = true;
    capabilities.json_schema_with_tools = true;
    capabilities.vision = true;
    capabilities.reasoning = true;
    capabilities.sampling = true;
    capabilities.streaming = true;
    capabilities
}
