//! However a reply is cut into deltas, the assembled reply is the same.

use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use ropewalk_core::{
    ChatResponse, ChatStream, Error, ErrorKind, FinishReason, Message, Part, Reasoning, Result,
    StreamAssembler, StreamEvent, Timing, TokenLogprob, ToolCall, Usage, WireDelta,
};

fn assembler() -> StreamAssembler {
    StreamAssembler::new("test", "test-1")
}

/// The clock differs between runs.
fn timeless(mut response: ChatResponse) -> ChatResponse {
    response.timing = Timing::default();
    response
}

fn chat(deltas: &[WireDelta]) -> ChatResponse {
    let mut assembler = assembler();
    for delta in deltas {
        assembler.push(delta.clone());
    }
    timeless(assembler.finish().unwrap())
}

fn streamed(deltas: impl IntoIterator<Item = Result<WireDelta>>) -> Vec<Result<StreamEvent>> {
    let deltas: Vec<_> = deltas.into_iter().collect();
    block_on(StreamExt::collect(ChatStream::from_deltas(
        assembler(),
        stream::iter(deltas),
    )))
}

/// What a wire would send for each part, one delta per part.
fn whole(message: &Message) -> Vec<WireDelta> {
    let delta = |(slot, part): (u32, &Part)| match part.clone() {
        Part::Text { text, .. } => WireDelta::Text { slot, text },
        Part::Reasoning(Reasoning { text, .. }) => WireDelta::Reasoning { slot, text },
        Part::ToolCall(call) => WireDelta::tool_call(slot, call),
        part => WireDelta::Part(part),
    };
    (0..).zip(&message.content).map(delta).collect()
}

/// Cuts each delta into pieces at the given characters; a call's id and name come first, in either
/// order and apart from its arguments.
fn cut(delta: WireDelta, at: &[usize], name_first: bool) -> Vec<WireDelta> {
    let pieces = |text: String| -> Vec<String> {
        let mut cuts: Vec<usize> = at.iter().map(|i| i % (text.chars().count() + 1)).collect();
        cuts.sort_unstable();
        let chars: Vec<char> = text.chars().collect();
        let ends = cuts.iter().copied().chain([chars.len()]);
        let mut from = 0;
        ends.map(|to| chars[std::mem::replace(&mut from, to)..to].iter().collect())
            .collect()
    };
    match delta {
        WireDelta::Text { slot, text } => pieces(text)
            .into_iter()
            .map(|text| WireDelta::Text { slot, text })
            .collect(),
        WireDelta::Reasoning { slot, text } => pieces(text)
            .into_iter()
            .map(|text| WireDelta::Reasoning { slot, text })
            .collect(),
        WireDelta::ToolCall {
            slot,
            id,
            name,
            arguments,
        } => {
            let piece = |id, name, arguments| WireDelta::ToolCall {
                slot,
                id,
                name,
                arguments,
            };
            let mut head = vec![
                piece(id, None, String::new()),
                piece(None, name, String::new()),
            ];
            if name_first {
                head.reverse();
            }
            head.extend(pieces(arguments).into_iter().map(|a| piece(None, None, a)));
            head
        }
        other => vec![other],
    }
}

/// Merges the pieces of all parts, keeping the order within each part and of first pieces.
fn interleave(parts: Vec<Vec<WireDelta>>, order: &[usize]) -> Vec<WireDelta> {
    // A call becomes visible with its second piece, so the first two stay together.
    let mut merged: Vec<WireDelta> = Vec::new();
    let mut rest: Vec<std::vec::IntoIter<WireDelta>> = Vec::new();
    for part in parts {
        let mut part = part.into_iter();
        let head = if matches!(part.as_slice().first(), Some(WireDelta::ToolCall { .. })) {
            2
        } else {
            1
        };
        let visible = |d: &WireDelta| match d {
            WireDelta::Text { text, .. } | WireDelta::Reasoning { text, .. } => !text.is_empty(),
            _ => true,
        };
        let mut taken = 0;
        while taken < head {
            match part.next() {
                Some(delta) => {
                    taken += usize::from(visible(&delta));
                    merged.push(delta);
                }
                None => break,
            }
        }
        rest.push(part);
    }
    for i in order {
        let n = rest.len().max(1);
        if let Some(delta) = rest.get_mut(i % n).and_then(Iterator::next) {
            merged.push(delta);
        }
    }
    merged.extend(rest.into_iter().flatten());
    merged
}

