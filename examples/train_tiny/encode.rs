//! From conversations to token ids: the tokenizer, the ChatML template and the weights of the loss.

use std::ops::Range;

use anyhow::{Context, Result};
use ropewalk::tokens::{BpeTrainOptions, EncodeOptions, Tokenizer, train_bpe};
use ropewalk::train::{BatchSource, Doc, ExportVocab};

use crate::world::{self, Conversation, Role, Stage};

/// Pieces in the vocabulary, added tokens included.
pub const VOCAB: usize = 2048;

/// Added tokens, in the order of their ids; the first three are control tokens.
pub const ADDED: [&str; 9] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
];

/// The chat template of the model, in Jinja. [`pieces`] writes the same text.
pub const TEMPLATE: &str = include_str!("template.jinja");

/// The loss counts what the assistant says fully, what others say a little, the fixed frame not at all.
const OTHERS: f32 = 0.1;

/// What each token of a repeated name or price counts.
const COPIED: f32 = 3.0;

/// Trains the tokenizer on text of the world; returns the vocabulary in both its forms.
pub fn train_tokenizer(seed: u64) -> Result<ExportVocab> {
    let mut options = BpeTrainOptions::default();
    options.vocab_size = VOCAB;
    options.special_tokens = ADDED.iter().map(|&s| s.to_owned()).collect();
    let bpe = train_bpe(world::corpus(seed, 30_000), &options)?;
    let mut json: serde_json::Value = serde_json::from_str(&bpe.tokenizer_json())?;
    if let Some(list) = json["added_tokens"].as_array_mut() {
        for t in list.iter_mut().skip(3) {
            t["special"] = false.into();
        }
    }
    let vocab = ExportVocab::new(format!("{json:#}\n"))?;
    Ok(vocab.with_chat("<|im_end|>", "<|endoftext|>", TEMPLATE))
}

/// A conversation as text with the weight of each part in the loss.
pub fn pieces(c: &Conversation, generate: bool) -> Vec<(String, f32)> {
    let mut out = Vec::new();
    let mut add = |s: String, w: f32| out.push((s, w));
    if c.system.is_some() || c.tool.is_some() {
        let mut s = String::from("<|im_start|>system\n");
        s.push_str(c.system.as_deref().unwrap_or(""));
        if let Some(tool) = &c.tool {
            let gap = if c.system.is_some() { "\n\n" } else { "" };
            s.push_str(&format!("{gap}<tools>\n{tool}\n</tools>"));
        }
        add(s + "<|im_end|>\n", 0.0);
    }
    for (i, (role, text)) in c.turns.iter().enumerate() {
        let same = |j: usize| c.turns.get(j).is_some_and(|(r, _)| *r == Role::Tool);
        match role {
            Role::User => {
                add("<|im_start|>user\n".to_owned(), 0.0);
                add(text.clone(), OTHERS);
                add("<|im_end|>\n".to_owned(), 0.0);
            }
            Role::Tool => {
                let open = if i > 0 && same(i - 1) {
                    ""
                } else {
                    "<|im_start|>user"
                };
                let close = if same(i + 1) { "" } else { "<|im_end|>\n" };
                add(
                    format!("{open}\n<tool_response>\n{text}\n</tool_response>{close}"),
                    0.0,
                );
            }
            Role::Assistant => {
                add("<|im_start|>assistant\n".to_owned(), 0.0);
                add(format!("{text}<|im_end|>"), 1.0);
                add("\n".to_owned(), 0.0);
            }
        }
    }
    if generate {
        add("<|im_start|>assistant\n".to_owned(), 0.0);
    }
    out
}

/// The whole text of a conversation.
pub fn text(c: &Conversation, generate: bool) -> String {
    pieces(c, generate).into_iter().map(|(s, _)| s).collect()
}

/// Token ids with loss weights.
pub fn doc(tok: &Tokenizer, c: &Conversation) -> Result<Doc> {
    let mut d = Doc::default();
    let mut before = String::new();
    let mut options = EncodeOptions::default();
    options.add_special = false;
    for (s, w) in pieces(c, false) {
        let e = tok.encode_with(&s, &options)?;
        let copies = if w == 1.0 {
            copied(&before, &s)
        } else {
            Vec::new()
        };
        for (&id, at) in e.ids.iter().zip(&e.offsets) {
            let copy = copies.iter().any(|c| c.start < at.end && at.start < c.end);
            d.push(&[id], if copy { COPIED } else { w });
        }
        before.push_str(&s);
    }
    Ok(d)
}

/// Where `text` repeats names and numbers of what was said before: words with a capital letter or a digit.
fn copied(before: &str, text: &str) -> Vec<Range<usize>> {
    let edge = |c: char| c.is_whitespace() || "\"{}<>.,:;!?".contains(c);
    let mut out = Vec::new();
    let mut start = 0;
    for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if !edge(c) {
            continue;
        }
        let word = &text[start..i];
        if word.len() > 1
            && word.contains(|c: char| c.is_uppercase() || c.is_ascii_digit())
            && before.contains(word)
        {
            out.push(start..i);
        }
        start = i + c.len_utf8();
    }
    out
}

/// The ids of a prompt that ends where the assistant begins.
pub fn prompt(tok: &Tokenizer, c: &Conversation) -> Result<Vec<u32>> {
    tok.encode(&text(c, true), false)
        .context("encoding a prompt")
}

/// Training data: conversations packed up to a number of tokens.
pub struct World {
    /// The tokenizer.
    pub tok: Tokenizer,
    /// Seed of the conversations.
    pub seed: u64,
    /// Tokens of one update, at most.
    pub tokens: usize,
    /// Updates of one stage of the data; see [`Stage::at`].
    pub stage: u64,
    /// Which part of the run this is, from 0.
    pub part: usize,
    /// Longest conversation kept, in tokens.
    pub longest: usize,
}

impl BatchSource for World {
    fn docs(&self, step: u64) -> ropewalk::train::Result<Vec<Doc>> {
        let (mut out, mut total) = (Vec::new(), 0);
        for i in 0..4096 {
            let stage = match self.part {
                0 => Stage::at(step, self.stage),
                1 => Stage::SECOND,
                _ => Stage::THIRD,
            };
            let index = ((self.part as u64) << 40) + step * 4096 + i;
            let c = world::conversation(self.seed, index, stage);
            let mut d = doc(&self.tok, &c)
                .map_err(|e| ropewalk::train::TrainError::Batch(e.to_string()))?;
            d.truncate(self.longest);
            total += d.ids.len() - 1;
            if total > self.tokens && !out.is_empty() {
                break;
            }
            out.push(d);
        }
        Ok(out)
    }

    fn fingerprint(&self) -> u64 {
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |bytes: &[u8]| {
            bytes
                .iter()
                .for_each(|b| h = (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
        };
        eat(&self.seed.to_le_bytes());
        eat(&(self.tokens as u64).to_le_bytes());
        eat(&self.stage.to_le_bytes());
        eat(&[self.part as u8]);
        eat(&(self.longest as u64).to_le_bytes());
        for i in 0..64 {
            let stage = match i / 8 {
                7 => Stage::SECOND,
                stage => Stage::at(stage * self.stage.max(1), self.stage),
            };
            let c = world::conversation(self.seed, i, stage);
            let ids = doc(&self.tok, &c).map(|d| d.ids).unwrap_or_default();
            ids.iter().for_each(|id| eat(&id.to_le_bytes()));
        }
        h
    }
}
