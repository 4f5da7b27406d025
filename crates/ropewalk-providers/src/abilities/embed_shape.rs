//! How APIs for embeddings differ, as data.

use ropewalk_core::EmbedKind;

/// The body that an API for embeddings wants. Replies are read in any of the known shapes.
///
/// Sources: the API references of OpenAI, Cohere (v2), Voyage and Jina.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbedShape {
    /// Path below the base URL.
    pub path: &'static str,
    /// Field of the texts.
    pub input: &'static str,
    /// Field of the width; `None` when it cannot be chosen.
    pub dimensions: Option<&'static str>,
    /// Field that says what the vectors are for. `None` for models that treat all texts alike,
    /// as OpenAI's do.
    pub kind: Option<&'static str>,
    /// Values of that field: documents, queries, clustering, classification; an empty one is
    /// unknown to the API.
    pub kinds: [&'static str; 4],
    /// Fields that are always the same, as JSON.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Most texts of one call.
    pub max_batch: usize,
}

impl EmbedShape {
    /// OpenAI, vectors in base64: less than half the bytes of an array.
    pub const OPENAI: Self = Self {
        path: "/embeddings",
        input: "input",
        dimensions: Some("dimensions"),
        kind: None,
        kinds: [""; 4],
        fixed: &[("encoding_format", "\"base64\"")],
        max_batch: 2048,
    };

    /// Servers that took over OpenAI's shape; nothing is said about the encoding, because some
    /// refuse the field.
    pub const COMPATIBLE: Self = Self {
        fixed: &[],
        max_batch: 96,
        ..Self::OPENAI
    };

    /// Cohere v2, below `https://api.cohere.com`.
    pub const COHERE: Self = Self {
        path: "/v2/embed",
        input: "texts",
        dimensions: Some("output_dimension"),
        kind: Some("input_type"),
        kinds: [
            "search_document",
            "search_query",
            "clustering",
            "classification",
        ],
        fixed: &[("embedding_types", "[\"float\"]")],
        max_batch: 96,
    };

    /// Voyage, below `https://api.voyageai.com/v1`.
    pub const VOYAGE: Self = Self {
        dimensions: Some("output_dimension"),
        kind: Some("input_type"),
        kinds: ["document", "query", "", ""],
        fixed: &[],
        max_batch: 128,
        ..Self::OPENAI
    };

    /// Jina, below `https://api.jina.ai/v1`.
    pub const JINA: Self = Self {
        kind: Some("task"),
        kinds: [
            "retrieval.passage",
            "retrieval.query",
            "separation",
            "classification",
        ],
        fixed: &[],
        max_batch: 512,
        ..Self::OPENAI
    };

    /// Returns the value for a kind of vectors, or `None` when the API has none.
    pub(super) fn kind_value(&self, kind: EmbedKind) -> Option<&'static str> {
        let [document, query, clustering, classification] = self.kinds;
        let value = match kind {
            EmbedKind::Query => query,
            EmbedKind::Clustering => clustering,
            EmbedKind::Classification => classification,
            _ => document,
        };
        Some(value).filter(|v| !v.is_empty())
    }
}
