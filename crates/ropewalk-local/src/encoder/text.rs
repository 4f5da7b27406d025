//! From texts to tokens.

use std::path::Path;

use ropewalk_kernels::Pool;
use ropewalk_spec::EncoderFamily;
use ropewalk_tokens::{EncodeOptions, Tokenizer};

use super::EncoderInput;
use crate::chat::tokenizer_error;
use crate::rows::for_each;
use crate::{Error, Result};

/// A text that was too long, and lost its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Truncated {
    /// Position of the text in the list that was given.
    pub index: usize,
    /// Tokens that it has, special ones included.
    pub tokens: usize,
    /// Tokens that were read.
    pub kept: usize,
}

/// Texts as tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    pub(super) inputs: Vec<EncoderInput>,
    pub(super) truncated: Vec<Truncated>,
}

impl Tokens {
    /// Tokens that are read, of all texts together.
    pub(super) fn count(&self) -> usize {
        self.inputs.iter().map(|input| input.ids.len()).sum()
    }
}

/// A tokenizer and how much of a text counts.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    lowercase: bool,
    /// Whether the tokens of a pair have two types.
    typed: bool,
    /// Tokens that are added after a text.
    suffix: usize,
    max_tokens: usize,
}

/// Texts from which sharing them among threads pays.
const MANY: usize = 8;

impl Vocabulary {
    /// Checks that a vocabulary belongs to a table of `rows` embeddings.
    pub(super) fn new(
        path: &Path,
        tokenizer: Tokenizer,
        family: Option<EncoderFamily>,
        rows: usize,
        max_tokens: usize,
    ) -> Result<Self> {
        let tokens = tokenizer.vocab_size();
        if tokens > rows {
            return Err(Error::Vocabulary {
                path: path.to_owned(),
                tokens,
                rows,
            });
        }
        let probe = tokenizer.encode_with("a", &EncodeOptions::default());
        let mask = probe.map_err(tokenizer_error(path))?.special_mask;
        let suffix = mask.iter().rev().take_while(|bit| **bit == 1).count();
        let special = tokenizer.special_count();
        if max_tokens <= special {
            return Err(Error::Option {
                name: "max_tokens",
                value: max_tokens.to_string(),
                allowed: "more than the special tokens around a text",
            });
        }
        Ok(Self {
            tokenizer,
            lowercase: false,
            typed: family == Some(EncoderFamily::Bert),
            suffix,
            max_tokens,
        })
    }

    pub(super) fn with_lowercase(mut self, on: bool) -> Self {
        self.lowercase = on;
        self
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    fn folded<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        if self.lowercase {
            text.to_lowercase().into()
        } else {
            text.into()
        }
    }

    /// Tokens at the beginning of every text that begins with a prompt, those added after a text
    /// left out.
    pub(super) fn prompt_tokens(&self, prompt: &str) -> Result<usize> {
        let ids = self.ids(prompt)?;
        Ok(ids.len().saturating_sub(self.suffix))
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.tokenizer.encode(&self.folded(text), true);
        ids.map_err(tokenizer_failed)
    }

    /// Encodes texts, each behind a prompt, on the threads of the pool when there are many.
    ///
    /// The end of a text that is too long is left out, the tokens added after it are not.
    pub(super) fn encode(&self, pool: &Pool, prompt: &str, texts: &[&str]) -> Result<Tokens> {
        collect(pool, texts, |text| {
            let mut ids = if prompt.is_empty() {
                self.ids(text)?
            } else {
                self.ids(&format!("{prompt}{text}"))?
            };
            let total = ids.len();
            if total > self.max_tokens {
                ids.drain(self.max_tokens - self.suffix..total - self.suffix);
            }
            Ok((EncoderInput::new(ids), total))
        })
    }

    /// Encodes each text as the second of a pair.
    pub(super) fn encode_pairs(&self, pool: &Pool, first: &str, texts: &[&str]) -> Result<Tokens> {
        let first = self.folded(first);
        collect(pool, texts, |text| {
            let limit = Some(self.max_tokens);
            let pair = self
                .tokenizer
                .encode_pair(&first, &self.folded(text), limit);
            let pair = pair.map_err(tokenizer_failed)?;
            let input = EncoderInput::new(pair.ids);
            let input = if self.typed {
                input.with_types(pair.types)
            } else {
                input
            };
            Ok((input, pair.total))
        })
    }
}

/// Encodes each text, on the threads of the pool when there are many; `one` also tells how many
/// tokens there are without a limit.
pub(super) fn collect(
    pool: &Pool,
    texts: &[&str],
    one: impl Fn(&str) -> Result<(EncoderInput, usize)> + Sync,
) -> Result<Tokens> {
    let mut rows = vec![(EncoderInput::default(), 0); texts.len()];
    let work = |(row, text): (&mut (EncoderInput, usize), &&str)| {
        *row = one(text)?;
        Ok::<_, Error>(())
    };
    let mut items = rows.iter_mut().zip(texts);
    if texts.len() < MANY {
        items.try_for_each(work)?;
    } else {
        for_each(pool, items.collect(), work)?;
    }
    let mut tokens = Tokens::default();
    for (index, (input, total)) in rows.into_iter().enumerate() {
        let kept = input.ids.len();
        if kept == 0 {
            return Err(Error::EmptyText { index });
        }
        if kept < total {
            tokens.truncated.push(Truncated {
                index,
                tokens: total,
                kept,
            });
        }
        tokens.inputs.push(input);
    }
    Ok(tokens)
}

/// The error for a text that the tokenizer refuses.
pub(super) fn tokenizer_failed(e: ropewalk_tokens::Error) -> Error {
    Error::Tokenizer {
        context: "a text cannot be tokenized".to_owned(),
        source: Box::new(e),
    }
}

/// Returns `model_max_length` of `tokenizer_config.json`; very large numbers there mean none.
pub(super) fn tokenizer_limit(dir: &Path) -> Option<usize> {
    let text = std::fs::read(dir.join("tokenizer_config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let limit = config.get("model_max_length")?.as_f64()?;
    (1.0..1e9).contains(&limit).then_some(limit as usize)
}
