//! Which tokens of a text are scored after which.

use std::ops::Range;

use crate::{Error, Model, Result};

/// Which tokens of a text are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scoring {
    /// The text is cut into windows, of each the second half is scored (its first token is not,
    /// which follows from the first half alone): what `llama-perplexity` does. A rest shorter than
    /// a window is left out.
    SecondHalf,
    /// Windows begin this many tokens apart, and every token but the first of the text is scored
    /// once, in the first window that holds it: the guide "Perplexity of fixed-length models" of
    /// `transformers`. (The guide weighs the mean of each window by one token less than it has.)
    /// Windows that do not overlap do not score their first tokens, which nothing precedes.
    Stride(usize),
}

/// How a text is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EvalOptions {
    /// Tokens of a window; `None` means 512, or the context of the model where that is less.
    pub context: Option<usize>,
    /// Which tokens are scored.
    pub scoring: Scoring,
    /// The token that stands in place of each window's first one; for models whose tokenizer begins
    /// texts with one, `llama-perplexity` takes that.
    pub bos: Option<u32>,
    /// Windows to take at most.
    pub windows: Option<usize>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl EvalOptions {
    /// Returns windows of 512 tokens of which the second half is scored.
    #[must_use]
    pub fn new() -> Self {
        Self {
            context: None,
            scoring: Scoring::SecondHalf,
            bos: None,
            windows: None,
        }
    }

    /// Sets the tokens of a window.
    #[must_use]
    pub fn with_context(mut self, tokens: usize) -> Self {
        self.context = Some(tokens);
        self
    }

    /// Sets which tokens are scored.
    #[must_use]
    pub fn with_scoring(mut self, scoring: Scoring) -> Self {
        self.scoring = scoring;
        self
    }

    /// Begins every window with this token, in place of its own first one.
    #[must_use]
    pub fn with_bos(mut self, id: Option<u32>) -> Self {
        self.bos = id;
        self
    }

    /// Takes at most this many windows.
    #[must_use]
    pub fn with_windows(mut self, windows: usize) -> Self {
        self.windows = Some(windows);
        self
    }
}

/// Part of a text, and which of its positions are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// Its tokens in the text.
    pub(super) tokens: Range<usize>,
    /// Positions in the text whose logits are scored, each by the token that follows.
    pub(super) scored: Range<usize>,
}

/// Rows of logits at once: a vocabulary of 128,000 takes 32 MB.
const ROWS: usize = 64;

/// Cuts a text.
pub(super) fn windows(model: &Model, ids: &[u32], options: &EvalOptions) -> Result<Vec<Window>> {
    let context = options.context.unwrap_or(model.context().min(512));
    if context < 2 || context > model.context() {
        return Err(Error::Option {
            name: "evaluation context",
            value: context.to_string(),
            allowed: "at least 2 and at most the context of the model",
        });
    }
    if options.windows == Some(0) {
        return Err(Error::Option {
            name: "evaluation windows",
            value: "0".to_owned(),
            allowed: "at least 1",
        });
    }
    let mut windows: Vec<Window> = match options.scoring {
        Scoring::SecondHalf => (0..ids.len() / context)
            .map(|i| i * context)
            .map(|first| Window {
                tokens: first..first + context,
                scored: first + context / 2..first + context - 1,
            })
            .collect(),
        Scoring::Stride(stride) => {
            if stride == 0 || stride > context {
                return Err(Error::Option {
                    name: "stride",
                    value: stride.to_string(),
                    allowed: "at least 1 and at most the evaluation context",
                });
            }
            strided(ids.len(), context, stride)
        }
    };
    windows.retain(|w| !w.scored.is_empty());
    windows.truncate(options.windows.unwrap_or(usize::MAX));
    if windows.is_empty() {
        return Err(Error::ShortText {
            found: ids.len(),
            needed: match options.scoring {
                Scoring::SecondHalf => context.max(3),
                Scoring::Stride(_) => 2,
            },
        });
    }
    Ok(windows)
}

fn strided(len: usize, context: usize, stride: usize) -> Vec<Window> {
    let mut out = Vec::new();
    let (mut first, mut scored) = (0, 0);
    loop {
        let end = len.min(first + context);
        out.push(Window {
            tokens: first..end,
            scored: scored..end.max(1) - 1,
        });
        if end == len {
            return out;
        }
        // A row whose token lies behind this window is scored in the next one, if it is there.
        first += stride;
        scored = first.max(end - 1);
    }
}

/// Runs a window as far as it is scored and hands over the logits of each scored position and the
/// token that follows.
pub(super) fn run(
    model: &Model,
    ids: &[u32],
    window: &Window,
    bos: Option<u32>,
    row: impl FnMut(&[f32], u32) -> Result<()>,
) -> Result<()> {
    run_with(model, ids, window, bos, window.scored.clone(), row)
}

/// As [`run`], with logits computed at the positions `head`, which hold those that are scored.
pub(super) fn run_with(
    model: &Model,
    ids: &[u32],
    window: &Window,
    bos: Option<u32>,
    head: Range<usize>,
    mut row: impl FnMut(&[f32], u32) -> Result<()>,
) -> Result<()> {
    let mut tokens = ids[window.tokens.clone()].to_vec();
    if let (Some(bos), Some(first)) = (bos, tokens.first_mut()) {
        *first = bos;
    }
    let start = window.tokens.start;
    let (skip, end) = (head.start - start, head.end - start);
    let mut cache = model.new_cache();
    if skip > 0 {
        model.forward(&mut cache, &tokens[..skip])?;
    }
    for (i, piece) in tokens[skip..end].chunks(ROWS).enumerate() {
        let logits = model.forward_all(&mut cache, piece)?;
        let rows = logits.chunks_exact(model.spec().vocab_size);
        for (at, logits) in (head.start + i * ROWS..).zip(rows) {
            if !window.scored.contains(&at) {
                continue;
            }
            let next = ids[at + 1];
            if next as usize >= logits.len() {
                return Err(Error::TokenId {
                    id: next,
                    vocab: logits.len(),
                });
            }
            row(logits, next)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_windows_score_every_token_once() {
        for (len, context, stride) in [(10, 4, 2), (10, 4, 3), (11, 5, 1), (3, 8, 8), (2, 2, 1)] {
            let windows = strided(len, context, stride);
            let scored: Vec<usize> = windows.iter().flat_map(|w| w.scored.clone()).collect();
            assert_eq!(scored, (0..len - 1).collect::<Vec<_>>());
            for w in windows {
                assert!(w.tokens.len() <= context);
                // The row and the token that it is scored by are in the window.
                assert!(w.scored.start >= w.tokens.start && w.scored.end < w.tokens.end);
            }
        }
        assert!(strided(0, 4, 2)[0].scored.is_empty());
        let apart: Vec<_> = strided(10, 4, 4).into_iter().map(|w| w.scored).collect();
        assert_eq!(apart, [0..3, 4..7, 8..9]);
    }
}
