//! What the tests of both wires of OpenAI share: requests with everything in them.

use proptest::prelude::*;
use ropewalk_core::http::HeaderMap;
use ropewalk_core::schemars::{Schema, json_schema};
use ropewalk_core::{
    CacheHint, ChatModel, ChatRequest, Effort, ErrorKind, Media, Message, OnUnsupported, Options,
    Part, Reasoning, ResponseFormat, ToolCall, ToolChoice, ToolResult,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::{OpenAi, Settings, Wire, presets};
use serde_json::{Value, json};

use crate::native::{fixture, tool};

/// One case per option at least, by name, with what the body must hold and the warnings.
pub(crate) type OptionCase = (&'static str, Options, Value, &'static [&'static str]);

/// Says which options are set. A new option does not compile until it stands here, and then fails
/// each table without a case for it.
fn is_set(options: &Options) -> [(&'static str, bool); 14] {
    let Options {
        temperature,
        top_p,
        top_k,
        max_tokens,
        stop,
        seed,
        frequency_penalty,
        presence_penalty,
        logprobs,
        reasoning,
        parallel_tool_calls,
        cache,
        cache_key,
        user,
    } = options;
    [
        ("temperature", temperature.is_some()),
        ("top_p", top_p.is_some()),
        ("top_k", top_k.is_some()),
        ("max_tokens", max_tokens.is_some()),
        ("stop", !stop.is_empty()),
        ("seed", seed.is_some()),
        ("frequency_penalty", frequency_penalty.is_some()),
        ("presence_penalty", presence_penalty.is_some()),
        ("logprobs", logprobs.is_some()),
        ("reasoning", reasoning.is_some()),
        ("parallel_tool_calls", parallel_tool_calls.is_some()),
        ("cache", cache.is_some()),
        ("cache_key", cache_key.is_some()),
        ("user", user.is_some()),
    ]
}

/// Checks that each case adds exactly its fields to the body of the plain request, and warns of
/// exactly its options.
pub(crate) fn check_options(wire: &dyn Wire, cases: Vec<OptionCase>) {
    let plain = ChatRequest::from("x").tool(tool("warm"));
    let without = wire.encode("m", &plain, false).unwrap().body;
    let mut left: Vec<&str> = is_set(&Options::default()).map(|(n, _)| n).to_vec();
    for (name, options, expected, warnings) in cases {
        left.retain(|n| !is_set(&options).contains(&(n, true)));
        let request = plain.clone().options(options);
        let call = wire.encode("m", &request, false).unwrap();
        let told: Vec<&str> = call.notes.warnings().iter().map(|w| &*w.option).collect();
        assert_eq!(told, warnings, "{name}");
        let mut added = call.body.as_object().unwrap().clone();
        added.retain(|field, value| without.get(field) != Some(value));
        assert_eq!(Value::Object(added), expected, "{name}");
        let strict = request.on_unsupported(OnUnsupported::Error);
        let kind = wire.encode("m", &strict, false).err().map(|e| e.kind());
        let expected = (!warnings.is_empty()).then_some(ErrorKind::Unsupported);
        assert_eq!(kind, expected, "{name}");
    }
    assert!(left.is_empty(), "no case for {left:?}");
}

pub(crate) fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

fn every_option() -> Options {
    Options {
        temperature: Some(0.7),
        top_p: Some(0.9),
        top_k: Some(40),
        max_tokens: Some(100),
        stop: vec!["END".into()],
        seed: Some(1),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.1),
        logprobs: Some(2),
        reasoning: Some(Effort::Medium),
        parallel_tool_calls: Some(false),
        cache: Some(CacheHint::Long),
        cache_key: Some("key".into()),
        user: Some("user-1".into()),
    }
}

pub(crate) fn schema() -> Schema {
    json_schema!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    })
}

/// A schema that strict mode cannot express.
pub(crate) fn map_schema() -> Schema {
    json_schema!({
        "type": "object",
        "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}},
        "required": ["labels"],
    })
}

pub(crate) fn format(schema: Schema, strict: bool) -> ResponseFormat {
    ResponseFormat::JsonSchema {
        name: "city".into(),
        schema,
        strict,
    }
}

/// Reasoning that OpenAI wrote.
pub(crate) fn sealed(text: &str, id: &str, redacted: Option<&str>) -> Part {
    let mut reasoning = Reasoning::new(text);
    reasoning.id = Some(id.into());
    reasoning.redacted = redacted.map(Into::into);
    reasoning.provider = Some("openai".into());
    reasoning.into()
}

pub(crate) fn called(id: &str, item: Option<&str>, arguments: &str) -> ToolCall {
    let mut call = ToolCall::new(id, "warm", arguments);
    call.item_id = item.map(Into::into);
    call
}

/// Every role, calls and results, reasoning of several writers, opaque items.
pub(crate) fn conversation() -> ChatRequest {
    let (a, b) = (
        called("call_a", Some("fc_1"), r#"{"city": "Tromsø"}"#),
        called("call_b", Some("fc_2"), ""),
    );
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "oslo"}});
    let seen = vec![
        Part::text("4 degrees"),
        Part::image(vec![1u8], "image/png"),
        Part::Audio(Media::bytes(vec![2u8], "audio/wav")),
    ];
    ChatRequest::new()
        .system("Be brief.")
        .message(Message::system("Be kind."))
        .message(Message::user("How warm?").with_name("Ada"))
        .message(Message::assistant([
            sealed("Two cities.", "rs_1", Some("gAAA")),
            Part::text("Let me "),
            Part::text("see."),
            a.clone().into(),
            b.clone().into(),
        ]))
        .message(Message::tool_results([
            ToolResult::to(&b, "unknown city").as_error(),
            ToolResult::to(&a, seen),
        ]))
        .message(Message::assistant([
            Reasoning::new("another's").into(),
            Part::text("4 degrees."),
            Part::opaque("openai", search),
            Part::opaque("anthropic", json!({"x": 1})),
        ]))
        .message(Message::system("Now in German."))
        .message(Message::assistant(vec![]))
        .user("Und morgen?")
        .tool(tool("warm"))
}

