//! Arbitrary bytes as a `tokenizer.json`, a tiktoken file or a GGUF vocabulary: an error of one
//! line, or a tokenizer that codes a text without panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_gguf::Gguf;
use ropewalk_local::gguf_tokenizer;
use ropewalk_tokens::{PreTokenizer, Tokenizer};

fn load(kind: u8, data: &[u8]) -> Option<Result<Tokenizer, String>> {
    let llama3 = PreTokenizer::Llama3;
    Some(match kind % 3 {
        0 => Tokenizer::from_bytes(data).map_err(|e| e.to_string()),
        1 => Tokenizer::from_tiktoken(data, llama3, &[("<|endoftext|>", 900)]).map_err(|e| e.to_string()),
        _ => gguf_tokenizer(&Gguf::from_bytes(data).ok()?).map_err(|e| e.to_string()),
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    match load(kind, data) {
        Some(Err(error)) => assert!(!error.contains('\n')),
        Some(Ok(tokenizer)) => {
            if let Ok(ids) = tokenizer.encode("a text, 12 \u{e9}\u{1f600} <s>\n", true) {
                let _ = tokenizer.decode(&ids, false);
            }
            let _ = tokenizer.decode(&[0, 1, 2, u32::MAX], false);
        }
        None => {}
    }
});
