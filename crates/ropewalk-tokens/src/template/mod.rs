//! Chat templates: a conversation to the text that a model was trained on.
//!
//! Models ship a Jinja2 template that lays out system prompt, turns, tools and special tokens. One wrong space makes a
//! model worse without any error, so the measure is the reference: `transformers`' `render_jinja_template`, that is
//! Jinja2's sandbox with `trim_blocks` and `lstrip_blocks`. Texts equal it byte for byte, and where it refuses, so does
//! this, with its message.
//!
//! ```
//! use ropewalk_tokens::template::{ChatTemplate, TemplateInput};
//!
//! let template = ChatTemplate::new(
//!     "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}<|end|>\n{% endfor %}\
//!      {% if add_generation_prompt %}<|assistant|>{% endif %}",
//! )?;
//! let input = TemplateInput::from_json(r#"[{"role": "user", "content": " Hi! "}]"#)?
//!     .with_generation_prompt(true);
//! assert_eq!(template.render(&input)?, "<|user|>Hi!<|end|>\n<|assistant|>");
//! # Ok::<(), ropewalk_tokens::template::Error>(())
//! ```
//!
//! Templates are untrusted programs. They reach no file, clock or environment, cannot change what they are given, and
//! stop with an error at the [`Limits`].
//!
//! The engine is written here because the differences between Jinja2 and other engines lie where nothing can be
//! plugged in: in operators (`+` with `safe` text escapes, `none ~ 'x'` is `Nonex`, text plus a list names both types),
//! in attribute lookup (`d.items` is a method even when `d` has that key) and in every message of an error.

mod ast;
mod check;
mod date;
mod error;
mod filters;
mod input;
mod interp;
mod json;
mod json_dumps;
mod lexer;
mod meter;
mod methods;
mod ops;
mod parser;
mod predicates;
mod printf;
mod support;
mod text;
mod value;

pub use date::DateTime;
pub use error::{Error, ErrorKind};
pub use input::TemplateInput;
pub use json::Value;
pub use support::TemplateSupport;

use ast::{Stmt, StmtKind};
use interp::Interp;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Marks the place where a continued message ends, as the reference does.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// How much a template may do in one rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Steps: one per node run and per item taken, compared or printed, and one per 16 bytes of text read or made.
    /// They are paid for before the work is done. Default 50 million, seconds at most.
    pub steps: u64,
    /// Nested statements, expressions and macro calls. Default 400, which fits a thread of 2 MiB stack.
    pub depth: u32,
    /// Bytes of text. Default 64 MiB.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 50_000_000,
            depth: 400,
            output: 64 << 20,
        }
    }
}

/// A parsed chat template, ready to render conversations.
#[derive(Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
    body: Arc<[Stmt]>,
    limits: Limits,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("bytes", &self.source.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A rendered conversation and which of it the assistant wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges of `text` that came from `{% generation %}` blocks, in order; empty when the template has none.
    ///
    /// As in the reference, a block inside a macro starts where the text outside of the macro had ended.
    pub assistant: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// `Syntax` with the line when the template is not valid or uses a filter or test that does not exist; `Limit` when
    /// it is nested too deep.
    pub fn new(source: impl AsRef<str>) -> Result<Self, Error> {
        let source = source.as_ref();
        let body = parser::parse(source).map_err(|e| *e)?;
        check::check(&body).map_err(|e| *e)?;
        Ok(Self {
            source: source.into(),
            body: body.into(),
            limits: Limits::default(),
        })
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the text of the template.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// `Raised` with the template's own words when it refuses the conversation; `Undefined`, `Type`, `Security`,
    /// `Limit` or `Input` otherwise.
    pub fn render(&self, input: &TemplateInput) -> Result<String, Error> {
        self.render_with_mask(input).map(|rendered| rendered.text)
    }

    /// Renders a conversation and says which bytes the assistant wrote, for training on those alone.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_with_mask(&self, input: &TemplateInput) -> Result<Rendered, Error> {
        let mut messages = input.prepared()?;
        let continued = if input.continue_final_message {
            Some(mark_last(&mut messages)?)
        } else {
            None
        };
        let variables = input.variables(&messages).map_err(|e| *e)?;
        let mut interp = Interp::new(variables, input.now, self.limits);
        let mut text = interp.run(&self.body).map_err(|e| *e)?;
        let mut assistant = std::mem::take(&mut interp.spans);
        if let Some(last) = continued {
            cut_at_mark(&mut text, &last)?;
            assistant.retain(|span| span.start < text.len());
            for span in &mut assistant {
                span.end = span.end.min(text.len());
            }
        }
        Ok(Rendered { text, assistant })
    }

    /// Finds out what the template supports by rendering small conversations.
    #[must_use]
    pub fn support(&self) -> TemplateSupport {
        support::probe(self)
    }

    /// Returns a short description: size, then one line for each thing it may support.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "chat template of {} bytes\n{}",
            self.source.len(),
            self.support()
        )
    }

    fn marks_generation(&self) -> bool {
        marks_generation(&self.body)
    }
}

fn marks_generation(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Generation(_) => true,
        StmtKind::If {
            branches,
            otherwise,
        } => branches.iter().any(|(_, body)| marks_generation(body)) || marks_generation(otherwise),
        StmtKind::For(l) => marks_generation(&l.body) || marks_generation(&l.otherwise),
        StmtKind::SetBlock { body, .. }
        | StmtKind::Filter { body, .. }
        | StmtKind::With { body, .. }
        | StmtKind::Block(body) => marks_generation(body),
        StmtKind::Macro(m) | StmtKind::Call { body: m, .. } => marks_generation(&m.body),
        _ => false,
    })
}

/// Appends the mark to the text of the last message and returns that text.
fn mark_last(messages: &mut [Value]) -> Result<String, Error> {
    let input = |message: &str| Error::new(ErrorKind::Input, message);
    let Some(Value::Object(last)) = messages.last_mut() else {
        return Err(input(
            "continue_final_message is set but the conversation is empty!",
        ));
    };
    let content = last
        .iter_mut()
        .rev()
        .find(|(key, _)| key == "content")
        .map(|(_, value)| value);
    let text = match content {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => parts.iter_mut().rev().find_map(|part| match part {
            Value::Object(entries) => {
                entries
                    .iter_mut()
                    .find_map(|(key, value)| match (key.as_str(), value) {
                        ("text", Value::String(text)) => Some(text),
                        _ => None,
                    })
            }
            _ => None,
        }),
        _ => None,
    };
    let Some(text) = text else {
        return Err(input(
            "continue_final_message is set but the final message has no \"content\" to continue!",
        ));
    };
    let before = text.clone();
    text.push_str(CONTINUE);
    Ok(before)
}

fn cut_at_mark(text: &mut String, last: &str) -> Result<(), Error> {
    let mark = CONTINUE.trim_end();
    match text.rfind(mark) {
        Some(at) if text.contains(last.trim_matches(text::is_space)) => {
            let exact = text[at..].starts_with(CONTINUE);
            text.truncate(at);
            if !exact {
                text.truncate(text.trim_end_matches(text::is_space).len());
            }
            Ok(())
        }
        _ => Err(Error::new(
            ErrorKind::Input,
            "continue_final_message is set but the final message does not appear in the chat after applying the chat template",
        )),
    }
}
