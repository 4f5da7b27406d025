//! What a conformance suite found.

use std::fmt;
use std::future::Future;

use crate::error::Error;

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The rule holds.
    Passed,
    /// The rule does not apply, and why.
    Skipped(String),
    /// The rule is broken, and how.
    Failed(String),
}

/// One rule that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Name of the rule.
    pub name: &'static str,
    /// How the check ended.
    pub outcome: Outcome,
}

/// The checks of one suite on one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What was checked, for example `chat model local/tiny`.
    pub subject: String,
    /// The checks, in the order they ran.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(subject: String) -> Self {
        Self {
            subject,
            checks: Vec::new(),
        }
    }

    pub(super) async fn check(&mut self, name: &'static str, check: impl Future<Output = Verdict>) {
        let outcome = match check.await {
            Ok(()) => Outcome::Passed,
            Err(Stop::Skip(why)) => Outcome::Skipped(why),
            Err(Stop::Fail(how)) => Outcome::Failed(how),
        };
        self.checks.push(Check { name, outcome });
    }

    /// Yields the names of the rules that are broken.
    pub fn failures(&self) -> impl Iterator<Item = &'static str> {
        self.checks
            .iter()
            .filter(|c| matches!(c.outcome, Outcome::Failed(_)))
            .map(|c| c.name)
    }

    /// Returns the report when no rule is broken.
    ///
    /// # Errors
    /// [`Nonconforming`], which names each broken rule and how it is broken.
    pub fn into_result(self) -> Result<Self, Nonconforming> {
        if self.failures().next().is_none() {
            Ok(self)
        } else {
            Err(Nonconforming(self))
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failures().count();
        write!(
            f,
            "{}: {failed} of {} checks failed",
            self.subject,
            self.checks.len()
        )?;
        for Check { name, outcome } in &self.checks {
            if let Outcome::Failed(how) = outcome {
                write!(f, "\n  {name}: {how}")?;
            }
        }
        Ok(())
    }
}

/// A subject that breaks rules. `Debug` prints the same as `Display`, so that `unwrap` in a test
/// shows what is wrong.
#[derive(Clone, thiserror::Error)]
#[error("{0}")]
pub struct Nonconforming(pub Report);

impl fmt::Debug for Nonconforming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a check did not pass.
pub(super) enum Stop {
    Skip(String),
    Fail(String),
}

pub(super) type Verdict = Result<(), Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(error.to_string())
    }
}

/// Fails with the given words unless the condition holds.
pub(super) fn ensure(condition: bool, how: impl FnOnce() -> String) -> Verdict {
    if condition {
        Ok(())
    } else {
        Err(Stop::Fail(how()))
    }
}

pub(super) fn skip<T>(why: &str) -> Result<T, Stop> {
    Err(Stop::Skip(why.into()))
}

/// Begins the work of a future and drops it, as a caller that loses interest does.
pub(super) async fn begin_and_drop<F: Future>(future: F) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        drop(future.as_mut().poll(cx));
        std::task::Poll::Ready(())
    })
    .await;
}
