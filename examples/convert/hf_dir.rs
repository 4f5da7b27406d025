//! A GGUF file of the Llama architecture as a Hugging Face directory, to have one to convert.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ropewalk::gguf::Gguf;
use ropewalk::spec::{GgufSource, ModelSpec, NameLayout};
use serde_json::{Value, json};

/// A directory that is removed with its content when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory for this process.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ropewalk-convert-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes configuration, weights (f32) and tokenizer.
pub fn write(file: &'static [u8], dir: &Path) -> Result<()> {
    let source = GgufSource::new(Gguf::from_static(file)?);
    let spec = ModelSpec::from_gguf(source.gguf())?;
    fs::create_dir_all(dir)?;
    fs::write(dir.join("config.json"), format!("{:#}\n", spec.to_hf()?))?;
    weights(&spec, &source, &dir.join("model.safetensors"))?;
    tokenizer(source.gguf(), dir)
}

/// Writes the weights under the names of Hugging Face: a length, a JSON header, the values.
fn weights(spec: &ModelSpec, source: &GgufSource, path: &Path) -> Result<()> {
    let (mut header, mut data) = (BTreeMap::new(), Vec::new());
    for (role, layer) in spec.weights() {
        let place = spec.weight(role, layer, NameLayout::HuggingFace);
        let weight = spec.read(source, role, layer)?;
        let (place, weight) = place
            .zip(weight)
            .context("a weight of the shipped model is missing")?;
        let start = data.len();
        data.extend(
            weight
                .to_f32()?
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
        let entry =
            json!({"dtype": "F32", "shape": weight.shape, "data_offsets": [start, data.len()]});
        header.insert(place.name, entry);
    }
    let header = serde_json::to_vec(&header)?;
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], &header, &data].concat())?;
    Ok(())
}

/// Writes the vocabulary as GPT-2 and Qwen 2 store theirs.
fn tokenizer(file: &Gguf, dir: &Path) -> Result<()> {
    let meta = file.metadata();
    let list = |key: &str| -> Result<Vec<String>> {
        let list = meta.strings(key)?.with_context(|| format!("no {key}"))?;
        Ok(list
            .iter()
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect())
    };
    let tokens = list("tokenizer.ggml.tokens")?;
    let types = meta
        .i32s("tokenizer.ggml.token_type")?
        .context("no types of tokens")?;
    // 1 is a normal token; the others were added.
    let (normal, added): (Vec<_>, Vec<_>) = (0..)
        .zip(&tokens)
        .zip(types.iter())
        .partition(|(_, ty)| **ty == 1);
    let map = |entries: Vec<((u32, &String), &i32)>| -> Value {
        entries
            .into_iter()
            .map(|((id, text), _)| (text.clone(), Value::from(id)))
            .collect()
    };
    fs::write(dir.join("vocab.json"), map(normal).to_string())?;
    fs::write(dir.join("added_tokens.json"), map(added).to_string())?;
    fs::write(
        dir.join("merges.txt"),
        list("tokenizer.ggml.merges")?.join("\n"),
    )?;
    let token = |key: &str| -> Result<Option<&String>> {
        let id = meta.u32(&format!("tokenizer.ggml.{key}_token_id"))?;
        Ok(id.and_then(|id| tokens.get(id as usize)))
    };
    let config = json!({
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": false, "bos_token": null,
        "eos_token": token("eos")?, "pad_token": token("padding")?,
        "chat_template": meta.str("tokenizer.chat_template")?,
    });
    fs::write(dir.join("tokenizer_config.json"), config.to_string())?;
    Ok(())
}
