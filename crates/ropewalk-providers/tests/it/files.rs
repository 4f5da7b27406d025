//! Files over doubles.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ropewalk_core::ErrorKind;
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::OpenAi;
use ropewalk_providers::resources::{ListOptions, TrainingFormat, Upload, check_training_data};
use serde_json::{Value, json};

use crate::golden::{form, golden};

fn openai(double: &Arc<Double>) -> OpenAi {
    OpenAi::new("sk-test-key-of-nobody-1234")
        .unwrap()
        .with_client(double.client())
}

/// A directory of this test's own, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("ropewalk-providers-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const LINE: &str =
    r#"{"messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}"#;

#[tokio::test]
async fn uploads_are_forms() {
    let file = json!({"id": "file-1", "object": "file", "bytes": 9, "created_at": 7, "filename": "a.jsonl",
                      "purpose": "batch", "status": "processed", "status_details": null, "new": [1]});
    let double = Double::new([Canned::json(&file)]);
    let upload = Upload::new("a.jsonl", "{}\n{}\n{}\n", "batch")
        .with_expires_after(Duration::from_secs(86400));
    let object = openai(&double).files().upload(&upload).await.unwrap();
    golden("abilities/file_upload", &form(&double.requests()[0]));
    assert_eq!(
        (object.bytes, object.other["new"].clone()),
        (Some(9), json!([1]))
    );
    assert_eq!(serde_json::to_value(&object).unwrap(), file);
    let empty = Upload::new("a.jsonl", "", "batch");
    let error = openai(&double).files().upload(&empty).await.unwrap_err();
    assert!(error.message().contains("is empty"), "{error}");
}

#[tokio::test]
async fn training_data_is_checked_before_it_is_sent() {
    let double = Double::new([Canned::json(&json!({"id": "file-1"}))]);
    let files = openai(&double).files();
    let bad = format!("{LINE}\n\n{LINE}\n{{\"messages\": \"x\"}}\n{LINE}");
    let error = files
        .upload_training("train.jsonl", bad, TrainingFormat::Chat)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(
        error.to_string(),
        "openai: invalid request: train.jsonl: line 4: there is no list messages"
    );
    assert!(double.requests().is_empty());
    let good = format!("{LINE}\n{LINE}\n");
    files
        .upload_training("train.jsonl", good, TrainingFormat::Chat)
        .await
        .unwrap();
    assert_eq!(form(&double.requests()[0])["purpose"], "fine-tune");
}

#[test]
fn bad_examples_are_named() {
    use TrainingFormat::{Chat, Completion, Preference, Reinforcement};
    let said = |role: &str| json!([{"role": role, "content": "x"}]);
    for (format, example, expected) in [
        (Chat, json!([]), "no JSON object"),
        (Chat, json!({"messages": []}), "messages is empty"),
        (Chat, json!({"messages": said("user")}), "nothing to learn"),
        (
            Chat,
            json!({"messages": said("bot")}),
            "messages[0] has no known role",
        ),
        (
            Chat,
            json!({"messages": [{"role": "assistant", "content": null}]}),
            "no content",
        ),
        (
            Chat,
            json!({"messages": [{"role": "assistant", "content": ""}]}),
            "no content",
        ),
        (
            Preference,
            json!({"input": {"messages": said("user")}, "preferred_output": said("assistant")}),
            "non_preferred_output",
        ),
        (
            Preference,
            json!({"preferred_output": []}),
            "input.messages",
        ),
        (Completion, json!({"prompt": "a"}), "completion"),
        (Reinforcement, json!({"answer": 3}), "messages"),
    ] {
        let error = check_training_data(example.to_string().as_bytes(), format).unwrap_err();
        let found = error.message();
        assert!(
            found.starts_with("line 1: ") && found.contains(expected),
            "{found} / {expected}"
        );
    }
    let error = check_training_data(b"{}x\n", Chat).unwrap_err();
    assert!(error.message().contains("line 1: is no JSON"), "{error}");
    assert!(check_training_data(b" \n\r\n", Chat).is_err());
    for (format, example) in [
        (
            Chat,
            json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [{}]}]}),
        ),
        (
            Preference,
            json!({"input": {"messages": said("user")}, "preferred_output": said("assistant"), "non_preferred_output": said("assistant")}),
        ),
        (Completion, json!({"prompt": "a", "completion": "b"})),
        (
            Reinforcement,
            json!({"messages": said("user"), "answer": 3}),
        ),
    ] {
        let summary = check_training_data(example.to_string().as_bytes(), format).unwrap();
        assert_eq!(summary.examples, 1);
    }
}

