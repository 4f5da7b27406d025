//! One request inside the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use futures_channel::mpsc::UnboundedSender;

use super::handle::Event;
use crate::generate::Sequence;
use crate::{Cache, Error, Finish, Result, Timings};

/// Says whether anybody still wants a reply.
pub(crate) type Wanted = Box<dyn Fn() -> bool + Send>;

/// A request: what it asks for and whom to tell.
pub(super) struct Job {
    /// Counts arrivals.
    pub(super) number: u64,
    pub(super) sequence: Sequence,
    pub(super) events: UnboundedSender<Event>,
    pub(super) wanted: Option<Wanted>,
    pub(super) timings: Timings,
    pub(super) submitted: Instant,
}

impl Job {
    pub(super) fn is_wanted(&self) -> bool {
        !self.events.is_closed() && self.wanted.as_ref().is_none_or(|wanted| wanted())
    }

    /// Returns whether the whole prompt has run once.
    fn has_begun(&self) -> bool {
        self.timings.decode_steps > 0 || self.timings.generated_tokens > 0
    }

    pub(super) fn tell(&self, event: Event) {
        // A handle that is gone is found by `is_wanted`.
        drop(self.events.unbounded_send(event));
    }

    /// Tells how the request ended, and drops what it brought along.
    pub(super) fn end(self, result: Result<Finish>) {
        self.tell(Event::End(result, self.timings));
        // The constraint is the caller's code.
        drop(caught(|| {
            drop(self);
            Ok(())
        }));
    }
}

/// A request with its keys and values.
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) cache: Cache,
}

impl Running {
    /// Returns the ids that are not in the cache.
    pub(super) fn pending(&self) -> usize {
        self.job.sequence.pending(&self.cache).len()
    }

    /// Takes the logits of a pass that took some time, and passes on the tokens that were chosen from them; returns how
    /// many there were.
    pub(super) fn take_in(&mut self, logits: &mut Vec<f32>, time: Duration) -> Result<usize> {
        let Self { job, cache } = self;
        let begun = job.has_begun();
        let timings = &mut job.timings;
        if begun {
            timings.decode += time;
        } else {
            timings.prefill += time;
        }
        if !job.sequence.pending(cache).is_empty() {
            job.tell(Event::Progress(job.timings));
            return Ok(0);
        }
        timings.decode_steps += usize::from(begun);
        let sequence = &mut job.sequence;
        caught(|| {
            if sequence.is_done(cache) {
                Ok(())
            } else {
                sequence.advance(logits, cache)
            }
        })?;
        (timings.drafted_tokens, timings.accepted_tokens) = sequence.drafts();
        timings.forced_tokens = sequence.forced();
        let mut tokens = 0;
        while let Some(token) = job.sequence.take() {
            tokens += 1;
            job.timings.generated_tokens += 1;
            job.tell(Event::Token(token, job.timings));
        }
        Ok(tokens)
    }
}

/// Runs what may panic in the code of others.
pub(super) fn caught<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    // What was under way is given up by the caller, so that nobody sees it half done.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Panicked {
            message: text.unwrap_or_else(|| "without a message".to_owned()),
        })
    })
}
