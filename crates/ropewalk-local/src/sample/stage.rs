//! The stages of the sampler chain.

use std::collections::HashMap;

use super::Candidates;

/// One step of the chain: it sees the tokens so far and changes the candidates.
pub trait LogitsProcessor: Send + std::fmt::Debug {
    /// Rescales or removes candidates; `history` is the prompt and what was generated so far.
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates);

    /// Hears before the first token how long the prompt is.
    fn begin(&mut self, prompt: usize) {
        _ = prompt;
    }

    /// Hears which token was drawn, and from which candidates: those that all stages left.
    fn chosen(&mut self, id: u32, candidates: &Candidates) {
        _ = (id, candidates);
    }
}

/// Adds a constant to the scores of some tokens; `-inf` bans one.
#[derive(Debug, Clone, PartialEq)]
pub struct LogitBias(
    /// Token id and what is added to its score.
    pub Vec<(u32, f32)>,
);

impl LogitsProcessor for LogitBias {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        for &(id, bias) in &self.0 {
            candidates.adjust(id, |x| *x += bias);
        }
    }
}

/// Lowers the scores of tokens that were used already.
///
/// Repetition divides positive scores and multiplies negative ones (Keskar et al. 2019, CTRL,
/// section 4.1; `RepetitionPenaltyLogitsProcessor` in transformers); it counts the prompt as well.
/// Frequency is taken off per use and presence once, where only uses in the reply count (the OpenAI
/// definition): the ends of earlier turns in a prompt must not keep a reply from ending.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    /// Factor for used tokens; 1 does nothing.
    pub repetition: f32,
    /// Taken off per use; 0 does nothing.
    pub frequency: f32,
    /// Taken off once; 0 does nothing.
    pub presence: f32,
    /// How many of the latest tokens count; `None` means all.
    pub last_n: Option<usize>,
}

/// The stage of [`Penalties`].
#[derive(Debug)]
pub(super) struct Penalise {
    options: Penalties,
    prompt: usize,
    /// Uses of each token in the reply; tokens of the prompt alone have none.
    counts: HashMap<u32, u32>,
}

impl Penalise {
    pub(super) fn new(options: Penalties) -> Self {
        Self {
            options,
            prompt: 0,
            counts: HashMap::new(),
        }
    }
}

impl LogitsProcessor for Penalise {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        let o = self.options;
        let start = o.last_n.map_or(0, |n| history.len().saturating_sub(n));
        self.counts.clear();
        for (&id, at) in history.iter().zip(0..).skip(start) {
            *self.counts.entry(id).or_default() += u32::from(at >= self.prompt);
        }
        for (&id, &n) in &self.counts {
            candidates.adjust(id, |x| {
                *x = if *x < 0.0 {
                    *x * o.repetition
                } else {
                    *x / o.repetition
                };
                if n > 0 {
                    *x -= n as f32 * o.frequency + o.presence;
                }
            });
        }
    }

    fn begin(&mut self, prompt: usize) {
        self.prompt = prompt;
    }
}

/// Keeps the `k` best candidates, and those that tie with the last of them (`TopKLogitsWarper`;
/// llama.cpp leaves of the tied ones any).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK(
    /// How many stay; at least one does.
    pub usize,
);

impl LogitsProcessor for TopK {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        candidates.keep_best_and_ties(self.0);
    }
}

/// Keeps the smallest set of best candidates whose probabilities reach `p`
/// (Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration", section 3.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopP(
    /// The mass to keep, `0.0..=1.0`.
    pub f32,
);

impl LogitsProcessor for TopP {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        candidates.keep_mass(f64::from(self.0));
    }
}

/// Keeps candidates at least `p` times as probable as the best one
/// (Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinP(
    /// The share of the best probability, `0.0..=1.0`.
    pub f32,
);

impl LogitsProcessor for MinP {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let Some(best) = candidates.best() else {
            return;
        };
        let floor = best.logit + self.0.ln();
        candidates.retain(|c| c.logit >= floor);
    }
}

/// Keeps the candidates whose surprise is nearest to the entropy, up to a mass
/// (Meister et al. 2022, "Locally Typical Sampling", algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Typical(
    /// The mass to keep, `0.0..=1.0`.
    pub f32,
);

impl LogitsProcessor for Typical {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        let p = candidates.probabilities();
        let entropy: f64 = p.iter().filter(|&&p| p > 0.0).map(|&p| -p * p.ln()).sum();
        let distance: Vec<f64> = p.iter().map(|p| (-p.ln() - entropy).abs()).collect();
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| distance[a].total_cmp(&distance[b]));
        let mut sum = 0.0;
        let below = order
            .iter()
            .take_while(|&&i| {
                sum += p[i];
                sum < f64::from(self.0)
            })
            .count();
        // What is as typical as the last stays as well, as in `TypicalLogitsWarper`.
        let last = order.get(below).or(order.last()).map(|&i| distance[i]);
        order.retain(|&i| last.is_none_or(|last| distance[i] <= last));
        candidates.select(&order);
    }
}
