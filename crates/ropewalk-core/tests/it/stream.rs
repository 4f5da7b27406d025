//! `ChatStream` over events that somebody else made.

use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use ropewalk_core::{
    ChatResponse, ChatStream, Error, ErrorKind, Message, Part, Reasoning, Result, StreamEvent,
    ToolCall,
};

fn delta(text: &str) -> Result<StreamEvent> {
    Ok(StreamEvent::TextDelta {
        index: 0,
        text: text.into(),
    })
}

fn finished(text: &str) -> Result<StreamEvent> {
    let response = ChatResponse::new("p", "m", Message::assistant(text));
    Ok(StreamEvent::Finished(Box::new(response)))
}

fn read(events: Vec<Result<StreamEvent>>) -> Vec<Result<StreamEvent>> {
    block_on(StreamExt::collect(ChatStream::new(stream::iter(events))))
}

#[test]
fn ends_after_finished() {
    let events = read(vec![
        delta("a"),
        finished("a"),
        delta("late"),
        finished("again"),
    ]);
    assert_eq!(events.len(), 2);
}

#[test]
fn ends_after_an_error() {
    let events = read(vec![
        delta("a"),
        Err(Error::new(ErrorKind::Server, "x")),
        delta("b"),
    ]);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].as_ref().unwrap_err().kind(), ErrorKind::Server);
}

#[test]
fn early_end_is_truncated_with_what_came() {
    let call = StreamEvent::ToolCallStarted {
        index: 1,
        id: "c".into(),
        name: "f".into(),
    };
    let json = StreamEvent::ToolCallDelta {
        index: 1,
        json: "{\"x".into(),
    };
    let events = read(vec![delta("he"), delta("y"), Ok(call), Ok(json)]);
    let error = events.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let parts = &error.partial().unwrap().message.content;
    let expected = [
        Part::text("hey"),
        Part::ToolCall(ToolCall::new("c", "f", "{\"x")),
    ];
    assert_eq!(parts.as_slice(), expected);
    let collected = block_on(ChatStream::new(stream::iter([delta("x")])).collect());
    assert_eq!(collected.unwrap_err().kind(), ErrorKind::Truncated);
}

#[test]
fn a_whole_reply_replays_as_events() {
    let message = Message::assistant([
        Part::Reasoning(Reasoning::new("hm")),
        Part::text("ok"),
        Part::ToolCall(ToolCall::new("c", "f", "{}")),
        Part::image_url("u"),
    ]);
    let response = ChatResponse::new("p", "m", message).with_id("r");
    let stream = ChatStream::from_response(response.clone());
    let events: Vec<StreamEvent> = block_on(StreamExt::collect::<Vec<_>>(stream))
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(events.len(), 1 + 4 + 4 + 1);
    assert!(matches!(&events[0], StreamEvent::Started { id: Some(id), .. } if id == "r"));
    let text = ChatStream::from_response(response.clone()).text();
    let text: Vec<String> = block_on(text.map(Result::unwrap).collect());
    assert_eq!(text, ["ok"]);
    assert_eq!(
        block_on(ChatStream::from_response(response.clone()).collect()).unwrap(),
        response
    );
}

#[test]
fn an_error_of_the_source_gets_what_came() {
    let started = StreamEvent::Started {
        id: Some("r1".into()),
        model: Some("m-2".into()),
    };
    for kind in [ErrorKind::Connection, ErrorKind::Truncated] {
        let events = vec![
            Ok(started.clone()),
            delta("so far"),
            Err(Error::new(kind, "x")),
        ];
        let stream = ChatStream::from_events("p", "m", stream::iter(events));
        let error = block_on(stream.collect()).unwrap_err();
        assert_eq!(error.kind(), kind);
        let partial = error.partial().unwrap();
        assert_eq!(partial.text(), "so far");
        assert_eq!((&*partial.provider, &*partial.model), ("p", "m-2"));
        assert_eq!(partial.id.as_deref(), Some("r1"));
        assert_eq!(partial.finish_reason.as_str(), "truncated");
    }
    // One that has its own keeps it.
    let own = ChatResponse::new("p", "m", Message::assistant("own"));
    let error = Error::new(ErrorKind::Server, "x").with_partial(own);
    let error = read(vec![delta("a"), Err(error)])
        .pop()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.partial().unwrap().text(), "own");
}

#[test]
fn an_early_end_names_the_reply() {
    let started = StreamEvent::Started {
        id: Some("r1".into()),
        model: None,
    };
    let events = stream::iter(vec![Ok(started), delta("x")]);
    let error = block_on(ChatStream::from_events("p", "m", events).collect()).unwrap_err();
    let partial = error.partial().unwrap();
    assert_eq!(error.provider(), "p");
    assert_eq!((&*partial.provider, &*partial.model), ("p", "m"));
    assert_eq!(partial.id.as_deref(), Some("r1"));
}
