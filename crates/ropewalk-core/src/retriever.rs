//! Finding passages that bear on a question.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;

/// Whether a text may steer the model.
///
/// The label travels from a source into messages and tool calls, where it gates side effects:
/// text from outside may be quoted, but not obeyed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// From outside: web pages, mail, uploads, tool results. The default.
    #[default]
    Untrusted,
    /// From the application's own, reviewed material.
    Trusted,
}

impl Trust {
    /// Returns whether a text of this label may steer the model.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        *self == Self::Trusted
    }

    pub(crate) fn is_untrusted(&self) -> bool {
        *self == Self::Untrusted
    }
}

/// Where a passage comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Source {
    /// Id of the document in its store.
    pub id: String,
    /// Title for citations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Path or URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Bytes of the document the passage covers, `[start, end)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<(usize, usize)>,
}

impl Source {
    /// Creates a source from a document id.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// Sets the title.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets path or URL.
    #[must_use]
    pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    /// Sets the bytes covered, `[start, end)`.
    #[must_use]
    pub fn with_span(mut self, start: usize, end: usize) -> Self {
        self.span = Some((start, end));
        self
    }
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Passage {
    /// The text.
    pub text: String,
    /// How well it fits; higher is better, comparable within one result only.
    pub score: f32,
    /// Where it comes from.
    #[serde(default)]
    pub source: Source,
    /// Whether it may steer the model.
    #[serde(default)]
    pub trust: Trust,
    /// What the store keeps with it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl Passage {
    /// Creates an untrusted passage.
    pub fn new(text: impl Into<String>, score: f32, source: Source) -> Self {
        Self {
            text: text.into(),
            score,
            source,
            trust: Trust::Untrusted,
            metadata: Map::new(),
        }
    }

    /// Sets whether it may steer the model.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets what the store keeps with it.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }
}

/// Something that finds passages: a vector store, a keyword index, a web search.
#[async_trait]
pub trait Retriever: Send + Sync {
    /// Returns the `k` best passages for a query, or fewer, best first.
    ///
    /// # Errors
    /// Whatever keeps the store or its embedding model from answering.
    async fn retrieve(&self, query: &str, k: usize) -> Result<Vec<Passage>>;
}

/// A shared retriever of any type.
pub type DynRetriever = Arc<dyn Retriever>;

crate::forward::forward! { R: Retriever =>
    async fn retrieve(&self, query: &str, k: usize) -> Result<Vec<Passage>> {
        (**self).retrieve(query, k).await
    }
}
