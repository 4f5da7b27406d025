//! The files that lie beside `tokenizer.json` in a model directory.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// What files say about the token of a role.
#[derive(Debug, Default)]
pub(crate) enum Named {
    #[default]
    Unsaid,
    /// There is none.
    None,
    Token(String),
}

/// What the other files say about a vocabulary.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) bos: Named,
    pub(crate) eos: Named,
    pub(crate) pad: Named,
    pub(crate) unk: Named,
    pub(crate) add_bos: Option<bool>,
    pub(crate) add_eos: Option<bool>,
    pub(crate) end_ids: Vec<u32>,
    pub(crate) chat_template: Option<String>,
    /// Templates for other occasions, by name.
    pub(crate) named_templates: Vec<(String, String)>,
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads what there is; a missing file says nothing.
pub(crate) fn read_extras(dir: &Path) -> Result<Extras> {
    let map = json(&dir.join("special_tokens_map.json"))?;
    let config = json(&dir.join("tokenizer_config.json"))?;
    let generation = json(&dir.join("generation_config.json"))?;
    let token = |key: &str| {
        let text = token_text(&config[key]).or_else(|| token_text(&map[key]));
        let said = |file: &Value| file.get(key).is_some();
        match text {
            Some(text) => Named::Token(text),
            None if said(&config) || said(&map) => Named::None,
            None => Named::Unsaid,
        }
    };
    let end = &generation["eos_token_id"];
    let end_ids = end
        .as_array()
        .map_or(std::slice::from_ref(end), Vec::as_slice);
    let template = dir.join("chat_template.jinja");
    let chat_template = match optional(&template)? {
        Some(bytes) => Some(String::from_utf8(bytes).map_err(|error| Error::Parse {
            what: template.display().to_string(),
            source: error.into(),
        })?),
        None => default_template(&config["chat_template"]),
    };
    Ok(Extras {
        bos: token("bos_token"),
        eos: token("eos_token"),
        pad: token("pad_token"),
        unk: token("unk_token"),
        add_bos: config["add_bos_token"].as_bool(),
        add_eos: config["add_eos_token"].as_bool(),
        end_ids: end_ids
            .iter()
            .filter_map(|id| id.as_u64()?.try_into().ok())
            .collect(),
        chat_template,
        named_templates: named_templates(dir, &config["chat_template"])?,
    })
}

/// The templates beside the default one: a list in `tokenizer_config.json`, or the files of
/// `additional_chat_templates`.
fn named_templates(dir: &Path, listed: &Value) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for item in listed.as_array().into_iter().flatten() {
        if let (Some(name), Some(text)) = (item["name"].as_str(), item["template"].as_str())
            && name != "default"
        {
            out.push((name.to_owned(), text.to_owned()));
        }
    }
    let folder = std::fs::read_dir(dir.join("additional_chat_templates"));
    for entry in folder.into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "jinja")) {
            let text = String::from_utf8(read(&path)?).map_err(|error| Error::Parse {
                what: path.display().to_string(),
                source: error.into(),
            })?;
            out.push((name.to_owned(), text));
        }
    }
    out.sort();
    Ok(out)
}

/// A token is its text, or an object with the text as `content`.
pub(crate) fn token_text(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// A template is its text, or the one named `default` in a list.
fn default_template(value: &Value) -> Option<String> {
    let named = || {
        value
            .as_array()?
            .iter()
            .find(|item| item["name"] == "default")
    };
    value
        .as_str()
        .or_else(|| named()?["template"].as_str())
        .map(str::to_owned)
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>> {
    if path.is_file() {
        read(path).map(Some)
    } else {
        Ok(None)
    }
}

pub(crate) fn json(path: &Path) -> Result<Value> {
    let Some(bytes) = optional(path)? else {
        return Ok(Value::Null);
    };
    serde_json::from_slice(&bytes).map_err(|error| Error::Parse {
        what: path.display().to_string(),
        source: error.into(),
    })
}