pub(crate) fn media() -> ChatRequest {
    ChatRequest::new().user(vec![
        Part::text("see"),
        Part::image(vec![0x89, b'P', b'N', b'G'], "image/png"),
        Part::Image(Media::url("https://x.test/a.png").with_detail("low")),
        Part::Image(Media::file_id("file-1")),
        Part::Document(Media::bytes(&b"%PDF"[..], "application/pdf").with_name("a.pdf")),
        Part::Document(Media::file_id("file-2")),
        Part::Document(Media::url("https://x.test/b.pdf")),
        Part::Audio(Media::bytes(&b"RIFF"[..], "audio/wav")),
        Part::Audio(Media::url("data:audio/mpeg;base64,AAE=")),
        Part::Audio(Media::bytes(&b"fLaC"[..], "audio/flac")),
        Part::Video(Media::url("https://x.test/c.mp4")),
    ])
}

/// The requests both wires have in their golden files.
pub(crate) fn requests() -> Vec<(&'static str, ChatRequest)> {
    let tools = || ChatRequest::from("x").tool(tool("warm"));
    let strict = |schema| {
        let mut spec = tool("warm").with_strict(true);
        spec.parameters = schema;
        ChatRequest::from("x").tool(spec)
    };
    let formatted = |format| ChatRequest::from("Give JSON").response_format(format);
    let mut silent = tool("quiet");
    silent.description.clear();
    vec![
        ("plain", "Hi".into()),
        ("stream", "Hi".into()),
        ("options", tools().options(every_option())),
        ("conversation", conversation()),
        ("media", media()),
        ("choice_none", tools().tool_choice(ToolChoice::None)),
        ("choice_required", tools().tool_choice(ToolChoice::Required)),
        (
            "choice_tool",
            tools().tool_choice(ToolChoice::Tool("warm".into())),
        ),
        (
            "choice_without_tools",
            ChatRequest::from("x")
                .tool_choice(ToolChoice::None)
                .options(options(|o| o.parallel_tool_calls = Some(false))),
        ),
        (
            "tool_without_description",
            ChatRequest::from("x").tool(silent),
        ),
        ("strict_tool", strict(schema())),
        ("strict_tool_impossible", strict(map_schema())),
        ("json", formatted(ResponseFormat::Json)),
        ("schema", formatted(format(schema(), false))),
        ("schema_strict", formatted(format(schema(), true))),
        ("schema_impossible", formatted(format(map_schema(), true))),
        (
            "extra",
            ChatRequest::from("x")
                .extra("openai", "store", true)
                .extra("anthropic", "top_k", 1)
                .extra("*", "service_tier", "flex"),
        ),
    ]
}

/// What a model says in one reply, and how a stream cuts it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) thoughts: String,
    pub(crate) text: String,
    /// The arguments of the calls.
    pub(crate) calls: Vec<String>,
    seed: u64,
}

impl Said {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let calls = prop::collection::vec("\\{\"[a-zä]{1,9}\": \"[^\"\\\\\\p{C}]{0,12}\"\\}", 0..4);
        let parts = (".{0,30}", ".{0,40}", calls, any::<u64>());
        parts.prop_map(|(thoughts, text, calls, seed)| Self {
            thoughts,
            text,
            calls,
            seed,
        })
    }

    /// Cuts a text between characters.
    pub(crate) fn pieces_of(&self, text: &str) -> impl Iterator<Item = String> + use<> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut pieces = vec![String::new()];
        for c in text.chars() {
            if random.u8(..4) == 0 {
                pieces.push(String::new());
            }
            let last = pieces.len() - 1;
            pieces[last].push(c);
        }
        pieces.into_iter()
    }

    /// The pieces of all arguments, mixed, each after those of the same call before it.
    pub(crate) fn interleaved(&self) -> Vec<(usize, String)> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut left: Vec<_> = self.calls.iter().map(|c| self.pieces_of(c)).collect();
        let mut mixed = Vec::new();
        let mut open: Vec<usize> = (0..left.len()).collect();
        while !open.is_empty() {
            let at = random.usize(..open.len());
            match left[open[at]].next() {
                Some(piece) => mixed.push((open[at], piece)),
                None => drop(open.remove(at)),
            }
        }
        mixed
    }
}

