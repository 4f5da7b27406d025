//! Where the tokens of a reply come from: a generation on this thread, or a scheduler.

use std::time::Instant;

use crate::sample::Sampled;
use crate::schedule::{Handle, Waited};
use crate::{Error, Finish, Generation, Result, Timings};

/// Gives the tokens of one reply after the prompt has run.
pub(super) trait TokenSource {
    /// Returns the next token, none after the last, [`Error::Cancelled`] when none came in time.
    fn token(&mut self, deadline: Option<Instant>) -> Option<Result<Sampled>>;

    /// Returns why generation ended; `None` while it runs.
    fn finish(&self) -> Option<Finish>;

    /// Returns the times so far.
    fn timings(&self) -> Timings;
}

impl TokenSource for Generation<'_> {
    fn token(&mut self, _deadline: Option<Instant>) -> Option<Result<Sampled>> {
        self.next()
    }

    fn finish(&self) -> Option<Finish> {
        Generation::finish(self)
    }

    fn timings(&self) -> Timings {
        Generation::timings(self)
    }
}

/// A request of a scheduler whose prompt has run.
pub(super) struct Scheduled {
    handle: Handle,
    first: Option<Sampled>,
}

impl Scheduled {
    /// Waits until the prompt has run; asks `go_on` after each part of it.
    pub(super) fn watched(
        mut handle: Handle,
        deadline: Option<Instant>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self> {
        let first = loop {
            match handle.wait(deadline) {
                Waited::Progress if go_on() => {}
                Waited::Progress | Waited::Late => return Err(Error::Cancelled),
                Waited::Token(token) => break Some(token?),
                Waited::Ended => break None,
            }
        };
        Ok(Self { handle, first })
    }
}

impl TokenSource for Scheduled {
    fn token(&mut self, deadline: Option<Instant>) -> Option<Result<Sampled>> {
        if let Some(token) = self.first.take() {
            return Some(Ok(token));
        }
        loop {
            match self.handle.wait(deadline) {
                Waited::Progress => {}
                Waited::Token(token) => return Some(token),
                Waited::Ended => return None,
                Waited::Late => return Some(Err(Error::Cancelled)),
            }
        }
    }

    fn finish(&self) -> Option<Finish> {
        self.handle.finish()
    }

    fn timings(&self) -> Timings {
        self.handle.timings()
    }
}
