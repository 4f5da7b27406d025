//! Python's two ways of formatting: `"%s" % x` and `"{}".format(x)`.

mod braces;
mod percent;

pub(crate) use braces::str_format;
pub(crate) use percent::printf;

use super::error::{ErrorKind, Res, err};

/// Longest padding or precision a template may ask for.
const MAX_WIDTH: usize = 10_000;

/// One conversion, in the terms of the format specification mini-language.
#[derive(Clone)]
struct Spec {
    fill: char,
    /// One of `<`, `>`, `^`, `=`; `None` when not given.
    align: Option<char>,
    sign: char,
    alternate: bool,
    width: usize,
    group: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            fill: ' ',
            align: None,
            sign: '-',
            alternate: false,
            width: 0,
            group: None,
            precision: None,
            kind: None,
        }
    }
}

impl Spec {
    fn pad(&self, sign: &str, body: &str, default: char) -> String {
        let missing = self
            .width
            .saturating_sub(sign.chars().count() + body.chars().count());
        let fill = |n: usize| std::iter::repeat_n(self.fill, n).collect::<String>();
        match self.align.unwrap_or(default) {
            '<' => format!("{sign}{body}{}", fill(missing)),
            '^' => format!(
                "{}{sign}{body}{}",
                fill(missing / 2),
                fill(missing - missing / 2)
            ),
            '=' => format!("{sign}{}{body}", fill(missing)),
            _ => format!("{}{sign}{body}", fill(missing)),
        }
    }

    fn text(&self, text: &str) -> String {
        let cut: String = match self.precision {
            Some(n) => text.chars().take(n).collect(),
            None => text.to_owned(),
        };
        self.pad("", &cut, '<')
    }

    fn signed(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (false, '+') => "+",
            (false, ' ') => " ",
            _ => "",
        }
    }

    /// An integer in base 10, 2, 8 or 16, with at least `precision` digits.
    fn integer(&self, value: i128) -> String {
        let magnitude = value.unsigned_abs();
        let (prefix, digits) = match self.kind {
            Some('b') => ("0b", format!("{magnitude:b}")),
            Some('o') => ("0o", format!("{magnitude:o}")),
            Some('x') => ("0x", format!("{magnitude:x}")),
            Some('X') => ("0X", format!("{magnitude:X}")),
            _ => ("", magnitude.to_string()),
        };
        let digits = match self.precision {
            Some(n) => format!("{}{digits}", "0".repeat(n.saturating_sub(digits.len()))),
            None => digits,
        };
        let digits = self.grouped(&digits, if prefix.is_empty() { 3 } else { 4 });
        let prefix = if self.alternate { prefix } else { "" };
        self.pad(&format!("{}{prefix}", self.signed(value < 0)), &digits, '>')
    }

    fn grouped(&self, digits: &str, size: usize) -> String {
        let Some(separator) = self.group else {
            return digits.to_owned();
        };
        let mut out = String::new();
        for (i, c) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(size) {
                out.push(separator);
            }
            out.push(c);
        }
        out
    }

    fn float(&self, value: f64) -> String {
        let sign = self.signed(value.is_sign_negative() && !value.is_nan());
        let magnitude = value.abs();
        let kind = self.kind.unwrap_or('r');
        let precision = self.precision.unwrap_or(6);
        let mut body = if magnitude.is_nan() {
            "nan".to_owned()
        } else if magnitude.is_infinite() {
            "inf".to_owned()
        } else {
            match kind.to_ascii_lowercase() {
                'f' => format!("{magnitude:.precision$}"),
                '%' => format!("{:.precision$}%", magnitude * 100.0),
                'e' => exponent(magnitude, precision),
                'r' if self.precision.is_none() => super::text::repr_float(magnitude),
                _ => general(magnitude, precision.max(1), self.alternate, kind == 'r'),
            }
        };
        if kind.is_ascii_uppercase() {
            body = body.to_uppercase();
        }
        if self.group.is_some() {
            let whole = body
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(body.len());
            body = format!("{}{}", self.grouped(&body[..whole], 3), &body[whole..]);
        }
        self.pad(sign, &body, '>')
    }
}

