//! What the chain consists of, and in which order.

use super::{Dry, DynamicTemperature, LengthDecay, Mirostat, Penalties, Xtc};
use crate::{Error, Result};

/// The name of a stage, for [`SamplerOptions::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// [`LogitBias`](super::LogitBias).
    Bias,
    /// [`SequenceBias`](super::SequenceBias), with the bad words.
    Sequences,
    /// [`Penalties`].
    Penalties,
    /// [`NoRepeatNgram`](super::NoRepeatNgram).
    NoRepeatNgram,
    /// [`Dry`].
    Dry,
    /// [`MinNewTokens`](super::MinNewTokens).
    MinNewTokens,
    /// [`Forced`](super::Forced).
    Forced,
    /// [`LengthDecay`].
    LengthDecay,
    /// [`BeginSuppress`](super::BeginSuppress).
    BeginSuppress,
    /// [`TopNSigma`](super::TopNSigma).
    TopNSigma,
    /// [`TopH`](super::TopH).
    TopH,
    /// [`TopK`](super::TopK).
    TopK,
    /// [`Typical`](super::Typical).
    Typical,
    /// [`TopP`](super::TopP).
    TopP,
    /// [`MinP`](super::MinP).
    MinP,
    /// [`Epsilon`](super::Epsilon).
    Epsilon,
    /// [`Eta`](super::Eta).
    Eta,
    /// [`Xtc`].
    Xtc,
    /// [`Temperature`](super::Temperature) or [`DynamicTemperature`].
    Temperature,
    /// [`Mirostat`].
    Mirostat,
}

impl Stage {
    /// The order of llama.cpp: penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC,
    /// temperature; what only transformers has stands beside what is most like it. The default.
    pub const LLAMA_CPP: [Self; 20] = [
        Self::Bias,
        Self::Sequences,
        Self::Penalties,
        Self::NoRepeatNgram,
        Self::Dry,
        Self::MinNewTokens,
        Self::Forced,
        Self::LengthDecay,
        Self::BeginSuppress,
        Self::TopNSigma,
        Self::TopH,
        Self::TopK,
        Self::Typical,
        Self::TopP,
        Self::MinP,
        Self::Epsilon,
        Self::Eta,
        Self::Xtc,
        Self::Temperature,
        Self::Mirostat,
    ];

    /// The order of transformers (`_get_logits_processor`): the temperature comes before the filters.
    pub const TRANSFORMERS: [Self; 20] = [
        Self::Sequences,
        Self::Penalties,
        Self::NoRepeatNgram,
        Self::MinNewTokens,
        Self::Forced,
        Self::LengthDecay,
        Self::Bias,
        Self::BeginSuppress,
        Self::Dry,
        Self::Temperature,
        Self::TopNSigma,
        Self::TopH,
        Self::TopK,
        Self::TopP,
        Self::MinP,
        Self::Typical,
        Self::Epsilon,
        Self::Eta,
        Self::Xtc,
        Self::Mirostat,
    ];

    /// Whether the stage only takes candidates out by their probability: such stages are no part of
    /// a greedy chain, and mirostat stands in their place.
    pub(super) fn is_filter(self) -> bool {
        matches!(
            self,
            Self::TopNSigma
                | Self::TopH
                | Self::TopK
                | Self::Typical
                | Self::TopP
                | Self::MinP
                | Self::Epsilon
                | Self::Eta
                | Self::Xtc
        )
    }
}

