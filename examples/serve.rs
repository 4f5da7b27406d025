//! A small HTTP/1.1 server on loopback, for examples that show what happens between a client and a
//! service without a key. Not for anything else: one request per connection, no TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    /// The method, for example `POST`.
    pub method: String,
    /// The path without what follows a `?`.
    pub path: String,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Incoming {
    /// Returns a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        found.next().map(|(_, v)| v.as_str())
    }

    /// Returns the body as JSON, `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A reply.
#[derive(Debug, Clone)]
pub struct Outgoing {
    status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<Vec<u8>>,
    pause: Duration,
}

impl Outgoing {
    /// Creates a reply of any type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            pieces: vec![body.into()],
            pause: Duration::ZERO,
        }
    }

    /// Creates a JSON reply.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Creates a stream of server-sent events, with a pause between them.
    pub fn events(events: impl IntoIterator<Item = String>, pause: Duration) -> Self {
        let mut reply = Self::new(200, "text/event-stream", "");
        reply.pieces = events.into_iter().map(String::into_bytes).collect();
        reply.pause = pause;
        reply
    }

    /// Sets a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Answer = Pin<Box<dyn Future<Output = Outgoing> + Send>>;

/// Serves on a free port of 127.0.0.1 until the runtime ends; returns the address, for example
/// `http://127.0.0.1:40123`.
pub async fn serve<F, Fut>(handle: F) -> Result<String>
where
    F: Fn(Incoming) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outgoing> + Send + 'static,
{
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = listener.await.context("cannot listen on 127.0.0.1")?;
    let address = listener.local_addr().context("the server has no address")?;
    let handle = Arc::new(move |request| Box::pin(handle(request)) as Answer);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let handle = Arc::clone(&handle);
            tokio::spawn(async move {
                // A client that goes away in the middle is its own affair.
                exchange(socket, &*handle).await.ok();
            });
        }
    });
    Ok(format!("http://{address}"))
}

async fn exchange(
    mut socket: TcpStream,
    handle: &(dyn Fn(Incoming) -> Answer + Send + Sync),
) -> std::io::Result<()> {
    let Some(request) = read(&mut socket).await? else {
        return Ok(());
    };
    let reply = handle(request).await;
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let streamed = reply.pieces.len() != 1;
    if !streamed {
        head += &format!("content-length: {}\r\n", reply.pieces[0].len());
    }
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(b"\r\n").await?;
    for piece in &reply.pieces {
        socket.write_all(piece).await?;
        socket.flush().await?;
        if streamed {
            tokio::time::sleep(reply.pause).await;
        }
    }
    socket.shutdown().await
}

async fn read(socket: &mut TcpStream) -> std::io::Result<Option<Incoming>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        match socket.read(&mut piece).await? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&piece[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.filter_map(header).collect();
    let mut request = Incoming {
        method,
        path,
        headers,
        body: bytes.split_off(end + 4),
    };
    let length = request
        .header("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    while request.body.len() < length {
        match socket.read(&mut piece).await? {
            0 => break,
            n => request.body.extend_from_slice(&piece[..n]),
        }
    }
    Ok(Some(request))
}
