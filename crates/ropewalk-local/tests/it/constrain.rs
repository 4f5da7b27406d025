//! Replies of the shipped model under grammars: they end, parse and fit; calls of tools; errors.

mod validate;

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use futures_executor::block_on;
use ropewalk_core::{
    ChatModel, ChatModelExt, ChatRequest, ErrorKind, ExtractMode, ExtractPlan, FinishReason,
    OnUnsupported, ResponseFormat, StreamEvent, ToolChoice, ToolSpec,
};
use ropewalk_gguf::Gguf;
use ropewalk_local::constrain::{CompiledGrammar, Grammar, Vocabulary};
use ropewalk_local::llama::{Llama, LlamaOptions};
use ropewalk_local::sample::SamplerOptions;
use ropewalk_local::{
    Finish, GenerateOptions, Generation, LoadOptions, LocalModel, SchedulerOptions, Speculate,
    Timings,
};
use ropewalk_tokens::tool_calls::{ToolCallFormat, ToolCallParser};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use validate::fits;

/// The model in the repository; loaded once for all tests of this file.
fn model() -> &'static LocalModel {
    static MODEL: OnceLock<LocalModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/data/ropewalk-tiny.gguf"
        );
        let gguf = Gguf::open(path).unwrap();
        LocalModel::from_gguf(Arc::new(gguf), &LoadOptions::default()).unwrap()
    })
}

fn vocabulary() -> &'static Vocabulary {
    static VOCABULARY: OnceLock<Vocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        Vocabulary::with_end_ids(model().tokenizer(), model().model().stop_ids()).unwrap()
    })
}

fn go_on(_: &StreamEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn prompt(text: &str) -> Vec<u32> {
    let rendered = model().render(&ChatRequest::new().user(text)).unwrap();
    model().tokenizer().encode(&rendered, false).unwrap()
}

/// Generates under a grammar; `None` for the seed means greedy.
fn run(
    grammar: &Arc<CompiledGrammar>,
    prompt: &[u32],
    seed: Option<u64>,
) -> (String, Finish, Timings) {
    let sampler = match seed {
        Some(seed) => SamplerOptions::default()
            .with_temperature(1.0)
            .with_seed(seed),
        None => SamplerOptions::greedy(),
    };
    let constraint: Arc<dyn ropewalk_local::constrain::Constrain> = grammar.clone();
    let options = GenerateOptions::greedy(400)
        .with_sampler(sampler)
        .with_constraint(constraint);
    let mut cache = model().model().new_cache();
    let mut tokens = Generation::new(model().model(), &mut cache, prompt, &options).unwrap();
    let ids: Vec<u32> = tokens.by_ref().map(|t| t.unwrap().id).collect();
    let text = model().tokenizer().decode(&ids, false).unwrap();
    (text, tokens.finish().unwrap(), tokens.timings())
}

/// Schemas whose values are bounded.
fn bounded() -> Vec<Value> {
    vec![
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 12},
                "city": {"enum": ["Paris", "Zürich", "東京", "a\"b\\c", "line\nbreak", "😀"]},
                "age": {"type": "integer", "minimum": -7, "maximum": 130}
            },
            "required": ["name", "city", "age"]
        }),
        json!({
            "type": "object",
            "properties": {
                "price": {"type": "number", "minimum": 0, "maximum": 999.5},
                "share": {"type": "number", "exclusiveMinimum": -1, "exclusiveMaximum": 1},
                "count": {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 500}
            },
            "required": ["price", "share", "count"]
        }),
        json!({
            "type": "object",
            "properties": {
                "a": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {
                    "b": {"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 2, "items": {"type": "boolean"}}]},
                    "c": {"type": ["string", "null"], "maxLength": 5}
                }, "required": ["b"]}]},
                "d": {"type": "string", "maxLength": 3}
            }
        }),
        json!({
            "type": "array", "minItems": 1, "maxItems": 3,
            "items": {"$ref": "#/$defs/leg"},
            "$defs": {"leg": {
                "type": "object",
                "properties": {
                    "from": {"type": "string", "pattern": "^[A-Z]{3}$"},
                    "day": {"type": "string", "format": "date"},
                    "class": {"const": "économie"}
                },
                "required": ["from", "day", "class"],
                "additionalProperties": false
            }}
        }),
        json!({"anyOf": [
            {"type": "object", "properties": {"kind": {"const": "text"}, "text": {"type": "string", "maxLength": 8}},
             "required": ["kind", "text"]},
            {"type": "object", "properties": {"kind": {"const": "pair"}, "pair": {
                "type": "array", "prefixItems": [{"type": "boolean"}, {"type": "integer", "format": "uint8"}],
                "items": false, "minItems": 2}}, "required": ["kind", "pair"]},
            {"type": "null"}
        ]}),
        json!({"oneOf": [
            {"type": "string", "enum": ["yes", "no"]},
            {"type": "object", "properties": {"maybe": {"type": "string", "minLength": 2, "maxLength": 6}},
             "required": ["maybe"], "additionalProperties": false}
        ]}),
        json!({
            "allOf": [
                {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}, "required": ["x"]},
                {"type": "object", "properties": {"x": {"type": "integer", "maximum": 99},
                                                  "y": {"type": "string", "pattern": "^(é|ß){1,4}$"}}}
            ],
            "type": "object", "additionalProperties": false, "properties": {"x": true, "y": true}
        }),
        json!({"type": "string", "pattern": "^\\+[0-9]{2}( [0-9]{3}){2,3}$"}),
        json!({
            "type": "object",
            "patternProperties": {"^k[0-9]$": {"type": "boolean"}},
            "additionalProperties": false, "minProperties": 1, "maxProperties": 2
        }),
        json!({"type": "integer"}),
    ]
}

