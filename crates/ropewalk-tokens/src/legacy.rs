//! Model directories without `tokenizer.json`: `tokenizer.model`, or `vocab.json` with `merges.txt`.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::export::{VocabExport, kind};
use crate::files::{self, Extras, Named};
use crate::pre::PreTokenizer;
use crate::sentencepiece;

/// Tokens added to a vocabulary: id, spelling, whether special.
fn added_tokens(dir: &Path) -> Result<Vec<(u32, String, bool)>> {
    let config = files::json(&dir.join("tokenizer_config.json"))?;
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    let mut out: Vec<(u32, String, bool)> = Vec::new();
    for (key, token) in config["added_tokens_decoder"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if let (Ok(id), Some(text)) = (key.parse(), token["content"].as_str()) {
            out.push((id, text.to_owned(), token["special"] == true));
        }
    }
    let mut seen: HashSet<u32> = out.iter().map(|(id, ..)| *id).collect();
    let listed = files::json(&dir.join("added_tokens.json"))?;
    for (text, number) in listed.as_object().into_iter().flatten() {
        if let Some(id) = id(number).filter(|id| seen.insert(*id)) {
            // The list does not say which tokens are special; markup is.
            out.push((id, text.clone(), text.starts_with(['<', '['])));
        }
    }
    out.sort();
    Ok(out)
}

/// Reads `tokenizer.model` and what the files beside it say.
pub(crate) fn sentencepiece(dir: &Path, file: &Path, extras: Extras) -> Result<VocabExport> {
    let mut out = sentencepiece::read(&files::read(file)?, &file.display().to_string())?;
    let most = out.tokens.len() + (1 << 16);
    for (id, text, special) in added_tokens(dir)? {
        let at = id as usize;
        if at > most {
            let problem = format!(
                "token `{text}` has the id {id}, far beyond the {} pieces",
                out.tokens.len()
            );
            return Err(Error::Export { problem });
        }
        if at >= out.tokens.len() {
            out = out.with_rows(at + 1)?;
        }
        let Some((token, ty)) = out.tokens.get_mut(at).zip(out.types.get_mut(at)) else {
            continue;
        };
        if *ty != kind::UNKNOWN {
            *ty = if special {
                kind::CONTROL
            } else {
                kind::USER_DEFINED
            };
            *token = if special {
                text
            } else {
                text.replace('▁', " ")
            };
        }
        if let Some(score) = out.scores.get_mut(at) {
            *score = 0.0;
        }
    }
    let find = |named: &Named, own: Option<u32>| match named {
        Named::Token(name) => {
            let at = out.tokens.iter().position(|token| token == name);
            at.map(|at| at as u32)
        }
        Named::None => None,
        Named::Unsaid => own,
    };
    let bos = find(&extras.bos, out.bos);
    let eos = find(&extras.eos, out.eos);
    (out.pad, out.unk) = (find(&extras.pad, out.pad), find(&extras.unk, out.unk));
    (out.bos, out.eos) = (bos, eos);
    out.add_bos = extras.add_bos.unwrap_or(true) && bos.is_some();
    out.add_eos = extras.add_eos.unwrap_or(false) && eos.is_some();
    let other = extras.end_ids.iter().copied().find(|id| Some(*id) != eos);
    out.eot = other.filter(|id| (*id as usize) < out.tokens.len());
    out.chat_template = extras.chat_template;
    out.named_templates = extras.named_templates;
    Ok(out)
}

/// Makes the content of a `tokenizer.json` from `vocab.json` and `merges.txt`.
pub(crate) fn byte_level(dir: &Path) -> Result<Vec<u8>> {
    let vocab = files::json(&dir.join("vocab.json"))?;
    let merges = dir.join("merges.txt");
    let text = String::from_utf8(files::read(&merges)?).map_err(|error| Error::Parse {
        what: merges.display().to_string(),
        source: error.into(),
    })?;
    let lines = text.lines().enumerate();
    let lines =
        lines.filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
    let merges: Vec<&str> = lines.map(|(_, line)| line).collect();
    let config = files::json(&dir.join("tokenizer_config.json"))?;
    let class = config["tokenizer_class"]
        .as_str()
        .unwrap_or("GPT2Tokenizer");
    let prefix = config["add_prefix_space"] == true;
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": use_regex,
        })
    };
    let (pre, normalizer) = match class.trim_end_matches("Fast") {
        "GPT2Tokenizer" | "CodeGenTokenizer" | "PreTrainedTokenizer" => {
            (byte_level(true), Value::Null)
        }
        "Qwen2Tokenizer" => {
            let patterns = PreTokenizer::Qwen2.patterns().iter();
            let mut steps: Vec<Value> = patterns.map(|pattern| json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            })).collect();
            steps.push(byte_level(false));
            (
                json!({"type": "Sequence", "pretokenizers": steps}),
                json!({"type": "NFC"}),
            )
        }
        class => {
            let problem = format!(
                "`vocab.json` of a {class}, whose splitting rules are not known; save the tokenizer with transformers to get a tokenizer.json"
            );
            return Err(Error::Parse {
                what: dir.display().to_string(),
                source: problem.into(),
            });
        }
    };
    let mut added = added_tokens(dir)?;
    let map = files::json(&dir.join("special_tokens_map.json"))?;
    for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
        let text = files::token_text(&config[key]).or_else(|| files::token_text(&map[key]));
        let id = text.as_ref().and_then(|text| vocab[text].as_u64());
        if let Some((text, id)) = text.zip(id.and_then(|id| u32::try_from(id).ok()))
            && added.iter().all(|(known, ..)| *known != id)
        {
            added.push((id, text, true));
        }
    }
    added.sort();
    let added: Vec<Value> = added
        .into_iter()
        .map(|(id, text, special)| {
            json!({
                "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": !special, "special": special,
            })
        })
        .collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre,
        "post_processor": byte_level(false), "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    Ok(json.to_string().into_bytes())
}
