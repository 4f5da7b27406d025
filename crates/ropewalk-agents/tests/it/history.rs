//! Histories: the rules that all keep, and the files of one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ropewalk_agents::{InMemoryHistory, JsonlHistory};
use ropewalk_core::{
    ChatHistory, ErrorKind, Message, Part, Reasoning, ToolCall, ToolResult, Trust,
};
use serde_json::json;

/// A directory that is removed with the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("ropewalk-agents-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn turn(n: usize) -> Vec<Message> {
    vec![
        Message::user(format!("question {n} é\n\"")),
        Message::assistant(format!("answer {n}")),
    ]
}

/// One of every kind of part.
fn rich() -> Vec<Message> {
    let call = ToolCall::new("call_1", "look", "{ \"q\":1 }");
    let result = ToolResult::to(&call, "found").with_trust(Trust::Trusted);
    vec![
        Message::user([
            Part::untrusted_text("a page"),
            Part::image(vec![1u8, 2, 255], "image/png"),
        ]),
        Message::assistant([
            Part::Reasoning(Reasoning::new("hm").with_signature("anthropic", "sig")),
            Part::ToolCall(call),
        ])
        .with_id("msg_1"),
        Message::tool(result),
        Message::assistant([
            Part::opaque("openai", json!({"type": "web_search"})),
            Part::text("done"),
        ]),
    ]
}

/// The rules of [`ChatHistory`].
async fn suite(history: Arc<dyn ChatHistory>) {
    // A conversation that is not there is empty and can be cleared.
    assert_eq!(history.load("a").await.unwrap(), []);
    history.clear("a").await.unwrap();
    // Appends add up in order and keep every part as it is.
    history.append("a", &turn(1)).await.unwrap();
    history.append("a", &[]).await.unwrap();
    history.append("a", &rich()).await.unwrap();
    let expected = [turn(1), rich()].concat();
    assert_eq!(history.load("a").await.unwrap(), expected);
    // Ids are kept apart, whatever they look like.
    let ids = ["A", "a/../b", "a.b", "ünï", "a b", "%61", "a\0", "con"];
    for id in ids {
        assert_eq!(history.load(id).await.unwrap(), [], "{id:?}");
        history.append(id, &[Message::user(id)]).await.unwrap();
    }
    for id in ids {
        assert_eq!(history.load(id).await.unwrap(), [Message::user(id)]);
    }
    assert_eq!(history.load("a").await.unwrap(), expected);
    // Clearing one leaves the others, and one can begin anew.
    history.clear("a").await.unwrap();
    assert_eq!(history.load("a").await.unwrap(), []);
    assert_eq!(history.load("A").await.unwrap(), [Message::user("A")]);
    history.append("a", &turn(2)).await.unwrap();
    assert_eq!(history.load("a").await.unwrap(), turn(2));
    // Writers at the same time lose nothing and do not mix what was appended at once.
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let history = Arc::clone(&history);
            tokio::spawn(async move { history.append("busy", &turn(n)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let all = history.load("busy").await.unwrap();
    let mut pairs: Vec<Vec<Message>> = all.chunks(2).map(<[Message]>::to_vec).collect();
    pairs.sort_by_key(|p| p[1].text().len() * 1000 + p[1].text()[7..].parse::<usize>().unwrap());
    assert_eq!(pairs, (0..16).map(turn).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    suite(Arc::new(InMemoryHistory::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jsonl() {
    let directory = Directory::new();
    suite(Arc::new(JsonlHistory::open(directory.path()).unwrap())).await;
}

#[cfg(feature = "redb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redb() {
    let directory = Directory::new();
    let path = directory.path().join("chats.redb");
    suite(Arc::new(ropewalk_agents::RedbHistory::open(&path).unwrap())).await;
    // What was committed is there when the file is opened again.
    let again = ropewalk_agents::RedbHistory::open(&path).unwrap();
    assert_eq!(again.load("a").await.unwrap(), turn(2));
    assert_eq!(again.load("busy").await.unwrap().len(), 32);
    fs::write(directory.path().join("no.redb"), "no database").unwrap();
    let error = ropewalk_agents::RedbHistory::open(directory.path().join("no.redb")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn two_handles_on_a_directory_take_turns() {
    let directory = Directory::new();
    let open = || JsonlHistory::open(directory.path()).unwrap();
    let (one, two) = (open(), open());
    let write = |history: JsonlHistory| async move {
        for n in 0..20 {
            history.append("c", &turn(n)).await.unwrap();
        }
    };
    tokio::join!(write(one), write(two));
    assert_eq!(open().load("c").await.unwrap().len(), 80);
}

#[test]
fn a_file_cut_at_every_byte_of_its_last_line_keeps_the_rest() {
    let directory = Directory::new();
    let history = JsonlHistory::open(directory.path()).unwrap();
    let run = futures_executor::block_on::<std::pin::Pin<Box<dyn Future<Output = ()>>>>;
    run(Box::pin(async {
        history.append("c", &turn(1)).await.unwrap();
        let before = fs::read(history.path("c").unwrap()).unwrap().len();
        history.append("c", &turn(2)).await.unwrap();
        let whole = fs::read(history.path("c").unwrap()).unwrap();
        for cut in before..=whole.len() {
            fs::write(history.path("c").unwrap(), &whole[..cut]).unwrap();
            let loaded = history.load("c").await.unwrap();
            // Without its line feed the last line is whole all the same.
            let complete = cut + 1 >= whole.len();
            let expected = if complete { 2 } else { 1 };
            assert_eq!(loaded.len(), 2 * expected, "cut at {cut}");
            assert_eq!(loaded[..2], turn(1));
            // The next append takes the rest away and is itself whole.
            history.append("c", &turn(3)).await.unwrap();
            let loaded = history.load("c").await.unwrap();
            assert_eq!(loaded.len(), 2 * (expected + 1), "append after {cut}");
            assert_eq!(loaded[2 * expected..], turn(3));
        }
        // So does a repair, which tells what was there.
        fs::write(history.path("c").unwrap(), &whole[..before + 5]).unwrap();
        let torn = history.repair("c").await.unwrap().unwrap();
        assert_eq!((torn.at, torn.bytes), (before as u64, 5));
        assert_eq!(
            fs::read(history.path("c").unwrap()).unwrap(),
            &whole[..before]
        );
        assert_eq!(history.repair("c").await.unwrap(), None);
    }));
}

#[tokio::test]
async fn a_broken_line_that_is_not_the_last_is_an_error_that_names_it() {
    let directory = Directory::new();
    let history = JsonlHistory::open(directory.path()).unwrap();
    history.append("c", &turn(1)).await.unwrap();
    let path = history.path("c").unwrap();
    let good = fs::read_to_string(&path).unwrap();
    for bad in ["{\"v\":1,\"mess\n", "{\"v\":2,\"messages\":[]}\n"] {
        fs::write(&path, format!("{good}{bad}{good}")).unwrap();
        let error = history.load("c").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.message().contains("line 2: "), "{error}");
    }
    for id in ["", &"x".repeat(300)] {
        let error = history.load(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }
}
