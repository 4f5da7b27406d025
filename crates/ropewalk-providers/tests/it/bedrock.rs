//! Bedrock: requests, replies, event streams, signatures.

use proptest::prelude::*;
use ropewalk_core::http::{HeaderMap, HeaderValue, StatusCode};
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    CacheHint, ChatModel, ChatRequest, ChatResponse, Effort, ErrorKind, FinishReason, Media,
    Message, Options, Part, Reasoning, ResponseFormat, Result, ToolCall, ToolChoice, ToolResult,
    Usage, async_trait,
};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_http::{ClientOptions, Reply, Request, Transport};
use ropewalk_providers::{AwsCredentials, Bedrock, ConverseWire, Settings, Wire};
use serde_json::{Value, json};

use crate::native::{body, collect, fixture, golden, tool, whole};

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let bit = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        (0..8).fold(crc ^ u32::from(*byte), bit)
    };
    !bytes.iter().fold(!0, step)
}

fn message(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.as_bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.as_bytes());
    }
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let mut message = number(16 + head.len() + payload.len()).to_vec();
    message.extend(number(head.len()));
    message.extend(crc32(&message).to_be_bytes());
    message.extend(head);
    message.extend(payload.as_bytes());
    message.extend(crc32(&message).to_be_bytes());
    message
}

fn event(name: &str, payload: &Value) -> Vec<u8> {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    message(&headers, payload)
}

/// Encodes `tests/fixtures/bedrock/stream.jsonl`: one `{event: payload}` per line.
fn stream() -> Vec<u8> {
    let lines = fixture("bedrock/stream.jsonl");
    let encode = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let (name, payload) = line.as_object().unwrap().iter().next().unwrap();
        event(name, payload)
    };
    lines.lines().flat_map(encode).collect()
}

fn signed(text: &str, signature: &str) -> Part {
    Reasoning::new(text)
        .with_signature("bedrock", signature)
        .into()
}

fn redacted() -> Part {
    let mut reasoning = Reasoning::default();
    reasoning.redacted = Some("Y2lwaGVy".into());
    reasoning.provider = Some("bedrock".into());
    reasoning.into()
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
        presence_penalty: Some(0.2),
        logprobs: Some(2),
        reasoning: Some(Effort::Low),
        parallel_tool_calls: Some(false),
        cache: Some(CacheHint::Long),
        cache_key: Some("key".into()),
        user: Some("user-1".into()),
    }
}

