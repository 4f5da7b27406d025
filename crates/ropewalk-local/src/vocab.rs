//! The vocabulary inside a GGUF file.

use std::path::Path;

use ropewalk_gguf::{Gguf, Metadata};
use ropewalk_tokens::{Tokenizer, VocabMetadata};

use crate::Result;

struct GgufVocab<'a>(&'a Metadata);

// A key of another type counts as missing; the tokenizer then names what it needs.
impl VocabMetadata for GgufVocab<'_> {
    fn str(&self, key: &str) -> Option<&str> {
        self.0.str(key).ok()?
    }

    fn u32(&self, key: &str) -> Option<u32> {
        self.0.u32(key).ok()?
    }

    fn bool(&self, key: &str) -> Option<bool> {
        self.0.bool(key).ok()?
    }

    fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        Some(self.0.strings(key).ok()??.iter().collect())
    }

    fn f32s(&self, key: &str) -> Option<Vec<f32>> {
        Some(self.0.f32s(key).ok()??.into_owned())
    }

    fn i32s(&self, key: &str) -> Option<Vec<i32>> {
        Some(self.0.i32s(key).ok()??.into_owned())
    }
}

pub(crate) fn tokenizer(path: &Path, gguf: &Gguf) -> Result<Tokenizer> {
    Tokenizer::from_metadata(&GgufVocab(gguf.metadata()))
        .map_err(crate::chat::tokenizer_error(path))
}

/// Builds the tokenizer of the vocabulary inside a GGUF file.
///
/// # Errors
/// [`Error::Tokenizer`](crate::Error::Tokenizer) when the file holds none, or one of an unknown
/// kind.
pub fn gguf_tokenizer(gguf: &Gguf) -> Result<Tokenizer> {
    tokenizer(Path::new("GGUF"), gguf)
}
