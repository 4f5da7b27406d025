//! Masks against enumeration, and what a vocabulary of 300 pieces makes of grammars.

use std::collections::{BTreeMap, BTreeSet};

use ropewalk_core::{ToolChoice, ToolSpec};
use ropewalk_tokens::reasoning::ReasoningTags;
use ropewalk_tokens::tool_calls::ToolCallFormat;
use ropewalk_tokens::{Tokenizer, VocabMetadata};
use serde_json::json;

use super::grammar::Thinking;
use super::{Constrain, Grammar, ReplyForm, SchemaOptions, TokenConstraint, TokenMask, Vocabulary};
use crate::Error;

const PIECES: usize = 300;
const END: u32 = 299;

/// All bytes, some longer pieces, and three special tokens.
struct Pieces {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
}

impl Pieces {
    fn new() -> Self {
        let spell = |byte: u8| {
            let plain = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let shift = (0..byte).filter(|b| !plain(b)).count() as u32;
            let code = if plain(&byte) {
                u32::from(byte)
            } else {
                256 + shift
            };
            char::from_u32(code).unwrap()
        };
        let spelled = |text: &str| text.bytes().map(spell).collect::<String>();
        let mut tokens: Vec<String> = (0..=255).map(|b| spell(b).to_string()).collect();
        let mut merges = Vec::new();
        let texts = [
            "ab", "abc", "bc", "((", "))", "()", "{\"", "\":", "\": ", "\"}", ", ", ", \"", "true",
            "false", "tr", "fa", "12", "-1", "10", "\"a", "\"a\"", "é", "né", "xé", "[t", "e]",
            "e, ", "0.", "<think", "</think", "think>", "\n{", "}\n", "<tool", "_call>", "x)",
            "(x", "null", "aa", "1 ",
        ];
        for text in texts {
            let token = spelled(text);
            // Built from its first character and the rest, each of which is a piece by then or is built too.
            let mut part = String::new();
            for c in token.chars() {
                if !part.is_empty() {
                    merges.push(format!("{part} {c}"));
                }
                part.push(c);
                if part.chars().count() > 1 && !tokens.contains(&part) && part != token {
                    merges.pop();
                    break;
                }
            }
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        let normal = tokens.len();
        while tokens.len() < PIECES - 3 {
            tokens.push(format!("{}{}", spelled("z"), tokens.len()));
        }
        let normal = normal.max(tokens.len());
        tokens.extend(["<|one|>", "<|two|>", "<|end|>"].map(str::to_owned));
        assert_eq!(tokens.len(), PIECES);
        merges.retain(|m| tokens.contains(&m.replace(' ', "")));
        let types = (0..PIECES)
            .map(|i| if i < normal { 1 } else { 3 })
            .collect();
        Self {
            tokens,
            types,
            merges,
        }
    }
}

impl VocabMetadata for Pieces {
    fn str(&self, key: &str) -> Option<&str> {
        match key {
            "tokenizer.ggml.model" => Some("gpt2"),
            "tokenizer.ggml.pre" => Some("gpt-2"),
            _ => None,
        }
    }

    fn u32(&self, key: &str) -> Option<u32> {
        (key == "tokenizer.ggml.eos_token_id").then_some(END)
    }

    fn bool(&self, key: &str) -> Option<bool> {
        (key == "tokenizer.ggml.add_bos_token").then_some(false)
    }

    fn strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        match key {
            "tokenizer.ggml.tokens" => Some(self.tokens.iter().map(String::as_bytes).collect()),
            "tokenizer.ggml.merges" => Some(self.merges.iter().map(String::as_bytes).collect()),
            _ => None,
        }
    }

    fn f32s(&self, _: &str) -> Option<Vec<f32>> {
        None
    }

