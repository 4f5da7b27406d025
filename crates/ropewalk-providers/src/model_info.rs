//! What providers list about their models.

use serde_json::Value;

/// A model as its provider lists it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name to ask for it by.
    pub id: String,
    /// Its name for people.
    pub name: Option<String>,
    /// Largest number of tokens of a prompt, as far as it is told.
    pub context_window: Option<u64>,
    /// Largest number of tokens of a reply, as far as it is told.
    pub max_output: Option<u64>,
    /// Everything the provider says.
    pub raw: Value,
}

impl ModelInfo {
    /// Creates an entry with its id and what the provider says.
    pub fn new(id: impl Into<String>, raw: Value) -> Self {
        Self {
            id: id.into(),
            name: None,
            context_window: None,
            max_output: None,
            raw,
        }
    }

    /// Sets the name for people.
    #[must_use]
    pub fn with_name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    /// Sets the limits, in tokens, of prompt and reply.
    #[must_use]
    pub fn with_limits(mut self, context_window: Option<u64>, max_output: Option<u64>) -> Self {
        self.context_window = context_window;
        self.max_output = max_output;
        self
    }
}
