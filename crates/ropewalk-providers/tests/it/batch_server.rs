//! A service for files and batches in memory, which can stop answering at any request.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, StatusCode};
use ropewalk_core::{Error, ErrorKind, Result, async_trait};
use ropewalk_http::{Client, ClientOptions, Reply, Request, RetryPolicy, Transport};
use ropewalk_providers::OpenAi;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::golden::parts;

/// How the batches of the service end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    #[default]
    Completed,
    /// The first half of the rows is answered.
    Expired,
    /// No row is tried, and line 2 is to blame.
    Failed,
}

/// When the service stops answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The request with this number is not taken any more.
    Before(usize),
    /// It is taken, but its answer does not arrive.
    After(usize),
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<(String, String)>,
    batches: Vec<Batch>,
    requests: Vec<String>,
    creates: Vec<Value>,
    silence: Option<Silence>,
}

#[derive(Debug, Clone)]
struct Batch {
    body: Value,
    looks: usize,
    cancelled: bool,
    output: Option<String>,
    errors: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    inner: Mutex<Inner>,
    ending: Ending,
    pub(crate) silent: Notify,
}

impl Server {
    pub(crate) fn new(ending: Ending) -> Arc<Self> {
        Arc::new(Self {
            ending,
            ..Self::default()
        })
    }

    pub(crate) fn openai(self: &Arc<Self>) -> OpenAi {
        let options = ClientOptions::new().with_retry(RetryPolicy::none());
        let client = Client::with_transport(Arc::clone(self) as Arc<dyn Transport>, options);
        OpenAi::new("sk-test-key-of-nobody-1234")
            .unwrap()
            .with_client(client)
    }

    pub(crate) fn be_silent(&self, silence: Option<Silence>) {
        let mut inner = self.inner.lock().unwrap();
        inner.silence = silence;
        inner.requests.clear();
    }