    fn i32s(&self, key: &str) -> Option<Vec<i32>> {
        (key == "tokenizer.ggml.token_type").then(|| self.types.clone())
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_metadata(&Pieces::new()).unwrap()
}

fn vocabulary() -> Vocabulary {
    Vocabulary::new(&tokenizer()).unwrap()
}

/// The bytes of every ordinary piece.
fn pieces() -> BTreeMap<u32, Vec<u8>> {
    let tokenizer = tokenizer();
    let ordinary = (0..PIECES as u32).filter(|&id| !tokenizer.is_special(id));
    ordinary
        .map(|id| (id, tokenizer.decode_bytes(id).unwrap().into_owned()))
        .collect()
}

fn begin(grammar: &Grammar) -> Box<dyn TokenConstraint> {
    vocabulary().compile(grammar).unwrap().start().unwrap()
}

/// Begins a reply whose text may be cut into any tokens.
fn begin_free(grammar: &Grammar) -> Box<dyn TokenConstraint> {
    begin(&grammar.clone().with_forced_tokens(false))
}

fn mask(constraint: &mut dyn TokenConstraint) -> BTreeSet<u32> {
    let mut mask = TokenMask::new(PIECES);
    constraint.mask(&mut mask).unwrap();
    (0..PIECES as u32).filter(|&id| mask.allows(id)).collect()
}

/// Compares the mask after every prefix, of at most `longest` bytes, with what `viable` says of the prefix and each
/// piece, and the end with what `whole` says. Returns the number of prefixes.
fn compare(
    grammar: &Grammar,
    longest: usize,
    viable: &dyn Fn(&[u8]) -> bool,
    whole: &dyn Fn(&[u8]) -> bool,
) -> usize {
    let pieces = pieces();
    let free = vocabulary()
        .compile(&grammar.clone().with_forced_tokens(false))
        .unwrap();
    let mut waiting = vec![Vec::new()];
    let mut seen = BTreeSet::from([Vec::new()]);
    let text = |ids: &[u32]| {
        ids.iter()
            .flat_map(|id| pieces[id].clone())
            .collect::<Vec<u8>>()
    };
    let mut compared = 0;
    while let Some(ids) = waiting.pop() {
        let prefix = text(&ids);
        let mut constraint = free.start().unwrap();
        for &id in &ids {
            constraint.accept(id).unwrap();
        }
        let joined = |piece: &[u8]| [&prefix, piece].concat();
        let mut expected: BTreeSet<u32> = pieces
            .iter()
            .filter(|(_, piece)| viable(&joined(piece)))
            .map(|(id, _)| *id)
            .collect();
        if whole(&prefix) {
            expected.insert(END);
        }
        let found = mask(&mut *constraint);
        let shown = String::from_utf8_lossy(&prefix).into_owned();
        assert_eq!(found, expected, "after {shown:?} under {grammar:?}");
        // Where only the end is left the reply is complete, and it can be complete nowhere else.
        assert_eq!(
            constraint.is_complete(),
            !ids.is_empty() && expected == BTreeSet::from([END])
        );
        for &id in expected.iter().filter(|id| **id != END) {
            assert_eq!(constraint.allows(id).unwrap(), Some(true), "{shown:?} {id}");
            let next = joined(&pieces[&id]);
            if next.len() <= longest && seen.insert(next) {
                waiting.push([&ids[..], &[id]].concat());
            }
        }
        for id in pieces.keys().filter(|id| !expected.contains(id)) {
            assert_eq!(
                constraint.allows(*id).unwrap(),
                Some(false),
                "{shown:?} {id}"
            );
        }
        compared += 1;
    }
    compared
}

/// Compares with a finite language.
fn compare_finite(grammar: &Grammar, sentences: &BTreeSet<String>) -> usize {
    let viable = |text: &[u8]| sentences.iter().any(|s| s.as_bytes().starts_with(text));
    let whole = |text: &[u8]| sentences.iter().any(|s| s.as_bytes() == text);
    compare(grammar, usize::MAX, &viable, &whole)
}

fn set<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> BTreeSet<String> {
    texts.into_iter().map(Into::into).collect()
}

/// Every concatenation of one text of each list.
fn product(lists: &[&[&str]]) -> BTreeSet<String> {
    lists.iter().fold(set([""]), |done, list| {
        let joined = done
            .iter()
            .flat_map(|a| list.iter().map(move |b| format!("{a}{b}")));
        joined.collect()
    })
}

#[test]
fn masks_of_expressions_and_choices_equal_enumeration() {
    let regex = Grammar::regex(r"^(ab|a)(c|bc|é)\d?$").unwrap();
    let digits: Vec<String> = (0..10).map(|d| d.to_string()).collect();
    let mut last: Vec<&str> = digits.iter().map(String::as_str).collect();
    last.push("");
    assert!(compare_finite(&regex, &product(&[&["ab", "a"], &["c", "bc", "é"], &last])) > 20);
    let texts = ["a", "ab", "abc", "né", "nô", "((", "(x)", "1 ", "a\"b\\c\n"];
    compare_finite(&Grammar::choice(texts).unwrap(), &set(texts));
}

#[test]
fn masks_of_schemas_equal_enumeration() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"enum": ["x", "xé", "a\"b", 12, null]},
            "b": {"type": "integer", "minimum": -3, "maximum": 12},
            "c": {"anyOf": [{"const": true}, {"type": "null"}]},
        },
        "required": ["a", "c"],
    });
    let numbers: Vec<String> = (-3..=12).map(|n| format!("\"b\": {n}, ")).collect();
    let mut middle: Vec<&str> = numbers.iter().map(String::as_str).collect();
    middle.push("");
    // A number may be written in other ways too, such as -0: all of them are in the expression, none with a fraction.
    let zero = "\"b\": -0, ";
    let with_zero: Vec<&str> = middle.iter().copied().chain([zero]).collect();
    let all = |middle: &[&str]| {
        product(&[
            &["{\"a\": "],
            &["\"x\"", "\"xé\"", "\"a\\\"b\"", "12", "null"],
            &[", "],
            middle,
            &["\"c\": "],
            &["true", "null"],
            &["}"],
        ])
    };
    let grammar = Grammar::json_schema(&schema).unwrap();
    let minus_zero = begin_free(&grammar);
    let allowed = accepts(minus_zero, "{\"a\": 12, \"b\": -0");
    let sentences = all(if allowed { &with_zero } else { &middle });
    assert!(compare_finite(&grammar, &sentences) > 100);

    let list = json!({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2});
    let mut sentences = product(&[&["["], &["true", "false"], &["]"]]);
    sentences.extend(product(&[
        &["["],
        &["true", "false"],
        &[","],
        &["true", "false"],
        &["]"],
    ]));
    let compact = SchemaOptions::new().with_compact(true);
    compare_finite(
        &Grammar::json_schema_with(&list, &compact).unwrap(),
        &sentences,
    );

    let pattern = json!({"type": "string", "pattern": "^[ab]{0,2}c?$"});
    let ab = ["", "a", "b", "aa", "ab", "ba", "bb"];
    let sentences = product(&[&["\""], &ab, &["c", ""], &["\""]]);
    compare_finite(&Grammar::json_schema(&pattern).unwrap(), &sentences);
}

