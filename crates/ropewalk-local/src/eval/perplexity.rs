//! How well the next tokens of a text are predicted.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ropewalk_kernels::ops;

use super::windows::{EvalOptions, run, windows};
use crate::{Error, Model, Result};

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Perplexity {
    /// Mean of the negative log-likelihoods, in nats per token.
    pub nll: f64,
    /// Standard error of that mean, for tokens that are independent of each other; 0 for a single
    /// token.
    pub nll_error: f64,
    /// Tokens that were scored.
    pub tokens: usize,
    /// Windows that were run.
    pub windows: usize,
    /// How long it took.
    pub time: Duration,
}

impl Perplexity {
    /// Returns the perplexity, `e^nll`.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.nll.exp()
    }

    /// Returns the standard error of the perplexity, to first order `e^nll` times that of the mean.
    #[must_use]
    pub fn value_error(&self) -> f64 {
        self.nll_error * self.value()
    }
}

/// How far an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Windows that are done.
    pub done: usize,
    /// Windows in all.
    pub windows: usize,
    /// The result over the windows that are done, of the model that is evaluated.
    pub so_far: Perplexity,
}

/// A mean with its standard error.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Mean {
    pub(super) count: usize,
    sum: f64,
    squares: f64,
}

impl Mean {
    pub(super) fn add(&mut self, x: f64) {
        self.count += 1;
        self.sum += x;
        self.squares += x * x;
    }

    pub(super) fn value(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Returns the standard error of the mean.
    pub(super) fn error(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let mean = self.value();
        let variance = (self.squares / self.count as f64 - mean * mean).max(0.0);
        (variance / (self.count - 1) as f64).sqrt()
    }
}

/// Counts windows and tells how far they are.
pub(super) struct Tally {
    start: Instant,
    done: usize,
    windows: usize,
    pub(super) nll: Mean,
}

impl Tally {
    pub(super) fn new(windows: usize) -> Self {
        Self {
            start: Instant::now(),
            done: 0,
            windows,
            nll: Mean::default(),
        }
    }

    pub(super) fn result(&self) -> Perplexity {
        Perplexity {
            nll: self.nll.value(),
            nll_error: self.nll.error(),
            tokens: self.nll.count,
            windows: self.done,
            time: self.start.elapsed(),
        }
    }

    /// Ends a window.
    pub(super) fn step(
        &mut self,
        report: &mut impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<()> {
        self.done += 1;
        let progress = Progress {
            done: self.done,
            windows: self.windows,
            so_far: self.result(),
        };
        match report(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

/// Returns `ln p` of a token.
pub(super) fn log_probability(model: &Model, logits: &[f32], id: u32) -> f64 {
    let total = ops::log_sum_exp(model.isa(), logits);
    f64::from(logits[id as usize]) - f64::from(total)
}

/// Scores the tokens of a text; `report` is called after each window.
///
/// # Errors
/// [`Error::ShortText`] when no token can be scored, [`Error::Option`] for a window that the model
/// does not take, [`Error::TokenId`], and [`Error::Cancelled`] when `report` breaks.
pub fn perplexity(
    model: &Model,
    ids: &[u32],
    options: &EvalOptions,
    mut report: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Perplexity> {
    let windows = windows(model, ids, options)?;
    let mut tally = Tally::new(windows.len());
    for window in &windows {
        run(model, ids, window, options.bos, |logits, next| {
            tally.nll.add(-log_probability(model, logits, next));
            Ok(())
        })?;
        tally.step(&mut report)?;
    }
    Ok(tally.result())
}
