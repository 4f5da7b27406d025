//! Ids in, ids out: the generation loop, without tokenizer or async runtime.

mod sequence;
mod speculate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapter::ActiveAdapter;
use crate::constrain::Constrain;
use crate::sample::{LogitsProcessor, Sampled, Sampler, SamplerOptions, StageFactory};
use crate::{Cache, Error, Model, Result, Step};
pub(crate) use sequence::Sequence;
pub use speculate::Speculate;

/// What to generate.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GenerateOptions {
    /// At most this many tokens; `None` means until the context is full.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// Ids that end generation; `None` means those the model names.
    pub stop_ids: Option<Vec<u32>>,
    /// Report log probabilities, with this many alternatives.
    pub logprobs: Option<usize>,
    /// What the tokens must spell; `None` means anything.
    pub constraint: Option<Arc<dyn Constrain>>,
    /// Adapters beside the model, their parts added up in order; none means the model as it is.
    pub adapters: Vec<ActiveAdapter>,
    /// Stages of one's own, before those of the sampler.
    pub stages: Vec<StageFactory>,
    /// Guess tokens ahead from the text itself; `None` means one token per pass.
    pub speculate: Option<Speculate>,
}

impl GenerateOptions {
    /// Returns greedy generation of at most `max_tokens` tokens.
    pub fn greedy(max_tokens: usize) -> Self {
        Self {
            max_tokens: Some(max_tokens),
            ..Self::default()
        }
    }

    /// Sets how tokens are chosen.
    #[must_use]
    pub fn with_sampler(mut self, sampler: SamplerOptions) -> Self {
        self.sampler = sampler;
        self
    }

    /// Sets the ids that end generation; an empty list means none.
    #[must_use]
    pub fn with_stop_ids(mut self, ids: impl Into<Vec<u32>>) -> Self {
        self.stop_ids = Some(ids.into());
        self
    }

    /// Sets what the tokens must spell.
    #[must_use]
    pub fn with_constraint(mut self, constraint: Arc<dyn Constrain>) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// Adds a stage of one's own: `make` is called for each reply. It sees the scores of the model,
    /// or those that a constraint leaves, before the stages of the sampler.
    ///
    /// ```
    /// use ropewalk_local::GenerateOptions;
    /// use ropewalk_local::sample::{Candidates, LogitsProcessor};
    ///
    /// /// Makes even ids more likely.
    /// #[derive(Debug)]
    /// struct Even(f32);
    ///
    /// impl LogitsProcessor for Even {
    ///     fn apply(&mut self, _history: &[u32], candidates: &mut Candidates) {
    ///         candidates.rescale(|c| {
    ///             if c.id % 2 == 0 {
    ///                 c.logit += self.0;
    ///             }
    ///         });
    ///     }
    /// }
    ///
    /// let options = GenerateOptions::greedy(16).with_stage(|| Even(2.0));
    /// # assert_eq!(options.stages.len(), 1);
    /// ```
    #[must_use]
    pub fn with_stage<S: LogitsProcessor + 'static>(
        mut self,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        self.stages.push(StageFactory::new(make));
        self
    }

    /// Builds the chain of a reply to a prompt of some tokens.
    pub(crate) fn new_sampler(&self, prompt: usize, stop_ids: &[u32]) -> Result<Sampler> {
        let first = self.stages.iter().map(StageFactory::stage).collect();
        let sampler = if self.sampler.end_ids.is_empty() {
            let mut options = self.sampler.clone();
            options.end_ids = stop_ids.to_vec();
            Sampler::new(&options)
        } else {
            Sampler::new(&self.sampler)
        };
        Ok(sampler?.with_stages_before(first).after_prompt(prompt))
    }

    /// Runs the model with adapters.
    #[must_use]
    pub fn with_adapters(mut self, adapters: impl Into<Vec<ActiveAdapter>>) -> Self {
        self.adapters = adapters.into();
        self
    }

    /// Guesses tokens ahead; the reply stays the same, token for token.
    #[must_use]
    pub fn with_speculation(mut self, speculate: Speculate) -> Self {
        self.speculate = Some(speculate);
        self
    }

    /// Reports log probabilities, with `top` alternatives for each token.
    #[must_use]
    pub fn with_logprobs(mut self, top: usize) -> Self {
        self.logprobs = Some(top);
        self
    }
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model chose an id that ends generation.
    Stop(
        /// That id.
        u32,
    ),
    /// The constraint is met and allows nothing more.
    Complete,
    /// The limit of [`GenerateOptions::max_tokens`] was reached.
    MaxTokens,
    /// The context is full.
    Context,
}