#[test]
fn a_thousand_seeded_replies_end_parse_and_fit() {
    let prompt = prompt("Hello! Answer in JSON, please.");
    let schemas = bounded();
    let seeds = 1_000 / schemas.len() as u64;
    let compiled: Vec<_> = schemas
        .iter()
        .map(|schema| {
            vocabulary()
                .compile(&Grammar::json_schema(schema).unwrap())
                .unwrap()
        })
        .collect();
    let mut complete = 0;
    for (schema, grammar) in schemas.iter().zip(&compiled) {
        let mut texts = std::collections::BTreeSet::new();
        for seed in 0..seeds {
            let (text, finish, _) = run(grammar, &prompt, Some(seed));
            let about = || format!("seed {seed}, {schema}: {text}");
            assert!(
                matches!(finish, Finish::Complete | Finish::Stop(_)),
                "{finish:?}: {}",
                about()
            );
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {}", about()));
            fits(schema, schema, &value).unwrap_or_else(|e| panic!("{e}: {}", about()));
            texts.insert(text);
            complete += 1;
        }
        assert!(texts.len() > 1, "all replies are alike under {schema}");
    }
    assert_eq!(complete, 1_000);
}

#[test]
fn forced_tokens_are_those_of_a_pass_for_every_token() {
    let (mut forced, mut tokens) = (0, 0);
    for schema in bounded() {
        let grammar = Grammar::json_schema(&schema).unwrap();
        let compiled = vocabulary().compile(&grammar).unwrap();
        for text in ["Hello!", "How much is a ticket to Paris?"] {
            let prompt = prompt(text);
            let greedy = GenerateOptions::greedy(400).with_constraint(compiled.clone());
            let generate = |options: &GenerateOptions| {
                let mut cache = model().model().new_cache();
                let run = Generation::new(model().model(), &mut cache, &prompt, options);
                let mut run = run.unwrap();
                let found: Vec<_> = run.by_ref().map(Result::unwrap).collect();
                (found, run.finish().unwrap(), run.timings())
            };
            let (fast, finish, timings) = generate(&greedy);
            // Log probabilities need a pass for every token.
            let (slow, same, plain) = generate(&greedy.clone().with_logprobs(1));
            let ids = |tokens: &[ropewalk_local::sample::Sampled]| {
                tokens.iter().map(|t| t.id).collect::<Vec<_>>()
            };
            assert_eq!((ids(&fast), finish), (ids(&slow), same), "{schema}");
            assert!(matches!(finish, Finish::Complete | Finish::Stop(_)));
            assert!(slow.iter().all(|t| t.logprob.is_some()));
            assert_eq!(plain.forced_tokens, 0);
            assert!(timings.decode_steps + timings.forced_tokens <= fast.len() + 1);
            forced += timings.forced_tokens;
            tokens += fast.len();
        }
    }
    assert!(5 * forced > tokens, "{forced} of {tokens}");
}

