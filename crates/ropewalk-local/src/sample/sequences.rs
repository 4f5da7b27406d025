//! Stages that look at sequences of tokens, and at where the reply begins and ends.

use super::{Candidates, LogitsProcessor};

/// Adds to the score of the last id of a sequence where the others have just come; `-inf` bans the
/// sequence (`SequenceBiasLogitsProcessor`, `NoBadWordsLogitsProcessor`).
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceBias(
    /// Ids and what is added; an id alone is biased always.
    pub Vec<(Vec<u32>, f32)>,
);

impl LogitsProcessor for SequenceBias {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        for (ids, bias) in &self.0 {
            if let Some((&last, before)) = ids.split_last()
                && history.ends_with(before)
            {
                candidates.adjust(last, |x| *x += bias);
            }
        }
    }
}

/// Bans every token that would make the last `n` tokens a sequence that came before, the prompt
/// counted (`NoRepeatNGramLogitsProcessor`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRepeatNgram(
    /// Tokens of a sequence, at least 1.
    pub usize,
);

impl LogitsProcessor for NoRepeatNgram {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        let Some(before) = self.0.checked_sub(1) else {
            return;
        };
        let Some(start) = history.len().checked_sub(before) else {
            return;
        };
        let latest = &history[start..];
        for sequence in history.windows(self.0) {
            if let Some((&last, same)) = sequence.split_last()
                && same == latest
            {
                candidates.adjust(last, |x| *x = f32::NEG_INFINITY);
            }
        }
    }
}

/// Bans the ids that end a reply until it has some tokens (`MinNewTokensLengthLogitsProcessor`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinNewTokens {
    /// Tokens before the reply may end.
    pub tokens: usize,
    /// Ids that end it.
    pub end_ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
}

impl LogitsProcessor for MinNewTokens {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        if history.len().saturating_sub(self.prompt) < self.tokens {
            for &id in &self.end_ids {
                candidates.adjust(id, |x| *x = f32::NEG_INFINITY);
            }
        }
    }

    fn begin(&mut self, prompt: usize) {
        self.prompt = prompt;
    }
}

/// Raises the scores of the ids that end a reply, more with each token after a length: the absolute
/// score times `factor^n - 1` is added at the n-th (`ExponentialDecayLengthPenalty`).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LengthDecay {
    /// Tokens of the reply before it begins.
    pub after: usize,
    /// Above 1 makes replies end earlier, below 1 later.
    pub factor: f32,
}

impl LengthDecay {
    /// Returns a factor that acts after some tokens of the reply.
    pub fn new(after: usize, factor: f32) -> Self {
        Self { after, factor }
    }
}

/// The stage of [`LengthDecay`].
#[derive(Debug)]
pub(super) struct EndSooner {
    pub(super) options: LengthDecay,
    pub(super) end_ids: Vec<u32>,
    pub(super) prompt: usize,
}

impl LogitsProcessor for EndSooner {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        let begin = self.prompt + self.options.after;
        let Some(past @ 1..) = history.len().checked_sub(begin) else {
            return;
        };
        let power = f64::from(self.options.factor).powf(past as f64) - 1.0;
        for &id in &self.end_ids {
            candidates.adjust(id, |x| {
                if x.is_finite() {
                    *x += (f64::from(x.abs()) * power) as f32;
                }
            });
        }
    }

    fn begin(&mut self, prompt: usize) {
        self.prompt = prompt;
    }
}

/// Bans ids as the first of a reply (`SuppressTokensAtBeginLogitsProcessor`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginSuppress {
    /// The ids.
    pub ids: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
}

impl LogitsProcessor for BeginSuppress {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        if history.len() == self.prompt {
            for &id in &self.ids {
                candidates.adjust(id, |x| *x = f32::NEG_INFINITY);
            }
        }
    }

    fn begin(&mut self, prompt: usize) {
        self.prompt = prompt;
    }
}

/// Leaves one id at some places of a reply: its first token (`ForcedBOSTokenLogitsProcessor`, for a
/// prompt of one token) or, at the limit of tokens minus one, its last
/// (`ForcedEOSTokenLogitsProcessor`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    /// Place in the reply, from 0, and the id.
    pub places: Vec<(usize, u32)>,
    /// Tokens of the prompt.
    pub prompt: usize,
}

impl LogitsProcessor for Forced {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        let place = history.len().checked_sub(self.prompt);
        let forced = |&&(at, _): &&(usize, u32)| Some(at) == place;
        if let Some(&(_, id)) = self.places.iter().find(forced) {
            candidates.rescale(|c| {
                c.logit = if c.id == id { 0.0 } else { f32::NEG_INFINITY };
            });
        }
    }

    fn begin(&mut self, prompt: usize) {
        self.prompt = prompt;
    }
}