fn any_part() -> impl Strategy<Value = Part> {
    let text = "\\PC{1,12}";
    prop_oneof![
        text.prop_map(Part::text),
        text.prop_map(|t| Part::Reasoning(Reasoning::new(t))),
        ("[a-z]{1,5}", "[a-z]{1,5}", "\\PC{0,12}")
            .prop_map(|(id, name, json)| Part::ToolCall(ToolCall::new(id, name, json))),
        Just(Part::image_url("http://x")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_reply(
        parts in prop::collection::vec(any_part(), 0..6),
        cuts in prop::collection::vec(0usize..64, 0..5),
        order in prop::collection::vec(0usize..64, 0..40),
        name_first in any::<bool>(),
    ) {
        let message = Message::assistant(parts);
        let tail = [
            WireDelta::FinishReason(FinishReason::Stop),
            WireDelta::Usage(Usage::new(3, 4)),
            WireDelta::End,
        ];
        let once: Vec<WireDelta> = whole(&message).into_iter().chain(tail.clone()).collect();
        let pieces = whole(&message).into_iter().map(|d| cut(d, &cuts, name_first)).collect();
        let many: Vec<WireDelta> = interleave(pieces, &order).into_iter().chain(tail).collect();

        let expected = chat(&once);
        prop_assert_eq!(&expected.message.content, &message.content);
        prop_assert_eq!(&chat(&many), &expected);

        // stream().collect() == chat(), and the events themselves keep the law.
        let source = stream::iter(many.clone().into_iter().map(Ok));
        let collected = block_on(ChatStream::from_deltas(assembler(), source).collect()).unwrap();
        prop_assert_eq!(&timeless(collected), &expected);
        let events: Vec<StreamEvent> = streamed(many.into_iter().map(Ok)).into_iter().map(Result::unwrap).collect();
        check_events(&events, &message);
    }

    #[test]
    fn any_early_end_is_truncated(
        parts in prop::collection::vec(any_part(), 1..4),
        keep in 0usize..8,
    ) {
        let message = Message::assistant(parts);
        let deltas: Vec<WireDelta> = whole(&message).into_iter().take(keep).collect();
        let kept = deltas.len();
        let mut events = streamed(deltas.into_iter().map(Ok));
        let error = events.pop().unwrap().unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Truncated);
        prop_assert!(events.iter().all(Result::is_ok));
        let partial = &error.partial().unwrap().message.content;
        prop_assert_eq!(partial.as_slice(), &message.content[..kept]);
    }
}

fn check_events(events: &[StreamEvent], message: &Message) {
    let finished = events
        .iter()
        .filter(|e| matches!(e, StreamEvent::Finished(_)))
        .count();
    assert_eq!(finished, 1);
    assert!(matches!(events.last(), Some(StreamEvent::Finished(_))));
    for (i, part) in (0u32..).zip(&message.content) {
        let deltas: String = events
            .iter()
            .filter_map(|event| match event {
                StreamEvent::TextDelta { index, text }
                | StreamEvent::ReasoningDelta { index, text }
                | StreamEvent::ToolCallDelta { index, json: text }
                    if *index == i =>
                {
                    Some(text.as_str())
                }
                _ => None,
            })
            .collect();
        let expected = match part {
            Part::Text { text, .. } => text,
            Part::Reasoning(reasoning) => &reasoning.text,
            Part::ToolCall(call) => &call.arguments,
            _ => "",
        };
        assert_eq!(deltas, expected, "part {i}");
        let done = events
            .iter()
            .filter(|e| matches!(e, StreamEvent::PartDone { index, .. } if *index == i));
        assert_eq!(done.count(), 1);
    }
}

#[test]
fn usage_is_a_snapshot_and_warnings_are_kept() {
    let response = chat(&[
        WireDelta::Started {
            id: Some("r1".into()),
            model: Some("real-model".into()),
        },
        WireDelta::Usage(Usage::new(10, 1)),
        WireDelta::text("x"),
        WireDelta::Warning(ropewalk_core::Warning::new("top_k", "not supported")),
        WireDelta::Logprobs(vec![
            TokenLogprob::new("x", -0.5).with_top(vec![("x".into(), -0.5)]),
        ]),
        WireDelta::Logprobs(vec![TokenLogprob::new("y", -1.5)]),
        WireDelta::Usage(Usage::new(10, 7)),
        WireDelta::End,
    ]);
    assert_eq!(response.usage, Usage::new(10, 7));
    assert_eq!(
        (response.id.as_deref(), response.model.as_str()),
        (Some("r1"), "real-model")
    );
    assert_eq!(response.warnings.len(), 1);
    assert_eq!(
        response
            .logprobs
            .iter()
            .map(|t| t.logprob)
            .collect::<Vec<_>>(),
        [-0.5, -1.5]
    );
    assert_eq!(response.finish_reason, FinishReason::Stop);
}

#[test]
fn ids_are_minted_and_nameless_calls_reported() {
    let call = |slot, name: Option<&str>, arguments: &str| WireDelta::ToolCall {
        slot,
        id: None,
        name: name.map(Into::into),
        arguments: arguments.into(),
    };
    let mut assembler = assembler().with_call_prefix("call_7_");
    for delta in [
        call(0, Some("f"), "{}"),
        call(1, Some("g"), ""),
        call(2, None, "{\"lost\":1}"),
        WireDelta::End,
    ] {
        assembler.push(delta);
    }
    let response = assembler.finish().unwrap();
    let calls: Vec<_> = response
        .message
        .tool_calls()
        .map(|c| (c.id.as_str(), c.name.as_str()))
        .collect();
    assert_eq!(calls, [("call_7_0", "f"), ("call_7_1", "g")]);
    assert_eq!(response.finish_reason, FinishReason::ToolCalls);
    assert!(
        response.warnings[0].reason.contains("lost"),
        "{:?}",
        response.warnings
    );
}

#[test]
fn a_slot_may_be_used_again_after_part_done() {
    let response = chat(&[
        WireDelta::text("one"),
        WireDelta::PartDone { slot: 0 },
        WireDelta::text("two"),
        WireDelta::ReasoningMeta {
            slot: 1,
            signature: Some("si".into()),
            redacted: None,
            id: None,
        },
        WireDelta::ReasoningMeta {
            slot: 1,
            signature: Some("g".into()),
            redacted: None,
            id: None,
        },
        WireDelta::End,
    ]);
    let signed = Part::Reasoning(Reasoning::default().with_signature("test", "sig"));
    assert_eq!(
        response.message.content,
        [Part::text("one"), Part::text("two"), signed]
    );
}

#[test]
fn nothing_follows_the_end() {
    let mut assembler = assembler();
    assert_eq!(assembler.push(WireDelta::End).len(), 1);
    assert!(assembler.push(WireDelta::text("late")).is_empty());
    assert!(assembler.push(WireDelta::End).is_empty());
    assert_eq!(assembler.finish().unwrap().text(), "");
}

#[test]
fn an_error_carries_what_came() {
    let error = || Error::new(ErrorKind::Connection, "reset");
    let mut events = streamed([
        Ok(WireDelta::text("so f")),
        Ok(WireDelta::text("ar")),
        Err(error()),
    ]);
    let error = events.pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let partial = error.partial().unwrap();
    assert_eq!(partial.text(), "so far");
    assert_eq!(
        partial.finish_reason,
        FinishReason::Other("truncated".into())
    );
}

fn call(slot: u32, id: &str, name: &str, arguments: &str) -> WireDelta {
    let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    WireDelta::ToolCall {
        slot,
        id: some(id),
        name: some(name),
        arguments: arguments.into(),
    }
}

fn calls(response: &ChatResponse) -> Vec<(&str, &str, &str)> {
    let calls = response.message.tool_calls();
    calls
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str()))
        .collect()
}

