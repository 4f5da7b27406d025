//! Real sockets on loopback: resets, stalls, half bodies, slow drip, proxies, redirects, the guard.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use ropewalk_core::ErrorKind;
use ropewalk_http::{Client, ClientOptions, FetchOptions, Fetcher, Framing, Request, RetryPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves each connection with `serve` after its request has been read; returns the address.
pub(crate) async fn server<F, Fut>(serve: F) -> String
where
    F: Fn(TcpStream, String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut piece = [0; 1024];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                match socket.read(&mut piece).await {
                    Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            tokio::spawn(serve(socket, head));
        }
    });
    address
}

fn quick() -> ClientOptions {
    let mut options = ClientOptions::new()
        .with_timeout(Duration::from_millis(150))
        .with_idle_timeout(Duration::from_millis(100))
        .with_retry(RetryPolicy::none())
        .with_seed(1);
    options.connect.system_proxy = false;
    options
}

const SSE: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(quick()).unwrap();
    let request = Request::get(format!("http://{host}"));
    let error = client.send(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let expected = format!("cannot connect to {host}: ");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn addresses_without_a_scheme_are_named() {
    let client = Client::new(quick()).unwrap();
    for address in ["localhost:8000/v1", "127.0.0.1:8000/v1", "ftp://h.test/"] {
        let error = client.send(&Request::get(address)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        let text = error.to_string();
        let expected = format!("the address {address} does not begin with http:// or https://");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn without_a_runtime_it_is_an_error() {
    let client = Client::new(quick()).unwrap();
    let request = Request::get("http://127.0.0.1:9");
    let sent = futures_executor::block_on(client.send(&request)).unwrap_err();
    let streamed = futures_executor::block_on(client.stream(&request)).unwrap_err();
    for error in [sent, streamed] {
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("#[tokio::main]"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let address = server(|socket, _| async move {
        tokio::time::sleep(Duration::from_millis(190)).await;
        drop(socket);
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let error = client.send(&Request::get(address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn half_a_body_and_a_reset() {
    let address = server(|mut socket, _| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":";
        socket.write_all(head.as_bytes()).await.unwrap();
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let error = client.send(&Request::get(address)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn a_stream_that_stops_and_one_that_drips() {
    let address = server(|mut socket, head| async move {
        socket.write_all(SSE.as_bytes()).await.unwrap();
        let drips = if head.contains("drip") { 12 } else { 1 };
        for _ in 0..drips {
            socket
                .write_all(chunk("data: x\n\n").as_bytes())
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        if head.contains("drip") {
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        } else {
            tokio::time::sleep(Duration::from_millis(190)).await;
        }
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let drip = client
        .stream(&Request::get(format!("{address}/drip")))
        .await
        .unwrap();
    let frames: Vec<_> = drip.frames(Framing::Sse).collect().await;
    assert!(
        frames.iter().all(Result::is_ok),
        "the whole time is longer than any one limit"
    );
    assert_eq!(frames.len(), 12);
    let stalled = client.stream(&Request::get(address)).await.unwrap();
    let frames: Vec<_> = stalled.frames(Framing::Sse).collect().await;
    assert_eq!(
        frames.last().unwrap().as_ref().unwrap_err().kind(),
        ErrorKind::Timeout
    );
}

#[tokio::test]
async fn dropping_a_stream_closes_the_connection() {
    let (sender, mut closed) = tokio::sync::mpsc::channel(1);
    let address = server(move |mut socket, _| {
        let sender = sender.clone();
        async move {
            socket.write_all(SSE.as_bytes()).await.unwrap();
            socket
                .write_all(chunk("data: x\n\n").as_bytes())
                .await
                .unwrap();
            let mut end = [0; 1];
            let read = socket.read(&mut end).await;
            sender.send(matches!(read, Ok(0) | Err(_))).await.unwrap();
        }
    })
    .await;
    let client = Client::new(quick()).unwrap();
    let stream = client.stream(&Request::get(address)).await.unwrap();
    drop(stream);
    assert_eq!(closed.recv().await, Some(true));
}

#[tokio::test]
async fn requests_go_through_a_proxy() {
    let address = server(|mut socket, head| async move {
        let seen = head.lines().next().unwrap_or_default().to_owned();
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{seen}",
            seen.len()
        );
        socket.write_all(reply.as_bytes()).await.unwrap();
    })
    .await;
    let client = Client::new(quick().with_proxy(address)).unwrap();
    let response = client
        .send(&Request::get("http://api.invalid/v1"))
        .await
        .unwrap();
    assert_eq!(response.body, "GET http://api.invalid/v1 HTTP/1.1");
    let bad = Client::new(ClientOptions::new().with_proxy("::no address::"));
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn the_fetcher_checks_every_hop() {
    let address = server(|mut socket, head| async move {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let reply = match path {
            "/page" => "HTTP/1.1 200 OK\r\ncontent-type: Text/HTML; charset=utf-8\r\ncontent-length: 5\r\n\r\nhello".into(),
            "/once" => redirect("/page"),
            "/loop" => redirect("/loop"),
            "/file" => redirect("file:///etc/passwd"),
            "/away" => redirect("http://other.example/"),
            "/big" => format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{}", "x".repeat(2000)),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        };
        socket.write_all(reply.as_bytes()).await.unwrap();
        socket.shutdown().await.ok();
    })
    .await;
    let options = FetchOptions::new()
        .with_private(true)
        .with_host("127.0.0.1")
        .with_max_bytes(1000);
    let fetcher = Fetcher::new(options).unwrap();
    let page = fetcher.get(&format!("{address}/once")).await.unwrap();
    assert_eq!(
        (page.text().as_str(), page.content_type().as_str()),
        ("hello", "text/html")
    );
    assert!(page.url.ends_with("/page"));
    for (path, kind, words) in [
        (
            "/loop",
            ErrorKind::PermissionDenied,
            "more than 5 redirects",
        ),
        (
            "/file",
            ErrorKind::PermissionDenied,
            "neither http nor https",
        ),
        (
            "/away",
            ErrorKind::PermissionDenied,
            "not one of the allowed hosts",
        ),
        ("/big", ErrorKind::Decode, "larger than 1000 bytes"),
        ("/none", ErrorKind::NotFound, "404"),
    ] {
        let error = fetcher.get(&format!("{address}{path}")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{path}: {error}");
        assert!(error.to_string().contains(words), "{path}: {error}");
    }
    let guarded = Fetcher::new(FetchOptions::new()).unwrap();
    let port = address.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "2130706433", "0.0.0.0"] {
        let started = Instant::now();
        let error = guarded
            .get(&format!("http://{host}:{port}/page"))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("public address"),
            "{host}: {error}"
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    assert!(
        guarded
            .get("http://user:pw@example.com/")
            .await
            .unwrap_err()
            .to_string()
            .contains("password")
    );
}
