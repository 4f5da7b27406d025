//! Vocabularies that this crate runs itself, from the metadata of a GGUF file.

mod bert;
mod bpe;
mod cache;
mod cuts;
mod load;
mod pool;
mod special;
mod tiktoken;

use std::borrow::Cow;
use std::ops::Range;

use crate::alphabet;
use crate::json::byte_token;
use crate::metadata::VocabMetadata;
use crate::pre::PreTokenizer;
use crate::tokenizer::END_TOKENS;
use bpe::{Bpe, Scratch, Sink};
use cuts::Cuts;
use pool::Pool;
use special::{Matcher, Part};

pub(crate) use bert::bert_json;

/// What a token is for, as `tokenizer.ggml.token_type` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// How a text becomes words and what the words are made of.
#[derive(Debug)]
pub(crate) enum Model {
    /// Bytes in the byte-level alphabet, cut by a pre-tokenizer.
    ByteLevel { bpe: Bpe, pre: PreTokenizer },
    /// SentencePiece: spaces are `▁`, one is put in front if asked.
    Spaces { bpe: Bpe, prefix: bool, cuts: Cuts },
    /// Gemma 4: as SentencePiece, newline runs apart.
    Lines { bpe: Bpe, cuts: Cuts },
}

/// A vocabulary and its special tokens.
#[derive(Debug)]
pub(crate) struct NativeVocab {
    pub(crate) model: Model,
    /// Spellings by id.
    pub(crate) names: Pool,
    pub(crate) kinds: Vec<TokenKind>,
    pub(crate) specials: Matcher,
    /// Drops one space at the start of a decoded text.
    pub(crate) strip: bool,
}

const SPACE: &str = "▁";

impl NativeVocab {
    /// Appends the tokens of `text`, without any around it.
    pub(crate) fn encode(&self, text: &str, parse_special: bool, sink: &mut impl Sink) {
        let mut scratch = Scratch::default();
        let mut after_special = true;
        self.specials.split(text, parse_special, |part| match part {
            Part::Token(id, from, to) => {
                sink.token(id, to - from);
                after_special = true;
            }
            Part::Text(text, _) => {
                self.encode_text(text, after_special, &mut scratch, sink);
                after_special = false;
            }
        });
    }

    /// Appends tokens and byte ranges of `text`.
    pub(crate) fn encode_offsets(
        &self,
        text: &str,
        parse_special: bool,
        mut push: impl FnMut(u32, Range<usize>),
    ) {
        let mut scratch = Scratch::default();
        let mut after_special = true;
        self.specials.split(text, parse_special, |part| match part {
            Part::Token(id, from, to) => {
                push(id, from..to);
                after_special = true;
            }
            Part::Text(part, base) => {
                let mut tokens: Vec<(u32, u32)> = Vec::new();
                let prefixed = self.encode_text(part, after_special, &mut scratch, &mut tokens);
                let spaced = !matches!(self.model, Model::ByteLevel { .. });
                let mut cursor = Cursor::new(part, prefixed, spaced);
                for (id, len) in tokens {
                    let range = cursor.advance(len as usize);
                    push(id, base + range.start..base + range.end);
                }
                after_special = false;
            }
        });
    }

    /// Appends the tokens of a text without special tokens; returns whether a space was put in front.
    fn encode_text(
        &self,
        text: &str,
        after_special: bool,
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> bool {
        match &self.model {
            Model::ByteLevel { bpe, pre } => {
                pre.for_each(text, &mut |word| bpe.word(word, scratch, sink));
            }
            Model::Spaces { bpe, prefix, cuts } => {
                let prefix = *prefix && after_special;
                let mut spaced = String::with_capacity(text.len() + text.len() / 2 + 3);
                if prefix {
                    spaced.push_str(SPACE);
                }
                push_spaced(text, &mut spaced);
                cuts.for_each(&spaced, |word| bpe.word(word, scratch, sink));
                return prefix;
            }
            Model::Lines { bpe, cuts } => {
                let mut spaced = String::with_capacity(text.len() + text.len() / 2);
                push_spaced(text, &mut spaced);
                PreTokenizer::Gemma4.for_each(&spaced, &mut |line| {
                    if line.starts_with('\n')
                        && let Some(id) = bpe.token(line.as_bytes())
                    {
                        return sink.token(id, line.len());
                    }
                    cuts.for_each(line, |word| bpe.word(word, scratch, sink));
                });
            }
        }
        false
    }

    /// Returns whether texts begin with the beginning token where the file does not say.
    pub(crate) fn adds_bos(&self, metadata: &dyn VocabMetadata) -> bool {
        match &self.model {
            Model::ByteLevel { .. } => load::adds_bos(metadata),
            Model::Spaces { .. } | Model::Lines { .. } => true,
        }
    }

    /// Returns the end tokens of known families that this vocabulary has.
    pub(crate) fn end_tokens(&self) -> impl Iterator<Item = u32> {
        let tokens = self.specials.tokens().iter();
        tokens
            .filter(|token| END_TOKENS.contains(&&*token.text))
            .map(|token| token.id)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    pub(crate) fn is_byte(&self, id: u32) -> bool {
        self.kind(id) == Some(TokenKind::Byte)
    }

    /// Returns whether decoding may leave `id` out.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(TokenKind::Control | TokenKind::Unknown))
    }

    pub(crate) fn name(&self, id: u32) -> Option<Cow<'_, str>> {
        self.names.get(id).map(String::from_utf8_lossy)
    }

