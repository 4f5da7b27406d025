//! Python's view of text: white space, `repr`, numbers as it prints them.

use super::error::Res;
use super::meter::Meter;
use std::fmt::Write as _;

/// `str.isspace` and the `\s` of Python's regular expressions.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.isprintable` for one character.
pub(crate) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // After another character, `escape_debug` escapes exactly the categories that Python does.
    let mut pair = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut pair[1..]).len();
    std::str::from_utf8(&pair[..length]).is_ok_and(|pair| pair.escape_debug().nth(1) == Some(c))
}

/// `repr(str)`.
pub(crate) fn repr_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            _ if is_printable(c) => out.push(c),
            _ => {
                let point = u32::from(c);
                // Writing to a String cannot fail.
                let _ = match point {
                    0..=0xFF => write!(out, "\\x{point:02x}"),
                    0x100..=0xFFFF => write!(out, "\\u{point:04x}"),
                    _ => write!(out, "\\U{point:08x}"),
                };
            }
        }
    }
    out.push(quote);
    out
}

pub(crate) fn repr_char(c: char) -> String {
    repr_str(c.encode_utf8(&mut [0; 4]))
}

/// `repr(float)`: the shortest digits that read back, with an exponent from 1e16 on and below 1e-4.
pub(crate) fn repr_float(f: f64) -> String {
    if f.is_nan() {
        return "nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{f:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{f}");
        if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    }
}

/// `str.capitalize`.
pub(crate) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let mut upper = first.to_uppercase();
    let mut out: String = upper.next().into_iter().collect();
    let rest: String = upper.chain(chars).collect();
    out.push_str(&rest.to_lowercase());
    out
}

/// `str.title`: every run of letters starts with a capital.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let cased = c.is_lowercase() || c.is_uppercase();
        if cased && !inside {
            out.push_str(&capitalize(c.encode_utf8(&mut [0; 4])));
        } else {
            out.extend(c.to_lowercase());
        }
        inside = cased;
    }
    out
}

/// `str.islower` (or `isupper`): some cased letter, and none of the other case.
pub(crate) fn is_cased(text: &str, lower: bool) -> bool {
    let mut any = false;
    for c in text.chars() {
        if if lower {
            c.is_uppercase()
        } else {
            c.is_lowercase()
        } {
            return false;
        }
        any |= if lower {
            c.is_lowercase()
        } else {
            c.is_uppercase()
        };
    }
    any
}

/// `str.splitlines`.
pub(crate) fn lines(text: &str, keep_ends: bool) -> impl Iterator<Item = &str> {
    const BREAKS: [char; 10] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest.find(BREAKS).unwrap_or(rest.len());
        let end = if rest[at..].starts_with("\r\n") {
            at + 2
        } else {
            at + rest[at..].chars().next().map_or(0, char::len_utf8)
        };
        let line = &rest[..if keep_ends { end } else { at }];
        rest = &rest[end..];
        Some(line)
    })
}

/// `markupsafe.escape`.
pub(crate) fn escape_html(text: &str, m: &Meter) -> Res<String> {
    let grown = text.bytes().filter(|b| b"&<>\"'".contains(b)).count() * 4;
    m.text(text.len() + grown)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// `int(text)`; `None` where Python raises `ValueError` (or the number does not fit 128 bits).
pub(crate) fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (prefix, prefix_base) = match lower.get(..2) {
        Some("0x") => (2, 16),
        Some("0o") => (2, 8),
        Some("0b") => (2, 2),
        _ => (0, 10),
    };
    let (digits, base) = match base {
        0 => (&digits[prefix..], prefix_base),
        _ if prefix > 0 && base == prefix_base => (&digits[prefix..], base),
        2..=36 => (digits, base),
        _ => return None,
    };
    let digits = if prefix > 0 {
        digits.strip_prefix('_').unwrap_or(digits)
    } else {
        digits
    };
    let valid = !digits.is_empty()
        && !digits.starts_with('_')
        && !digits.ends_with('_')
        && !digits.contains("__")
        && digits.chars().all(|c| c == '_' || c.is_digit(base));
    if !valid {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), base).ok()?;
    Some(if negative { -value } else { value })
}

/// `float(text)`; `None` where Python raises `ValueError`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let lower = text.to_ascii_lowercase();
    let word = lower.trim_start_matches(['+', '-']);
    if matches!(word, "inf" | "infinity" | "nan") {
        return lower.parse().ok();
    }
    let underscores = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE_".contains(&b));
    if underscores || !digits {
        return None;
    }
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_python() {
        for (f, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (123_456_789.125, "123456789.125"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e22, "1e+22"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(repr_float(f), expected);
        }
        for (text, expected) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            (
                "\n\\\u{7f}\u{a0}\u{200b}é\u{301}\u{e000}\u{1f600}",
                "'\\n\\\\\\x7f\\xa0\\u200bé\u{301}\\ue000😀'",
            ),
        ] {
            assert_eq!(repr_str(text), expected);
        }
    }

    #[test]
    fn reads_numbers_like_python() {
        assert_eq!(parse_int(" -1_000 ", 10), Some(-1000));
        assert_eq!(parse_int("0xff", 16), Some(255));
        assert_eq!(parse_int("0xff", 0), Some(255));
        assert_eq!(parse_int("0xff", 10), None);
        assert_eq!(parse_int("1.5", 10), None);
        assert_eq!(parse_float("1_0.5e1"), Some(105.0));
        assert_eq!(parse_float("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float("1,5"), None);
    }

    #[test]
    fn splits_lines_like_python() {
        assert_eq!(
            lines("a\r\nb\rc\n\nd\u{2028}", false).collect::<Vec<_>>(),
            ["a", "b", "c", "", "d"]
        );
        assert_eq!(lines("a\r\nb", true).collect::<Vec<_>>(), ["a\r\n", "b"]);
        assert_eq!(lines("", false).next(), None);
        assert_eq!(title("hello wORLD's x2y"), "Hello World'S X2Y");
        assert_eq!(capitalize("ßA b"), "Ssa b");
    }
}
