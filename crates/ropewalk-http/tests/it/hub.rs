//! A double of the Hub on loopback: small files from it, large ones by redirect from a storage on
//! another port, gated and missing repositories, downloads that break off.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ropewalk_core::{Error, ErrorKind, ProgressEvent};
use ropewalk_http::hub::{Hub, HubName};
use ropewalk_http::{Client, ClientOptions, RetryPolicy};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::sockets::server;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret_token_value";

/// What the double holds and has seen.
#[derive(Default)]
struct Seen {
    hub: Mutex<Vec<String>>,
    storage: Mutex<Vec<String>>,
    /// Bytes of contents after which the storage closes the connection; 0 for never.
    cut: AtomicUsize,
}

fn weights() -> Vec<u8> {
    (0..300_000u32)
        .flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Returns the reply of the Hub to a request: status line, headers, body.
fn hub_reply(head: &str, storage: &str, digest: &str) -> (String, Vec<u8>) {
    let line = head.lines().next().unwrap_or_default();
    let path = line.split(' ').nth(1).unwrap_or_default();
    let refuse = |status: &str, code: &str| {
        let code = if code.is_empty() {
            String::new()
        } else {
            format!("x-error-code: {code}\r\n")
        };
        (format!("{status}\r\n{code}"), b"{}".to_vec())
    };
    match path {
        "/a/b/resolve/main/config.json" | "/a/b/resolve/v1/config.json" => (
            format!("200 OK\r\nx-repo-commit: {COMMIT}\r\netag: W/\"c0ffee\"\r\n"),
            b"{\"a\": 1}".to_vec(),
        ),
        "/a/b/resolve/0123456789abcdef0123456789abcdef01234567/config.json" => (
            format!("200 OK\r\nx-repo-commit: {COMMIT}\r\netag: \"c0ffee\"\r\n"),
            b"{\"a\": 1}".to_vec(),
        ),
        p if p.ends_with("/x/w.bin") && p.starts_with("/a/b/resolve/") => (
            format!(
                "302 Found\r\nx-repo-commit: {COMMIT}\r\nx-linked-etag: \"{digest}\"\r\nx-linked-size: 1200000\r\nlocation: {storage}/blob?key=signed\r\n"
            ),
            Vec::new(),
        ),
        // Renamed: elsewhere on the same host.
        "/old/b/resolve/main/config.json" => {
            ("307 Moved\r\nlocation: /a/b/resolve/main/config.json\r\n".into(), Vec::new())
        }
        "/loop/b/resolve/main/config.json" => {
            ("307 Moved\r\nlocation: /loop/b/resolve/main/config.json\r\n".into(), Vec::new())
        }
        "/api/models/a/b/revision/main?blobs=true" => (
            "200 OK\r\n".into(),
            format!(
                "{{\"sha\": \"{COMMIT}\", \"siblings\": [{{\"rfilename\": \"config.json\", \"size\": 8}}, \
                 {{\"rfilename\": \"x/w.bin\", \"size\": 1200000}}, {{\"rfilename\": \"../../evil\"}}]}}"
            )
            .into_bytes(),
        ),
        p if p.starts_with("/gated/") && header(head, "authorization").is_none() => refuse("401 No", "GatedRepo"),
        p if p.starts_with("/gated/") => refuse("403 No", "GatedRepo"),
        p if p.starts_with("/private/") => refuse("401 No", "RepoNotFound"),
        p if p.starts_with("/a/b/resolve/v9/") => refuse("404 No", "RevisionNotFound"),
        p if p.starts_with("/strange/") => ("200 OK\r\n".into(), b"<html>".to_vec()),
        p if p.starts_with("/busy/") => refuse("503 Busy", ""),
        _ => refuse("404 No", "EntryNotFound"),
    }
}

struct Double {
    hub: String,
    seen: Arc<Seen>,
    folder: PathBuf,
}

impl Drop for Double {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Double {
    async fn new(name: &str, contents: Vec<u8>) -> Self {
        let seen = Arc::new(Seen::default());
        let digest = sha256(&weights());
        let (of_storage, contents) = (Arc::clone(&seen), Arc::new(contents));
        let storage = server(move |mut socket, head| {
            of_storage.storage.lock().unwrap().push(head.clone());
            let (contents, cut) = (Arc::clone(&contents), of_storage.cut.load(Ordering::SeqCst));
            async move {
                let range = header(&head, "range").and_then(|r| r.strip_prefix("bytes="));
                let from: usize = range
                    .and_then(|r| r.strip_suffix('-')?.parse().ok())
                    .unwrap_or(0);
                let status = if from > 0 { "206 Partial" } else { "200 OK" };
                let rest = &contents[from.min(contents.len())..];
                let range = if from > 0 {
                    format!("content-range: bytes {from}-/*\r\n")
                } else {
                    String::new()
                };
                let reply = format!(
                    "HTTP/1.1 {status}\r\n{range}content-length: {}\r\nconnection: close\r\n\r\n",
                    rest.len()
                );
                let end = if cut > 0 {
                    cut.min(rest.len())
                } else {
                    rest.len()
                };
                // The reader may have gone.
                drop(socket.write_all(reply.as_bytes()).await);
                drop(socket.write_all(&rest[..end]).await);
                drop(socket.shutdown().await);
            }
        })
        .await;
        let of_hub = Arc::clone(&seen);
        let hub = server(move |mut socket, head| {
            of_hub.hub.lock().unwrap().push(head.clone());
            let (start, body) = hub_reply(&head, &storage, &digest);
            async move {
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {start}content-length: {length}\r\nconnection: close\r\n\r\n"
                );
                drop(socket.write_all(reply.as_bytes()).await);
                if !head.starts_with("HEAD") {
                    drop(socket.write_all(&body).await);
                }
                drop(socket.shutdown().await);
            }
        })
        .await;
        let folder =
            std::env::temp_dir().join(format!("ropewalk-hub-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        Self { hub, seen, folder }
    }

    fn source(&self) -> Hub {
        let mut options = ClientOptions::new()
            .with_timeout(Duration::from_secs(5))
            .with_retry(RetryPolicy::default().with_backoff(Duration::ZERO, Duration::ZERO));
        options.connect.system_proxy = false;
        Hub::new(&self.folder)
            .unwrap()
            .with_endpoint(&self.hub)
            .with_client(Client::new(options).unwrap())
    }

    fn asked(&self) -> Vec<String> {
        let heads = self.seen.hub.lock().unwrap();
        let first = |head: &String| {
            head.lines()
                .next()
                .unwrap_or_default()
                .replace(" HTTP/1.1", "")
        };
        heads.iter().map(first).collect()
    }
}

fn name(text: &str) -> HubName {
    text.parse().unwrap()
}

fn told(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(
        !text.contains('\n') && !format!("{error:?}").contains(TOKEN),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_small_file_is_fetched_once_and_lies_as_python_lays_it() {
    let double = Double::new("small", weights()).await;
    let hub = double.source();
    let path = hub.file(&name("a/b"), "config.json").await.unwrap();
    let root = double.folder.join("models--a--b");
    assert_eq!(
        path,
        root.join("snapshots").join(COMMIT).join("config.json")
    );
    assert_eq!(fs::read(&path).unwrap(), b"{\"a\": 1}");
    assert_eq!(fs::read(root.join("blobs/c0ffee")).unwrap(), b"{\"a\": 1}");
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(&path).unwrap(),
        Path::new("../../blobs/c0ffee")
    );
    assert_eq!(
        double.asked(),
        [
            "HEAD /a/b/resolve/main/config.json",
            "GET /a/b/resolve/main/config.json"
        ]
    );

    // Again: one question. Pinned: none. Another name of the commit: its reference, no contents.
    hub.file(&name("a/b"), "config.json").await.unwrap();
    hub.file(&name(&format!("a/b@{COMMIT}")), "config.json")
        .await
        .unwrap();
    hub.file(&name("a/b@v1"), "config.json").await.unwrap();
    assert_eq!(
        double.asked()[2..],
        [
            "HEAD /a/b/resolve/main/config.json",
            "HEAD /a/b/resolve/v1/config.json"
        ]
    );
    assert_eq!(fs::read_to_string(root.join("refs/v1")).unwrap(), COMMIT);
}

#[tokio::test]
async fn a_large_file_comes_from_the_storage_without_the_token() {
    let double = Double::new("large", weights()).await;
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&reports);
    let hub = double
        .source()
        .with_token(TOKEN)
        .with_progress(move |e: &ProgressEvent<'_>| {
            sink.lock()
                .unwrap()
                .push((e.stage.to_string(), e.done, e.total));
        });
    let path = hub.file(&name("hf:a/b/x/w.bin"), "x/w.bin").await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), weights());
    let stored = double
        .folder
        .join("models--a--b/blobs")
        .join(sha256(&weights()));
    assert!(stored.is_file());
    #[cfg(unix)]
    assert_eq!(
        fs::canonicalize(&path).unwrap(),
        fs::canonicalize(&stored).unwrap()
    );
    let storage = double.seen.storage.lock().unwrap();
    assert!(
        storage
            .iter()
            .all(|head| header(head, "authorization").is_none())
    );
    let asked = double.seen.hub.lock().unwrap();
    assert!(
        asked
            .iter()
            .all(|head| header(head, "authorization") == Some(&format!("Bearer {TOKEN}")))
    );
    let reports = reports.lock().unwrap();
    assert_eq!(
        reports.last(),
        Some(&("x/w.bin".to_owned(), 1_200_000, Some(1_200_000)))
    );
    assert!(reports.is_sorted_by_key(|r| r.1));
}

