//! Adding up what is used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, DynPricing, Error, ErrorKind,
    Pricing, Result, StreamEvent, Usage, async_trait,
};
use serde::Serialize;
use tokio::time::Instant;

/// What a meter has seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Calls that were answered.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls and streams that were dropped before their end: nobody knows what they cost.
    pub dropped: u64,
    /// Tokens of the answered calls, and of failed ones as far as they came to be known.
    pub usage: Usage,
    /// US dollars of the calls whose price is known.
    pub cost: f64,
    /// Calls with tokens whose price is not known; the real cost is higher if there are any.
    pub unpriced: u64,
    /// Time of the answered calls, added up.
    pub time: Duration,
}

impl Totals {
    /// Returns the cost in US cents, or `None` when some call has no known price or was dropped.
    #[must_use]
    pub fn cents(&self) -> Option<f64> {
        (self.unpriced == 0 && self.dropped == 0).then_some(self.cost * 100.0)
    }
}

/// Adds up the calls of any number of models; clones share the totals.
#[derive(Clone, Default)]
pub struct Meter {
    totals: Arc<Mutex<Totals>>,
    pricing: Option<DynPricing>,
    budget: Option<f64>,
}

impl Meter {
    /// Creates a meter that knows no prices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the prices.
    #[must_use]
    pub fn with_pricing(mut self, pricing: impl Pricing + 'static) -> Self {
        self.pricing = Some(Arc::new(pricing));
        self
    }

    /// Refuses calls with [`ErrorKind::QuotaExceeded`] once this many US dollars are spent. The
    /// calls that cross the line are still answered: as many as run at that moment. Calls whose
    /// cost is not known ([`Totals::unpriced`], [`Totals::dropped`]) do not count.
    #[must_use]
    pub fn with_budget(mut self, dollars: f64) -> Self {
        self.budget = Some(dollars);
        self
    }

    /// Wraps a model.
    pub fn on<M: ChatModel>(&self, model: M) -> Metered<M> {
        let meter = self.clone();
        Metered { model, meter }
    }

    /// Returns what has been seen so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the cost of one reply in US dollars, if its price is known.
    #[must_use]
    pub fn cost_of(&self, response: &ChatResponse) -> Option<f64> {
        self.pricing.as_ref()?.cost_of(response)
    }

    fn admit(&self) -> Result<()> {
        let spent = self.totals().cost;
        match self.budget {
            Some(budget) if spent >= budget => {
                let message = format!("the budget of ${budget} is spent (${spent:.6})");
                Err(Error::new(ErrorKind::QuotaExceeded, message))
            }
            _ => Ok(()),
        }
    }

    fn count(&self, result: Result<&ChatResponse, &Error>, time: Duration) {
        let reply = match result {
            Ok(response) => Some(response),
            // What came before a failure is paid for, too.
            Err(error) => error.partial().filter(|p| p.usage != Usage::default()),
        };
        let cost = reply.map(|r| self.cost_of(r));
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                totals.calls += 1;
                totals.time += time;
            }
            Err(_) => totals.errors += 1,
        }
        totals.usage += reply.map(|r| r.usage).unwrap_or_default();
        match cost {
            Some(Some(cost)) => totals.cost += cost,
            Some(None) => totals.unpriced += 1,
            None => {}
        }
    }

    fn watch(&self) -> Watch {
        Watch {
            meter: self.clone(),
            started: Instant::now(),
            over: false,
        }
    }
}

/// Sees to it that a call is counted once, however it ends.
struct Watch {
    meter: Meter,
    started: Instant,
    over: bool,
}

impl Watch {
    fn ends(&mut self, result: Result<&ChatResponse, &Error>) {
        self.over = true;
        self.meter.count(result, self.started.elapsed());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.over {
            let totals = self.meter.totals.lock();
            totals.unwrap_or_else(PoisonError::into_inner).dropped += 1;
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("totals", &self.totals())
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// A model whose calls a [`Meter`] adds up.
#[derive(Debug, Clone)]
pub struct Metered<M> {
    model: M,
    meter: Meter,
}

impl<M> Metered<M> {
    /// Returns the meter.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for Metered<M> {
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
        self.meter.admit()?;
        let mut watch = self.meter.watch();
        let result = self.model.chat(request).await;
        watch.ends(result.as_ref());
        result
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.meter.admit()?;
        let mut watch = self.meter.watch();
        let stream = match self.model.stream(request).await {
            Ok(stream) => stream,
            Err(error) => {
                watch.ends(Err(&error));
                return Err(error);
            }
        };
        let events = stream.inspect(move |event| match event {
            Ok(StreamEvent::Finished(response)) => watch.ends(Ok(response)),
            Err(error) => watch.ends(Err(error)),
            Ok(_) => {}
        });
        let (provider, model) = (self.provider().to_owned(), self.model().to_owned());
        Ok(ChatStream::from_events(provider, model, events))
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.model.count_tokens(request).await
    }
}
