//! Models that judge whether content is harmful.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::message::Content;
use crate::reply::{Extra, reply_setters, request_setters};
use crate::request::OnUnsupported;
use crate::response::{Usage, Warning};

/// The judgement of one input.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Moderation {
    /// Whether any category applies.
    pub flagged: bool,
    /// Which categories apply, by the provider's names.
    pub categories: BTreeMap<String, bool>,
    /// How sure the model is, 0 to 1, by category.
    pub scores: BTreeMap<String, f32>,
}

impl Moderation {
    /// Creates a judgement from scores; a category applies when its score reaches `threshold`.
    #[must_use]
    pub fn from_scores(scores: BTreeMap<String, f32>, threshold: f32) -> Self {
        let categories: BTreeMap<_, _> = scores
            .iter()
            .map(|(name, score)| (name.clone(), *score >= threshold))
            .collect();
        Self {
            flagged: categories.values().any(|applies| *applies),
            categories,
            scores,
        }
    }
}

/// Contents to be judged.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ModerateRequest {
    /// The contents.
    pub inputs: Vec<Content>,
    /// What to do with what the model cannot honour.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name; `*` for all.
    pub extra: Extra,
}

impl ModerateRequest {
    /// Creates a request from texts or contents.
    pub fn new(inputs: impl IntoIterator<Item = impl Into<Content>>) -> Self {
        Self {
            inputs: inputs.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// The judgements of all inputs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModerateResponse {
    /// One judgement per input, in order.
    pub results: Vec<Moderation>,
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

impl ModerateResponse {
    /// Creates a response from judgements.
    #[must_use]
    pub fn new(results: Vec<Moderation>) -> Self {
        Self {
            results,
            ..Self::default()
        }
    }
}

request_setters!(ModerateRequest);
reply_setters!(ModerateResponse);

/// A model that judges texts and images.
#[async_trait]
pub trait ModerationModel: Send + Sync {
    /// Returns who runs the model.
    fn provider(&self) -> &str;

    /// Returns the name of the model.
    fn model(&self) -> &str;

    /// Judges each input, in order.
    ///
    /// # Errors
    /// Whatever keeps the model from answering.
    async fn moderate(&self, request: &ModerateRequest) -> Result<ModerateResponse>;
}

/// A shared moderation model of any type.
pub type DynModerationModel = Arc<dyn ModerationModel>;

crate::forward::forward! { M: ModerationModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn moderate(&self, request: &ModerateRequest) -> Result<ModerateResponse> {
        (**self).moderate(request).await
    }
}