#[test]
fn without_forced_tokens_the_reply_fits_too() {
    for schema in bounded() {
        let grammar = Grammar::json_schema(&schema).unwrap();
        let compiled = vocabulary()
            .compile(&grammar.with_forced_tokens(false))
            .unwrap();
        let (text, _, timings) = run(&compiled, &prompt("Hello!"), None);
        fits(&schema, &schema, &serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(timings.forced_tokens, 0);
    }
}

/// The tools of the tests: an argument of each kind.
fn tools() -> Vec<ToolSpec> {
    let schema = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 10},
            "class": {"type": "string", "enum": ["éco", "first"]},
            "seats": {"type": "integer", "minimum": 1, "maximum": 9},
            "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}
        },
        "required": ["city", "seats"]
    });
    let spec =
        |name: &str, schema: Value| ToolSpec::new(name, "A tool.", schema.try_into().unwrap());
    vec![
        spec("book", schema),
        spec("book_none", json!({"type": "object"})),
    ]
}

#[test]
fn generated_calls_of_every_format_parse_and_fit() {
    let tools = tools();
    let prompt = prompt("How much is a ticket to Paris?");
    let mut formats = 0;
    let mut named = std::collections::BTreeSet::new();
    for format in ToolCallFormat::ALL {
        let grammar = Grammar::tool_calls(format, &tools, &ToolChoice::Required);
        if matches!(format, ToolCallFormat::Auto | ToolCallFormat::Gemma) {
            assert!(grammar.is_err(), "{format}");
            continue;
        }
        let compiled = vocabulary().compile(&grammar.unwrap()).unwrap();
        let mut whole = 0;
        for seed in 0..12 {
            let (text, finish, _) = run(&compiled, &prompt, Some(seed));
            if finish == Finish::MaxTokens {
                continue;
            }
            whole += 1;
            let mut parser = ToolCallParser::new().with_format(format).with_tools(&tools);
            let mut pieces = parser.push(&text);
            pieces.extend(parser.finish());
            assert!(!pieces.is_empty(), "{format}: {text}");
            for piece in pieces {
                let ropewalk_tokens::tool_calls::Piece::Call(call) = &piece else {
                    panic!("{format}: {piece:?} in {text}");
                };
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
                let tool = tools.iter().find(|t| t.name == call.name).unwrap();
                let schema = tool.parameters.as_value();
                fits(schema, schema, &arguments)
                    .unwrap_or_else(|e| panic!("{format}: {e} in {text}"));
                named.insert(call.name.clone());
            }
        }
        assert!(whole > 6, "{format}: only {whole} replies are whole");
        formats += 1;
    }
    assert_eq!((formats, named.len()), (8, 2));
}

