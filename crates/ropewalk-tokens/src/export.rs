//! Vocabularies as the keys `tokenizer.ggml.*` of a GGUF file.

mod json;
mod pre;

use crate::error::{Error, Result};
use crate::metadata::VocabMetadata;
use crate::tokenizer::{Engine, Tokenizer};

/// Types of tokens, as `tokenizer.ggml.token_type` numbers them.
pub(crate) mod kind {
    pub(crate) const NORMAL: i32 = 1;
    pub(crate) const UNKNOWN: i32 = 2;
    pub(crate) const CONTROL: i32 = 3;
    pub(crate) const USER_DEFINED: i32 = 4;
    pub(crate) const UNUSED: i32 = 5;
    pub(crate) const BYTE: i32 = 6;
}

/// A vocabulary as plain data: what the keys `tokenizer.ggml.*` of a GGUF file hold.
///
/// Made by [`Tokenizer::export`]. [`entries`](Self::entries) lists keys and values for a writer of
/// files; as [`VocabMetadata`] it loads again with [`Tokenizer::from_metadata`].
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct VocabExport {
    /// `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// Name of the pre-tokenizer, for `gpt2`; `default` for `llama`.
    pub pre: String,
    /// Spellings by id: `Ġhello` or `▁hello`; special and user-defined tokens as they stand in a text.
    pub tokens: Vec<String>,
    /// Types by id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub types: Vec<i32>,
    /// Scores by id, for `llama`; the highest merges first.
    pub scores: Vec<f32>,
    /// Merges by rank, two spellings with a space between, for `gpt2`.
    pub merges: Vec<String>,
    /// The token before a text.
    pub bos: Option<u32>,
    /// The token after a text.
    pub eos: Option<u32>,
    /// The token after a turn, where it is another one than `eos`.
    pub eot: Option<u32>,
    /// The token after a message that is not the end of a turn (Llama 3.1).
    pub eom: Option<u32>,
    /// The token for what the vocabulary cannot spell.
    pub unk: Option<u32>,
    /// The padding token.
    pub pad: Option<u32>,
    /// Whether texts begin with `bos`.
    pub add_bos: bool,
    /// Whether texts end with `eos`.
    pub add_eos: bool,
    /// Whether a space is put before a text, for `llama`.
    pub add_space_prefix: bool,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
    /// Further templates by name, such as `tool_use`.
    pub named_templates: Vec<(String, String)>,
    /// What the keys cannot say, in sentences: a reader of the file may tokenise differently.
    pub warnings: Vec<String>,
}

/// The value of a metadata key.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum VocabValue {
    /// A string.
    Str(String),
    /// An unsigned number.
    U32(u32),
    /// A flag.
    Bool(bool),
    /// A list of strings.
    Strings(Vec<String>),
    /// A list of floating-point numbers.
    F32s(Vec<f32>),
    /// A list of signed numbers.
    I32s(Vec<i32>),
}

impl VocabExport {
    /// Gives the vocabulary `rows` entries, as many as the model's embedding has: missing ones
    /// become unused tokens `[PAD7]`, as `convert_hf_to_gguf.py` writes them; added tokens beyond
    /// the last row are left out with a warning.
    ///
    /// # Errors
    /// [`Error::Option`] if trained tokens would be lost.
    pub fn with_rows(mut self, rows: usize) -> Result<Self> {
        let len = self.tokens.len();
        if let Some(surplus) = self.types.get(rows..) {
            let added =
                |kind: &i32| matches!(*kind, kind::CONTROL | kind::USER_DEFINED | kind::UNUSED);
            if !surplus.iter().all(added) {
                let problem = format!("the vocabulary has {len} tokens, the model rows for {rows}");
                return Err(Error::option("rows", problem));
            }
            if len > rows {
                let names = self.tokens.split_off(rows).join(", ");
                self.warnings
                    .push(format!("no rows for the tokens {names}; they are left out"));
            }
        }
        self.tokens
            .extend((len..rows).map(|id| format!("[PAD{id}]")));
        self.types.resize(rows, kind::UNUSED);
        if !self.scores.is_empty() {
            self.scores.resize(rows, UNUSED_SCORE);
        }
        for id in [
            &mut self.bos,
            &mut self.eos,
            &mut self.eot,
            &mut self.eom,
            &mut self.unk,
            &mut self.pad,
        ] {
            *id = id.filter(|id| (*id as usize) < rows);
        }
        Ok(self)
    }

