//! From the content of a `tokenizer.json`.

use std::collections::HashMap;

use serde_json::Value;

use super::{GPT2, LLAMA, UNUSED_SCORE, VocabExport, kind, pre};
use crate::error::{Error, Result};
use crate::json::byte_token;
use crate::pre::PreTokenizer;

/// Ids beyond this are refused: a hostile file could ask for any amount of memory.
const MAX_ID: u64 = 1 << 24;

pub(super) fn export(json: &Value, pre_name: Option<&str>) -> Result<VocabExport> {
    let model = &json["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return fail(format!(
            "a vocabulary of type {kind} has no form in GGUF here; known: BPE"
        ));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[key].as_str().is_some_and(|text| !text.is_empty()) {
            return fail(format!("its BPE has a {key}, which GGUF has no key for"));
        }
    }
    let mut out = tokens(json)?;
    let merges = merges(model)?;
    if spaces_are_marks(json) {
        out.model = LLAMA.to_owned();
        out.pre = "default".to_owned();
        out.add_space_prefix = prepends_mark(json);
        sentencepiece(model, &merges, &mut out);
        return Ok(out);
    }
    if !is_byte_level(json) {
        return fail("its BPE is neither byte-level nor SentencePiece's".to_owned());
    }
    out.model = GPT2.to_owned();
    out.pre = match pre_name {
        Some(name) => PreTokenizer::from_name(name).map(|_| name)?.to_owned(),
        None => pre::name(&json["pre_tokenizer"], model["ignore_merges"] == true)?.to_owned(),
    };
    if let Some(normalizer) = json["normalizer"]["type"].as_str() {
        out.warnings.push(format!(
            "texts are normalised ({normalizer}) before they are split, which GGUF has no key for"
        ));
    }
    out.merges = merges
        .into_iter()
        .map(|(left, right)| format!("{left} {right}"))
        .collect();
    Ok(out)
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Export { problem })
}

/// Reads spellings and types.
fn tokens(json: &Value) -> Result<VocabExport> {
    let vocab = json["model"]["vocab"].as_object();
    let Some(vocab) = vocab.filter(|vocab| !vocab.is_empty()) else {
        return fail("it has no tokens".to_owned());
    };
    let added = || json["added_tokens"].as_array().into_iter().flatten();
    let pairs = vocab.iter().map(|(text, id)| (text.as_str(), id.as_u64()));
    let ids = pairs
        .clone()
        .map(|(_, id)| id)
        .chain(added().map(|token| token["id"].as_u64()));
    let highest = ids.map(|id| id.filter(|id| *id < MAX_ID)).max().flatten();
    let Some(highest) = highest else {
        return fail("the ids of its tokens are no numbers".to_owned());
    };
    let len = highest as usize + 1;
    if len > 8 * (vocab.len() + added().count()) + 1024 {
        return fail(format!(
            "its {} tokens have ids up to {highest}",
            vocab.len()
        ));
    }
    let mut out = VocabExport {
        tokens: (0..len).map(|id| format!("[PAD{id}]")).collect(),
        types: vec![kind::UNUSED; len],
        ..VocabExport::default()
    };
    let mut set = |id: Option<u64>, text: String, kind: i32| {
        let at = id.and_then(|id| usize::try_from(id).ok());
        let slot = at.and_then(|at| Some((out.tokens.get_mut(at)?, out.types.get_mut(at)?)));
        match slot {
            Some((token, ty)) => {
                (*token, *ty) = (text, kind);
                Ok(())
            }
            None => fail(format!("the id of `{text}` is no number below {MAX_ID}")),
        }
    };
    for (text, id) in pairs {
        set(id, text.to_owned(), kind::NORMAL)?;
    }
    let unk = json["model"]["unk_token"].as_str();
    let mut stripping = Vec::new();
    for token in added() {
        let text = token["content"].as_str().unwrap_or_default();
        let (spelling, kind) = if Some(text) == unk {
            (text.to_owned(), kind::UNKNOWN)
        } else if token["special"] == true || looks_special(text) {
            (text.to_owned(), kind::CONTROL)
        } else {
            (text.replace('▁', " "), kind::USER_DEFINED)
        };
        set(token["id"].as_u64(), spelling, kind)?;
        if ["lstrip", "rstrip", "single_word"]
            .iter()
            .any(|key| token[key] == true)
        {
            stripping.push(text);
        }
    }
    if !stripping.is_empty() {
        out.warnings.push(format!(
            "the white space beside {} belongs to the token, which GGUF has no key for",
            stripping.join(", ")
        ));
    }
    Ok(out)
}

