//! How APIs for ranking differ, as data.

/// The body that an API for ranking wants, and the reply it gives.
///
/// Sources: the API references of Cohere (v2), Jina and Voyage, and those of the servers of
/// text-embeddings-inference and llama.cpp.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RerankShape {
    /// Path below the base URL.
    pub path: &'static str,
    /// Whether the body names the model.
    pub model: bool,
    /// Field of the documents.
    pub documents: &'static str,
    /// Field of the number of results wanted; `None` when all come, and are cut here.
    pub top_n: Option<&'static str>,
    /// Fields that are always the same, as JSON.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Field of the results in the reply; empty when the reply is the list.
    pub results: &'static str,
    /// Field of the score in a result.
    pub score: &'static str,
}

impl RerankShape {
    /// Cohere v2, below `https://api.cohere.com`.
    pub const COHERE: Self = Self {
        path: "/v2/rerank",
        model: true,
        documents: "documents",
        top_n: Some("top_n"),
        fixed: &[],
        results: "results",
        score: "relevance_score",
    };

    /// Jina, below `https://api.jina.ai/v1`.
    pub const JINA: Self = Self {
        path: "/rerank",
        fixed: &[("return_documents", "false")],
        ..Self::COHERE
    };

    /// Voyage, below `https://api.voyageai.com/v1`.
    pub const VOYAGE: Self = Self {
        path: "/rerank",
        top_n: Some("top_k"),
        fixed: &[("return_documents", "false")],
        results: "data",
        ..Self::COHERE
    };

    /// Text-embeddings-inference of Hugging Face.
    pub const TEI: Self = Self {
        path: "/rerank",
        model: false,
        documents: "texts",
        top_n: None,
        fixed: &[("return_text", "false")],
        results: "",
        score: "score",
    };

    /// The server of llama.cpp, below `/v1`, and vLLM.
    pub const LLAMA_CPP: Self = Self {
        path: "/rerank",
        ..Self::COHERE
    };
}
