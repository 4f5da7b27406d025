//! Speculation by prompt lookup: what followed the last tokens before is guessed to follow again.

use std::ops::RangeInclusive;

use crate::{Error, Result};

/// Guesses the next tokens from the sequence itself, so that one pass may give several.
///
/// The last tokens are looked up in the prompt and the reply; what followed them there is run
/// together with the next token, and kept as far as the sampler chooses the same. The reply is that
/// without speculation, token for token, for every sampler and constraint: guesses only decide
/// which rows are computed early. It pays where replies copy, as in edits, quotations and tool
/// results; guesses grow shorter while they fail. The method is prompt lookup decoding
/// (A. Saxena, 2023).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Speculate {
    /// The fewest tokens that must occur again, at least 1.
    pub min_ngram: usize,
    /// The most tokens that are compared; longer matches are tried first.
    pub max_ngram: usize,
    /// At most this many tokens are guessed at once, at least 1.
    pub max_draft: usize,
}

impl Default for Speculate {
    fn default() -> Self {
        Self::new()
    }
}

impl Speculate {
    /// Returns lookups of 4, 3 and 2 tokens that guess up to 8.
    pub const fn new() -> Self {
        Self {
            min_ngram: 2,
            max_ngram: 4,
            max_draft: 8,
        }
    }

    /// Sets how many tokens must occur again, and how many are compared.
    #[must_use]
    pub const fn with_ngram(mut self, min: usize, max: usize) -> Self {
        self.min_ngram = min;
        self.max_ngram = max;
        self
    }

    /// Sets how many tokens are guessed at once.
    #[must_use]
    pub const fn with_max_draft(mut self, tokens: usize) -> Self {
        self.max_draft = tokens;
        self
    }

    fn check(&self) -> Result<()> {
        let bad = |name, value: usize, allowed| {
            Err(Error::Option {
                name,
                value: value.to_string(),
                allowed,
            })
        };
        if self.min_ngram == 0 {
            return bad("min_ngram of speculation", 0, "1 or more");
        }
        if self.max_ngram < self.min_ngram {
            return bad(
                "max_ngram of speculation",
                self.max_ngram,
                "min_ngram or more",
            );
        }
        if self.max_draft == 0 {
            return bad("max_draft of speculation", 0, "1 or more");
        }
        Ok(())
    }
}

/// What one sequence guesses with.
#[derive(Debug)]
pub(super) struct Drafter {
    options: Speculate,
    /// Tokens that the next guess may have: fewer after a failure, more after a success.
    pub(super) width: usize,
    /// The guess that is being verified.
    pub(super) draft: Vec<u32>,
    pub(super) drafted: usize,
    pub(super) accepted: usize,
}

impl Drafter {
    pub(super) fn new(options: Speculate) -> Result<Self> {
        options.check()?;
        Ok(Self {
            options,
            width: options.max_draft,
            draft: Vec::new(),
            drafted: 0,
            accepted: 0,
        })
    }

    /// Guesses at most `room` tokens after `ids`.
    pub(super) fn guess(&mut self, ids: &[u32], room: usize) {
        self.draft.clear();
        let most = room.min(self.width);
        if most > 0 {
            let ngrams = self.options.min_ngram..=self.options.max_ngram;
            self.draft.extend(lookup(ids, ngrams).take(most));
        }
    }

    /// Says how many tokens of a guess of `drafted` were right.
    pub(super) fn verified(&mut self, drafted: usize, right: usize) {
        self.drafted += drafted;
        self.accepted += right;
        let next = if right == drafted {
            2 * self.width
        } else {
            right + 1
        };
        self.width = next.min(self.options.max_draft);
    }
}

/// Returns what followed the latest earlier occurrence of the end of `ids`, the longest n-gram first.
///
/// What reaches the end goes round: text that repeats is guessed to repeat on. Nothing comes without
/// an occurrence.
fn lookup(ids: &[u32], ngrams: RangeInclusive<usize>) -> impl Iterator<Item = u32> {
    let found = ngrams.rev().find_map(|n| {
        let (before, end) = (ids.split_last()?.1, ids.get(ids.len().checked_sub(n)?..)?);
        Some(before.windows(n).rposition(|w| w == end)? + n)
    });
    let from = found.unwrap_or(ids.len());
    ids[from..].iter().copied().cycle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_and_latest_occurrence_wins() {
        // `2 3` stands three times before the end, `1 2 3` once.
        let ids = [1, 2, 3, 4, 5, 9, 2, 3, 6, 7, 2, 3, 8, 1, 2, 3];
        let lookup = |ids: &[u32], ngrams| lookup(ids, ngrams).take(5).collect::<Vec<_>>();
        assert_eq!(lookup(&ids, 2..=4), [4, 5, 9, 2, 3]);
        // The latest occurrence is followed by four tokens; then it goes round.
        assert_eq!(lookup(&ids, 2..=2), [8, 1, 2, 3, 8]);
        assert!(lookup(&ids, 4..=4).is_empty());
        assert_eq!(lookup(&[7, 7, 7], 2..=3), [7; 5]);
        for short in [&[][..], &[1], &[1, 2]] {
            assert!(lookup(short, 1..=3).is_empty());
        }
    }

    #[test]
    fn guesses_shrink_while_they_fail() {
        let mut drafter = Drafter::new(Speculate::new().with_max_draft(4)).unwrap();
        let ids = [1, 2, 3, 4, 5, 6, 1, 2];
        drafter.guess(&ids, 9);
        assert_eq!(drafter.draft, [3, 4, 5, 6]);
        drafter.verified(4, 0);
        drafter.guess(&ids, 9);
        assert_eq!(drafter.draft, [3]);
        drafter.verified(1, 1);
        drafter.guess(&ids, 9);
        assert_eq!(drafter.draft, [3, 4]);
        drafter.guess(&ids, 1);
        assert_eq!(drafter.draft, [3]);
        drafter.verified(1, 1);
        assert_eq!((drafter.drafted, drafter.accepted), (6, 2));
        drafter.guess(&ids, 0);
        assert!(drafter.draft.is_empty());
    }

    #[test]
    fn bad_ranges_are_refused() {
        for (options, name) in [
            (Speculate::new().with_ngram(0, 2), "min_ngram"),
            (Speculate::new().with_ngram(3, 2), "max_ngram"),
            (Speculate::new().with_max_draft(0), "max_draft"),
        ] {
            let e = Drafter::new(options).unwrap_err().to_string();
            assert!(e.starts_with(name), "{e}");
        }
    }
}
