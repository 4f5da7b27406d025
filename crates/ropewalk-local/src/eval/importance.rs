//! How large the activations are that weights multiply.

use std::ops::ControlFlow;

use ropewalk_gguf::{Importance, ImportanceMatrix};

use super::perplexity::Progress;
use super::windows::EvalOptions;
use super::{Scoring, perplexity};
use crate::decoder::{Point, Watch};
use crate::{Model, Result};

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
/// As [`perplexity`], which is computed on the way.
pub fn importance(
    model: &mut Model,
    ids: &[u32],
    options: &EvalOptions,
    with_output: bool,
    mut report: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<ImportanceMatrix> {
    let options = options.clone().with_scoring(Scoring::SecondHalf);
    model.watch(Some(Box::new(Watch::default())));
    let mut windows = 0;
    let run = perplexity(model, ids, &options, |progress| {
        windows = progress.done;
        report(progress)
    });
    let watch = model.watch(None).unwrap_or_default();
    run?;
    let context = options.context.unwrap_or(model.context().min(512));
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut out = ImportanceMatrix::new().with_chunks(count(windows), count(context));
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
