//! Tool calls that a model writes into its text.
//!
//! Each family of models writes them in a form of its own; [`ToolCallFormat`] names the forms, and
//! [`ToolCallFormat::detect`] finds the one of a chat template. Qwen and Hermes, for example, write:
//!
//! ```text
//! <tool_call>
//! {"name": "get_ticket_price", "arguments": {"city": "Paris"}}
//! </tool_call>
//! ```
//!
//! [`parse`] and [`parse_as`] take a finished answer, [`ToolCallParser`] one that is still being written:
//!
//! ```
//! use ropewalk_tokens::tool_calls::{Piece, ToolCallFormat, ToolCallParser, parse_as};
//!
//! let mut parser = ToolCallParser::new();
//! assert_eq!(parser.push("One moment.\n<tool_"), [Piece::Text("One moment.".to_owned())]);
//! let pieces = parser.push("call>{\"name\": \"now\", \"arguments\": {}}</tool_call>");
//! let Piece::Call(call) = &pieces[0] else { panic!("{pieces:?}") };
//! assert_eq!((call.name.as_str(), call.arguments.as_str()), ("now", "{}"));
//! assert_eq!(parser.finish(), []);
//!
//! let parsed = parse_as(ToolCallFormat::Pythonic, "[price(city='Paris', day=3), now()]");
//! assert_eq!(parsed.calls[0].arguments, r#"{"city":"Paris","day":3}"#);
//! assert_eq!(parsed.calls[1].name, "now");
//! ```
//!
//! However an answer is cut into parts, the result is the same; any text is read to its end, in time proportional
//! to its length. What looked like a call and is none comes back as [`Piece::Malformed`], with its text.

mod body;
mod format;
mod literal;
mod parser;
mod python;
mod rules;
mod scan;

pub use format::ToolCallFormat;
pub use parser::ToolCallParser;

use ropewalk_core::ToolCall;

/// A part of an answer, in the order it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// Text for the reader. White space next to a tool call is not text.
    Text(String),
    /// A complete call. The arguments are the exact text the model wrote where that is JSON, and compact JSON where
    /// it was written in another syntax (Python, XML, Gemma).
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

/// Takes a finished answer in the form of Qwen and Hermes apart.
pub fn parse(answer: &str) -> ParsedAnswer {
    parse_as(ToolCallFormat::Hermes, answer)
}

/// Takes a finished answer apart.
pub fn parse_as(format: ToolCallFormat, answer: &str) -> ParsedAnswer {
    let mut parser = ToolCallParser::new().with_format(format);
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
