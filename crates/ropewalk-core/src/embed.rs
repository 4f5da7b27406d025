//! Embedding models.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::reply::{Extra, reply_setters, request_setters};
use crate::request::OnUnsupported;
use crate::response::{Usage, Warning};

/// What the vectors are for; models trained with prefixes or adapters treat these differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmbedKind {
    /// Text that will be searched.
    #[default]
    Document,
    /// Text to search with.
    Query,
    /// Text to group.
    Clustering,
    /// Text to classify.
    Classification,
}

/// Texts to embed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The texts.
    pub inputs: Vec<String>,
    /// What the vectors are for.
    pub kind: EmbedKind,
    /// Shorten the vectors to this width (Matryoshka models); the model's own when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// What to do with what the model cannot honour, for example `dimensions`.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name; `*` for all.
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl EmbedRequest {
    /// Creates a request for documents.
    pub fn new(inputs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let inputs = inputs.into_iter().map(Into::into).collect();
        Self {
            inputs,
            ..Self::default()
        }
    }

    /// Creates a request for one search query.
    pub fn query(text: impl Into<String>) -> Self {
        Self::new([text]).with_kind(EmbedKind::Query)
    }

    /// Sets what the vectors are for.
    #[must_use]
    pub fn with_kind(mut self, kind: EmbedKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the width of the vectors.
    #[must_use]
    pub fn with_dimensions(mut self, dimensions: u32) -> Self {
        self.dimensions = Some(dimensions);
        self
    }
}

/// Embedded texts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmbedResponse {
    /// One vector per input, in order, all of the same width: `[inputs, dimensions]`.
    pub vectors: Vec<Vec<f32>>,
    /// The model that answered, as the provider names it.
    #[serde(default)]
    pub model: String,
    /// Tokens used.
    #[serde(default)]
    pub usage: Usage,
    /// What was not honoured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The provider's reply, where it says more than the fields above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

impl EmbedResponse {
    /// Creates a response with vectors and model only.
    pub fn new(model: impl Into<String>, vectors: Vec<Vec<f32>>) -> Self {
        Self {
            vectors,
            model: model.into(),
            ..Self::default()
        }
    }
}

request_setters!(EmbedRequest);
reply_setters!(EmbedResponse);

/// A model that turns texts into vectors.
#[async_trait]
pub trait EmbeddingModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Returns the width of its vectors, when known beforehand.
    fn dimensions(&self) -> Option<usize>;

    /// Returns how many texts one call takes; 96 unless overridden.
    fn max_batch(&self) -> usize {
        96
    }

    /// Embeds at most [`max_batch`](Self::max_batch) texts in one call, one vector per text, in
    /// order. Callers use [`EmbeddingModelExt::embed_all`], which splits and checks.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse>;
}

/// A shared embedding model of any type.
pub type DynEmbeddingModel = Arc<dyn EmbeddingModel>;

crate::forward::forward! { M: EmbeddingModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }
    fn dimensions(&self) -> Option<usize> { (**self).dimensions() }
    fn max_batch(&self) -> usize { (**self).max_batch() }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        (**self).embed(request).await
    }
}

/// Conveniences for every [`EmbeddingModel`].
pub trait EmbeddingModelExt: EmbeddingModel {
    /// Embeds any number of texts, in batches, one after the other. No texts give no vectors and
    /// no call. Usage adds up, a warning that several batches give is kept once, and `raw` is left
    /// out unless there was one batch.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when a batch returns another number of vectors than texts, vectors of
    /// different widths (or not the width asked for), or values that are not finite; otherwise the
    /// error of the first batch that fails.
    fn embed_all(
        &self,
        request: &EmbedRequest,
    ) -> impl Future<Output = Result<EmbedResponse>> + Send {
        async move {
            let mut all =
                EmbedResponse::new(self.model(), Vec::with_capacity(request.inputs.len()));
            let alone = request.inputs.len() <= self.max_batch().max(1);
            let mut width = request.dimensions.map(|d| d as usize);
            for inputs in request.inputs.chunks(self.max_batch().max(1)) {
                let batch = EmbedRequest {
                    inputs: inputs.to_vec(),
                    ..request.clone_options()
                };
                let reply = self.embed(&batch).await?;
                check(&reply.vectors, inputs.len(), &mut width)
                    .map_err(|m| decode_error(self.provider(), self.model(), &m))?;
                all.usage += reply.usage;
                for warning in reply.warnings {
                    if !all.warnings.contains(&warning) {
                        all.warnings.push(warning);
                    }
                }
                all.vectors.extend(reply.vectors);
                all.model = reply.model;
                all.raw = reply.raw.filter(|_| alone);
            }
            Ok(all)
        }
    }

    /// Embeds one text.
    ///
    /// # Errors
    /// As [`embed_all`](Self::embed_all).
    fn embed_one(
        &self,
        text: impl Into<String> + Send,
        kind: EmbedKind,
    ) -> impl Future<Output = Result<Vec<f32>>> + Send {
        let request = EmbedRequest::new([text]).with_kind(kind);
        async move {
            let mut reply = self.embed_all(&request).await?;
            let none = || decode_error(self.provider(), self.model(), "no vector came back");
            reply.vectors.pop().ok_or_else(none)
        }
    }
}

impl<M: EmbeddingModel + ?Sized> EmbeddingModelExt for M {}

impl EmbedRequest {
    /// Clones everything but the inputs.
    fn clone_options(&self) -> Self {
        let Self {
            inputs: _,
            kind,
            dimensions,
            on_unsupported,
            extra,
        } = self;
        Self {
            inputs: Vec::new(),
            kind: *kind,
            dimensions: *dimensions,
            on_unsupported: *on_unsupported,
            extra: extra.clone(),
        }
    }
}

fn check(vectors: &[Vec<f32>], inputs: usize, width: &mut Option<usize>) -> Result<(), String> {
    if vectors.len() != inputs {
        return Err(format!(
            "{} vectors came back for {inputs} texts",
            vectors.len()
        ));
    }
    for (i, vector) in vectors.iter().enumerate() {
        let expected = *width.get_or_insert(vector.len());
        if vector.len() != expected || vector.is_empty() {
            return Err(format!(
                "vector {i} has {} values, not {expected}",
                vector.len()
            ));
        }
        if !vector.iter().all(|x| x.is_finite()) {
            return Err(format!("vector {i} holds a value that is not finite"));
        }
    }
    Ok(())
}

fn decode_error(provider: &str, model: &str, message: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("{model}: {message}")).with_provider(provider.to_owned())
}
