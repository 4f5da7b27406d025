//! Beam search: the most probable replies that a number of hypotheses lead to.

use crate::generate::{Finish, GenerateOptions, refuse_empty};
use crate::sample::{Candidates, Sampled, Sampler, log_sum_exp};
use crate::{Cache, Error, Model, Result, Step};

/// When a search ends before the limit of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EarlyStopping {
    /// When the best hypothesis, scored at its present length, is no better than the worst finished
    /// one (`early_stopping=False`).
    #[default]
    Heuristic,
    /// As soon as there are enough finished ones (`early_stopping=True`).
    WhenFull,
    /// When no length could make the best hypothesis better than the worst finished one
    /// (`early_stopping="never"`).
    Never,
}

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BeamOptions {
    /// Hypotheses that are followed at the same time, at least 1 (`num_beams`).
    pub beams: usize,
    /// Scores are divided by the length to this power: above 0 is for long replies, below for short
    /// ones.
    pub length_penalty: f32,
    /// When to end.
    pub early_stopping: EarlyStopping,
    /// Replies to return, at most `beams` (`num_return_sequences`).
    pub return_sequences: usize,
}

impl BeamOptions {
    /// Returns a search with some beams, a length penalty of 1, that returns the best reply.
    pub fn new(beams: usize) -> Self {
        Self {
            beams,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Heuristic,
            return_sequences: 1,
        }
    }

    /// Sets the length penalty.
    #[must_use]
    pub fn with_length_penalty(mut self, power: f32) -> Self {
        self.length_penalty = power;
        self
    }

    /// Sets when the search ends.
    #[must_use]
    pub fn with_early_stopping(mut self, when: EarlyStopping) -> Self {
        self.early_stopping = when;
        self
    }

    /// Sets how many replies are returned.
    #[must_use]
    pub fn with_return_sequences(mut self, n: usize) -> Self {
        self.return_sequences = n;
        self
    }

    fn check(&self, options: &GenerateOptions) -> Result<()> {
        let bad = |name, value: String, allowed| {
            Err(Error::Option {
                name,
                value,
                allowed,
            })
        };
        if self.beams == 0 {
            return bad("the number of beams", "0".into(), "1 or more");
        }
        if self.return_sequences == 0 || self.return_sequences > self.beams {
            let value = self.return_sequences.to_string();
            return bad("the number of replies", value, "1 to the number of beams");
        }
        if !self.length_penalty.is_finite() {
            let value = self.length_penalty.to_string();
            return bad("the length penalty", value, "a finite number");
        }
        if options.max_tokens == Some(0) {
            return bad("max_tokens", "0".into(), "1 or more with beams");
        }
        if options.constraint.is_some() {
            return bad("a constraint", "given".into(), "beam search without one");
        }
        if options.sampler.is_random() || options.sampler.has_filter() {
            let value = "one that draws or filters".into();
            return bad("the sampler", value, "greedy options with beams");
        }
        Ok(())
    }
}

/// A reply that a search found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Beam {
    /// The tokens, without the id that ended it.
    pub tokens: Vec<Sampled>,
    /// Why it ended.
    pub finish: Finish,
    /// The sum of log probabilities, after the stages that change scores, divided by the length to
    /// the power of the length penalty; the id that ended the reply counts.
    pub score: f32,
}

impl Beam {
    /// Returns the ids of the tokens.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|t| t.id).collect()
    }
}

/// A hypothesis whose keys are in a cache.
struct Running {
    cache: Cache,
    tokens: Vec<Sampled>,
    score: f32,
    logits: Vec<f32>,
}

/// A hypothesis and the token that it may go on with.
#[derive(Clone, Copy)]
struct Next {
    beam: usize,
    id: u32,
    score: f32,
}

