//! One sequence that is being generated: what has come, how the next token is chosen, when it ends.

use std::collections::VecDeque;

use super::speculate::Drafter;
use super::{Finish, GenerateOptions, refuse_empty};
use crate::adapter::ActiveAdapter;
use crate::constrain::{TokenConstraint, TokenMask};
use crate::rope::length_class;
use crate::sample::{Sampled, Sampler};
use crate::{Cache, Model, Result, Step};

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
    /// Size of the vocabulary.
    vocab: usize,
    mask: TokenMask,
    masked: Vec<f32>,
    adapters: Vec<ActiveAdapter>,
    stop_ids: Vec<u32>,
    logprobs: Option<usize>,
    /// Tokens that may still come.
    left: usize,
    /// Tokens that any sequence may hold.
    context: usize,
    /// How many tokens the constraint forced.
    forced: usize,
    /// The constraint was asked what it forces at the beginning.
    begun: bool,
    ready: VecDeque<Sampled>,
    finish: Option<Finish>,
    drafter: Option<Drafter>,
}

/// With more ids than these before it, a guess would cost more rows of logits than it may save.
const PENDING_BESIDE_DRAFT: usize = 16;

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
            vocab: model.spec().vocab_size,
            mask: TokenMask::new(model.spec().vocab_size),
            masked: Vec::new(),
            adapters: options.adapters.clone(),
            stop_ids: stop_ids.to_vec(),
            logprobs: options.logprobs,
            left: options.max_tokens.unwrap_or(usize::MAX),
            context: model.context(),
            forced: 0,
            begun: false,
            ready: VecDeque::new(),
            finish: None,
            drafter: options.speculate.map(Drafter::new).transpose()?,
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

    /// Returns the prompt and all that was generated.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Ends it where it stands.
    pub(crate) fn end(&mut self, finish: Finish) {
        self.finish.get_or_insert(finish);
    }

    /// Returns the ids whose keys `cache` does not hold yet.
    pub(crate) fn pending(&self, cache: &Cache) -> &[u32] {
        self.ids.get(cache.len()..).unwrap_or_default()
    }

    /// Returns the adapters that its steps run with.
    pub(crate) fn adapters(&self) -> &[ActiveAdapter] {
        &self.adapters
    }

    /// Returns at most `rows` ids to run next: those that are [pending](Self::pending), and if there is room after all
    /// of them a guess at what follows. With a guess, which [`drafted`](Self::drafted) tells, all logits are needed.
    pub(crate) fn next_ids(&mut self, model: &Model, cache: &Cache, rows: usize) -> Vec<u32> {
        let pending = self.pending(cache);
        let mut ids = pending[..pending.len().min(rows)].to_vec();
        let Some(drafter) = &mut self.drafter else {
            return ids;
        };
        let mut room = (rows - ids.len())
            .min(self.left.saturating_sub(1))
            .min(cache.capacity().saturating_sub(self.ids.len()));
        // Without a pending id there is no row yet that the first guessed token could be compared with.
        if ids.is_empty() || ids.len() > PENDING_BESIDE_DRAFT {
            room = 0;
        }
        drafter.guess(&self.ids, room);
        // An id that ends the reply is decided by the row before it.
        let draft = &mut drafter.draft;
        let stop = draft.iter().position(|id| self.stop_ids.contains(id));
        draft.truncate(stop.unwrap_or(draft.len()));
        // The rows of a pass have the angles of one length, those of the sequence without a guess.
        let class = |total| length_class(&model.spec().rope, total);
        while !draft.is_empty() && class(self.ids.len() + draft.len()) != class(self.ids.len()) {
            draft.pop();
        }
        if let Some(constraint) = &mut self.constraint {
            draft.truncate(constraint.allowed_prefix(draft));
        }
        ids.extend_from_slice(draft);
        ids
    }

    /// As [`next_ids`](Self::next_ids), without a guess.
    pub(crate) fn next_pending(&mut self, cache: &Cache, rows: usize) -> Vec<u32> {
        if let Some(drafter) = &mut self.drafter {
            drafter.draft.clear();
        }
        let pending = self.pending(cache);
        pending[..pending.len().min(rows)].to_vec()
    }

    /// Returns the step that runs [`next_ids`](Self::next_ids).
    pub(crate) fn step<'a>(&'a self, cache: &'a mut Cache, ids: &'a [u32]) -> Step<'a> {
        let step = Step::new(cache, ids).with_adapters(&self.adapters);
        if self.drafted() == 0 {
            step
        } else {
            step.with_all_logits()
        }
    }

    /// Returns how many tokens the next guess may have.
    pub(crate) fn guess_room(&self) -> usize {
        self.drafter.as_ref().map_or(0, |d| d.width)
    }

    /// Returns the number of guessed tokens among the ids that run.
    pub(crate) fn drafted(&self) -> usize {
        self.drafter.as_ref().map_or(0, |d| d.draft.len())
    }

    /// Returns how many tokens were guessed and verified so far, and how many of them were right.
    pub(crate) fn drafts(&self) -> (usize, usize) {
        let counts = self.drafter.as_ref().map(|d| (d.drafted, d.accepted));
        counts.unwrap_or_default()
    }

    /// Chooses what comes next from the logits of a pass over [`next_ids`](Self::next_ids), `[vocab]`, or
    /// `[ids, vocab]` with a guess: a token after the last id, and one after each guessed token as long as the guess
    /// was right. `cache` forgets what was guessed wrongly; `logits` keeps the row of the last choice.
    pub(crate) fn advance(&mut self, logits: &mut Vec<f32>, cache: &mut Cache) -> Result<()> {
        let drafted = self.drafted();
        if drafted == 0 {
            return self.choose(logits);
        }
        let base = self.ids.len();
        let guess = self.drafter.as_mut().map(|d| std::mem::take(&mut d.draft));
        let guess = guess.unwrap_or_default();
        let first = logits.len().saturating_sub((1 + drafted) * self.vocab);
        let mut row = first;
        // How many tokens of the guess have turned out right.
        let mut right = 0;
        while right <= drafted && !self.is_done(cache) {
            row = first + right * self.vocab;
            self.choose(&logits[row..row + self.vocab])?;
            let new = &self.ids[base..];
            let same = new.iter().zip(&guess).take_while(|(a, b)| a == b).count();
            if same < new.len() || same == right {
                right = same;
                break;
            }
            right = same;
        }
        logits.truncate(row + self.vocab);
        logits.drain(..row);
        cache.truncate(base + right);
        if let Some(drafter) = &mut self.drafter {
            drafter.verified(drafted, right);
        }
        Ok(())
    }

    /// Takes the next token that was chosen.
    pub(crate) fn take(&mut self) -> Option<Sampled> {
        self.ready.pop_front()
    }

    /// Returns how many tokens the constraint forced: they were appended without a choice.
    pub(crate) fn forced(&self) -> usize {
        self.forced
    }

    /// Chooses the next token from the logits after the last id, `[vocab]`, and appends what the
    /// constraint forces after it.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.force()?;
            if self.forced > 0 || self.finish.is_some() {
                return Ok(());
            }
        }
        let id = self.pick(logits)?;
        if self.stop_ids.contains(&id) {
            self.finish = Some(Finish::Stop(id));
            return Ok(());
        }
        self.push(Sampled::new(id, logits, self.logprobs));
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(id)?;
        }
        self.force()
    }

    /// Returns the next token among those that the constraint allows.
    fn pick(&mut self, logits: &[f32]) -> Result<u32> {
        let Some(constraint) = &mut self.constraint else {
            return self.sampler.choose(&self.ids, logits);
        };
        // The best of all tokens is the best of those that are allowed, if it is one of them. A draw
        // among all is no draw among some: there the mask comes first.
        if self.sampler.is_argmax() && self.logprobs.is_none() {
            let id = self.sampler.choose(&self.ids, logits)?;
            if constraint.allows(id)? == Some(true) {
                return Ok(id);
            }
        }
        self.mask.clear();
        constraint.mask(&mut self.mask)?;
        self.masked.clear();
        self.masked.extend_from_slice(logits);
        self.mask.apply(&mut self.masked);
        self.sampler.choose(&self.ids, &self.masked)
    }

    /// Appends the tokens that must come next: their keys are computed together with the next pass. With log
    /// probabilities each token needs a pass of its own, so none is forced.
    fn force(&mut self) -> Result<()> {
        while let Some(constraint) = &mut self.constraint {
            if constraint.is_complete() {
                self.finish = Some(Finish::Complete);
            }
            // One id more than fits is chosen, as without force; then the sequence ends.
            let room = self
                .left
                .min((self.context + 1).saturating_sub(self.ids.len()));
            if self.finish.is_some() || self.logprobs.is_some() || room == 0 {
                break;
            }
            let ids = constraint.forced()?;
            if ids.is_empty() {
                break;
            }
            for id in ids.into_iter().take(room) {
                constraint.accept(id)?;
                self.ids.push(id);
                self.ready.push_back(Sampled::new(id, &[], None));
                self.left -= 1;
                self.forced += 1;
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