#[test]
fn another_id_in_the_same_slot_is_another_call() {
    let deltas = [
        call(0, "a", "f", "{\"x\""),
        call(0, "a", "", ":1}"),
        call(0, "b", "f", ""),
        call(0, "", "", "{\"x\":2}"),
        call(0, "call_c", "g", ""),
        call(0, "call_d", "g", "{}"),
        WireDelta::End,
    ];
    let expected = [
        ("a", "f", "{\"x\":1}"),
        ("b", "f", "{\"x\":2}"),
        ("call_c", "g", ""),
        ("call_d", "g", "{}"),
    ];
    assert_eq!(calls(&chat(&deltas)), expected);
    let events = streamed(deltas.map(Ok));
    let done = |e: &&Result<StreamEvent>| matches!(e, Ok(StreamEvent::PartDone { .. }));
    assert_eq!(events.iter().filter(done).count(), 4);
}

#[test]
fn without_ids_another_name_is_another_call() {
    let response = chat(&[
        call(0, "", "f", ""),
        call(0, "", "g", "{}"),
        call(0, "", "g", ""),
        call(0, "", "h", "{}"),
        WireDelta::End,
    ]);
    let expected = [
        ("call_0", "f", ""),
        ("call_1", "g", "{}"),
        ("call_2", "h", "{}"),
    ];
    assert_eq!(calls(&response), expected);
}

#[test]
fn a_late_id_is_not_another_call() {
    let response = chat(&[
        call(0, "", "f", "{"),
        call(0, "late", "", "}"),
        WireDelta::End,
    ]);
    assert_eq!(calls(&response), [("call_0", "f", "{}")]);
}

#[test]
fn calls_without_arguments_keep_their_place() {
    let response = chat(&[
        call(0, "", "now", ""),
        call(1, "", "price", "{\"city\":"),
        call(1, "", "", "1}"),
        call(2, "", "then", ""),
        WireDelta::End,
    ]);
    let names: Vec<&str> = calls(&response).iter().map(|c| c.1).collect();
    assert_eq!(names, ["now", "price", "then"]);
}

#[test]
fn partial_shows_calls_that_wait() {
    let mut assembler = assembler();
    for delta in [
        WireDelta::text("x"),
        call(0, "", "now", ""),
        call(1, "c", "", "{"),
    ] {
        assembler.push(delta);
    }
    assert_eq!(calls(&assembler.partial()), [("call_1", "now", "")]);
    assembler.push(WireDelta::End);
    assert_eq!(calls(&assembler.partial()), [("call_1", "now", "")]);
}
