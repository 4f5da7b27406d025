//! Cutting a body into frames: server-sent events and JSON lines.

mod ndjson;
mod sse;

use std::fmt;

use bytes::Bytes;
use ropewalk_core::{Error, ErrorKind, Result};

pub use ndjson::NdjsonFramer;
pub use sse::SseFramer;

/// Longest line of a stream unless set: 16 MiB. Pictures and sound come as single lines.
pub const MAX_LINE: usize = 16 << 20;

/// One frame of a streamed body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Frame {
    /// The `event` field of a server-sent event; empty when there is none.
    pub event: String,
    /// The data, without its line ends.
    pub data: Bytes,
}

impl Frame {
    /// Creates a frame without an event name.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self {
            event: String::new(),
            data: data.into(),
        }
    }

    /// Sets the event name.
    #[must_use]
    pub fn with_event(mut self, event: impl Into<String>) -> Self {
        self.event = event.into();
        self
    }

    /// Returns the data as text.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.data).map_err(|e| {
            let place = e.valid_up_to();
            Error::new(
                ErrorKind::Decode,
                format!("a frame of the stream is no UTF-8 at byte {place}"),
            )
        })
    }

    /// Parses the data as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] with the beginning of what came.
    pub fn json(&self) -> Result<serde_json::Value> {
        let text = self.text()?;
        serde_json::from_str(text).map_err(|e| {
            let shown: String = text.chars().take(120).collect();
            Error::new(
                ErrorKind::Decode,
                format!("a frame of the stream is no JSON ({e}): {shown}"),
            )
        })
    }
}

/// Cuts bytes that arrive in pieces of any size into [`Frame`]s.
///
/// The frames do not depend on where the pieces end, and the work is linear in their length.
pub trait Framer: Send + fmt::Debug {
    /// Takes a piece and appends the frames that are complete.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when a line is longer than the limit.
    fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()>;

    /// Takes the end of the body and appends what it completes.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the end cuts a frame that cannot be told from a whole one.
    fn finish(&mut self, frames: &mut Vec<Frame>) -> Result<()>;
}

/// How a streamed body is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value per line.
    Ndjson,
}

impl Framing {
    /// Returns a framer with this limit on a line, in bytes.
    #[must_use]
    pub fn framer(self, max_line: usize) -> Box<dyn Framer> {
        match self {
            Self::Sse => Box::new(SseFramer::new().with_max_line(max_line)),
            Self::Ndjson => Box::new(NdjsonFramer::new().with_max_line(max_line)),
        }
    }

    /// Returns the value of the `accept` header.
    #[must_use]
    pub fn accept(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// Cuts lines at LF, CR and CRLF, holding back what is not complete.
#[derive(Debug)]
struct Lines {
    held: Vec<u8>,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    max: usize,
    cr: bool,
}

impl Lines {
    /// `cr`: whether a lone CR ends a line.
    fn new(cr: bool) -> Self {
        Self {
            held: Vec::new(),
            after_cr: false,
            max: MAX_LINE,
            cr,
        }
    }

    /// Calls `line` with every complete line, without its end.
    fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let ends = |b: &u8| *b == b'\n' || (self.cr && *b == b'\r');
            let Some(end) = bytes.iter().position(ends) else {
                self.hold(bytes)?;
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            if self.held.is_empty() {
                self.check(end)?;
                line(&bytes[..end])?;
            } else {
                self.hold(&bytes[..end])?;
                let held = std::mem::take(&mut self.held);
                line(&held)?;
                // The room is used again, unless it is one huge line's.
                if held.capacity() <= 1 << 16 {
                    self.held = held;
                    self.held.clear();
                }
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Returns the last line when it has no end.
    fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.held)).filter(|l| !l.is_empty())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<()> {
        self.check(self.held.len() + bytes.len())?;
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn check(&self, len: usize) -> Result<()> {
        if len <= self.max {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Decode,
            format!("a line of the stream is longer than {} bytes", self.max),
        ))
    }
}
