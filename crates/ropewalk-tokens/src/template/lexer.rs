//! Template text to tokens, as Jinja2 does it with `trim_blocks` and `lstrip_blocks` (`jinja2/lexer.py`).

use super::error::{Error, ErrorKind, Res, err};
use super::text::{is_space, repr_char};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Data(Arc<str>),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

impl Token {
    /// The word Jinja2 uses for this token in messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Data(_) => "template data / text",
            Self::VariableBegin => "begin of print statement",
            Self::VariableEnd => "end of print statement",
            Self::BlockBegin => "begin of statement block",
            Self::BlockEnd => "end of statement block",
            Self::Name(name) => name,
            Self::Str(_) => "string",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Op(op) => op,
            Self::End => "end of template",
        }
        .to_owned()
    }
}

/// Longest first, so that `**` is not two `*`.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Block,
    Variable,
}

/// The tokens of a template with their lines, the last being [`Token::End`], and why there are no more.
pub(crate) struct Tokens {
    pub(crate) all: Vec<(Token, u32)>,
    /// Text that is no token: an error only for a parser that gets that far.
    pub(crate) failure: Option<Box<Error>>,
}

pub(crate) fn tokens(source: &str) -> Tokens {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    if text.ends_with('\n') {
        text.pop();
    }
    let mut lexer = Lexer {
        text: &text,
        at: 0,
        line: 1,
        counted: 0,
        out: Vec::new(),
    };
    let failure = lexer
        .root()
        .err()
        .map(|e| Box::new(e.at(lexer.line_here())));
    lexer.push(Token::End);
    Tokens {
        all: lexer.out,
        failure,
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// Where `line` was last brought up to date.
    counted: usize,
    out: Vec<(Token, u32)>,
}

impl<'a> Lexer<'a> {
    fn line_here(&mut self) -> u32 {
        if self.at > self.counted {
            let seen = &self.text.as_bytes()[self.counted..self.at];
            self.line += seen.iter().filter(|b| **b == b'\n').count() as u32;
            self.counted = self.at;
        }
        self.line
    }

    fn push(&mut self, token: Token) {
        let line = self.line_here();
        self.out.push((token, line));
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn root(&mut self) -> Res<()> {
        // True when the last token ended with a newline, or there is none yet.
        let mut line_starting = true;
        loop {
            let rest = self.rest();
            let Some(begin) = find_begin(rest) else {
                if !rest.is_empty() {
                    self.push(Token::Data(rest.into()));
                    self.at = self.text.len();
                }
                return Ok(());
            };
            let kind = rest.as_bytes()[begin + 1];
            let sign = rest
                .as_bytes()
                .get(begin + 2)
                .copied()
                .filter(|b| matches!(b, b'-' | b'+'));
            let mut data = &rest[..begin];
            if sign == Some(b'-') {
                data = data.trim_end_matches(is_space);
            } else if sign.is_none() && kind != b'{' {
                let line = data.rfind('\n').map_or(0, |i| i + 1);
                if (line > 0 || line_starting) && data[line..].chars().all(is_space) {
                    data = &data[..line];
                }
            }
            if !data.is_empty() {
                self.push(Token::Data(data.into()));
            }
            self.at += begin;
            let after = begin + 2 + usize::from(sign.is_some());
            line_starting = match kind {
                b'#' => self.comment(after - begin)?,
                b'{' => {
                    self.push(Token::VariableBegin);
                    self.at += after - begin;
                    self.inside(Mode::Variable)?
                }
                _ => match raw_begin(&rest[after..]) {
                    Some(length) => {
                        self.at += after - begin + length;
                        self.raw()?
                    }
                    None => {
                        self.push(Token::BlockBegin);
                        self.at += after - begin;
                        self.inside(Mode::Block)?
                    }
                },
            };
        }
    }

    /// Skips a comment; says whether it ended with a newline.
    fn comment(&mut self, begin: usize) -> Res<bool> {
        let body = &self.rest()[begin..];
        let Some(end) = body.find("#}") else {
            return err(ErrorKind::Syntax, "Missing end of comment tag");
        };
        let sign = body[..end].bytes().last();
        self.at += begin + end + 2;
        Ok(self.after_tag(sign, true))
    }

    /// Consumes what a closing tag with this sign eats; says whether the match ended with a newline.
    fn after_tag(&mut self, sign: Option<u8>, trims: bool) -> bool {
        let rest = self.rest();
        let eaten = match sign {
            Some(b'-') => rest.len() - rest.trim_start_matches(is_space).len(),
            Some(b'+') => 0,
            _ => usize::from(trims && rest.starts_with('\n')),
        };
        self.at += eaten;
        rest[..eaten].ends_with('\n')
    }

    fn raw(&mut self) -> Res<bool> {
        let body = self.rest();
        let mut from = 0;
        while let Some(at) = body[from..].find("{%").map(|i| i + from) {
            let mut tag = &body[at + 2..];
            let sign = tag.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
            tag = &tag[usize::from(sign.is_some())..];
            let word = tag.trim_start_matches(is_space);
            if let Some(tail) = word.strip_prefix("endraw") {
                let tail = tail.trim_start_matches(is_space);
                let close = tail.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
                if tail[usize::from(close.is_some())..].starts_with("%}") {
                    let mut data = &body[..at];
                    if sign == Some(b'-') {
                        data = data.trim_end_matches(is_space);
                    } else if sign.is_none() {
                        let line = data.rfind('\n').map_or(0, |i| i + 1);
                        if line > 0 && data[line..].chars().all(is_space) {
                            data = &data[..line];
                        }
                    }
                    if !data.is_empty() {
                        self.push(Token::Data(data.into()));
                    }
                    self.at += body.len() - tail.len() + usize::from(close.is_some()) + 2;
                    return Ok(self.after_tag(close, true));
                }
            }
            from = at + 2;
        }
        err(ErrorKind::Syntax, "Missing end of raw directive")
    }

    /// Tokens between a begin and its end; says whether the end tag ate a newline.
    fn inside(&mut self, mode: Mode) -> Res<bool> {
        let close = if mode == Mode::Block { "%}" } else { "}}" };
        let mut open: Vec<char> = Vec::new();
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                // The parser meets the end and says what is missing.
                return Ok(false);
            };
            if open.is_empty() {
                let sign = Some(first as u32 as u8)
                    .filter(|b| *b == b'-' || (*b == b'+' && mode == Mode::Block))
                    .filter(|_| first.is_ascii());
                if rest[usize::from(sign.is_some())..].starts_with(close) {
                    self.push(match mode {
                        Mode::Block => Token::BlockEnd,
                        Mode::Variable => Token::VariableEnd,
                    });
                    self.at += usize::from(sign.is_some()) + 2;
                    return Ok(self.after_tag(sign, mode == Mode::Block));
                }
            }
            if is_space(first) {
                self.at += rest.len() - rest.trim_start_matches(is_space).len();
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first.is_alphanumeric() || first == '_' {
                self.name()?;
            } else if first == '"' || first == '\'' {
                self.string(first)?;
            } else {
                self.operator(first, &mut open)?;
            }
        }
    }

    fn operator(&mut self, first: char, open: &mut Vec<char>) -> Res<()> {
        let rest = self.rest();
        let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) else {
            let position = self.text[..self.at].chars().count();
            return err(
                ErrorKind::Syntax,
                format!("unexpected char {} at {position}", repr_char(first)),
            );
        };
        match first {
            '{' => open.push('}'),
            '(' => open.push(')'),
            '[' => open.push(']'),
            '}' | ')' | ']' => match open.pop() {
                None => return err(ErrorKind::Syntax, format!("unexpected '{first}'")),
                Some(expected) if expected != first => {
                    return err(
                        ErrorKind::Syntax,
                        format!("unexpected '{first}', expected '{expected}'"),
                    );
                }
                Some(_) => {}
            },
            _ => {}
        }
        self.push(Token::Op(op));
        self.at += op.len();
        Ok(())
    }

    fn name(&mut self) -> Res<()> {
        let rest = self.rest();
        let word = &rest[..rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len())];
        if word
            .chars()
            .next()
            .is_some_and(|c| !c.is_alphabetic() && c != '_')
        {
            return err(ErrorKind::Syntax, "Invalid character in identifier");
        }
        self.push(Token::Name(word.into()));
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Res<()> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let after_dot = self.at > 0 && self.text.as_bytes()[self.at - 1] == b'.';
        if let Some(length) = float_length(bytes).filter(|_| !after_dot) {
            let digits = rest[..length].replace('_', "");
            self.push(Token::Float(digits.parse().unwrap_or(f64::INFINITY)));
            self.at += length;
            return Ok(());
        }
        let radix = match bytes.get(1).map(u8::to_ascii_lowercase) {
            Some(b'x') => 16,
            Some(b'o') => 8,
            Some(b'b') => 2,
            _ => 10,
        };
        let mut length = 0;
        if bytes[0] == b'0' && radix != 10 {
            length = 2 + digits(&bytes[2..], |b| (b as char).is_digit(radix), true);
        }
        let mut radix = radix;
        if length <= 2 {
            radix = 10;
            // A leading zero is only followed by more zeros.
            length = if bytes[0] == b'0' {
                1 + digits(&bytes[1..], |b| b == b'0', true)
            } else {
                digits(bytes, |b| b.is_ascii_digit(), false)
            };
        }
        let word = rest[if radix == 10 { 0 } else { 2 }..length].replace('_', "");
        let Ok(value) = i128::from_str_radix(&word, radix) else {
            return err(ErrorKind::Limit, format!("the number {word} is too large"));
        };
        self.push(Token::Int(value));
        self.at += length;
        Ok(())
    }

    fn string(&mut self, quote: char) -> Res<()> {
        let rest = self.rest();
        let mut escaped = false;
        let mut end = None;
        for (i, b) in rest.bytes().enumerate().skip(1) {
            if escaped {
                escaped = false;
            } else if b == b'\\' {
                escaped = true;
            } else if b == quote as u8 {
                end = Some(i);
                break;
            }
        }
        let Some(end) = end else {
            let position = self.text[..self.at].chars().count();
            return err(
                ErrorKind::Syntax,
                format!("unexpected char {} at {position}", repr_char(quote)),
            );
        };
        let value = unescape(&rest[1..end])?;
        self.push(Token::Str(value.into()));
        self.at += end + 1;
        Ok(())
    }
}