#[tokio::test]
async fn what_broke_off_goes_on_where_it_ended() {
    let double = Double::new("resume", weights()).await;
    double.seen.cut.store(250_000, Ordering::SeqCst);
    let path = double.source().file(&name("a/b"), "x/w.bin").await.unwrap();
    assert_eq!(sha256(&fs::read(path).unwrap()), sha256(&weights()));
    let storage = double.seen.storage.lock().unwrap().clone();
    assert!(storage.len() >= 5, "{}", storage.len());
    let starts: Vec<usize> = storage
        .iter()
        .map(|h| header(h, "range").map_or(0, |r| r["bytes=".len()..r.len() - 1].parse().unwrap()))
        .collect();
    assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
}

#[tokio::test]
async fn another_process_continues_and_nothing_half_has_a_name() {
    let double = Double::new("later", weights()).await;
    let blobs = double.folder.join("models--a--b/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", sha256(&weights())));
    fs::write(&partial, &weights()[..700_000]).unwrap();
    let path = double.source().file(&name("a/b"), "x/w.bin").await.unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
    assert!(!partial.exists());
    let storage = double.seen.storage.lock().unwrap();
    assert_eq!(header(&storage[0], "range"), Some("bytes=700000-"));
}

#[tokio::test]
async fn what_hardly_moves_ends_with_an_error_and_stays() {
    let double = Double::new("stuck", weights()).await;
    double.seen.cut.store(10, Ordering::SeqCst);
    let hub = double.source();
    let error = hub.file(&name("a/b"), "x/w.bin").await.unwrap_err();
    told(
        &error,
        ErrorKind::Connection,
        &["x/w.bin", "of 1200000 bytes"],
    );
    let blobs = double.folder.join("models--a--b/blobs");
    let partial = blobs.join(format!("{}.incomplete", sha256(&weights())));
    let came = fs::read(&partial).unwrap();
    assert!(!came.is_empty() && weights().starts_with(&came));
    double.seen.cut.store(0, Ordering::SeqCst);
    let path = hub.file(&name("a/b"), "x/w.bin").await.unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
}