/// Whether an added token is a control token though its file does not say so, by the rules of
/// `does_token_look_special` in `convert_hf_to_gguf.py`.
fn looks_special(text: &str) -> bool {
    let between = |start, end| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

/// Reads the merges, stored as pairs or as two spellings with a space between. A space inside a
/// spelling becomes the `Ġ` that stands for it.
fn merges(model: &Value) -> Result<Vec<(String, String)>> {
    let list = model["merges"].as_array().into_iter().flatten();
    let pair = |(rank, merge): (usize, &Value)| {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            _ => merge[0].as_str().zip(merge[1].as_str()),
        };
        match pair {
            Some((left, right)) => Ok((left.replace(' ', "Ġ"), right.replace(' ', "Ġ"))),
            None => fail(format!("merge {rank} is no pair of spellings")),
        }
    };
    list.enumerate().map(pair).collect()
}

/// Whether the vocabulary is one of SentencePiece: characters, `▁` for spaces, bytes for the rest.
fn spaces_are_marks(json: &Value) -> bool {
    json["model"]["byte_fallback"] == true && !is_byte_level(json)
}

fn is_byte_level(json: &Value) -> bool {
    has_step(&json["pre_tokenizer"], "pretokenizers", &|step| {
        step["type"] == "ByteLevel"
    })
}

/// Whether a `▁` is put before a text: by a normaliser, or by `Metaspace` in newer files.
fn prepends_mark(json: &Value) -> bool {
    let prepend = |step: &Value| step["type"] == "Prepend" && step["prepend"] == "▁";
    let metaspace = |step: &Value| {
        let scheme = step["prepend_scheme"].as_str();
        step["type"] == "Metaspace"
            && scheme.map_or(step["add_prefix_space"] == true, |s| s != "never")
    };
    has_step(&json["normalizer"], "normalizers", &prepend)
        || has_step(&json["pre_tokenizer"], "pretokenizers", &metaspace)
}

/// Whether a step, or one of a sequence of them, is of a kind.
fn has_step(steps: &Value, list: &str, is: &dyn Fn(&Value) -> bool) -> bool {
    let inner = steps[list].as_array().into_iter().flatten();
    is(steps) || inner.into_iter().any(|step| has_step(step, list, is))
}

/// Gives byte tokens their type and every token the score that makes SentencePiece merge in the
/// order of the merges: a token made by an earlier merge has the higher score.
fn sentencepiece(model: &Value, merges: &[(String, String)], out: &mut VocabExport) {
    let mut rank = HashMap::with_capacity(merges.len());
    for (left, right) in merges {
        let next = rank.len();
        rank.entry(format!("{left}{right}")).or_insert(next);
    }
    let mut lone = rank.len();
    let unk = model["unk_token"].as_str();
    out.scores = vec![UNUSED_SCORE; out.tokens.len()];
    let entries = out.tokens.iter().zip(&mut out.types).zip(&mut out.scores);
    for (id, ((text, ty), score)) in (0..).zip(entries) {
        if Some(text.as_str()) == unk {
            (*ty, *score, out.unk) = (kind::UNKNOWN, 0.0, Some(id));
        } else if *ty == kind::NORMAL && byte_token(text).is_some() {
            (*ty, *score) = (kind::BYTE, 0.0);
        } else if *ty == kind::NORMAL {
            let order = rank.get(text).copied().unwrap_or_else(|| {
                lone += 1;
                lone - 1
            });
            *score = -(order as f32);
        } else if *ty != kind::UNUSED {
            *score = 0.0;
        }
    }
}
