//! Models on an Ollama server.

use ropewalk_core::Capabilities;
use serde_json::Value;

use crate::native::{count, text};

/// A model that is on the server, as `/api/tags` lists it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OllamaTag {
    /// Its name, for example `llama3.2:3b`.
    pub name: String,
    /// Size of its files, in bytes.
    pub size: Option<u64>,
    /// Digest of its manifest.
    pub digest: Option<String>,
    /// Number of parameters in words, for example `3.2B`.
    pub parameter_size: Option<String>,
    /// Type of its weights, for example `Q4_K_M`.
    pub quantization: Option<String>,
    /// Everything the server says.
    pub raw: Value,
}

impl OllamaTag {
    pub(super) fn of(raw: Value) -> Option<Self> {
        Some(Self {
            name: text(&raw, "name").or_else(|| text(&raw, "model"))?,
            size: count(&raw, "size"),
            digest: text(&raw, "digest"),
            parameter_size: text(&raw["details"], "parameter_size"),
            quantization: text(&raw["details"], "quantization_level"),
            raw,
        })
    }
}

/// What `/api/show` says about a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OllamaModel {
    /// What it can do: `completion`, `tools`, `vision`, `thinking`, `embedding`, …
    pub abilities: Vec<String>,
    /// Largest number of tokens it was made for; the server allows as many as `num_ctx` says.
    pub context_window: Option<u64>,
    /// Width of its hidden states, which is that of the vectors of an embedding model.
    pub width: Option<u64>,
    /// Its chat template.
    pub template: Option<String>,
    /// Its options, one per line.
    pub parameters: Option<String>,
    /// Everything the server says.
    pub raw: Value,
}

impl OllamaModel {
    pub(super) fn of(raw: Value) -> Self {
        let abilities = raw["capabilities"].as_array().into_iter().flatten();
        let info = &raw["model_info"];
        let family = text(info, "general.architecture").unwrap_or_default();
        let of = |field: &str| count(info, &format!("{family}.{field}"));
        Self {
            abilities: abilities
                .filter_map(|a| a.as_str().map(str::to_owned))
                .collect(),
            context_window: of("context_length"),
            width: of("embedding_length"),
            template: text(&raw, "template"),
            parameters: text(&raw, "parameters"),
            raw,
        }
    }

    /// Returns the same for [`RemoteChat::with_capabilities`](crate::RemoteChat::with_capabilities).
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let has = |ability: &str| self.abilities.iter().any(|a| a == ability);
        let mut capabilities = super::capabilities();
        capabilities.tools = has("tools");
        capabilities.parallel_tools = has("tools");
        capabilities.vision = has("vision");
        capabilities.reasoning = has("thinking");
        capabilities.context_window = self.context_window;
        capabilities
    }
}
