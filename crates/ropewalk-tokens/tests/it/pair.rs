//! Two texts in one row.

use ropewalk_tokens::{Error, Tokenizer};
use serde_json::json;

fn tokenizer() -> Tokenizer {
    let vocab = ["[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e"];
    let ids: serde_json::Map<_, _> = vocab
        .iter()
        .enumerate()
        .map(|(i, v)| ((*v).to_owned(), json!(i)))
        .collect();
    let special = |text: &str, kind: u32| json!({"SpecialToken": {"id": text, "type_id": kind}});
    let sequence = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let named = |text: &str, id: u32| json!({"id": text, "ids": [id], "tokens": [text]});
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
            "pair": [
                special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0),
                sequence("B", 1), special("[SEP]", 1),
            ],
            "special_tokens": {"[CLS]": named("[CLS]", 1), "[SEP]": named("[SEP]", 2)},
        },
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    });
    Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap()
}

#[test]
fn both_texts_and_their_types_are_there() {
    let pair = tokenizer().encode_pair("a b", "c", None).unwrap();
    assert_eq!(pair.ids, [1, 3, 4, 2, 5, 2]);
    assert_eq!(pair.types, [0, 0, 0, 0, 1, 1]);
    assert_eq!(pair.total, 6);
    assert_eq!(
        tokenizer().encode_pair("", "", None).unwrap().ids,
        [1, 2, 2]
    );
}

#[test]
fn the_longer_text_is_cut_first_and_then_both_alike() {
    let cut = |first: &str, second: &str, limit| {
        let pair = tokenizer().encode_pair(first, second, Some(limit)).unwrap();
        (pair.ids, pair.total)
    };
    assert_eq!(
        cut("a b", "a b c d e", 8),
        (vec![1, 3, 4, 2, 3, 4, 5, 2], 10)
    );
    assert_eq!(
        cut("a b c d e", "a b", 8),
        (vec![1, 3, 4, 5, 2, 3, 4, 2], 10)
    );
    // Five are left for two texts of five: two and three.
    assert_eq!(
        cut("a b c d e", "a b c d e", 8),
        (vec![1, 3, 4, 2, 3, 4, 5, 2], 13)
    );
    assert_eq!(cut("a", "b", 5), (vec![1, 3, 2, 4, 2], 5));
}

#[test]
fn no_room_for_special_tokens_is_an_error() {
    let found = tokenizer().encode_pair("a", "b", Some(2)).unwrap_err();
    assert!(
        matches!(
            found,
            Error::Option {
                option: "max_length",
                ..
            }
        ),
        "{found}"
    );
}
