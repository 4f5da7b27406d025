//! Frames do not depend on where the pieces of a body end.

use proptest::prelude::*;
use ropewalk_core::ErrorKind;
use ropewalk_http::{Frame, Framer, NdjsonFramer, SseFramer};

fn frames(framer: &mut dyn Framer, pieces: &[&[u8]]) -> Vec<(String, String)> {
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece, &mut frames).unwrap();
    }
    framer.finish(&mut frames).unwrap();
    let text = |f: &Frame| String::from_utf8_lossy(&f.data).into_owned();
    frames.iter().map(|f| (f.event.clone(), text(f))).collect()
}

const BODY: &str = "\u{feff}: comment\nevent: a\ndata: one\n\ndata:two\r\ndata: zwei ü\r\n\r\nid: 7\rretry: 3\rdata: three\r\rdata\n\nevent: lost\n\ndata: last";

fn expected() -> Vec<(String, String)> {
    [
        ("a", "one"),
        ("", "two\nzwei ü"),
        ("", "three"),
        ("", ""),
        ("", "last"),
    ]
    .map(|(e, d)| (e.to_owned(), d.to_owned()))
    .to_vec()
}

#[test]
fn sse_survives_a_split_at_every_byte() {
    let bytes = BODY.as_bytes();
    assert_eq!(frames(&mut SseFramer::new(), &[bytes]), expected());
    for at in 0..=bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(
            frames(&mut SseFramer::new(), &[a, b]),
            expected(),
            "split at {at}"
        );
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(frames(&mut SseFramer::new(), &single), expected());
}

#[test]
fn every_line_end_gives_the_same_events() {
    for end in ["\n", "\r", "\r\n"] {
        let body = BODY
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .replace('\n', end);
        for size in [1, 2, 3, 7, 1000] {
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            assert_eq!(
                frames(&mut SseFramer::new(), &pieces),
                expected(),
                "{end:?} {size}"
            );
        }
    }
}

#[test]
fn ndjson_survives_a_split_at_every_byte() {
    let body = "\u{feff}{\"a\":\"ü\"}\r\n\n  \n{\"b\":2}\n{\"c\":\"\\r\"}".as_bytes();
    let expected = ["{\"a\":\"ü\"}", "{\"b\":2}", "{\"c\":\"\\r\"}"];
    let expected: Vec<_> = expected.map(|d| (String::new(), d.to_owned())).to_vec();
    for at in 0..=body.len() {
        let (a, b) = body.split_at(at);
        assert_eq!(
            frames(&mut NdjsonFramer::new(), &[a, b]),
            expected,
            "split at {at}"
        );
    }
}

/// Counts what the framer does by how long it takes it in units of bytes: a line of 8 MiB in pieces
/// of 8 KiB must come whole, and one byte over the limit must not.
#[test]
fn long_lines_come_whole_up_to_the_limit() {
    let line = "x".repeat(8 << 20);
    let body = format!("data: {line}\n\n");
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(8192).collect();
    let found = frames(&mut SseFramer::new(), &pieces);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.len(), 8 << 20);
    for mut framer in [
        Box::new(SseFramer::new().with_max_line(100)) as Box<dyn Framer>,
        Box::new(NdjsonFramer::new().with_max_line(100)),
    ] {
        let mut out = Vec::new();
        framer.push(&[b'x'; 100], &mut out).unwrap();
        let error = framer.push(b"x", &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("100 bytes"), "{error}");
    }
}

#[test]
fn an_event_that_never_ends_is_bounded() {
    let mut framer = SseFramer::new().with_max_line(100);
    let mut out = Vec::new();
    let line = format!("data:{}\n", "x".repeat(24));
    for _ in 0..4 {
        framer.push(line.as_bytes(), &mut out).unwrap();
    }
    let error = framer.push(line.as_bytes(), &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("100 bytes"), "{error}");
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn chunking_changes_nothing(body in proptest::collection::vec(prop_oneof![
        Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), Just(b'a'), Just(b't'),
        Just(b'{'), Just(0xef), any::<u8>()], 0..200), cuts in proptest::collection::vec(0usize..200, 0..8)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &body[w[0]..w[1]]).collect();
        prop_assert_eq!(frames(&mut SseFramer::new(), &pieces), frames(&mut SseFramer::new(), &[&body]));
        prop_assert_eq!(frames(&mut NdjsonFramer::new(), &pieces), frames(&mut NdjsonFramer::new(), &[&body]));
    }

    #[test]
    fn what_is_written_is_read(events in proptest::collection::vec("[^\r\n]{0,20}", 1..10)) {
        let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
        let found = frames(&mut SseFramer::new(), &[body.as_bytes()]);
        let found: Vec<String> = found.into_iter().map(|(_, d)| d).collect();
        prop_assert_eq!(found, events);
    }
}
