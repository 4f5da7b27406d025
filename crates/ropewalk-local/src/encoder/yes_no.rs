//! Decoders that judge a document with yes or no (Qwen3-Reranker).

use std::path::Path;

use ropewalk_kernels::Pool;
use ropewalk_tokens::Tokenizer;

use super::decoder::Reader;
use super::text::{Tokens, collect, tokenizer_failed};
use super::{EncoderInput, EncoderOptions};
use crate::load::Files;
use crate::{Error, Result};

/// What stands before and after the texts: the prompt in the model card of Qwen3-Reranker.
const BEFORE: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on \
the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n\
<|im_start|>user\n";
const AFTER: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

/// A decoder and what it is asked.
#[derive(Debug)]
pub(super) struct YesNo {
    reader: Reader,
    tokenizer: Tokenizer,
    instruction: String,
    before: Vec<u32>,
    after: Vec<u32>,
    yes: usize,
    no: usize,
    /// Tokens of a query and a document, without what stands around them.
    room: usize,
}

impl YesNo {
    pub(super) fn assemble(
        path: &Path,
        files: Files,
        tokenizer: Tokenizer,
        instruction: &str,
        options: &EncoderOptions,
        max_tokens: usize,
    ) -> Result<Self> {
        let rows = files.spec.vocab_size;
        let tokens = tokenizer.vocab_size();
        if tokens > rows {
            return Err(Error::Vocabulary {
                path: path.to_owned(),
                tokens,
                rows,
            });
        }
        let token = |text: &str| {
            let id = tokenizer.token_to_id(text).ok_or_else(|| Error::Path {
                path: path.to_owned(),
                reason: format!("has no token `{text}`, with which it could judge"),
            })?;
            Ok::<_, Error>(id as usize)
        };
        let (yes, no) = (token("yes")?, token("no")?);
        let encode = |text: &str| tokenizer.encode(text, false).map_err(tokenizer_failed);
        let (before, after) = (encode(BEFORE)?, encode(AFTER)?);
        let room = max_tokens.saturating_sub(before.len() + after.len());
        if room == 0 {
            return Err(Error::Option {
                name: "max_tokens",
                value: max_tokens.to_string(),
                allowed: "more than the tokens of the question itself",
            });
        }
        Ok(Self {
            reader: Reader::logits(path, files, options, max_tokens)?,
            instruction: instruction.to_owned(),
            before,
            after,
            yes,
            no,
            room,
            tokenizer,
        })
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.room + self.before.len() + self.after.len()
    }

    pub(super) fn with_pool<T>(&self, f: impl FnOnce(&Pool) -> T) -> T {
        self.reader.model().with_pool(f)
    }

    /// Puts a query and each document into the question; a document that is too long loses its end.
    pub(super) fn encode(&self, pool: &Pool, query: &str, documents: &[&str]) -> Result<Tokens> {
        let around = self.before.len() + self.after.len();
        collect(pool, documents, |document| {
            let text = format!(
                "<Instruct>: {}\n<Query>: {query}\n<Document>: {document}",
                self.instruction
            );
            let ids = self.tokenizer.encode(&text, false);
            let ids = ids.map_err(tokenizer_failed)?;
            let kept = &ids[..ids.len().min(self.room)];
            let all = [&self.before, kept, &self.after].concat();
            Ok((EncoderInput::new(all), ids.len() + around))
        })
    }

    /// Returns by how much the logit of `yes` is above that of `no`, of each text.
    pub(super) fn logits(
        &self,
        texts: &[EncoderInput],
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>> {
        let mut out = vec![f32::NAN; texts.len()];
        self.reader.run(texts, wanted, &mut |index, row| {
            out[index] = row[self.yes] - row[self.no];
        })?;
        Ok(out)
    }
}