/// Nested parentheses around an x: `(((x)))`.
fn nested(text: &[u8], whole: bool) -> bool {
    let open = text.iter().take_while(|b| **b == b'(').count();
    let rest = &text[open..];
    let Some(close) = rest.strip_prefix(b"x") else {
        return rest.is_empty() && !whole;
    };
    close.iter().all(|b| *b == b')')
        && if whole {
            close.len() == open
        } else {
            close.len() <= open
        }
}

/// Sums of a and ab, in parentheses or not, where a terminal must not be longer than it should be.
fn sums(text: &[u8], whole: bool) -> bool {
    let mut depth = 0;
    let mut operand = true;
    let mut at = 0;
    while at < text.len() {
        match (operand, text[at]) {
            (true, b'(') => depth += 1,
            (true, b'a') => {
                operand = false;
                if text.get(at + 1) == Some(&b'b') {
                    at += 1;
                }
            }
            (false, b')') if depth > 0 => depth -= 1,
            (false, b'+') => operand = true,
            _ => return false,
        }
        at += 1;
    }
    !whole || (!operand && depth == 0)
}

#[test]
fn masks_of_context_free_grammars_equal_those_of_a_matcher() {
    let viable = |text: &[u8]| nested(text, false);
    let whole = |text: &[u8]| nested(text, true);
    let lark = Grammar::lark("start: \"(\" start \")\" | \"x\"").unwrap();
    assert!(compare(&lark, 7, &viable, &whole) > 15);
    let gbnf = Grammar::gbnf("root ::= \"(\" root \")\" | \"x\"").unwrap();
    assert!(compare(&gbnf, 7, &viable, &whole) > 15);
    let left = Grammar::gbnf(
        "root ::= root \"+\" term | term\nterm ::= \"a\" | \"ab\" | \"(\" root \")\"",
    );
    let viable = |text: &[u8]| sums(text, false);
    let whole = |text: &[u8]| sums(text, true);
    assert!(compare(&left.unwrap(), 5, &viable, &whole) > 40);
    // Cut into terminals first, `ab` would eat the `b` that must follow.
    let cuts =
        Grammar::gbnf("root ::= (\"a\" | \"ab\") (\"b\" | \"c\") | \"x\"{2,3} [é-ê]?").unwrap();
    let mut sentences = product(&[&["a", "ab"], &["b", "c"]]);
    sentences.extend(product(&[&["xx", "xxx"], &["", "é", "ê"]]));
    compare_finite(&cuts, &sentences);
}

