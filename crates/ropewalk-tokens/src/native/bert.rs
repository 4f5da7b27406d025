//! BERT vocabularies, which the `tokenizers` library runs.

use serde_json::{Value, json};

use super::load::TOKENS;
use crate::error::{Error, Result};
use crate::metadata::VocabMetadata;

/// Returns the `tokenizer.json` of a `bert` vocabulary.
///
/// The file spells word beginnings `▁word` and continuations bare (llama.cpp's converter); WordPiece
/// spells them bare and `##ing`. Names in brackets are special in both.
pub(crate) fn bert_json(metadata: &dyn VocabMetadata) -> Result<Vec<u8>> {
    let tokens = metadata
        .strings(TOKENS)
        .ok_or_else(|| Error::metadata(TOKENS, "missing or no list of strings"))?;
    let spelled: Vec<String> = tokens
        .iter()
        .map(|token| {
            let token = String::from_utf8_lossy(token);
            match token.strip_prefix('▁') {
                Some(word) => word.to_owned(),
                None if token.starts_with('[') && token.ends_with(']') => token.into_owned(),
                None => format!("##{token}"),
            }
        })
        .collect();
    let special = |key: &'static str, default: u32| {
        let id = metadata.u32(key).unwrap_or(default);
        let text = spelled.get(id as usize);
        let problem = || format!("token {id} is outside the vocabulary of {}", spelled.len());
        text.map(|text| (id, text.as_str()))
            .ok_or_else(|| Error::metadata(key, problem()))
    };
    let unk = special("tokenizer.ggml.unknown_token_id", 100)?;
    let cls = special("tokenizer.ggml.cls_token_id", 101)?;
    // The key is misspelled in the format.
    let sep = special("tokenizer.ggml.seperator_token_id", 102)?;
    let pad = special("tokenizer.ggml.padding_token_id", 0)?;
    let mask = special("tokenizer.ggml.mask_token_id", 103)?;
    let added: Vec<Value> = [pad, unk, cls, sep, mask]
        .iter()
        .map(|(id, text)| {
            json!({
                "id": id, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let vocab: serde_json::Map<String, Value> = spelled
        .iter()
        .enumerate()
        .map(|(id, text)| (text.clone(), id.into()))
        .collect();
    let around = |(id, text): (u32, &str)| json!({"id": text, "ids": [id], "tokens": [text]});
    let piece = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let lowercase = metadata
        .bool("tokenizer.ggml.normalizer.lowercase")
        .unwrap_or(true);
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece(cls.1), {"Sequence": {"id": "A", "type_id": 0}}, piece(sep.1)],
            "pair": [
                piece(cls.1), {"Sequence": {"id": "A", "type_id": 0}}, piece(sep.1),
                {"Sequence": {"id": "B", "type_id": 1}}, piece(sep.1),
            ],
            "special_tokens": {cls.1: around(cls), sep.1: around(sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": unk.1, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    });
    serde_json::to_vec(&file).map_err(|error| Error::Parse {
        what: "the bert vocabulary".to_owned(),
        source: error.into(),
    })
}
