//! Choosing the next token: a chain of stages, then a draw.
//!
//! The order is llama.cpp's: bias, penalties, top-k, typical, top-p, min-p, temperature, draw;
//! [`SamplerOptions::order`] changes it (transformers applies the temperature first).

mod candidates;
mod rng;
mod stage;

pub use candidates::{Candidate, Candidates};
pub use rng::Rng;
pub use stage::{LogitBias, LogitsProcessor, MinP, Penalties, Temperature, TopK, TopP, Typical};

use crate::{Error, Result};

/// The name of a stage, for [`SamplerOptions::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// [`LogitBias`].
    Bias,
    /// [`Penalties`].
    Penalties,
    /// [`TopK`].
    TopK,
    /// [`Typical`].
    Typical,
    /// [`TopP`].
    TopP,
    /// [`MinP`].
    MinP,
    /// [`Temperature`].
    Temperature,
}

/// How the next token is chosen. The default is greedy: the best token, always.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SamplerOptions {
    /// 0 means greedy; 1 leaves the model's distribution as it is.
    pub temperature: f32,
    /// Keep this many best tokens; 0 means all.
    pub top_k: usize,
    /// Keep the best tokens that make up this mass; 1 means all.
    pub top_p: f32,
    /// Keep tokens at least this share as probable as the best; 0 means all.
    pub min_p: f32,
    /// Keep the most typical tokens that make up this mass; 1 means all.
    pub typical_p: f32,
    /// Repetition, frequency and presence penalties.
    pub penalties: Penalties,
    /// Token id and what is added to its score.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of this request's draws.
    pub seed: u64,
    /// The order of the stages.
    pub order: Vec<Stage>,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            penalties: Penalties {
                repetition: 1.0,
                frequency: 0.0,
                presence: 0.0,
                last_n: None,
            },
            logit_bias: Vec::new(),
            seed: 0,
            order: vec![
                Stage::Bias,
                Stage::Penalties,
                Stage::TopK,
                Stage::Typical,
                Stage::TopP,
                Stage::MinP,
                Stage::Temperature,
            ],
        }
    }
}

impl SamplerOptions {
    /// Returns the options that always take the best token.
    pub fn greedy() -> Self {
        Self::default()
    }

    /// Returns llama.cpp's defaults: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05.
    pub fn balanced() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            ..Self::default()
        }
    }

    /// Sets the temperature.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// Sets top-k.
    #[must_use]
    pub fn with_top_k(mut self, k: usize) -> Self {
        self.top_k = k;
        self
    }

    /// Sets top-p.
    #[must_use]
    pub fn with_top_p(mut self, p: f32) -> Self {
        self.top_p = p;
        self
    }

    /// Sets min-p.
    #[must_use]
    pub fn with_min_p(mut self, p: f32) -> Self {
        self.min_p = p;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn validate(&self) -> Result<()> {
        let bad = |name: &'static str, value: f32, allowed: &'static str| {
            Err(Error::Option {
                name,
                value: value.to_string(),
                allowed,
            })
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return bad("temperature", self.temperature, "0 or more");
        }
        for (name, value) in [
            ("top_p", self.top_p),
            ("min_p", self.min_p),
            ("typical_p", self.typical_p),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return bad(name, value, "0 to 1");
            }
        }
        for (name, value) in [
            ("frequency penalty", self.penalties.frequency),
            ("presence penalty", self.penalties.presence),
        ] {
            if !value.is_finite() {
                return bad(name, value, "a finite number");
            }
        }
        if let Some(&(_, bias)) = self.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            return bad("logit bias", bias, "a number, or -inf to ban a token");
        }
        if !(self.penalties.repetition.is_finite() && self.penalties.repetition > 0.0) {
            return bad("repetition penalty", self.penalties.repetition, "above 0");
        }
        Ok(())
    }
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sampled {
    /// Token id.
    pub id: u32,
    /// Natural logarithm of the model's own probability of it, before any stage; `None` unless log
    /// probabilities were asked for.
    pub logprob: Option<f32>,
    /// The best tokens under the model's own distribution with their log probabilities, best first;
    /// as many as were asked for.
    pub top: Vec<(u32, f32)>,
}

impl Sampled {
    /// Describes a token by the logits it was chosen from, `[vocab]`, with `top` alternatives;
    /// without log probabilities for `None`.
    pub fn new(id: u32, logits: &[f32], top: Option<usize>) -> Self {
        let Some(top) = top else {
            return Self {
                id,
                logprob: None,
                top: Vec::new(),
            };
        };
        let norm = log_sum_exp(logits);
        let mut best = Candidates::default();
        if top > 0 {
            best.fill(logits);
            best.keep_best(top);
        }
        let log = |x: f32| (f64::from(x) - norm) as f32;
        Self {
            id,
            logprob: logits.get(id as usize).map(|&x| log(x)),
            top: best.items().iter().map(|c| (c.id, log(c.logit))).collect(),
        }
    }
}

