use std::sync::OnceLock;

use proptest::prelude::*;
use ropewalk_tokens::{EncodeOptions, Side, Tokenizer};

use crate::miniature::{gguf, json};

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> (String, Vec<String>) {
    let mut stream = tokenizer.decode_stream(skip_special);
    let mut pieces: Vec<String> = ids
        .iter()
        .filter_map(|&id| stream.push(id).unwrap())
        .collect();
    pieces.push(stream.finish());
    (pieces.concat(), pieces)
}

fn tokenizers() -> [(&'static str, Tokenizer); 6] {
    static LOADED: OnceLock<[(&'static str, Tokenizer); 6]> = OnceLock::new();
    let load = || {
        [
            ("bytelevel.json", json("bytelevel")),
            ("bytelevel.gguf", gguf("bytelevel")),
            ("spm.json", json("spm")),
            ("spm.gguf", gguf("spm")),
            ("spaces.json", json("spaces")),
            ("spaces.gguf", gguf("spaces")),
        ]
    };
    LOADED.get_or_init(load).clone()
}

#[test]
fn emoji_and_ideographs_come_out_whole() {
    let text = "say 東京 🦙👩\u{200d}👩 naïve";
    for (name, tokenizer) in tokenizers() {
        let ids = tokenizer.encode(text, false).unwrap();
        let (all, pieces) = streamed(&tokenizer, &ids, false);
        assert_eq!(all, tokenizer.decode(&ids, false).unwrap(), "{name}");
        assert!(all.ends_with(text), "{name}: {all:?}");
        assert!(!all.contains('\u{fffd}'), "{name}");
        assert!(pieces.len() > 6, "{name}: {pieces:?}");
    }
}

#[test]
fn a_character_cut_off_becomes_the_replacement_character() {
    for (name, tokenizer) in tokenizers() {
        let mut ids = tokenizer.encode("a😶", false).unwrap();
        ids.pop();
        let (all, pieces) = streamed(&tokenizer, &ids, false);
        assert_eq!(all, tokenizer.decode(&ids, false).unwrap(), "{name}");
        assert!(
            all.starts_with('a') && all.ends_with('\u{fffd}'),
            "{name}: {all:?}"
        );
        assert!(
            pieces[..pieces.len() - 1]
                .iter()
                .all(|piece| !piece.contains('\u{fffd}'))
        );
    }
}

#[test]
fn special_tokens_that_are_shown_read_as_if_none_were_hidden() {
    for (name, tokenizer) in tokenizers() {
        let special = (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.is_special(id));
        let special: Vec<u32> = special.collect();
        let [first, second, ..] = special[..] else {
            panic!("{name} has too few special tokens");
        };
        let (text, more) = ("the ticket 🦙", "東京 café");
        let mut ids = tokenizer.encode(text, false).unwrap();
        // A character is cut off before the token.
        ids.extend(tokenizer.encode("😶", false).unwrap());
        ids.pop();
        ids.push(first);
        ids.extend(tokenizer.encode(more, false).unwrap());
        ids.push(second);
        let pieces: Vec<_> = special
            .iter()
            .filter_map(|&id| tokenizer.piece(id))
            .collect();
        let shown = |pieces: &[&str]| {
            let mut stream = tokenizer
                .decode_stream(true)
                .showing(pieces.iter().copied());
            let parts: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            parts.into_iter().flatten().collect::<String>() + &stream.finish()
        };
        let pieces: Vec<&str> = pieces.iter().map(|piece| &**piece).collect();
        assert_eq!(
            shown(&pieces),
            streamed(&tokenizer, &ids, false).0,
            "{name}"
        );
        assert_eq!(
            shown(&["no token"]),
            streamed(&tokenizer, &ids, true).0,
            "{name}"
        );
        let piece = |id| tokenizer.piece(id).unwrap().into_owned();
        let one = shown(&[&piece(first)]);
        assert!(
            one.contains(&piece(first)) && !one.contains(&piece(second)),
            "{name}: {one}"
        );
    }
}

#[test]
fn the_stream_starts_anew_after_finish() {
    let tokenizer = gguf("spm");
    let ids = tokenizer.encode("the ticket", false).unwrap();
    let mut stream = tokenizer.decode_stream(true);
    for _ in 0..2 {
        let mut text: String = ids
            .iter()
            .filter_map(|&id| stream.push(id).unwrap())
            .collect();
        text += &stream.finish();
        assert_eq!(text, "the ticket");
    }
}

#[test]
fn ids_outside_the_vocabulary_are_passed_over() {
    for (name, tokenizer) in tokenizers() {
        assert_eq!(
            tokenizer.decode(&[u32::MAX, 1_000_000], false).unwrap(),
            "",
            "{name}"
        );
        assert_eq!(tokenizer.decode_bytes(u32::MAX), None);
        assert_eq!(tokenizer.piece(1_000_000), None);
        assert_eq!(streamed(&tokenizer, &[1_000_000], false).0, "");
    }
}

#[test]
fn special_text_can_be_kept_as_text() {
    let mut options = EncodeOptions::default();
    options.add_special = false;
    options.parse_special = false;
    for tokenizer in [json("bytelevel"), gguf("bytelevel")] {
        let ids = tokenizer.encode_with("<|im_end|>", &options).unwrap().ids;
        assert!(
            ids.len() > 1 && !ids.iter().any(|&id| tokenizer.is_special(id)),
            "{ids:?}"
        );
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "<|im_end|>");
    }
}

#[test]
fn a_budget_cuts_between_characters() {
    let text = "the captain 🦙🦙 books a ticket";
    for (name, tokenizer) in tokenizers() {
        let all = tokenizer.count(text);
        for budget in 0..=all + 1 {
            for side in [Side::Left, Side::Right] {
                let part = tokenizer.truncate_to_tokens(text, budget, side).unwrap();
                assert!(
                    tokenizer.count(part) <= budget,
                    "{name} {budget} {side:?} {part:?}"
                );
                match side {
                    Side::Right => assert!(text.starts_with(part)),
                    Side::Left => assert!(text.ends_with(part)),
                }
                assert_eq!(part == text, budget >= all, "{name} {budget} {part:?}");
            }
        }
        assert!(
            tokenizer
                .truncate_to_tokens(text, all - 1, Side::Right)
                .unwrap()
                .len()
                > 20
        );
    }
}

#[test]
fn decoders_that_see_all_ids_stream_too() {
    let tokenizer = json("wordpiece");
    let ids = tokenizer
        .encode(
            &"the captain books a ticket, the ticket. ".repeat(200),
            true,
        )
        .unwrap();
    for skip in [false, true] {
        let (all, pieces) = streamed(&tokenizer, &ids, skip);
        assert_eq!(all, tokenizer.decode(&ids, skip).unwrap());
        assert!(pieces.len() > 800);
    }
}

/// A decoder that turns text already given out into other text: `a` and `b` together are `X`.
#[test]
fn text_goes_on_after_what_a_decoder_rewrote() {
    let json = r#"{"version": "1.0", "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2}, "unk_token": "c"},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"},
            {"type": "Replace", "pattern": {"String": "ab"}, "content": "X"}]}}"#;
    let tokenizer = Tokenizer::from_bytes(json.as_bytes()).unwrap();
    let (all, _) = streamed(&tokenizer, &[2, 0, 1, 2, 2], false);
    assert_eq!(all, "caXcc");
}

