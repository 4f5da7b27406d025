//! A token of the view and how it is written.

use std::fmt::Write;

/// What a token spells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenText {
    /// Text.
    Text(String),
    /// Bytes that are no text alone: a part of a character.
    Bytes(Vec<u8>),
}

impl TokenText {
    /// Returns text where the bytes are UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }

    /// Returns the token in visible characters: bytes as hexadecimal numbers, control characters as
    /// their pictures or code points, spaces as `␣` where `spaces` says so.
    pub(super) fn visible(&self, spaces: bool) -> String {
        let mut out = String::new();
        match self {
            Self::Bytes(bytes) => {
                let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02X}")).collect();
                _ = write!(out, "⟨{}⟩", hex.join(" "));
            }
            Self::Text(text) if text.is_empty() => out.push('∅'),
            Self::Text(text) => {
                for c in text.chars() {
                    match c {
                        ' ' if spaces => out.push('␣'),
                        '\n' => out.push('⏎'),
                        '\t' => out.push('⇥'),
                        '\u{0}'..='\u{1f}' => {
                            out.extend(char::from_u32(0x2400 + u32::from(c)));
                        }
                        '\u{7f}' => out.push('␡'),
                        c if is_invisible(c) => _ = write!(out, "⟨U+{:04X}⟩", u32::from(c)),
                        c => out.push(c),
                    }
                }
            }
        }
        out
    }

    /// Returns how many lines end in the token.
    pub(super) fn line_ends(&self) -> usize {
        match self {
            Self::Text(text) => text.matches('\n').count(),
            Self::Bytes(_) => 0,
        }
    }
}

/// Characters that show nothing or turn the direction of what follows.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// One token with its probability and what might have come instead.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ViewToken {
    /// What it spells.
    pub text: TokenText,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens at this place with their logarithms, best first.
    pub top: Vec<(TokenText, f32)>,
}

impl ViewToken {
    /// Returns a token without alternatives.
    pub fn new(text: TokenText, logprob: f32) -> Self {
        Self {
            text,
            logprob,
            top: Vec::new(),
        }
    }

    /// Sets the alternatives, best first.
    #[must_use]
    pub fn with_top(mut self, top: Vec<(TokenText, f32)>) -> Self {
        self.top = top;
        self
    }

    /// Returns the probability, `0.0..=1.0`; 0 where the logarithm is no number.
    pub fn probability(&self) -> f64 {
        probability(self.logprob)
    }

    /// Returns the entropy at this place in bits, of the tokens that are known: all others count as
    /// one, so it is a lower bound. `None` without alternatives.
    pub fn entropy(&self) -> Option<f64> {
        if self.top.is_empty() {
            return None;
        }
        let mut known: Vec<f64> = self.top.iter().map(|(_, p)| probability(*p)).collect();
        if !self.top.iter().any(|(text, _)| *text == self.text) {
            known.push(self.probability());
        }
        known.push((1.0 - known.iter().sum::<f64>()).max(0.0));
        let bits = |&p: &f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
        Some(known.iter().map(bits).sum())
    }
}

pub(super) fn probability(logprob: f32) -> f64 {
    let p = f64::from(logprob).exp();
    if p.is_nan() { 0.0 } else { p.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_visible() {
        for (bytes, want) in [
            (&b" a\n\t"[..], "␣a⏎⇥"),
            (b"\xe2\x80", "⟨E2 80⟩"),
            (b"\x00\x1b\x7f", "␀␛␡"),
            ("\u{202e}\u{200d}é".as_bytes(), "⟨U+202E⟩⟨U+200D⟩é"),
            (b"", "∅"),
        ] {
            assert_eq!(TokenText::from_bytes(bytes).visible(true), want);
        }
    }

    #[test]
    fn entropy_counts_what_is_unknown_as_one() {
        let text = |s: &str| TokenText::Text(s.into());
        let half = 0.5f32.ln();
        let token = ViewToken::new(text("a"), half);
        assert_eq!(token.entropy(), None);
        let quarter = 0.25f32.ln();
        let token = token.with_top(vec![(text("a"), half), (text("b"), quarter)]);
        assert!((token.entropy().unwrap() - 1.5).abs() < 1e-6);
        // A token that is not among the best counts itself.
        let token = ViewToken::new(text("c"), quarter).with_top(vec![(text("a"), half)]);
        assert!((token.entropy().unwrap() - 1.5).abs() < 1e-6);
    }
}
