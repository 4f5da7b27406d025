//! Cutting a body of AWS event streams.

use ropewalk_core::{Error, ErrorKind, Result};
use ropewalk_http::{Frame, Framer};

/// Bytes before the headers: two lengths and their checksum.
const PRELUDE: usize = 12;
/// Bytes of a message besides headers and payload.
const OVERHEAD: usize = PRELUDE + 4;
/// Type of a header value that is a text.
const TEXT: u8 = 7;

/// Cuts `application/vnd.amazon.eventstream` into messages
/// (docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html): big-endian lengths of
/// message and headers, CRC-32 of both, headers, payload, CRC-32 of all before.
///
/// The event of a frame is the header `:event-type`; of exceptions, `exception:` and their type.
#[derive(Debug)]
pub(super) struct EventStreamFramer {
    held: Vec<u8>,
    max: usize,
}

impl EventStreamFramer {
    pub(super) fn new(max: usize) -> Self {
        Self {
            held: Vec::new(),
            max,
        }
    }

    /// Returns the length of the message at the beginning, once its prelude is there.
    fn length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(prelude) = bytes.get(..PRELUDE) else {
            return Ok(None);
        };
        if crc32(&prelude[..8]) != number(&prelude[8..]) {
            return Err(bad("the checksum of a prelude is wrong"));
        }
        let length = number(prelude) as usize;
        if length < OVERHEAD || length - OVERHEAD < number(&prelude[4..]) as usize {
            return Err(bad("the lengths of a message contradict each other"));
        }
        if length > self.max {
            let max = self.max;
            return Err(bad(&format!("a message is longer than {max} bytes")));
        }
        Ok(Some(length))
    }
}

impl Framer for EventStreamFramer {
    fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<()> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some(length) = self.length(rest)? {
            let Some(message) = rest.get(..length) else {
                break;
            };
            frames.push(frame(message)?);
            rest = &rest[length..];
        }
        // Nothing is moved while a long message grows.
        self.held = match rest.len() == held.len() {
            true => held,
            false => rest.to_vec(),
        };
        Ok(())
    }

    fn finish(&mut self, _frames: &mut Vec<Frame>) -> Result<()> {
        // A message that the end cuts is no frame: the decoder knows that the reply is not whole.
        self.held.clear();
        Ok(())
    }
}

/// Reads a whole message whose lengths are checked.
fn frame(message: &[u8]) -> Result<Frame> {
    let (body, checksum) = message.split_at(message.len() - 4);
    if crc32(body) != number(checksum) {
        return Err(bad("the checksum of a message is wrong"));
    }
    let (headers, payload) = body[PRELUDE..].split_at(number(&body[4..]) as usize);
    let mut event = String::new();
    let mut rest = headers;
    while !rest.is_empty() {
        let (name, value, after) =
            header(rest).ok_or_else(|| bad("the headers of a message are cut"))?;
        match (name, value) {
            (b":event-type", Some(value)) => event = String::from_utf8_lossy(value).into_owned(),
            (b":exception-type" | b":error-code", Some(value)) => {
                event = format!("exception:{}", String::from_utf8_lossy(value));
            }
            _ => {}
        }
        rest = after;
    }
    Ok(Frame::new(payload.to_vec()).with_event(event))
}

/// Returns name, text (`None` for other types) and what follows.
fn header(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let length = match kind {
        // True, false, byte, short, integer, long, bytes, text, time, UUID.
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | 7 => {
            let (length, rest) = rest.split_at_checked(2)?;
            let length = usize::from(length[0]) << 8 | usize::from(length[1]);
            let (value, rest) = rest.split_at_checked(length)?;
            return Some((name, (*kind == TEXT).then_some(value), rest));
        }
        9 => 16,
        _ => return None,
    };
    let (_, rest) = rest.split_at_checked(length)?;
    Some((name, None, rest))
}

/// Reads four bytes, big end first; fewer count as followed by zeros.
fn number(bytes: &[u8]) -> u32 {
    let byte = |i: usize| u32::from(bytes.get(i).copied().unwrap_or(0));
    byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3)
}

fn bad(problem: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("event stream: {problem}"))
}

/// CRC-32 as in IEEE 802.3, least significant bit first.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize];
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            let poly = if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            crc = (crc >> 1) ^ poly;
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a message with text headers.
    pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in headers {
            head.push(name.len() as u8);
            head.extend(name.as_bytes());
            head.push(TEXT);
            head.extend((value.len() as u16).to_be_bytes());
            head.extend(value.as_bytes());
        }
        let length = OVERHEAD + head.len() + payload.len();
        let mut message = (length as u32).to_be_bytes().to_vec();
        message.extend((head.len() as u32).to_be_bytes());
        message.extend(crc32(&message).to_be_bytes());
        message.extend(head);
        message.extend(payload);
        message.extend(crc32(&message).to_be_bytes());
        message
    }

    fn frames(bytes: &[u8], piece: usize) -> Result<Vec<Frame>> {
        let mut framer = EventStreamFramer::new(1 << 16);
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            framer.push(piece, &mut frames)?;
        }
        framer.finish(&mut frames)?;
        Ok(frames)
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC, and the empty message of AWS's documentation.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let empty = [
            0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
        ];
        assert_eq!(message(&[], b""), empty);
        assert_eq!(frames(&empty, 16).unwrap(), [Frame::new("")]);
    }

    #[test]
    fn events_and_exceptions_are_named() {
        let mut body = message(
            &[(":message-type", "event"), (":event-type", "metadata")],
            b"{}",
        );
        body.extend(message(
            &[(":exception-type", "throttlingException")],
            b"[]",
        ));
        let expected = [
            Frame::new("{}").with_event("metadata"),
            Frame::new("[]").with_event("exception:throttlingException"),
        ];
        for piece in [1, 3, 16, 1000] {
            assert_eq!(frames(&body, piece).unwrap(), expected);
        }
        let cut = frames(&body[..body.len() - 1], 5).unwrap();
        assert_eq!(cut, expected[..1]);
    }

    #[test]
    fn other_types_of_headers_are_skipped() {
        let mut head = Vec::new();
        for (kind, length) in [
            (0u8, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 4),
            (5, 8),
            (8, 8),
            (9, 16),
        ] {
            head.extend([1, b'x', kind]);
            head.extend(vec![0; length]);
        }
        head.extend([1, b'y', 6, 0, 2, 1, 2]);
        assert_eq!(headers_of(&head), 9);
        assert!(header(&[1, b'x', 10, 0]).is_none());
        assert!(header(&[1, b'x', 7, 0, 9, 1]).is_none());
    }

    fn headers_of(mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some((_, _, rest)) = header(bytes) {
            (bytes, count) = (rest, count + 1);
        }
        count
    }

    proptest! {
        #[test]
        fn one_wrong_byte_is_noticed(at in 0usize..60, flip in 1u8..) {
            let mut body = message(&[(":event-type", "x")], b"0123456789012345678901234567");
            let at = at % body.len();
            body[at] ^= flip;
            prop_assert!(frames(&body, 7).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _result = frames(&bytes, 9);
            let valid = (16u32 + bytes.len() as u32).to_be_bytes();
            let mut body = valid.to_vec();
            body.extend((bytes.len() as u32).to_be_bytes());
            body.extend(crc32(&body).to_be_bytes());
            body.extend(&bytes);
            body.extend(crc32(&body).to_be_bytes());
            let _result = frames(&body, 50);
        }
    }
}
