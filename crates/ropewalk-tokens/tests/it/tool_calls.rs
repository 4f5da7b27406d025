use proptest::prelude::*;
use ropewalk_tokens::tool_calls::{Piece, ToolCallParser, parse};

fn pieces(parts: &[&str]) -> Vec<Piece> {
    let mut parser = ToolCallParser::new();
    let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| parser.push(part)).collect();
    pieces.extend(parser.finish());
    // Text may come in any number of parts.
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

#[test]
fn calls_keep_the_exact_argument_text() {
    let answer = "Let me look.\n\n<tool_call>\n{\"name\": \"get_ticket_price\", \"arguments\": \
                  {\"city\" :\"Z\\u00fcrich\",  \"n\": 1.0}}\n</tool_call>\n<tool_call>{\"name\":\"b\"}\
                  </tool_call>\n Done. \n";
    let parsed = parse(answer);
    assert_eq!(parsed.text, "Let me look.Done. \n");
    assert_eq!(parsed.calls.len(), 2);
    assert_eq!(parsed.calls[0].name, "get_ticket_price");
    assert_eq!(
        parsed.calls[0].arguments,
        "{\"city\" :\"Z\\u00fcrich\",  \"n\": 1.0}"
    );
    assert_eq!(parsed.calls[0].id, "call_0");
    assert_eq!(
        (&*parsed.calls[1].id, &*parsed.calls[1].arguments),
        ("call_1", "{}")
    );
    assert!(parsed.problems.is_empty());
}

#[test]
fn arguments_may_be_a_string_or_named_parameters() {
    let parsed = parse(
        "<tool_call>{\"arguments\": \"{\\\"a\\\": 1}\", \"name\": \"f\"}</tool_call>\
         <tool_call>{\"name\": \"g\", \"parameters\": [1]}</tool_call>",
    );
    assert_eq!(parsed.calls[0].arguments, "{\"a\": 1}");
    assert_eq!(parsed.calls[1].arguments, "[1]");
}

#[test]
fn malformed_calls_stay_text_with_a_note() {
    for (answer, note) in [
        ("a <tool_call>{\"name\": }</tool_call> b", "malformed"),
        (
            "a <tool_call>{\"name\": \"x\", \"arguments\": {}</tool_call> b",
            "malformed",
        ),
        ("a <tool_call>{\"arguments\": {}}</tool_call> b", "name"),
        ("a <tool_call>{\"name\": \"\"}</tool_call> b", "empty name"),
        ("a <tool_call>{\"name\": \"x </tool_call> b", "malformed"),
        ("a <tool_call>{\"name\": \"x", "missing"),
        ("a <tool_call>", "missing"),
    ] {
        let parsed = parse(answer);
        assert_eq!(parsed.text, answer);
        assert_eq!(parsed.calls, []);
        assert_eq!(parsed.problems.len(), 1, "{answer}");
        assert!(
            parsed.problems[0].contains(note),
            "{answer}: {:?}",
            parsed.problems
        );
    }
}

#[test]
fn a_call_without_its_closing_tag_counts_when_complete() {
    let parsed = parse("<tool_call>{\"name\": \"f\", \"arguments\": {}}\n");
    assert_eq!(parsed.calls.len(), 1);
    assert!(parsed.text.is_empty() && parsed.problems.is_empty());
}

#[test]
fn a_closing_tag_inside_a_string_is_not_the_end() {
    let parsed = parse(
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"t\": \"</tool_call>\"}}</tool_call>x",
    );
    assert_eq!(parsed.calls[0].arguments, "{\"t\": \"</tool_call>\"}");
    assert_eq!(parsed.text, "x");
}

#[test]
fn text_comes_out_at_once_and_tags_are_held_back() {
    let mut parser = ToolCallParser::numbered_from(3);
    assert_eq!(parser.push("Hi <b"), [Piece::Text("Hi <b".to_owned())]);
    assert_eq!(parser.push(" <tool"), []);
    assert_eq!(parser.push("box"), [Piece::Text(" <toolbox".to_owned())]);
    assert_eq!(parser.push("<tool_call>{\"name\":\"f\"}</tool_call"), []);
    let pieces = parser.push("> ");
    assert!(
        matches!(&pieces[..], [Piece::Call(call)] if call.id == "call_3"),
        "{pieces:?}"
    );
    assert_eq!(parser.finish(), []);
}

/// An answer of texts, calls and broken calls, in random order.
fn answer() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-z<>/ \n\"{}é🦙]{0,12}",
        Just("<tool_call>".to_owned()),
        Just("</tool_call>".to_owned()),
        Just(
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"é\"}}\n</tool_call>"
                .to_owned()
        ),
        Just("<tool_call>{\"name\": \"g\"}".to_owned()),
        Just("<tool_".to_owned()),
        "\\PC{0,8}",
    ];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_split_gives_the_same_pieces(answer in answer()) {
        let whole = pieces(&[&answer]);
        for (at, _) in answer.char_indices() {
            prop_assert_eq!(&pieces(&[&answer[..at], &answer[at..]]), &whole);
        }
        let chars: Vec<String> = answer.chars().map(String::from).collect();
        let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
        prop_assert_eq!(&pieces(&chars), &whole);
    }

    #[test]
    fn nothing_but_calls_and_white_space_beside_them_is_taken_out(answer in answer()) {
        let squeeze = |text: &str| text.split_whitespace().collect::<String>();
        let (mut rest, mut calls) = (squeeze(&answer), 0);
        for piece in pieces(&[&answer]) {
            let text = match piece {
                Piece::Text(text) | Piece::Malformed { text, .. } => squeeze(&text),
                Piece::Call(call) => {
                    prop_assert_eq!(call.id, format!("call_{calls}"));
                    calls += 1;
                    let end = rest.find("</tool_call>").map_or(rest.len(), |at| at + 12);
                    prop_assert!(rest.starts_with("<tool_call>"));
                    rest[..end].to_owned()
                }
                _ => unreachable!(),
            };
            prop_assert!(rest.starts_with(&text), "{:?} is not next in {:?}", text, rest);
            rest.drain(..text.len());
        }
        prop_assert_eq!(rest, "");
    }
}
