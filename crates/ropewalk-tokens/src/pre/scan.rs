//! Hand-written scanners for the common pre-tokenizer patterns: one pass, no backtracking.
//!
//! Each `next` returns the end of the match that the family's pattern has at `start`, trying the
//! alternatives in the pattern's order. `tests.rs` compares them with the patterns themselves.

use crate::unicode::{Classes, LETTER, LOWER, MARK, NUMBER, SPACE, UPPER};

/// The `cl100k_base` shape: contractions, words with one leading character, numbers, punctuation with
/// its newlines, newlines, spaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) max_digits: usize,
    /// Combining marks are letters.
    pub(super) marks: bool,
    /// Punctuation takes the newlines after it.
    pub(super) punct_newlines: bool,
}

impl Words {
    pub(super) const CL100K: Self = Self {
        max_digits: 1,
        marks: false,
        punct_newlines: true,
    };

    #[inline]
    pub(super) fn next(&self, text: &str, start: usize) -> usize {
        let classes = Classes::get();
        let word = if self.marks { LETTER | MARK } else { LETTER };
        if let Some(end) = contraction(text, start, true) {
            return end;
        }
        let Some((bits, after)) = classes.at(text, start) else {
            return text.len();
        };
        if bits & LETTER != 0 {
            return span(classes, text, after, word);
        }
        if bits & NUMBER != 0 {
            return digits(text, start, self.max_digits);
        }
        if !matches!(text.as_bytes()[start], b'\r' | b'\n')
            && let Some((next, end)) = classes.at(text, after)
            && next & word != 0
        {
            return span(classes, text, end, word);
        }
        if bits & word != 0 {
            return after;
        }
        if let Some(end) = punctuation(classes, text, start, SPACE | NUMBER | word) {
            return if self.punct_newlines {
                take(text, end, b"\r\n")
            } else {
                end
            };
        }
        spaces(classes, text, start, true)
    }
}

/// The GPT-2 shape: contractions, then words, numbers and punctuation with one leading space.
#[inline]
pub(super) fn gpt2(text: &str, start: usize) -> usize {
    let classes = Classes::get();
    if let Some(end) = contraction(text, start, false) {
        return end;
    }
    let from = start + usize::from(text.as_bytes()[start] == b' ');
    if let Some((bits, after)) = classes.at(text, from) {
        if bits & LETTER != 0 {
            return span(classes, text, after, LETTER);
        }
        if bits & NUMBER != 0 {
            return span(classes, text, after, NUMBER);
        }
    }
    punctuation(classes, text, start, SPACE | NUMBER | LETTER)
        .unwrap_or_else(|| spaces(classes, text, start, false))
}

/// The `o200k_base` shape: a word is capitals then small letters, with one leading character.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaseWords {
    pub(super) max_digits: usize,
    /// A word takes the contraction after it.
    pub(super) contractions: bool,
}

impl CaseWords {
    pub(super) fn next(&self, text: &str, start: usize) -> usize {
        let classes = Classes::get();
        let Some((bits, after)) = classes.at(text, start) else {
            return text.len();
        };
        let may_lead =
            bits & (LETTER | NUMBER) == 0 && !matches!(text.as_bytes()[start], b'\r' | b'\n');
        let led = may_lead.then_some(after);
        let word = led
            .and_then(|from| mixed(classes, text, from))
            .or_else(|| mixed(classes, text, start))
            .or_else(|| led.and_then(|from| capitals(classes, text, from)))
            .or_else(|| capitals(classes, text, start));
        if let Some(end) = word {
            return if self.contractions {
                contraction(text, end, true).unwrap_or(end)
            } else {
                end
            };
        }
        if bits & NUMBER != 0 {
            return digits(text, start, self.max_digits);
        }
        match punctuation(classes, text, start, SPACE | NUMBER | LETTER) {
            Some(end) => take(text, end, b"\r\n/"),
            None => spaces(classes, text, start, true),
        }
    }
}

