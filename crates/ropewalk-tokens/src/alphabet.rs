//! The byte-level alphabet: each byte as one printable character.
//!
//! Source: `bytes_to_unicode` in GPT-2's `encoder.py`. Printable Latin-1 bytes stand for themselves,
//! the other 68 become U+0100, U+0101, … in byte order.

use std::sync::OnceLock;

const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

fn table() -> &'static [char; 256] {
    static TABLE: OnceLock<[char; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut next = 256u32;
        std::array::from_fn(|byte| {
            if is_printable(byte as u8) {
                return byte as u8 as char;
            }
            next += 1;
            char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
        })
    })
}

/// Returns the character that stands for `byte`.
pub(crate) fn char_of(byte: u8) -> char {
    table()[byte as usize]
}

/// Returns the byte that `c` stands for, if it stands for one.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    static BYTES: OnceLock<[Option<u8>; 0x144]> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut bytes = [None; 0x144];
        for byte in 0..=255 {
            bytes[char_of(byte) as usize] = Some(byte);
        }
        bytes
    });
    *bytes.get(c as usize)?
}

/// Spells `bytes` in the alphabet.
pub(crate) fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

/// Returns the bytes that `text` spells, or `None` if a character is outside the alphabet.
pub(crate) fn unspell(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_and_known_ones_are_spelled_as_gpt2_does() {
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!(spell(b" \n\tA"), "ĠĊĉA");
        assert_eq!(unspell("Ġ一"), None);
        assert_eq!(char_of(0xad), '\u{143}');
        assert_eq!(byte_of('\u{144}'), None);
    }
}
