//! The reference ids of real vocabularies, and the ids quoted by courses that use them.

use ropewalk_tokens::Tokenizer;

use crate::support::{data, real};

/// Runs every case of `tokenizers/{name}.gguf.inp` and `.out`; returns how many passed and all.
fn run(name: &str) -> Option<(usize, usize)> {
    let tokenizer = real(name)?;
    let read = |kind: &str| {
        std::fs::read_to_string(data(&format!("tokenizers/{name}.gguf.{kind}")).unwrap()).unwrap()
    };
    let (texts, ids) = (read("inp"), read("out"));
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<Vec<u32>> = ids
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect()
        })
        .collect();
    // The last text is followed by a separator or by nothing.
    let texts = if texts.last() == Some(&"") {
        &texts[..texts.len() - 1]
    } else {
        &texts[..]
    };
    assert_eq!(texts.len(), ids.len(), "{name}: texts and id lines");
    let mut passed = 0;
    for (text, expected) in texts.iter().zip(&ids) {
        let got = tokenizer.encode(text, false).unwrap();
        if got == *expected {
            passed += 1;
        } else {
            println!("{name} {text:?}\n  expected {expected:?}\n  got      {got:?}");
        }
        if name != "bert-bge" {
            // WordPiece drops white space, so its offsets have gaps.
            check_offsets(&tokenizer, text, &got);
        }
    }
    println!("{name}: {passed} of {} cases", ids.len());
    Some((passed, ids.len()))
}

fn check_offsets(tokenizer: &Tokenizer, text: &str, ids: &[u32]) {
    let mut options = ropewalk_tokens::EncodeOptions::default();
    options.add_special = false;
    let encoding = tokenizer.encode_with(text, &options).unwrap();
    assert_eq!(encoding.ids, ids, "{text:?}");
    let mut covered = 0;
    for range in &encoding.offsets {
        assert!(text.get(range.clone()).is_some(), "{range:?} of {text:?}");
        assert!(range.start <= covered, "a gap before {range:?} in {text:?}");
        covered = covered.max(range.end);
    }
    assert!(
        covered == text.len() || ids.is_empty(),
        "{covered} of {text:?}"
    );
}

macro_rules! vectors {
    ($($test:ident: $name:literal,)*) => {$(
        #[test]
        fn $test() {
            if let Some((passed, all)) = run($name) {
                assert!(all >= 40);
                assert_eq!(passed, all);
            }
        }
    )*};
}

vectors! {
    llama_bpe: "llama-bpe",
    llama_spm: "llama-spm",
    phi3: "phi-3",
    qwen2: "qwen2",
    qwen35: "qwen35",
    gemma4: "gemma-4",
    deepseek_llm: "deepseek-llm",
    starcoder: "starcoder",
    gpt2: "gpt-2",
    bert: "bert-bge",
}
