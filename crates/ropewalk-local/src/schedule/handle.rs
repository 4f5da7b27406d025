//! What a request gets back: its tokens as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use futures_channel::mpsc::UnboundedReceiver;
use futures_core::Stream;

use crate::sample::Sampled;
use crate::{Error, Finish, Result, Timings};

/// What the engine tells a request.
#[derive(Debug)]
pub(super) enum Event {
    /// A part of the prompt has run.
    Progress(Timings),
    Token(Sampled, Timings),
    /// The last event.
    End(Result<Finish>, Timings),
}

/// A request that a [`Scheduler`](super::Scheduler) runs: a blocking iterator over its tokens.
///
/// Async code takes [`into_stream`](Self::into_stream) or [`poll_token`](Self::poll_token), under
/// any executor. Dropping the handle cancels the request; its memory is free at the next step.
#[derive(Debug)]
pub struct Handle {
    events: UnboundedReceiver<Event>,
    timings: Timings,
    finish: Option<Finish>,
    ended: bool,
    cancelled: bool,
}

/// What came of waiting for a token.
#[derive(Debug)]
pub(crate) enum Waited {
    Token(Result<Sampled>),
    /// A part of the prompt has run.
    Progress,
    /// There are no more tokens.
    Ended,
    /// Nothing came in time.
    Late,
}

impl Handle {
    pub(super) fn new(events: UnboundedReceiver<Event>) -> Self {
        Self {
            events,
            timings: Timings::default(),
            finish: None,
            ended: false,
            cancelled: false,
        }
    }

    /// Returns why generation ended; `None` before the last token was taken, and after an error or a
    /// cancellation.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Returns the times up to the last token that was taken.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Gives the request up; tokens that were generated already can still be taken.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        self.events.close();
    }

    /// Returns the next token when it is there, or has the task of `cx` woken when it comes.
    ///
    /// An error is the last item.
    pub fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Sampled>>> {
        loop {
            match self.poll(cx) {
                Poll::Ready(Waited::Progress) => {}
                Poll::Ready(Waited::Token(token)) => return Poll::Ready(Some(token)),
                Poll::Ready(Waited::Ended | Waited::Late) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Returns the tokens as a stream.
    pub fn into_stream(self) -> TokenStream {
        TokenStream { handle: self }
    }

    /// Waits on this thread for what comes next, but no longer than until `deadline`.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Waited {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(event) = self.poll(&mut cx) {
                return event;
            }
            match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return Waited::Late,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        if self.ended {
            return Poll::Ready(Waited::Ended);
        }
        let event = match Pin::new(&mut self.events).poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(event)) => event,
            // The engine says how a request ends, unless it was told to forget it or is gone itself.
            Poll::Ready(None) if self.cancelled => {
                self.ended = true;
                return Poll::Ready(Waited::Ended);
            }
            Poll::Ready(None) => Event::End(Err(Error::SchedulerEnded), self.timings),
        };
        Poll::Ready(match event {
            Event::Progress(timings) => {
                self.timings = timings;
                Waited::Progress
            }
            Event::Token(token, timings) => {
                self.timings = timings;
                Waited::Token(Ok(token))
            }
            Event::End(result, timings) => {
                self.timings = timings;
                self.ended = true;
                match result {
                    Ok(finish) => {
                        self.finish = Some(finish);
                        Waited::Ended
                    }
                    Err(e) => Waited::Token(Err(e)),
                }
            }
        })
    }
}

impl Iterator for Handle {
    type Item = Result<Sampled>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.wait(None) {
                Waited::Progress => {}
                Waited::Token(token) => return Some(token),
                Waited::Ended | Waited::Late => return None,
            }
        }
    }
}

/// The tokens of a [`Handle`] as a stream for async code.
#[derive(Debug)]
pub struct TokenStream {
    handle: Handle,
}

impl TokenStream {
    /// Returns the request, for its end and its times.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Gives the request up, as [`Handle::cancel`] does.
    pub fn cancel(&mut self) {
        self.handle.cancel();
    }
}

impl Stream for TokenStream {
    type Item = Result<Sampled>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.handle.poll_token(cx)
    }
}

/// Wakes a thread that waits for a token.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