    /// Method and path of every request since the silence was set.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.inner.lock().unwrap().requests.clone()
    }

    /// The bodies that batches were created with.
    pub(crate) fn creates(&self) -> Vec<Value> {
        self.inner.lock().unwrap().creates.clone()
    }

    pub(crate) fn uploads(&self) -> usize {
        self.inner.lock().unwrap().files.len()
    }

    fn answer(&self, inner: &mut Inner, request: &Request) -> (u16, String) {
        let path = request.url.split_once("/v1").unwrap().1;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let names: Vec<&str> = path[1..].split('/').collect();
        let ok = |value: Value| (200, value.to_string());
        match (request.method.as_str(), names.as_slice()) {
            ("POST", ["files"]) => {
                let parts = parts(request);
                let (_, file, data) = parts.iter().find(|(name, ..)| name == "file").unwrap();
                let name = file.clone().unwrap().0;
                inner
                    .files
                    .push((name, String::from_utf8(data.clone()).unwrap()));
                ok(file_object(inner, inner.files.len() - 1))
            }
            ("GET", ["files"]) => {
                let files: Vec<_> = (0..inner.files.len())
                    .map(|i| file_object(inner, i))
                    .collect();
                ok(json!({"object": "list", "data": files, "has_more": false}))
            }
            ("GET", ["files", id, "content"]) => {
                let i: usize = id.strip_prefix("file-").unwrap().parse().unwrap();
                (200, inner.files[i].1.clone())
            }
            ("POST", ["batches"]) => {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                inner.creates.push(body.clone());
                inner.batches.push(Batch {
                    body,
                    looks: 0,
                    cancelled: false,
                    output: None,
                    errors: None,
                });
                ok(self.batch_object(inner, inner.batches.len() - 1))
            }
            ("GET", ["batches"]) => {
                // Newest first, two per page.
                let after = query
                    .split('&')
                    .find_map(|p| p.strip_prefix("after=batch_"));
                let end = after.map_or(inner.batches.len(), |i| i.parse().unwrap());
                let data: Vec<_> = (end.saturating_sub(2)..end)
                    .rev()
                    .map(|i| self.batch_object(inner, i))
                    .collect();
                ok(json!({"object": "list", "data": data, "has_more": end > 2}))
            }
            ("GET", ["batches", id]) => {
                let i = id.strip_prefix("batch_").unwrap().parse().unwrap();
                self.step(inner, i);
                ok(self.batch_object(inner, i))
            }
            ("POST", ["batches", id, "cancel"]) => {
                let i: usize = id.strip_prefix("batch_").unwrap().parse().unwrap();
                inner.batches[i].cancelled = true;
                ok(self.batch_object(inner, i))
            }
            _ => (
                404,
                json!({"error": {"message": "no such thing"}}).to_string(),
            ),
        }
    }

    /// A batch is over at the third look.
    fn step(&self, inner: &mut Inner, i: usize) {
        inner.batches[i].looks += 1;
        if inner.batches[i].looks != 3 || self.ending == Ending::Failed {
            return;
        }
        let input = inner.batches[i].body["input_file_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let input: usize = input.strip_prefix("file-").unwrap().parse().unwrap();
        let rows: Vec<Value> = inner.files[input]
            .1
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        for (n, row) in rows.iter().enumerate() {
            let id = row["custom_id"].as_str().unwrap();
            let cut = self.ending == Ending::Expired || inner.batches[i].cancelled;
            if cut && n >= rows.len() / 2 {
                let code = if inner.batches[i].cancelled {
                    "batch_cancelled"
                } else {
                    "batch_expired"
                };
                let error = json!({"code": code, "message": "This request could not be executed."});
                errors.push(json!({"id": "r", "custom_id": id, "response": null, "error": error}));
            } else if id.ends_with("13") {
                let body = json!({"error": {"message": "too hot", "type": "invalid_request_error", "code": "bad_temperature", "param": "temperature"}});
                errors.push(json!({"id": "r", "custom_id": id, "response": {"status_code": 400, "request_id": format!("req_{id}"), "body": body}, "error": null}));
            } else {
                let question = &row["body"]["messages"][0]["content"];
                let message = json!({"role": "assistant", "content": format!("answer to {question}"), "refusal": null});
                let body = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4.1-nano", "created": 1,
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}});
                output.push(json!({"id": "r", "custom_id": id, "response": {"status_code": 200, "request_id": format!("req_{id}"), "body": body}, "error": null}));
            }
        }
        // The service promises no order.
        output.reverse();
        let mut add = |lines: Vec<Value>, name: &str| {
            if lines.is_empty() {
                return None;
            }
            let text: Vec<_> = lines.iter().map(Value::to_string).collect();
            inner.files.push((name.to_owned(), text.join("\n")));
            Some(format!("file-{}", inner.files.len() - 1))
        };
        let output = add(output, "output.jsonl");
        let errors = add(errors, "errors.jsonl");
        let batch = &mut inner.batches[i];
        (batch.output, batch.errors) = (output, errors);
    }

    fn batch_object(&self, inner: &Inner, i: usize) -> Value {
        let batch = &inner.batches[i];
        let status = match (batch.looks, self.ending, batch.cancelled) {
            (0 | 1, ..) => "validating",
            (2, _, true) => "cancelling",
            (2, ..) => "in_progress",
            (_, _, true) => "cancelled",
            (_, Ending::Completed, _) => "completed",
            (_, Ending::Expired, _) => "expired",
            (_, Ending::Failed, _) => "failed",
        };
        let refused = json!({"object": "list", "data": [{"code": "invalid_json_line", "line": 2, "message": "This line is not parseable as valid JSON.", "param": null}]});
        json!({
            "id": format!("batch_{i}"), "object": "batch", "status": status,
            "endpoint": batch.body["endpoint"], "input_file_id": batch.body["input_file_id"],
            "completion_window": "24h", "created_at": 4_000_000_000u64, "metadata": batch.body["metadata"],
            "output_file_id": batch.output, "error_file_id": batch.errors,
            "errors": if status == "failed" { refused } else { Value::Null },
            "request_counts": {"total": 0, "completed": 0, "failed": 0}
        })
    }
}

fn file_object(inner: &Inner, i: usize) -> Value {
    let (name, text) = &inner.files[i];
    json!({"id": format!("file-{i}"), "object": "file", "bytes": text.len(), "filename": name,
           "purpose": "batch", "created_at": 1, "status": "processed"})
}

#[async_trait]
impl Transport for Server {
    async fn send(&self, request: &Request) -> Result<Reply> {
        let (reply, silent) = {
            let mut inner = self.inner.lock().unwrap();
            let number = inner.requests.len();
            let line = format!(
                "{} {}",
                request.method,
                request.url.split_once("/v1").unwrap().1
            );
            inner.requests.push(line);
            match inner.silence {
                Some(Silence::Before(n)) if n == number => (None, true),
                Some(Silence::After(n)) if n == number => {
                    (Some(self.answer(&mut inner, request)), true)
                }
                _ => (Some(self.answer(&mut inner, request)), false),
            }
        };
        if silent {
            self.silent.notify_one();
            std::future::pending::<()>().await;
        }
        let Some((status, body)) = reply else {
            return Err(Error::new(ErrorKind::Other, "the service is silent"));
        };
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Reply::new(status, HeaderMap::new(), body))
    }
}
