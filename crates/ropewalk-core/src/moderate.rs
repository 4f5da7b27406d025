//! Models that judge whether content is harmful.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::message::Content;

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
    async fn moderate(&self, inputs: &[Content]) -> Result<Vec<Moderation>>;
}

/// A shared moderation model of any type.
pub type DynModerationModel = Arc<dyn ModerationModel>;

crate::forward::forward! { M: ModerationModel =>
    fn provider(&self) -> &str { (**self).provider() }
    fn model(&self) -> &str { (**self).model() }

    async fn moderate(&self, inputs: &[Content]) -> Result<Vec<Moderation>> {
        (**self).moderate(inputs).await
    }
}
