//! Reading GBNF.

use std::collections::{BTreeMap, HashSet};

use super::{KIND, lark, wrong};
use crate::{Error, Result};

/// The rules of a grammar by name.
pub(super) type Rules = BTreeMap<String, Item>;

/// Largest count of a repetition.
const MOST_REPEATS: u32 = 10_000;

/// What a rule is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Char(char),
    /// The class as a regular expression.
    Class(String),
    Rule(String),
    All(Vec<Self>),
    Any(Vec<Self>),
    Repeat(Box<Self>, u32, Option<u32>),
}

impl Item {
    /// Returns the names of the rules it uses.
    pub(super) fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Char(_) | Self::Class(_) => Box::new(std::iter::empty()),
            Self::Rule(name) => Box::new(std::iter::once(name.as_str())),
            Self::All(items) | Self::Any(items) => Box::new(items.iter().flat_map(Self::names)),
            Self::Repeat(item, ..) => item.names(),
        }
    }

    /// Returns whether some text is spelled by it, if so by the rules in `ending`.
    pub(super) fn ends(&self, ending: &HashSet<&str>) -> bool {
        match self {
            Self::Char(_) | Self::Class(_) => true,
            Self::Rule(name) => ending.contains(name.as_str()),
            Self::All(items) => items.iter().all(|item| item.ends(ending)),
            Self::Any(items) => items.iter().any(|item| item.ends(ending)),
            Self::Repeat(item, least, _) => *least == 0 || item.ends(ending),
        }
    }

    /// Returns whether it spells the empty text, where the rules in `empty` do.
    pub(super) fn may_be_empty(&self, empty: &HashSet<&str>) -> bool {
        match self {
            Self::Char(_) | Self::Class(_) => false,
            Self::Rule(name) => empty.contains(name.as_str()),
            Self::All(items) => items.iter().all(|item| item.may_be_empty(empty)),
            Self::Any(items) => items.iter().any(|item| item.may_be_empty(empty)),
            Self::Repeat(item, least, _) => *least == 0 || item.may_be_empty(empty),
        }
    }
}

/// Reads all rules.
pub(super) fn parse(grammar: &str) -> Result<Rules> {
    let mut reader = Reader {
        text: grammar,
        at: 0,
    };
    let mut rules = Rules::new();
    reader.space(true);
    while reader.peek().is_some() {
        let name = reader.name()?;
        reader.space(false);
        if !reader.take("::=") {
            return Err(reader.wrong("`::=` is missing after the name of a rule"));
        }
        reader.space(true);
        let body = reader.alternatives(false)?;
        if rules.insert(name.clone(), body).is_some() {
            return Err(reader.wrong(&format!("rule {name} is defined twice")));
        }
        reader.space(true);
    }
    Ok(rules)
}

struct Reader<'g> {
    text: &'g str,
    at: usize,
}

