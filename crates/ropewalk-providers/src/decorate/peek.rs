//! Reading a stream up to what a user would see.

use futures_util::StreamExt;
use ropewalk_core::{ChatStream, Error, Result, StreamEvent};

/// What a stream begins with.
pub(super) enum Opening {
    /// It got as far as something visible or its end.
    Visible(ChatStream),
    /// It failed before anything was visible.
    Failed(Error),
}

/// Reads up to the first visible event; the stream that is given back has all of them.
pub(super) async fn open(mut stream: ChatStream, provider: &str, model: &str) -> Opening {
    let mut events: Vec<Result<StreamEvent>> = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Err(error) => return Opening::Failed(error),
            Ok(event) => {
                let visible = !matches!(
                    event,
                    StreamEvent::Started { .. }
                        | StreamEvent::Heartbeat
                        | StreamEvent::Unknown { .. }
                );
                events.push(Ok(event));
                if visible {
                    break;
                }
            }
        }
    }
    let whole = futures_util::stream::iter(events).chain(stream);
    let stream = ChatStream::from_events(provider.to_owned(), model.to_owned(), whole);
    Opening::Visible(stream)
}
