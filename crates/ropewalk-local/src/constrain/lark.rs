//! Pieces of text in the syntax that grammars are compiled from.

use std::fmt::Write;

use super::Vocabulary;

/// Returns a text as a literal.
pub(super) fn literal(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007f")
}

/// Returns a text as a sequence of literals and of those `marks` that are special tokens.
pub(super) fn with_marks(text: &str, marks: &[&str], vocabulary: &Vocabulary) -> String {
    let special = |mark: &&str| vocabulary.special(mark).map(|id| (mark.len(), id));
    let mut out = String::new();
    let mut rest = text;
    let mut plain = 0;
    while plain < rest.len() {
        let here = &rest[plain..];
        let found = marks.iter().filter(|mark| here.starts_with(**mark));
        if let Some((len, id)) = found.filter_map(special).max() {
            if plain > 0 {
                out.push_str(&literal(&rest[..plain]));
            }
            let _written = write!(out, " <[{id}]> ");
            rest = &rest[plain + len..];
            plain = 0;
        } else {
            plain += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    if !rest.is_empty() || out.is_empty() {
        out.push_str(&literal(rest));
    }
    out
}

/// Returns a character for a class of a regular expression, or to stand alone in one.
pub(super) fn class_char(c: char) -> String {
    format!("\\u{{{:X}}}", u32::from(c))
}

/// Returns a regular expression as a terminal: what may stand between slashes.
pub(super) fn regex(pattern: &str) -> String {
    let whole = strip_anchors(pattern);
    if whole.is_empty() {
        return "\"\"".to_owned();
    }
    format!("/{}/", llguidance::regex_to_lark(whole, "dws"))
}

/// Takes `^` off the beginning and `$` off the end: the whole text is matched anyway.
pub(super) fn strip_anchors(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let Some(body) = pattern.strip_suffix('$') else {
        return pattern;
    };
    let backslashes = body.len() - body.trim_end_matches('\\').len();
    if backslashes % 2 == 0 { body } else { pattern }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_taken_off_and_escaped_ones_are_not() {
        for (pattern, body) in [
            ("^a$", "a"),
            ("a\\$", "a\\$"),
            ("a\\\\$", "a\\\\"),
            ("$", ""),
            ("a|b", "a|b"),
        ] {
            assert_eq!(strip_anchors(pattern), body);
        }
    }

    #[test]
    fn literals_hold_any_text() {
        assert_eq!(literal("a\"\\\n\u{1}\u{7f}é"), r#""a\"\\\n\u0001\u007fé""#);
    }
}