/// Feeds a text byte by byte and returns whether all of it was allowed.
fn accepts(mut constraint: Box<dyn TokenConstraint>, text: &str) -> bool {
    text.bytes().all(|byte| {
        let id = u32::from(byte);
        mask(&mut *constraint).contains(&id) && constraint.accept(id).is_ok()
    })
}

/// Feeds a text and returns whether it was allowed and may end there.
fn accepts_whole(mut constraint: Box<dyn TokenConstraint>, text: &str) -> bool {
    for byte in text.bytes() {
        if !mask(&mut *constraint).contains(&u32::from(byte)) {
            return false;
        }
        constraint.accept(u32::from(byte)).unwrap();
    }
    mask(&mut *constraint).contains(&END)
}

#[test]
fn forced_tokens_are_those_of_the_tokenizer_and_fit_the_free_mask() {
    let schema = json!({
        "type": "object",
        "properties": {"ab": {"type": "boolean"}, "é": {"const": null}},
        "required": ["ab", "é"],
    });
    let grammar = Grammar::json_schema(&schema).unwrap();
    let mut forcing = begin(&grammar);
    let mut free = begin_free(&grammar);
    let tokenizer = tokenizer();
    let mut ids = Vec::new();
    let mut forced = 0;
    while !forcing.is_complete() {
        let mut next = forcing.forced().unwrap();
        forced += next.len();
        if next.is_empty() {
            next.push(*mask(&mut *forcing).first().unwrap());
        }
        for id in next {
            assert!(mask(&mut *free).contains(&id));
            free.accept(id).unwrap();
            forcing.accept(id).unwrap();
            ids.push(id);
        }
    }
    let text = tokenizer.decode(&ids, false).unwrap();
    assert_eq!(text, "{\"ab\": false, \"é\": null}");
    assert!(forced * 2 > ids.len(), "{forced} of {}", ids.len());
    assert!(free.is_complete() && free.forced().unwrap().is_empty());
}

#[test]
fn numbers_end() {
    let list = json!({"type": "array", "items": {"type": "number"}});
    let grammar = Grammar::json_schema(&list).unwrap();
    assert!(accepts_whole(
        begin(&grammar),
        "[-12.5, 0, 0.12345678, 9007199254740991]"
    ));
    for endless in ["[0.123456789", "[1e5", "[90071992547409920"] {
        assert!(!accepts(begin_free(&grammar), endless), "{endless}");
    }
    // Where the bounds are closer than that, the digits are those of the bounds.
    let narrow = json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1e-12});
    let grammar = Grammar::json_schema(&narrow).unwrap();
    assert!(accepts_whole(begin_free(&grammar), "0.0000000000005"));
}

