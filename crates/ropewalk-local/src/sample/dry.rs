//! DRY: a penalty that grows with the length of what would be repeated.

use std::collections::HashMap;

use ropewalk_tokens::Tokenizer;

use super::{Candidates, LogitsProcessor};
use crate::{Error, Result};

/// Lowers the scores of tokens that would go on with a sequence that is there already, by
/// `multiplier * base^(length - allowed_length)` where the length is that of the longest such
/// sequence (DRY, "don't repeat yourself"; llama.cpp's `dry`, text-generation-webui pull request
/// 5677). The prompt counts. It takes time in proportion to the tokens it looks at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Dry {
    /// The penalty of the shortest sequence that has one; 0 does nothing.
    pub multiplier: f32,
    /// Factor for each further token, 1 or more; 1.75 in llama.cpp.
    pub base: f32,
    /// The length from which sequences have a penalty; 2 in llama.cpp.
    pub allowed_length: usize,
    /// How many of the latest tokens are looked at; `None` means all.
    pub last_n: Option<usize>,
    /// Sequences of ids that no repetition goes beyond; [`Dry::breakers`] makes them from texts.
    pub breakers: Vec<Vec<u32>>,
}

/// The most ids of a breaker after its first.
const MOST_TAIL: usize = 20;
/// The most bytes of the text of a breaker.
const MOST_BYTES: usize = 40;

impl Dry {
    /// The texts that end a repetition in llama.cpp unless others are given.
    pub const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

    /// Returns DRY of a multiplier, with base 1.75, allowed length 2 and no breakers.
    pub fn new(multiplier: f32) -> Self {
        Self {
            multiplier,
            base: 1.75,
            allowed_length: 2,
            last_n: None,
            breakers: Vec::new(),
        }
    }

    /// Sets the factor for each further token.
    #[must_use]
    pub fn with_base(mut self, base: f32) -> Self {
        self.base = base;
        self
    }

    /// Sets the length from which sequences have a penalty.
    #[must_use]
    pub fn with_allowed_length(mut self, tokens: usize) -> Self {
        self.allowed_length = tokens;
        self
    }

    /// Sets how many of the latest tokens are looked at.
    #[must_use]
    pub fn with_last_n(mut self, tokens: usize) -> Self {
        self.last_n = Some(tokens);
        self
    }

    /// Sets the sequences that no repetition goes beyond.
    #[must_use]
    pub fn with_breakers(mut self, breakers: Vec<Vec<u32>>) -> Self {
        self.breakers = breakers;
        self
    }

    /// Returns the sequences of ids that hold one of some texts: every token that contains it, and
    /// every token that ends with a part of it, followed by the tokens of the rest. Texts are cut
    /// after 40 bytes at a character, rests after 20 tokens, as in llama.cpp.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the rest of a text cannot be encoded.
    pub fn breakers(tokenizer: &Tokenizer, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let vocab = u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let mut out: Vec<Vec<u32>> = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let mut end = text.len().min(MOST_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let text = &text[..end];
            // The tokens of each rest are the same for all tokens before it.
            let mut rests: Vec<Option<Vec<u32>>> = vec![None; text.len()];
            for id in 0..vocab {
                let Some(piece) = tokenizer.decode_bytes(id) else {
                    continue;
                };
                for have in overlaps(&piece, text.as_bytes()) {
                    let mut breaker = vec![id];
                    if let Some(rest) = rests.get_mut(have) {
                        let tail = match rest {
                            Some(tail) => tail,
                            None => rest.insert(encode(tokenizer, text, have)?),
                        };
                        breaker.extend_from_slice(tail);
                    }
                    if !out.contains(&breaker) {
                        out.push(breaker);
                    }
                }
            }
        }
        Ok(out)
    }
}

/// Returns how many bytes of a text the end of a piece holds, for each way it does; all of them
/// where the piece contains the text.
fn overlaps(piece: &[u8], text: &[u8]) -> Vec<usize> {
    if piece.windows(text.len()).any(|part| part == text) {
        return vec![text.len()];
    }
    let longest = piece.len().min(text.len() - 1);
    let ends = |&n: &usize| piece.ends_with(&text[..n]);
    (1..=longest).filter(ends).collect()
}

/// Returns the tokens of a text from a byte on; none where a character is cut there.
fn encode(tokenizer: &Tokenizer, text: &str, from: usize) -> Result<Vec<u32>> {
    let rest = text.get(from..).unwrap_or_default();
    let ids = tokenizer.encode(rest, false);
    let mut ids = ids.map_err(|e| Error::Tokenizer {
        context: format!("the text {text:?} cannot be encoded"),
        source: Box::new(e),
    })?;
    ids.truncate(MOST_TAIL);
    Ok(ids)
}

/// The stage of [`Dry`].
#[derive(Debug)]
pub(super) struct DontRepeat {
    options: Dry,
    /// The rests of the breakers by their first id.
    tails: HashMap<u32, Vec<Vec<u32>>>,
    /// For each place from the end: how many tokens before it are also the last ones.
    repeats: Vec<usize>,
    longest: HashMap<u32, usize>,
}