/// Finds the replies of the highest score that `beams` hypotheses lead to, best first, token for
/// token as `generate(num_beams=…)` of transformers does.
///
/// The prompt runs once, the hypotheses run together, one forward pass per step, and share what they
/// have in common in the cache. Stages that change scores, such as the ban of repeated n-grams, see
/// log probabilities, as there.
///
/// # Errors
/// [`Error::Option`] for values out of range, for sampling, filters or a constraint; those of
/// [`Model::forward`].
///
/// ```no_run
/// use ropewalk_local::{BeamOptions, GenerateOptions, LoadOptions, Model, beam_search};
///
/// let model = Model::open("model.gguf", &LoadOptions::default())?;
/// let options = GenerateOptions::greedy(32);
/// let beams = BeamOptions::new(4).with_return_sequences(2);
/// for reply in beam_search(&model, &[1, 42], &options, &beams)? {
///     println!("{:.3} {:?}", reply.score, reply.ids());
/// }
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
pub fn beam_search(
    model: &Model,
    prompt: &[u32],
    options: &GenerateOptions,
    beams: &BeamOptions,
) -> Result<Vec<Beam>> {
    refuse_empty(prompt)?;
    beams.check(options)?;
    let mut search = Search::new(model, prompt, options, beams)?;
    let mut cache = model.new_cache();
    let mut step = [Step::new(&mut cache, prompt).with_adapters(&options.adapters)];
    let logits = model.forward_batch(&mut step)?.pop().unwrap_or_default();
    let mut running = vec![Running {
        cache,
        tokens: Vec::new(),
        score: 0.0,
        logits,
    }];
    loop {
        let chosen = search.step(&running)?;
        if chosen.is_empty() {
            break;
        }
        running = search.grow(running, &chosen)?;
    }
    let mut found = search.finished;
    found.truncate(beams.return_sequences);
    Ok(found)
}

struct Search<'a> {
    model: &'a Model,
    options: &'a GenerateOptions,
    beams: &'a BeamOptions,
    sampler: Sampler,
    stop_ids: Vec<u32>,
    /// The prompt, and room for what a hypothesis has added.
    history: Vec<u32>,
    prompt: usize,
    /// The most tokens of a reply, and what it means to have them.
    most: usize,
    full: Finish,
    /// The best finished replies, best first, at most as many as there are beams.
    finished: Vec<Beam>,
}

impl<'a> Search<'a> {
    fn new(
        model: &'a Model,
        prompt: &[u32],
        options: &'a GenerateOptions,
        beams: &'a BeamOptions,
    ) -> Result<Self> {
        let stop_ids = options.stop_ids.as_deref().unwrap_or(model.stop_ids());
        // The last token needs no place in the cache.
        let room = (model.context() + 1).saturating_sub(prompt.len());
        let wanted = options.max_tokens.unwrap_or(usize::MAX);
        Ok(Self {
            model,
            options,
            beams,
            sampler: options.new_sampler(prompt.len(), stop_ids)?,
            stop_ids: stop_ids.to_vec(),
            history: prompt.to_vec(),
            prompt: prompt.len(),
            most: wanted.min(room),
            full: if wanted <= room {
                Finish::MaxTokens
            } else {
                Finish::Context
            },
            finished: Vec::new(),
        })
    }

    /// Returns the best continuations of all hypotheses, best first; the lower hypothesis and id win
    /// a tie. There are so many that enough of them do not end.
    fn continuations(&mut self, running: &[Running]) -> Result<Vec<Next>> {
        let each = (1 + self.stop_ids.len()).max(2);
        let keep = self.beams.beams.saturating_mul(each);
        let mut all: Vec<Next> = Vec::new();
        let mut best = Candidates::default();
        for (beam, hypothesis) in running.iter().enumerate() {
            let norm = log_sum_exp(&hypothesis.logits);
            let log = |&x: &f32| (f64::from(x) - norm) as f32;
            let row: Vec<f32> = hypothesis.logits.iter().map(log).collect();
            self.history.truncate(self.prompt);
            self.history.extend(hypothesis.tokens.iter().map(|t| t.id));
            best.clone_from(self.sampler.candidates(&self.history, &row));
            best.keep_best(keep);
            let possible = best.items().iter().filter(|c| c.logit > f32::NEG_INFINITY);
            all.extend(possible.map(|c| Next {
                beam,
                id: c.id,
                score: hypothesis.score + c.logit,
            }));
        }
        if all.is_empty() && self.finished.is_empty() {
            let vocab = self.model.spec().vocab_size;
            return Err(Error::NoCandidates { vocab });
        }
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(keep);
        Ok(all)
    }

