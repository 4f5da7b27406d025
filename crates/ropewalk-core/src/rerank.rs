//! Models that sort documents by how well they answer a query.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::reply::{Extra, reply_setters, request_setters};
use crate::request::OnUnsupported;
use crate::response::{Usage, Warning};

/// The place of one document.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ranked {
    /// Position of the document in the list that was given.
    pub index: usize,
    /// How well it fits; higher is better, comparable within one call only.
    pub score: f32,
}

impl Ranked {
    /// Creates a place.
    #[must_use]
    pub fn new(index: usize, score: f32) -> Self {
        Self { index, score }
    }
}

/// Documents to sort.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct RerankRequest {
    /// What the documents should answer.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// How many of the best to return; all when `None`.
    pub top_n: Option<usize>,
    /// What to do with what the model cannot honour.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name; `*` for all.
    pub extra: Extra,
}

impl RerankRequest {
    /// Creates a request for the places of all documents.
    pub fn new(
        query: impl Into<String>,
        documents: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            query: query.into(),
            documents: documents.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Sets how many of the best to return.
    #[must_use]
    pub fn with_top_n(mut self, top_n: usize) -> Self {
        self.top_n = Some(top_n);
        self
    }
}

/// Sorted documents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RerankResponse {
    /// The places of the best documents, best first; equal scores keep the order given.
    pub results: Vec<Ranked>,
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

impl RerankResponse {
    /// Creates a response from places, best first.
    #[must_use]
    pub fn new(results: Vec<Ranked>) -> Self {
        Self {
            results,
            ..Self::default()
        }
    }
}

request_setters!(RerankRequest);
reply_setters!(RerankResponse);

/// A model that compares a query with documents.
#[async_trait]
pub trait RerankModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Sorts the documents of the request by how well they answer its query.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn rerank(&self, request: &RerankRequest) -> Result<RerankResponse>;
}

/// A shared rerank model of any type.
pub type DynRerankModel = Arc<dyn RerankModel>;

crate::forward::forward! { M: RerankModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn rerank(&self, request: &RerankRequest) -> Result<RerankResponse> {
        (**self).rerank(request).await
    }
}