#[tokio::test]
async fn other_contents_than_announced_are_thrown_away() {
    let mut other = weights();
    other[5] ^= 1;
    let double = Double::new("damaged", other).await;
    let error = double
        .source()
        .file(&name("a/b"), "x/w.bin")
        .await
        .unwrap_err();
    told(&error, ErrorKind::Decode, &["x/w.bin", "SHA-256"]);
    let blobs = fs::read_dir(double.folder.join("models--a--b/blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[tokio::test]
async fn refusals_name_the_page_and_what_to_do() {
    let double = Double::new("refused", weights()).await;
    let page = format!("{}/gated/m", double.hub);
    let ask =
        async |hub: &Hub, what: &str, file: &str| hub.file(&name(what), file).await.unwrap_err();
    let (open, known) = (double.source(), double.source().with_token(TOKEN));
    let error = ask(&open, "gated/m", "config.json").await;
    told(
        &error,
        ErrorKind::Authentication,
        &["gated", &page, "HF_TOKEN"],
    );
    let error = ask(&known, "gated/m", "config.json").await;
    told(
        &error,
        ErrorKind::PermissionDenied,
        &["accept its terms", &page],
    );
    told(
        &ask(&open, "private/m", "x").await,
        ErrorKind::NotFound,
        &["private", "HF_TOKEN"],
    );
    told(
        &ask(&open, "a/b@v9", "x").await,
        ErrorKind::NotFound,
        &["revision", "v9"],
    );
    told(
        &ask(&open, "a/b", "none.bin").await,
        ErrorKind::NotFound,
        &["none.bin"],
    );
    told(
        &ask(&open, "strange/m", "x").await,
        ErrorKind::Decode,
        &["is it a Hub"],
    );
    told(
        &ask(&open, "loop/b", "config.json").await,
        ErrorKind::Connection,
        &["redirects"],
    );
    told(&ask(&open, "busy/b", "x").await, ErrorKind::Overloaded, &[]);
    told(
        &ask(&open, "a/b", "../x").await,
        ErrorKind::InvalidRequest,
        &["../x"],
    );
    let moved = open.file(&name("old/b"), "config.json").await.unwrap();
    assert_eq!(fs::read(moved).unwrap(), b"{\"a\": 1}");
}

#[tokio::test]
async fn a_snapshot_is_of_one_commit_and_lasts_offline() {
    let double = Double::new("snapshot", weights()).await;
    let hub = double.source();
    let files = hub.files(&name("a/b")).await.unwrap();
    let paths: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["config.json", "x/w.bin"]);
    let folder = hub.snapshot(&name("a/b"), |_| true).await.unwrap();
    assert_eq!(fs::read(folder.join("x/w.bin")).unwrap(), weights());

    // Nobody is asked offline; what is not there is said so.
    let before = double.asked().len();
    let away = double.source().with_offline(true);
    assert_eq!(away.snapshot(&name("a/b"), |_| true).await.unwrap(), folder);
    assert_eq!(
        away.file(&name("a/b"), "config.json").await.unwrap(),
        folder.join("config.json")
    );
    let error = away.file(&name("a/b"), "other").await.unwrap_err();
    told(&error, ErrorKind::NotFound, &["other", "HF_HUB_OFFLINE"]);
    assert_eq!(double.asked().len(), before);

    // A Hub that cannot be reached: what came last time.
    let gone = double.source().with_endpoint("http://127.0.0.1:9");
    assert_eq!(
        gone.file(&name("a/b"), "config.json").await.unwrap(),
        folder.join("config.json")
    );
    let error = gone.file(&name("a/c"), "config.json").await.unwrap_err();
    told(&error, ErrorKind::Connection, &["127.0.0.1:9"]);
}

#[tokio::test]
async fn two_at_once_fetch_once() {
    let double = Double::new("twice", weights()).await;
    let (one, two) = (double.source(), double.source());
    let named = name("a/b");
    let (a, b) = tokio::join!(one.file(&named, "x/w.bin"), two.file(&named, "x/w.bin"));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(double.seen.storage.lock().unwrap().len(), 1);
}