    /// Takes what ends now to the finished replies and returns what the hypotheses go on with;
    /// nothing where the search is over.
    fn step(&mut self, running: &[Running]) -> Result<Vec<Next>> {
        let length = running.first().map_or(0, |r| r.tokens.len()) + 1;
        let n = self.beams.beams;
        let all = self.continuations(running)?;
        let divisor = self.divisor(length);
        let mut go_on = Vec::new();
        for (rank, next) in all.into_iter().enumerate() {
            let stop = self.stop_ids.contains(&next.id);
            if !stop && length < self.most {
                if go_on.len() < n {
                    go_on.push(next);
                }
            } else if rank < n {
                let hypothesis = &running[next.beam];
                let mut tokens = hypothesis.tokens.clone();
                if !stop {
                    tokens.push(self.sampled(next.id, hypothesis));
                }
                self.finished.push(Beam {
                    tokens,
                    finish: if stop {
                        Finish::Stop(next.id)
                    } else {
                        self.full
                    },
                    score: next.score / divisor,
                });
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(n);
        if self.is_over(length, go_on.first()) {
            go_on.clear();
        }
        Ok(go_on)
    }

    /// Returns whether no hypothesis is worth following (`_check_early_stop_heuristic` and
    /// `_beam_search_has_unfinished_sequences`).
    fn is_over(&self, length: usize, best: Option<&Next>) -> bool {
        let (Some(best), Some(worst)) = (best, self.finished.last()) else {
            return best.is_none();
        };
        if self.finished.len() < self.beams.beams {
            return false;
        }
        let at = match self.beams.early_stopping {
            EarlyStopping::WhenFull => return true,
            EarlyStopping::Never if self.beams.length_penalty > 0.0 => self.most,
            EarlyStopping::Never | EarlyStopping::Heuristic => length,
        };
        best.score / self.divisor(at) <= worst.score
    }

    fn divisor(&self, length: usize) -> f32 {
        (length as f64).powf(f64::from(self.beams.length_penalty)) as f32
    }

    fn sampled(&self, id: u32, after: &Running) -> Sampled {
        Sampled::new(id, &after.logits, self.options.logprobs)
    }

    /// Runs the tokens that were chosen; a hypothesis hands its cache to the last of those that go
    /// on from it.
    fn grow(&self, running: Vec<Running>, chosen: &[Next]) -> Result<Vec<Running>> {
        let mut from: Vec<Option<Running>> = running.into_iter().map(Some).collect();
        let mut next = Vec::with_capacity(chosen.len());
        for (i, choice) in chosen.iter().enumerate() {
            let again = chosen[i + 1..].iter().any(|c| c.beam == choice.beam);
            let place = &mut from[choice.beam];
            let parent = if again {
                let copy = |r: &Running| Running {
                    cache: r.cache.fork(r.cache.len()),
                    tokens: r.tokens.clone(),
                    score: r.score,
                    logits: r.logits.clone(),
                };
                place.as_ref().map(copy)
            } else {
                place.take()
            };
            let Some(mut parent) = parent else { continue };
            let token = self.sampled(choice.id, &parent);
            parent.tokens.push(token);
            parent.score = choice.score;
            next.push(parent);
        }
        let ids: Vec<[u32; 1]> = chosen.iter().map(|c| [c.id]).collect();
        let caches = next.iter_mut().map(|r| &mut r.cache);
        let mut steps: Vec<Step<'_>> = caches
            .zip(&ids)
            .map(|(cache, id)| Step::new(cache, id).with_adapters(&self.options.adapters))
            .collect();
        let logits = self.model.forward_batch(&mut steps)?;
        for (hypothesis, row) in next.iter_mut().zip(logits) {
            hypothesis.logits = row;
        }
        Ok(next)
    }
}
