//! Making tokenizers from files and metadata.

use std::path::Path;
use std::sync::Arc;

use super::{Engine, Inner, Tokenizer};
use crate::error::Result;
use crate::files::{self, Extras, Named};
use crate::json::JsonVocab;
use crate::legacy;
use crate::metadata::VocabMetadata;
use crate::native::{NativeVocab, bert_json};
use crate::pre::PreTokenizer;

/// Tokens that end a turn or a text in known model families, by spelling.
pub(crate) const END_TOKENS: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
];

const BOS_GUESSES: &[&str] = &["<s>", "<bos>", "<|begin_of_text|>", "[CLS]"];
const EOS_GUESSES: &[&str] = &[
    "</s>",
    "<eos>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "[SEP]",
];
const PAD_GUESSES: &[&str] = &["<pad>", "[PAD]", "<|pad|>"];

/// The tokens that metadata name as ends besides the end of a text.
fn end_ids(metadata: &dyn VocabMetadata) -> Vec<u32> {
    let keys = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
    keys.into_iter()
        .filter_map(|key| metadata.u32(key))
        .collect()
}

impl Tokenizer {
    /// Loads a `tokenizer.json` file.
    ///
    /// Beginning and end tokens are guessed by their usual spellings; [`Tokenizer::from_dir`] reads them
    /// from the files beside it.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) and [`Error::Parse`](crate::Error::Parse).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = files::read(path)?;
        Self::from_json(&bytes, &path.display().to_string(), Extras::default())
    }

    /// Loads the content of a `tokenizer.json` file.
    ///
    /// # Errors
    /// [`Error::Parse`](crate::Error::Parse).
    pub fn from_bytes(json: &[u8]) -> Result<Self> {
        Self::from_json(json, "tokenizer.json", Extras::default())
    }

    /// Loads a model directory: `tokenizer.json`, or else `tokenizer.model` of SentencePiece, or else
    /// `vocab.json` with `merges.txt`; and, where they exist, `tokenizer_config.json`,
    /// `special_tokens_map.json`, `generation_config.json` and `chat_template.jinja`.
    ///
    /// # Errors
    /// [`Error::Read`](crate::Error::Read) and [`Error::Parse`](crate::Error::Parse), naming the file.
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.join("tokenizer.json");
        let model = path.join("tokenizer.model");
        let vocab = path.join("vocab.json");
        if !file.is_file() && model.is_file() {
            let export = legacy::sentencepiece(path, &model, files::read_extras(path)?)?;
            let mut inner = Self::native(&export)?;
            inner.export = Some(Box::new(export));
            return Ok(Self::new(inner));
        }
        let (file, bytes) = if !file.is_file() && vocab.is_file() {
            let bytes = legacy::byte_level(path)?;
            (vocab, bytes)
        } else {
            let bytes = files::read(&file)?;
            (file, bytes)
        };
        Self::from_json(
            &bytes,
            &file.display().to_string(),
            files::read_extras(path)?,
        )
    }

    /// Loads the vocabulary of a GGUF file from its metadata (`tokenizer.ggml.*`).
    ///
    /// Known models are `gpt2` (byte-level BPE), `llama` (SentencePiece), `gemma4` and `bert`.
    ///
    /// # Errors
    /// [`Error::Metadata`](crate::Error::Metadata) naming the key that is missing or wrong, and [`Error::UnknownPreTokenizer`](crate::Error::UnknownPreTokenizer).
    pub fn from_metadata(metadata: &dyn VocabMetadata) -> Result<Self> {
        if metadata.str("tokenizer.ggml.model") == Some("bert") {
            let extras = Extras {
                chat_template: metadata.str("tokenizer.chat_template").map(str::to_owned),
                end_ids: end_ids(metadata),
                ..Extras::default()
            };
            return Self::from_json(&bert_json(metadata)?, "the bert vocabulary", extras);
        }
        Ok(Self::new(Self::native(metadata)?))
    }

    fn native(metadata: &dyn VocabMetadata) -> Result<Inner> {
        let key = |name| metadata.u32(name);
        let model = metadata.str("tokenizer.ggml.model").unwrap_or_default();
        let llama = |id| (model == "llama").then_some(id);
        let chat_template = metadata.str("tokenizer.chat_template").map(str::to_owned);
        let vocab = NativeVocab::from_metadata(metadata)?;
        let valid = |id: Option<u32>| id.filter(|&id| (id as usize) < vocab.len());
        let bos = valid(key("tokenizer.ggml.bos_token_id").or(llama(1)));
        let eos = valid(key("tokenizer.ggml.eos_token_id").or(llama(2)));
        let pad = valid(key("tokenizer.ggml.padding_token_id"));
        let unk = valid(key("tokenizer.ggml.unknown_token_id").or(llama(0)));
        let add_bos = metadata.bool("tokenizer.ggml.add_bos_token");
        let add_bos = add_bos.unwrap_or_else(|| vocab.adds_bos(metadata));
        let add_eos = metadata
            .bool("tokenizer.ggml.add_eos_token")
            .unwrap_or(false);
        let mut ends = end_ids(metadata);
        ends.extend(eos);
        ends.extend(vocab.end_tokens());
        ends.retain(|&id| (id as usize) < vocab.len());
        let prefix: Vec<u32> = bos.into_iter().filter(|_| add_bos).collect();
        let suffix = eos.into_iter().filter(|_| add_eos).collect();
        Ok(Inner {
            engine: Engine::Native(Box::new(vocab)),
            bos,
            eos,
            pad,
            unk,
            end_ids: ends,
            adds_bos: !prefix.is_empty(),
            prefix,
            suffix,
            chat_template,
            named_templates: Vec::new(),
            export: None,
        })
    }

    /// Loads a tiktoken rank file: lines of base64 bytes and a rank, which is the id.
    ///
    /// `pre` is the split of the encoding ([`PreTokenizer::Gpt4o`] for `o200k_base`,
    /// [`PreTokenizer::Llama3`] for `cl100k_base`), `special` its special tokens with their ids.
    ///
    /// # Errors
    /// [`Error::Parse`](crate::Error::Parse) naming the line.
    pub fn from_tiktoken(file: &[u8], pre: PreTokenizer, special: &[(&str, u32)]) -> Result<Self> {
        let vocab = NativeVocab::from_tiktoken(file, pre, special)?;
        let eos = vocab.token_to_id("<|endoftext|>");
        let end_ids = eos.into_iter().chain(vocab.end_tokens()).collect();
        Ok(Self::new(Inner {
            engine: Engine::Native(Box::new(vocab)),
            bos: None,
            eos,
            pad: None,
            unk: None,
            end_ids,
            adds_bos: false,
            prefix: Vec::new(),
            suffix: Vec::new(),
            chat_template: None,
            named_templates: Vec::new(),
            export: None,
        }))
    }

    fn from_json(json: &[u8], what: &str, extras: Extras) -> Result<Self> {
        let vocab = JsonVocab::from_bytes(json, what)?;
        let id = |named: &Named, guesses: &[&str]| match named {
            Named::Token(name) => vocab.token_to_id(name),
            Named::None => None,
            Named::Unsaid => guesses.iter().find_map(|guess| vocab.token_to_id(guess)),
        };
        let bos = id(&extras.bos, BOS_GUESSES);
        let eos = id(&extras.eos, EOS_GUESSES);
        let pad = id(&extras.pad, PAD_GUESSES);
        let unk = id(&extras.unk, &["<unk>", "[UNK]"]);
        let framed = vocab.encode("", true, true)?;
        let missing = |flag: Option<bool>, token: Option<u32>| {
            let wanted = token.filter(|token| flag == Some(true) && !framed.contains(token));
            wanted.into_iter().collect::<Vec<_>>()
        };
        let prefix = missing(extras.add_bos, bos);
        let suffix = missing(extras.add_eos, eos);
        let adds_bos = !prefix.is_empty() || bos.is_some_and(|bos| framed.contains(&bos));
        let mut end_ids: Vec<u32> = eos.into_iter().chain(extras.end_ids).collect();
        let added = vocab.added().filter(|(name, _)| END_TOKENS.contains(name));
        end_ids.extend(added.map(|(_, id)| id));
        Ok(Self::new(Inner {
            engine: Engine::Json(Box::new(vocab)),
            bos,
            eos,
            pad,
            unk,
            end_ids,
            adds_bos,
            prefix,
            suffix,
            chat_template: extras.chat_template,
            named_templates: extras.named_templates,
            export: None,
        }))
    }

    fn new(mut inner: Inner) -> Self {
        inner.end_ids.sort_unstable();
        inner.end_ids.dedup();
        Self {
            inner: Arc::new(inner),
        }
    }
}
