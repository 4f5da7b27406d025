//! Responses: requests, replies, streams.

use proptest::prelude::*;
use ropewalk_core::testing::{ChatSuite, chat};
use ropewalk_core::{
    CacheHint, ChatRequest, Effort, ErrorKind, FinishReason, Message, Part, TokenLogprob,
    ToolResult, Usage,
};
use ropewalk_providers::{OpenAi, ResponsesWire, Wire, presets};
use serde_json::{Value, json};

use crate::native::{Answering, body, collect, fixture, golden, sse, whole};
use crate::openai::{
    OptionCase, Said, called, check_options, conversation, json_of, options, requests, sealed,
};

fn wire() -> ResponsesWire {
    ResponsesWire::new(presets::OPENAI)
}

/// A turn whose reasoning cannot be replayed: the calls beside it lose the server's ids.
fn unsealed() -> ChatRequest {
    let call = called("call_a", Some("fc_1"), "{}");
    ChatRequest::from("x")
        .message(Message::assistant([
            sealed("hm", "rs_1", None),
            call.clone().into(),
        ]))
        .message(Message::tool(ToolResult::to(&call, "4")))
}

#[test]
fn requests_are_as_written() {
    let boxed = |(name, request)| (name, Box::new(wire()) as Box<dyn Wire>, request);
    let mut cases: Vec<_> = requests().into_iter().map(boxed).collect();
    cases.push(boxed(("unsealed_reasoning", unsealed())));
    golden("openai/responses_requests.json", &cases);
}

#[test]
fn every_option() {
    let thinks = |effort| options(|o| o.reasoning = Some(effort));
    let sealed = "reasoning.encrypted_content";
    let cases: Vec<OptionCase> = vec![
        (
            "temperature",
            options(|o| o.temperature = Some(0.2)),
            json!({"temperature": 0.2}),
            &[],
        ),
        (
            "top_p",
            options(|o| o.top_p = Some(0.9)),
            json!({"top_p": 0.9}),
            &[],
        ),
        (
            "top_k",
            options(|o| o.top_k = Some(40)),
            json!({}),
            &["top_k"],
        ),
        (
            "max_tokens",
            options(|o| o.max_tokens = Some(64)),
            json!({"max_output_tokens": 64}),
            &[],
        ),
        (
            "stop",
            options(|o| o.stop = vec!["a".into()]),
            json!({}),
            &["stop"],
        ),
        ("seed", options(|o| o.seed = Some(7)), json!({}), &["seed"]),
        (
            "frequency_penalty",
            options(|o| o.frequency_penalty = Some(0.5)),
            json!({}),
            &["frequency_penalty"],
        ),
        (
            "presence_penalty",
            options(|o| o.presence_penalty = Some(0.5)),
            json!({}),
            &["presence_penalty"],
        ),
        (
            "logprobs",
            options(|o| o.logprobs = Some(3)),
            json!({"top_logprobs": 3, "include": ["message.output_text.logprobs"]}),
            &[],
        ),
        (
            "reasoning",
            thinks(Effort::Low),
            json!({"reasoning": {"effort": "low", "summary": "auto"}, "include": [sealed]}),
            &[],
        ),
        (
            "reasoning most",
            thinks(Effort::Max),
            json!({"reasoning": {"effort": "xhigh", "summary": "auto"}, "include": [sealed]}),
            &[],
        ),
        (
            "reasoning off",
            thinks(Effort::Off),
            json!({"reasoning": {"effort": "none"}}),
            &[],
        ),
        (
            "reasoning budget",
            thinks(Effort::Budget(900)),
            json!({"reasoning": {"effort": "low", "summary": "auto"}, "include": [sealed]}),
            &["reasoning"],
        ),
        (
            "parallel_tool_calls",
            options(|o| o.parallel_tool_calls = Some(true)),
            json!({"parallel_tool_calls": true}),
            &[],
        ),
        (
            "cache short",
            options(|o| o.cache = Some(CacheHint::Short)),
            json!({}),
            &[],
        ),
        (
            "cache long",
            options(|o| o.cache = Some(CacheHint::Long)),
            json!({"prompt_cache_retention": "24h"}),
            &[],
        ),
        (
            "cache_key",
            options(|o| o.cache_key = Some("k".into())),
            json!({"prompt_cache_key": "k"}),
            &[],
        ),
        (
            "user",
            options(|o| o.user = Some("u".into())),
            json!({"safety_identifier": "u"}),
            &[],
        ),
    ];
    check_options(&wire(), cases);
}

