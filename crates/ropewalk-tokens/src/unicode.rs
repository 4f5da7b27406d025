//! Character classes the pre-tokenizers ask for: Unicode general categories, two table look-ups each.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

pub(crate) const LETTER: u8 = 1;
pub(crate) const NUMBER: u8 = 2;
pub(crate) const SPACE: u8 = 4;
pub(crate) const MARK: u8 = 8;
pub(crate) const PUNCT: u8 = 16;
pub(crate) const SYMBOL: u8 = 32;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what may stand where a capital is wanted.
pub(crate) const UPPER: u8 = 64;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what may stand where a small letter is wanted.
pub(crate) const LOWER: u8 = 128;

const CATEGORIES: [(&str, u8); 8] = [
    (r"\p{L}", LETTER),
    (r"\p{N}", NUMBER),
    (r"\s", SPACE),
    (r"\p{M}", MARK),
    (r"\p{P}", PUNCT),
    (r"\p{S}", SYMBOL),
    (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
    (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
];

const BLOCK: usize = 256;

/// Class bits of every code point, as 256-entry blocks of which equal ones are stored once.
pub(crate) struct Classes {
    ascii: [u8; 128],
    index: Vec<u16>,
    blocks: Vec<u8>,
}

impl Classes {
    /// Returns the table, built on first use from the Unicode data of `regex-syntax`.
    pub(crate) fn get() -> &'static Self {
        static CLASSES: OnceLock<Classes> = OnceLock::new();
        CLASSES.get_or_init(Self::build)
    }

    fn build() -> Self {
        let mut flat = vec![0u8; 0x11_0000];
        for (pattern, bit) in CATEGORIES {
            let Ok(hir) = regex_syntax::parse(pattern) else {
                continue;
            };
            let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
                continue;
            };
            for range in class.ranges() {
                let (start, end) = (range.start() as usize, range.end() as usize);
                flat[start..=end].iter_mut().for_each(|bits| *bits |= bit);
            }
        }
        let mut blocks: Vec<u8> = Vec::new();
        let mut index = Vec::with_capacity(flat.len() / BLOCK);
        let mut seen = std::collections::HashMap::new();
        for block in flat.chunks_exact(BLOCK) {
            let at = *seen.entry(block).or_insert_with(|| {
                blocks.extend_from_slice(block);
                blocks.len() / BLOCK - 1
            });
            index.push(at as u16);
        }
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        Self {
            ascii,
            index,
            blocks,
        }
    }

    /// Returns the class bits of `c`.
    #[inline]
    pub(crate) fn of(&self, c: char) -> u8 {
        let c = c as usize;
        if c < 128 {
            return self.ascii[c];
        }
        self.blocks[self.index[c / BLOCK] as usize * BLOCK + c % BLOCK]
    }

    /// Decodes the character at byte `at` of `text` (a boundary) and returns its bits and its end.
    #[inline]
    pub(crate) fn at(&self, text: &str, at: usize) -> Option<(u8, usize)> {
        let first = *text.as_bytes().get(at)?;
        if first < 128 {
            return Some((self.ascii[first as usize], at + 1));
        }
        let c = text[at..].chars().next()?;
        Some((self.of(c), at + c.len_utf8()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_of_known_characters() {
        let classes = Classes::get();
        for (c, bits) in [
            ('a', LETTER | LOWER),
            ('A', LETTER | UPPER),
            ('7', NUMBER),
            (' ', SPACE),
            ('\n', SPACE),
            ('$', SYMBOL),
            ('!', PUNCT),
            ('½', NUMBER),
            ('我', LETTER | UPPER | LOWER),
            ('\u{301}', MARK | UPPER | LOWER),
            ('\u{3000}', SPACE),
            ('🦙', SYMBOL),
            ('\u{10ffff}', 0),
        ] {
            assert_eq!(classes.of(c), bits, "{c:?}");
        }
    }
}