    /// Returns keys and values, from `tokenizer.ggml.model` on.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, VocabValue)> {
        use VocabValue::{Bool, F32s, I32s, Str, Strings, U32};
        let mut out = Vec::new();
        let mut set = |key: &str, value: VocabValue| out.push((format!("tokenizer.{key}"), value));
        set("ggml.model", Str(self.model.clone()));
        set("ggml.pre", Str(self.pre.clone()));
        set("ggml.tokens", Strings(self.tokens.clone()));
        if !self.scores.is_empty() {
            set("ggml.scores", F32s(self.scores.clone()));
        }
        set("ggml.token_type", I32s(self.types.clone()));
        if self.model == GPT2 {
            set("ggml.merges", Strings(self.merges.clone()));
        }
        for (key, id) in self.ids() {
            if let Some(id) = id {
                set(key, U32(id));
            }
        }
        set("ggml.add_bos_token", Bool(self.add_bos));
        set("ggml.add_eos_token", Bool(self.add_eos));
        set("ggml.add_space_prefix", Bool(self.add_space_prefix));
        if let Some(template) = &self.chat_template {
            set("chat_template", Str(template.clone()));
        }
        if !self.named_templates.is_empty() {
            let names = self.named_templates.iter().map(|(name, _)| name.clone());
            set("chat_templates", Strings(names.collect()));
            for (name, template) in &self.named_templates {
                set(&format!("chat_template.{name}"), Str(template.clone()));
            }
        }
        out
    }

    fn ids(&self) -> [(&'static str, Option<u32>); 6] {
        [
            ("ggml.bos_token_id", self.bos),
            ("ggml.eos_token_id", self.eos),
            ("ggml.eot_token_id", self.eot),
            ("ggml.eom_token_id", self.eom),
            ("ggml.unknown_token_id", self.unk),
            ("ggml.padding_token_id", self.pad),
        ]
    }
}

impl VocabMetadata for VocabExport {
    fn str(&self, key: &str) -> Option<&str> {
        match key.strip_prefix("tokenizer.")? {
            "ggml.model" => Some(&self.model),
            "ggml.pre" => Some(&self.pre),
            "chat_template" => self.chat_template.as_deref(),
            _ => None,
        }
    }

    fn u32(&self, key: &str) -> Option<u32> {
        let key = key.strip_prefix("tokenizer.")?;
        let (_, id) = self.ids().into_iter().find(|(name, _)| *name == key)?;
        id
    }

    fn bool(&self, key: &str) -> Option<bool> {
        match key.strip_prefix("tokenizer.ggml.")? {
            "add_bos_token" => Some(self.add_bos),
            "add_eos_token" => Some(self.add_eos),
            "add_space_prefix" => Some(self.add_space_prefix),
            _ => None,
        }
    }

    fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        let list = match key.strip_prefix("tokenizer.ggml.")? {
            "tokens" => &self.tokens,
            "merges" if self.model == GPT2 => &self.merges,
            _ => return None,
        };
        Some(list.iter().map(String::as_bytes).collect())
    }

    fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        let scores = || (!self.scores.is_empty()).then(|| self.scores.clone());
        (key == "tokenizer.ggml.scores").then(scores)?
    }

    fn i32s(&self, key: &str) -> Option<Vec<i32>> {
        (key == "tokenizer.ggml.token_type").then(|| self.types.clone())
    }
}

