//! Keeping below a provider's limits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use ropewalk_core::{
    Capabilities, CharsPerToken, ChatModel, ChatRequest, ChatResponse, ChatStream, Error,
    ErrorKind, Result, StreamEvent, TokenCounter, Usage, async_trait,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Waits before each call until requests per minute, tokens per minute and the number of calls at
/// the same time are below their limits. Calls are served in the order they came. Clones share the
/// limits.
///
/// Tokens are estimated before a call (from the text, plus `max_tokens`) and put right by its
/// usage; a call that fails or is dropped keeps its estimate, since the provider may have counted
/// it. The buckets hold a minute's worth at the start, so a burst goes through at once.
#[derive(Clone)]
pub struct RateLimit<M> {
    model: M,
    counter: Arc<dyn TokenCounter>,
    requests: Option<Arc<Bucket>>,
    tokens: Option<Arc<Bucket>>,
    calls: Option<Arc<Semaphore>>,
}

/// A token bucket: so much per second, at most a minute's worth.
#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    /// Held by whoever waits, so that calls are served in order. Putting the level right does not
    /// wait for it.
    turn: tokio::sync::Mutex<()>,
    level: Mutex<Level>,
    /// Something was given back.
    refilled: Notify,
}

#[derive(Debug)]
struct Level {
    amount: f64,
    filled: Instant,
}

impl Bucket {
    fn per_minute(amount: u32) -> Arc<Self> {
        let amount = f64::from(amount.max(1));
        Arc::new(Self {
            capacity: amount,
            per_second: amount / 60.0,
            turn: tokio::sync::Mutex::default(),
            level: Mutex::new(Level {
                amount,
                filled: Instant::now(),
            }),
            refilled: Notify::new(),
        })
    }

    /// Returns the level as it is now.
    fn filled(&self) -> MutexGuard<'_, Level> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let since = now.duration_since(level.filled).as_secs_f64();
        level.amount = (level.amount + since * self.per_second).min(self.capacity);
        level.filled = now;
        level
    }

    /// Takes an amount, or returns how long to wait for it. More than the bucket holds needs a full
    /// one.
    fn try_take(&self, amount: f64) -> Result<(), Duration> {
        let wanted = amount.min(self.capacity);
        let mut level = self.filled();
        if level.amount < wanted {
            let wait = (wanted - level.amount) / self.per_second;
            return Err(Duration::from_secs_f64(wait.max(0.001)));
        }
        level.amount -= amount;
        Ok(())
    }

    /// Takes an amount, waiting for it. Dropping this takes nothing.
    async fn take(&self, amount: f64) {
        let _turn = self.turn.lock().await;
        while let Err(wait) = self.try_take(amount) {
            // A call that used less than its estimate lets this one go earlier.
            timeout(wait, self.refilled.notified()).await.ok();
        }
    }

    /// Puts an estimate right.
    fn settle(&self, estimate: f64, usage: &Usage) {
        if let Some(used) = usage.total_tokens() {
            let used = f64::from(u32::try_from(used).unwrap_or(u32::MAX));
            let mut level = self.filled();
            level.amount = (level.amount + estimate - used).min(self.capacity);
            self.refilled.notify_one();
        }
    }
}

impl<M: ChatModel> RateLimit<M> {
    /// Wraps a model without any limit.
    pub fn new(model: M) -> Self {
        Self {
            model,
            counter: Arc::new(CharsPerToken::default()),
            requests: None,
            tokens: None,
            calls: None,
        }
    }

    /// Sets the most requests per minute.
    #[must_use]
    pub fn requests_per_minute(mut self, limit: u32) -> Self {
        self.requests = Some(Bucket::per_minute(limit));
        self
    }

    /// Sets the most tokens per minute, of prompts and replies together.
    #[must_use]
    pub fn tokens_per_minute(mut self, limit: u32) -> Self {
        self.tokens = Some(Bucket::per_minute(limit));
        self
    }

    /// Sets the most calls at the same time; a stream counts until it ends or is dropped.
    #[must_use]
    pub fn concurrent(mut self, limit: usize) -> Self {
        self.calls = Some(Arc::new(Semaphore::new(limit.max(1))));
        self
    }

    /// Sets what estimates the tokens of a prompt; four characters per token unless set.
    #[must_use]
    pub fn with_counter(mut self, counter: impl TokenCounter + 'static) -> Self {
        self.counter = Arc::new(counter);
        self
    }

    /// Waits for room and returns the estimate of tokens taken.
    async fn enter(&self, request: &ChatRequest) -> Result<(Option<OwnedSemaphorePermit>, f64)> {
        request.validate()?;
        let permit = match &self.calls {
            Some(calls) => Some(
                Arc::clone(calls)
                    .acquire_owned()
                    .await
                    .map_err(|_| Error::new(ErrorKind::Cancelled, "the rate limit was closed"))?,
            ),
            None => None,
        };
        if let Some(requests) = &self.requests {
            requests.take(1.0).await;
        }
        let mut estimate = 0.0;
        if let Some(tokens) = &self.tokens {
            let prompt = self.counter.count_messages(&request.messages);
            let prompt = u32::try_from(prompt).unwrap_or(u32::MAX);
            let reply = request.options.max_tokens.unwrap_or(0);
            estimate = f64::from(prompt) + f64::from(reply);
            tokens.take(estimate).await;
        }
        Ok((permit, estimate))
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for RateLimit<M> {
    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn model(&self) -> &str {
        self.model.model()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let (permit, estimate) = self.enter(request).await?;
        let result = self.model.chat(request).await;
        if let (Ok(response), Some(tokens)) = (&result, &self.tokens) {
            tokens.settle(estimate, &response.usage);
        }
        drop(permit);
        result
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let (permit, estimate) = self.enter(request).await?;
        let stream = self.model.stream(request).await?;
        let tokens = self.tokens.clone();
        let provider = self.provider().to_owned();
        let model = self.model().to_owned();
        let state = (stream, Some(permit), tokens);
        let events =
            futures_util::stream::unfold(state, move |(mut stream, permit, tokens)| async move {
                let event = stream.next().await?;
                if let (Ok(StreamEvent::Finished(response)), Some(tokens)) = (&event, &tokens) {
                    tokens.settle(estimate, &response.usage);
                }
                let over = matches!(event, Ok(StreamEvent::Finished(_)) | Err(_));
                let permit = permit.filter(|_| !over);
                Some((event, (stream, permit, tokens)))
            });
        Ok(ChatStream::from_events(provider, model, events))
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.model.count_tokens(request).await
    }
}

impl<M: ChatModel> fmt::Debug for RateLimit<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("model", &self.model.model())
            .finish_non_exhaustive()
    }
}
