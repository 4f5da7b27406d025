//! Models that sort documents by how well they answer a query.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;

/// The place of one document.
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// A model that compares a query with documents.
#[async_trait]
pub trait RerankModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Returns the `top_n` best documents (all when `None`), best first; equal scores keep the
    /// order given.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn rerank(
        &self,
        query: &str,
        documents: &[&str],
        top_n: Option<usize>,
    ) -> Result<Vec<Ranked>>;
}

/// A shared rerank model of any type.
pub type DynRerankModel = Arc<dyn RerankModel>;

crate::forward::forward! { M: RerankModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn rerank(
        &self,
        query: &str,
        documents: &[&str],
        top_n: Option<usize>,
    ) -> Result<Vec<Ranked>> {
        (**self).rerank(query, documents, top_n).await
    }
}