#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "parsing it is the check")]
struct Ticket {
    city: City,
    seats: u8,
    #[schemars(length(max = 10))]
    note: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
enum City {
    Paris,
    Zürich,
}

#[test]
fn typed_replies_are_native_and_need_no_repair() {
    let request = ChatRequest::new().user("How much is a ticket to Paris?");
    let plan = ExtractPlan::of::<Ticket, _>(model(), &request, ExtractMode::Auto);
    assert_eq!(plan.mode(), ExtractMode::Native);
    for seed in 0..5 {
        let asked = request
            .clone()
            .temperature(1.0)
            .seed(seed)
            .on_unsupported(OnUnsupported::Error);
        let found = block_on(model().extract_with::<Ticket>(asked, &Default::default())).unwrap();
        assert_eq!(found.attempts, 1);
        assert_eq!(found.response.finish_reason, FinishReason::Stop);
    }
}

fn schema_format(schema: Value) -> ResponseFormat {
    ResponseFormat::JsonSchema {
        name: "reply".into(),
        schema: schema.try_into().unwrap(),
        strict: true,
    }
}

#[test]
fn a_reply_that_the_limit_cuts_is_an_error_with_what_came() {
    let request = ChatRequest::new()
        .user("Hello!")
        .response_format(schema_format(bounded()[0].clone()))
        .max_tokens(4);
    let e = model().respond(&request, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Truncated);
    let partial = e.partial().unwrap();
    assert!(
        partial.text().starts_with("{\"name\": \""),
        "{}",
        partial.text()
    );
    assert_eq!(partial.finish_reason, FinishReason::Length);
    assert_eq!(partial.usage.output_tokens, Some(4));
    let streamed = block_on(async { model().stream(&request).await?.collect().await });
    assert_eq!(streamed.unwrap_err().kind(), ErrorKind::Truncated);
    let typed =
        block_on(model().extract::<Ticket>(ChatRequest::new().user("Hello!").max_tokens(3)));
    assert_eq!(typed.unwrap_err().kind(), ErrorKind::Truncated);
}

#[test]
fn any_json_can_be_asked_for() {
    for seed in 0..5 {
        let request = ChatRequest::new()
            .user("Hello!")
            .response_format(ResponseFormat::Json)
            .temperature(1.0)
            .seed(seed)
            .max_tokens(300)
            .on_unsupported(OnUnsupported::Error);
        match model().respond(&request, &mut go_on) {
            Ok(reply) => {
                let value: Value = serde_json::from_str(&reply.response.text()).unwrap();
                assert!(value.is_object());
            }
            // A free object need not end.
            Err(e) => assert_eq!(e.kind(), ErrorKind::Truncated),
        }
    }
}

#[test]
fn a_keyword_that_cannot_be_enforced_is_reported_or_refused() {
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "array", "uniqueItems": true, "maxItems": 2, "items": {"type": "boolean"}}},
        "required": ["a"]
    });
    let request = ChatRequest::new()
        .user("Hello!")
        .response_format(schema_format(schema));
    let reply = model().respond(&request, &mut go_on).unwrap().response;
    assert!(serde_json::from_str::<Value>(&reply.text()).unwrap()["a"].is_array());
    let warning = &reply.warnings[0];
    assert_eq!(warning.option, "response_format");
    assert!(
        warning.reason.contains("`uniqueItems` at #/properties/a"),
        "{warning:?}"
    );
    let strict = request.on_unsupported(OnUnsupported::Error);
    let e = model().respond(&strict, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    let none = ChatRequest::new()
        .user("x")
        .response_format(schema_format(json!({"enum": []})));
    let e = model().respond(&none, &mut go_on).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
    assert!(
        e.message().starts_with("no text fits the JSON schema"),
        "{e}"
    );
}

#[test]
fn a_required_call_is_one_of_the_tools_and_fits_its_schema() {
    for (choice, seed) in [
        (ToolChoice::Required, 0),
        (ToolChoice::Required, 1),
        (ToolChoice::Tool("book".into()), 2),
        (ToolChoice::Tool("book_none".into()), 3),
    ] {
        let mut request = ChatRequest::new()
            .user("Hello!")
            .tool_choice(choice.clone());
        request.tools = tools();
        let request = request
            .temperature(1.0)
            .seed(seed)
            .on_unsupported(OnUnsupported::Error)
            .max_tokens(400);
        let reply = model().respond(&request, &mut go_on).unwrap();
        assert!(reply.timings.forced_tokens > 0);
        let reply = reply.response;
        assert_eq!(reply.finish_reason, FinishReason::ToolCalls, "{reply:?}");
        assert_eq!(reply.text(), "");
        for call in reply.message.tool_calls() {
            let tool = request.tools.iter().find(|t| t.name == call.name).unwrap();
            let schema = tool.parameters.as_value();
            fits(
                schema,
                schema,
                &serde_json::from_str(&call.arguments).unwrap(),
            )
            .unwrap();
            if let ToolChoice::Tool(name) = &choice {
                assert_eq!(call.name, *name);
                assert_eq!(reply.message.tool_calls().count(), 1);
            }
        }
    }
}

#[test]
fn a_reply_may_be_json_or_a_call() {
    assert!(model().capabilities().json_schema_with_tools);
    let mut kinds = std::collections::BTreeSet::new();
    for text in ["How much is a ticket to Paris?", "Hello!"] {
        for seed in 0..6 {
            let mut request = ChatRequest::new()
                .user(text)
                .response_format(schema_format(bounded()[5].clone()))
                .temperature(1.0)
                .seed(seed)
                .max_tokens(400);
            request.tools = tools();
            let reply = model().respond(&request, &mut go_on).unwrap().response;
            if reply.message.tool_calls().count() == 0 {
                let value = serde_json::from_str(&reply.text()).unwrap();
                fits(&bounded()[5], &bounded()[5], &value).unwrap();
                kinds.insert("json");
            } else {
                kinds.insert("call");
            }
        }
    }
    assert!(!kinds.is_empty());
}