#[test]
fn a_reasoning_model_is_asked_for_sealed_thoughts() {
    let mut dialect = presets::OPENAI;
    dialect.sampling = false;
    dialect.reasoning_summary = None;
    let wire = ResponsesWire::new(dialect);
    let call = wire.encode("m", &"x".into(), false).unwrap();
    assert_eq!(call.body["include"], json!(["reasoning.encrypted_content"]));
    let low = ChatRequest::from("x").reasoning(Effort::Low);
    let call = wire.encode("m", &low, false).unwrap();
    assert_eq!(call.body["reasoning"], json!({"effort": "low"}));
}

#[test]
fn a_question_for_tokens_holds_what_is_counted() {
    let call = wire()
        .encode_count("model-x", &conversation())
        .unwrap()
        .unwrap();
    assert_eq!(call.path, "/responses/input_tokens");
    assert_eq!(call.body, json_of("openai/count_request.json"));
    let azure = ResponsesWire::new(presets::AZURE);
    assert!(azure.encode_count("m", &"x".into()).unwrap().is_none());
}

fn reply() -> Value {
    json_of("openai/responses_reply.json")
}

#[test]
fn a_whole_reply() {
    let reply = whole(&wire(), reply()).unwrap();
    assert_eq!(reply.id.as_deref(), Some("resp_1"));
    assert_eq!(reply.model, "gpt-x-1");
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let search = json!({"id": "ws_1", "type": "web_search_call", "status": "completed",
        "action": {"type": "search", "query": "oslo"}});
    let expected = [
        sealed(
            "Two cities – look twice.\n\nSearch first.",
            "rs_1",
            Some("gAAA-sealed"),
        ),
        Part::opaque("openai", search),
        Part::text("Moment, ich schaue – 🌡"),
        called("call_a", Some("fc_1"), r#"{"city": "Tromsø"}"#).into(),
        called("call_b", Some("fc_2"), r#"{"city": "Oslo"}"#).into(),
    ];
    assert_eq!(reply.message.content, expected);
    let mut usage = Usage::new(90, 50);
    usage.cached_input_tokens = Some(64);
    usage.cache_write_tokens = Some(16);
    usage.reasoning_tokens = Some(12);
    assert_eq!(reply.usage, usage);
    let top = vec![("Moment".to_owned(), -0.5)];
    assert_eq!(
        reply.logprobs,
        [TokenLogprob::new("Moment", -0.5).with_top(top)]
    );
}

/// What came goes back as it came: the reasoning before its calls, the search between.
#[test]
fn a_reply_goes_back() {
    let message = whole(&wire(), reply()).unwrap().message;
    let results: Vec<_> = message
        .tool_calls()
        .map(|c| ToolResult::to(c, "4"))
        .collect();
    let request = ChatRequest::from("x")
        .message(message)
        .message(Message::tool_results(results));
    let call = wire().encode("m", &request, false).unwrap();
    assert!(call.notes.warnings().is_empty());
    let items = call.body["input"].as_array().unwrap();
    let kinds: Vec<&str> = items
        .iter()
        .map(|i| i["type"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(
        kinds,
        [
            "",
            "reasoning",
            "web_search_call",
            "",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output"
        ]
    );
    assert_eq!(items[1]["encrypted_content"], "gAAA-sealed");
    assert_eq!(
        (&items[4]["id"], &items[4]["call_id"]),
        (&json!("fc_1"), &json!("call_a"))
    );
    assert_eq!(call.body["include"], json!(["reasoning.encrypted_content"]));
}

fn frames() -> Vec<String> {
    let body = fixture("openai/responses_stream.sse");
    body.split_inclusive("\n\n").map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn a_stream_gives_the_whole_reply(cuts in prop::collection::vec(0usize..20_000, 0..12)) {
        let body = frames().concat();
        let streamed = collect(&wire(), body.as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire(), reply()).unwrap());
    }

    /// Of any reply, cut into deltas and interleaved in any way.
    #[test]
    fn any_stream_gives_its_reply(said in Said::any(), cuts in prop::collection::vec(0usize..5000, 0..8)) {
        let mut items = vec![
            json!({"type": "reasoning", "id": "rs", "encrypted_content": "x", "summary": [{"type": "summary_text", "text": said.thoughts}]}),
            json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": said.text}]}),
        ];
        let call = |i: usize, arguments: &str| json!({"type": "function_call", "id": format!("fc{i}"), "call_id": format!("c{i}"), "name": "f", "arguments": arguments});
        items.extend(said.calls.iter().enumerate().map(|(i, c)| call(i, c)));
        let usage = json!({"input_tokens": 3, "output_tokens": 4});
        let reply = json!({"id": "r", "model": "m", "status": "completed", "output": items, "usage": usage});

        let about = |kind: &str, at: usize, item: &Value| json!({"type": kind, "output_index": at, "item": item});
        let delta = |kind: &str, at: usize, piece: &str| json!({"type": kind, "output_index": at, "delta": piece});
        let mut events = vec![json!({"type": "response.created", "response": {"id": "r", "model": "m"}})];
        events.push(about("response.output_item.added", 0, &json!({"type": "reasoning", "id": "rs"})));
        events.extend(said.pieces_of(&said.thoughts).map(|p| delta("response.reasoning_summary_text.delta", 0, &p)));
        events.push(about("response.output_item.done", 0, &items[0]));
        events.push(about("response.output_item.added", 1, &json!({"type": "message", "id": "m", "content": []})));
        events.extend(said.pieces_of(&said.text).map(|p| delta("response.output_text.delta", 1, &p)));
        events.push(about("response.output_item.done", 1, &items[1]));
        events.extend((0..said.calls.len()).map(|i| about("response.output_item.added", i + 2, &call(i, ""))));
        for (i, piece) in said.interleaved() {
            events.push(delta("response.function_call_arguments.delta", i + 2, &piece));
        }
        events.push(json!({"type": "response.completed", "response": reply}));
        let streamed = collect(&wire(), sse(&events).as_bytes(), &cuts).unwrap();
        prop_assert_eq!(streamed, whole(&wire(), reply).unwrap());
    }

    /// Whatever comes, there is an answer or a typed error.
    #[test]
    fn garbage_is_no_panic(
        kind in "response\\.(output_item\\.(added|done)|output_text\\.delta|function_call_arguments\\.(delta|done)|completed|incomplete|failed|reasoning_text\\.delta)",
        item in "\\{\"type\":\"(message|reasoning|function_call|x)\",\"(content|summary|arguments|output)\":(null|1|\"x\"|\\[\\{\\}\\]|\\[1\\])\\}",
    ) {
        let item: Value = serde_json::from_str(&item).unwrap();
        let event = json!({"type": kind, "output_index": -1, "item": item, "response": item, "delta": item});
        drop(collect(&wire(), sse([&event]).as_bytes(), &[]));
        drop(whole(&wire(), json!({"output": [item, 1, null]})));
    }
}

#[test]
fn the_end_may_lack_the_output_and_the_events_may_lack_the_pieces() {
    let expected = whole(&wire(), reply()).unwrap();
    let mut frames = frames();
    let last = frames.pop().unwrap();
    let mut end: Value = serde_json::from_str(last.split_once("data: ").unwrap().1).unwrap();
    end["response"].as_object_mut().unwrap().remove("output");
    let bare = format!("{}{}data: [DONE]\n\n", frames.concat(), sse([&end]));
    assert_eq!(collect(&wire(), bare.as_bytes(), &[]).unwrap(), expected);
    // Only the first and the last event, as some gateways give it.
    let short = format!("{}{last}", frames[0]);
    assert_eq!(collect(&wire(), short.as_bytes(), &[]).unwrap(), expected);
    // Whole items without pieces.
    let whole_items = frames
        .iter()
        .filter(|f| !f.contains(".delta\"") && !f.contains(".arguments.done"));
    let items: String = whole_items.cloned().collect();
    let response = collect(&wire(), format!("{items}{last}").as_bytes(), &[]).unwrap();
    assert_eq!(response.message, expected.message);
}

#[test]
fn a_stream_cut_before_its_end_is_truncated() {
    let frames = frames();
    for end in 0..frames.len() - 1 {
        let body = format!("{}data: [DONE]\n\n", frames[..=end].concat());
        let error = collect(&wire(), body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Truncated, "after frame {end}");
    }
}

#[test]
fn ends_of_all_kinds() {
    let incomplete = |reason: &str| json!({"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []});
    let refusal = json!({"status": "completed", "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]});
    for (response, expected) in [
        (incomplete("max_output_tokens"), FinishReason::Length),
        (incomplete("content_filter"), FinishReason::ContentFilter),
        (
            json!({"status": "incomplete", "output": []}),
            FinishReason::Length,
        ),
        (
            json!({"status": "completed", "output": []}),
            FinishReason::Stop,
        ),
        (json!({"output": []}), FinishReason::Stop),
        (refusal, FinishReason::Refusal),
    ] {
        let reply = whole(&wire(), response.clone()).unwrap();
        assert_eq!(reply.finish_reason, expected, "{response}");
        let event = json!({"type": "response.incomplete", "response": response});
        let streamed = collect(&wire(), sse([&event]).as_bytes(), &[]).unwrap();
        assert_eq!(streamed.finish_reason, expected, "{response} streamed");
        assert_eq!(streamed.message, reply.message);
    }
    let refused = json!({"type": "response.refusal.delta", "output_index": 0, "delta": "No."});
    let end = json!({"type": "response.completed", "response": {"status": "completed"}});
    let streamed = collect(&wire(), sse([&refused, &end]).as_bytes(), &[]).unwrap();
    assert_eq!(
        (streamed.text().as_str(), streamed.finish_reason),
        ("No.", FinishReason::Refusal)
    );
}

#[test]
fn failures_have_their_kind() {
    let error = json!({"code": "rate_limit_exceeded", "message": "slow down"});
    let failed = json!({"status": "failed", "output": [], "error": error});
    let kind = |body| whole(&wire(), body).unwrap_err().kind();
    assert_eq!(kind(failed.clone()), ErrorKind::RateLimited);
    assert_eq!(
        kind(json!({"status": "failed", "output": []})),
        ErrorKind::Server
    );
    assert_eq!(
        kind(json!({"status": "cancelled", "output": []})),
        ErrorKind::Cancelled
    );
    assert_eq!(
        kind(json!({"status": "queued", "output": []})),
        ErrorKind::Decode
    );
    assert_eq!(kind(json!({"hello": 1})), ErrorKind::Decode);
    let begun = frames()[..6].concat();
    for (event, kind) in [
        (
            json!({"type": "response.failed", "response": failed}),
            ErrorKind::RateLimited,
        ),
        (
            json!({"type": "error", "code": "insufficient_quota", "message": "pay"}),
            ErrorKind::QuotaExceeded,
        ),
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
            ErrorKind::Overloaded,
        ),
        (
            json!({"error": {"message": "no", "type": "invalid_request_error"}}),
            ErrorKind::InvalidRequest,
        ),
    ] {
        let body = format!("{begun}{}", sse([&event]));
        let error = collect(&wire(), body.as_bytes(), &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{event}");
    }
}

/// Answers as a model would: with a tool when one is demanded, JSON when a schema asks for it.
fn answering() -> OpenAi {
    let client = Answering::client(|request| {
        let asked = body(request);
        if request.url.ends_with("/responses/input_tokens") {
            assert_eq!(asked.get("store"), None);
            return (
                "application/json",
                json!({"object": "response.input_tokens", "input_tokens": 5}).to_string(),
            );
        }
        assert_eq!(asked["store"], false);
        let limit = asked["max_output_tokens"].as_u64().unwrap_or(9);
        let say = |text: &str| json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": text}]});
        let item = if asked["tool_choice"] == "required" {
            json!({"type": "function_call", "id": "fc", "call_id": "c", "name": asked["tools"][0]["name"], "arguments": r#"{"city": "Oslo"}"#})
        } else if asked["text"]["format"]["type"] == "json_schema" {
            say(r#"{"greeting": "Hello."}"#)
        } else {
            say("Hello.")
        };
        let usage = json!({"input_tokens": 5, "output_tokens": limit.min(2)});
        let response = json!({"id": "r", "model": "gpt-x", "status": "completed", "output": [item], "usage": usage});
        if asked["stream"] != true {
            return ("application/json", response.to_string());
        }
        let events = [
            json!({"type": "response.created", "response": {"id": "r", "model": "gpt-x"}}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.completed", "response": response}),
        ];
        ("text/event-stream", sse(&events))
    });
    OpenAi::new("sk-test").unwrap().with_client(client)
}

#[tokio::test]
async fn conforms() {
    let suite = ChatSuite::new().with_calls_tools(true);
    chat(&answering().responses("gpt-x"), &suite)
        .await
        .into_result()
        .unwrap();
}
