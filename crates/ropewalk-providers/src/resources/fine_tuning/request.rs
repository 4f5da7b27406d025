//! What a new job is told.

use std::collections::BTreeMap;

use ropewalk_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::objects::{Integration, Method};

/// A job to be created.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct FineTuneRequest {
    /// The model to begin with.
    pub model: String,
    /// Id of the uploaded examples.
    pub training_file: String,
    /// Id of uploaded examples to check with.
    pub validation_file: Option<String>,
    /// How the model learns; supervised with parameters of the provider's choice when `None`.
    pub method: Option<Method>,
    /// End of the new model's name, up to 64 characters.
    pub suffix: Option<String>,
    /// The seed; the provider draws one when `None`.
    pub seed: Option<u32>,
    /// Services that follow the training.
    pub integrations: Vec<Integration>,
    /// Up to 16 notes of one's own: names up to 64 characters, values up to 512.
    pub metadata: BTreeMap<String, String>,
    /// Fields merged into the body last.
    pub extra: Map<String, Value>,
}

impl FineTuneRequest {
    /// Creates a request from the model to begin with and the id of the examples.
    pub fn new(model: impl Into<String>, training_file: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            training_file: training_file.into(),
            ..Self::default()
        }
    }

    /// Sets the id of examples to check with.
    #[must_use]
    pub fn with_validation_file(mut self, file: impl Into<String>) -> Self {
        self.validation_file = Some(file.into());
        self
    }

    /// Sets how the model learns.
    #[must_use]
    pub fn with_method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Sets the end of the new model's name.
    #[must_use]
    pub fn with_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = Some(suffix.into());
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u32) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Adds a service that follows the training.
    #[must_use]
    pub fn with_integration(mut self, integration: Integration) -> Self {
        self.integrations.push(integration);
        self
    }

    /// Adds a note of one's own.
    #[must_use]
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Sets a field of the body.
    #[must_use]
    pub fn with_extra(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(field.into(), value.into());
        self
    }

    /// Checks the request and writes its body.
    pub(super) fn body(&self) -> Result<Value> {
        let Self {
            model,
            training_file,
            validation_file,
            method,
            suffix,
            seed,
            integrations,
            metadata,
            extra,
        } = self;
        let bad = |message: &str| Err(Error::invalid_request(message));
        let long = |text: &String, limit: usize| text.chars().count() > limit;
        if model.is_empty() || training_file.is_empty() {
            return bad("a job wants a model and the id of a training file");
        }
        if suffix.as_ref().is_some_and(|s| long(s, 64)) {
            return bad("the suffix has more than 64 characters");
        }
        let notes = metadata
            .iter()
            .any(|(name, value)| long(name, 64) || long(value, 512));
        if metadata.len() > 16 || notes {
            return bad(
                "metadata are up to 16 notes, names up to 64 and values up to 512 characters",
            );
        }
        let broken = method.as_ref().and_then(|m| m.hyperparameters()?.broken());
        if let Some(name) = broken {
            return bad(&format!("{name} is no finite number"));
        }
        let mut body = Map::new();
        body.insert("model".into(), json!(model));
        body.insert("training_file".into(), json!(training_file));
        let optional = [
            (
                "validation_file",
                validation_file.as_ref().map(|f| json!(f)),
            ),
            ("method", method.as_ref().map(|m| json!(m))),
            ("suffix", suffix.as_ref().map(|s| json!(s))),
            ("seed", seed.map(|s| json!(s))),
            (
                "integrations",
                (!integrations.is_empty()).then(|| json!(integrations)),
            ),
            ("metadata", (!metadata.is_empty()).then(|| json!(metadata))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body.insert(name.into(), value);
            }
        }
        body.extend(extra.clone());
        Ok(Value::Object(body))
    }
}
