//! Where the body of a call ends.

use super::rules::{Body, Markup, NAMED_ARGS, NAMED_ID, QWEN, Rule};

/// Bytes that may pass before it is clear how a body is to be read.
const LONGEST_HEAD: usize = 512;

/// What the beginning of a body says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// More text is needed.
    More,
    /// No call begins like this.
    No,
    /// This is how to read on, from this byte.
    Go(Body, Quotes, usize),
}

/// What hides the end of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// `"…"` with backslashes.
    Json,
    /// `"…"` and `'…'` with backslashes.
    Python,
    /// Between these two texts.
    Marks(&'static str, &'static str),
}

/// Looks at the beginning of a body, which has no white space before it.
pub(super) fn head(rule: &Rule, text: &str) -> Head {
    // What decides is the same however much has come.
    let mut end = text.len().min(LONGEST_HEAD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (text, more) = text.split_at(end);
    let found = match rule.body {
        _ if text.is_empty() => Head::More,
        Body::Marked(mark) => Head::Go(rule.body, Quotes::Marks(mark, mark), 0),
        Body::Separated => Head::Go(rule.body, Quotes::Json, 0),
        Body::Xml(markup) => xml(markup),
        Body::JsonOrXml => match QWEN.function {
            tag if text.starts_with(tag) => xml(QWEN),
            tag if tag.starts_with(text) => Head::More,
            _ => Head::Go(Body::Json, Quotes::Json, 0),
        },
        Body::Json if rule.open.is_empty() => bare_json(text),
        Body::Json if !rule.balanced || text.starts_with(['{', '[']) => json(0),
        Body::Python if rule.open.is_empty() => bare_python(text),
        Body::JsonOrPython | Body::Python => json_or_python(rule, text),
        Body::Named => named(text),
        Body::Json | Body::Skip | Body::SkipAfterCall => Head::No,
    };
    if found == Head::More && !more.is_empty() {
        return Head::No;
    }
    found
}

fn xml(markup: &'static Markup) -> Head {
    let quotes = Quotes::Marks(markup.parameter, markup.parameter_end);
    Head::Go(Body::Xml(markup), quotes, 0)
}

fn json(from: usize) -> Head {
    Head::Go(Body::Json, Quotes::Json, from)
}

fn python() -> Head {
    Head::Go(Body::Python, Quotes::Python, 0)
}

/// Returns the text after a run of white space, and after a name with dots.
fn after_name(text: &str) -> (&str, &str) {
    let more = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = text.find(|c| !more(c)).unwrap_or(text.len());
    (&text[..end], &text[end..])
}

/// `{` and a key that calls have, possibly in a list.
fn bare_json(text: &str) -> Head {
    const KEYS: [&str; 6] = ["name", "type", "function", "parameters", "arguments", "id"];
    let rest = text.strip_prefix('[').map_or(text, str::trim_start);
    if rest.is_empty() {
        return Head::More;
    }
    let Some(rest) = rest.strip_prefix('{').map(str::trim_start) else {
        return Head::No;
    };
    let Some(rest) = rest.strip_prefix('"') else {
        return if rest.is_empty() {
            Head::More
        } else {
            Head::No
        };
    };
    match rest.split_once('"') {
        Some((key, _)) if KEYS.contains(&key) => json(0),
        None if KEYS.iter().any(|key| key.starts_with(rest)) => Head::More,
        _ => Head::No,
    }
}

/// A list whose first item is a call.
fn bare_python(text: &str) -> Head {
    let Some(rest) = text.strip_prefix('[').map(str::trim_start) else {
        return Head::No;
    };
    call(rest)
}

/// A name and a parenthesis.
fn call(text: &str) -> Head {
    let (name, rest) = after_name(text);
    let rest = rest.trim_start();
    match rest.chars().next() {
        None => Head::More,
        Some('(') if !name.is_empty() => python(),
        Some(_) => Head::No,
    }
}

fn json_or_python(rule: &Rule, text: &str) -> Head {
    if text.starts_with('{') {
        return json(0);
    }
    let list = text.strip_prefix('[').map(str::trim_start);
    match list {
        Some("") => Head::More,
        Some(list) if list.starts_with(['{', ']']) => json(0),
        _ if !rule.balanced => python(),
        _ => call(list.unwrap_or(text)),
    }
}

/// `name[CALL_ID]id[ARGS]` before an object.
fn named(text: &str) -> Head {
    if text.starts_with(['{', '[']) {
        return json(0);
    }
    let (name, mut rest) = after_name(text);
    if name.is_empty() {
        return Head::No;
    }
    for (tag, named) in [(NAMED_ID, true), (NAMED_ARGS, false)] {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(tag) {
            rest = after;
            if named {
                rest = after_name(rest.trim_start()).1;
            }
        } else if tag.starts_with(rest) {
            return Head::More;
        }
    }
    rest = rest.trim_start();
    match rest.chars().next() {
        None => Head::More,
        Some('{') => Head::Go(Body::Named, Quotes::Json, text.len() - rest.len()),
        Some(_) => Head::No,
    }
}

/// Walks through a body to its end.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub(super) body: Body,
    quotes: Quotes,
    /// The quote that is open: its character, or 1 for a mark.
    inside: u8,
    escaped: bool,
    depth: usize,
}

