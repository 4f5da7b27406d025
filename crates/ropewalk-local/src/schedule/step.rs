//! One step of the engine: a forward pass over parts of the running sequences.

use std::time::{Duration, Instant};

use super::engine::{Ended, Engine};
use super::job::{Running, caught};
use super::share::{Ask, share};
use crate::{Error, Finish, Result};

/// A part with the logits that came of it, or what went wrong.
type Outcome = (Part, Result<Vec<f32>>);

/// What a running sequence contributes to a pass.
struct Part {
    /// Which one it is.
    index: usize,
    ids: Vec<u32>,
    /// The ids are of a prompt, or are computed again.
    prompt: bool,
}

impl Engine {
    /// Runs one pass and returns the requests that are over.
    pub(super) fn step(&mut self) -> Vec<Ended> {
        let mut failed = Vec::new();
        let (parts, time) = self.pass();
        for (part, logits) in parts {
            let running = &mut self.running[part.index];
            let came = logits.and_then(|mut logits| running.take_in(&mut logits, time));
            if part.prompt {
                self.stats.prompt_tokens += part.ids.len() as u64;
                if let Some(prefixes) = &self.prefixes {
                    // Those that wait find them before it has ended.
                    prefixes.keep_whole(&running.cache);
                }
            }
            match came {
                Ok(tokens) => self.stats.generated_tokens += tokens as u64,
                Err(e) => failed.push((part.index, e)),
            }
        }
        self.take_ended(failed)
    }

    /// Runs a pass, for which sequences may have to give way, and returns the logits of each part.
    fn pass(&mut self) -> (Vec<Outcome>, Duration) {
        let mut guesses = true;
        while !self.running.is_empty() {
            let parts = self.parts(guesses);
            let guessed = |part: &Part| self.running[part.index].job.sequence.drafted() > 0;
            let any_guess = parts.iter().any(guessed);
            let start = Instant::now();
            match self.forward(&parts) {
                Ok(rows) => {
                    self.stats.steps += 1;
                    let rows = parts.into_iter().zip(rows.into_iter().map(Ok));
                    return (rows.collect(), start.elapsed());
                }
                Err(Error::CacheFull { .. } | Error::CacheSize { .. }) if any_guess => {
                    guesses = false;
                }
                Err(Error::CacheFull { .. } | Error::CacheSize { .. })
                    if self.running.len() > 1 =>
                {
                    self.preempt();
                }
                Err(Error::CacheFull { .. }) if self.forget_prefixes() => {}
                // It holds the whole pool.
                Err(Error::CacheFull { .. }) => self.running[0].job.sequence.end(Finish::Context),
                // Alone, whatever failed takes no other along.
                Err(_) => {
                    self.stats.steps += parts.len() as u64;
                    let alone = |part| {
                        let rows = self.forward(std::slice::from_ref(&part));
                        let row = rows.map(|mut rows| rows.pop().unwrap_or_default());
                        (part, row)
                    };
                    return (parts.into_iter().map(alone).collect(), start.elapsed());
                }
            }
            if let [last] = &mut self.running[..]
                && last.job.sequence.is_done(&last.cache)
            {
                break;
            }
        }
        (Vec::new(), Duration::ZERO)
    }

    /// Shares the rows of a step.
    fn parts(&mut self, guesses: bool) -> Vec<Part> {
        let ask = |r: &Running| Ask {
            pending: r.pending(),
            guess: if guesses {
                r.job.sequence.guess_room()
            } else {
                0
            },
        };
        let asks: Vec<Ask> = self.running.iter().map(ask).collect();
        let rows = share(self.options.step_tokens, &asks, self.turn);
        self.turn = self.turn.wrapping_add(self.options.step_tokens);
        let mut parts = Vec::new();
        for (index, running) in self.running.iter_mut().enumerate() {
            if rows[index] > 0 {
                let Running { job, cache } = running;
                let room = rows[index];
                let sequence = &mut job.sequence;
                let ids = caught(|| Ok(sequence.next_ids(&self.model, cache, room)));
                parts.push(Part {
                    index,
                    // A constraint that fails at a guess fails alone, at the choice.
                    ids: ids.unwrap_or_else(|_| sequence.next_pending(cache, room)),
                    prompt: asks[index].pending > 1,
                });
            }
        }
        parts
    }

    /// Runs parts, in the order of their sequences, and returns their logits.
    fn forward(&mut self, parts: &[Part]) -> Result<Vec<Vec<f32>>> {
        let before: Vec<usize> = self.running.iter().map(|r| r.cache.len()).collect();
        let mut next = parts.iter().peekable();
        let mut steps = Vec::with_capacity(parts.len());
        for (index, running) in self.running.iter_mut().enumerate() {
            if let Some(part) = next.next_if(|part| part.index == index) {
                steps.push(running.job.sequence.step(&mut running.cache, &part.ids));
            }
        }
        let rows = caught(|| self.model.forward_batch(&mut steps));
        drop(steps);
        if let Err(Error::Panicked { .. }) = &rows {
            for (running, before) in self.running.iter_mut().zip(before) {
                running.cache.truncate(before);
            }
        }
        rows
    }

    /// Gives up what only prompts to come could use; returns whether there was any.
    fn forget_prefixes(&mut self) -> bool {
        let prefixes = self.prefixes.as_ref().filter(|p| p.pages() > 0);
        prefixes.inspect(|p| p.clear()).is_some()
    }
}
