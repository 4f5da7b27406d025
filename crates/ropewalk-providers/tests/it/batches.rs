//! Batches that outlive the process, over a service in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk_core::{ChatRequest, ErrorKind, OnUnsupported, ProgressEvent};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::OpenAi;
use ropewalk_providers::batch::{
    BatchObject, BatchOptions, BatchPhase, BatchRow, BatchRun, PartPhase,
};
use ropewalk_providers::resources::{ListOptions, Wait};
use serde_json::{Value, json};

use crate::batch_server::{Ending, Server, Silence};
use crate::files::Scratch;
use crate::golden::golden;

fn rows(openai: &OpenAi, n: usize) -> Vec<BatchRow> {
    let model = openai.chat("gpt-4.1-nano");
    let row = |i: usize| {
        let request = ChatRequest::new()
            .user(format!("what is {i}?"))
            .max_tokens(5);
        BatchRow::chat(format!("row-{i}"), &model, &request).unwrap()
    };
    (0..n).map(row).collect()
}

async fn open(
    server: &Arc<Server>,
    scratch: &Scratch,
    n: usize,
    options: &BatchOptions,
) -> BatchRun {
    let openai = server.openai();
    let rows = rows(&openai, n);
    BatchRun::open(openai.batches(), scratch.join("run"), rows, options)
        .await
        .unwrap()
}

async fn to_the_end(run: &mut BatchRun) {
    for _ in 0..50 {
        if run.poll().await.unwrap().is_over() {
            return;
        }
    }
    panic!("the run does not end: {:?}", run.summary());
}

/// Checks that all replies are there, in order, those of rows ending in 13 being errors.
async fn check(server: &Arc<Server>, run: &BatchRun, n: usize) {
    let model = server.openai().chat("gpt-4.1-nano");
    let replies = run.replies().await.unwrap();
    assert_eq!(replies.len(), n);
    for (i, reply) in replies.into_iter().enumerate() {
        assert_eq!(
            (reply.index, reply.custom_id.clone()),
            (i, format!("row-{i}"))
        );
        match reply.chat(&model) {
            Ok(response) => {
                assert_eq!(response.text(), format!("answer to \"what is {i}?\""));
                assert_eq!(response.request_id, Some(format!("req_row-{i}")));
                assert_eq!(response.usage.output_tokens, Some(3));
            }
            Err(error) => {
                assert!(i.to_string().ends_with("13"), "{i}: {error}");
                assert_eq!(
                    (error.kind(), error.provider()),
                    (ErrorKind::InvalidRequest, "openai")
                );
                assert_eq!(error.request_id(), Some(format!("req_row-{i}").as_str()));
                assert_eq!(error.http().unwrap().param.as_deref(), Some("temperature"));
            }
        }
    }
}

#[tokio::test]
async fn rows_go_out_in_batches_and_come_back_in_order() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-plain"));
    let options = BatchOptions::new().with_max_rows(10);
    let mut run = open(&server, &scratch, 25, &options).await;
    let sizes: Vec<_> = run
        .state()
        .parts
        .iter()
        .map(|p| (p.first, p.rows))
        .collect();
    assert_eq!(sizes, [(0, 10), (10, 10), (20, 5)]);
    let error = run.replies().await.unwrap_err();
    assert!(error.message().contains("0 of 3 batches"), "{error}");
    to_the_end(&mut run).await;
    check(&server, &run, 25).await;
    let mut create = server.creates()[0].clone();
    create["metadata"]["ropewalk_batch"] = "RUN/0".into();
    golden("abilities/batch_create", &create);
    let line = std::fs::read_to_string(scratch.join("run/input-0000.jsonl")).unwrap();
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    golden("abilities/batch_line", &line);
    drop(run);
    // A run that is over asks nobody anything.
    server.be_silent(None);
    let mut run = open(&server, &scratch, 25, &options).await;
    assert!(run.poll().await.unwrap().is_over());
    check(&server, &run, 25).await;
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_run_of_2500_rows_survives_its_process() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-2500"));
    let options = BatchOptions::new().with_max_rows(1000);
    let mut run = open(&server, &scratch, 2500, &options).await;
    // The process is killed while it waits after the second poll.
    {
        let (mut polls, dead) = (Mutex::new(0), tokio::sync::Notify::new());
        let progress = |_: &ProgressEvent<'_>| {
            let mut polls = polls.lock().unwrap();
            *polls += 1;
            if *polls == 2 {
                dead.notify_one();
            }
        };
        let wait = Wait::new(Duration::from_millis(1));
        tokio::select! {
            biased;
            () = dead.notified() => {}
            done = run.wait(&wait, &progress) => panic!("it was not killed: {done:?}"),
        }
        assert_eq!(*polls.get_mut().unwrap(), 2);
    }
    drop(run);
    let openai = server.openai();
    let run = BatchRun::resume(openai.batches(), scratch.join("run"), &options);
    let mut run = run.await.unwrap();
    assert_eq!(run.summary().created, 3);
    to_the_end(&mut run).await;
    check(&server, &run, 2500).await;
    assert_eq!(server.creates().len(), 3);
}

