//! Partial JSON, fences and windows.

use proptest::prelude::*;
use ropewalk_tools::{FenceStripper, PartialJson, windows};
use serde_json::{Map, Value, json};

fn read(text: &str) -> Option<Value> {
    let mut json = PartialJson::new();
    json.push(text).unwrap();
    json.value().cloned()
}

#[test]
fn shows_what_has_been_said() {
    let cases = [
        ("", None),
        (" \n", None),
        ("{", Some(json!({}))),
        (r#"{"a"#, Some(json!({}))),
        (r#"{"a":"#, Some(json!({}))),
        (r#"{"a": ""#, Some(json!({"a": ""}))),
        (r#"{"a": "x\"#, Some(json!({"a": "x"}))),
        (r#"{"a": "x\u00e"#, Some(json!({"a": "x"}))),
        (r#"{"a": "x\u00e9"#, Some(json!({"a": "xé"}))),
        (r#"["\ud83d"#, Some(json!([""]))),
        (r#"["\ud83d\ude00"#, Some(json!(["😀"]))),
        ("[1, 2", Some(json!([1]))),
        ("[1, 2,", Some(json!([1, 2]))),
        ("[tru", Some(json!([]))),
        ("[true", Some(json!([]))),
        ("[true]", Some(json!([true]))),
        ("12", None),
        ("12 ", Some(json!(12))),
        (r#"{"a": {"b": [{}, "#, Some(json!({"a": {"b": [{}]}}))),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text), expected, "{text}");
    }
    let mut number = PartialJson::new();
    number.push("-1.5e3").unwrap();
    assert!(!number.is_complete());
    assert_eq!(number.finish().unwrap(), json!(-1500.0));
}

#[test]
fn says_where_a_text_is_no_json() {
    let cases = [
        ("x", 0, "a value must follow"),
        (r#"{"a" 1}"#, 5, "`:` must follow"),
        ("{a", 1, "a key in quotes must follow"),
        (r#"{"a":1,}"#, 7, "a key in quotes must follow"),
        (
            "[1 2]",
            3,
            "`,` or the end of the list or object must follow",
        ),
        ("[1}", 2, "`,` or the end of the list or object must follow"),
        ("[]]", 2, "nothing may follow the value"),
        ("[01]", 1, "not a number"),
        ("[nul]", 1, "an unknown word"),
        (r#"["\x"]"#, 3, "an unknown escape"),
        (r#"["\ud83dx"]"#, 8, "half of a pair of `\\u` escapes"),
        (r#"["\u00g0"]"#, 6, "`\\u` needs four hex digits"),
        (
            "[\"a\nb\"]",
            2,
            "a control character in a text must be escaped",
        ),
    ];
    for (text, offset, problem) in cases {
        let mut json = PartialJson::new();
        let error = json.push(text).unwrap_err();
        assert_eq!((error.offset, error.problem), (offset, problem), "{text}");
        assert_eq!(json.push("]").unwrap_err(), error);
        assert_eq!(json.finish().unwrap_err(), error);
    }
    let cut = PartialJson::new().finish().unwrap_err();
    assert_eq!(
        cut.to_string(),
        "not JSON at byte 0: the text ends before the value does"
    );
    let deep = "[".repeat(200);
    assert_eq!(PartialJson::new().push(&deep).unwrap_err().offset, 127);
}

/// A long text costs its length, not its square: one piece per byte.
#[test]
fn long_texts_are_read_once() {
    let item = r#"{"name": "Ada \u0041 Lovelace", "n": [1, 2.5, null]}, "#;
    let text = format!("[{}null]", item.repeat(20_000));
    let mut json = PartialJson::new();
    for byte in 0..text.len() {
        json.push(&text[byte..=byte]).unwrap();
        assert!(byte == 0 || json.value().is_some_and(Value::is_array));
    }
    assert_eq!(json.finish().unwrap().as_array().unwrap().len(), 20_001);

    // Nor is a long key looked at for each value under it.
    let key = "k".repeat(1 << 20);
    let text = format!("{{\"{key}\": [{}\"\"]}}", "1, ".repeat(200_000));
    let mut json = PartialJson::new();
    json.push(&text).unwrap();
    let value = json.finish().unwrap();
    assert_eq!(value[&key].as_array().unwrap().len(), 200_001);
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z\"\\\\ \n\té😀\u{7f}]{0,8}", Just(String::new())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let member = (text.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            prop::collection::vec(member, 0..5)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// Whether `new` is `old` with more in it.
fn has_grown(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::String(old), Value::String(new)) => new.starts_with(old.as_str()),
        (Value::Array(old), Value::Array(new)) => {
            old.len() <= new.len() && old.iter().zip(new).all(|(o, n)| has_grown(o, n))
        }
        (Value::Object(old), Value::Object(new)) => old
            .iter()
            .all(|(k, o)| new.get(k).is_some_and(|n| has_grown(o, n))),
        (old, new) => old == new,
    }
}

/// JSON text with every character above ASCII as escapes.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units)
                .iter()
                .for_each(|u| out += &format!("\\u{u:04x}"));
        }
    }
    out
}

fn cut(text: &str, cuts: &[usize]) -> Vec<String> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (text.len() + 1)).collect();
    cuts.retain(|c| text.is_char_boundary(*c));
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|w| text[w[0]..w[1]].to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_prefix_is_a_growing_value(value in any_json(), pretty: bool, escape: bool) {
        let mut text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        if escape {
            text = ascii(&text);
        }
        let expected: Value = serde_json::from_str(&text).unwrap();
        let mut json = PartialJson::new();
        let mut old: Option<Value> = None;
        for c in text.chars() {
            json.push(c.encode_utf8(&mut [0; 4])).unwrap();
            let new = json.value().cloned();
            if let Some(old) = &old {
                prop_assert!(has_grown(old, new.as_ref().unwrap()));
            }
            if let Some(new) = &new {
                prop_assert!(has_grown(new, &expected), "{} in {}", new, expected);
            }
            old = new;
        }
        prop_assert_eq!(json.finish().unwrap(), expected);
    }

    #[test]
    fn reads_what_serde_json_reads(text in r#"([\[\]{},: \-]|"[ab\\u0-9]{0,6}"|1|0|\.5|e3|true|null|fals){0,12}"#, cuts in prop::collection::vec(any::<usize>(), 0..5)) {
        let expected = serde_json::from_str::<Value>(&text).ok();
        let mut json = PartialJson::new();
        let pushed = cut(&text, &cuts).iter().try_for_each(|piece| json.push(piece));
        let value = pushed.and_then(|()| json.finish()).ok();
        prop_assert_eq!(value, expected);
    }

    #[test]
    fn fences_do_not_depend_on_the_pieces(text in "(```|~~~|`|markdown|md|json|\n|\r\n| |x|é){0,24}", cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let mut stripper = FenceStripper::new();
        let mut out: String = cut(&text, &cuts).iter().map(|p| stripper.push(p)).collect();
        out += &stripper.finish();
        prop_assert_eq!(&out, &FenceStripper::strip(&text));
        if !text.trim_start().starts_with(['`', '~']) {
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn a_fence_around_anything_is_taken_off(body in "([a-z .\n]|`|é){0,40}", info in "(markdown|md|)") {
        let body = format!("{body}\n");
        let fenced = format!("```{info}\n{body}```\n");
        prop_assert_eq!(FenceStripper::strip(&fenced), body);
    }

    #[test]
    fn windows_cover_the_text(text in "[a-c .\n。é😀]{0,200}", size in 1usize..50, overlap in 0usize..60) {
        let places = windows(&text, size, overlap);
        let mut covered = vec![false; text.len()];
        let mut last = None;
        for place in &places {
            prop_assert!(text[place.clone()].chars().count() <= size);
            prop_assert!(last.is_none_or(|last| last < place.start));
            last = Some(place.start);
            covered[place.clone()].fill(true);
        }
        for (at, c) in text.char_indices() {
            prop_assert!(c.is_whitespace() || covered[at], "{} in {:?}", at, places);
        }
    }
}

#[test]
fn strips_only_a_fence_that_encloses() {
    let cases = [
        ("```json\n{}\n```", "{}\n"),
        ("\n\n```\nx\n```\n\n", "x\n"),
        ("~~~~md\nx\n~~~\ny\n~~~~~", "x\n~~~\ny\n"),
        (
            "```markdown\n# T\n```rust\nlet x;\n```\nend\n```",
            "# T\n```rust\nlet x;\n```\nend\n",
        ),
        ("```json\n{}\n```\n\nThat is all.", "{}\n\nThat is all."),
        ("```python\ncut of", "cut of"),
        ("This is markdown: ```a```", "This is markdown: ```a```"),
        ("```inline``` code", "```inline``` code"),
        ("``two", "``two"),
        ("```", "```"),
        ("", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(FenceStripper::strip(text), expected, "{text:?}");
    }
}

#[test]
fn windows_end_where_words_do() {
    assert!(windows("", 10, 2).is_empty());
    assert!(windows(" \n ", 2, 1).is_empty());
    assert_eq!(windows("a b", 3, 1).first(), Some(&(0..3)));
    let text = "one two three four five six seven";
    for place in windows(text, 12, 4) {
        let before = place.start == 0 || text[..place.start].ends_with(' ');
        let after = place.end == text.len() || text[..place.end].ends_with(' ');
        assert!(before && after, "{:?}", &text[place]);
    }
    assert_eq!(windows(&"x".repeat(25), 10, 0), [0..10, 10..20, 20..25]);
}
