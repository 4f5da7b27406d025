//! One sequence that is being generated: what has come, how the next token is chosen, when it ends.

use std::collections::VecDeque;

use super::{Finish, GenerateOptions, refuse_empty};
use crate::adapter::ActiveAdapter;
use crate::constrain::{TokenConstraint, TokenMask};
use crate::sample::{Sampled, Sampler};
use crate::{Cache, Model, Result};

/// The state of one reply apart from its keys and values.
///
/// Whoever drives it runs [`pending`](Self::pending) through the model, hands the logits after the
/// last id to [`choose`](Self::choose) and takes tokens until there are none, as long as it
/// [is not done](Self::is_done). A token that was chosen is pending until its keys are in the cache,
/// so a cache that lost its end, or all of it, is filled again in the same way.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// The prompt and all that was generated.
    ids: Vec<u32>,
    sampler: Sampler,
    constraint: Option<Box<dyn TokenConstraint>>,
    mask: TokenMask,
    masked: Vec<f32>,
    adapters: Vec<ActiveAdapter>,
    stop_ids: Vec<u32>,
    logprobs: Option<usize>,
    /// Tokens that may still come.
    left: usize,
    ready: VecDeque<Sampled>,
    finish: Option<Finish>,
}

impl Sequence {
    /// Checks the options and begins with a prompt.
    pub(crate) fn new(model: &Model, prompt: &[u32], options: &GenerateOptions) -> Result<Self> {
        refuse_empty(prompt)?;
        let constraint = options.constraint.as_ref();
        let stop_ids = options.stop_ids.as_deref().unwrap_or(model.stop_ids());
        Ok(Self {
            ids: prompt.to_vec(),
            sampler: options.new_sampler(prompt.len(), stop_ids)?,
            constraint: constraint.map(|c| c.start()).transpose()?,
            mask: TokenMask::new(model.spec().vocab_size),
            masked: Vec::new(),
            adapters: options.adapters.clone(),
            stop_ids: stop_ids.to_vec(),
            logprobs: options.logprobs,
            left: options.max_tokens.unwrap_or(usize::MAX),
            ready: VecDeque::new(),
            finish: None,
        })
    }

    /// Returns why it ended; `None` as long as tokens are waiting or may come.
    pub(crate) fn finish(&self) -> Option<Finish> {
        self.finish.filter(|_| self.ready.is_empty())
    }

    /// Returns whether nothing more will be chosen; a full cache or the limit of tokens end it.
    pub(crate) fn is_done(&mut self, cache: &Cache) -> bool {
        if self.finish.is_none() {
            if self.left == 0 {
                self.finish = Some(Finish::MaxTokens);
            } else if self.ids.len() > cache.capacity() {
                self.finish = Some(Finish::Context);
            }
        }
        self.finish.is_some()
    }

    /// Returns the ids whose keys `cache` does not hold yet.
    pub(crate) fn pending(&self, cache: &Cache) -> &[u32] {
        self.ids.get(cache.len()..).unwrap_or_default()
    }

    /// Returns the adapters that its steps run with.
    pub(crate) fn adapters(&self) -> &[ActiveAdapter] {
        &self.adapters
    }

    /// Takes the next token that was chosen.
    pub(crate) fn take(&mut self) -> Option<Sampled> {
        self.ready.pop_front()
    }

    /// Chooses the next token from the logits after the last id, `[vocab]`.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<()> {
        let id = match &mut self.constraint {
            None => self.sampler.choose(&self.ids, logits)?,
            Some(constraint) => {
                self.mask.clear();
                constraint.mask(&mut self.mask)?;
                self.masked.clear();
                self.masked.extend_from_slice(logits);
                self.mask.apply(&mut self.masked);
                self.sampler.choose(&self.ids, &self.masked)?
            }
        };
        if self.stop_ids.contains(&id) {
            self.finish = Some(Finish::Stop(id));
            return Ok(());
        }
        self.push(Sampled::new(id, logits, self.logprobs));
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(id)?;
            if constraint.is_complete() {
                self.finish = Some(Finish::Complete);
            }
        }
        Ok(())
    }

    fn push(&mut self, token: Sampled) {
        self.ids.push(token.id);
        self.ready.push_back(token);
        self.left -= 1;
    }
}
