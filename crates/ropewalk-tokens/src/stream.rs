//! Decoding while ids arrive.

use crate::error::Result;
use crate::json::DecoderKind;
use crate::tokenizer::{Engine, Tokenizer};

/// Ids that a decoder other than those of bytes may hold back.
const MAX_HELD: usize = 64;

/// A decoder that takes one id at a time and gives out text as soon as its characters are complete.
///
/// The pieces, with [`finish`](Self::finish) at the end, concatenate to what
/// [`Tokenizer::decode`] gives for all the ids: bytes that are no UTF-8 become U+FFFD at the same places.
/// The exception are vocabularies whose decoder rewrites earlier text: what was given out stays, and the text goes on
/// from where the two part.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    skip_special: bool,
    /// Special tokens that are shown all the same.
    shown: Vec<u32>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// Bytes that do not yet end a character, and spaces still to be dropped at the start.
    Bytes { pending: Vec<u8>, strip: usize },
    /// A run of byte tokens, which is one text or all replacement characters.
    Fallback { run: Vec<u8>, strip: usize },
    /// The last ids given out as text, of which there are `read`, and those after them; and the text of the former.
    Whole {
        ids: Vec<u32>,
        read: usize,
        given: String,
    },
}

impl DecodeStream {
    pub(crate) fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        let state = match tokenizer.engine() {
            Engine::Json(vocab) => match vocab.decoder {
                DecoderKind::ByteLevel => State::Bytes {
                    pending: Vec::new(),
                    strip: 0,
                },
                DecoderKind::Fallback { strip } => State::Fallback {
                    run: Vec::new(),
                    strip,
                },
                DecoderKind::Whole => State::Whole {
                    ids: Vec::new(),
                    read: 0,
                    given: String::new(),
                },
            },
            Engine::Native(vocab) => State::Bytes {
                pending: Vec::new(),
                strip: usize::from(vocab.strip),
            },
        };
        Self {
            tokenizer,
            skip_special,
            shown: Vec::new(),
            state,
        }
    }

    /// Shows these special tokens although special tokens are skipped; texts that are no special token of the
    /// vocabulary are passed over. A parser that reads the text may need them, such as `[TOOL_CALLS]` (see
    /// [`ToolCallFormat::marks`](crate::tool_calls::ToolCallFormat::marks)).
    #[must_use]
    pub fn showing<'a>(mut self, tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let ids = tokens
            .into_iter()
            .filter_map(|t| self.tokenizer.token_to_id(t));
        let special: Vec<u32> = ids.filter(|&id| self.tokenizer.is_special(id)).collect();
        self.shown.extend(special);
        self
    }

    /// Takes the next id and returns the text that is now complete, if there is any.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) if the vocabulary's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        if self.skip_special && self.tokenizer.is_special(id) {
            if !self.shown.contains(&id) {
                return Ok(None);
            }
            let mut text = self.flush();
            text.extend(self.tokenizer.piece(id));
            return Ok((!text.is_empty()).then_some(text));
        }
        let Some(bytes) = self.tokenizer.decode_bytes(id) else {
            return Ok(None);
        };
        let mut text = String::new();
        match &mut self.state {
            State::Bytes { pending, strip } => {
                pending.extend_from_slice(&bytes);
                let rest = drain_utf8(pending, &mut text);
                pending.drain(..pending.len() - rest);
                strip_spaces(&mut text, strip);
            }
            State::Fallback { run, strip } => {
                if self.tokenizer.is_fallback_byte(id) {
                    run.extend_from_slice(&bytes);
                } else {
                    flush_run(run, &mut text);
                    text.push_str(&String::from_utf8_lossy(&bytes));
                    strip_spaces(&mut text, strip);
                }
            }
            State::Whole { ids, read, given } => {
                ids.push(id);
                let all = self.tokenizer.decode(ids, self.skip_special)?;
                let rest = &all[common(given, &all)..];
                let cut_off = rest.ends_with(char::REPLACEMENT_CHARACTER);
                if (!rest.is_empty() && !cut_off) || ids.len() > MAX_HELD {
                    text.push_str(rest);
                    // The ids just given out are enough to see what the next one adds.
                    ids.drain(..*read);
                    *read = ids.len();
                    *given = self.tokenizer.decode(ids, self.skip_special)?;
                }
            }
        }
        Ok((!text.is_empty()).then_some(text))
    }

    /// Returns the text of what is still held back and starts anew.
    pub fn finish(&mut self) -> String {
        let text = self.flush();
        self.state = Self::new(self.tokenizer.clone(), self.skip_special).state;
        text
    }

    /// Gives out what is held back; spaces are dropped only at the start of the whole text.
    fn flush(&mut self) -> String {
        let mut text = String::new();
        match &mut self.state {
            State::Bytes { pending, strip } => {
                text.push_str(&String::from_utf8_lossy(pending));
                strip_spaces(&mut text, strip);
                (*strip, *pending) = (0, Vec::new());
            }
            State::Fallback { run, strip } => {
                flush_run(run, &mut text);
                strip_spaces(&mut text, strip);
                *strip = 0;
            }
            State::Whole { ids, read, given } => {
                let all = self
                    .tokenizer
                    .decode(ids, self.skip_special)
                    .unwrap_or_default();
                text.push_str(&all[common(given, &all)..]);
                (*ids, *read, *given) = (Vec::new(), 0, String::new());
            }
        }
        text
    }
}

/// Returns how many bytes two texts have in common at the start, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let chars = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    chars.map(|(c, _)| c.len_utf8()).sum()
}

/// Appends the decoded part of `bytes` to `text` and returns how many bytes at the end may still become
/// a character.
fn drain_utf8(bytes: &[u8], text: &mut String) -> usize {
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        if chunks.peek().is_none() && is_incomplete(invalid) {
            return invalid.len();
        }
        text.push(char::REPLACEMENT_CHARACTER);
    }
    0
}

/// Returns whether more bytes could make `bytes` a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn flush_run(run: &mut Vec<u8>, text: &mut String) {
    match std::str::from_utf8(run) {
        Ok(valid) => text.push_str(valid),
        Err(_) => text.extend(run.iter().map(|_| char::REPLACEMENT_CHARACTER)),
    }
    run.clear();
}

/// Drops up to `strip` leading spaces of the whole text, of which `text` is the next part.
fn strip_spaces(text: &mut String, strip: &mut usize) {
    while *strip > 0 && !text.is_empty() {
        if text.starts_with(' ') {
            text.remove(0);
            *strip -= 1;
        } else {
            *strip = 0;
        }
    }
}