/// How the next token is chosen. The default is greedy: the best token, always.
///
/// Greedy choice ignores every filter but XTC, since the best token passes the others.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SamplerOptions {
    /// 0 means greedy; 1 leaves the model's distribution as it is.
    pub temperature: f32,
    /// Keep this many best tokens, and those that tie with the last of them; 0 means all.
    pub top_k: usize,
    /// Keep the best tokens that make up this mass; 1 means all.
    pub top_p: f32,
    /// Keep tokens at least this share as probable as the best; 0 means all.
    pub min_p: f32,
    /// Keep the most typical tokens that make up this mass; 1 means all.
    pub typical_p: f32,
    /// Keep tokens within this many standard deviations of the best score; 0 means all.
    pub top_n_sigma: f32,
    /// Keep the best tokens that make up this share of the entropy, above 0 and at most 1.
    pub top_h: Option<f32>,
    /// Keep tokens of at least this probability; 0 means all.
    pub epsilon_cutoff: f32,
    /// Keep tokens above a probability that follows from this and the entropy; 0 means all.
    pub eta_cutoff: f32,
    /// Now and then take the most probable tokens out.
    pub xtc: Option<Xtc>,
    /// A temperature that follows the entropy around [`temperature`](Self::temperature).
    pub dynamic_temperature: Option<DynamicTemperature>,
    /// Hold the surprise of the text at a level; stands in the place of all filters.
    pub mirostat: Option<Mirostat>,
    /// Repetition, frequency and presence penalties.
    pub penalties: Penalties,
    /// A penalty that grows with the length of what would be repeated.
    pub dry: Option<Dry>,
    /// No sequence of this many tokens comes twice, the prompt counted; 0 means any may.
    pub no_repeat_ngram: usize,
    /// Token id and what is added to its score.
    pub logit_bias: Vec<(u32, f32)>,
    /// A sequence of ids and what is added to the score of its last one after the others.
    pub sequence_bias: Vec<(Vec<u32>, f32)>,
    /// Sequences of ids that must not come.
    pub bad_words: Vec<Vec<u32>>,
    /// Tokens of the reply before [`end_ids`](Self::end_ids) may come.
    pub min_new_tokens: usize,
    /// Raises the scores of [`end_ids`](Self::end_ids) after a length.
    pub length_decay: Option<LengthDecay>,
    /// Ids that must not be the first of a reply.
    pub begin_suppress: Vec<u32>,
    /// Place in the reply, from 0, and the id that must come there.
    pub forced: Vec<(usize, u32)>,
    /// Ids that end a reply, for the two options above; where this is empty, generation puts its own
    /// in.
    pub end_ids: Vec<u32>,
    /// Seed of this request's draws.
    pub seed: u64,
    /// The order of the stages; every stage whose option is set must be there.
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
            top_n_sigma: 0.0,
            top_h: None,
            epsilon_cutoff: 0.0,
            eta_cutoff: 0.0,
            xtc: None,
            dynamic_temperature: None,
            mirostat: None,
            penalties: Penalties {
                repetition: 1.0,
                frequency: 0.0,
                presence: 0.0,
                last_n: None,
            },
            dry: None,
            no_repeat_ngram: 0,
            logit_bias: Vec::new(),
            sequence_bias: Vec::new(),
            bad_words: Vec::new(),
            min_new_tokens: 0,
            length_decay: None,
            begin_suppress: Vec::new(),
            forced: Vec::new(),
            end_ids: Vec::new(),
            seed: 0,
            order: Stage::LLAMA_CPP.into(),
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

    /// Sets top-n-sigma.
    #[must_use]
    pub fn with_top_n_sigma(mut self, n: f32) -> Self {
        self.top_n_sigma = n;
        self
    }

    /// Sets XTC.
    #[must_use]
    pub fn with_xtc(mut self, xtc: Xtc) -> Self {
        self.xtc = Some(xtc);
        self
    }

    /// Sets DRY.
    #[must_use]
    pub fn with_dry(mut self, dry: Dry) -> Self {
        self.dry = Some(dry);
        self
    }

    /// Sets mirostat; a temperature of 0 becomes 1, since greedy choice has no surprise to hold.
    #[must_use]
    pub fn with_mirostat(mut self, mirostat: Mirostat) -> Self {
        self.mirostat = Some(mirostat);
        if self.temperature == 0.0 {
            self.temperature = 1.0;
        }
        self
    }

    /// Sets the range of the temperature, around a temperature above 0.
    #[must_use]
    pub fn with_dynamic_temperature(mut self, dynamic: DynamicTemperature) -> Self {
        self.dynamic_temperature = Some(dynamic);
        self
    }

    /// Forbids sequences of `n` tokens to come twice.
    #[must_use]
    pub fn with_no_repeat_ngram(mut self, n: usize) -> Self {
        self.no_repeat_ngram = n;
        self
    }

    /// Sets the order of the stages, such as [`Stage::TRANSFORMERS`].
    #[must_use]
    pub fn with_order(mut self, order: impl Into<Vec<Stage>>) -> Self {
        self.order = order.into();
        self
    }

    /// Whether the option of a stage is set.
    pub(super) fn has(&self, stage: Stage) -> bool {
        match stage {
            Stage::Bias => !self.logit_bias.is_empty(),
            Stage::Sequences => !self.sequence_bias.is_empty() || !self.bad_words.is_empty(),
            Stage::Penalties => {
                let p = self.penalties;
                p.repetition != 1.0 || p.frequency != 0.0 || p.presence != 0.0
            }
            Stage::NoRepeatNgram => self.no_repeat_ngram > 0,
            Stage::Dry => self.dry.as_ref().is_some_and(|dry| dry.multiplier > 0.0),
            Stage::MinNewTokens => self.min_new_tokens > 0,
            Stage::Forced => !self.forced.is_empty(),
            Stage::LengthDecay => self.length_decay.is_some(),
            Stage::BeginSuppress => !self.begin_suppress.is_empty(),
            Stage::TopNSigma => self.top_n_sigma > 0.0,
            Stage::TopH => self.top_h.is_some(),
            Stage::TopK => self.top_k > 0,
            Stage::Typical => self.typical_p < 1.0,
            Stage::TopP => self.top_p < 1.0,
            Stage::MinP => self.min_p > 0.0,
            Stage::Epsilon => self.epsilon_cutoff > 0.0,
            Stage::Eta => self.eta_cutoff > 0.0,
            Stage::Xtc => self.xtc.is_some_and(|xtc| xtc.probability > 0.0),
            Stage::Temperature => {
                self.dynamic_temperature.is_some()
                    || self.temperature != 1.0 && self.temperature != 0.0
            }
            Stage::Mirostat => self.mirostat.is_some(),
        }
    }

    /// Whether a draw or the surprise of earlier tokens has a part in what the stages do.
    pub(crate) fn is_random(&self) -> bool {
        self.temperature != 0.0 || self.has(Stage::Xtc)
    }

    /// Whether a filter is set.
    pub(crate) fn has_filter(&self) -> bool {
        Stage::LLAMA_CPP
            .into_iter()
            .any(|stage| stage.is_filter() && self.has(stage))
    }

    /// Refuses values out of range.
    pub(super) fn validate(&self) -> Result<()> {
        let at_least_0 = |x: f32| x.is_finite() && x >= 0.0;
        let share = |x: f32| (0.0..=1.0).contains(&x);
        let below_1 = |x: f32| (0.0..1.0).contains(&x);
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let p = &self.penalties;
        check("temperature", self.temperature, at_least_0, "0 or more")?;
        check("top_p", self.top_p, share, "0 to 1")?;
        check("min_p", self.min_p, share, "0 to 1")?;
        check("typical_p", self.typical_p, share, "0 to 1")?;
        check("top_n_sigma", self.top_n_sigma, at_least_0, "0 or more")?;
        check(
            "epsilon_cutoff",
            self.epsilon_cutoff,
            below_1,
            "0 to 1, without 1",
        )?;
        check("eta_cutoff", self.eta_cutoff, below_1, "0 to 1, without 1")?;
        if let Some(h) = self.top_h {
            check("top_h", h, |h| h > 0.0 && h <= 1.0, "above 0 and at most 1")?;
        }
        check("repetition penalty", p.repetition, positive, "above 0")?;
        check(
            "frequency penalty",
            p.frequency,
            f32::is_finite,
            "a finite number",
        )?;
        check(
            "presence penalty",
            p.presence,
            f32::is_finite,
            "a finite number",
        )?;
        if let Some(xtc) = self.xtc {
            check("xtc probability", xtc.probability, share, "0 to 1")?;
            check(
                "xtc threshold",
                xtc.threshold,
                |t| (0.0..=0.5).contains(&t),
                "0 to 0.5",
            )?;
        }
        if let Some(dry) = &self.dry {
            check("dry multiplier", dry.multiplier, at_least_0, "0 or more")?;
            check(
                "dry base",
                dry.base,
                |x| x.is_finite() && x >= 1.0,
                "1 or more",
            )?;
        }
        if let Some(m) = self.mirostat {
            check("mirostat tau", m.tau, positive, "above 0")?;
            check("mirostat eta", m.eta, positive, "above 0")?;
        }
        if let Some(d) = self.dynamic_temperature {
            let needed = "above 0 with a dynamic temperature";
            check("temperature", self.temperature, positive, needed)?;
            check(
                "dynamic temperature range",
                d.range,
                at_least_0,
                "0 or more",
            )?;
            check(
                "dynamic temperature exponent",
                d.exponent,
                positive,
                "above 0",
            )?;
        }
        if let Some(d) = self.length_decay {
            check("length decay factor", d.factor, positive, "above 0")?;
        }
        let number = "a number, or -inf to ban a token";
        for &(_, bias) in &self.logit_bias {
            check("logit bias", bias, |x| !x.is_nan(), number)?;
        }
        for (ids, bias) in &self.sequence_bias {
            check("sequence bias", *bias, |x| !x.is_nan(), number)?;
            not_empty("sequence bias", ids)?;
        }
        self.bad_words
            .iter()
            .try_for_each(|ids| not_empty("bad words", ids))?;
        let missing = Stage::LLAMA_CPP
            .into_iter()
            .find(|&stage| self.has(stage) && !self.order.contains(&stage));
        match missing {
            Some(stage) => Err(Error::Option {
                name: "the order of stages",
                value: format!("without {stage:?}, whose option is set"),
                allowed: "an order that has every stage that does something",
            }),
            None => Ok(()),
        }
    }
}

fn check(
    name: &'static str,
    value: f32,
    holds: impl Fn(f32) -> bool,
    allowed: &'static str,
) -> Result<()> {
    if holds(value) {
        return Ok(());
    }
    Err(Error::Option {
        name,
        value: value.to_string(),
        allowed,
    })
}

fn not_empty(name: &'static str, ids: &[u32]) -> Result<()> {
    if !ids.is_empty() {
        return Ok(());
    }
    Err(Error::Option {
        name,
        value: "for an empty sequence".into(),
        allowed: "sequences of at least one id",
    })
}
