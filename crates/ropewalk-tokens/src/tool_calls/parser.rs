//! The parser of answers that are still being written.

use std::collections::HashSet;

use ropewalk_core::{ToolCall, ToolSpec};

use super::body::{Problem, Types, Written, read};
use super::rules::{Body, Rule};
use super::scan::{Head, Scan, head};
use super::{Piece, ToolCallFormat};

/// Unclosed calls that [`ToolCallParser::finish`] reads again from their beginning; from there on every closing tag
/// ends a call, so that no answer takes longer than its length.
const MAX_RETRIES: usize = 16;

/// Takes an answer apart while it arrives.
///
/// Text is given out at once, except for what may be the beginning of a call: part of an opening tag,
/// and white space at the end.
#[derive(Debug, Clone)]
pub struct ToolCallParser {
    format: ToolCallFormat,
    types: Types,
    /// What has not been given out, from `start` on: text that may begin a call, or white space and a call so far.
    held: String,
    start: usize,
    /// Up to where `held` has been searched: for an opening, with only white space before, or for the end of a call.
    searched: usize,
    /// The call that is open.
    open: Option<Open>,
    /// Only white space stands between the beginning of the answer, or a call, and `searched`.
    fresh: bool,
    /// Closing tags inside strings count.
    plain: bool,
    /// The last thing given out was a call, so white space that follows is no text.
    after_call: bool,
    next_id: usize,
    ids: HashSet<String>,
    /// Bytes looked at or moved.
    #[cfg(test)]
    work: usize,
}

#[derive(Debug, Clone)]
struct Open {
    rule: &'static Rule,
    /// Where the body begins.
    body: usize,
    /// How it is read, once that is known.
    scan: Option<Scan>,
}

/// What a search for an opening found.
enum Found {
    /// This rule opens here.
    Rule(&'static Rule, usize),
    /// What stands from here to the end may be part of an opening.
    Part(usize),
    Nothing,
}

impl Default for ToolCallParser {
    fn default() -> Self {
        Self {
            format: ToolCallFormat::default(),
            types: Types::default(),
            held: String::new(),
            start: 0,
            searched: 0,
            open: None,
            fresh: true,
            plain: false,
            after_call: false,
            next_id: 0,
            ids: HashSet::new(),
            #[cfg(test)]
            work: 0,
        }
    }
}

impl ToolCallParser {
    /// Starts an answer of Qwen or Hermes; calls get the ids `call_0`, `call_1`, … unless the model gives them one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts an answer whose first call gets the id `call_{first}`: pass the number of calls the
    /// conversation already has, so that ids stay unique in it.
    pub fn numbered_from(first: usize) -> Self {
        Self {
            next_id: first,
            ..Self::default()
        }
    }

    /// Sets the format of the calls.
    #[must_use]
    pub fn with_format(mut self, format: ToolCallFormat) -> Self {
        self.format = format;
        self
    }

    /// Names the tools that the model may call. Their schemas say which values are strings, where a format cannot
    /// tell (`QwenCoder`). JSON and Python that stand as the whole answer, without a tag, are text unless they call one
    /// of these tools; without any named here, all that looks like a call is one.
    #[must_use]
    pub fn with_tools(mut self, tools: &[ToolSpec]) -> Self {
        self.types = Types::new(tools);
        self
    }

    /// Names ids that no call of this answer may get, such as those of earlier calls.
    #[must_use]
    pub fn with_taken_ids<S: Into<String>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.ids.extend(ids.into_iter().map(Into::into));
        self
    }