/// `%e`: one digit, the point, `precision` digits and an exponent of at least two digits.
fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", power.abs())
}

/// `%g`: as many significant digits as `precision`, in the shorter of the two notations.
fn general(value: f64, precision: usize, keep_zeros: bool, keep_point: bool) -> String {
    let scientific = format!("{value:.*e}", precision - 1);
    let power: i64 = scientific
        .split_once('e')
        .and_then(|(_, p)| p.parse().ok())
        .unwrap_or(0);
    let trim = |digits: &str| {
        if keep_zeros || !digits.contains('.') {
            return digits.to_owned();
        }
        digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    let limit = precision as i64 - i64::from(keep_point);
    if (-4..limit.max(1)).contains(&power) {
        let decimals = (precision as i64 - 1 - power).max(0) as usize;
        let digits = trim(&format!("{value:.decimals$}"));
        if keep_point && !digits.contains('.') {
            digits + ".0"
        } else {
            digits
        }
    } else {
        let text = exponent(value, precision - 1);
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "+00"));
        format!("{}e{power}", trim(mantissa))
    }
}

fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let point = u32::from(c);
        match point {
            0..=0x7F => out.push(c),
            0x80..=0xFF => out.push_str(&format!("\\x{point:02x}")),
            0x100..=0xFFFF => out.push_str(&format!("\\u{point:04x}")),
            _ => out.push_str(&format!("\\U{point:08x}")),
        }
    }
    out
}

fn bounded(width: usize) -> Res<usize> {
    if width > MAX_WIDTH {
        return err(
            ErrorKind::Limit,
            format!("a format is wider than {MAX_WIDTH}"),
        );
    }
    Ok(width)
}

#[cfg(test)]
mod tests {
    use super::braces::format_value;
    use super::*;
    use crate::template::meter::Meter;
    use crate::template::value::Val;

    #[test]
    fn formats_numbers_like_python() {
        for (format, value, expected) in [
            ("%5.2f|", Val::Float(2.0 / 3.0), " 0.67|"),
            ("%e", Val::Float(12345.678), "1.234568e+04"),
            ("%g", Val::Float(1e-5), "1e-05"),
            ("%g", Val::Float(123_456_789.0), "1.23457e+08"),
            ("%g", Val::Float(0.5), "0.5"),
            ("%05d", Val::Int(-42), "-0042"),
            ("%-5d|", Val::Int(42), "42   |"),
            ("%+x", Val::Int(255), "+ff"),
            ("%#o", Val::Int(8), "0o10"),
            ("%s%%", Val::None, "None%"),
            ("%.2s", "abc".into(), "ab"),
            ("%r", "it's".into(), "\"it's\""),
            ("%c", Val::Int(65), "A"),
        ] {
            assert_eq!(
                printf(format, &value, false, &Meter::unlimited()).as_deref(),
                Ok(expected),
                "{format}"
            );
        }
        for (spec, value, expected) in [
            (">8,.2f", Val::Float(12345.678), "12,345.68"),
            ("^7", "ab".into(), "  ab   "),
            ("*<4", Val::Int(7), "7***"),
            ("08.3f", Val::Float(-1.5), "-001.500"),
            ("#x", Val::Int(255), "0xff"),
            ("_b", Val::Int(255), "1111_1111"),
            (".1%", Val::Float(0.256), "25.6%"),
            (".3", Val::Float(1234.5), "1.23e+03"),
            (".6", Val::Float(1234.0), "1234.0"),
        ] {
            assert_eq!(
                format_value(&value, spec, &Meter::unlimited()).as_deref(),
                Ok(expected),
                "{spec}"
            );
        }
    }
}
