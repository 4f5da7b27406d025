//! One JSON value per line (ndjson, JSON lines).

use bytes::Bytes;
use ropewalk_core::Result;

use super::{Frame, Framer, Lines};

/// Cuts a body into its lines; blank ones and a byte-order mark are skipped.
///
/// A last line without an end is given out: its decoder knows whether it is whole.
#[derive(Debug)]
pub struct NdjsonFramer {
    lines: Lines,
    begun: bool,
}

impl Default for NdjsonFramer {
    fn default() -> Self {
        Self::new()
    }
}

impl NdjsonFramer {
    /// Creates a framer at the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: Lines::new(false),
            begun: false,
        }
    }

    /// Sets the longest line, in bytes.
    #[must_use]
    pub fn with_max_line(mut self, bytes: usize) -> Self {
        self.lines.max = bytes;
        self
    }
}

fn line(mut line: &[u8], begun: &mut bool, frames: &mut Vec<Frame>) {
    if !std::mem::replace(begun, true) {
        line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    }
    let line = line.trim_ascii();
    if !line.is_empty() {
        frames.push(Frame::new(Bytes::copy_from_slice(line)));
    }
}

impl Framer for NdjsonFramer {
    fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        let begun = &mut self.begun;
        self.lines.push(bytes, |text| {
            line(text, begun, frames);
            Ok(())
        })
    }

    fn finish(&mut self, frames: &mut Vec<Frame>) -> Result<()> {
        if let Some(rest) = self.lines.rest() {
            line(&rest, &mut self.begun, frames);
        }
        Ok(())
    }
}
