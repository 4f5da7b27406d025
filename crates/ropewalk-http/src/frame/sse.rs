//! Server-sent events (WHATWG HTML, section 9.2 "Server-sent events").

use ropewalk_core::{Error, ErrorKind, Result};

use super::{Frame, Framer, Lines};

/// Cuts a `text/event-stream` body into events.
///
/// Lines end with LF, CR or CRLF; a byte-order mark at the beginning is skipped; comments, `id` and
/// `retry` are ignored. An event that the end of the body leaves open is given out if it has data:
/// many servers leave the last blank line out, and decoders know by the data whether the reply is
/// whole.
#[derive(Debug)]
pub struct SseFramer {
    lines: Lines,
    event: Event,
}

#[derive(Debug, Default)]
struct Event {
    name: String,
    data: Vec<u8>,
    /// There was a `data` field, be it empty.
    some: bool,
    /// The byte-order mark can no longer come.
    begun: bool,
}

impl Default for SseFramer {
    fn default() -> Self {
        Self::new()
    }
}

impl SseFramer {
    /// Creates a framer at the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: Lines::new(true),
            event: Event::default(),
        }
    }

    /// Sets the longest line, and the longest event, in bytes.
    #[must_use]
    pub fn with_max_line(mut self, bytes: usize) -> Self {
        self.lines.max = bytes;
        self
    }
}

impl Framer for SseFramer {
    fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        let (event, max) = (&mut self.event, self.lines.max);
        self.lines.push(bytes, |line| event.line(line, max, frames))
    }

    fn finish(&mut self, frames: &mut Vec<Frame>) -> Result<()> {
        if let Some(rest) = self.lines.rest() {
            self.event.line(&rest, self.lines.max, frames)?;
        }
        self.event.dispatch(frames);
        Ok(())
    }
}

impl Event {
    fn line(&mut self, mut line: &[u8], max: usize, frames: &mut Vec<Frame>) -> Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(frames);
            return Ok(());
        }
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                // Lines without a blank one after them must not fill the memory.
                if self.data.len() + value.len() > max {
                    let message = format!("an event of the stream is longer than {max} bytes");
                    return Err(Error::new(ErrorKind::Decode, message));
                }
                if std::mem::replace(&mut self.some, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, frames: &mut Vec<Frame>) {
        let event = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.some) {
            let data = std::mem::take(&mut self.data).into();
            frames.push(Frame { event, data });
        }
    }
}
