//! How large the activations are that weights multiply.

use std::ops::ControlFlow;

use ropewalk_gguf::{Importance, ImportanceMatrix};

use super::perplexity::{Progress, Tally, log_probability};
use super::windows::{EvalOptions, Scoring, Window, run_with, windows};
use crate::decoder::{Point, Watch};
use crate::{Error, Model, Result};

/// Runs a text through a model and sums up the squares of what enters each weight matrix, column by
/// column and for each expert apart; `report` is called after each window.
///
/// What it returns is keyed by the names of GGUF files and can be saved for quantising
/// ([`ImportanceMatrix`]). As in `llama-imatrix`, every token of a window counts (the text is cut into
/// windows of [`EvalOptions::context`] tokens and a shorter rest is left out), routers of experts
/// included, and `output.weight` only with `with_output`, where the model has one.
///
/// The model is borrowed alone, so that nothing else it runs is counted.
///
/// # Errors
/// As [`perplexity`](super::perplexity), which is computed on the way; a model with layers on devices,
/// whose activations are not seen here.
pub fn importance(
    model: &mut Model,
    ids: &[u32],
    options: &EvalOptions,
    with_output: bool,
    mut report: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<ImportanceMatrix> {
    if model.device_plan().is_some() {
        return Err(Error::Option {
            name: "the model of an importance matrix",
            value: "partly on devices".to_owned(),
            allowed: "one that runs on the CPU",
        });
    }
    let options = options.clone().with_scoring(Scoring::SecondHalf);
    let all = windows(model, ids, &options)?;
    model.watch(Some(Box::new(Watch::default())));
    let run = pass(model, ids, &options, &all, with_output, &mut report);
    let watch = model.watch(None).unwrap_or_default();
    run?;
    let context = options.context.unwrap_or(model.context().min(512));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut out = ImportanceMatrix::new().with_chunks(count(all.len()), count(context));
    for tensor in model.spec().stored_tensors() {
        let Some(point) = tensor.roles.first().and_then(|role| Point::of(*role)) else {
            continue;
        };
        if point == Point::Head && !with_output {
            continue;
        }
        if let Some(seen) = watch.seen.get(&(tensor.layer.unwrap_or(0), point)) {
            let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect();
            let entry = Importance::new(narrow(&seen.squares), narrow(&seen.rows));
            out.entries.insert(tensor.gguf, entry);
        }
    }
    Ok(out)
}

/// Runs every token of the windows, through the output head too where that is watched.
fn pass(
    model: &Model,
    ids: &[u32],
    options: &EvalOptions,
    all: &[Window],
    with_output: bool,
    report: &mut impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<()> {
    let mut tally = Tally::new(all.len());
    for window in all {
        let first = if with_output {
            window.tokens.start
        } else {
            window.scored.start
        };
        let head = first..window.tokens.end;
        run_with(model, ids, window, options.bos, head, |logits, next| {
            tally.nll.add(-log_probability(model, logits, next));
            Ok(())
        })?;
        tally.step(report)?;
    }
    Ok(())
}
