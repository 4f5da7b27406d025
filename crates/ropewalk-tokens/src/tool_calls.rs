//! Tool calls that a model writes into its text.
//!
//! The form is that of Qwen and Hermes chat templates:
//!
//! ```text
//! <tool_call>
//! {"name": "get_ticket_price", "arguments": {"city": "Paris"}}
//! </tool_call>
//! ```
//!
//! [`parse`] takes a finished answer, [`ToolCallParser`] one that is still being written:
//!
//! ```
//! use ropewalk_tokens::tool_calls::{Piece, ToolCallParser};
//!
//! let mut parser = ToolCallParser::new();
//! assert_eq!(parser.push("One moment.\n<tool_"), [Piece::Text("One moment.".to_owned())]);
//! let pieces = parser.push("call>{\"name\": \"now\", \"arguments\": {}}</tool_call>");
//! let Piece::Call(call) = &pieces[0] else { panic!("{pieces:?}") };
//! assert_eq!((call.name.as_str(), call.arguments.as_str()), ("now", "{}"));
//! assert_eq!(parser.finish(), []);
//! ```

use ropewalk_core::ToolCall;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::ops::Range;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A part of an answer, in the order it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// Text for the reader. White space next to a tool call is not text.
    Text(String),
    /// A complete call. The arguments are the exact text the model wrote.
    Call(ToolCall),
    /// What looked like a call and is none.
    Malformed {
        /// All of it, tags included; show it as text or return it to the model.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A finished answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ParsedAnswer {
    /// The text outside the calls, malformed ones included.
    pub text: String,
    /// The calls in order.
    pub calls: Vec<ToolCall>,
    /// What is wrong with each malformed call.
    pub problems: Vec<String>,
}

/// Takes a finished answer apart.
pub fn parse(answer: &str) -> ParsedAnswer {
    let mut parser = ToolCallParser::new();
    let mut pieces = parser.push(answer);
    pieces.extend(parser.finish());
    let mut parsed = ParsedAnswer::default();
    for piece in pieces {
        match piece {
            Piece::Text(text) => parsed.text.push_str(&text),
            Piece::Call(call) => parsed.calls.push(call),
            Piece::Malformed { text, problem } => {
                parsed.text.push_str(&text);
                parsed.problems.push(problem);
            }
        }
    }
    parsed
}

/// Unclosed calls that [`ToolCallParser::finish`] reads again from their beginning; from there on every closing tag
/// ends a call, so that no answer takes longer than its length.
const MAX_RETRIES: usize = 16;

/// Takes an answer apart while it arrives.
///
/// Text is given out at once, except for what may be the beginning of a call: part of an opening tag,
/// and white space at the end.
#[derive(Debug, Clone, Default)]
pub struct ToolCallParser {
    /// What has not been given out, from `start` on: text that may begin a call, or white space and a call so far.
    held: String,
    start: usize,
    /// Where the opening tag in `held` ends, if there is one.
    body: Option<usize>,
    /// Up to where `held` has been searched: for an opening tag, with only white space before, or for a closing one.
    searched: usize,
    /// Whether the JSON of a call is inside a string at `searched`, and after a backslash there.
    inside: bool,
    escaped: bool,
    /// Closing tags inside strings count.
    plain: bool,
    /// The last thing given out was a call, so white space that follows is no text.
    after_call: bool,
    next_id: usize,
    /// Bytes looked at or moved.
    #[cfg(test)]
    work: usize,
}

