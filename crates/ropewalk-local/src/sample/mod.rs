//! Choosing the next token: a chain of stages, then a draw.
//!
//! The order is llama.cpp's ([`Stage::LLAMA_CPP`]): bias, penalties, filters, temperature, draw;
//! [`SamplerOptions::order`] changes it ([`Stage::TRANSFORMERS`] has the temperature first).
//!
//! | stage | what it does | its double in llama.cpp | in transformers |
//! | --- | --- | --- | --- |
//! | [`LogitBias`] | adds to scores | `logit-bias` | `SuppressTokens` |
//! | [`SequenceBias`] | adds to the end of sequences, bans words | | `SequenceBias`, `NoBadWords` |
//! | [`Penalties`] | lowers what was used | `penalties` | `RepetitionPenalty` |
//! | [`NoRepeatNgram`] | bans sequences that came before | | `NoRepeatNGram` |
//! | [`Dry`] | lowers what would go on with a repetition | `dry` | |
//! | [`MinNewTokens`], [`LengthDecay`] | keep a reply from ending, make it end | | `MinNewTokensLength`, `ExponentialDecayLengthPenalty` |
//! | [`BeginSuppress`], [`Forced`] | bans or forces at a place | | `SuppressTokensAtBegin`, `ForcedBOS`, `ForcedEOS` |
//! | [`TopNSigma`] | keeps scores near the best | `top-n-sigma` | |
//! | [`TopH`] | keeps a share of the entropy | | `TopH` |
//! | [`TopK`], [`TopP`], [`MinP`], [`Typical`] | keep by rank, mass, share, surprise | `top-k`, `top-p`, `min-p`, `typical` | the same |
//! | [`Epsilon`], [`Eta`] | keep by probability | | the same |
//! | [`Xtc`] | takes the best out now and then | `xtc` | |
//! | [`Temperature`], [`DynamicTemperature`] | sharpens or flattens | `temp`, `temp-ext` | `Temperature` |
//! | [`Mirostat`] | holds the surprise, instead of filters | `mirostat`, `mirostat-v2` | |
//!
//! ```
//! use ropewalk_local::sample::{Dry, Mirostat, Sampler, SamplerOptions, Xtc};
//!
//! let options = SamplerOptions::default()
//!     .with_temperature(1.0)
//!     .with_min_p(0.05)
//!     .with_xtc(Xtc::new(0.5, 0.1))
//!     .with_dry(Dry::new(0.8))
//!     .with_seed(7);
//! let mut sampler = Sampler::new(&options)?;
//! let token = sampler.sample(&[3, 1, 4], &[0.5, 2.0, 1.9, -1.0], Some(2))?;
//! assert!(token.id < 4 && token.top.len() == 2);
//!
//! // Values out of range are refused, not bent.
//! let bad = SamplerOptions::default().with_mirostat(Mirostat::v2().with_tau(-1.0));
//! assert_eq!(Sampler::new(&bad).unwrap_err().to_string(), "mirostat tau is -1; use above 0");
//! # Ok::<(), ropewalk_local::Error>(())
//! ```

mod candidates;
mod dry;
mod factory;
mod filter;
mod mirostat;
mod options;
mod rng;
mod sequences;
mod stage;
mod temperature;

pub use candidates::{Candidate, Candidates};
pub use dry::Dry;
pub use factory::StageFactory;
pub use filter::{Epsilon, Eta, TopH, TopNSigma, Xtc};
pub use mirostat::{Mirostat, MirostatVersion};
pub use options::{SamplerOptions, Stage};
pub use rng::Rng;
pub use sequences::{
    BeginSuppress, Forced, LengthDecay, MinNewTokens, NoRepeatNgram, SequenceBias,
};
pub use stage::{LogitBias, LogitsProcessor, MinP, Penalties, TopK, TopP, Typical};
pub use temperature::{DynamicTemperature, Temperature};

