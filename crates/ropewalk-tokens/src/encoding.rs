//! Encodings of one text and of a padded batch.

use std::ops::Range;

/// An end of a text or of a row of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Side {
    /// The beginning.
    Left,
    /// The end.
    #[default]
    Right,
}

/// The ids of one text, with what is known about each.
///
/// All four lists have the same length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Byte range of the text that each token covers, on character boundaries; `0..0` for tokens that
    /// are not in the text. Tokens that share a character each cover all of it.
    pub offsets: Vec<Range<usize>>,
    /// 1 for tokens that were added around the text (beginning, end, padding), else 0.
    pub special_mask: Vec<u8>,
    /// 0 for padding, else 1.
    pub attention_mask: Vec<u8>,
}

impl Encoding {
    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn push(&mut self, id: u32, range: Range<usize>) {
        self.ids.push(id);
        self.offsets.push(range);
        self.special_mask.push(0);
        self.attention_mask.push(1);
    }

    /// Keeps at most `limit` tokens and drops the others at `side`.
    pub(crate) fn truncate(&mut self, limit: usize, side: Side) {
        let excess = self.ids.len().saturating_sub(limit);
        let range = match side {
            Side::Left => 0..excess,
            Side::Right => self.ids.len() - excess..self.ids.len(),
        };
        self.ids.drain(range.clone());
        self.offsets.drain(range.clone());
        self.special_mask.drain(range.clone());
        self.attention_mask.drain(range);
    }

    /// Puts special tokens around the others.
    pub(crate) fn surround(&mut self, prefix: &[u32], suffix: &[u32]) {
        self.insert(0, prefix, 1);
        self.insert(self.ids.len(), suffix, 1);
    }

    fn insert(&mut self, at: usize, ids: &[u32], attention: u8) {
        self.ids.splice(at..at, ids.iter().copied());
        self.offsets
            .splice(at..at, std::iter::repeat_n(0..0, ids.len()));
        self.special_mask
            .splice(at..at, std::iter::repeat_n(1, ids.len()));
        self.attention_mask
            .splice(at..at, std::iter::repeat_n(attention, ids.len()));
    }

    /// Brings the length to `width` with `pad` on `side`; longer encodings stay as they are.
    pub(crate) fn pad(&mut self, width: usize, side: Side, pad: u32) {
        let missing = width.saturating_sub(self.ids.len());
        let at = match side {
            Side::Left => 0,
            Side::Right => self.ids.len(),
        };
        self.insert(at, &vec![pad; missing], 0);
    }
}

/// Options of [`Tokenizer::encode_with`](crate::Tokenizer::encode_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeOptions {
    /// Adds the tokens the model wants around a text, such as the beginning token. Default true.
    pub add_special: bool,
    /// Turns the text of special tokens inside the input into those tokens. Off for text that must not
    /// be able to forge them. Default true.
    pub parse_special: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special: true,
            parse_special: true,
        }
    }
}

/// To what length the rows of a batch are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Padding {
    /// Rows keep their lengths.
    #[default]
    None,
    /// All rows become as long as the longest.
    Longest,
    /// All rows become this long; longer rows stay as they are unless they are truncated.
    Fixed(usize),
}

/// Options of [`Tokenizer::encode_batch`](crate::Tokenizer::encode_batch); the meanings and defaults are
/// those of `transformers`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchOptions {
    /// Adds the tokens the model wants around a text. Default true.
    pub add_special: bool,
    /// Turns the text of special tokens inside the input into those tokens. Default true.
    pub parse_special: bool,
    /// To what length rows are brought. Default [`Padding::None`].
    pub padding: Padding,
    /// Where padding goes. Default [`Side::Right`]; decoder models generate with [`Side::Left`].
    pub padding_side: Side,
    /// The padding token. Default the vocabulary's own.
    pub pad_id: Option<u32>,
    /// Rounds the padded length up to a multiple of this. Default none.
    pub pad_to_multiple_of: Option<usize>,
    /// Longest row in tokens, the added ones included. Default none.
    pub max_length: Option<usize>,
    /// Which end a row that is too long loses. Default [`Side::Right`].
    pub truncation_side: Side,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            add_special: true,
            parse_special: true,
            padding: Padding::None,
            padding_side: Side::Right,
            pad_id: None,
            pad_to_multiple_of: None,
            max_length: None,
            truncation_side: Side::Right,
        }
    }
}
