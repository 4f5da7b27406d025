//! What can go wrong between a template and its text.

use std::fmt;

/// Why a chat template could not be read or rendered.
///
/// [`message`](Error::message) is the text the reference (Jinja2 inside `transformers`) gives for the same
/// template and input; `Display` adds the kind and the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in chat template line {line}: {message}")]
pub struct Error {
    kind: ErrorKind,
    line: u32,
    message: Box<str>,
}

/// What sort of failure an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The template is not valid, or names a filter or test that does not exist.
    Syntax,
    /// The template itself refused the conversation with `raise_exception`.
    Raised,
    /// The template used something that is not there: a name, an attribute, an element.
    Undefined,
    /// An operation does not apply to the value it met.
    Type,
    /// The template tried something that templates may not do, such as changing a list.
    Security,
    /// The template ran longer, nested deeper or wrote more than [`Limits`](super::Limits) allow.
    Limit,
    /// The input cannot be given to a template.
    Input,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "syntax error",
            Self::Raised => "refused",
            Self::Undefined => "undefined value",
            Self::Type => "type error",
            Self::Security => "forbidden operation",
            Self::Limit => "limit reached",
            Self::Input => "bad input",
        })
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            line: 0,
            message: message.into().into(),
        }
    }

    pub(crate) fn at(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }

    /// Returns what sort of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message alone, word for word what the template or the engine said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the line of the template, counted from 1; 0 when no line is to blame.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }
}

/// Result of the engine: errors are boxed because they are rare and values are small.
pub(crate) type Res<T> = Result<T, Box<Error>>;

pub(crate) fn err<T>(kind: ErrorKind, message: impl Into<String>) -> Res<T> {
    Err(Box::new(Error::new(kind, message)))
}

pub(crate) fn type_error<T>(message: impl Into<String>) -> Res<T> {
    err(ErrorKind::Type, message)
}

pub(crate) fn limit<T>(message: impl Into<String>) -> Res<T> {
    err(ErrorKind::Limit, message)
}
