//! Tool calls in every format: canned answers, random cuts, garbage, and what real chat templates write.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use ropewalk_core::ToolSpec;
use ropewalk_tokens::template::{ChatTemplate, DateTime, TemplateInput, Value as TemplateValue};
use ropewalk_tokens::tool_calls::{Piece, ToolCallFormat, ToolCallParser, parse_as};
use ropewalk_tokens::{BpeTrainOptions, train_bpe};
use serde_json::Value;

use crate::support::data;

/// Answers written by hand after the templates, model cards and prompt guides that `source` names.
fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../fixtures/tool_calls.json")).unwrap()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

fn format(case: &Value) -> ToolCallFormat {
    let name = text(case, "format");
    let named = |format: &ToolCallFormat| format.name() == name;
    ToolCallFormat::ALL.into_iter().find(named).unwrap()
}

/// Reads an answer in parts; neighbouring texts are one.
fn pieces<'a>(format: ToolCallFormat, parts: impl IntoIterator<Item = &'a str>) -> Vec<Piece> {
    let mut parser = ToolCallParser::new().with_format(format);
    let mut pieces: Vec<Piece> = parts.into_iter().flat_map(|p| parser.push(p)).collect();
    pieces.extend(parser.finish());
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
fn an_answer_without_a_tag_calls_only_known_tools() {
    use ToolCallFormat as F;
    let schema = serde_json::json!({"type": "object"}).try_into().unwrap();
    let tools = [ToolSpec::new("price", "", schema)];
    for (format, answer, calls) in [
        (F::Llama3, "{\"name\": \"price\", \"parameters\": {}}", 1),
        (
            F::Llama3,
            "{\"name\": \"Ada\", \"parameters\": {\"x\": 1}}",
            0,
        ),
        (
            F::Llama3,
            "{\"name\": \"Ada\", \"arguments\": []}\nThat is the record.",
            0,
        ),
        (F::Llama3, "<|python_tag|>search.call(q=\"x\")", 1),
        (F::Pythonic, "[price(city='Oslo')]", 1),
        (F::Pythonic, "[price(city='Oslo'), other()]", 2),
        (
            F::Pythonic,
            "[sorted(key=1), f(x=2)] is a list in Python.",
            0,
        ),
        (F::Gemma, "[f(x=1)]", 0),
        (F::Auto, "[{\"name\": \"Ada\", \"arguments\": {}}]", 0),
        (
            F::Auto,
            "<tool_call>{\"name\": \"Ada\", \"arguments\": {}}</tool_call>",
            1,
        ),
    ] {
        for size in [1, 3, 1000] {
            let mut parser = ToolCallParser::new().with_format(format).with_tools(&tools);
            let parts = answer.as_bytes().chunks(size);
            let parts = parts.map(|part| std::str::from_utf8(part).unwrap());
            let mut pieces: Vec<Piece> = parts.flat_map(|part| parser.push(part)).collect();
            pieces.extend(parser.finish());
            let (mut found, mut said) = (0, String::new());
            for piece in pieces {
                match piece {
                    Piece::Call(_) => found += 1,
                    Piece::Text(text) => said.push_str(&text),
                    other => panic!("{answer}: {other:?}"),
                }
            }
            assert_eq!(found, calls, "{format} {answer}");
            if calls == 0 {
                assert_eq!(said, answer, "{format}");
            }
        }
    }
}

#[test]
fn canned_answers_are_taken_apart() {
    for case in cases() {
        let answer = text(&case, "answer");
        // What one format reads, the format for all reads alike, except for the ids of Mistral.
        for format in [format(&case), ToolCallFormat::Auto] {
            let parsed = parse_as(format, answer);
            let calls = case["calls"].as_array().unwrap();
            assert_eq!(
                parsed.calls.len(),
                calls.len(),
                "{format} {case}\n{parsed:?}"
            );
            for (i, (call, expected)) in parsed.calls.iter().zip(calls).enumerate() {
                assert_eq!(call.name, text(expected, "name"), "{case}");
                assert_eq!(call.arguments, text(expected, "arguments"), "{case}");
                let id = match (expected["id"].as_str(), format) {
                    (Some(id), ToolCallFormat::Mistral) => id.to_owned(),
                    (Some(id), _) if !id.starts_with("call") => id.to_owned(),
                    (_, ToolCallFormat::Mistral) => format!("call{i:05}"),
                    _ => parsed.calls[i].id.clone(),
                };
                assert_eq!(call.id, id, "{case}");
                assert!(
                    serde_json::from_str::<Value>(&call.arguments)
                        .unwrap()
                        .is_object()
                );
            }
            let mut ids: Vec<&str> = parsed.calls.iter().map(|c| c.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), calls.len(), "{case}");
            assert_eq!(parsed.text, text(&case, "text"), "{format} {case}");
            let problems = case["problems"].as_u64().unwrap() as usize;
            assert_eq!(parsed.problems.len(), problems, "{format} {case}");
        }
    }
}