#[tokio::test]
async fn twenty_two_thousand_rows_are_twenty_two_batches() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-22000"));
    let options = BatchOptions::new().with_max_rows(1000);
    let rows =
        (0..22_000).map(|i| BatchRow::new(format!("r{i}"), "/v1/embeddings", json!({"input": i})));
    let run = BatchRun::open(
        server.openai().batches(),
        scratch.join("run"),
        rows,
        &options,
    );
    let run = run.await.unwrap();
    let parts = &run.state().parts;
    assert_eq!(parts.len(), 22);
    assert!(
        parts
            .iter()
            .enumerate()
            .all(|(i, p)| (p.first, p.rows) == (i * 1000, 1000))
    );
}

/// Kills the run at every request it makes, before the service takes it and after: whatever is
/// lost, no batch and no upload is made twice.
#[tokio::test]
async fn no_batch_is_created_twice_wherever_the_process_dies() {
    let options = BatchOptions::new().with_max_rows(3);
    let requests = {
        let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-whole"));
        let mut run = open(&server, &scratch, 7, &options).await;
        to_the_end(&mut run).await;
        server.requests().len()
    };
    assert!(
        requests >= 18,
        "three uploads, creations and fetches and nine looks: {requests}"
    );
    for number in 0..requests {
        for silence in [Silence::Before(number), Silence::After(number)] {
            let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-killed"));
            let mut run = open(&server, &scratch, 7, &options).await;
            server.be_silent(Some(silence));
            tokio::select! {
                () = server.silent.notified() => {}
                () = to_the_end(&mut run) => panic!("{silence:?} was not reached"),
            }
            drop(run);
            server.be_silent(None);
            let mut run = open(&server, &scratch, 7, &options).await;
            to_the_end(&mut run).await;
            check(&server, &run, 7).await;
            assert_eq!(server.creates().len(), 3, "{silence:?}");
            let inputs: Vec<_> = server
                .creates()
                .iter()
                .map(|c| c["input_file_id"].clone())
                .collect();
            let mut once = inputs.clone();
            once.dedup();
            assert_eq!(inputs, once, "{silence:?}");
            assert_eq!(server.uploads(), 3 + 3, "inputs and outputs, {silence:?}");
            assert!(scratch_is_tidy(&scratch), "{silence:?}");
        }
    }
}

fn scratch_is_tidy(scratch: &Scratch) -> bool {
    let entries = std::fs::read_dir(scratch.join("run")).unwrap();
    entries.into_iter().all(|e| {
        let name = e.unwrap().file_name();
        !name.to_string_lossy().ends_with(".part")
    })
}

#[tokio::test]
async fn only_so_many_batches_are_on_their_way() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-flight"));
    let options = BatchOptions::new().with_max_rows(2).with_max_in_flight(2);
    let mut run = open(&server, &scratch, 9, &options).await;
    loop {
        let summary = run.poll().await.unwrap();
        let busy = run
            .state()
            .parts
            .iter()
            .filter(|p| p.phase == PartPhase::Created)
            .count();
        assert!(busy <= 2, "{summary:?}");
        if summary.is_over() {
            break;
        }
    }
    check(&server, &run, 9).await;
    assert_eq!(server.creates().len(), 5);
}