    /// Takes the next part of the answer and returns what is now certain.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        self.advance(&mut pieces);
        self.forget();
        pieces
    }

    /// Ends the answer and returns what was held back. A call without its closing tag counts if it is
    /// otherwise complete.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.advance(&mut pieces);
        let mut retries = 0;
        while let Some(open) = self.open.take() {
            // A closing tag seemed to lie inside a string; if no call results, it was the real one.
            let end = self.held.len();
            let result = self.read(&open, end);
            let body = &self.held[open.body..];
            let closes = open.rule.close.iter();
            let close = closes
                .filter_map(|tag| Some((open.body + body.find(tag)?, tag.len())))
                .min();
            retries += 1;
            self.plain = retries >= MAX_RETRIES;
            match (result, close) {
                (Err(_), Some((close, len))) => {
                    let result = self.read(&open, close);
                    self.give(&open, result, close + len, &mut pieces);
                }
                (Err(mut problem), None) => {
                    match open.rule.close.first() {
                        Some(tag) => problem.text += &format!(", and `{tag}` is missing"),
                        None => problem.text += ", and it breaks off",
                    }
                    self.give(&open, Err(problem), end, &mut pieces);
                }
                (call, _) => self.give(&open, call, end, &mut pieces),
            }
            self.advance(&mut pieces);
        }
        self.give_text(self.held.len(), &mut pieces);
        self.forget();
        (self.searched, self.fresh) = (0, true);
        (self.plain, self.after_call) = (false, false);
        pieces
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) {
        while match self.open.take() {
            None if self.fresh => self.begin(),
            None => self.search(pieces),
            Some(open) => self.go_on(open, pieces),
        } {}
    }

    /// Looks for a call at the beginning of an answer or after another one. Returns whether there is more to do.
    fn begin(&mut self) -> bool {
        let bare = || {
            self.format
                .rules()
                .iter()
                .filter(|rule| rule.open.is_empty())
        };
        let separators = self.after_call && bare().next().is_some();
        let rest = &self.held[self.searched..];
        let skip = |c: char| c.is_whitespace() || (separators && matches!(c, ';' | ','));
        let text = rest.trim_start_matches(skip);
        let at = self.searched + rest.len() - text.len();
        if text.is_empty() {
            self.searched = at;
            return false;
        }
        match opening(self.format.rules(), text.as_bytes(), self.after_call) {
            Found::Rule(rule, _) if matches!(rule.body, Body::Skip | Body::SkipAfterCall) => {
                self.start = at + rule.open.len();
                self.searched = self.start;
                return true;
            }
            Found::Rule(rule, _) => return self.enter(rule, at, None),
            Found::Part(_) => {
                self.searched = at;
                return false;
            }
            Found::Nothing => {}
        }
        let mut more = false;
        for rule in bare() {
            match head(rule, text) {
                Head::Go(body, quotes, _) => {
                    return self.enter(rule, at, Some(Scan::new(body, quotes)));
                }
                Head::More => more = true,
                Head::No => {}
            }
        }
        self.count(text.len().min(64));
        self.searched = at;
        self.fresh = more;
        !more
    }

    /// Gives text out up to the next opening. Returns whether there is more to do.
    fn search(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let new = &self.held[self.searched..];
        let (at, rule) = match find(self.format.rules(), new) {
            Found::Rule(rule, at) => (at, Some(rule)),
            Found::Part(at) => (at, None),
            Found::Nothing => (new.len(), None),
        };
        let shown = new[..at].trim_end().len();
        self.count(at);
        if shown > 0 {
            self.give_text(self.searched + shown, pieces);
        }
        self.searched += at;
        match rule {
            None => false,
            Some(rule) if rule.body == Body::Skip => {
                self.start = self.searched + rule.open.len();
                (self.searched, self.fresh) = (self.start, true);
                true
            }
            Some(rule) => self.enter(rule, self.searched, None),
        }
    }

    fn enter(&mut self, rule: &'static Rule, at: usize, scan: Option<Scan>) -> bool {
        self.searched = at + rule.open.len();
        self.open = Some(Open {
            rule,
            body: if rule.keep { at } else { self.searched },
            scan,
        });
        self.fresh = false;
        true
    }

    /// Goes on with the call that is open. Returns whether there is more to do.
    fn go_on(&mut self, mut open: Open, pieces: &mut Vec<Piece>) -> bool {
        let scan = match &mut open.scan {
            Some(scan) => scan,
            none => {
                let rest = &self.held[self.searched..];
                let text = rest.trim_start();
                self.searched += rest.len() - text.len();
                match head(open.rule, text) {
                    Head::Go(body, quotes, from) => {
                        self.searched += from;
                        none.insert(Scan::new(body, quotes))
                    }
                    Head::More => {
                        self.open = Some(open);
                        return false;
                    }
                    Head::No => {
                        let tag = open.rule.open;
                        let problem = format!("no tool call follows `{tag}`");
                        let problem = Problem::no_call(problem);
                        self.give(&open, Err(problem), open.body, pieces);
                        return true;
                    }
                }
            }
        };
        let from = self.searched;
        let (at, end) = scan.run(&self.held, from, open.rule, self.plain);
        self.searched = at;
        self.count(at - from);
        match end {
            None => {
                self.open = Some(open);
                false
            }
            Some((body, end)) => {
                let result = self.read(&open, body);
                self.give(&open, result, end, pieces);
                true
            }
        }
    }

    /// Reads the body of a call that ends at `end`.
    fn read(&mut self, open: &Open, end: usize) -> Result<Vec<Written>, Problem> {
        self.count(end - open.body);
        let body = open.scan.as_ref().map_or(open.rule.body, |scan| scan.body);
        let strict = open.rule.open.is_empty();
        let calls = read(body, &self.held[open.body..end], &self.types, strict)?;
        if strict && !self.types.has_one_of(&calls) {
            return Err(Problem::no_call("no tool has this name"));
        }
        Ok(calls)
    }

    fn give_text(&mut self, end: usize, pieces: &mut Vec<Piece>) {
        let text = &self.held[self.start..end];
        let text = if self.after_call {
            text.trim_start()
        } else {
            text
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
            self.after_call = false;
        }
        self.start = end;
    }

    fn give(
        &mut self,
        open: &Open,
        result: Result<Vec<Written>, Problem>,
        end: usize,
        pieces: &mut Vec<Piece>,
    ) {
        match result {
            Ok(calls) => {
                for call in calls {
                    let id = self.id(call.id);
                    pieces.push(Piece::Call(ToolCall::new(id, call.name, call.arguments)));
                }
                (self.after_call, self.fresh) = (true, true);
            }
            Err(problem) if open.rule.soft && problem.no_call => {
                // White space at its end may stand before a call.
                let shown = self.held[..end].trim_end().len();
                self.give_text(shown.max(self.start), pieces);
                self.searched = end;
                return;
            }
            Err(problem) => {
                pieces.push(Piece::Malformed {
                    text: self.held[self.start..end].to_owned(),
                    problem: problem.text,
                });
                self.after_call = false;
            }
        }
        (self.start, self.searched) = (end, end);
    }

    /// Keeps the id that the model gave if no other call has it, or makes one.
    fn id(&mut self, given: Option<String>) -> String {
        if let Some(id) = given.filter(|id| !self.ids.contains(id)) {
            self.ids.insert(id.clone());
            return id;
        }
        loop {
            let id = self.format.id(self.next_id);
            self.next_id += 1;
            if self.ids.insert(id.clone()) {
                return id;
            }
        }
    }

    /// Drops what was given out.
    fn forget(&mut self) {
        if self.start == 0 {
            return;
        }
        self.count(self.held.len() - self.start);
        self.held.drain(..self.start);
        if let Some(open) = &mut self.open {
            open.body -= self.start;
        }
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
    }

    fn count(&mut self, bytes: usize) {
        #[cfg(test)]
        {
            self.work += bytes;
        }
        #[cfg(not(test))]
        let _ = (self, bytes);
    }
}

