//! A connection is used again after a streamed reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ropewalk_core::ChatModelExt;
use ropewalk_providers::{OpenAi, presets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The marker and the end of the body come in writes of their own, as from real servers.
const PIECES: [&str; 4] = [
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    "46\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\r\n",
    "f\r\n\ndata: [DONE]\n\n\r\n",
    "0\r\n\r\n",
];

#[tokio::test]
async fn connections_outlive_streams() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                // Each request is small and ends with the brace of its JSON body.
                while let Ok(n @ 1..) = socket.read(&mut piece).await {
                    request.extend_from_slice(&piece[..n]);
                    if !request.ends_with(b"}") {
                        continue;
                    }
                    request.clear();
                    for piece in PIECES {
                        if socket.write_all(piece.as_bytes()).await.is_err() {
                            return;
                        }
                        socket.flush().await.ok();
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            });
        }
    });
    let model = OpenAi::compatible(presets::VLLM, address, None)
        .unwrap()
        .chat("m");
    const STREAMS: usize = 20;
    for _ in 0..STREAMS {
        let reply = model
            .ask_stream("hi")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        assert_eq!(reply.text(), "hi");
    }
    let made = connections.load(Ordering::SeqCst);
    assert!(
        made <= STREAMS / 2,
        "{made} connections for {STREAMS} streams"
    );
}
