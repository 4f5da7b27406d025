//! Files and batches as OpenAI has them, on this machine: answers sums, takes about two seconds,
//! and keeps everything in a folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use ropewalk_examples::serve::{Incoming, Outgoing, serve};
use serde_json::{Value, json};

/// Milliseconds after its creation at which a batch is taken up, is put together, and is over.
const STEPS: [u64; 3] = [300, 1400, 1700];

/// Serves and returns the base URL.
pub async fn start(folder: PathBuf) -> Result<String> {
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let one_at_a_time = Arc::new((folder, Mutex::new(())));
    let address = serve(move |request| {
        let shared = Arc::clone(&one_at_a_time);
        async move {
            let _turn = shared.1.lock().unwrap_or_else(PoisonError::into_inner);
            let failed = |e: anyhow::Error| {
                Outgoing::json(500, &json!({"error": {"message": format!("{e:#}")}}))
            };
            answer(&shared.0, &request).unwrap_or_else(failed)
        }
    });
    Ok(format!("{}/v1", address.await?))
}

fn answer(folder: &Path, request: &Incoming) -> Result<Outgoing> {
    let path = request.path.trim_start_matches("/v1/");
    let names: Vec<&str> = path.split('/').collect();
    let reply = match (request.method.as_str(), names.as_slice()) {
        ("POST", ["files"]) => upload(folder, request)?,
        ("GET", ["files"]) => list(folder, "file-")?,
        ("GET", ["files", id, "content"]) => {
            let lines = std::fs::read(folder.join(format!("{id}.jsonl")))?;
            return Ok(Outgoing::new(200, "application/octet-stream", lines));
        }
        ("POST", ["batches"]) => create(folder, &request.json())?,
        ("GET", ["batches"]) => list(folder, "batch_")?,
        ("GET", ["batches", id]) => look(folder, id)?,
        _ => {
            return Ok(Outgoing::json(
                404,
                &json!({"error": {"message": "no such thing"}}),
            ));
        }
    };
    Ok(Outgoing::json(200, &reply))
}

fn upload(folder: &Path, request: &Incoming) -> Result<Value> {
    let kind = request.header("content-type").unwrap_or_default();
    let boundary = kind.split_once("boundary=").context("no form")?.1;
    let body = String::from_utf8(request.body.clone())?;
    let part = body
        .split(&format!("--{boundary}"))
        .find(|p| p.contains("filename=\""));
    let (head, data) = part
        .and_then(|p| p.split_once("\r\n\r\n"))
        .context("no file")?;
    let name = head
        .split("filename=\"")
        .nth(1)
        .and_then(|n| n.split('"').next());
    let lines = data.strip_suffix("\r\n").unwrap_or(data);
    let id = format!("file-{}", count(folder, "file-")?);
    std::fs::write(folder.join(format!("{id}.jsonl")), lines)?;
    let file = json!({
        "id": id, "object": "file", "bytes": lines.len(), "created_at": now() / 1000,
        "filename": name, "purpose": "batch", "status": "processed",
    });
    write(folder, &id, &file)?;
    Ok(file)
}

fn create(folder: &Path, body: &Value) -> Result<Value> {
    let id = format!("batch_{}", count(folder, "batch_")?);
    let batch = json!({
        "id": id, "object": "batch", "status": "validating", "endpoint": body["endpoint"],
        "input_file_id": body["input_file_id"], "metadata": body["metadata"],
        "completion_window": "24h", "created_at": now() / 1000, "created_ms": now(),
    });
    write(folder, &id, &batch)?;
    Ok(batch)
}

/// Returns a batch as it stands by now; its output is made when its time is over.
fn look(folder: &Path, id: &str) -> Result<Value> {
    let mut batch: Value = read(folder, id)?;
    let age = now().saturating_sub(batch["created_ms"].as_u64().unwrap_or(0));
    if batch["output_file_id"].is_string() {
        return Ok(batch);
    }
    let input = batch["input_file_id"].as_str().unwrap_or_default();
    let lines = std::fs::read_to_string(folder.join(format!("{input}.jsonl")))?;
    let total = lines.lines().count() as u64;
    let [taken, assembled, over] = STEPS;
    let (status, done) = match age {
        age if age < taken => ("validating", 0),
        age if age < assembled => ("in_progress", total * (age - taken) / (assembled - taken)),
        age if age < over => ("finalizing", total),
        _ => ("completed", total),
    };
    batch["status"] = status.into();
    batch["request_counts"] = json!({"total": total, "completed": done, "failed": 0});
    if status == "completed" {
        let mut answers: Vec<String> = lines.lines().map(solve).collect::<Result<_>>()?;
        // Nobody promises that the answers come in order.
        answers.reverse();
        let output = format!("output-{id}");
        std::fs::write(folder.join(format!("{output}.jsonl")), answers.join("\n"))?;
        batch["output_file_id"] = output.into();
        write(folder, id, &batch)?;
    }
    Ok(batch)
}

/// Answers one line.
fn solve(line: &str) -> Result<String> {
    let row: Value = serde_json::from_str(line)?;
    let question = row["body"]["messages"][0]["content"]
        .as_str()
        .unwrap_or_default();
    let numbers = question.split(|c: char| !c.is_ascii_digit());
    let sum: u64 = numbers.filter_map(|n| n.parse::<u64>().ok()).sum();
    let body = json!({
        "id": "chatcmpl-local", "object": "chat.completion", "created": now() / 1000,
        "model": row["body"]["model"],
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": sum.to_string()},
        }],
        "usage": {"prompt_tokens": 18, "completion_tokens": 2, "total_tokens": 20},
    });
    let response = json!({"status_code": 200, "request_id": "req_local", "body": body});
    Ok(json!({"custom_id": row["custom_id"], "response": response, "error": null}).to_string())
}

fn list(folder: &Path, kind: &str) -> Result<Value> {
    let n = count(folder, kind)?;
    let objects = (0..n).rev().map(|i| read(folder, &format!("{kind}{i}")));
    Ok(json!({"object": "list", "data": objects.collect::<Result<Vec<_>>>()?, "has_more": false}))
}

fn count(folder: &Path, kind: &str) -> Result<usize> {
    let mut n = 0;
    while folder.join(format!("{kind}{n}.json")).exists() {
        n += 1;
    }
    Ok(n)
}

fn read(folder: &Path, id: &str) -> Result<Value> {
    let bytes = std::fs::read(folder.join(format!("{id}.json")));
    Ok(serde_json::from_slice(
        &bytes.with_context(|| format!("there is no {id}"))?,
    )?)
}

fn write(folder: &Path, id: &str, value: &Value) -> Result<()> {
    Ok(std::fs::write(
        folder.join(format!("{id}.json")),
        value.to_string(),
    )?)
}

fn now() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
