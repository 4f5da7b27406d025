//! A server that speaks as much HTTP/1.1 and Chat Completions as the clients need, on a thread and
//! a runtime of its own. Replies are made before and written at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::canned::Replies;

/// Starts a double and returns where it listens. It runs as long as the program does.
pub fn start() -> SocketAddr {
    let (tell, told) = channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
            tell.send(listener.local_addr().expect("an address"))
                .expect("a listener");
            let replies = Arc::new(Replies::new());
            loop {
                let (socket, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(socket, Arc::clone(&replies)));
            }
        });
    });
    told.recv().expect("the double listens")
}

async fn serve(mut socket: TcpStream, replies: Arc<Replies>) {
    socket.set_nodelay(true).expect("an option of the socket");
    let (mut asked, mut said) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 16));
    loop {
        let (body, end) = loop {
            if let Some(found) = request(&asked) {
                break found;
            }
            match socket.read_buf(&mut asked).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        };
        let (reply, streamed) = replies.of(&asked[body..end]);
        said.clear();
        if streamed {
            said.extend_from_slice(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                  x-request-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n",
            );
            // A chunk for each event, as servers flush them.
            for event in reply
                .split_inclusive(|b| *b == b'\n')
                .filter(|e| e.len() > 1)
            {
                said.extend_from_slice(format!("{:x}\r\n", event.len() + 1).as_bytes());
                said.extend_from_slice(event);
                said.extend_from_slice(b"\n\r\n");
            }
            said.extend_from_slice(b"0\r\n\r\n");
        } else {
            let length = reply.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n\
                 content-length: {length}\r\n\r\n"
            );
            said.extend_from_slice(head.as_bytes());
            said.extend_from_slice(&reply);
        }
        if socket.write_all(&said).await.is_err() {
            return;
        }
        asked.drain(..end);
    }
}

/// Returns where the body of the first whole request begins and ends.
fn request(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head of ASCII");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse::<usize>().expect("a length"))
    });
    let end = head + 4 + length.expect("a content-length");
    (bytes.len() >= end).then_some((head + 4, end))
}