#[test]
fn text_comes_out_as_soon_as_it_cannot_begin_a_call() {
    for (format, parts) in [
        (
            ToolCallFormat::Llama3,
            [("{", ""), ("\"age\"", "{\"age\""), (": 1", ": 1")],
        ),
        (
            ToolCallFormat::Llama3,
            [("{\"na", ""), ("tion", "{\"nation"), ("\"", "\"")],
        ),
        (
            ToolCallFormat::Llama3,
            [("No", "No"), (" {\"name\"", " {\"name\""), ("<|py", "")],
        ),
        (
            ToolCallFormat::Pythonic,
            [("[", ""), ("link", ""), ("](x", "[link](x")],
        ),
        (
            ToolCallFormat::Phi4,
            [("functo", ""), ("ols", ""), (".wraps", "functools.wraps")],
        ),
        (
            ToolCallFormat::Mistral,
            [("[TOOL", ""), ("] ", "[TOOL]"), ("x", " x")],
        ),
        (
            ToolCallFormat::DeepSeek,
            [("a <", "a"), ("｜tool▁", ""), ("x", " <｜tool▁x")],
        ),
        (
            ToolCallFormat::Auto,
            [("[f(", ""), ("1)]", "[f(1)]"), ("!", "!")],
        ),
    ] {
        let mut parser = ToolCallParser::new().with_format(format);
        for (part, out) in parts {
            let shown: String = parser.push(part).into_iter().map(only_text).collect();
            assert_eq!(shown, out, "{format} {part}");
        }
    }
}

