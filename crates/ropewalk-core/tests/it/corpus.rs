//! Stored JSON keeps loading. A shape that once was written must be read for ever; the files here
//! are only added to.

use ropewalk_core::{
    ChatRequest, ChatResponse, ErrorKind, FinishReason, Message, Options, Part, Role, StreamEvent,
    ToolChoice, Transcript,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads every value of a corpus file, and checks that what we write of it reads back the same.
fn load<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(json: &str) -> Vec<T> {
    let values: Vec<Value> = serde_json::from_str(json).unwrap();
    let read = |value: Value| {
        let text = value.to_string();
        let read: T = serde_json::from_value(value).unwrap_or_else(|e| panic!("{text}: {e}"));
        let again: T = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read, "{text}");
        read
    };
    values.into_iter().map(read).collect()
}

#[test]
fn messages() {
    let messages: Vec<Message> = load(include_str!("corpus/messages.json"));
    let kinds: Vec<Vec<&str>> = messages
        .iter()
        .map(|m| m.content.iter().map(Part::kind).collect())
        .collect();
    let expected: [&[&str]; 11] = [
        &["text"],
        &["text"],
        &["text", "image", "image", "image"],
        &["audio", "video", "document"],
        &["reasoning", "text"],
        &["reasoning", "tool_call", "tool_call"],
        &["tool_result", "tool_result"],
        &["opaque", "text"],
        &["text"],
        &[],
        &["text"],
    ];
    assert_eq!(kinds, expected);
    let calls: Vec<_> = messages[5].tool_calls().collect();
    assert_eq!(calls[0].arguments, "{\"city\":  \"Oslo\"}");
    assert_eq!(calls[1].arguments, "{not json");
    assert_eq!(calls[1].signature.as_deref(), Some("sig=="));
    assert!(messages[6].results().nth(1).unwrap().is_error);
    assert_eq!(messages[8].name.as_deref(), Some("bob"));
}

#[test]
fn requests() {
    let requests: Vec<ChatRequest> = load(include_str!("corpus/requests.json"));
    assert_eq!(requests.len(), 4);
    for request in &requests {
        request.validate().unwrap();
    }
    assert_eq!(requests[0].options, Options::default());
    assert_eq!(requests[1].options.max_tokens, Some(64));
    assert_eq!(requests[1].extra["openai"]["service_tier"], "flex");
    assert_eq!(
        requests[2].tool_choice,
        ToolChoice::Tool("get_ticket_price".into())
    );
    assert_eq!(
        requests[2].tools[0].parameters.as_value()["required"][0],
        "city"
    );
}

#[test]
fn responses() {
    let responses: Vec<ChatResponse> = load(include_str!("corpus/responses.json"));
    let reasons: Vec<&str> = responses.iter().map(|r| r.finish_reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["stop", "tool_calls", "length", "pause_turn", "stop"]
    );
    assert_eq!(responses[0].usage.cached_input_tokens, Some(3));
    assert_eq!(responses[1].usage.total_tokens(), None);
    assert_eq!(responses[2].warnings[0].option, "top_k");
    assert_eq!(
        responses[3].finish_reason,
        FinishReason::Other("pause_turn".into())
    );
}

#[test]
fn stream_events() {
    let events: Vec<StreamEvent> = load(include_str!("corpus/stream_events.json"));
    assert_eq!(events.len(), 10);
    let Some(StreamEvent::Finished(response)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(response.text(), "Hi");
}

#[test]
fn error_kinds_and_transcripts() {
    let kinds: Vec<ErrorKind> = load(include_str!("corpus/error_kinds.json"));
    assert_eq!(kinds.len(), 22);
    let transcripts: Vec<Transcript> = load(include_str!("corpus/transcripts.json"));
    assert_eq!(transcripts[1].segments[0].speaker.as_deref(), Some("A"));
}

#[derive(serde::Deserialize)]
struct Line {
    messages: Vec<Message>,
}

/// Training and evaluation sets as OpenAI and Hugging Face write them.
#[test]
fn jsonl_of_other_tools() {
    let lines = include_str!("corpus/chats.jsonl").lines();
    let chats: Vec<Line> = lines
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}")))
        .collect();
    let roles = |i: usize| chats[i].messages.iter().map(|m| m.role).collect::<Vec<_>>();
    use Role::{Assistant, System, Tool, User};
    assert_eq!(roles(0), [System, User, Assistant]);
    assert_eq!(roles(1), [User, Assistant, Tool, Tool, Assistant]);
    assert_eq!(roles(2), [User, Assistant, Tool, Assistant]);
    assert_eq!(roles(3), [System, User, Assistant]);
    assert_eq!(roles(4), [User, Assistant]);
    assert_eq!(roles(5), [User, Assistant, Tool]);
    let calls: Vec<_> = chats[1].messages[1]
        .tool_calls()
        .map(|c| c.arguments.as_str())
        .collect();
    assert_eq!(calls, [r#"{"city": "Oslo"}"#, r#"{"city": "Rome"}"#]);
    let hf = chats[2].messages[1].tool_calls().next().unwrap();
    assert_eq!(
        (hf.name.as_str(), hf.arguments.as_str()),
        ("multiply", r#"{"a":3,"b":4}"#)
    );
    assert_eq!(chats[4].messages[1].reasoning(), "2 and 2 is 4");
    for chat in [0, 1, 3, 4] {
        ChatRequest::from(chats[chat].messages.as_slice())
            .validate()
            .unwrap();
    }
}
