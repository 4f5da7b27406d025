//! Keeping below a provider's limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ropewalk_core::{
    Capabilities, CharsPerToken, ChatModel, ChatRequest, ChatResponse, ChatStream, Error,
    ErrorKind, Result, StreamEvent, TokenCounter, Usage, async_trait,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Waits before each call until requests per minute, tokens per minute and the number of calls at
/// the same time are below their limits. Calls are served in the order they came. Clones share the
/// limits.
///
/// Tokens are estimated before a call (from the text, plus `max_tokens`) and put right by its
/// usage. The buckets hold a minute's worth at the start, so a burst goes through at once.
#[derive(Clone)]
pub struct RateLimit<M> {
    model: M,
    counter: Arc<dyn TokenCounter>,
    requests: Option<Arc<Mutex<Bucket>>>,
    tokens: Option<Arc<Mutex<Bucket>>>,
    calls: Option<Arc<Semaphore>>,
}

/// A token bucket: so much per second, at most a minute's worth.
#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn per_minute(amount: u32) -> Arc<Mutex<Self>> {
        let amount = f64::from(amount.max(1));
        Arc::new(Mutex::new(Self {
            capacity: amount,
            per_second: amount / 60.0,
            level: amount,
            filled: Instant::now(),
        }))
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let since = now.duration_since(self.filled).as_secs_f64();
        self.level = (self.level + since * self.per_second).min(self.capacity);
        self.filled = now;
    }

    /// Takes an amount, waiting for it. More than the bucket holds waits for a full one.
    async fn take(&mut self, amount: f64) {
        let wanted = amount.min(self.capacity);
        self.fill();
        while self.level < wanted {
            let wait = (wanted - self.level) / self.per_second;
            tokio::time::sleep(Duration::from_secs_f64(wait.max(0.001))).await;
            self.fill();
        }
        self.level -= amount;
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
            requests.lock().await.take(1.0).await;
        }
        let mut estimate = 0.0;
        if let Some(tokens) = &self.tokens {
            let prompt = self.counter.count_messages(&request.messages);
            let prompt = u32::try_from(prompt).unwrap_or(u32::MAX);
            let reply = request.options.max_tokens.unwrap_or(0);
            estimate = f64::from(prompt) + f64::from(reply);
            tokens.lock().await.take(estimate).await;
        }
        Ok((permit, estimate))
    }
}

/// Puts an estimate right.
async fn settle(tokens: Option<&Arc<Mutex<Bucket>>>, estimate: f64, usage: &Usage) {
    if let (Some(tokens), Some(used)) = (tokens, usage.total_tokens()) {
        let used = f64::from(u32::try_from(used).unwrap_or(u32::MAX));
        let mut bucket = tokens.lock().await;
        bucket.level = (bucket.level + estimate - used).min(bucket.capacity);
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
        if let Ok(response) = &result {
            settle(self.tokens.as_ref(), estimate, &response.usage).await;
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
                let mut permit = permit;
                if let Ok(StreamEvent::Finished(response)) = &event {
                    settle(tokens.as_ref(), estimate, &response.usage).await;
                    permit = None;
                }
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
