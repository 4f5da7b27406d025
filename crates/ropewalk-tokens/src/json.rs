//! Vocabularies from `tokenizer.json`, run by the `tokenizers` library.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};

use crate::alphabet;
use crate::encoding::{Encoding, Side};
use crate::error::{Error, Result};
use crate::pair::PairEncoding;

/// How the decoder of a file turns tokens into text, as far as streaming must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecoderKind {
    /// Each token is a run of bytes in the byte-level alphabet.
    ByteLevel,
    /// `▁` is a space, `<0xNN>` a byte, and `strip` leading spaces of the whole text go.
    Fallback { strip: usize },
    /// Anything else: only a decode of all ids is right.
    Whole,
}

pub(crate) struct JsonVocab {
    inner: tokenizers::Tokenizer,
    /// The same with special tokens in the text left as text, made when first asked for.
    plain: OnceLock<Box<tokenizers::Tokenizer>>,
    pub(crate) decoder: DecoderKind,
    added: BTreeMap<u32, (String, bool)>,
}

impl JsonVocab {
    pub(crate) fn from_bytes(bytes: &[u8], what: &str) -> Result<Self> {
        let parse = |source| Error::Parse {
            what: what.to_owned(),
            source,
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(parse)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(parse)?;
        let decoder = decoder_kind(&serde_json::to_value(inner.get_decoder()).unwrap_or_default());
        let added = inner
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| (id, (token.content, token.special)))
            .collect();
        Ok(Self {
            inner,
            plain: OnceLock::new(),
            decoder,
            added,
        })
    }

    /// Returns the vocabulary as the content of a `tokenizer.json`.
    pub(crate) fn to_json(&self) -> Result<Value> {
        serde_json::to_value(&self.inner).map_err(|error| Error::Export {
            problem: error.to_string(),
        })
    }

    fn with(&self, parse_special: bool) -> &tokenizers::Tokenizer {
        if parse_special {
            return &self.inner;
        }
        self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            Box::new(plain)
        })
    }

    pub(crate) fn encode(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<u32>> {
        let encoding = self
            .with(parse_special)
            .encode_fast(text, add_special)
            .map_err(Error::Encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(crate) fn encode_full(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        limit: Option<(usize, Side)>,
    ) -> Result<Encoding> {
        let tokenizer = self.with(parse_special);
        let mut encoding = tokenizer.encode(text, false).map_err(Error::Encode)?;
        if let Some((limit, side)) = limit {
            let direction = match side {
                Side::Left => TruncationDirection::Left,
                Side::Right => TruncationDirection::Right,
            };
            encoding.truncate(limit, 0, direction);
        }
        let encoding = tokenizer
            .post_process(encoding, None, add_special)
            .map_err(Error::Encode)?;
        let small = |mask: &[u32]| mask.iter().map(|&bit| bit as u8).collect();
        Ok(Encoding {
            ids: encoding.get_ids().to_vec(),
            offsets: encoding
                .get_offsets()
                .iter()
                .map(|&(start, end)| start..end)
                .collect(),
            special_mask: small(encoding.get_special_tokens_mask()),
            attention_mask: small(encoding.get_attention_mask()),
        })
    }

    pub(crate) fn encode_pair(
        &self,
        first: &str,
        second: &str,
        max_length: Option<usize>,
    ) -> Result<PairEncoding> {
        use tokenizers::PostProcessor as _;
        let processor = self.inner.get_post_processor();
        let added = processor.map_or(0, |p| p.added_tokens(true));
        let one = |text: &str| self.inner.encode(text, false).map_err(Error::Encode);
        let (mut first, mut second) = (one(first)?, Some(one(second)?));
        let length = |e: &Option<tokenizers::Encoding>| e.as_ref().map_or(0, |e| e.get_ids().len());
        let total = first.get_ids().len() + length(&second) + added;
        if let Some(limit) = max_length {
            let limit = limit.checked_sub(added).ok_or_else(|| {
                let problem = format!("the {added} tokens added around a pair do not fit");
                Error::option("max_length", problem)
            })?;
            let params = TruncationParams {
                max_length: limit,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
                direction: TruncationDirection::Right,
            };
            (first, second) = truncate_encodings(first, second, &params).map_err(Error::Encode)?;
        }
        let whole = self.inner.post_process(first, second, true);
        let whole = whole.map_err(Error::Encode)?;
        Ok(PairEncoding {
            ids: whole.get_ids().to_vec(),
            types: whole.get_type_ids().to_vec(),
            total,
        })
    }

    /// Returns how many tokens `add_special` puts around one text.
    pub(crate) fn special_count(&self) -> usize {
        use tokenizers::PostProcessor as _;
        self.inner
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(false))
    }

    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(Error::Decode)
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub(crate) fn piece(&self, id: u32) -> Option<Cow<'_, str>> {
        self.inner.id_to_token(id).map(Cow::Owned)
    }

    pub(crate) fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.added.get(&id).is_some_and(|(_, special)| *special)
    }

    pub(crate) fn added(&self) -> impl Iterator<Item = (&str, u32)> {
        self.added.iter().map(|(&id, (text, _))| (&**text, id))
    }

    /// Returns the byte that a byte-fallback token stands for.
    pub(crate) fn fallback_byte(&self, id: u32) -> Option<u8> {
        byte_token(&self.inner.id_to_token(id)?)
    }

    pub(crate) fn bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let token = self.inner.id_to_token(id)?;
        Some(Cow::Owned(match self.decoder {
            DecoderKind::ByteLevel => {
                alphabet::unspell(&token).unwrap_or_else(|| token.into_bytes())
            }
            DecoderKind::Fallback { .. } => match byte_token(&token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
            DecoderKind::Whole => self.inner.decode(&[id], false).ok()?.into_bytes(),
        }))
    }
}

/// Parses `<0xNN>`.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

fn decoder_kind(decoder: &Value) -> DecoderKind {
    let kind = |value: &Value| value["type"].as_str().unwrap_or_default().to_owned();
    if kind(decoder) == "ByteLevel" {
        return DecoderKind::ByteLevel;
    }
    let Some(steps) = decoder["decoders"].as_array() else {
        return DecoderKind::Whole;
    };
    let names: Vec<String> = steps.iter().map(kind).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let replaces = || steps[0]["pattern"]["String"] == "▁" && steps[0]["content"] == " ";
    match names[..] {
        ["Replace", "ByteFallback", "Fuse"] if replaces() => DecoderKind::Fallback { strip: 0 },
        ["Replace", "ByteFallback", "Fuse", "Strip"]
            if replaces() && steps[3]["content"] == " " && steps[3]["stop"] == 0 =>
        {
            let strip = steps[3]["start"].as_u64().unwrap_or(0) as usize;
            DecoderKind::Fallback { strip }
        }
        ["ByteLevel"] => DecoderKind::ByteLevel,
        _ => DecoderKind::Whole,
    }
}
