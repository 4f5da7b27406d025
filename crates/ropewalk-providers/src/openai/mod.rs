//! OpenAI, and every server compatible with it.

mod chat;
mod effort;
mod responses;
mod shared;

use std::fmt;

use ropewalk_core::{Error, ErrorKind, Result};
use ropewalk_http::Client;

pub use self::chat::ChatWire;
pub use self::responses::ResponsesWire;

use crate::chat::RemoteChat;
use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::key::ApiKey;
use crate::presets;
use crate::settings::Settings;

/// OpenAI, or a server that speaks its language.
///
/// Cheap to clone; the clones share one pool of connections.
#[derive(Clone)]
pub struct OpenAi {
    pub(crate) endpoint: Endpoint,
    pub(crate) dialect: Dialect,
}

impl OpenAi {
    /// Creates OpenAI itself.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no HTTP client
    /// can be made.
    pub fn new(key: impl Into<ApiKey>) -> Result<Self> {
        Self::compatible(presets::OPENAI, presets::OPENAI.base_url, key.into())
    }

    /// Creates OpenAI from the environment: `OPENAI_API_KEY`, and if they are set
    /// `OPENAI_BASE_URL`, `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] without a key,
    /// otherwise as [`new`](Self::new).
    pub fn from_env() -> Result<Self> {
        Self::from_env_for(presets::OPENAI)
    }

    /// Creates a compatible server from the environment, by the variables its dialect names.
    ///
    /// # Errors
    /// As [`from_settings`](Self::from_settings).
    pub fn from_env_for(dialect: Dialect) -> Result<Self> {
        Self::from_settings(dialect, &Settings::from_env())
    }

    /// Creates OpenAI or a compatible server from settings, by the names its dialect has for them;
    /// of OpenAI itself also `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] when the server needs a key and there is none,
    /// [`ErrorKind::Configuration`] when it has no address of its own and none is set.
    pub fn from_settings(dialect: Dialect, settings: &Settings) -> Result<Self> {
        let key = settings.get(dialect.key_variable).map(ApiKey::new);
        if dialect.needs_key && key.is_none() {
            return Err(Endpoint::missing_key(dialect.name, dialect.key_variable));
        }
        let base_url = settings.get(dialect.base_url_variable);
        let base_url = base_url.unwrap_or(dialect.base_url);
        if base_url.is_empty() {
            let message = format!("no address: set {}", dialect.base_url_variable);
            return Err(Error::new(ErrorKind::Configuration, message).with_provider(dialect.name));
        }
        let mut openai = Self::compatible(dialect, base_url, key)?;
        for (variable, header) in [
            ("OPENAI_ORG_ID", "openai-organization"),
            ("OPENAI_PROJECT_ID", "openai-project"),
        ] {
            if let (Some(value), "openai") = (settings.get(variable), dialect.name) {
                openai = openai.with_endpoint(|e| e.with_header(header, value));
            }
        }
        Ok(openai)
    }

    /// Creates a compatible server. Servers on this machine often need no key: hand in `None`.
    ///
    /// ```
    /// use ropewalk_core::ChatModel;
    /// use ropewalk_providers::{OpenAi, presets};
    ///
    /// let server = OpenAi::compatible(presets::VLLM, "http://127.0.0.1:8000/v1", None)?;
    /// assert_eq!(server.dialect().name, "vllm");
    /// # Ok::<(), ropewalk_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn compatible(
        dialect: Dialect,
        base_url: impl Into<String>,
        key: impl Into<Option<ApiKey>>,
    ) -> Result<Self> {
        let mut base_url: String = base_url.into();
        base_url.truncate(base_url.trim_end_matches('/').len());
        if !base_url.ends_with(dialect.base_path) {
            base_url.push_str(dialect.base_path);
        }
        let mut endpoint = Endpoint::new(dialect.name, base_url, dialect.auth(), key.into())?;
        if !dialect.api_version.is_empty() {
            endpoint = endpoint.with_query("api-version", dialect.api_version);
        }
        let endpoint = match dialect.idempotency {
            true => endpoint.with_idempotency_key("idempotency-key"),
            false => endpoint,
        };
        Ok(Self { endpoint, dialect })
    }

    /// Returns a chat model over Chat Completions.
    ///
    /// ```
    /// use ropewalk_core::ChatModel;
    /// use ropewalk_providers::OpenAi;
    ///
    /// let model = OpenAi::new("sk-…")?.chat("gpt-4o-mini");
    /// assert_eq!((model.provider(), model.model()), ("openai", "gpt-4o-mini"));
    /// # Ok::<(), ropewalk_core::Error>(())
    /// ```
    #[must_use]
    pub fn chat(&self, model: impl Into<String>) -> RemoteChat {
        let dialect = self.dialect;
        let wire = ChatWire::new(dialect);
        RemoteChat::new(wire, self.endpoint.clone(), model, dialect.capabilities())
    }

    /// Returns a chat model over Responses.
    ///
    /// Nothing is stored at the provider (`store: false`): reasoning travels encrypted with the
    /// conversation. It is asked for when the request sets an effort, holds earlier reasoning, or
    /// the dialect says that the model takes no [`sampling`](Dialect::sampling) options, since
    /// models without reasoning refuse to be asked.
    #[must_use]
    pub fn responses(&self, model: impl Into<String>) -> RemoteChat {
        let dialect = self.dialect;
        let wire = ResponsesWire::new(dialect);
        let mut capabilities = dialect.capabilities();
        capabilities.audio_in = false;
        RemoteChat::new(wire, self.endpoint.clone(), model, capabilities)
    }

    /// Changes the endpoint: its headers, key, name or HTTP client.
    #[must_use]
    pub fn with_endpoint(mut self, change: impl FnOnce(Endpoint) -> Endpoint) -> Self {
        self.endpoint = change(self.endpoint);
        self
    }

    /// Changes the dialect, for a server or model that differs from its preset.
    #[must_use]
    pub fn with_dialect(mut self, change: impl FnOnce(&mut Dialect)) -> Self {
        change(&mut self.dialect);
        self
    }

    /// Sets another base URL.
    #[must_use]
    pub fn with_base_url(self, url: impl Into<String>) -> Self {
        self.with_endpoint(|e| e.with_base_url(url))
    }

    /// Sets the HTTP client.
    #[must_use]
    pub fn with_client(self, client: Client) -> Self {
        self.with_endpoint(|e| e.with_client(client))
    }

    /// Returns the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the dialect.
    #[must_use]
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
