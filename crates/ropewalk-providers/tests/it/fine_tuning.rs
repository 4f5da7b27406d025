//! Fine-tuning jobs over doubles.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk_core::{ErrorKind, NoProgress, ProgressEvent};
use ropewalk_http::testing::{Canned, Double};
use ropewalk_providers::OpenAi;
use ropewalk_providers::resources::{
    Checkpoint, FileObject, FineTuneRequest, FineTuning, FineTuningEvent, FineTuningJob,
    Hyperparameters, Integration, JobStatus, ListOptions, Setting, TuningMethod, Wait,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::golden::golden;

fn jobs(double: &Arc<Double>) -> FineTuning {
    let openai = OpenAi::new("sk-test-key-of-nobody-1234").unwrap();
    openai.with_client(double.client()).fine_tuning()
}

fn recorded(name: &str) -> Value {
    let text = include_str!("../fixtures/abilities/recorded_fine_tuning.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[name].clone()
}

/// Leaves out nulls: to the API a field that is null and one that is missing say the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k, without_nulls(v)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

#[track_caller]
fn round_trip<T: DeserializeOwned + Serialize>(value: Value) -> T {
    let object: T = serde_json::from_value(value.clone()).unwrap();
    let written = serde_json::to_value(&object).unwrap();
    assert_eq!(without_nulls(written), without_nulls(value));
    object
}

#[test]
fn recorded_objects_are_read_and_written_alike() {
    let created: FineTuningJob = round_trip(recorded("created"));
    assert_eq!(created.status, JobStatus::ValidatingFiles);
    assert_eq!(
        created.hyperparameters.unwrap().batch_size,
        Some(Setting::Auto)
    );
    assert_eq!(
        created.integrations[0].settings["wandb"]["project"],
        "gpt-pricer"
    );
    let running: FineTuningJob = round_trip(recorded("running"));
    let found = running.hyperparameters.unwrap();
    assert_eq!(found.learning_rate_multiplier, Some(Setting::Real(1.8)));
    assert_eq!(found.n_epochs, Some(Setting::Whole(1)));
    let succeeded: FineTuningJob = round_trip(recorded("succeeded"));
    assert!(succeeded.status.is_over() && succeeded.fine_tuned_model.is_some());
    assert_eq!(succeeded.other["shared_with_openai"], false);
    let failed: FineTuningJob = round_trip(recorded("failed"));
    assert_eq!(
        failed.error.unwrap().code.as_deref(),
        Some("invalid_training_file")
    );
    for file in recorded("files").as_array().unwrap() {
        let file: FileObject = round_trip(file.clone());
        assert!(file.bytes.is_some());
    }
    let events = recorded("events");
    let events: Vec<FineTuningEvent> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|e| round_trip(e.clone()))
        .collect();
    let last = events.iter().find_map(FineTuningEvent::metrics).unwrap();
    assert_eq!((last.step, last.total_steps), (Some(500), Some(500)));
    assert_eq!(last.train_loss, Some(0.995_418_548_583_984_4));
    assert_eq!(last.valid_loss, Some(0.657_115_697_860_717_8));
    assert_eq!(last.full_valid_loss, Some(1.142_647_624_015_808));
    assert_eq!(last.full_valid_mean_token_accuracy, Some(0.795));
    let checkpoint: Checkpoint = serde_json::from_value(recorded("checkpoint")).unwrap();
    assert_eq!(
        (checkpoint.step_number, checkpoint.metrics.step),
        (400, Some(400))
    );
}

#[test]
fn strange_objects_are_read_too() {
    let job = json!({"id": "ftjob-1", "status": "dreaming", "result_files": null, "integrations": null,
                     "hyperparameters": {"n_epochs": {"odd": 1}, "batch_size": null}});
    let job: FineTuningJob = serde_json::from_value(job).unwrap();
    assert_eq!(job.status, JobStatus::Other("dreaming".into()));
    assert_eq!(job.hyperparameters.unwrap().n_epochs, Some(Setting::Auto));
    let event = json!({"data": [1], "message": "m"});
    let event: FineTuningEvent = serde_json::from_value(event).unwrap();
    assert_eq!(event.metrics(), None);
}

#[tokio::test]
async fn jobs_are_created_with_everything() {
    let double = Double::new((0..3).map(|_| Canned::json(&recorded("created"))));
    let jobs = jobs(&double);
    let parameters = Hyperparameters::new()
        .with_n_epochs(1)
        .with_batch_size(Setting::Auto)
        .with_learning_rate_multiplier(1.8);
    let request = FineTuneRequest::new("gpt-4o-mini-2024-07-18", "file-train")
        .with_validation_file("file-valid")
        .with_method(TuningMethod::supervised(parameters.clone()))
        .with_suffix("pricer")
        .with_seed(42)
        .with_metadata("course", "week 6")
        .with_integration(Integration::wandb("gpt-pricer").with("tags", json!(["a"])));
    let job = jobs.create(&request).await.unwrap();
    assert_eq!(job.id, "ftjob-0001");
    let dpo = TuningMethod::dpo(parameters.with_beta(0.1));
    jobs.create(&FineTuneRequest::new("m", "file-1").with_method(dpo))
        .await
        .unwrap();
    let grader = json!({"type": "string_check", "name": "same", "operation": "eq",
                        "input": "{{sample.output_text}}", "reference": "{{item.answer}}"});
    let graded = TuningMethod::reinforcement(grader, Hyperparameters::new().with_n_epochs(2));
    let graded = FineTuneRequest::new("m", "file-1").with_method(graded);
    jobs.create(&graded.with_extra("seed", 7)).await.unwrap();
    let [supervised, dpo, graded] = double.bodies().try_into().unwrap();
    golden("abilities/fine_tuning_supervised", &supervised);
    golden("abilities/fine_tuning_dpo", &dpo);
    golden("abilities/fine_tuning_reinforcement", &graded);
}

#[tokio::test]
async fn wrong_jobs_are_not_sent() {
    let double = Double::new([]);
    let good = || FineTuneRequest::new("m", "file-1");
    let nan = Hyperparameters::new().with_learning_rate_multiplier(f64::NAN);
    let mut many = good();
    for i in 0..17 {
        many = many.with_metadata(i.to_string(), "x");
    }
    for (request, expected) in [
        (FineTuneRequest::new("", "file-1"), "model"),
        (FineTuneRequest::new("m", ""), "training file"),
        (good().with_suffix("x".repeat(65)), "64 characters"),
        (good().with_metadata("x".repeat(65), "y"), "metadata"),
        (many, "metadata"),
        (
            good().with_method(TuningMethod::dpo(nan)),
            "learning_rate_multiplier",
        ),
    ] {
        let error = jobs(&double).create(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains(expected), "{error} / {expected}");
    }
    assert!(double.requests().is_empty());
}

fn events(from: usize) -> Canned {
    let events = recorded("events").as_array().unwrap()[from..].to_vec();
    Canned::json(&json!({"object": "list", "data": events, "has_more": false}))
}

#[tokio::test(start_paused = true)]
async fn waiting_follows_the_states() {
    let job = |name: &str| Canned::json(&recorded(name));
    let double = Double::new([
        job("created"),
        job("running"),
        events(6),
        job("running"),
        events(4),
        job("succeeded"),
        events(0),
    ]);
    let seen = Mutex::new(Vec::new());
    let progress = |event: &ProgressEvent<'_>| {
        seen.lock()
            .unwrap()
            .push((event.stage.to_string(), event.done, event.total));
    };
    let wait = Wait::new(Duration::from_secs(60));
    let job = jobs(&double)
        .wait("ftjob-0001", &wait, &progress)
        .await
        .unwrap();
    assert_eq!(job.status, JobStatus::Succeeded);
    let expected = [
        ("validating_files".to_owned(), 0, None),
        ("running".to_owned(), 498, Some(500)),
        ("running".to_owned(), 500, Some(500)),
        ("succeeded".to_owned(), 500, Some(500)),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    let slept: Duration = double.waits().iter().sum();
    assert_eq!(slept.as_secs(), 180);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_what_went_wrong() {
    let mut cancelled = recorded("running");
    cancelled["status"] = "cancelled".into();
    for (reply, kind, expected) in [
        (
            recorded("failed"),
            ErrorKind::InvalidRequest,
            "invalid_training_file",
        ),
        (cancelled, ErrorKind::Cancelled, "was cancelled"),
    ] {
        let double = Double::new([Canned::json(&reply)]);
        let error = jobs(&double)
            .wait("ftjob-0001", &Wait::default(), &NoProgress)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(expected), "{error}");
    }
    let double = Double::new((0..9).map(|_| Canned::json(&recorded("created"))));
    let wait = Wait::new(Duration::from_secs(10)).with_limit(Duration::from_secs(25));
    let error = jobs(&double)
        .wait("ftjob-0001", &wait, &NoProgress)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.message().contains("still validating_files"),
        "{error}"
    );
    assert_eq!(double.requests().len(), 3);
}

