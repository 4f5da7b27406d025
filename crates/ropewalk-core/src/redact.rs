//! Masking of API keys in text that may be printed.

use std::borrow::Cow;

/// Beginnings of the secret tokens that providers issue.
const PREFIXES: [&str; 14] = [
    "sk-",
    "sk_",
    "pk-",
    "gsk_",
    "hf_",
    "xai-",
    "AIza",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "r8_",
    "pplx-",
    "fw_",
];

/// Words after which the next word is a secret, whatever it looks like.
const INTRODUCERS: [&str; 8] = [
    "bearer",
    "x-api-key",
    "api-key",
    "api_key",
    "apikey",
    "key",
    "access_token",
    "x-goog-api-key",
];

const MASK: &str = "[redacted]";

/// Replaces what looks like an API key by `[redacted]`.
///
/// A word is masked when it starts like a known kind of key and has at least 12 characters, or
/// when it has at least 8 characters with a digit among them and follows `Bearer`, `key=`,
/// `api_key:` and the like. Text without such words is returned as it is, without a copy.
///
/// ```
/// use ropewalk_core::redact;
/// assert_eq!(redact("GET /v1?key=AIzaSyA1234567 failed"), "GET /v1?key=[redacted] failed");
/// assert_eq!(redact("a keyboard"), "a keyboard");
/// ```
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut after_introducer = false;
    for (start, word) in words(text) {
        let known = word.len() >= 12 && PREFIXES.iter().any(|p| word.starts_with(p));
        let introduced =
            after_introducer && word.len() >= 8 && word.bytes().any(|b| b.is_ascii_digit());
        if known || introduced {
            let out = out.get_or_insert_default();
            out.push_str(&text[copied..start]);
            out.push_str(MASK);
            copied = start + word.len();
        }
        after_introducer = INTRODUCERS.iter().any(|i| word.eq_ignore_ascii_case(i));
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
    }
}

/// Yields each maximal run of characters that can occur in a key, with its byte offset.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let start = at + rest.find(is_key_char)?;
        let len = text[start..]
            .find(|c| !is_key_char(c))
            .unwrap_or(text.len() - start);
        at = start + len;
        Some((start, &text[start..at]))
    })
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_known_prefixes_and_introduced_words() {
        let cases = [
            ("sk-ant-api03-aaaaaaaa", "[redacted]"),
            (
                "Authorization: Bearer abc12345",
                "Authorization: Bearer [redacted]",
            ),
            ("x-api-key: 12345678", "x-api-key: [redacted]"),
            ("a?key=secret123&b=1", "a?key=[redacted]&b=1"),
            ("hf_abcdefghijklmnop, then", "[redacted], then"),
        ];
        for (input, expected) in cases {
            assert_eq!(redact(input), expected);
        }
    }

    #[test]
    fn leaves_ordinary_text_alone() {
        for text in [
            "",
            "sk-",
            "missing key `name` at line 1",
            "the bearer of news",
            "日本語 key=é",
        ] {
            assert!(
                matches!(redact(text), Cow::Borrowed(t) if t == text),
                "{text}"
            );
        }
    }
}
