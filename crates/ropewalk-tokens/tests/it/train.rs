use std::sync::OnceLock;

use proptest::prelude::*;
use ropewalk_tokens::{BpeTrainOptions, PreTokenizer, Tokenizer, TrainedBpe, train_bpe};

const TEXTS: [&str; 4] = [
    "The ticket to London costs 799 dollars, the ticket to Paris costs 899 dollars.",
    "<tool_call>\n{\"name\": \"get_ticket_price\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
    "I don't know. We don't fly there, I'm afraid; the tickets that we sell are listed.",
    "naïve café, 東京 and 🦙🦙",
];

fn options(pre: PreTokenizer, vocab_size: usize) -> BpeTrainOptions {
    let mut options = BpeTrainOptions::default();
    options.vocab_size = vocab_size;
    options.special_tokens = vec!["<|im_start|>".to_owned(), "<|im_end|>".to_owned()];
    options.pre = pre;
    options.min_frequency = 1;
    options
}

fn trained() -> (TrainedBpe, Tokenizer) {
    static TRAINED: OnceLock<(TrainedBpe, Tokenizer)> = OnceLock::new();
    let train = || {
        let trained = train_bpe(TEXTS, &options(PreTokenizer::Qwen2, 300)).unwrap();
        let tokenizer = trained.tokenizer().unwrap();
        (trained, tokenizer)
    };
    TRAINED.get_or_init(train).clone()
}

#[test]
fn training_is_deterministic_and_fills_the_vocabulary() {
    let (trained, tokenizer) = trained();
    let again = train_bpe(TEXTS, &options(PreTokenizer::Qwen2, 300)).unwrap();
    assert_eq!(trained, again);
    assert_eq!(trained.tokens().len(), 300);
    assert_eq!(trained.merges().len(), 300 - 256 - 2);
    assert_eq!(trained.pre_name(), "qwen2");
    assert_eq!(trained.token_types()[297..], [1, 3, 3]);
    assert_eq!(tokenizer.vocab_size(), 300);
    for (id, token) in trained.tokens().iter().enumerate() {
        assert_eq!(tokenizer.token_to_id(token), Some(id as u32));
    }
    assert_eq!(tokenizer.eos(), Some(299));
    assert_eq!(tokenizer.end_ids(), [299]);
}

#[test]
fn special_text_becomes_one_token_and_merges_shorten() {
    let (_, tokenizer) = trained();
    let ids = tokenizer
        .encode("<|im_start|>user\nthe ticket<|im_end|>", true)
        .unwrap();
    assert_eq!((ids[0], ids[ids.len() - 1]), (298, 299));
    assert!(ids.len() < 14, "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "user\nthe ticket");
    assert_eq!(
        tokenizer.decode(&ids, false).unwrap(),
        "<|im_start|>user\nthe ticket<|im_end|>"
    );
}

#[test]
fn a_vocabulary_without_room_is_refused() {
    let error = train_bpe(TEXTS, &options(PreTokenizer::Qwen2, 257))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("vocab_size") && error.contains("258"),
        "{error}"
    );
}

#[test]
fn rare_pairs_are_left_alone() {
    let mut options = options(PreTokenizer::Gpt2, 1000);
    options.min_frequency = 3;
    let trained = train_bpe(["abab abab", "abc"], &options).unwrap();
    assert_eq!(trained.merges(), ["a b"]);
}

proptest! {
    #[test]
    fn every_text_comes_back(text in "\\PC{0,40}|[a-z \n\t\u{0}-\u{1f}]{0,40}") {
        let (_, tokenizer) = trained();
        let ids = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}
