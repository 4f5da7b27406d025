//! Stages that sharpen or flatten the distribution.

use super::filter::entropy;
use super::{Candidates, LogitsProcessor};

/// Divides all scores by a temperature above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature(
    /// Below 1 sharpens, above 1 flattens.
    pub f32,
);

impl LogitsProcessor for Temperature {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let t = self.0;
        candidates.rescale(|c| c.logit /= t);
    }
}

/// A temperature that follows the entropy: low where the model is sure, high where it is not.
///
/// With H the entropy of the candidates and n their number it is
/// `low + (high - low) * (H / ln n)^exponent`, where `low` and `high` are the temperature minus and
/// plus the range, `low` not below 0 (Zhu et al. 2023, arXiv 2309.02772; llama.cpp's `temp-ext`).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct DynamicTemperature {
    /// How far the temperature may be from its middle; 0 leaves it there.
    pub range: f32,
    /// Above 1 keeps the temperature low until the entropy is high, below 1 the other way.
    pub exponent: f32,
}

impl DynamicTemperature {
    /// Returns a range with an exponent of 1.
    pub fn new(range: f32) -> Self {
        Self {
            range,
            exponent: 1.0,
        }
    }

    /// Sets the exponent.
    #[must_use]
    pub fn with_exponent(mut self, exponent: f32) -> Self {
        self.exponent = exponent;
        self
    }
}

/// The stage of [`DynamicTemperature`].
#[derive(Debug)]
pub(super) struct FollowEntropy {
    pub(super) temperature: f32,
    pub(super) options: DynamicTemperature,
}

impl LogitsProcessor for FollowEntropy {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        let o = self.options;
        if o.range == 0.0 {
            return Temperature(self.temperature).apply(history, candidates);
        }
        let n = candidates.items().len();
        if n <= 1 {
            return;
        }
        let low = f64::from((self.temperature - o.range).max(0.0));
        let high = f64::from(self.temperature + o.range);
        let share = entropy(&candidates.probabilities()) / (n as f64).ln();
        let t = (low + (high - low) * share.powf(f64::from(o.exponent))) as f32;
        if t > 0.0 {
            Temperature(t).apply(history, candidates);
        } else {
            candidates.keep_best(1);
        }
    }
}