/// Finds the first opening in a text.
fn find(rules: &'static [Rule], text: &str) -> Found {
    let bytes = text.as_bytes();
    // All openings begin with one of these.
    let may_begin = |&(_, b): &(usize, &u8)| matches!(b, b'<' | b'[' | b'`' | b'f');
    for (at, _) in bytes.iter().enumerate().filter(may_begin) {
        match opening(rules, &bytes[at..], false) {
            Found::Rule(rule, _) => return Found::Rule(rule, at),
            Found::Part(_) => return Found::Part(at),
            Found::Nothing => {}
        }
    }
    Found::Nothing
}

/// Finds the opening that a text begins with.
fn opening(rules: &'static [Rule], text: &[u8], after_call: bool) -> Found {
    for rule in rules {
        let open = rule.open.as_bytes();
        if open.is_empty() || (rule.body == Body::SkipAfterCall && !after_call) {
            continue;
        }
        if text.starts_with(open) {
            return Found::Rule(rule, 0);
        }
        if open.starts_with(text) {
            return Found::Part(0);
        }
    }
    Found::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes looked at for an answer that arrives in parts of this size.
    fn work(format: ToolCallFormat, answer: &str, part: usize) -> usize {
        let mut parser = ToolCallParser::new().with_format(format);
        let mut rest = answer;
        while !rest.is_empty() {
            let mut end = part.min(rest.len());
            while !rest.is_char_boundary(end) {
                end += 1;
            }
            let (now, later) = rest.split_at(end);
            parser.push(now);
            rest = later;
        }
        parser.finish();
        parser.work
    }

    #[test]
    fn every_answer_is_read_in_linear_time() {
        let units = [
            ("<tool_call>{\"a\":\"", "</tool_call>"),
            ("<tool_call>{\"a\":\"", "</tool_call><tool_call>"),
            ("", "<tool_call>{\"\\\"</tool_call>"),
            ("", "<tool_call>{\"name\":\"f\"}</tool_call>"),
            (
                "<tool_call>{\"x\":[",
                "\"<tool_call>\\\"\",\"</tool_call>\",",
            ),
            ("", " "),
            ("", "<tool_call"),
            ("", "<tool_call>"),
            ("{\"name\":\"", "{\"name\""),
            ("", "{\"name\":\"f\",\"parameters\":{}}; "),
            ("", "{"),
            ("[f(a=", "["),
            ("[", "f(a=1),"),
            ("<|python_tag|>", "f.call(a=1);"),
            ("", "<|python_tag|>["),
            ("", "[TOOL_CALLS]f[ARGS]{}"),
            ("", "[TOOL_CALLS]f[ARGS]"),
            ("[TOOL_CALLS]", "f"),
            ("[TOOL_CALLS]", " "),
            ("", "<|tool_call|>["),
            ("functools", "[{"),
            ("```tool_code\n", "print(f(a=1))\n"),
            ("```tool_code\n", "print("),
            ("", "<|tool_call>call:f{a:<|\"|>"),
            ("<|tool_call>call:f", "{a:"),
            ("", "<｜tool▁calls▁begin｜>"),
            ("", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\""),
            ("<tool_call><function=f>", "<parameter=a>1</parameter>"),
            ("", "<tool_call><function=f><parameter=a>"),
            ("<function=f>", "<parameter=a></function>"),
            (
                "<｜DSML｜invoke name=\"f\">",
                "<｜DSML｜parameter name=\"a\">",
            ),
        ];
        for (head, unit) in units {
            for part in [7, usize::MAX >> 1] {
                let answer = |size: usize| format!("{head}{}", unit.repeat(size / unit.len()));
                let (once, twice) = (answer(1 << 18), answer(1 << 19));
                for format in ToolCallFormat::ALL {
                    let (once, twice) = (work(format, &once, part), work(format, &twice, part));
                    assert!(
                        twice < 3 * once.max(64),
                        "{format} {head}{unit}: {once}, {twice}"
                    );
                    assert!(twice < 32 << 20, "{format} {head}{unit}: {twice}");
                }
            }
        }
    }

    #[test]
    fn no_opening_begins_another() {
        let rules = ToolCallFormat::Auto.rules();
        for (i, a) in rules.iter().enumerate() {
            assert!(a.open.is_empty() || a.open.starts_with(['<', '[', '`', 'f']));
            for (j, b) in rules.iter().enumerate() {
                let apart = a.open.is_empty() || !b.open.starts_with(a.open);
                assert!(apart || i == j, "{} begins {}", a.open, b.open);
            }
        }
        for format in ToolCallFormat::ALL {
            for rule in format.rules() {
                assert!(
                    rules
                        .iter()
                        .any(|r| r.open == rule.open && r.body == rule.body)
                );
            }
        }
    }
}