fn thinking(opened: bool) -> Grammar {
    let json = super::Prepared::new(&json!({"const": true}), &SchemaOptions::new()).unwrap();
    Grammar::reply(ReplyForm {
        thinking: Some(Thinking {
            tags: ReasoningTags::THINK,
            opened,
        }),
        json: Some(json),
        ..ReplyForm::default()
    })
}

#[test]
fn the_form_begins_after_reasoning() {
    let opened = || begin_free(&thinking(true));
    assert!(accepts_whole(
        opened(),
        "Is it true? </thin </think>\n\ntrue"
    ));
    assert!(accepts_whole(opened(), "</think>true"));
    assert!(!accepts(opened(), "x</think>no"));
    assert!(!accepts_whole(opened(), "true"));
    let closed = || begin_free(&thinking(false));
    assert!(accepts_whole(closed(), "true"));
    assert!(accepts_whole(closed(), "<think>\nhm\n</think>\n\ntrue"));
    assert!(!accepts(closed(), "hm"));
}

fn tool(name: &str) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["x"],
    });
    ToolSpec::new(name, "A tool.", schema.try_into().unwrap())
}

#[test]
fn calls_may_stand_in_text_or_must_come() {
    let tools = [tool("f"), tool("fg")];
    let grammar = |choice| Grammar::tool_calls(ToolCallFormat::Hermes, &tools, &choice).unwrap();
    let call = |name: &str, x: &str| {
        format!(
            "<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {{\"x\": {x}}}}}\n</tool_call>"
        )
    };
    let auto = || begin_free(&grammar(ToolChoice::Auto));
    for good in ["", "No <tool.", &format!("Wait. {}", call("fg", "3"))] {
        assert!(accepts_whole(auto(), good), "{good}");
    }
    assert!(accepts_whole(
        auto(),
        &format!("{}\n{}", call("f", "1"), call("fg", "2"))
    ));
    for bad in [
        call("h", "1"),
        call("f", "10"),
        call("f", "\"1\""),
        "a<tool_call>x".to_owned(),
    ] {
        assert!(!accepts(auto(), &bad), "{bad}");
    }
    let required = || begin_free(&grammar(ToolChoice::Required));
    assert!(accepts_whole(required(), &call("f", "1")) && !accepts(required(), "No"));
    let one = || begin_free(&grammar(ToolChoice::Tool("fg".into())));
    assert!(accepts_whole(one(), &call("fg", "1")) && !accepts(one(), &call("f", "1")));
    assert!(!accepts(one(), &format!("{}\n", call("fg", "1"))));
}

#[test]
fn grammars_that_cannot_be_used_say_why() {
    let vocabulary = vocabulary();
    let error = |grammar: Grammar| vocabulary.compile(&grammar).unwrap_err();
    let wrong = Grammar::regex("a\\").unwrap_err();
    assert!(matches!(
        wrong,
        Error::Grammar {
            kind: "regular expression",
            ..
        }
    ));
    for wrong in ["(", "a{3,2}", "(?=x)a", "[z-a]", "*"] {
        let found = error(Grammar::regex(wrong).unwrap());
        assert!(
            matches!(
                found,
                Error::Grammar {
                    kind: "regular expression",
                    ..
                }
            ),
            "{wrong}: {found:?}"
        );
        assert!(!found.to_string().contains('\n'), "{found}");
    }
    for wrong in [
        "",
        "start: x",
        "start: \"a",
        "start: \"a\" & \"b\"",
        "other: \"a\"",
    ] {
        let found = error(Grammar::lark(wrong).unwrap());
        assert!(
            matches!(
                found,
                Error::Grammar {
                    kind: "Lark grammar",
                    ..
                }
            ),
            "{wrong}: {found:?}"
        );
    }
    for none in [
        json!(false),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"allOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"enum": []}),
    ] {
        let found = error(Grammar::json_schema(&none).unwrap());
        assert!(
            matches!(found, Error::Unsatisfiable { .. }),
            "{none}: {found:?}"
        );
    }
    let pattern = json!({"properties": {"a": {"type": "string", "pattern": "(?=x)"}}});
    let Error::SchemaKeyword { keyword, path, .. } = error(Grammar::json_schema(&pattern).unwrap())
    else {
        panic!("the pattern is not named");
    };
    assert_eq!((&*keyword, &*path), ("pattern", "#/properties/a"));
    let both =
        json!({"items": {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}});
    let Error::SchemaKeyword { keyword, path, .. } = error(Grammar::json_schema(&both).unwrap())
    else {
        panic!("the alternatives are not named");
    };
    assert_eq!((&*keyword, &*path), ("oneOf", "#/items"));
}

