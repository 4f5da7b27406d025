//! Reading vocabularies for tests.

use std::borrow::Cow;

pub(crate) use ropewalk_core::testing::data_dir as data;
use ropewalk_gguf::Gguf;
use ropewalk_tokens::{Tokenizer, VocabMetadata};

/// A GGUF file's metadata; a key of another type counts as missing.
pub(crate) struct FileMetadata(pub(crate) Gguf);

impl VocabMetadata for FileMetadata {
    fn str(&self, key: &str) -> Option<&str> {
        self.0.metadata().str(key).ok().flatten()
    }

    fn u32(&self, key: &str) -> Option<u32> {
        self.0.metadata().u32(key).ok().flatten()
    }

    fn bool(&self, key: &str) -> Option<bool> {
        self.0.metadata().bool(key).ok().flatten()
    }

    fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        Some(
            self.0
                .metadata()
                .strings(key)
                .ok()
                .flatten()?
                .iter()
                .collect(),
        )
    }

    fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        self.0
            .metadata()
            .f32s(key)
            .ok()
            .flatten()
            .map(Cow::into_owned)
    }

    fn i32s(&self, key: &str) -> Option<Vec<i32>> {
        self.0
            .metadata()
            .i32s(key)
            .ok()
            .flatten()
            .map(Cow::into_owned)
    }
}

/// The vocabulary `tokenizers/{name}.gguf` of the data.
pub(crate) fn real(name: &str) -> Option<Tokenizer> {
    let file = Gguf::open(data(&format!("tokenizers/{name}.gguf"))?).unwrap();
    Some(Tokenizer::from_metadata(&FileMetadata(file)).unwrap())
}
