//! Two texts in one row, as cross-encoders read them.

use crate::error::{Error, Result};
use crate::tokenizer::{Engine, Tokenizer};

/// The tokens of two texts, with the special tokens around and between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PairEncoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Which text each token belongs to, 0 or 1, as the vocabulary's rules say; all 0 for those of
    /// RoBERTa's kind.
    pub types: Vec<u32>,
    /// Tokens before any were left out, special ones included.
    pub total: usize,
}

impl Tokenizer {
    /// Encodes two texts into one row of at most `max_length` tokens, special ones included.
    ///
    /// What is too much is taken from the end of the longer text, then from both alike, as
    /// transformers does by default (`longest_first`).
    ///
    /// # Errors
    /// [`Error::Encode`] if the rules fail, [`Error::Option`] if the vocabulary knows no pairs or
    /// `max_length` has no room for its special tokens.
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
        max_length: Option<usize>,
    ) -> Result<PairEncoding> {
        match self.engine() {
            Engine::Json(vocab) => vocab.encode_pair(first, second, max_length),
            Engine::Native(_) => Err(Error::option(
                "pair",
                "this vocabulary has no rule for two texts; use a model with a tokenizer.json",
            )),
        }
    }
}