proptest! {
    #[test]
    fn streaming_any_ids_equals_decoding_them(
        ids in proptest::collection::vec(0u32..2010, 0..40),
        low in proptest::collection::vec(0u32..300, 0..40),
        skip in any::<bool>(),
    ) {
        for (name, tokenizer) in tokenizers() {
            for ids in [&ids, &low] {
                let expected = tokenizer.decode(ids, skip).unwrap();
                prop_assert_eq!(streamed(&tokenizer, ids, skip).0, expected, "{}", name);
            }
        }
    }

    #[test]
    fn text_survives_and_offsets_slice_it(text in "\\PC{0,30}|[ a-e\n▁🦙é]{0,30}") {
        for (name, tokenizer) in tokenizers() {
            let mut options = EncodeOptions::default();
            options.add_special = false;
            let encoding = tokenizer.encode_with(&text, &options).unwrap();
            prop_assert_eq!(&encoding.ids, &tokenizer.encode(&text, false).unwrap());
            let mut covered = 0;
            for range in &encoding.offsets {
                prop_assert!(text.get(range.clone()).is_some(), "{} {:?} {:?}", name, range, text);
                prop_assert!(range.start <= covered || name.starts_with("spm.json"));
                covered = covered.max(range.end);
            }
            // `▁` in a text is taken for a space by the vocabularies that use it for spaces.
            let decoded = tokenizer.decode(&encoding.ids, false).unwrap();
            let expected = if name.starts_with("byte") { text.clone() } else { text.replace('▁', " ") };
            prop_assert_eq!(decoded, expected, "{}", name);
        }
    }
}