#[tokio::test]
async fn rows_without_a_reply_say_why() {
    for (ending, kind, expected) in [
        (Ending::Expired, ErrorKind::Timeout, "batch_expired"),
        (
            Ending::Failed,
            ErrorKind::InvalidRequest,
            "line 2: This line is not parseable",
        ),
    ] {
        let (server, scratch) = (Server::new(ending), Scratch::new("batch-ends"));
        let mut run = open(&server, &scratch, 4, &BatchOptions::new()).await;
        to_the_end(&mut run).await;
        let replies = run.replies().await.unwrap();
        let fine = if ending == Ending::Failed { 0 } else { 2 };
        for reply in &replies[..fine] {
            assert!(reply.result.is_ok(), "{reply:?}");
        }
        for reply in &replies[fine..] {
            let error = reply.result.as_ref().unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.message().contains(expected), "{error}");
        }
    }
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-cancel"));
    let mut run = open(&server, &scratch, 4, &BatchOptions::new()).await;
    run.poll().await.unwrap();
    run.cancel().await.unwrap();
    to_the_end(&mut run).await;
    let replies = run.replies().await.unwrap();
    let error = replies[3].result.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(run.state().parts[0].status.phase, BatchPhase::Cancelled);
}

#[tokio::test]
async fn a_cancelled_run_hands_nothing_more_over() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-stop"));
    let options = BatchOptions::new().with_max_rows(2).with_max_in_flight(1);
    let mut run = open(&server, &scratch, 6, &options).await;
    run.poll().await.unwrap();
    run.cancel().await.unwrap();
    assert_eq!(server.creates().len(), 1);
    drop(run);
    // Not after a restart either.
    let openai = server.openai();
    let mut run = BatchRun::resume(openai.batches(), scratch.join("run"), &options)
        .await
        .unwrap();
    to_the_end(&mut run).await;
    assert_eq!(server.creates().len(), 1);
    assert_eq!(run.summary().created, 1);
    let replies = run.replies().await.unwrap();
    assert_eq!(replies.len(), 6);
    assert!(replies[0].result.is_ok());
    for (i, reply) in replies.iter().enumerate().skip(2) {
        let error = reply.result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(reply.custom_id, format!("row-{i}"));
    }
}

/// The reply to the creation is lost, and then the run is cancelled.
#[tokio::test]
async fn a_batch_that_was_perhaps_created_is_stopped() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-lost"));
    let mut run = open(&server, &scratch, 2, &BatchOptions::new()).await;
    server.be_silent(Some(Silence::After(1)));
    let poll = async { run.poll().await.map(drop) };
    tokio::select! {
        result = poll => result.unwrap(),
        () = server.silent.notified() => {}
    }
    server.be_silent(None);
    assert_eq!(run.state().parts[0].phase, PartPhase::Creating);
    assert_eq!(server.creates().len(), 1);
    run.cancel().await.unwrap();
    to_the_end(&mut run).await;
    assert_eq!(server.creates().len(), 1);
    assert_eq!(run.state().parts[0].status.phase, BatchPhase::Cancelled);
    assert_eq!(run.state().parts[0].batch.as_deref(), Some("batch_0"));
}