#[tokio::test]
async fn events_and_checkpoints_come_in_pages() {
    let all = recorded("events");
    let all = all.as_array().unwrap();
    let page =
        |range: &[Value], more: bool| Canned::json(&json!({"data": range, "has_more": more}));
    let double = Double::new([
        page(&all[..4], true),
        page(&all[4..], false),
        page(&[recorded("checkpoint")], false),
        page(&[recorded("succeeded")], true),
        Canned::json(&recorded("running")),
    ]);
    let jobs = jobs(&double);
    let events = jobs.all_events("ftjob-0001").await.unwrap();
    assert_eq!(events.len(), 10);
    assert_eq!(events[0].message, "Created fine-tuning job: ftjob-0001");
    assert_eq!(jobs.checkpoints("ftjob-0001").await.unwrap().len(), 1);
    let listed = jobs.list(&ListOptions::new().with_limit(1)).await.unwrap();
    assert_eq!(listed.next.as_deref(), Some("ftjob-0001"));
    jobs.cancel("ftjob-0001").await.unwrap();
    let asked: Vec<_> = double
        .requests()
        .iter()
        .map(|r| format!("{} {}", r.method, r.url.split_once("/v1").unwrap().1))
        .collect();
    let expected = [
        "GET /fine_tuning/jobs/ftjob-0001/events?limit=100",
        "GET /fine_tuning/jobs/ftjob-0001/events?after=ftevent-0007&limit=100",
        "GET /fine_tuning/jobs/ftjob-0001/checkpoints",
        "GET /fine_tuning/jobs?limit=1",
        "POST /fine_tuning/jobs/ftjob-0001/cancel",
    ];
    assert_eq!(asked, expected);
}