impl Scan {
    pub(super) fn new(body: Body, quotes: Quotes) -> Self {
        Self {
            body,
            quotes,
            inside: 0,
            escaped: false,
            depth: 0,
        }
    }

    /// Goes on from `at` and returns where it stands, and the end of the body and of its closing text if it met them.
    /// With `plain`, closing texts inside strings count.
    pub(super) fn run(
        &mut self,
        text: &str,
        mut at: usize,
        rule: &Rule,
        plain: bool,
    ) -> (usize, Option<(usize, usize)>) {
        let bytes = text.as_bytes();
        'bytes: while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            for close in rule.close.iter().map(|close| close.as_bytes()) {
                if rest.starts_with(close) {
                    if plain || self.inside == 0 {
                        return (at, Some((at, at + close.len())));
                    }
                    self.escaped = false;
                    at += close.len();
                    continue 'bytes;
                }
                if close.starts_with(rest) {
                    break 'bytes;
                }
            }
            match self.quotes {
                Quotes::Marks(open, close) => {
                    let mark = if self.inside == 0 { open } else { close }.as_bytes();
                    if rest.starts_with(mark) {
                        self.inside ^= 1;
                        at += mark.len();
                        continue;
                    }
                    if mark.starts_with(rest) {
                        break;
                    }
                }
                _ if self.escaped => self.escaped = false,
                _ if self.inside != 0 => match byte {
                    b'\\' => self.escaped = true,
                    _ if byte == self.inside => self.inside = 0,
                    _ => {}
                },
                quotes => {
                    if byte == b'"' || (byte == b'\'' && quotes == Quotes::Python) {
                        self.inside = byte;
                    }
                }
            }
            at += 1;
            if rule.balanced && self.inside == 0 {
                match byte {
                    b'(' | b'[' | b'{' => self.depth += 1,
                    b')' | b']' | b'}' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return (at, Some((at, at)));
                        }
                    }
                    _ => {}
                }
            }
        }
        (at, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool_calls::ToolCallFormat;

    #[test]
    fn more_text_never_takes_an_answer_back() {
        let texts = [
            "{\"name\": \"f\"}",
            "{ \"names\": 1}",
            "[ {\"id\": 1}]",
            "[f (a=1)]",
            "[link](x)",
            "f.call(q=\"x\")",
            "import os",
            "name [CALL_ID] abc123def [ARGS] {}",
            "name[ARGS] x",
            "name (",
            "<function=f>",
            "<fun",
            "é",
        ];
        for rule in ToolCallFormat::Auto.rules() {
            for text in texts {
                let whole = head(rule, text);
                let ends = text.char_indices().map(|(at, _)| at);
                for end in ends {
                    match head(rule, &text[..end]) {
                        Head::More => {}
                        other => {
                            assert_eq!(other, whole, "{rule:?} {:?} of {text:?}", &text[..end]);
                        }
                    }
                }
            }
        }
    }
}