fn only_text(piece: Piece) -> String {
    match piece {
        Piece::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_comes_out_with_its_last_character() {
    for (format, answer) in [
        (
            ToolCallFormat::Llama3,
            "{\"name\": \"f\", \"parameters\": {\"a\": \"}\"}}",
        ),
        (ToolCallFormat::Pythonic, "[f(a=']')]"),
        (ToolCallFormat::Mistral, "[TOOL_CALLS]f[ARGS]{\"a\": {}}"),
        (ToolCallFormat::Phi4, "functools[{\"name\": \"f\"}]"),
    ] {
        let mut parser = ToolCallParser::new().with_format(format);
        let (start, last) = answer.split_at(answer.len() - 1);
        assert_eq!(parser.push(start), [], "{format}");
        assert!(
            matches!(&parser.push(last)[..], [Piece::Call(_)]),
            "{format}"
        );
    }
}

#[test]
fn schemas_say_which_values_are_strings() {
    let schema = serde_json::json!({"type": "object", "properties": {
        "zip": {"type": "string"}, "note": {"type": ["string", "null"]},
        "code": {"enum": ["1", "2"]}, "count": {"type": "integer"}
    }});
    let tool = ToolSpec::new("f", "", schema.try_into().unwrap());
    let answer: String = ["zip", "note", "code", "count", "other"]
        .map(|name| format!("<parameter={name}>\n12\n</parameter>\n"))
        .concat();
    let mut parser = ToolCallParser::new()
        .with_format(ToolCallFormat::QwenCoder)
        .with_tools(&[tool]);
    let pieces = parser.push(&format!(
        "<tool_call>\n<function=f>\n{answer}</function>\n</tool_call>"
    ));
    let [Piece::Call(call)] = &pieces[..] else {
        panic!("{pieces:?}");
    };
    let json = r#"{"zip":"12","note":"12","code":"12","count":12,"other":12}"#;
    assert_eq!(call.arguments, json);
}

#[test]
fn ids_are_unique_in_the_conversation() {
    let answer = "{\"name\": \"a\", \"parameters\": {}, \"id\": \"call_1\"}\n{\"name\": \"b\", \"parameters\": {}}";
    let mut parser = ToolCallParser::numbered_from(0)
        .with_format(ToolCallFormat::Llama3)
        .with_taken_ids(["call_0"]);
    let mut pieces = parser.push(answer);
    pieces.extend(parser.finish());
    let ids = |piece: &Piece| match piece {
        Piece::Call(call) => call.id.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        pieces.iter().map(ids).collect::<Vec<_>>(),
        ["call_1", "call_2"]
    );
}

#[test]
fn an_opening_makes_the_answer_a_call() {
    for format in ToolCallFormat::ALL {
        for tool in [None, Some("get_time")] {
            let Some(opening) = format.opening(tool) else {
                continue;
            };
            let rest = match (format, tool) {
                (ToolCallFormat::QwenCoder, None) => "get_time>\n</function>\n</tool_call>",
                (ToolCallFormat::QwenCoder, Some(_)) => "</function>\n</tool_call>",
                (ToolCallFormat::Mistral, _) => "get_time[ARGS]{}",
                (ToolCallFormat::Llama3, None) => "get_time\", \"parameters\": {}}",
                (_, None) => "get_time\", \"arguments\": {}}\n</tool_call>",
                (_, Some(_)) => "{}}",
            };
            let parsed = parse_as(format, &(opening + rest));
            assert_eq!(parsed.calls.len(), 1, "{format} {tool:?} {parsed:?}");
            assert_eq!(parsed.calls[0].name, "get_time");
            assert_eq!(parsed.calls[0].arguments, "{}");
        }
    }
}

/// Calls marked by special tokens reach the parser although the decoder hides special tokens.
#[test]
fn marks_that_are_special_tokens_can_be_shown() {
    let answer = "[TOOL_CALLS]get[ARGS]{\"é\": 1}";
    let mut options = BpeTrainOptions::default();
    options.vocab_size = 300;
    options.special_tokens = ["[TOOL_CALLS]", "[ARGS]", "</s>"].map(str::to_owned).into();
    let tokenizer = train_bpe([answer], &options).unwrap().tokenizer().unwrap();
    let ids = tokenizer.encode(&format!("{answer}</s>"), false).unwrap();
    let decode = |marks: &[&'static str]| -> String {
        let mut stream = tokenizer.decode_stream(true).showing(marks.iter().copied());
        let parts: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        parts.into_iter().flatten().collect::<String>() + &stream.finish()
    };
    assert_eq!(decode(&[]), "get{\"é\": 1}");
    assert_eq!(decode(&ToolCallFormat::Mistral.marks()), answer);
}

#[test]
fn formats_are_found_by_what_templates_write() {
    for (template, format) in [
        (
            "'<tool_call>\\n{\"name\": \"' + f.name + '\", \"arguments\": '",
            Some(ToolCallFormat::Hermes),
        ),
        (
            "'<tool_call>\\n<function=' + f.name + '>\\n' … '</function>'",
            Some(ToolCallFormat::QwenCoder),
        ),
        (
            "{\"name\": function name, \"parameters\": dictionary",
            Some(ToolCallFormat::Llama3),
        ),
        (
            "\"<|python_tag|>\" + f.name + \".call(\"",
            Some(ToolCallFormat::Llama3),
        ),
        (
            "[func_name1(params_name1=params_value1)]",
            Some(ToolCallFormat::Pythonic),
        ),
        (
            "\"<|tool_call_start|>[\" + calls",
            Some(ToolCallFormat::Pythonic),
        ),
        (
            "'<|tool_call|>' + calls | tojson + '<|/tool_call|>'",
            Some(ToolCallFormat::Phi4),
        ),
        ("' functools[' + calls", Some(ToolCallFormat::Phi4)),
        (
            "'[TOOL_CALLS]' + f.name + '[ARGS]'",
            Some(ToolCallFormat::Mistral),
        ),
        (
            "'<start_function_call>call:' + f.name",
            Some(ToolCallFormat::Gemma),
        ),
        ("'<|tool_call>call:' + f.name", Some(ToolCallFormat::Gemma)),
        (
            "'<｜tool▁call▁begin｜>' + f.name",
            Some(ToolCallFormat::DeepSeek),
        ),
        (
            "'<TOOLCALL>[' … '\"arguments\": '",
            Some(ToolCallFormat::JsonList),
        ),
        ("'<tool_call>' + name + '<arg_key>'", None),
        (
            "{%- set dsml_token = '｜DSML｜' -%}",
            Some(ToolCallFormat::DeepSeek),
        ),
        ("{{ messages[0].content }}", None),
    ] {
        assert_eq!(ToolCallFormat::detect(template), format, "{template}");
    }
}

/// What the chat templates of the data write for calls, read back in the format found in them.
#[test]
fn what_real_templates_write_is_read_back() {
    let Some(folder) = data("templates") else {
        return;
    };
    let mut names: Vec<String> = std::fs::read_dir(folder.as_path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jinja"))
        .collect();
    names.sort();
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for name in &names {
        let source = std::fs::read_to_string(folder.join(name)).unwrap();
        let found = ToolCallFormat::detect(&source);
        println!("{name}: {found:?}");
        let Some(format) = found else {
            continue;
        };
        match read_back(&source, format) {
            Some(Ok(())) => *counts.entry(format.name()).or_insert(0) += 1,
            Some(Err(e)) => wrong.push(format!("{name} ({format}): {e}")),
            // The template writes no calls, or refuses the conversation.
            None => println!("  writes no call"),
        }
    }
    println!("{counts:?}");
    // One template of each format that the data holds is enough to see that something was compared.
    for format in [
        "deepseek",
        "gemma",
        "hermes",
        "json-list",
        "llama3",
        "mistral",
        "pythonic",
        "qwen-coder",
    ] {
        assert!(counts.contains_key(format), "no template writes {format}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn read_back(source: &str, format: ToolCallFormat) -> Option<Result<(), String>> {
    let template = ChatTemplate::new(source).unwrap();
    let value = |json: &str| TemplateValue::from_json(json).unwrap();
    let tool = value(
        r#"{"type": "function", "function": {"name": "get_ticket_price", "description": "Price.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "x"},
        "day": {"type": "integer", "description": "y"}}, "required": ["city"]}}}"#,
    );
    let user = value(r#"{"role": "user", "content": "How much is Paris?"}"#);
    let call = value(
        r#"{"role": "assistant", "content": "", "tool_calls": [{"id": "call12345", "type": "function",
        "function": {"name": "get_ticket_price", "arguments": {"city": "Paris & \"Orly\"", "day": 3}}}]}"#,
    );
    let render = |messages: Vec<TemplateValue>| {
        let input = TemplateInput::new(messages)
            .with_tools([tool.clone()])
            .with_special_token("bos_token", "")
            .with_special_token("eos_token", "");
        let now = DateTime::new(2026, 1, 1);
        template.render(&now.into_iter().fold(input, TemplateInput::with_now))
    };
    let (before, after) = (
        render(vec![user.clone()]).ok()?,
        render(vec![user, call]).ok()?,
    );
    let same = before
        .bytes()
        .zip(after.bytes())
        .take_while(|(a, b)| a == b);
    let mut at = same.count();
    while !after.is_char_boundary(at) {
        at -= 1;
    }
    let answer = &after[at..];
    if !answer.contains("get_ticket_price") {
        return None;
    }
    // What the prompt begins with is no part of an answer, nor are thoughts.
    let marks = format.marks();
    let start = marks.iter().filter_map(|mark| answer.find(mark)).min();
    let bare = || answer.find(['{', '[']);
    let answer = &answer[start.or_else(bare)?..];
    let parsed = parse_as(format, answer);
    let problem = || format!("{answer:?} gives {parsed:?}");
    let [call] = &parsed.calls[..] else {
        return Some(Err(problem()));
    };
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    let expected = serde_json::json!({"city": "Paris & \"Orly\"", "day": 3});
    let right = call.name == "get_ticket_price" && arguments == expected;
    Some(if right { Ok(()) } else { Err(problem()) })
}