use crate::{Error, Result};

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
        let keeps = |stage: &Stage| match stage {
            // The best token survives every filter but one that takes it out, so greedy needs none.
            stage if greedy => !stage.is_filter() || options.has(Stage::Xtc),
            stage => !stage.is_filter() || options.mirostat.is_none(),
        };
        let order = options.order.iter().filter(|stage| options.has(**stage));
        Ok(Self {
            stages: order
                .filter(|stage| keeps(stage))
                .filter_map(|stage| build(*stage, options, greedy))
                .collect(),
            greedy,
            rng: Rng::new(options.seed),
            scratch: Candidates::default(),
        })
    }

    /// Puts stages of one's own before all others: they see the scores of the model.
    #[must_use]
    pub fn with_stages_before(mut self, first: Vec<Box<dyn LogitsProcessor>>) -> Self {
        self.stages.splice(..0, first);
        self
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

    /// Returns whether the choice is that of the highest score, whatever the history.
    pub(crate) fn is_argmax(&self) -> bool {
        self.greedy && self.stages.is_empty()
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
            let id = self.draw(history, logits);
            id.into_iter().for_each(|id| self.tell(id));
            id
        };
        id.ok_or(Error::NoCandidates {
            vocab: logits.len(),
        })
    }

    /// Tells the stages which token was drawn.
    fn tell(&mut self, id: u32) {
        for stage in &mut self.stages {
            stage.chosen(id, &self.scratch);
        }
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

/// Builds a stage; `None` for those that a greedy chain has no use for.
fn build(stage: Stage, o: &SamplerOptions, greedy: bool) -> Option<Box<dyn LogitsProcessor>> {
    let end_ids = || o.end_ids.clone();
    Some(match stage {
        Stage::Bias => Box::new(LogitBias(o.logit_bias.clone())),
        Stage::Sequences => {
            let bad = o.bad_words.iter().cloned();
            let bad = bad.map(|ids| (ids, f32::NEG_INFINITY));
            let all = o.sequence_bias.iter().cloned().chain(bad);
            Box::new(SequenceBias(all.collect()))
        }
        Stage::Penalties => Box::new(stage::Penalise::new(o.penalties)),
        Stage::NoRepeatNgram => Box::new(NoRepeatNgram(o.no_repeat_ngram)),
        Stage::Dry => Box::new(dry::DontRepeat::new(o.dry.clone()?)),
        Stage::MinNewTokens => Box::new(MinNewTokens {
            tokens: o.min_new_tokens,
            end_ids: end_ids(),
            prompt: 0,
        }),
        Stage::Forced => Box::new(Forced {
            places: o.forced.clone(),
            prompt: 0,
        }),
        Stage::LengthDecay => Box::new(sequences::EndSooner {
            options: o.length_decay?,
            end_ids: end_ids(),
            prompt: 0,
        }),
        Stage::BeginSuppress => Box::new(BeginSuppress {
            ids: o.begin_suppress.clone(),
            prompt: 0,
        }),
        Stage::TopNSigma => Box::new(TopNSigma(o.top_n_sigma)),
        Stage::TopH => Box::new(TopH(o.top_h?)),
        Stage::TopK => Box::new(TopK(o.top_k)),
        Stage::Typical => Box::new(Typical(o.typical_p)),
        Stage::TopP => Box::new(TopP(o.top_p)),
        Stage::MinP => Box::new(MinP(o.min_p)),
        Stage::Epsilon => Box::new(Epsilon(o.epsilon_cutoff)),
        Stage::Eta => Box::new(Eta(o.eta_cutoff)),
        Stage::Xtc => Box::new(filter::ExcludeTop::new(o.xtc?, o.seed)),
        Stage::Temperature | Stage::Mirostat if greedy => return None,
        Stage::Temperature => match o.dynamic_temperature {
            Some(options) => Box::new(temperature::FollowEntropy {
                temperature: o.temperature,
                options,
            }),
            None => Box::new(Temperature(o.temperature)),
        },
        Stage::Mirostat => Box::new(mirostat::HoldSurprise::new(o.mirostat?)),
    })
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
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests;
