//! Cutting a text where no token can span.
//!
//! SentencePiece-style vocabularies merge over the whole text. Merges on two sides of a place never meet
//! when no token has the two characters there next to each other, so the sides can be done, and
//! remembered, on their own with the same result.

const SPACE: &[u8] = "▁".as_bytes();

/// Classes of characters: ASCII ones are their own, `▁` has one, all others share one.
const CLASSES: usize = 130;
const MARK: usize = 128;
const OTHER: usize = 129;

/// Pairs of neighbouring characters that occur inside tokens.
pub(crate) struct Cuts {
    joined: Vec<[bool; CLASSES]>,
}

impl std::fmt::Debug for Cuts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cuts").finish_non_exhaustive()
    }
}

/// Returns the class and length of the character at byte `at`, a boundary.
#[inline]
fn class(bytes: &[u8], at: usize) -> (usize, usize) {
    match bytes[at] {
        byte @ 0..0x80 => (byte as usize, 1),
        0xc0..0xe0 => (OTHER, 2),
        0xe0..0xf0 if bytes[at..].starts_with(SPACE) => (MARK, 3),
        0xe0..0xf0 => (OTHER, 3),
        _ => (OTHER, 4),
    }
}

impl Cuts {
    pub(super) fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let mut joined = vec![[false; CLASSES]; CLASSES];
        joined[OTHER][OTHER] = true;
        for token in tokens.map(str::as_bytes) {
            let (mut at, mut before) = (0, None::<usize>);
            while at < token.len() {
                let (class, len) = class(token, at);
                if let Some(before) = before {
                    joined[before][class] = true;
                }
                before = Some(class);
                at += len;
            }
        }
        Self { joined }
    }

    /// Calls `emit` for each part of `text`, in order.
    pub(super) fn for_each(&self, text: &str, mut emit: impl FnMut(&str)) {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return;
        }
        let (mut before, mut at) = class(bytes, 0);
        let mut start = 0;
        while at < bytes.len() {
            let (class, len) = class(bytes, at);
            if !self.joined[before][class] {
                emit(&text[start..at]);
                start = at;
            }
            before = class;
            at += len;
        }
        emit(&text[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lie_only_where_no_token_joins() {
        let cuts = Cuts::new(["▁the", "▁▁", "é!", ">▁<", "\n\n"].into_iter());
        let parts = |text: &str| {
            let mut parts = Vec::new();
            cuts.for_each(text, |part| parts.push(part.to_owned()));
            parts
        };
        assert_eq!(parts("▁the▁the"), ["▁the", "▁the"]);
        assert_eq!(parts("the>▁</"), ["the", ">▁<", "/"]);
        assert_eq!(parts("éé!é\n\na"), ["éé!", "é", "\n\n", "a"]);
        assert_eq!(parts(""), [""; 0]);
    }
}