/// Every mark of every format, and what stands between them.
fn fragments() -> Vec<String> {
    let mut all: Vec<String> = ToolCallFormat::Auto
        .marks()
        .into_iter()
        .map(str::to_owned)
        .collect();
    all.extend(
        [
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            "\"",
            "'",
            "\\",
            ",",
            ";",
            ":",
            "=",
            "\n",
            " ",
            "```",
            "call:f",
            "{\"name\": \"f\"",
            ", \"parameters\": {\"a\": \"é\"}}",
            "\"id\": \"x\"",
            "f(a=1)",
            "f.call(q='🦙')",
            "<parameter=a>",
            "</parameter>",
            "</function>",
            "f",
            "print(",
            "🦙",
            "<",
            "｜",
            "json",
            ">",
        ]
        .map(str::to_owned),
    );
    all
}

fn garbage() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => select(fragments()), 1 => "\\PC{0,6}"];
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// A canned answer with some characters taken out, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let answers: Vec<String> = cases()
        .iter()
        .map(|c| text(c, "answer").to_owned())
        .collect();
    let change = (any::<Index>(), 0..3usize, select(fragments()));
    (select(answers), proptest::collection::vec(change, 0..4)).prop_map(|(answer, changes)| {
        let mut chars: Vec<char> = answer.chars().collect();
        for (at, kind, fragment) in changes {
            if chars.is_empty() {
                break;
            }
            let at = at.index(chars.len());
            match kind {
                0 => drop(chars.remove(at)),
                1 => chars.truncate(at),
                _ => drop(chars.splice(at..at, fragment.chars())),
            }
        }
        chars.into_iter().collect()
    })
}

