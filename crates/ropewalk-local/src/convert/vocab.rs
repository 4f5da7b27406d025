//! The keys `tokenizer.*`.

use std::path::Path;

use ropewalk_gguf::{StringArray, Value, Writer};
use ropewalk_spec::ModelSpec;
use ropewalk_tokens::{Tokenizer, VocabExport, VocabValue};

use super::ConvertOptions;
use crate::chat::tokenizer_error;
use crate::{Error, Result};

/// Files of which a tokenizer needs one.
const FILES: [&str; 3] = ["tokenizer.json", "tokenizer.model", "vocab.json"];

/// Writes the vocabulary of a directory.
pub(super) fn write(
    writer: &mut Writer,
    dir: &Path,
    spec: &ModelSpec,
    options: &ConvertOptions,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if !FILES.iter().any(|name| dir.join(name).is_file()) {
        return Err(Error::Path {
            path: dir.to_owned(),
            reason: "no tokenizer.json, tokenizer.model or vocab.json in this directory; add one, or convert the weights alone".to_owned(),
        });
    }
    let tokenizer = Tokenizer::from_dir(dir).map_err(tokenizer_error(dir))?;
    let mut vocab = tokenizer
        .export(options.pre_tokenizer.as_deref())
        .and_then(|vocab| vocab.with_rows(spec.vocab_size))
        .map_err(tokenizer_error(dir))?;
    for id in complete(&mut vocab, spec) {
        vocab.warnings.push(format!(
            "token {id} ends texts too, and GGUF has keys for three such tokens"
        ));
    }
    warnings.append(&mut vocab.warnings);
    for (key, value) in vocab.entries() {
        if let Some(value) = value_of(value) {
            writer.set(key, value);
        }
    }
    Ok(())
}

/// Adds the special tokens that only the model's configuration names. Returns the ends of texts
/// that no key is left for.
fn complete(vocab: &mut VocabExport, spec: &ModelSpec) -> Vec<u32> {
    let mut lost = Vec::new();
    vocab.bos = vocab.bos.or(spec.bos_id);
    vocab.pad = vocab.pad.or(spec.pad_id);
    for &id in &spec.eos_ids {
        if [vocab.eos, vocab.eot, vocab.eom].contains(&Some(id)) {
            continue;
        }
        let ends = [&mut vocab.eos, &mut vocab.eot, &mut vocab.eom];
        match ends.into_iter().find(|end| end.is_none()) {
            Some(free) => *free = Some(id),
            None => lost.push(id),
        }
    }
    lost
}

/// A value as GGUF stores it; `None` for kinds of values that are not known here.
fn value_of(value: VocabValue) -> Option<Value> {
    Some(match value {
        VocabValue::Str(text) => text.into(),
        VocabValue::U32(n) => n.into(),
        VocabValue::Bool(flag) => flag.into(),
        VocabValue::Strings(list) => list.iter().collect::<StringArray>().into(),
        VocabValue::F32s(list) => list.into(),
        VocabValue::I32s(list) => list.into(),
        _ => return None,
    })
}