/// `UPPER* LOWER+` at `from`, giving back capitals that also count as small letters if needed.
fn mixed(classes: &Classes, text: &str, from: usize) -> Option<usize> {
    let (mut at, mut given_back) = (from, None);
    while let Some((bits, after)) = classes.at(text, at) {
        if bits & UPPER == 0 {
            break;
        }
        if bits & LOWER != 0 {
            given_back = Some(after);
        }
        at = after;
    }
    let end = span(classes, text, at, LOWER);
    if end > at { Some(end) } else { given_back }
}

/// `UPPER+ LOWER*` at `from`, where [`mixed`] found nothing.
fn capitals(classes: &Classes, text: &str, from: usize) -> Option<usize> {
    let end = span(classes, text, from, UPPER);
    (end > from).then_some(end)
}

/// Returns the end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at `start`.
#[inline]
fn contraction(text: &str, start: usize, any_case: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.get(start) != Some(&b'\'') {
        return None;
    }
    let letter = |at: usize| {
        bytes.get(at).map_or(0, |&byte| {
            if any_case {
                byte.to_ascii_lowercase()
            } else {
                byte
            }
        })
    };
    match (letter(start + 1), letter(start + 2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(start + 2),
        (b'r' | b'v', b'e') | (b'l', b'l') => Some(start + 3),
        _ => None,
    }
}

/// Returns the end of the run of characters of any class in `mask` at `from`.
#[inline]
fn span(classes: &Classes, text: &str, mut from: usize, mask: u8) -> usize {
    while let Some((bits, after)) = classes.at(text, from) {
        if bits & mask == 0 {
            break;
        }
        from = after;
    }
    from
}

/// Returns the end of an optional space and at least one character of no class in `excluded`.
#[inline]
fn punctuation(classes: &Classes, text: &str, start: usize, excluded: u8) -> Option<usize> {
    let from = start + usize::from(text.as_bytes()[start] == b' ');
    let mut end = from;
    while let Some((bits, after)) = classes.at(text, end) {
        if bits & excluded != 0 {
            break;
        }
        end = after;
    }
    (end > from).then_some(end)
}

/// Returns the end of the run of the bytes `set` at `from`.
#[inline]
fn take(text: &str, from: usize, set: &[u8]) -> usize {
    from + text.as_bytes()[from..]
        .iter()
        .take_while(|byte| set.contains(byte))
        .count()
}

/// White space at `start`: through the last newline of the run if `newlines`, else all of it at the
/// end of the text, else all but its last character, which belongs to the next word.
#[inline]
fn spaces(classes: &Classes, text: &str, start: usize, newlines: bool) -> usize {
    let (mut end, mut last, mut newline) = (start, start, None);
    while let Some((bits, after)) = classes.at(text, end) {
        if bits & SPACE == 0 {
            break;
        }
        if newlines && matches!(text.as_bytes()[end], b'\r' | b'\n') {
            newline = Some(after);
        }
        last = end;
        end = after;
    }
    match newline {
        Some(end) => end,
        None if end == text.len() || last == start => end,
        None => last,
    }
}

/// Numbers in groups of at most `max`, anything else up to the next number.
#[inline]
pub(super) fn digits(text: &str, start: usize, max: usize) -> usize {
    let classes = Classes::get();
    let (mut end, mut count) = (start, 0);
    while let Some((bits, after)) = classes.at(text, end) {
        let number = bits & NUMBER != 0;
        if number && count == max || number != (count > 0) && end > start {
            break;
        }
        count += usize::from(number);
        end = after;
    }
    end
}

/// ASCII digits in threes from the left, anything else up to the next three.
pub(super) fn ascii_triples(text: &str, start: usize) -> usize {
    let is_triple = |window: &[u8]| window.iter().all(u8::is_ascii_digit);
    match text.as_bytes()[start..].windows(3).position(is_triple) {
        Some(0) => start + 3,
        Some(gap) => start + gap,
        None => text.len(),
    }
}

/// A run of newlines, or everything up to the next newline.
pub(super) fn lines(text: &str, start: usize) -> usize {
    let bytes = &text.as_bytes()[start..];
    let newline = bytes[0] == b'\n';
    bytes
        .iter()
        .position(|&byte| (byte == b'\n') != newline)
        .map_or(text.len(), |at| start + at)
}