impl<'g> Reader<'g> {
    fn rest(&self) -> &'g str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn wrong(&self, problem: &str) -> Error {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[start..].chars().count() + 1;
        wrong(format!("line {line}, column {column}: {problem}"))
    }

    /// Skips white space and comments, over line ends where they mean nothing.
    fn space(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                '#' => {
                    let rest = self.rest();
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                '\r' | '\n' if !lines => return,
                c if c.is_whitespace() => self.at += c.len_utf8(),
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<String> {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("the name of a rule is missing"));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn alternatives(&mut self, nested: bool) -> Result<Item> {
        let mut options = vec![self.sequence(nested)?];
        loop {
            let before = self.at;
            // An alternative may begin on the next line.
            self.space(true);
            if !self.take("|") {
                if !nested {
                    self.at = before;
                }
                break;
            }
            self.space(true);
            options.push(self.sequence(nested)?);
        }
        Ok(match options.len() {
            1 => options.swap_remove(0),
            _ => Item::Any(options),
        })
    }

    fn sequence(&mut self, nested: bool) -> Result<Item> {
        let mut items = Vec::new();
        loop {
            self.space(nested);
            let Some(c) = self.peek() else { break };
            let item = match c {
                '"' => self.literal()?,
                '[' => self.class()?,
                '.' => {
                    self.at += 1;
                    Item::Class("(?s:.)".to_owned())
                }
                '(' => {
                    self.at += 1;
                    self.space(true);
                    let inner = self.alternatives(true)?;
                    self.space(true);
                    if !self.take(")") {
                        return Err(self.wrong("`)` is missing"));
                    }
                    inner
                }
                '<' | '!' => return Err(self.wrong("token literals are not supported")),
                c if c.is_ascii_alphanumeric() || c == '-' || c == '_' => Item::Rule(self.name()?),
                '|' | ')' | '\n' | '\r' => break,
                c => return Err(self.wrong(&format!("{c:?} begins no part of a rule"))),
            };
            items.push(self.repeated(item, nested)?);
        }
        Ok(match items.len() {
            1 => items.swap_remove(0),
            _ => Item::All(items),
        })
    }

    /// Reads the repetitions after an item.
    fn repeated(&mut self, mut item: Item, nested: bool) -> Result<Item> {
        loop {
            let before = self.at;
            self.space(nested);
            let (least, most) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.at += 1;
                    let range = self.range()?;
                    item = Item::Repeat(Box::new(item), range.0, range.1);
                    continue;
                }
                _ => {
                    self.at = before;
                    return Ok(item);
                }
            };
            self.at += 1;
            item = Item::Repeat(Box::new(item), least, most);
        }
    }

    /// Reads `m}`, `m,}` or `m,n}`.
    fn range(&mut self) -> Result<(u32, Option<u32>)> {
        self.space(false);
        let least = self.number()?;
        self.space(false);
        let mut most = Some(least);
        if self.take(",") {
            self.space(false);
            let digit = self.peek().is_some_and(|c| c.is_ascii_digit());
            most = digit.then(|| self.number()).transpose()?;
            self.space(false);
        }
        if !self.take("}") {
            return Err(self.wrong("`}` is missing"));
        }
        if most.is_some_and(|most| most < least) {
            return Err(self.wrong("a repetition ends below its beginning"));
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u32> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("a number is missing"));
        }
        let number = rest[..end].parse().ok().filter(|n| *n <= MOST_REPEATS);
        let Some(number) = number else {
            return Err(Error::GrammarSize {
                kind: KIND,
                reason: format!(
                    "it repeats {} times, {MOST_REPEATS} are allowed",
                    &rest[..end]
                ),
            });
        };
        self.at += end;
        Ok(number)
    }

    fn literal(&mut self) -> Result<Item> {
        self.at += 1;
        let mut chars = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n' | '\r') => return Err(self.wrong("the closing `\"` is missing")),
                Some('"') => {
                    self.at += 1;
                    break;
                }
                Some(_) => chars.push(Item::Char(self.char()?)),
            }
        }
        Ok(match chars.len() {
            1 => chars.swap_remove(0),
            _ => Item::All(chars),
        })
    }

    fn class(&mut self) -> Result<Item> {
        self.at += 1;
        let negated = self.take("^");
        let mut ranges = String::new();
        loop {
            match self.peek() {
                None | Some('\n' | '\r') => return Err(self.wrong("the closing `]` is missing")),
                Some(']') => {
                    self.at += 1;
                    break;
                }
                Some(_) => {}
            }
            let first = self.char()?;
            ranges += &lark::class_char(first);
            let to = self.rest().strip_prefix('-');
            if to.is_some_and(|to| !to.starts_with(']')) {
                self.at += 1;
                let last = self.char()?;
                if last < first {
                    return Err(self.wrong("a range of characters ends below its beginning"));
                }
                ranges.push('-');
                ranges += &lark::class_char(last);
            }
        }
        match (ranges.is_empty(), negated) {
            (true, false) => Err(self.wrong("a class without characters matches nothing")),
            (true, true) => Ok(Item::Class("(?s:.)".to_owned())),
            (false, _) => {
                let sign = if negated { "^" } else { "" };
                Ok(Item::Class(format!("[{sign}{ranges}]")))
            }
        }
    }

    /// Reads a character or an escape.
    fn char(&mut self) -> Result<char> {
        let c = self.next();
        let c = c.ok_or_else(|| self.wrong("a character is missing"))?;
        if c != '\\' {
            return Ok(c);
        }
        match self.next() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('x') => self.code(2),
            Some('u') => self.code(4),
            Some('U') => self.code(8),
            Some(c @ ('\\' | '"' | '[' | ']' | '-' | '^')) => Ok(c),
            _ => {
                Err(self
                    .wrong("unknown escape; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\x \\u \\U"))
            }
        }
    }

    fn code(&mut self, digits: usize) -> Result<char> {
        let hex = self.rest().get(..digits);
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let c = code.and_then(char::from_u32);
        let c = c.ok_or_else(|| self.wrong(&format!("{digits} hexadecimal digits are missing")))?;
        self.at += digits;
        Ok(c)
    }
}
