//! The tokenizer.

mod load;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::encoding::{BatchOptions, EncodeOptions, Encoding, Padding, Side};
use crate::error::{Error, Result};
use crate::export::VocabExport;
use crate::json::JsonVocab;
use crate::native::NativeVocab;
use crate::stream::DecodeStream;
pub(crate) use load::END_TOKENS;

/// A vocabulary with its rules: text to token ids and back.
///
/// Cloning is cheap (the vocabulary is shared) and a tokenizer can be used from several threads.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    end_ids: Vec<u32>,
    adds_bos: bool,
    /// Beginning and end tokens the files ask for that the engine does not add by itself.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    chat_template: Option<String>,
    named_templates: Vec<(String, String)>,
    /// What a vocabulary that this crate runs itself was made from, unless that is GGUF metadata.
    export: Option<Box<VocabExport>>,
}

pub(crate) enum Engine {
    Json(Box<JsonVocab>),
    Native(Box<NativeVocab>),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("bos", &self.inner.bos)
            .field("eos", &self.inner.eos)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn source_export(&self) -> Option<&VocabExport> {
        self.inner.export.as_deref()
    }

    pub(crate) fn named_templates(&self) -> &[(String, String)] {
        &self.inner.named_templates
    }

    /// Returns the ids of `text`; the text of special tokens inside it becomes those tokens.
    ///
    /// `add_special` adds the tokens the model wants around a text, such as the beginning token. A
    /// rendered chat template has them already.
    ///
    /// # Errors
    /// [`Error::Encode`] if the text is too long or the vocabulary's rules fail on it.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        check_len(text)?;
        let (prefix, suffix) = self.frame(add_special);
        match &self.inner.engine {
            Engine::Json(vocab) => {
                let ids = vocab.encode(text, add_special, true)?;
                if prefix.is_empty() && suffix.is_empty() {
                    return Ok(ids);
                }
                Ok([prefix, &ids, suffix].concat())
            }
            Engine::Native(vocab) => {
                let mut ids = Vec::with_capacity(text.len() / 3 + 2);
                ids.extend_from_slice(prefix);
                vocab.encode(text, true, &mut ids);
                ids.extend_from_slice(suffix);
                Ok(ids)
            }
        }
    }

    /// Returns the ids of `text` with byte ranges and masks.
    ///
    /// # Errors
    /// [`Error::Encode`] if the text is too long or the vocabulary's rules fail on it.
    pub fn encode_with(&self, text: &str, options: &EncodeOptions) -> Result<Encoding> {
        self.encode_limited(text, options, None)
    }

    fn encode_limited(
        &self,
        text: &str,
        options: &EncodeOptions,
        limit: Option<(usize, Side)>,
    ) -> Result<Encoding> {
        check_len(text)?;
        let added = if options.add_special {
            self.special_count()
        } else {
            0
        };
        let limit = limit.map(|(limit, side)| (limit.saturating_sub(added), side));
        let mut encoding = match &self.inner.engine {
            Engine::Json(vocab) => {
                vocab.encode_full(text, options.add_special, options.parse_special, limit)?
            }
            Engine::Native(vocab) => {
                let mut encoding = Encoding::default();
                vocab.encode_offsets(text, options.parse_special, |id, range| {
                    encoding.push(id, range);
                });
                if let Some((limit, side)) = limit {
                    encoding.truncate(limit, side);
                }
                encoding
            }
        };
        let (prefix, suffix) = self.frame(options.add_special);
        encoding.surround(prefix, suffix);
        Ok(encoding)
    }

    /// Returns the tokens to put around a text that the engine does not add by itself.
    fn frame(&self, add_special: bool) -> (&[u32], &[u32]) {
        if add_special {
            (&self.inner.prefix, &self.inner.suffix)
        } else {
            (&[], &[])
        }
    }

    /// Returns how many tokens `add_special` adds to one text.
    pub fn special_count(&self) -> usize {
        let inside = match &self.inner.engine {
            Engine::Json(vocab) => vocab.special_count(),
            Engine::Native(_) => 0,
        };
        inside + self.inner.prefix.len() + self.inner.suffix.len()
    }

    /// Encodes texts into rows, truncated and padded as asked.
    ///
    /// # Errors
    /// [`Error::Encode`], and [`Error::Option`] if padding is asked for and there is no padding token, or if the
    /// longest row allowed has no room for the tokens that are added.
    pub fn encode_batch<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &BatchOptions,
    ) -> Result<Vec<Encoding>> {
        let encode = EncodeOptions {
            add_special: options.add_special,
            parse_special: options.parse_special,
        };
        let limit = options
            .max_length
            .map(|limit| (limit, options.truncation_side));
        let added = if options.add_special {
            self.special_count()
        } else {
            0
        };
        if options.max_length.is_some_and(|limit| limit < added) {
            return Err(Error::option(
                "max_length",
                format!("the {added} tokens added around every text do not fit"),
            ));
        }
        let mut rows = texts
            .iter()
            .map(|text| self.encode_limited(text.as_ref(), &encode, limit))
            .collect::<Result<Vec<_>>>()?;
        let width = match options.padding {
            Padding::None => return Ok(rows),
            Padding::Longest => rows.iter().map(Encoding::len).max().unwrap_or(0),
            Padding::Fixed(width) => width,
        };
        let pad = options.pad_id.or(self.inner.pad).ok_or_else(|| {
            Error::option(
                "pad_id",
                "this vocabulary has no padding token; give one, such as eos",
            )
        })?;
        let width = match options.pad_to_multiple_of {
            Some(multiple) if multiple > 0 => width.next_multiple_of(multiple),
            _ => width,
        };
        for row in &mut rows {
            row.pad(width, options.padding_side, pad);
        }
        Ok(rows)
    }

    /// Returns the text of `ids`; ids outside the vocabulary are passed over, and bytes that are no
    /// UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Decode`] if the vocabulary's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.decode(ids, skip_special),
            Engine::Native(vocab) => Ok(vocab.decode(ids, skip_special)),
        }
    }

    /// Returns the text of each id on its own.
    ///
    /// # Errors
    /// [`Error::Decode`] if the vocabulary's decoder fails.
    pub fn batch_decode(&self, ids: &[u32], skip_special: bool) -> Result<Vec<String>> {
        ids.iter()
            .map(|&id| self.decode(&[id], skip_special))
            .collect()
    }

    /// Returns the bytes that `id` adds to a text, or `None` outside the vocabulary.
    pub fn decode_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.bytes(id),
            Engine::Native(vocab) => vocab.bytes(id),
        }
    }

    /// Starts decoding ids that arrive one by one.
    pub fn decode_stream(&self, skip_special: bool) -> DecodeStream {
        DecodeStream::new(self.clone(), skip_special)
    }

    /// Returns how the vocabulary spells `id`, such as `Ġhello` or `▁hello`.
    pub fn piece(&self, id: u32) -> Option<Cow<'_, str>> {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.piece(id),
            Engine::Native(vocab) => vocab.name(id),
        }
    }

    /// Returns the id of a token by the vocabulary's spelling.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.token_to_id(token),
            Engine::Native(vocab) => vocab.token_to_id(token),
        }
    }

    /// Returns the tokens added beside the trained vocabulary, special and user-defined, by spelling.
    pub fn added_vocab(&self) -> BTreeMap<String, u32> {
        let owned = |(text, id): (&str, u32)| (text.to_owned(), id);
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.added().map(owned).collect(),
            Engine::Native(vocab) => vocab.added().map(owned).collect(),
        }
    }

    /// Returns whether `id` is a special token, which `skip_special` leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.is_special(id),
            Engine::Native(vocab) => vocab.is_special(id),
        }
    }

    pub(crate) fn is_fallback_byte(&self, id: u32) -> bool {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.fallback_byte(id).is_some(),
            Engine::Native(vocab) => vocab.is_byte(id),
        }
    }

    /// Returns the number of tokens, added ones included. A model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        match &self.inner.engine {
            Engine::Json(vocab) => vocab.len(),
            Engine::Native(vocab) => vocab.len(),
        }
    }

    /// Returns the token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.inner.bos
    }

    /// Returns the token that ends a text, if the model has one.
    pub fn eos(&self) -> Option<u32> {
        self.inner.eos
    }

    /// Returns the padding token, if the model has one.
    pub fn pad(&self) -> Option<u32> {
        self.inner.pad
    }

    /// Returns the token for what the vocabulary cannot spell, if the model has one.
    pub fn unk(&self) -> Option<u32> {
        self.inner.unk
    }

    /// Returns all tokens after which generation stops, sorted: the end token, those of the generation
    /// config and the end-of-turn tokens of known families (`<|im_end|>`, `<|eot_id|>`, `<|end|>`, …).
    pub fn end_ids(&self) -> &[u32] {
        &self.inner.end_ids
    }

    /// Returns whether `add_special` puts the beginning token in front.
    pub fn adds_bos(&self) -> bool {
        self.inner.adds_bos
    }

    /// Returns the spelling of the beginning token.
    pub fn bos_token(&self) -> Option<Cow<'_, str>> {
        self.piece(self.inner.bos?)
    }

    /// Returns the spelling of the end token.
    pub fn eos_token(&self) -> Option<Cow<'_, str>> {
        self.piece(self.inner.eos?)
    }

    /// Returns the chat template that came with the vocabulary.
    pub fn chat_template(&self) -> Option<&str> {
        self.inner.chat_template.as_deref()
    }

    /// Returns the number of tokens of `text` without added ones.
    ///
    /// A text that cannot be encoded counts one token per byte, which no vocabulary exceeds.
    pub fn count(&self, text: &str) -> usize {
        if check_len(text).is_err() {
            return text.len();
        }
        match &self.inner.engine {
            Engine::Json(vocab) => vocab
                .encode(text, false, true)
                .map_or(text.len(), |ids| ids.len()),
            Engine::Native(vocab) => {
                let mut count = 0usize;
                vocab.encode(text, true, &mut count);
                count
            }
        }
    }

    /// Returns the longest part of `text` that fits in `budget` tokens, cut at `side`, never inside a
    /// character.
    ///
    /// # Errors
    /// [`Error::Encode`] if the vocabulary has no token for a part of the text.
    pub fn truncate_to_tokens<'t>(
        &self,
        text: &'t str,
        budget: usize,
        side: Side,
    ) -> Result<&'t str> {
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        let offsets = self.encode_with(text, &options)?.offsets;
        let mut keep = budget;
        while offsets.len() > budget && keep > 0 {
            // Tokens that share a character cover all of it, so a cut before the next token's start
            // never splits one.
            let part = match side {
                Side::Right => &text[..offsets[keep].start.min(offsets[keep - 1].end)],
                Side::Left => {
                    let from = offsets.len() - keep;
                    &text[offsets[from].start.max(offsets[from - 1].end)..]
                }
            };
            // The part may be cut into other tokens than the whole was, and more of them.
            if self.count(part) <= budget {
                return Ok(part);
            }
            keep -= 1;
        }
        Ok(if offsets.len() > budget { "" } else { text })
    }
}

impl ropewalk_core::TokenCounter for Tokenizer {
    fn count(&self, text: &str) -> usize {
        Self::count(self, text)
    }
}

/// Positions inside a word are kept in 32 bits.
fn check_len(text: &str) -> Result<()> {
    // A space may become three bytes.
    if text.len() > u32::MAX as usize / 4 {
        return Err(Error::Encode(
            format!("{} bytes in one text are too many", text.len()).into(),
        ));
    }
    Ok(())
}
