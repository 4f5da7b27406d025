//! How far the predictions of one model are from those of another.

use std::ops::ControlFlow;
use std::path::Path;

use ropewalk_kernels::ops;

use super::logits_file::Reader;
use super::perplexity::{Mean, Perplexity, Progress, Tally};
use super::windows::{EvalOptions, run, windows};
use crate::{Error, Model, Result};

/// How values lie.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Distribution {
    /// Their mean.
    pub mean: f64,
    /// Standard error of the mean.
    pub mean_error: f64,
    /// The smallest.
    pub min: f64,
    /// The value that half of them are below.
    pub median: f64,
    /// The value that 99 % of them are below.
    pub percent_99: f64,
    /// The value that 99.9 % of them are below.
    pub percent_99_9: f64,
    /// The largest.
    pub max: f64,
}

impl Distribution {
    fn of(mut values: Vec<f64>) -> Self {
        let mut mean = Mean::default();
        values.iter().for_each(|&x| mean.add(x));
        values.sort_by(f64::total_cmp);
        // As llama-perplexity: between neighbours in proportion.
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let low = place.floor() as usize;
            let high = (low + 1).min(values.len() - 1);
            let part = place - low as f64;
            (1.0 - part) * values[low] + part * values[high]
        };
        Self {
            mean: mean.value(),
            mean_error: mean.error(),
            min: at(0.0),
            median: at(0.5),
            percent_99: at(0.99),
            percent_99_9: at(0.999),
            max: at(1.0),
        }
    }
}

/// How far the predictions of a model are from those of a base model over the same tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Divergence {
    /// Kullback-Leibler divergence of the model from the base at each scored position:
    /// `sum p ln(p / q)` with `p` of the base, in nats.
    pub kl: Distribution,
    /// Share of positions at which both models find the same token most likely.
    pub same_top: f64,
    /// Standard error of that share.
    pub same_top_error: f64,
    /// Root of the mean square of the difference in probability of the token that follows.
    pub rms_probability: f64,
    /// Mean of that difference, model minus base.
    pub mean_probability: f64,
    /// `ln` of the quotient of the perplexities, model over base: the mean of the differences of the
    /// negative log-likelihoods.
    pub ln_ratio: f64,
    /// Standard error of that mean.
    pub ln_ratio_error: f64,
    /// How well the base predicts the text.
    pub base: Perplexity,
    /// How well the model predicts it.
    pub model: Perplexity,
}

struct Comparison {
    kl: Vec<f64>,
    same: Mean,
    difference: Mean,
    squares: Mean,
    ratio: Mean,
    base: Tally,
    model: Tally,
}

impl Comparison {
    fn new(windows: usize) -> Self {
        Self {
            kl: Vec::new(),
            same: Mean::default(),
            difference: Mean::default(),
            squares: Mean::default(),
            ratio: Mean::default(),
            base: Tally::new(windows),
            model: Tally::new(windows),
        }
    }

    /// Adds a position: log-probabilities of the base, logits of the model, the token that follows.
    fn add(&mut self, model: &Model, base: &[f64], logits: &[f32], next: u32) {
        let total = f64::from(ops::log_sum_exp(model.isa(), logits));
        let mut kl = 0.0;
        for (&p, &logit) in base.iter().zip(logits) {
            kl += p.exp() * (p - (f64::from(logit) - total));
        }
        self.kl.push(kl);
        // The first of several that are equal, on both sides.
        let mut top = 0;
        for (i, p) in base.iter().enumerate() {
            if *p > base[top] {
                top = i;
            }
        }
        let same = ops::argmax(model.isa(), logits) == Some(top);
        self.same.add(f64::from(u8::from(same)));
        let (p, q) = (
            base[next as usize],
            f64::from(logits[next as usize]) - total,
        );
        let difference = q.exp() - p.exp();
        self.difference.add(difference);
        self.squares.add(difference * difference);
        self.ratio.add(p - q);
        self.base.nll.add(-p);
        self.model.nll.add(-q);
    }

    fn step(&mut self, report: &mut impl FnMut(&Progress) -> ControlFlow<()>) -> Result<()> {
        self.base.step(&mut |_| ControlFlow::Continue(()))?;
        self.model.step(report)
    }

    fn finish(self) -> Divergence {
        Divergence {
            kl: Distribution::of(self.kl),
            same_top: self.same.value(),
            same_top_error: self.same.error(),
            rms_probability: self.squares.value().sqrt(),
            mean_probability: self.difference.value(),
            ln_ratio: self.ratio.value(),
            ln_ratio_error: self.ratio.error(),
            base: self.base.result(),
            model: self.model.result(),
        }
    }
}

/// Compares a model with a base model on a text; `report` is called after each window.
///
/// Both models are in memory; where that is too much, [`save_logits`](super::save_logits) runs the
/// base alone.
///
/// # Errors
/// As [`perplexity`](super::perplexity), and [`Error::Option`] when the vocabularies differ in size.
pub fn divergence(
    base: &Model,
    model: &Model,
    ids: &[u32],
    options: &EvalOptions,
    mut report: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Divergence> {
    let vocab = base.spec().vocab_size;
    if model.spec().vocab_size != vocab {
        return Err(Error::Option {
            name: "vocabulary",
            value: format!("{} and {vocab} tokens", model.spec().vocab_size),
            allowed: "two models with the same vocabulary",
        });
    }
    let all = windows(model, ids, options)?;
    let mut comparison = Comparison::new(all.len());
    for window in &all {
        let mut rows = Vec::new();
        run(base, ids, window, options.bos, |logits, _| {
            rows.extend_from_slice(logits);
            Ok(())
        })?;
        let mut rows = rows.chunks_exact(vocab);
        run(model, ids, window, options.bos, |logits, next| {
            let base_logits = rows.next().unwrap_or_default();
            let total = f64::from(ops::log_sum_exp(base.isa(), base_logits));
            let p: Vec<f64> = base_logits.iter().map(|&x| f64::from(x) - total).collect();
            comparison.add(model, &p, logits, next);
            Ok(())
        })?;
        comparison.step(&mut report)?;
    }
    Ok(comparison.finish())
}

/// Compares a model with the base model whose log-probabilities [`save_logits`](super::save_logits)
/// wrote, on the text and the windows of the file; `report` is called after each window.
///
/// # Errors
/// [`Error::LogitsFile`] for a file that cannot be read, is none, is cut short, or is of another
/// vocabulary; [`Error::Option`] where the model's context is shorter than the windows; and as
/// [`perplexity`](super::perplexity).
pub fn divergence_from(
    path: impl AsRef<Path>,
    model: &Model,
    mut report: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Divergence> {
    let mut file = Reader::open(path.as_ref(), model.spec().vocab_size)?;
    let (ids, options) = (file.ids.clone(), file.options.clone());
    let all = windows(model, &ids, &options)?;
    file.check_rows(all.iter().map(|w| w.scored.len()).sum())?;
    let mut comparison = Comparison::new(all.len());
    for window in &all {
        run(model, &ids, window, options.bos, |logits, next| {
            comparison.add(model, file.row(next)?, logits, next);
            Ok(())
        })?;
        comparison.step(&mut report)?;
    }
    Ok(comparison.finish())
}