fn calls_and_results() -> ChatRequest {
    let call = ToolCall::new("a", "warm", r#"{"city": "Oslo"}"#);
    let other = ToolCall::new("b", "now", "");
    let seen = ToolResult::to(
        &call,
        vec![Part::text("4"), Part::image(vec![1u8], "image/png")],
    );
    ChatRequest::from("How warm?")
        .message(Message::assistant([
            signed("Look it up.", "sig-1"),
            redacted(),
            Reasoning::new("another provider's").into(),
            Part::text("Let me see."),
            call.into(),
            other.clone().into(),
        ]))
        .message(Message::tool(seen))
        .message(Message::tool(ToolResult::to(&other, "no clock").as_error()))
        .user("And?")
        .tool(tool("warm"))
}

fn media() -> ChatRequest {
    ChatRequest::new().user(vec![
        Part::cached_text("see", CacheHint::Short),
        Part::image(vec![0u8, 1], "image/jpeg"),
        Part::Image(Media::url("s3://bucket/a.png").with_detail("low")),
        Part::image_url("https://x.test/a.png"),
        Part::Audio(Media::bytes(&b"x"[..], "audio/mpeg")),
        Part::Video(Media::url("s3://bucket/v").with_mime("video/x-matroska")),
        Part::Document(Media::bytes(&b"%PDF"[..], "application/pdf").with_name("my_file.v1.pdf")),
        Part::Document(Media::bytes(&b"x"[..], "text/plain")),
    ])
}

fn requests() -> Vec<(&'static str, Box<dyn Wire>, ChatRequest)> {
    let tools = || ChatRequest::from("x").tool(tool("warm"));
    let think = |effort| ChatRequest::from("x").reasoning(effort);
    let format = ResponseFormat::JsonSchema {
        name: "city".into(),
        schema: tool("x").parameters,
        strict: true,
    };
    let history = ChatRequest::new()
        .system("First.")
        .user("a")
        .message(Message::assistant(vec![]))
        .system(Part::cached_text("Before.", CacheHint::Long))
        .user("b");
    let cases: Vec<(&str, ChatRequest)> = vec![
        ("plain", "Hi".into()),
        ("stream", "Hi".into()),
        ("options", tools().options(every_option())),
        ("calls_and_results", calls_and_results()),
        (
            "choice_none_after_calls",
            calls_and_results().tool_choice(ToolChoice::None),
        ),
        ("media", media()),
        ("history", history),
        ("choice_none", tools().tool_choice(ToolChoice::None)),
        ("choice_any", tools().tool_choice(ToolChoice::Required)),
        (
            "choice_tool",
            tools().tool_choice(ToolChoice::Tool("warm".into())),
        ),
        (
            "strict_tool",
            ChatRequest::from("x").tool(tool("warm").with_strict(true)),
        ),
        ("schema", ChatRequest::from("x").response_format(format)),
        (
            "json",
            ChatRequest::from("x").response_format(ResponseFormat::Json),
        ),
        ("think_off", think(Effort::Off)),
        ("think_max", think(Effort::Max)),
        ("think_budget", think(Effort::Budget(2000))),
        (
            "extra",
            ChatRequest::from("x")
                .extra(
                    "bedrock",
                    "additionalModelRequestFields",
                    json!({"top_k": 5}),
                )
                .extra("openai", "store", true),
        ),
    ];
    let boxed = |(name, request)| {
        (
            name,
            Box::new(ConverseWire::new()) as Box<dyn Wire>,
            request,
        )
    };
    cases.into_iter().map(boxed).collect()
}

#[test]
fn requests_are_as_written() {
    golden("bedrock/requests.json", &requests());
}

#[test]
fn models_may_be_arns() {
    let arn = "arn:aws:bedrock:eu-west-1::foundation-model/x-v1:0";
    let call = ConverseWire::new().encode(arn, &"x".into(), false).unwrap();
    let path = "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A%3Afoundation-model%2Fx-v1%3A0/converse";
    assert_eq!(call.path, path);
}

fn whole_reply() -> Value {
    serde_json::from_str(&fixture("bedrock/reply.json")).unwrap()
}

#[test]
fn a_whole_reply() {
    let reply = whole(&ConverseWire::new(), whole_reply()).unwrap();
    assert_eq!(reply.model, "asked-for");
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let mut usage = Usage::new(10 + 200 + 3000, 60);
    usage.cache_write_tokens = Some(200);
    usage.cached_input_tokens = Some(3000);
    assert_eq!(reply.usage, usage);
    let expected = [
        signed("Both cities.", "sig-abc"),
        redacted(),
        Part::text("Let me look – both."),
        ToolCall::new("tooluse_1", "warm", r#"{"city":"Oslo"}"#).into(),
        ToolCall::new("tooluse_2", "now", "{}").into(),
    ];
    assert_eq!(reply.message.content, expected);
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..5000, 0..12)) {
        let wire = ConverseWire::new();
        let streamed = collect(&wire, &stream(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire, whole_reply()).unwrap());
    }
}

#[test]
fn every_stop_reason() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("tool_use", FinishReason::ToolCalls),
        ("guardrail_intervened", FinishReason::ContentFilter),
        ("content_filtered", FinishReason::ContentFilter),
        (
            "malformed_tool_use",
            FinishReason::Other("malformed_tool_use".into()),
        ),
    ] {
        let body = json!({"output": {"message": {"content": []}}, "stopReason": reason});
        let reply = whole(&ConverseWire::new(), body).unwrap();
        assert_eq!(reply.finish_reason, expected, "{reason}");
    }
}

