//! HTML as a sequence of tags and texts, in linear time and without a tree.
//!
//! Follows the tokenizer of the HTML standard (13.2.5) where it matters for reading: comments,
//! quoted attributes, elements of raw text, character references.

use std::borrow::Cow;

/// One piece of a document.
#[derive(Debug, PartialEq)]
pub(crate) enum Token<'a> {
    /// `<name …>`, the name in lower case.
    Open(String, &'a str),
    /// `</name>`.
    Close(String),
    /// What stands between tags, references not yet replaced.
    Text(&'a str),
}

/// Elements whose content is no markup.
const RAW: [&str; 8] = [
    "script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes",
];

/// Cuts a document into pieces.
pub(crate) struct Tokens<'a> {
    rest: &'a str,
    /// The element of raw text that is open.
    raw: Option<String>,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(html: &'a str) -> Self {
        Self {
            rest: html,
            raw: None,
        }
    }

    fn text(&mut self, length: usize) -> Token<'a> {
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Token::Text(text)
    }

    /// Skips a comment or declaration; without an end the document is over.
    fn skip(&mut self) {
        let end = match self.rest.strip_prefix("<!--") {
            Some(comment) => comment.find("-->").map(|at| 4 + at + 3),
            None => self.rest.find('>').map(|at| at + 1),
        };
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    /// Reads a tag that begins here; a tag without an end is left out with the rest.
    fn tag(&mut self, closes: bool) -> Option<Token<'a>> {
        let inner = &self.rest[1 + usize::from(closes)..];
        let ends = |c: char| c.is_ascii_whitespace() || c == '/' || c == '>';
        let name_end = inner.find(ends).unwrap_or(inner.len());
        let (name, attributes) = inner.split_at(name_end);
        let Some(end) = tag_end(attributes) else {
            self.rest = "";
            return None;
        };
        let name = name.to_ascii_lowercase();
        let (attributes, rest) = attributes.split_at(end);
        self.rest = &rest[1..];
        if closes {
            return Some(Token::Close(name));
        }
        if RAW.contains(&name.as_str()) {
            self.raw = Some(name.clone());
        }
        Some(Token::Open(name, attributes))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some(name) = self.raw.take() {
            let end = end_of_raw(self.rest, &name).unwrap_or(self.rest.len());
            if end > 0 {
                return Some(self.text(end));
            }
        }
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let at = self.rest.find('<').unwrap_or(self.rest.len());
            if at > 0 {
                return Some(self.text(at));
            }
            let next = self.rest.as_bytes();
            match (next.get(1), next.get(2)) {
                (Some(b'!' | b'?'), _) => self.skip(),
                (Some(b'/'), Some(c)) if c.is_ascii_alphabetic() => return self.tag(true),
                (Some(b'/'), Some(_)) => self.skip(),
                (Some(c), _) if c.is_ascii_alphabetic() => return self.tag(false),
                _ => return Some(self.text(1)),
            }
        }
    }
}

/// Finds the `>` that ends a tag, past quoted values.
fn tag_end(attributes: &str) -> Option<usize> {
    let mut quote = None;
    let mut after_equals = false;
    for (at, byte) in attributes.bytes().enumerate() {
        match quote {
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'>' => return Some(at),
            None if after_equals && matches!(byte, b'"' | b'\'') => {
                quote = Some(byte);
                after_equals = false;
            }
            None if byte == b'=' => after_equals = true,
            None if byte.is_ascii_whitespace() => {}
            None => after_equals = false,
        }
    }
    None
}

/// Finds `</name` in raw text.
fn end_of_raw(text: &str, name: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    text.match_indices("</").map(|(at, _)| at).find(|at| {
        let found = bytes.get(at + 2..at + 2 + name.len());
        found.is_some_and(|f| f.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// Returns the value of an attribute, references replaced.
pub(crate) fn attribute(attributes: &str, wanted: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/' || c == '=');
        if rest.is_empty() {
            return None;
        }
        let ends = |c: char| c.is_ascii_whitespace() || c == '=' || c == '/';
        let (name, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=') else {
            if name.eq_ignore_ascii_case(wanted) {
                return Some(String::new());
            }
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let value = &value[1..];
                value.split_once(quote).unwrap_or((value, ""))
            }
            _ => {
                let end = value.find(|c: char| c.is_ascii_whitespace());
                value.split_at(end.unwrap_or(value.len()))
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(decoded(value).into_owned());
        }
        rest = after;
    }
}

/// Named references that pages use; the rest of the standard's 2,231 stay as they are.
const NAMED: [(&str, &str); 46] = [
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", "\u{a0}"),
    ("shy", ""),
    ("copy", "©"),
    ("reg", "®"),
    ("trade", "™"),
    ("deg", "°"),
    ("plusmn", "±"),
    ("micro", "µ"),
    ("middot", "·"),
    ("para", "¶"),
    ("sect", "§"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("ndash", "–"),
    ("mdash", "—"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("sbquo", "‚"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("bdquo", "„"),
    ("bull", "•"),
    ("hellip", "…"),
    ("euro", "€"),
    ("pound", "£"),
    ("yen", "¥"),
    ("cent", "¢"),
    ("times", "×"),
    ("divide", "÷"),
    ("frac12", "½"),
    ("larr", "←"),
    ("rarr", "→"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("eacute", "é"),
    ("egrave", "è"),
];

/// Replaces character references.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        whole.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest name or number has 31 characters; nothing further is looked at.
        let near = rest.bytes().take(34).position(|b| b == b';');
        let found = near.and_then(|end| Some((reference(rest.get(1..end)?)?, end)));
        match found {
            Some((character, end)) => {
                whole.push_str(&character);
                rest = &rest[end + 1..];
            }
            None => {
                whole.push('&');
                rest = &rest[1..];
            }
        }
    }
    whole.push_str(rest);
    Cow::Owned(whole)
}

fn reference(name: &str) -> Option<Cow<'static, str>> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        let character = char::from_u32(code.ok()?).filter(|c| *c != '\0');
        return Some(Cow::Owned(character.unwrap_or('\u{fffd}').to_string()));
    }
    let found = NAMED.iter().find(|(n, _)| *n == name);
    found.map(|(_, text)| Cow::Borrowed(*text))
}