#[tokio::test]
async fn a_directory_holds_one_run_of_one_process() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-dir"));
    let options = BatchOptions::new().with_max_rows(2);
    let openai = server.openai();
    let again = |n: usize| {
        BatchRun::open(
            openai.batches(),
            scratch.join("run"),
            rows(&openai, n),
            &options,
        )
    };
    let nothing = BatchRun::resume(openai.batches(), scratch.join("run"), &options)
        .await
        .unwrap_err();
    assert!(nothing.message().contains("there is no run"), "{nothing}");
    let run = again(3).await.unwrap();
    let busy = again(3).await.unwrap_err();
    assert!(busy.message().contains("another process"), "{busy}");
    drop(run);
    let other = again(4).await.unwrap_err();
    assert!(other.message().contains("run of 3 other rows"), "{other}");
    let mut run = again(3).await.unwrap();
    std::fs::write(scratch.join("run/input-0001.jsonl"), "changed").unwrap();
    let changed = run.poll().await.unwrap_err();
    assert!(changed.message().contains("has been changed"), "{changed}");
    drop(run);
    for (state, expected) in [("{", "no state of a run"), ("null", "no state of a run")] {
        std::fs::write(scratch.join("run/state.json"), state).unwrap();
        let error = again(3).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn wrong_rows_are_refused() {
    let (server, scratch) = (Server::new(Ending::Completed), Scratch::new("batch-wrong"));
    let row = |id: &str, url: &str| BatchRow::new(id, url, json!({"x": "y".repeat(40)}));
    let small = BatchOptions::new().with_max_bytes(60);
    let plain = BatchOptions::new();
    for (rows, options, expected) in [
        (vec![], &plain, "no rows"),
        (
            vec![row("a", "/u"), row("a", "/u")],
            &plain,
            "row 1 has the name \"a\"",
        ),
        (vec![row("", "/u")], &plain, "row 0 has no name"),
        (
            vec![row("a", "/u"), row("b", "/v")],
            &plain,
            "row 1 goes to /v",
        ),
        (vec![row("a", "/u")], &small, "more than the 60"),
    ] {
        let run = BatchRun::open(
            server.openai().batches(),
            scratch.join("run"),
            rows,
            options,
        );
        let error = run.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains(expected), "{error}");
    }
    let rows = (0..3).map(|i| row(&format!("r{i}"), "/u"));
    let two = BatchOptions::new().with_max_bytes(250);
    let run = BatchRun::open(server.openai().batches(), scratch.join("run"), rows, &two);
    let sizes: Vec<_> = run
        .await
        .unwrap()
        .state()
        .parts
        .iter()
        .map(|p| p.rows)
        .collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn rows_are_encoded_as_chat_sends_them() {
    let openai = OpenAi::new("sk-test-key-of-nobody-1234").unwrap();
    let model = openai.chat("gpt-4.1-nano");
    let mut request = ChatRequest::new().user("hi");
    request.options.top_k = Some(3);
    let row = BatchRow::chat("a", &model, &request).unwrap();
    assert_eq!(
        (row.url.as_str(), &row.body["model"]),
        ("/v1/chat/completions", &json!("gpt-4.1-nano"))
    );
    assert_eq!(row.warnings[0].option, "top_k");
    assert_eq!(row.body.get("stream"), None);
    let strict = request.on_unsupported(OnUnsupported::Error);
    assert_eq!(
        BatchRow::chat("a", &model, &strict).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[tokio::test]
async fn the_resource_speaks_for_itself() {
    let object = json!({"id": "batch_1", "object": "batch", "status": "odd", "endpoint": "/v1/embeddings",
        "input_file_id": "file-1", "metadata": null, "request_counts": {"total": 3, "completed": 2, "failed": 1},
        "usage": {"input_tokens": 5}});
    let list = json!({"data": [object], "has_more": false});
    let double = Double::new([
        Canned::json(&object),
        Canned::json(&list),
        Canned::json(&object),
        Canned::json(&object),
    ]);
    let openai = OpenAi::new("sk-test-key-of-nobody-1234").unwrap();
    let batches = openai.with_client(double.client()).batches();
    let batch = batches
        .create("file-1", "/v1/embeddings", &Default::default())
        .await
        .unwrap();
    assert_eq!(batch.status, BatchPhase::Other("odd".into()));
    assert_eq!((batch.status().done, batch.status().failed), (2, 1));
    assert_eq!(batch.other["usage"]["input_tokens"], 5);
    assert_eq!(
        batches.list(&ListOptions::new()).await.unwrap().data,
        [batch]
    );
    let again: BatchObject = batches.retrieve("batch_1").await.unwrap();
    assert!(!again.status.is_over());
    batches.cancel("batch_1").await.unwrap();
    assert!(
        double.requests()[3]
            .url
            .ends_with("/batches/batch_1/cancel")
    );
    assert_eq!(
        double.bodies()[0],
        json!({"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"})
    );
}