/// Cuts a text at random places.
fn cut<'t>(text: &'t str, places: &[Index]) -> Vec<&'t str> {
    let ends: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| ends[place.index(ends.len())])
        .collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| &text[w[0]..w[1]]).collect()
}

fn check(answer: &str, places: &[Index]) -> Result<(), TestCaseError> {
    for format in ToolCallFormat::ALL {
        let whole = pieces(format, [answer]);
        prop_assert_eq!(&pieces(format, cut(answer, places)), &whole, "{}", format);
        let chars = answer
            .char_indices()
            .map(|(at, c)| &answer[at..at + c.len_utf8()]);
        prop_assert_eq!(&pieces(format, chars), &whole, "{} by characters", format);
        // Texts and malformed calls are what the answer holds, in order.
        let mut rest = answer.chars();
        let (mut shown, mut ids) = (String::new(), HashSet::new());
        for piece in &whole {
            match piece {
                Piece::Text(text) | Piece::Malformed { text, .. } => {
                    shown += text;
                    let in_order = text.chars().all(|c| rest.any(|r| r == c));
                    prop_assert!(in_order, "{}: {:?} is not next", format, text);
                }
                Piece::Call(call) => {
                    prop_assert!(!call.name.is_empty() && ids.insert(call.id.clone()));
                }
                _ => unreachable!(),
            }
            if let Piece::Malformed { problem, .. } = piece {
                prop_assert!(!problem.is_empty() && !problem.contains('\n'));
            }
        }
        let drops_tags = matches!(format, ToolCallFormat::Auto | ToolCallFormat::DeepSeek);
        if ids.is_empty() && !drops_tags {
            prop_assert_eq!(&shown, answer, "{}", format);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn garbage_is_read_alike_however_it_is_cut(
        answer in garbage(),
        places in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        check(&answer, &places)?;
    }

    #[test]
    fn broken_calls_are_read_alike_however_they_are_cut(
        answer in mutated(),
        places in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        check(&answer, &places)?;
    }
}
