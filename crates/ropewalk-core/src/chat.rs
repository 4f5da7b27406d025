//! Chat models.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::extract::{ExtractOptions, Extracted, extract};
use crate::request::ChatRequest;
use crate::response::ChatResponse;
use crate::stream::ChatStream;

/// What a model can do, as far as is known. The default says nothing: all `false` and `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of independent abilities"
)]
#[non_exhaustive]
pub struct Capabilities {
    /// Calls tools.
    pub tools: bool,
    /// Calls several tools in one turn.
    pub parallel_tools: bool,
    /// Enforces a JSON schema on its reply.
    pub json_schema: bool,
    /// Enforces a JSON schema while tools are offered.
    pub json_schema_with_tools: bool,
    /// Reads images.
    pub vision: bool,
    /// Reads sound.
    pub audio_in: bool,
    /// Thinks before it answers.
    pub reasoning: bool,
    /// Honours temperature, top-p and the like.
    pub sampling: bool,
    /// Streams for real, rather than replaying a whole reply.
    pub streaming: bool,
    /// Largest number of tokens of prompt and reply together.
    pub context_window: Option<u64>,
    /// Largest number of tokens of a reply.
    pub max_output: Option<u64>,
}

/// A model that answers conversations: remote, in this process, scripted, or a decorator around
/// another one.
///
/// Implementing `provider`, `model` and `chat` is enough; `stream` then replays the whole reply.
/// The conformance suite in `testing` states the rest of the contract.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Returns who runs the model, for example `openai` or `local`.
    fn provider(&self) -> &str;

    /// Returns the name of the model, as the provider names it.
    fn model(&self) -> &str;

    /// Returns what the model can do, as far as is known.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Answers with a whole reply.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) for what
    /// [`ChatRequest::validate`] refuses; otherwise whatever keeps the model from answering.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse>;

    /// Answers piece by piece; collecting the stream gives what `chat` returns.
    ///
    /// # Errors
    /// As `chat`. Errors known before the first piece (credentials, a bad request) come from this
    /// call, not as the first item.
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        Ok(ChatStream::from_response(self.chat(request).await?))
    }

    /// Returns how many tokens the prompt of this request has, when the model can say (a local
    /// tokenizer, an endpoint of the provider).
    ///
    /// # Errors
    /// Whatever keeps the endpoint from answering.
    async fn count_tokens(&self, _request: &ChatRequest) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// A shared chat model of any type.
pub type DynChatModel = Arc<dyn ChatModel>;

crate::forward::forward! { M: ChatModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }
    fn capabilities(&self) -> Capabilities { (**self).capabilities() }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        (**self).chat(request).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        (**self).stream(request).await
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        (**self).count_tokens(request).await
    }
}

/// Conveniences for every [`ChatModel`], also for `dyn ChatModel`.
pub trait ChatModelExt: ChatModel {
    /// Asks and returns the text of the reply.
    fn ask(
        &self,
        request: impl Into<ChatRequest> + Send,
    ) -> impl Future<Output = Result<String>> + Send {
        let request = request.into();
        async move { Ok(self.chat(&request).await?.text()) }
    }

    /// Asks and returns the stream of the reply.
    fn ask_stream(
        &self,
        request: impl Into<ChatRequest> + Send,
    ) -> impl Future<Output = Result<ChatStream>> + Send {
        let request = request.into();
        async move { self.stream(&request).await }
    }

    /// Asks for a value of type `T`, with the default [`ExtractOptions`].
    ///
    /// A reply that does not parse goes back to the model with the parser's message, at most
    /// [`ExtractOptions::retries`] times.
    ///
    /// Tools are not run. A call of one of the request's own tools in place of the value ends with
    /// [`ErrorKind::Tool`](crate::ErrorKind::Tool) and the call in [`Error::partial`].
    ///
    /// [`Error::partial`]: crate::Error::partial
    fn extract<T: DeserializeOwned + JsonSchema + Send>(
        &self,
        request: impl Into<ChatRequest> + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        let request = request.into();
        async move {
            Ok(extract(self, request, &ExtractOptions::default())
                .await?
                .value)
        }
    }

    /// Asks for a value of type `T` and returns it with the usage of all attempts.
    fn extract_with<T: DeserializeOwned + JsonSchema + Send>(
        &self,
        request: impl Into<ChatRequest> + Send,
        options: &ExtractOptions,
    ) -> impl Future<Output = Result<Extracted<T>>> + Send {
        let request = request.into();
        async move { extract(self, request, options).await }
    }
}

impl<M: ChatModel + ?Sized> ChatModelExt for M {}