pub(crate) const GPT2: &str = "gpt2";
pub(crate) const LLAMA: &str = "llama";
/// The score of entries that no merge makes; `convert_hf_to_gguf.py` gives unused ones the same.
pub(crate) const UNUSED_SCORE: f32 = -10_000.0;

/// What two readings of a vocabulary are compared by.
const PROBES: &[&str] = &[
    "Hello, world! It's 1234567 o'clock; I'LL see: \"don't\" (x != y) ...",
    "  two   spaces\tand\ttabs\n\nlines \r\n  end  ",
    "naïve café – Größe Привет 你好世界 こんにちは 안녕 🦙👩‍🚀 ½ ² ① \u{301}e",
    "snake_case camelCase fn main() { let x = vec![1.5e-3; 42]; } #hash @at https://a.b/c?d=e",
];

impl Tokenizer {
    /// Returns the vocabulary as a GGUF file stores it.
    ///
    /// `pre` names the pre-tokenizer; `None` finds it by the splitting rules of the file. Files
    /// cannot say everything: what a reader of the keys would do differently is in
    /// [`VocabExport::warnings`], found by encoding a few texts both ways.
    ///
    /// # Errors
    /// [`Error::UnknownPreTokenizer`] naming splitting rules that no known family has;
    /// [`Error::Export`] for models other than BPE and for vocabularies that were not loaded from
    /// Hugging Face files.
    pub fn export(&self, pre: Option<&str>) -> Result<VocabExport> {
        let vocab = match self.engine() {
            Engine::Json(vocab) => vocab,
            Engine::Native(vocab) => match self.source_export() {
                Some(export) => return Ok(export.clone()),
                None => {
                    let problem = format!(
                        "its {} tokens come from a GGUF file or rank file; copy the keys of that file",
                        vocab.len()
                    );
                    return Err(Error::Export { problem });
                }
            },
        };
        let mut out = json::export(&vocab.to_json()?, pre)?;
        (out.bos, out.eos) = (self.bos(), self.eos());
        (out.pad, out.unk) = (self.pad(), out.unk.or(self.unk()));
        // Where both are one token, only a text between them tells which side it stands on.
        let (plain, framed) = (self.encode("a", false)?, self.encode("a", true)?);
        let frame = self.encode("", true)?;
        let added = framed.len().saturating_sub(plain.len());
        out.add_bos =
            added > 0 && plain.first() != framed.first() && framed.first() == out.bos.as_ref();
        out.add_eos = added > usize::from(out.add_bos) && framed.last() == out.eos.as_ref();
        if added != usize::from(out.add_bos) + usize::from(out.add_eos) {
            let names: Vec<_> = frame.iter().filter_map(|id| self.piece(*id)).collect();
            let names = names.join(" ");
            out.warnings.push(format!(
                "texts are framed by {names}, of which only bos and eos have keys"
            ));
        }
        let spelled = |name: &str| {
            self.token_to_id(name)
                .filter(|id| self.end_ids().contains(id))
        };
        out.eot = END_OF_TURN
            .iter()
            .find_map(|name| spelled(name))
            .filter(|id| Some(*id) != out.eos);
        out.eom = spelled("<|eom_id|>");
        out.chat_template = self.chat_template().map(str::to_owned);
        out.named_templates = self.named_templates().to_vec();
        self.compare(&mut out)?;
        Ok(out)
    }

    /// Notes the first text that the exported vocabulary encodes differently.
    fn compare(&self, out: &mut VocabExport) -> Result<()> {
        let again = Self::from_metadata(&*out)?;
        for text in PROBES {
            if self.encode(text, false)? != again.encode(text, false)? {
                let pre = &out.pre;
                out.warnings.push(format!(
                    "a reader of the file gets other ids for {text:?} (model {}, pre-tokenizer {pre})",
                    out.model
                ));
                break;
            }
        }
        Ok(())
    }
}

/// Tokens that end a turn, in the order in which llama.cpp looks for them.
const END_OF_TURN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
];