#[test]
fn bad_streams_are_typed_errors() {
    let wire = ConverseWire::new();
    let text = event(
        "contentBlockDelta",
        &json!({"contentBlockIndex": 0, "delta": {"text": "a"}}),
    );
    let exception = |name: &str| {
        let headers = [(":exception-type", name), (":message-type", "exception")];
        message(&headers, &json!({"message": "slow down"}))
    };
    let mut broken = text.clone();
    broken[20] ^= 1;
    for (bytes, kind) in [
        (text.clone(), ErrorKind::Truncated),
        (text[..text.len() - 2].to_vec(), ErrorKind::Truncated),
        (broken, ErrorKind::Decode),
        (
            [text.clone(), exception("throttlingException")].concat(),
            ErrorKind::RateLimited,
        ),
        (exception("modelStreamErrorException"), ErrorKind::Server),
        (exception("validationException"), ErrorKind::InvalidRequest),
        (event("contentBlockStop", &json!({})), ErrorKind::Decode),
    ] {
        let error = collect(&wire, &bytes, &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    // The end without the usage is still the end.
    let stop = event("messageStop", &json!({"stopReason": "end_turn"}));
    let reply: ChatResponse = collect(&wire, &[text, stop].concat(), &[]).unwrap();
    assert_eq!(
        (reply.text(), reply.usage),
        ("a".to_owned(), Usage::default())
    );
}

/// Answers as a model would.
struct Model;

#[async_trait]
impl Transport for Model {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let asked = body(request);
        let mut headers = HeaderMap::new();
        let status = StatusCode::OK;
        if request.url.ends_with("/count-tokens") {
            let count = json!({"inputTokens": 5}).to_string();
            return Ok(Reply::new(status, headers, count));
        }
        let limit = asked["inferenceConfig"]["maxTokens"]
            .as_u64()
            .unwrap_or(9)
            .min(2);
        let usage = json!({"inputTokens": 5, "outputTokens": limit, "totalTokens": 5 + limit});
        let forced = asked["toolConfig"]["toolChoice"]["any"].is_object();
        let name = &asked["toolConfig"]["tools"][0]["toolSpec"]["name"];
        if request.url.ends_with("/converse") {
            let block = match forced {
                true => {
                    json!({"toolUse": {"toolUseId": "t", "name": name, "input": {"city": "Oslo"}}})
                }
                false => json!({"text": "Hello."}),
            };
            let reply = json!({"output": {"message": {"content": [block]}},
                "stopReason": "end_turn", "usage": usage});
            return Ok(Reply::new(status, headers, reply.to_string()));
        }
        assert_eq!(
            request.headers["accept"],
            "application/vnd.amazon.eventstream"
        );
        let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
        headers.insert("content-type", kind);
        let events = [
            ("messageStart", json!({"role": "assistant"})),
            (
                "contentBlockDelta",
                json!({"contentBlockIndex": 0, "delta": {"text": "Hello."}}),
            ),
            ("contentBlockStop", json!({"contentBlockIndex": 0})),
            ("messageStop", json!({"stopReason": "end_turn"})),
            ("metadata", json!({"usage": usage})),
        ];
        let body: Vec<u8> = events.iter().flat_map(|(name, e)| event(name, e)).collect();
        Ok(Reply::new(status, headers, body))
    }
}

#[tokio::test]
async fn conforms() {
    let bedrock = Bedrock::new("us-east-1", "key").unwrap();
    let bedrock = bedrock.with_transport(std::sync::Arc::new(Model), ClientOptions::new());
    let suite = ChatSuite::new().with_calls_tools(true);
    chat(&bedrock.chat("amazon.nova-x"), &suite)
        .await
        .into_result()
        .unwrap();
}

#[tokio::test]
async fn keys_are_sent_and_access_keys_sign_every_attempt() {
    let reply = || Canned::json(&whole_reply());
    let double = Double::new([reply()]);
    let settings = Settings::new()
        .with("AWS_REGION", "eu-west-1")
        .with("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key");
    let bedrock = Bedrock::from_settings(&settings).unwrap();
    let bedrock = bedrock.with_transport(double.clone(), ClientOptions::new());
    bedrock.chat("m:0").chat(&"x".into()).await.unwrap();
    let request = &double.requests()[0];
    assert_eq!(request.headers["authorization"], "Bearer bedrock-key");
    assert_eq!(
        request.url,
        "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m%3A0/converse"
    );

    let busy = Canned::error(503, &json!({"message": "busy"})).with_header("retry-after-ms", "1");
    let double = Double::new([busy, reply()]);
    let settings = Settings::new()
        .with("AWS_DEFAULT_REGION", "eu-west-1")
        .with("AWS_ACCESS_KEY_ID", "AKIAX")
        .with("AWS_SECRET_ACCESS_KEY", "very-secret-value")
        .with("AWS_SESSION_TOKEN", "session-value");
    let bedrock = Bedrock::from_settings(&settings).unwrap();
    let bedrock = bedrock.with_transport(double.clone(), ClientOptions::new());
    bedrock.chat("m:0").chat(&"x".into()).await.unwrap();
    assert_eq!(double.requests().len(), 2);
    for request in double.requests() {
        let signature = request.headers["authorization"].to_str().unwrap();
        assert!(
            signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIAX/"),
            "{signature}"
        );
        let names = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,";
        assert!(signature.contains(names), "{signature}");
        assert!(
            signature.contains("/eu-west-1/bedrock/aws4_request"),
            "{signature}"
        );
        assert_eq!(request.headers["x-amz-security-token"], "session-value");
    }
    assert!(!format!("{bedrock:?}").contains("very-secret"));
}

#[test]
fn missing_settings_are_named() {
    let error = Bedrock::from_settings(&Settings::new()).unwrap_err();
    assert!(error.message().contains("AWS_REGION"), "{error}");
    let error = Bedrock::from_settings(&Settings::new().with("AWS_REGION", "r")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(
        error.message().contains("AWS_BEARER_TOKEN_BEDROCK"),
        "{error}"
    );
    let bad = Bedrock::signed("evil.test/", AwsCredentials::new("a", "b")).unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Configuration);
}
