//! Stages that take candidates out by more than rank or mass.

use super::{Candidates, LogitsProcessor, Rng};

/// Keeps the candidates whose scores are within `n` standard deviations of the best
/// (Tang et al. 2024, "Top-nσ: Not All Logits Are You Need", algorithm 1; llama.cpp's
/// `top-n-sigma`). Scores of `-inf` do not count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopNSigma(
    /// How many standard deviations, above 0.
    pub f32,
);

impl LogitsProcessor for TopNSigma {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let Some(best) = candidates.best() else {
            return;
        };
        let scores = || {
            let all = candidates.items().iter().map(|c| f64::from(c.logit));
            all.filter(|x| *x > f64::NEG_INFINITY)
        };
        let n = scores().count().max(1) as f64;
        let mean = scores().sum::<f64>() / n;
        let variance = scores().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let floor = f64::from(best.logit) - f64::from(self.0) * variance.sqrt();
        candidates.retain(|c| f64::from(c.logit) >= floor);
    }
}

/// Keeps the best candidates while the entropy they make up is at most a share of that of the best
/// hundred (Potraghloo et al. 2025, "Top-H Decoding", algorithm 1; `TopHLogitsWarper`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopH(
    /// The share of the entropy, above 0 and at most 1.
    pub f32,
);

/// Candidates that [`TopH`] looks at.
const TOP_H_CANDIDATES: usize = 100;

impl LogitsProcessor for TopH {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        candidates.keep_best(TOP_H_CANDIDATES);
        let p = candidates.probabilities();
        let limit = entropy(&p) * f64::from(self.0);
        let mut sum = 0.0;
        let within = p.iter().take_while(|&&p| {
            sum += surprise(p);
            sum <= limit
        });
        candidates.truncate(within.count());
    }
}

/// Keeps the candidates of at least a probability
/// (Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing", section 4.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epsilon(
    /// The least probability, `0.0..1.0`.
    pub f32,
);

impl LogitsProcessor for Epsilon {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        keep_probable(candidates, |_| f64::from(self.0));
    }
}

/// Keeps the candidates of at least the probability `min(ε, sqrt(ε) exp(-entropy))`
/// (Hewitt et al. 2022, section 4.3; `EtaLogitsWarper`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eta(
    /// ε, `0.0..1.0`.
    pub f32,
);

impl LogitsProcessor for Eta {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let epsilon = f64::from(self.0);
        keep_probable(candidates, |p| {
            epsilon.min(epsilon.sqrt() * (-entropy(p)).exp())
        });
    }
}

/// Keeps the candidates that reach a probability, and those that tie with the best.
fn keep_probable(candidates: &mut Candidates, least: impl Fn(&[f64]) -> f64) {
    let Some(best) = candidates.best() else {
        return;
    };
    let p = candidates.probabilities();
    let least = least(&p);
    let mut p = p.into_iter();
    candidates.filter(|c| p.next().is_some_and(|p| p >= least) || c.logit == best.logit);
}

/// Takes, with a probability, all candidates out that reach a threshold but the least probable of
/// them (XTC, "exclude top choices"; llama.cpp's `xtc`, text-generation-webui pull request 6335).
///
/// Its draws come from the seed of the request and are not those of the tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Xtc {
    /// How often the best are taken out, `0.0..=1.0`; 0 does nothing.
    pub probability: f32,
    /// The probability that a candidate must reach to be taken out, `0.0..=0.5`.
    pub threshold: f32,
    /// Nothing is taken out when fewer candidates than this would be left.
    pub min_keep: usize,
}

impl Xtc {
    /// Returns XTC that acts with a probability on candidates that reach a threshold.
    pub fn new(probability: f32, threshold: f32) -> Self {
        Self {
            probability,
            threshold,
            min_keep: 1,
        }
    }

    /// Sets how many candidates must be left.
    #[must_use]
    pub fn with_min_keep(mut self, candidates: usize) -> Self {
        self.min_keep = candidates;
        self
    }
}

/// The stage of [`Xtc`].
#[derive(Debug)]
pub(super) struct ExcludeTop {
    options: Xtc,
    rng: Rng,
}

impl ExcludeTop {
    pub(super) fn new(options: Xtc, seed: u64) -> Self {
        // Another stream than that of the tokens.
        let rng = Rng::new(seed ^ 0x5854_4300_0000_0001);
        Self { options, rng }
    }
}

impl LogitsProcessor for ExcludeTop {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let o = self.options;
        let n = candidates.items().len();
        if n < 2 || self.rng.next_f64() > f64::from(o.probability) {
            return;
        }
        candidates.sort();
        let threshold = f64::from(o.threshold);
        let p = candidates.probabilities();
        let reach = p.iter().take_while(|&&p| p >= threshold).count();
        let out = reach.saturating_sub(1);
        if n - out >= o.min_keep {
            candidates.remove_best(out);
        }
    }
}

/// Returns the entropy of a distribution in nats.
pub(super) fn entropy(p: &[f64]) -> f64 {
    p.iter().map(|&p| surprise(p)).sum()
}

fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}
