//! Each preset: one request with everything in it as the server gets it, one reply with the
//! server's own deviations.

use ropewalk_core::{
    CacheHint, ChatModel, ChatRequest, Effort, Message, OnUnsupported, Options, Part, Reasoning,
    ToolChoice, ToolResult,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{ApiKey, ChatWire, Dialect, KeyDiagnosis, OpenAi, Wire, presets};
use serde_json::{Value, json};

use crate::golden::{body, golden};
use crate::native::{collect, sse, tool, whole};
use crate::openai::{called, format, json_of, schema};

/// A request with all a dialect may treat in its own way.
fn everything() -> ChatRequest {
    let call = called("call_1", None, r#"{"city": "Oslo"}"#);
    let seen = vec![
        Part::cached_text("See ", CacheHint::Short),
        Part::image_url("https://x.test/a.png"),
    ];
    ChatRequest::new()
        .system("Answer in JSON.")
        .message(Message::user(seen).with_name("Ada"))
        .message(Message::assistant([
            Reasoning::new("Look it up.").into(),
            call.clone().into(),
        ]))
        .message(Message::tool(ToolResult::to(&call, "4")))
        .tool(tool("warm").with_strict(true))
        .tool_choice(ToolChoice::Required)
        .response_format(format(schema(), true))
        .options(Options {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            max_tokens: Some(100),
            stop: vec!["END".into()],
            seed: Some(1),
            frequency_penalty: Some(0.1),
            presence_penalty: Some(0.2),
            logprobs: Some(2),
            reasoning: Some(Effort::High),
            parallel_tool_calls: Some(false),
            cache: Some(CacheHint::Long),
            cache_key: Some("key".into()),
            user: Some("user-1".into()),
        })
}

fn server(dialect: Dialect) -> OpenAi {
    let base_url = match dialect.base_url {
        "" => "https://name.openai.azure.com",
        known => known,
    };
    let key = (!dialect.key_variable.is_empty()).then(|| ApiKey::new("key-1"));
    OpenAi::compatible(dialect, base_url, key).unwrap()
}

/// Returns the reply of a fixture, as JSON or as a stream.
fn reply(file: &Value) -> (Canned, bool) {
    match file["stream"].as_array() {
        None => (Canned::json(&file["reply"]), false),
        Some(chunks) => {
            let done = if file["done"] == true {
                "data: [DONE]\n\n"
            } else {
                ""
            };
            (Canned::sse(format!("{}{done}", sse(chunks))), true)
        }
    }
}

async fn check(dialect: Dialect) {
    let name = dialect.name;
    let mut file = json_of(&format!("presets/{name}.json"));
    let (canned, streamed) = reply(&file);
    let double = Double::new([canned]);
    let model = server(dialect)
        .with_client(double.client())
        .chat(file["model"].as_str().unwrap());
    let request = everything();
    let response = match streamed {
        true => model
            .stream(&request)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap(),
        false => model.chat(&request).await.unwrap(),
    };

    let found = json!({
        "content": response.message.content,
        "finish_reason": response.finish_reason,
        "usage": response.usage,
    });
    assert_eq!(found, file["expected"], "{name}");
    assert_eq!(response.provider, name);

    let sent = &double.requests()[0];
    let headers: serde_json::Map<String, Value> = ["authorization", "api-key"]
        .into_iter()
        .filter_map(|h| Some((h.to_owned(), sent.headers.get(h)?.to_str().unwrap().into())))
        .collect();
    assert_eq!(
        sent.headers.contains_key("idempotency-key"),
        dialect.idempotency
    );
    let warnings: Vec<&str> = response.warnings.iter().map(|w| &*w.option).collect();
    file["request"] = json!({
        "url": sent.url,
        "headers": headers,
        "body": body(sent),
        "warnings": warnings,
    });
    golden(&format!("presets/{name}"), &file);
}

#[tokio::test]
async fn each_asks_and_reads_in_its_own_way() {
    for dialect in presets::ALL {
        check(*dialect).await;
    }
}

#[test]
fn each_preset_has_its_file_and_each_file_its_preset() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/presets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut names: Vec<String> = presets::ALL
        .iter()
        .map(|d| format!("{}.json", d.name))
        .collect();
    names.sort();
    assert_eq!(files, names);
    for dialect in presets::ALL {
        assert_eq!(presets::preset(dialect.name), Some(*dialect));
        assert!(!dialect.needs_key || !dialect.key_variable.is_empty());
    }
}

/// What a dialect leaves out is an error where the caller wants one.
#[test]
fn nothing_is_dropped_silently() {
    for dialect in presets::ALL {
        let wire = ChatWire::new(*dialect);
        let warned = wire.encode("m", &everything(), false).unwrap();
        assert!(!warned.notes.warnings().is_empty(), "{}", dialect.name);
        let strict = everything().on_unsupported(OnUnsupported::Error);
        assert!(
            wire.encode("m", &strict, false).is_err(),
            "{}",
            dialect.name
        );
        let silent = everything().on_unsupported(OnUnsupported::Ignore);
        assert_eq!(wire.encode("m", &silent, false).unwrap().body, warned.body);
    }
}

#[test]
fn keys_are_known_by_how_they_begin() {
    for (key, dialect, expected) in [
        ("gsk_abc", presets::GROQ, KeyDiagnosis::Ok),
        ("sk-abc", presets::GROQ, KeyDiagnosis::WrongPrefix),
        ("sk-or-abc", presets::OPENROUTER, KeyDiagnosis::Ok),
        ("anything", presets::MISTRAL, KeyDiagnosis::Ok),
    ] {
        let found = ApiKey::new(key).diagnose(dialect.key_prefixes);
        assert_eq!(found, expected, "{key} for {}", dialect.name);
    }
}

#[test]
fn azure_addresses_may_have_their_path_already() {
    for base in [
        "https://name.openai.azure.com",
        "https://name.openai.azure.com/",
        "https://name.openai.azure.com/openai/v1/",
    ] {
        let azure = OpenAi::compatible(presets::AZURE, base, ApiKey::new("k")).unwrap();
        let base_url = azure.endpoint().base_url();
        assert_eq!(base_url, "https://name.openai.azure.com/openai/v1");
    }
}

#[test]
fn ids_of_nine_letters_stay_the_same() {
    let wire = ChatWire::new(presets::MISTRAL);
    let ids = |id: &str| {
        let call = called(id, None, "{}");
        let request = ChatRequest::from("x")
            .message(Message::assistant(Part::from(call.clone())))
            .message(Message::tool(ToolResult::to(&call, "4")));
        let body = wire.encode("m", &request, false).unwrap().body;
        let called = body["messages"][1]["tool_calls"][0]["id"].clone();
        assert_eq!(called, body["messages"][2]["tool_call_id"]);
        called.as_str().unwrap().to_owned()
    };
    assert_eq!(ids("D681PevKs"), "D681PevKs");
    let other = ids("call_00_abcdefghijkl");
    assert!(
        other.len() == 9 && other.bytes().all(|b| b.is_ascii_alphanumeric()),
        "{other}"
    );
    assert_ne!(other, ids("call_01_abcdefghijkl"));
}

#[test]
fn signatures_of_calls_return() {
    let wire = ChatWire::new(presets::GEMINI);
    let mut call = called("c", None, "{}");
    call.signature = Some("sig".into());
    let request = ChatRequest::from("x")
        .message(Message::assistant(Part::from(call.clone())))
        .message(Message::tool(ToolResult::to(&call, "4")));
    let sent = |wire: &ChatWire| {
        let body = wire.encode("m", &request, false).unwrap().body;
        body["messages"][1]["tool_calls"][0]["extra_content"].clone()
    };
    assert_eq!(sent(&wire), json!({"google": {"thought_signature": "sig"}}));
    assert_eq!(sent(&ChatWire::new(presets::OPENAI)), Value::Null);
}

#[test]
fn thinking_in_the_words_of_each_server() {
    let sent = |dialect, effort| {
        let request = ChatRequest::from("x").reasoning(effort);
        let call = ChatWire::new(dialect).encode("m", &request, false).unwrap();
        let mut body = call.body.as_object().unwrap().clone();
        body.retain(|name, _| name != "model" && name != "messages");
        (Value::Object(body), call.notes.warnings().len())
    };
    for (dialect, effort, expected, told) in [
        (
            presets::OPENROUTER,
            Effort::Off,
            json!({"reasoning": {"effort": "none"}}),
            0,
        ),
        (
            presets::OPENROUTER,
            Effort::Budget(2000),
            json!({"reasoning": {"max_tokens": 2000}}),
            0,
        ),
        (
            presets::OPENROUTER,
            Effort::Medium,
            json!({"reasoning": {"effort": "medium"}}),
            0,
        ),
        (
            presets::DEEPSEEK,
            Effort::Off,
            json!({"thinking": {"type": "disabled"}}),
            0,
        ),
        (
            presets::DEEPSEEK,
            Effort::Max,
            json!({"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
            0,
        ),
        (
            presets::MISTRAL,
            Effort::Low,
            json!({"reasoning_effort": "high"}),
            1,
        ),
        (presets::GITHUB, Effort::Low, json!({}), 1),
    ] {
        assert_eq!(
            sent(dialect, effort),
            (expected, told),
            "{} {effort:?}",
            dialect.name
        );
    }
}

#[test]
fn a_server_that_cannot_be_told_to_call_no_tool_gets_none() {
    let request = ChatRequest::from("x")
        .tool(tool("warm"))
        .tool_choice(ToolChoice::None);
    let call = ChatWire::new(presets::OLLAMA)
        .encode("m", &request, false)
        .unwrap();
    assert!(call.notes.warnings().is_empty() && call.body.get("tools").is_none());
}

#[test]
fn json_without_a_schema() {
    let request = ChatRequest::from("JSON").response_format(ropewalk_core::ResponseFormat::Json);
    let sent = |dialect| {
        let call = ChatWire::new(dialect).encode("m", &request, false).unwrap();
        let told = call.notes.warnings().len();
        (call.body["response_format"]["type"].clone(), told)
    };
    assert_eq!(sent(presets::DEEPSEEK), (json!("json_object"), 0));
    assert_eq!(sent(presets::LM_STUDIO), (Value::Null, 1));
}

/// One more form of streams and replies of each: without the fields it has of its own.
#[test]
fn a_bare_reply_is_enough() {
    for dialect in presets::ALL {
        let wire = ChatWire::new(*dialect);
        let reply = json!({"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]});
        let chunk = json!({"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]});
        let expected = whole(&wire, reply).unwrap();
        let streamed = collect(&wire, sse([&chunk]).as_bytes(), &[]).unwrap();
        assert_eq!(streamed, expected, "{}", dialect.name);
        assert_eq!(expected.text(), "4");
    }
}

/// The table of the guide is what a newcomer sets variables by.
#[test]
fn the_guide_names_the_variables_of_every_preset() {
    let guide = include_str!("../../../../docs/guide/02-apis.md");
    let code = |name: &str| format!(" `{name}`");
    for preset in presets::ALL {
        let key = match (preset.key_variable, preset.needs_key) {
            ("", _) => String::new(),
            (name, true) => code(name),
            (name, false) => code(name) + ", if set",
        };
        let address = match (preset.base_url_variable, preset.base_url) {
            ("", _) => String::new(),
            (name, "") => code(name) + ", needed",
            (name, _) => code(name),
        };
        let row = format!("| `{}` |{key} |{address} |", preset.name);
        assert!(guide.lines().any(|line| line == row), "no row {row}");
    }
}