impl DontRepeat {
    pub(super) fn new(options: Dry) -> Self {
        let mut tails: HashMap<u32, Vec<Vec<u32>>> = HashMap::new();
        for breaker in &options.breakers {
            if let Some((&head, tail)) = breaker.split_first() {
                tails.entry(head).or_default().push(tail.to_vec());
            }
        }
        Self {
            options,
            tails,
            repeats: Vec::new(),
            longest: HashMap::new(),
        }
    }

    /// Returns how many of the latest tokens come after the last breaker.
    fn since_breaker(&self, latest: &[u32]) -> usize {
        for (ago, id) in latest.iter().rev().enumerate() {
            let Some(tails) = self.tails.get(id) else {
                continue;
            };
            let after = &latest[latest.len() - ago..];
            let longest = tails.iter().filter(|tail| after.starts_with(tail));
            if let Some(tail) = longest.map(Vec::len).max() {
                return ago - tail;
            }
        }
        latest.len()
    }
}

/// Fills `z[k]` with the length of the longest common beginning of a sequence and itself from `k`
/// on, in linear time (Gusfield 1997, "Algorithms on Strings", section 1.4); the sequence is read
/// from its end.
fn common_from_end(ids: &[u32], z: &mut Vec<usize>) {
    let n = ids.len();
    let at = |i: usize| ids[n - 1 - i];
    z.clear();
    z.resize(n, 0);
    // The stretch [left, right) is known to equal the beginning.
    let (mut left, mut right) = (0, 0);
    for k in 1..n {
        let mut length = 0;
        if k < right {
            length = z[k - left].min(right - k);
        }
        while k + length < n && at(length) == at(k + length) {
            length += 1;
        }
        if k + length > right {
            (left, right) = (k, k + length);
        }
        z[k] = length;
    }
}

impl LogitsProcessor for DontRepeat {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        let allowed = self.options.allowed_length;
        let look = self.options.last_n.unwrap_or(usize::MAX);
        let latest = &history[history.len().saturating_sub(look)..];
        if latest.len() <= allowed {
            return;
        }
        let limit = self.since_breaker(latest);
        if limit < allowed {
            return;
        }
        common_from_end(latest, &mut self.repeats);
        self.longest.clear();
        for (k, &length) in self.repeats.iter().enumerate().skip(1) {
            let length = length.min(limit);
            if length >= allowed {
                // The token that followed there.
                let longest = self.longest.entry(latest[latest.len() - k]).or_default();
                *longest = length.max(*longest);
            }
        }
        // Beyond this power the penalty is no f32.
        let base = f64::from(self.options.base);
        let most = if self.options.base > 1.000_001 {
            (f64::from(f32::MAX).ln() / base.ln()) as usize
        } else {
            usize::MAX
        };
        for (&id, &length) in &self.longest {
            let breaks = self.tails.get(&id);
            if breaks.is_some_and(|tails| tails.iter().any(Vec::is_empty)) {
                continue;
            }
            let power = (length - allowed).min(most);
            let penalty = f64::from(self.options.multiplier) * base.powf(power as f64);
            candidates.adjust(id, |x| *x -= penalty as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_lengths_are_those_of_comparing_every_place() {
        let mut rng = super::super::Rng::new(5);
        for n in 0..40 {
            let ids: Vec<u32> = (0..n).map(|_| (rng.next_u64() % 3) as u32).collect();
            let mut z = Vec::new();
            common_from_end(&ids, &mut z);
            let back: Vec<u32> = ids.iter().rev().copied().collect();
            for (k, &length) in z.iter().enumerate().skip(1) {
                let want = back.iter().zip(&back[k..]).take_while(|(a, b)| a == b);
                assert_eq!(length, want.count(), "{ids:?} from {k}");
            }
        }
    }

    #[test]
    fn overlaps_are_every_way_a_text_may_begin() {
        assert_eq!(overlaps(b"abc", b"bc"), [2]);
        assert_eq!(overlaps(b"xaa", b"aab"), [1, 2]);
        assert_eq!(overlaps(b"xyz", b"aab"), [] as [usize; 0]);
        assert_eq!(overlaps(b"", b"a"), [] as [usize; 0]);
    }

    #[test]
    fn the_penalty_grows_with_the_length_of_the_repetition() {
        // 1 2 3 4 ... 1 2 3: the 4 would make a repetition of 3 longer.
        let history = [1, 2, 3, 4, 9, 1, 2, 3];
        let score = |dry: Dry| {
            let mut c = Candidates::default();
            c.fill(&[0.0; 10]);
            DontRepeat::new(dry).apply(&history, &mut c);
            (0..10).map(|i| c.items()[i].logit).collect::<Vec<_>>()
        };
        let found = score(Dry::new(2.0).with_base(3.0));
        assert_eq!(found[4], -2.0 * 3.0);
        assert!(found.iter().enumerate().all(|(i, &x)| i == 4 || x == 0.0));
        // A breaker between them shortens it, one at the end or as the next token stops it.
        assert_eq!(score(Dry::new(2.0).with_breakers(vec![vec![1]]))[4], -2.0);
        assert_eq!(score(Dry::new(2.0).with_breakers(vec![vec![3]]))[4], 0.0);
        assert_eq!(score(Dry::new(2.0).with_breakers(vec![vec![4]]))[4], 0.0);
        assert_eq!(score(Dry::new(2.0).with_last_n(4))[4], 0.0);
        assert_eq!(score(Dry::new(2.0).with_allowed_length(4))[4], 0.0);
    }
}