    /// Returns the id of a spelling: special tokens first, then the trained vocabulary.
    pub(crate) fn token_to_id(&self, name: &str) -> Option<u32> {
        let special = self
            .specials
            .tokens()
            .iter()
            .find(|token| *token.text == *name);
        if let Some(special) = special {
            return Some(special.id);
        }
        match &self.model {
            Model::ByteLevel { bpe, .. } => bpe.token(&alphabet::unspell(name)?),
            Model::Spaces { bpe, .. } | Model::Lines { bpe, .. } => bpe
                .token(name.as_bytes())
                .or_else(|| bpe.byte(byte_token(name)?)),
        }
    }

    pub(crate) fn added(&self) -> impl Iterator<Item = (&str, u32)> {
        self.specials
            .tokens()
            .iter()
            .map(|token| (&*token.text, token.id))
    }

    /// Returns the bytes a token adds to a text.
    pub(crate) fn bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let name = self.names.get(id)?;
        if !matches!(
            self.kind(id)?,
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte
        ) {
            return Some(Cow::Borrowed(name));
        }
        match &self.model {
            // Byte-level merges work on the bytes themselves.
            Model::ByteLevel { bpe, .. } => bpe.pool.get(id).map(Cow::Borrowed),
            Model::Spaces { .. } | Model::Lines { .. } => {
                let Ok(text) = std::str::from_utf8(name) else {
                    return Some(Cow::Borrowed(name));
                };
                if self.is_byte(id)
                    && let Some(byte) = byte_token(text)
                {
                    return Some(Cow::Owned(vec![byte]));
                }
                Some(match text.contains('▁') {
                    true => Cow::Owned(text.replace('▁', " ").into_bytes()),
                    false => Cow::Borrowed(name),
                })
            }
        }
    }

    /// Appends what [`bytes`](Self::bytes) returns, without an allocation of its own.
    fn append(&self, id: u32, out: &mut Vec<u8>) {
        let starts_word = matches!(self.model, Model::Spaces { .. } | Model::Lines { .. })
            && self.kind(id) == Some(TokenKind::Normal);
        if starts_word
            && let Some(rest) = self
                .names
                .get(id)
                .and_then(|name| name.strip_prefix("▁".as_bytes()))
            && !rest.contains(&SPACE.as_bytes()[0])
        {
            out.push(b' ');
            out.extend_from_slice(rest);
        } else if let Some(bytes) = self.bytes(id) {
            out.extend_from_slice(&bytes);
        }
    }

    /// Returns the text of `ids`, all bytes first and characters after.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 5);
        for &id in ids {
            if !(skip_special && self.is_special(id)) {
                self.append(id, &mut bytes);
            }
        }
        if self.strip && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// Appends the bytes of a spelling in the byte-level alphabet; one outside it stands for itself.
fn unspell_into(name: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let spelled = std::str::from_utf8(name).is_ok_and(|text| {
        text.chars()
            .all(|c| alphabet::byte_of(c).map(|byte| out.push(byte)).is_some())
    });
    if !spelled {
        out.truncate(start);
        out.extend_from_slice(name);
    }
}

fn push_spaced(text: &str, spaced: &mut String) {
    let mut words = text.split(' ');
    spaced.push_str(words.next().unwrap_or_default());
    for word in words {
        spaced.push_str(SPACE);
        spaced.push_str(word);
    }
}

/// Maps lengths in the spaced text back to byte ranges of the original, on character boundaries.
struct Cursor<'t> {
    text: &'t str,
    spaced: bool,
    /// Bytes of the prefix that no original byte stands for.
    prefix: usize,
    /// Position in the spaced text after the prefix, and the original position it lies in.
    done: usize,
    at: usize,
    /// Spaced length of the original up to `at`.
    reached: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str, prefixed: bool, spaced: bool) -> Self {
        let prefix = if prefixed { SPACE.len() } else { 0 };
        Self {
            text,
            spaced,
            prefix,
            done: 0,
            at: 0,
            reached: 0,
        }
    }

    fn width(&self, byte: u8) -> usize {
        if self.spaced && byte == b' ' {
            SPACE.len()
        } else {
            1
        }
    }

    fn advance(&mut self, mut len: usize) -> Range<usize> {
        let skipped = len.min(self.prefix);
        self.prefix -= skipped;
        len -= skipped;
        let bytes = self.text.as_bytes();
        // The original byte that the token's first spaced byte comes from.
        let mut start = self.at;
        if self.reached > self.done {
            start -= 1;
        }
        self.done += len;
        while self.reached < self.done && self.at < bytes.len() {
            self.reached += self.width(bytes[self.at]);
            self.at += 1;
        }
        if len == 0 {
            return self.at..self.at;
        }
        let mut end = self.at;
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }
}
