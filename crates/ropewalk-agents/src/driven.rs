//! A stream that is written as a future: the future sends, the stream yields.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

/// Where the future puts what the stream yields.
pub(crate) struct Sink<T>(Arc<Mutex<VecDeque<T>>>);

impl<T> Sink<T> {
    fn queue(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an item and gives the reader the chance to take it before work goes on.
    pub(crate) async fn send(&self, item: T) {
        self.queue().push_back(item);
        let mut yielded = false;
        poll_fn(|cx| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            // Executors of many futures poll again only what was woken.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl<T> Clone for Sink<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Driven<T, E> {
    sent: Sink<T>,
    work: Option<BoxFuture<'static, Result<(), E>>>,
}

impl<T, E> Unpin for Driven<T, E> {}

/// Makes a stream of what a future sends; its error is the last item. The work is done while the
/// stream is polled and ends when the stream is dropped.
pub(crate) fn driven<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce(Sink<T>) -> BoxFuture<'static, Result<(), E>>,
) -> BoxStream<'static, Result<T, E>> {
    let sent = Sink(Arc::default());
    let work = Some(work(sent.clone()));
    Driven { sent, work }.boxed()
}

impl<T: Send, E: Send + 'static> Stream for Driven<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(item) = self.sent.queue().pop_front() {
            return Poll::Ready(Some(Ok(item)));
        }
        let Some(work) = &mut self.work else {
            return Poll::Ready(None);
        };
        let end = match work.poll_unpin(cx) {
            Poll::Pending => None,
            Poll::Ready(result) => Some(result),
        };
        let next = self.sent.queue().pop_front();
        match (next, end) {
            (Some(item), None) => Poll::Ready(Some(Ok(item))),
            (None, None) => Poll::Pending,
            (next, Some(Ok(()))) => {
                self.work = None;
                Poll::Ready(next.map(Ok))
            }
            (None, Some(Err(error))) => {
                self.work = None;
                Poll::Ready(Some(Err(error)))
            }
            (Some(item), Some(Err(error))) => {
                self.work = Some(std::future::ready(Err(error)).boxed());
                Poll::Ready(Some(Ok(item)))
            }
        }
    }
}