#[test]
fn hostile_grammars_end_in_bounded_work() {
    let vocabulary = vocabulary();
    let nested = format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000));
    let long = "a".repeat((1 << 20) + 1);
    for text in [&nested, &long] {
        assert!(matches!(
            Grammar::regex(text),
            Err(Error::GrammarSize { .. })
        ));
        assert!(matches!(
            Grammar::lark(text),
            Err(Error::GrammarSize { .. })
        ));
        assert!(matches!(
            Grammar::gbnf(text),
            Err(Error::GrammarSize { .. })
        ));
    }
    let many: String = (0..2_500).map(|i| format!("a{i}: \"x\"\n")).collect();
    assert!(matches!(
        Grammar::lark(&many),
        Err(Error::GrammarSize { .. })
    ));
    // A chain as long as is allowed neither ends the stack nor the memory.
    let mut chain: String = (0..1_900)
        .map(|i| format!("a{i}: \"x\" a{}\n", i + 1))
        .collect();
    chain += "start: a0\na1900: \"y\"\n";
    let ready = vocabulary.compile(&Grammar::lark(&chain).unwrap());
    assert!(ready.is_ok() || matches!(ready, Err(Error::GrammarSize { .. })));
    for pattern in [
        "(a{1000}){1000}",
        "(.*a){30}b",
        "((a|b)*c(a|b){20}){20}",
        "(a?){500}a{500}",
        "\\w{100000}",
    ] {
        let found = vocabulary.compile(&Grammar::regex(pattern).unwrap());
        let mut running = match found {
            Err(Error::GrammarSize { .. } | Error::Grammar { .. }) => continue,
            Err(other) => panic!("{pattern}: {other:?}"),
            Ok(compiled) => compiled.start().unwrap(),
        };
        for _ in 0..40 {
            let mut mask = TokenMask::new(PIECES);
            match running.mask(&mut mask) {
                Ok(()) if mask.allows(97) => running.accept(97).unwrap(),
                Ok(()) => break,
                Err(e) => {
                    assert!(matches!(e, Error::Constraint { .. }), "{pattern}: {e:?}");
                    break;
                }
            }
        }
    }
    let schema = json!({"type": "array", "maxItems": 100_000_000, "items": {"type": "string", "maxLength": 100_000_000}});
    let found = vocabulary.compile(&Grammar::json_schema(&schema).unwrap());
    assert!(
        found.is_ok()
            || matches!(
                found,
                Err(Error::GrammarSize { .. } | Error::Grammar { .. })
            )
    );
}

#[test]
fn replies_of_one_grammar_do_not_touch_each_other() {
    let compiled = vocabulary()
        .compile(&Grammar::choice(["ab", "cd"]).unwrap())
        .unwrap();
    let mut first = compiled.start().unwrap();
    let mut second = compiled.start().unwrap();
    first.accept(u32::from(b'a')).unwrap();
    assert!(first.accept(u32::from(b'd')).is_err());
    let mut mask = TokenMask::new(PIECES);
    assert!(matches!(
        first.mask(&mut mask),
        Err(Error::Constraint { .. })
    ));
    second.accept(u32::from(b'c')).unwrap();
    second.accept(u32::from(b'd')).unwrap();
    assert!(second.is_complete() && !compiled.start().unwrap().is_complete());
}