impl ToolCallParser {
    /// Starts an answer; calls get the ids `call_0`, `call_1`, ….
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
        while let Some(body) = self.body {
            // A closing tag seemed to lie inside a string; if no call results, it was the real one.
            let end = self.held.len();
            let result = self.call(body..end);
            self.count(end - body);
            let close = self.held[body..].find(CLOSE).map(|at| body + at);
            retries += 1;
            self.plain = retries >= MAX_RETRIES;
            match (result, close) {
                (Err(_), Some(close)) => self.close(close, &mut pieces),
                (Err(problem), None) => {
                    let problem = format!("{problem}, and `{CLOSE}` is missing");
                    self.give(Err(problem), end, &mut pieces);
                }
                (call, _) => self.give(call, end, &mut pieces),
            }
            self.advance(&mut pieces);
        }
        self.give_text(self.held.len(), &mut pieces);
        self.forget();
        self.plain = false;
        self.after_call = false;
        pieces
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) {
        loop {
            if self.body.is_none() {
                let new = &self.held[self.searched..];
                let found = new.find(OPEN);
                let text = found.unwrap_or_else(|| new.len() - partial_tag(new));
                let shown = new[..text].trim_end().len();
                self.count(text);
                if shown > 0 {
                    self.give_text(self.searched + shown, pieces);
                }
                self.searched += text;
                if found.is_none() {
                    return;
                }
                self.searched += OPEN.len();
                self.body = Some(self.searched);
                (self.inside, self.escaped) = (false, false);
                continue;
            }
            match self.find_close() {
                Some(close) => self.close(close, pieces),
                None => return,
            }
        }
    }

    /// Goes on to the next closing tag outside of the strings.
    fn find_close(&mut self) -> Option<usize> {
        let from = self.searched;
        let bytes = self.held.as_bytes();
        let mut at = from;
        let mut found = None;
        while let Some(&byte) = bytes.get(at) {
            if byte == b'<' {
                let rest = &bytes[at..];
                if rest.starts_with(CLOSE.as_bytes()) {
                    if self.plain || !self.inside {
                        found = Some(at);
                        break;
                    }
                    self.escaped = false;
                    at += CLOSE.len();
                    continue;
                }
                if CLOSE.as_bytes().starts_with(rest) {
                    break;
                }
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.inside => self.escaped = true,
                b'"' => self.inside = !self.inside,
                _ => {}
            }
            at += 1;
        }
        self.searched = at;
        self.count(at - from);
        found
    }

    /// Ends the call at the closing tag that begins at `close`.
    fn close(&mut self, close: usize, pieces: &mut Vec<Piece>) {
        let body = self.body.unwrap_or(close);
        let result = self.call(body..close);
        self.count(close - body);
        self.give(result, close + CLOSE.len(), pieces);
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

    fn give(&mut self, result: Result<ToolCall, String>, end: usize, pieces: &mut Vec<Piece>) {
        self.after_call = result.is_ok();
        pieces.push(match result {
            Ok(call) => {
                self.next_id += 1;
                Piece::Call(call)
            }
            Err(problem) => Piece::Malformed {
                text: self.held[self.start..end].to_owned(),
                problem,
            },
        });
        (self.start, self.searched, self.body) = (end, end, None);
    }

    /// Drops what was given out.
    fn forget(&mut self) {
        if self.start == 0 {
            return;
        }
        self.count(self.held.len() - self.start);
        self.held.drain(..self.start);
        self.body = self.body.map(|body| body - self.start);
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

    /// Reads what stands between the tags.
    fn call(&self, body: Range<usize>) -> Result<ToolCall, String> {
        #[derive(Deserialize)]
        struct Body<'a> {
            name: String,
            #[serde(borrow, alias = "parameters")]
            arguments: Option<&'a RawValue>,
        }
        let body: Body<'_> = serde_json::from_str(&self.held[body])
            .map_err(|error| format!("the tool call is malformed: {error}"))?;
        if body.name.is_empty() {
            return Err("the tool call has an empty name".to_owned());
        }
        let arguments = match body.arguments.map(RawValue::get) {
            None | Some("null") => "{}".to_owned(),
            // Some models write the arguments as a string that holds the JSON.
            Some(text) if text.starts_with('"') => serde_json::from_str(text)
                .map_err(|error| format!("the arguments are malformed: {error}"))?,
            Some(text) => text.to_owned(),
        };
        Ok(ToolCall::new(
            format!("call_{}", self.next_id),
            body.name,
            arguments,
        ))
    }
}

/// Returns how many bytes at the end of `text` may begin an opening tag.
fn partial_tag(text: &str) -> usize {
    (1..OPEN.len())
        .rev()
        .find(|&len| text.ends_with(&OPEN[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes looked at for an answer that arrives in parts of this size.
    fn work(answer: &str, part: usize) -> usize {
        let mut parser = ToolCallParser::new();
        for part in answer.as_bytes().chunks(part) {
            parser.push(std::str::from_utf8(part).unwrap());
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
        ];
        for (head, unit) in units {
            for part in [7, usize::MAX >> 1] {
                let answer = |size: usize| format!("{head}{}", unit.repeat(size / unit.len()));
                let (once, twice) = (answer(1 << 19), answer(1 << 20));
                let (once, twice) = (work(&once, part), work(&twice, part));
                assert!(twice < 3 * once, "{head}{unit}: {once}, {twice}");
                assert!(twice < 64 << 20, "{head}{unit}: {twice}");
            }
        }
    }
}