/// How long the parts of a generation took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Tokens of the prompt, with those found in the cache.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were in the cache already.
    pub cached_tokens: usize,
    /// Time for the rest of the prompt.
    pub prefill: Duration,
    /// Tokens that were generated.
    pub generated_tokens: usize,
    /// Time for the forward passes after the first token.
    pub decode: Duration,
    /// Number of those passes.
    pub decode_steps: usize,
    /// Tokens that the constraint left no choice in: each was appended without a pass of its own.
    pub forced_tokens: usize,
    /// Tokens that [speculation](GenerateOptions::speculate) guessed.
    pub drafted_tokens: usize,
    /// Guessed tokens that were right.
    pub accepted_tokens: usize,
    /// Time before the first pass, in the queue of a [`Scheduler`](crate::Scheduler).
    pub waited: Duration,
    /// How often a [`Scheduler`](crate::Scheduler) gave the memory of the sequence to others and computed it again.
    pub preempted: usize,
}

impl Timings {
    /// Returns prompt tokens per second, without those found in the cache.
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens - self.cached_tokens, self.prefill)
    }

    /// Returns generated tokens per second, without the first, which the prompt gave.
    pub fn decode_rate(&self) -> f64 {
        // A pass gives one token at least; the last may give the id that ends the reply, which is not counted.
        let tokens = self.generated_tokens.saturating_sub(1);
        rate(tokens.max(self.decode_steps), self.decode)
    }
}

fn rate(n: usize, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        n as f64 / time.as_secs_f64()
    }
}

/// Tokens of a prompt that run before anybody is asked whether to go on.
const PROMPT_PART: usize = 512;

/// One running generation: an iterator over the tokens.
///
/// ```no_run
/// use ropewalk_local::{GenerateOptions, Generation, LoadOptions, Model};
///
/// let model = Model::open("model.gguf", &LoadOptions::default())?;
/// let mut cache = model.new_cache();
/// let mut tokens = Generation::new(&model, &mut cache, &[1, 42], &GenerateOptions::greedy(8))?;
/// for token in &mut tokens {
///     println!("{}", token?.id);
/// }
/// println!("{:?}, {:.1} tokens/s", tokens.finish(), tokens.timings().decode_rate());
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Debug)]
pub struct Generation<'m> {
    model: &'m Model,
    cache: &'m mut Cache,
    sequence: Sequence,
    logits: Vec<f32>,
    failed: bool,
    timings: Timings,
}

impl<'m> Generation<'m> {
    /// Runs the prompt; what `cache` shares with it at the beginning is not computed again, the
    /// rest of `cache` is forgotten.
    ///
    /// # Errors
    /// [`Error::Option`] or those of [`Model::forward`].
    pub fn new(
        model: &'m Model,
        cache: &'m mut Cache,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self> {
        Self::watched(model, cache, prompt, options, &mut || true)
    }

    /// Runs the prompt as [`new`](Self::new) does, and asks `go_on` after each part of 512 tokens.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::Cancelled`] when `go_on` says no; `cache` then holds the
    /// parts that have run.
    pub fn watched(
        model: &'m Model,
        cache: &'m mut Cache,
        prompt: &[u32],
        options: &GenerateOptions,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self> {
        let sequence = Sequence::new(model, prompt, options)?;
        let start = Instant::now();
        // The last token always runs again: its logits are not stored.
        let cached = if cache.is_of(sequence.adapters()) {
            cache.common_prefix(prompt)
        } else {
            0
        };
        let cached = cached.min(prompt.len().saturating_sub(1));
        cache.truncate(cached);
        let mut rest = &prompt[cached..];
        while rest.len() > PROMPT_PART {
            let (part, more) = rest.split_at(PROMPT_PART);
            forward(model, cache, part, &sequence)?;
            rest = more;
            if !go_on() {
                return Err(Error::Cancelled);
            }
        }
        let logits = forward(model, cache, rest, &sequence)?;
        let timings = Timings {
            prompt_tokens: prompt.len(),
            cached_tokens: cached,
            prefill: start.elapsed(),
            ..Timings::default()
        };
        Ok(Self {
            model,
            cache,
            sequence,
            logits,
            failed: false,
            timings,
        })
    }

    /// Returns why generation ended; `None` while it runs.
    pub fn finish(&self) -> Option<Finish> {
        self.sequence.finish()
    }

    /// Returns the times so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Returns the scores that the next token will be chosen from, `[vocab]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn step(&mut self) -> Result<Option<Sampled>> {
        if let Some(token) = self.sequence.take() {
            self.timings.generated_tokens += 1;
            return Ok(Some(token));
        }
        if self.sequence.is_done(self.cache) {
            return Ok(None);
        }
        let ids = self.sequence.next_ids(self.model, self.cache, usize::MAX);
        if !ids.is_empty() {
            let start = Instant::now();
            self.logits = forward(self.model, self.cache, &ids, &self.sequence)?;
            self.timings.decode += start.elapsed();
            self.timings.decode_steps += 1;
        }
        self.sequence.advance(&mut self.logits, self.cache)?;
        (self.timings.drafted_tokens, self.timings.accepted_tokens) = self.sequence.drafts();
        self.timings.forced_tokens = self.sequence.forced();
        let token = self.sequence.take();
        self.timings.generated_tokens += usize::from(token.is_some());
        Ok(token)
    }
}

