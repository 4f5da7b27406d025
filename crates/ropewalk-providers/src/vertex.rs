//! Vertex AI: Gemini and Claude in a project of Google Cloud.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, Result,
    async_trait,
};

use crate::anthropic::{self, AnthropicWire, Thinking};
use crate::chat::RemoteChat;
use crate::endpoint::{Auth, Endpoint};
use crate::gemini::{self, GeminiThinking, GeminiWire};
use crate::native::endpoint_methods;
use crate::settings::Settings;

/// Gives the access tokens of Google Cloud, which last for about an hour.
///
/// It is asked before every call, so it should keep a token as long as it is good. Every closure
/// that returns a future of a token is one; how it gets them (a library for service accounts, the
/// metadata server, `gcloud auth print-access-token`) is the application's choice.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// Returns a token that is good for the next minutes, without `Bearer`.
    ///
    /// # Errors
    /// Whatever keeps the source from giving one.
    async fn token(&self) -> Result<String>;
}

#[async_trait]
impl<F, Fut> TokenSource for F
where
    F: Fn() -> Fut + Send + Sync,
    Fut: Future<Output = Result<String>> + Send,
{
    async fn token(&self) -> Result<String> {
        self().await
    }
}

/// Vertex AI in one project and location.
///
/// ```
/// use ropewalk_core::{ChatModelExt, Result};
/// use ropewalk_http::testing::{Canned, Double};
/// use ropewalk_providers::Vertex;
/// use serde_json::json;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let double = Double::new([Canned::json(&json!({"candidates": [{
///     "content": {"parts": [{"text": "Hello."}]}, "finishReason": "STOP",
/// }]}))]);
/// let tokens = || async { Ok("ya29.token".to_owned()) };
/// let vertex = Vertex::new("my-project", "us-central1", tokens)?.with_client(double.client());
/// assert_eq!(vertex.gemini("gemini-x").ask("Say hello.").await?, "Hello.");
/// # Ok::<(), ropewalk_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Vertex {
    endpoint: Endpoint,
    /// The path up to `/publishers`.
    prefix: String,
    tokens: Arc<dyn TokenSource>,
}

endpoint_methods!(Vertex);

impl Vertex {
    /// Creates the API for a project and a location such as `europe-west4` or `global`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when project or location hold other characters than letters,
    /// digits, `-`, `:` and `.`, or no HTTP client can be made.
    pub fn new(project: &str, location: &str, tokens: impl TokenSource + 'static) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-:.".contains(c);
        for (what, name) in [("project", project), ("location", location)] {
            if name.is_empty() || !name.chars().all(fits) {
                let message = format!("{name:?} is no {what} of Google Cloud");
                let error = Error::new(ErrorKind::Configuration, message);
                return Err(error.with_provider("vertex"));
            }
        }
        let base = match location {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            region => format!("https://{region}-aiplatform.googleapis.com"),
        };
        Ok(Self {
            endpoint: Endpoint::new("vertex", base, Auth::Bearer, None)?,
            prefix: format!("/v1/projects/{project}/locations/{location}"),
            tokens: Arc::new(tokens),
        })
    }

    /// Creates the API from the environment; see [`from_settings`](Self::from_settings).
    ///
    /// # Errors
    /// As `from_settings`.
    pub fn from_env(tokens: impl TokenSource + 'static) -> Result<Self> {
        Self::from_settings(&Settings::from_env(), tokens)
    }

    /// Creates the API from `GOOGLE_CLOUD_PROJECT` and `GOOGLE_CLOUD_LOCATION` (`global` unless
    /// set).
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the project is not set.
    pub fn from_settings(settings: &Settings, tokens: impl TokenSource + 'static) -> Result<Self> {
        let project = settings.get("GOOGLE_CLOUD_PROJECT").ok_or_else(|| {
            let message = "set GOOGLE_CLOUD_PROJECT to the id of the project";
            Error::new(ErrorKind::Configuration, message).with_provider("vertex")
        })?;
        let location = settings.get("GOOGLE_CLOUD_LOCATION").unwrap_or("global");
        Self::new(project, location, tokens)
    }

    /// Returns a model of Google's. Its provider is `vertex`.
    pub fn gemini(&self, model: impl Into<String>) -> VertexChat {
        self.gemini_thinking(model, GeminiThinking::default())
    }

    /// Returns a model of Google's that is told to think in this way.
    pub fn gemini_thinking(
        &self,
        model: impl Into<String>,
        thinking: GeminiThinking,
    ) -> VertexChat {
        let wire = GeminiWire::vertex(self.prefix.clone()).with_thinking(thinking);
        let endpoint = self.endpoint.clone();
        self.model(RemoteChat::new(
            wire,
            endpoint,
            model,
            gemini::capabilities(),
        ))
    }

    /// Returns a model of Anthropic's, for example `claude-opus-4-5@20251101`. Its provider is
    /// `vertex-anthropic`.
    pub fn claude(&self, model: impl Into<String>) -> VertexChat {
        self.claude_thinking(model, Thinking::default())
    }

    /// Returns a model of Anthropic's that is told to think in this way.
    pub fn claude_thinking(&self, model: impl Into<String>, thinking: Thinking) -> VertexChat {
        let wire = AnthropicWire::vertex(self.prefix.clone()).with_thinking(thinking);
        let endpoint = self.endpoint.clone().with_provider("vertex-anthropic");
        self.model(RemoteChat::new(
            wire,
            endpoint,
            model,
            anthropic::capabilities(),
        ))
    }

    fn model(&self, model: RemoteChat) -> VertexChat {
        VertexChat {
            model,
            tokens: Arc::clone(&self.tokens),
        }
    }
}

impl fmt::Debug for Vertex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vertex")
            .field("endpoint", &self.endpoint)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A chat model of Vertex AI; asks for a token before every call.
#[derive(Clone)]
pub struct VertexChat {
    model: RemoteChat,
    tokens: Arc<dyn TokenSource>,
}

impl VertexChat {
    /// Returns the model with a token.
    async fn signed_in(&self) -> Result<RemoteChat> {
        let token = self.tokens.token().await.map_err(|e| {
            let message = format!("no access token: {}", e.message());
            let error = Error::new(ErrorKind::Authentication, message);
            error
                .with_provider(self.model.provider().to_owned())
                .with_retryable(e.is_retryable())
                .with_source(e)
        })?;
        let endpoint = self.model.endpoint().clone().with_key(token);
        Ok(self.model.clone().with_endpoint(endpoint))
    }
}

#[async_trait]
impl ChatModel for VertexChat {
    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn model(&self) -> &str {
        self.model.model()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.signed_in().await?.chat(request).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.signed_in().await?.stream(request).await
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.signed_in().await?.count_tokens(request).await
    }
}

impl fmt::Debug for VertexChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VertexChat").field(&self.model).finish()
    }
}