#[test]
fn the_interface_of_llama_cpp_python_takes_response_formats() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/data/ropewalk-tiny.gguf"
    );
    let llama = Llama::open(path, LlamaOptions::default()).unwrap();
    let schema = bounded().swap_remove(0);
    for format in [
        json!({"type": "json_object", "schema": schema}),
        json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}),
    ] {
        let request = json!({
            "messages": [{"role": "user", "content": "Hello!"}],
            "response_format": format, "max_tokens": 300, "temperature": 1.0, "seed": 3,
        });
        let reply = llama.create_chat_completion(&request).unwrap();
        let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
        fits(&schema, &schema, &serde_json::from_str(text).unwrap()).unwrap();
    }
    let unknown = json!({
        "messages": [{"role": "user", "content": "Hello!"}], "response_format": {"type": "xml"},
    });
    let e = llama.create_chat_completion(&unknown).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidRequest);
}

#[test]
fn a_scheduler_and_guesses_change_no_reply_of_a_form() {
    let scheduled = model()
        .clone()
        .with_scheduler(&SchedulerOptions::new())
        .unwrap();
    let guessing = model().clone().with_speculation(Speculate::new());
    let requests: Vec<ChatRequest> = (0..6)
        .map(|i| {
            let schema = bounded().swap_remove(i as usize);
            let request = ChatRequest::new()
                .user("Hello!")
                .response_format(schema_format(schema));
            match i % 2 {
                0 => request.max_tokens(400),
                _ => request.max_tokens(400).temperature(1.0).seed(i),
            }
        })
        .collect();
    let ask =
        |model: &LocalModel, request: &ChatRequest| model.respond(request, &mut go_on).unwrap();
    let want: Vec<_> = requests.iter().map(|r| ask(model(), r)).collect();
    std::thread::scope(|scope| {
        for (request, want) in requests.iter().zip(&want) {
            for model in [&scheduled, &guessing] {
                scope.spawn(move || {
                    let found = ask(model, request);
                    assert_eq!(found.response.text(), want.response.text());
                    assert_eq!(found.timings.forced_tokens, want.timings.forced_tokens);
                });
            }
        }
    });
    assert!(want.iter().any(|reply| reply.timings.forced_tokens > 0));
}

#[test]
fn grammars_of_every_notation_hold_for_the_shipped_model() {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    type Check = Box<dyn Fn(&str) -> bool>;
    let grammars: Vec<(Grammar, Check)> = vec![
        (
            Grammar::regex(r"\d{4}-\d{2}").unwrap(),
            Box::new(move |t| t.len() == 7 && digits(&t[..4]) && digits(&t[5..])),
        ),
        (
            Grammar::choice(["Grüße", "Hello", "Hell"]).unwrap(),
            Box::new(|t| ["Grüße", "Hello", "Hell"].contains(&t)),
        ),
        (
            Grammar::lark("start: WORD (\", \" WORD){0,3} \".\"\nWORD: /[a-z]{1,6}/").unwrap(),
            Box::new(|t| {
                t.ends_with('.')
                    && t[..t.len() - 1]
                        .split(", ")
                        .all(|w| (1..=6).contains(&w.len()))
            }),
        ),
        (
            Grammar::gbnf("root ::= sum \"!\"\nsum ::= [0-9]{1,2} ( [+*] [0-9]{1,2} ){0,4}")
                .unwrap(),
            Box::new(move |t| t.ends_with('!') && t[..t.len() - 1].split(['+', '*']).all(digits)),
        ),
    ];
    let prompt = prompt("Hello!");
    for (grammar, check) in grammars {
        let compiled = vocabulary().compile(&grammar).unwrap();
        for seed in 0..10 {
            let (text, finish, _) = run(&compiled, &prompt, Some(seed));
            assert!(matches!(finish, Finish::Complete | Finish::Stop(_)));
            assert!(check(&text), "{text}");
        }
    }
}