/// Runs ids of a sequence with its adapters.
fn forward(model: &Model, cache: &mut Cache, ids: &[u32], of: &Sequence) -> Result<Vec<f32>> {
    let step = of.step(cache, ids);
    Ok(model.forward_batch(&mut [step])?.pop().unwrap_or_default())
}

impl Iterator for Generation<'_> {
    type Item = Result<Sampled>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let token = self.step().transpose();
        self.failed = matches!(token, Some(Err(_)));
        token
    }
}

/// What one sequence of [`generate_n`] became.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Output {
    /// The tokens.
    pub tokens: Vec<Sampled>,
    /// Why it ended.
    pub finish: Finish,
}

impl Output {
    /// Returns the ids of the tokens.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|t| t.id).collect()
    }
}

/// Generates `n` continuations of one prompt; the i-th uses the seed plus i.
///
/// The prompt runs once and the sequences run together, one forward pass per step. Each is the
/// same as it would be alone.
///
/// # Errors
/// As [`Generation::new`].
pub fn generate_n(
    model: &Model,
    prompt: &[u32],
    options: &GenerateOptions,
    n: usize,
) -> Result<Vec<Output>> {
    let mut first = model.new_cache();
    let mut step = [Step::new(&mut first, prompt).with_adapters(&options.adapters)];
    let logits = model.forward_batch(&mut step)?.pop().unwrap_or_default();
    let mut running = Vec::new();
    for i in 0..n as u64 {
        let mut options = options.clone();
        options.sampler.seed = options.sampler.seed.wrapping_add(i);
        let mut sequence = Sequence::new(model, prompt, &options)?;
        if !sequence.is_done(&first) {
            sequence.choose(&logits)?;
        }
        running.push((first.clone(), sequence));
    }
    drop(first);
    loop {
        let mut active: Vec<_> = running
            .iter_mut()
            .filter_map(|(cache, sequence)| (!sequence.is_done(cache)).then_some((cache, sequence)))
            .collect();
        if active.is_empty() {
            break;
        }
        let next =
            |(cache, s): &mut (&mut Cache, &mut Sequence)| s.next_ids(model, cache, usize::MAX);
        let next: Vec<Vec<u32>> = active.iter_mut().map(next).collect();
        let mut steps: Vec<Step<'_>> = active
            .iter_mut()
            .zip(&next)
            .map(|((cache, sequence), ids)| sequence.step(cache, ids))
            .collect();
        let logits = model.forward_batch(&mut steps)?;
        for ((cache, sequence), mut rows) in active.into_iter().zip(logits) {
            sequence.advance(&mut rows, cache)?;
        }
    }
    let done = |(_, mut sequence): (Cache, Sequence)| Output {
        tokens: std::iter::from_fn(|| sequence.take()).collect(),
        finish: sequence.finish().unwrap_or(Finish::MaxTokens),
    };
    Ok(running.into_iter().map(done).collect())
}

// A prompt that is empty is refused by `Model::forward`; this keeps the variant in one place.
pub(crate) fn refuse_empty(ids: &[u32]) -> Result<()> {
    if ids.is_empty() {
        Err(Error::EmptyPrompt)
    } else {
        Ok(())
    }
}