/// Where the first `{%`, `{{` or `{#` is.
fn find_begin(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(i) = text[from..].find('{') {
        let at = from + i;
        if matches!(bytes.get(at + 1), Some(b'%' | b'{' | b'#')) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Length of `raw %}` and the space a `-%}` eats; the newline after a plain `%}` stays.
fn raw_begin(text: &str) -> Option<usize> {
    let tail = text.trim_start_matches(is_space).strip_prefix("raw")?;
    let tail = tail.trim_start_matches(is_space);
    if let Some(tail) = tail.strip_prefix("-%}") {
        return Some(text.len() - tail.trim_start_matches(is_space).len());
    }
    tail.strip_prefix("%}").map(|tail| text.len() - tail.len())
}

/// Counts digits, with single underscores between them (and before the first when `leading`).
fn digits(bytes: &[u8], is_digit: impl Fn(u8) -> bool, leading: bool) -> usize {
    let mut n = 0;
    loop {
        let skip = usize::from(bytes.get(n) == Some(&b'_') && (n > 0 || leading));
        match bytes.get(n + skip) {
            Some(b) if is_digit(*b) => n += skip + 1,
            _ => return n,
        }
    }
}

fn float_length(bytes: &[u8]) -> Option<usize> {
    let whole = digits(bytes, |b| b.is_ascii_digit(), false);
    let mut n = whole;
    if bytes.get(n) == Some(&b'.') {
        let fraction = digits(&bytes[n + 1..], |b| b.is_ascii_digit(), false);
        if fraction > 0 {
            n += 1 + fraction;
        }
    }
    if matches!(bytes.get(n), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(n + 1), Some(b'+' | b'-')));
        let exponent = digits(&bytes[n + 1 + sign..], |b| b.is_ascii_digit(), false);
        if exponent > 0 {
            return Some(n + 1 + sign + exponent);
        }
    }
    (n > whole).then_some(n)
}