proptest! {
    #[test]
    fn the_check_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        for format in [TrainingFormat::Chat, TrainingFormat::Preference, TrainingFormat::Completion] {
            drop(check_training_data(&data, format));
            drop(check_training_data(text.as_bytes(), format));
        }
    }

    #[test]
    fn good_lines_are_counted_whatever_is_between(gaps in proptest::collection::vec("[ \r\t]{0,2}\n{1,3}", 1..9)) {
        let data: String = gaps.iter().flat_map(|gap| [LINE, gap.as_str()]).collect();
        let summary = check_training_data(data.as_bytes(), TrainingFormat::Chat).unwrap();
        prop_assert_eq!((summary.examples, summary.bytes), (gaps.len(), data.len()));
    }
}

#[tokio::test]
async fn lists_take_filters_and_pages() {
    let page = |ids: [&str; 2], more: bool| {
        let data: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        Canned::json(&json!({"data": data, "has_more": more}))
    };
    let double = Double::new([
        page(["a", "b"], true),
        page(["c", "d"], false),
        page(["a", "b"], true),
    ]);
    let files = openai(&double).files();
    let options = ListOptions::new()
        .with_limit(2)
        .with_filter("purpose", "batch");
    let all = files.all(&options).await.unwrap();
    assert_eq!(
        all.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c", "d"]
    );
    let page = files.list(&options.with_after("x")).await.unwrap();
    assert_eq!((page.data.len(), page.next.as_deref()), (2, Some("b")));
    let urls: Vec<_> = double
        .requests()
        .iter()
        .map(|r| r.url.split_once('?').unwrap().1.to_owned())
        .collect();
    assert_eq!(
        urls,
        [
            "purpose=batch&limit=2",
            "purpose=batch&after=b&limit=2",
            "purpose=batch&after=x&limit=2"
        ]
    );
}

#[tokio::test]
async fn downloads_are_whole_or_not_there() {
    let scratch = Scratch::new("downloads");
    let content = || Canned::new(200, "application/octet-stream", "0123456789").in_pieces_of(3);
    let double = Double::new([content(), content().then_reset(), content(), content()]);
    let files = openai(&double).files();
    let path = scratch.join("out.jsonl");
    assert_eq!(files.download("file-1", &path).await.unwrap(), 10);
    std::fs::write(&path, "before").unwrap();
    let error = files.download("file-1", &path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(scratch.names(), ["out.jsonl"], "nothing is left behind");
    let mut written = Vec::new();
    assert_eq!(files.write_to("file-1", &mut written).await.unwrap(), 10);
    assert_eq!(written, b"0123456789");
    assert_eq!(files.content("file-1").await.unwrap(), "0123456789");
    assert!(
        double.requests()[0]
            .url
            .ends_with("/v1/files/file-1/content")
    );
    let nowhere = scratch.join("no/such/folder.jsonl");
    double.push(content());
    let error = files.download("file-1", nowhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn files_are_described_and_deleted() {
    let missing = json!({"error": {"message": "No such File object: file-9", "type": "invalid_request_error"}});
    let double = Double::new([
        Canned::json(&json!({"id": "file-1", "filename": null, "status": "strange"})),
        Canned::json(&json!({"id": "file-1", "object": "file", "deleted": true})),
        Canned::error(404, &missing),
    ]);
    let files = openai(&double).files();
    let object = files.retrieve("file-1").await.unwrap();
    assert_eq!(
        (object.status.as_deref(), object.filename),
        (Some("strange"), None)
    );
    files.delete("file-1").await.unwrap();
    let error = files.retrieve("file-9").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let scratch = Scratch::new("uploads");
    let path = scratch.join("talk.txt");
    std::fs::write(&path, "hello").unwrap();
    double.push(Canned::json(&json!({"id": "file-2"})));
    files.upload_path(&path, "user_data").await.unwrap();
    let sent: Value = form(double.requests().last().unwrap());
    assert_eq!(
        sent["file"],
        json!({"file": "talk.txt", "mime": "text/plain", "bytes": 5})
    );
    let error = files
        .upload_path(scratch.join("none"), "user_data")
        .await
        .unwrap_err();
    assert!(error.message().contains("cannot read"), "{error}");
}