/// A chain of stages and the random numbers of one request.
#[derive(Debug)]
pub struct Sampler {
    stages: Vec<Box<dyn LogitsProcessor>>,
    greedy: bool,
    rng: Rng,
    scratch: Candidates,
}

impl Sampler {
    /// Builds the chain.
    ///
    /// # Errors
    /// [`Error::Option`] names the option that is out of range.
    pub fn new(options: &SamplerOptions) -> Result<Self> {
        options.validate()?;
        let greedy = options.temperature == 0.0;
        let mut stages: Vec<Box<dyn LogitsProcessor>> = Vec::new();
        for stage in &options.order {
            match stage {
                Stage::Bias if !options.logit_bias.is_empty() => {
                    stages.push(Box::new(LogitBias(options.logit_bias.clone())));
                }
                Stage::Penalties => {
                    let p = options.penalties;
                    if p.repetition != 1.0 || p.frequency != 0.0 || p.presence != 0.0 {
                        stages.push(Box::new(stage::Penalise::new(p)));
                    }
                }
                // The best token survives every filter, so greedy needs none of them.
                _ if greedy => {}
                Stage::TopK if options.top_k > 0 => stages.push(Box::new(TopK(options.top_k))),
                Stage::Typical if options.typical_p < 1.0 => {
                    stages.push(Box::new(Typical(options.typical_p)));
                }
                Stage::TopP if options.top_p < 1.0 => stages.push(Box::new(TopP(options.top_p))),
                Stage::MinP if options.min_p > 0.0 => stages.push(Box::new(MinP(options.min_p))),
                Stage::Temperature if options.temperature != 1.0 => {
                    stages.push(Box::new(Temperature(options.temperature)));
                }
                _ => {}
            }
        }
        Ok(Self {
            stages,
            greedy,
            rng: Rng::new(options.seed),
            scratch: Candidates::default(),
        })
    }

    /// Adds a stage of one's own at the end of the chain.
    #[must_use]
    pub fn with_stage(mut self, stage: impl LogitsProcessor + 'static) -> Self {
        self.stages.push(Box::new(stage));
        self
    }

    /// Says that the first `tokens` of the history are the prompt; without it, all is reply.
    #[must_use]
    pub fn after_prompt(mut self, tokens: usize) -> Self {
        self.stages.iter_mut().for_each(|s| s.begin(tokens));
        self
    }

    /// Runs the stages and returns what is left, in no particular order.
    pub fn candidates(&mut self, history: &[u32], logits: &[f32]) -> &Candidates {
        self.scratch.fill(logits);
        for stage in &mut self.stages {
            stage.apply(history, &mut self.scratch);
        }
        &self.scratch
    }

    /// Chooses the next token from a row of logits, `[vocab]`; `top` alternatives are reported.
    ///
    /// # Errors
    /// [`Error::NoCandidates`] when every score is `-inf` or NaN, or the row is empty.
    pub fn sample(
        &mut self,
        history: &[u32],
        logits: &[f32],
        top: Option<usize>,
    ) -> Result<Sampled> {
        Ok(Sampled::new(self.choose(history, logits)?, logits, top))
    }

    /// Chooses the id of the next token from a row of logits, `[vocab]`.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn choose(&mut self, history: &[u32], logits: &[f32]) -> Result<u32> {
        let id = if self.greedy && self.stages.is_empty() {
            argmax(logits)
        } else {
            self.draw(history, logits)
        };
        id.ok_or(Error::NoCandidates {
            vocab: logits.len(),
        })
    }

    fn draw(&mut self, history: &[u32], logits: &[f32]) -> Option<u32> {
        self.candidates(history, logits);
        let best = self
            .scratch
            .best()
            .filter(|c| c.logit > f32::NEG_INFINITY)?;
        if self.greedy {
            return Some(best.id);
        }
        // The order follows from the logits alone, so the draw is a function of seed and logits.
        let mut at = self.rng.next_f64();
        for (c, p) in self
            .scratch
            .items()
            .iter()
            .zip(self.scratch.probabilities())
        {
            at -= p;
            if at < 0.0 {
                return Some(c.id);
            }
        }
        Some(best.id)
    }
}

fn argmax(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (&x, id) in logits.iter().zip(0u32..) {
        if x > best.map_or(f32::NEG_INFINITY, |(_, y)| y) {
            best = Some((id, x));
        }
    }
    best.map(|(id, _)| id)
}

/// Returns the natural logarithm of the sum of exponentials, in f64.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests;
