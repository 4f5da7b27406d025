//! The vocabulary files of llama.cpp, where `ROPEWALK_DATA` has them.

use ropewalk_core::testing::data_dir;
use ropewalk_gguf::Gguf;

#[test]
fn real_vocabularies_open() {
    // Keys in the file, pieces in the vocabulary.
    let expected = [
        ("bert-bge", 20, 30522),
        ("deepseek-llm", 23, 102_400),
        ("gemma-4", 42, 262_144),
        ("gpt-2", 16, 50257),
        ("llama-bpe", 20, 128_256),
        ("llama-spm", 22, 32000),
        ("phi-3", 26, 32064),
        ("qwen2", 20, 151_936),
        ("qwen35", 20, 151_936),
        ("starcoder", 19, 49152),
    ];
    for (name, keys, pieces) in expected {
        let Some(path) = data_dir(&format!("tokenizers/{name}.gguf")) else {
            continue;
        };
        let file = Gguf::open(&path).unwrap();
        assert_eq!((file.version(), file.tensors().len()), (3, 0), "{name}");
        assert_eq!(file.metadata().len(), keys, "{name}");
        let tokens = file
            .metadata()
            .strings("tokenizer.ggml.tokens")
            .unwrap()
            .unwrap();
        assert_eq!(tokens.len(), pieces, "{name}");
        let types = file
            .metadata()
            .i32s("tokenizer.ggml.token_type")
            .unwrap()
            .unwrap();
        assert_eq!(types.len(), pieces, "{name}");
        assert!(
            file.metadata()
                .str("general.architecture")
                .unwrap()
                .is_some(),
            "{name}"
        );
    }
}