/// Python's `unicode-escape` decoding.
fn unescape(text: &str) -> Res<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let mut tail = rest[at + 1..].chars();
        let Some(code) = tail.next() else {
            return err(ErrorKind::Syntax, "\\ at end of string");
        };
        let after = tail.as_str();
        let hex = |digits: usize, what: &str| -> Res<(char, usize)> {
            let word = after
                .get(..digits)
                .filter(|w| w.bytes().all(|b| b.is_ascii_hexdigit()));
            let point = word.and_then(|w| u32::from_str_radix(w, 16).ok());
            match point {
                Some(p) => Ok((
                    char::from_u32(p).unwrap_or(char::REPLACEMENT_CHARACTER),
                    digits,
                )),
                None => err(ErrorKind::Syntax, format!("truncated {what} escape")),
            }
        };
        let (decoded, used) = match code {
            '\n' => (None, 0),
            '\\' | '\'' | '"' => (Some(code), 0),
            'a' => (Some('\u{7}'), 0),
            'b' => (Some('\u{8}'), 0),
            'f' => (Some('\u{c}'), 0),
            'n' => (Some('\n'), 0),
            'r' => (Some('\r'), 0),
            't' => (Some('\t'), 0),
            'v' => (Some('\u{b}'), 0),
            'x' => hex(2, "\\xXX").map(|(c, n)| (Some(c), n))?,
            'u' => hex(4, "\\uXXXX").map(|(c, n)| (Some(c), n))?,
            'U' => hex(8, "\\UXXXXXXXX").map(|(c, n)| (Some(c), n))?,
            '0'..='7' => {
                let more = after
                    .bytes()
                    .take(2)
                    .take_while(|b| (b'0'..=b'7').contains(b))
                    .count();
                let word = &rest[at + 1..at + 2 + more];
                let point = u32::from_str_radix(word, 8).unwrap_or(0);
                (char::from_u32(point), more)
            }
            'N' => {
                return err(
                    ErrorKind::Syntax,
                    "character names in strings are not supported",
                );
            }
            _ => {
                out.push('\\');
                (Some(code), 0)
            }
        };
        out.extend(decoded);
        rest = &after[used..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(source: &str) -> String {
        let mut out = String::new();
        for (token, _) in tokens(source).all {
            match token {
                Token::Data(text) => out.push_str(&text),
                Token::VariableBegin => out.push('<'),
                Token::BlockBegin => out.push('['),
                _ => {}
            }
        }
        out
    }

    #[test]
    fn trims_around_tags() {
        for (source, expected) in [
            ("a\n  {% x %}\n b", "a\n[ b"),
            ("a  {% x %} b", "a  [ b"),
            ("a\n  {%+ x +%}\n b", "a\n  [\n b"),
            ("a\n  {%- x -%}\n b", "a[b"),
            ("  {{ x }}\n", "  <"),
            ("a {{- x -}} \n b\n\n", "a<b\n"),
            ("a\n {# c #}\nb{#- c -#} d", "a\nbd"),
            ("{% x %}\n  {% x %}", "[["),
            (" {% raw %} {{ x }} {% endraw %}\nb", " {{ x }} b"),
            ("a { b } {", "a { b } {"),
        ] {
            assert_eq!(data(source), expected, "{source:?}");
        }
    }

    #[test]
    fn reads_numbers_and_strings() {
        let read = |source: &str| -> Vec<Token> {
            let all = tokens(&format!("{{{{ {source} }}}}")).all;
            all[1..all.len() - 2]
                .iter()
                .map(|(t, _)| t.clone())
                .collect()
        };
        assert_eq!(
            read("1_000 0x1F 0b11 0o17 00"),
            [1000, 31, 3, 15, 0].map(Token::Int).to_vec()
        );
        assert_eq!(
            read("1.5 2e3 1_0.5E-1"),
            [1.5, 2000.0, 1.05].map(Token::Float).to_vec()
        );
        assert_eq!(read("a.1")[2], Token::Int(1));
        assert_eq!(
            read(r"'\x41\u00e9\n\d\101\\'"),
            vec![Token::Str("Aé\n\\dA\\".into())]
        );
        for bad in [
            "{{ 'a",
            "{{ a ! }}",
            "{{ (] }}",
            "{{ ) }}",
            "{# x",
            "{% raw %}",
            "{{ '\\x4' }}",
        ] {
            assert!(tokens(bad).failure.is_some(), "{bad}");
        }
    }
}
