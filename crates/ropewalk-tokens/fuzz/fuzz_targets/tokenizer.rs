//! Arbitrary bytes as a `tokenizer.json`, a tiktoken file or a GGUF vocabulary: an error of one
//! line, or a tokenizer that codes a text without panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_gguf::{Gguf, Metadata};
use ropewalk_tokens::{PreTokenizer, Result, Tokenizer, VocabMetadata};

struct Vocab<'a>(&'a Metadata);

impl VocabMetadata for Vocab<'_> {
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

fn load(kind: u8, data: &[u8]) -> Option<Result<Tokenizer>> {
    Some(match kind % 3 {
        0 => Tokenizer::from_bytes(data),
        1 => Tokenizer::from_tiktoken(data, PreTokenizer::Llama3, &[("<|endoftext|>", 900)]),
        _ => Tokenizer::from_metadata(&Vocab(Gguf::from_bytes(data).ok()?.metadata())),
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    match load(kind, data) {
        Some(Err(error)) => assert!(!error.to_string().contains('\n')),
        Some(Ok(tokenizer)) => {
            if let Ok(ids) = tokenizer.encode("a text, 12 \u{e9}\u{1f600} <s>\n", true) {
                let _ = tokenizer.decode(&ids, false);
            }
            let _ = tokenizer.decode(&[0, 1, 2, u32::MAX], false);
        }
        None => {}
    }
});