/// Reads a fixture of JSON.
pub(crate) fn json_of(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).unwrap()
}

fn asks_with(server: OpenAi, double: &std::sync::Arc<Double>) -> OpenAi {
    server.with_client(double.client())
}

fn reply() -> Canned {
    Canned::json(&json_of("openai/chat_reply.json"))
}

fn headers(double: &Double) -> Vec<HeaderMap> {
    double.requests().into_iter().map(|r| r.headers).collect()
}

#[tokio::test(start_paused = true)]
async fn attempts_share_a_key_and_requests_do_not() {
    let busy = || Canned::error(503, &json!({"error": {"message": "busy"}}));
    let double = Double::new([busy(), reply(), reply()]);
    let model = asks_with(OpenAi::new("sk-test").unwrap(), &double).chat("gpt-x");
    let first = model.chat(&"x".into()).await.unwrap();
    assert_eq!(first.timing.attempts, 2);
    model.chat(&"x".into()).await.unwrap();
    let headers = headers(&double);
    let keys: Vec<&str> = headers
        .iter()
        .map(|h| h["idempotency-key"].to_str().unwrap())
        .collect();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    assert!(
        headers
            .iter()
            .all(|h| h["authorization"] == "Bearer sk-test")
    );
    assert_eq!(
        double.requests()[0].url,
        "https://api.openai.com/v1/chat/completions"
    );
}

#[tokio::test]
async fn settings_make_a_server() {
    let settings = Settings::new()
        .with("OPENAI_API_KEY", "sk-one")
        .with("OPENAI_BASE_URL", "https://proxy.test/v1/")
        .with("OPENAI_ORG_ID", "org-1")
        .with("OPENAI_PROJECT_ID", "proj_1");
    let double = Double::new([reply()]);
    let openai = OpenAi::from_settings(presets::OPENAI, &settings).unwrap();
    let model = asks_with(openai, &double).chat("gpt-x");
    model.chat(&"x".into()).await.unwrap();
    let sent = &double.requests()[0];
    assert_eq!(sent.url, "https://proxy.test/v1/chat/completions");
    assert_eq!(sent.headers["openai-organization"], "org-1");
    assert_eq!(sent.headers["openai-project"], "proj_1");

    let none = OpenAi::from_settings(presets::OPENAI, &Settings::new()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Authentication);
    assert!(none.message().contains("OPENAI_API_KEY"), "{none}");
    let keyed = Settings::new().with("AZURE_OPENAI_API_KEY", "k");
    let none = OpenAi::from_settings(presets::AZURE, &keyed).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Configuration);
    assert!(none.message().contains("AZURE_OPENAI_ENDPOINT"), "{none}");
    let local = OpenAi::from_settings(presets::VLLM, &Settings::new()).unwrap();
    assert!(local.endpoint().key().is_none());
}

#[test]
fn no_key_is_printed() {
    let secret = "sk-proj-0123456789-abcdefghij-0123456789";
    let openai = OpenAi::new(secret).unwrap();
    let shown = format!(
        "{openai:?} {:?} {:?}",
        openai.chat("m"),
        openai.responses("m")
    );
    assert!(!shown.contains("456789"), "{shown}");
}

#[tokio::test]
async fn a_dialect_can_be_changed() {
    let double = Double::new([reply()]);
    let openai = OpenAi::new("sk-test")
        .unwrap()
        .with_dialect(|d| d.sampling = false);
    let model = asks_with(openai, &double).chat("o-x");
    assert!(!model.capabilities().sampling);
    let request = ChatRequest::from("x")
        .temperature(0.5)
        .seed(1)
        .logprobs(2)
        .reasoning(Effort::Low);
    let response = model.chat(&request).await.unwrap();
    let told: Vec<&str> = response.warnings.iter().map(|w| &*w.option).collect();
    assert_eq!(told, ["temperature", "seed", "logprobs"]);
    assert!(response.warnings[0].reason.contains("sampling"));
    assert_eq!(double.bodies()[0]["reasoning_effort"], "low");
    assert_eq!(double.bodies()[0].get("temperature"), None);
}

#[test]
fn cache_hints_in_parts_count() {
    let wire = ropewalk_providers::ChatWire::new(presets::OPENAI);
    let long = ChatRequest::new().user(Part::cached_text("x", CacheHint::Long));
    let call = wire.encode("m", &long, false).unwrap();
    assert_eq!(call.body["prompt_cache_retention"], "24h");
    let plain = ropewalk_providers::ChatWire::new(presets::GROQ);
    let call = plain.encode("m", &long, false).unwrap();
    assert_eq!(call.notes.warnings()[0].option, "cache");
}
