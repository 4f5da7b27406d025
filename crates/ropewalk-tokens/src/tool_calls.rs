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

/// Takes an answer apart while it arrives.
///
/// Text is given out at once, except for what may be the beginning of a call: part of an opening tag,
/// and white space at the end.
#[derive(Debug, Clone, Default)]
pub struct ToolCallParser {
    /// What has not been given out: text that may begin a call, or white space and a call so far.
    held: String,
    /// Where the opening tag in `held` ends, if there is one.
    body: Option<usize>,
    /// Up to where `held` has been searched for the closing tag.
    searched: usize,
    /// The last thing given out was a call, so white space that follows is no text.
    after_call: bool,
    next_id: usize,
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
        pieces
    }

    /// Ends the answer and returns what was held back. A call without its closing tag counts if it is
    /// otherwise complete.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.advance(&mut pieces);
        while let Some(body) = self.body {
            // A closing tag seemed to lie inside a string; if no call results, it was the real one.
            let end = self.held.len();
            let result = self.call(&self.held[body..]);
            let close = self.held[body..].find(CLOSE).map(|at| body + at);
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
        let rest = std::mem::take(&mut self.held);
        let rest = if self.after_call {
            rest.trim_start()
        } else {
            &rest
        };
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        self.after_call = false;
        pieces
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) {
        loop {
            let Some(body) = self.body else {
                let found = self.held.find(OPEN);
                let text = found.unwrap_or_else(|| self.held.len() - partial_tag(&self.held));
                let text = self.held[..text].trim_end().len();
                self.give_text(text, pieces);
                let Some(open) = found.and_then(|_| self.held.find(OPEN)) else {
                    return;
                };
                self.body = Some(open + OPEN.len());
                self.searched = open + OPEN.len();
                continue;
            };
            let Some(close) = self.held[self.searched..].find(CLOSE) else {
                // The tag may have begun in the last bytes.
                let last = (self.held.len() + 1).saturating_sub(CLOSE.len());
                self.searched = self.searched.max(floor(&self.held, last));
                return;
            };
            let close = self.searched + close;
            if in_string(&self.held[body..close]) {
                self.searched = close + CLOSE.len();
                continue;
            }
            self.close(close, pieces);
        }
    }

    /// Ends the call at the closing tag that begins at `close`.
    fn close(&mut self, close: usize, pieces: &mut Vec<Piece>) {
        let body = self.body.unwrap_or_default();
        let result = self.call(&self.held[body..close]);
        self.give(result, close + CLOSE.len(), pieces);
    }

    fn give_text(&mut self, end: usize, pieces: &mut Vec<Piece>) {
        let text: String = self.held.drain(..end).collect();
        let text = if self.after_call {
            text.trim_start()
        } else {
            &text
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
            self.after_call = false;
        }
    }

    fn give(&mut self, result: Result<ToolCall, String>, end: usize, pieces: &mut Vec<Piece>) {
        let text: String = self.held.drain(..end).collect();
        self.body = None;
        self.searched = 0;
        self.after_call = result.is_ok();
        pieces.push(match result {
            Ok(call) => {
                self.next_id += 1;
                Piece::Call(call)
            }
            Err(problem) => Piece::Malformed { text, problem },
        });
    }

    /// Reads what stands between the tags.
    fn call(&self, body: &str) -> Result<ToolCall, String> {
        #[derive(Deserialize)]
        struct Body<'a> {
            name: String,
            #[serde(borrow, alias = "parameters")]
            arguments: Option<&'a RawValue>,
        }
        let body: Body<'_> = serde_json::from_str(body)
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

/// Returns whether JSON cut off after `text` would be inside a string.
fn in_string(text: &str) -> bool {
    let (mut inside, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ => {}
        }
    }
    inside
}

/// Returns the last character boundary at or before `at`.
fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
