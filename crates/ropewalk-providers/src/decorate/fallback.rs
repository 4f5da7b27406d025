//! Other models for when one fails.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ropewalk_core::{
    Capabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, DynChatModel, Error, ErrorKind,
    Result, async_trait,
};
use tokio::time::Instant;

use super::peek::{Opening, open};

/// Longest time for which a model is left out, whatever its provider asks for: a day.
const LONGEST_REST: Duration = Duration::from_secs(86_400);

type Decide = Arc<dyn Fn(&Error) -> bool + Send + Sync>;
type Accept = Arc<dyn Fn(&ChatResponse) -> bool + Send + Sync>;

/// Asks models in order until one answers.
///
/// A stream moves on only until the first visible piece: what was seen cannot be unsaid. The reply
/// names the model that answered. When all fail, the error has the kind of the last failure and
/// lists them all; how long to wait and what had come are the last one's.
#[derive(Clone)]
pub struct Fallback {
    models: Vec<DynChatModel>,
    moves_on: Decide,
    accepts: Option<Accept>,
    cooldown: Option<Duration>,
    /// Until when each model is left out.
    resting: Arc<Mutex<Vec<Option<Instant>>>>,
}

impl Fallback {
    /// Creates a chain of one model.
    pub fn new(first: impl ChatModel + 'static) -> Self {
        let chain = Self {
            models: Vec::new(),
            moves_on: Arc::new(|error| error.kind() != ErrorKind::Cancelled),
            accepts: None,
            cooldown: None,
            resting: Arc::default(),
        };
        chain.or(first)
    }

    /// Appends a model.
    #[must_use]
    pub fn or(mut self, next: impl ChatModel + 'static) -> Self {
        self.models.push(Arc::new(next));
        self
    }

    /// Sets which errors lead to the next model; all but a cancellation unless set. For example
    /// `|e| e.kind() == ErrorKind::ContextLengthExceeded` for a model with a larger window.
    #[must_use]
    pub fn when(mut self, moves_on: impl Fn(&Error) -> bool + Send + Sync + 'static) -> Self {
        self.moves_on = Arc::new(moves_on);
        self
    }

    /// Sets which replies count as answers; the others lead to the next model. Streams are then
    /// read to their end before anything is given out.
    #[must_use]
    pub fn accepting(
        mut self,
        accepts: impl Fn(&ChatResponse) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.accepts = Some(Arc::new(accepts));
        self
    }

    /// Leaves a model that failed with a retryable error out for this long, or for as long as its
    /// provider asked, if all the others are not left out, too. A day is the most.
    #[must_use]
    pub fn with_cooldown(mut self, rest: Duration) -> Self {
        self.cooldown = Some(rest);
        self
    }

    /// Returns the models' places in the order in which they are to be asked now.
    fn order(&self) -> Vec<usize> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let rests = |at: &usize| resting.get(*at).copied().flatten().is_some_and(|t| t > now);
        let (later, mut order): (Vec<_>, Vec<_>) = (0..self.models.len()).partition(rests);
        order.extend(later);
        order
    }

    fn rest(&self, at: usize, error: &Error) {
        let Some(rest) = self.cooldown.filter(|_| error.is_retryable()) else {
            return;
        };
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.resize(self.models.len(), None);
        let rest = error.retry_after().unwrap_or(rest).min(LONGEST_REST);
        resting[at] = Some(Instant::now() + rest);
    }

    fn refused(response: ChatResponse) -> Error {
        let message = format!("the reply of {} was not accepted", response.model);
        Error::new(ErrorKind::Schema, message)
            .with_provider(response.provider.clone())
            .with_partial(response)
    }
}

/// The failures so far.
struct Failures(Vec<(String, Error)>);

impl Failures {
    fn add(&mut self, model: &dyn ChatModel, error: Error) {
        self.0
            .push((format!("{}/{}", model.provider(), model.model()), error));
    }

    fn into_error(mut self) -> Error {
        if self.0.len() == 1 {
            return self.0.remove(0).1;
        }
        let lines: Vec<String> = self.0.iter().map(|(m, e)| format!("{m}: {e}")).collect();
        let message = format!("all {} models failed: {}", lines.len(), lines.join("; "));
        match self.0.pop() {
            Some((_, last)) => {
                let mut error =
                    Error::new(last.kind(), message).with_retryable(last.is_retryable());
                if let Some(wait) = last.retry_after() {
                    error = error.with_retry_after(wait);
                }
                if let Some(partial) = last.partial() {
                    error = error.with_partial(partial.clone());
                }
                error.with_source(last)
            }
            None => Error::new(ErrorKind::Configuration, "there is no model to ask"),
        }
    }
}

#[async_trait]
impl ChatModel for Fallback {
    fn provider(&self) -> &str {
        self.models[0].provider()
    }

    fn model(&self) -> &str {
        self.models[0].model()
    }

    /// What the first model can do.
    fn capabilities(&self) -> Capabilities {
        self.models[0].capabilities()
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse> {
        request.validate()?;
        let mut failures = Failures(Vec::new());
        for at in self.order() {
            let model = &self.models[at];
            let error = match model.chat(request).await {
                Ok(reply) if self.accepts.as_ref().is_none_or(|a| a(&reply)) => return Ok(reply),
                Ok(reply) => Self::refused(reply),
                Err(error) if !(self.moves_on)(&error) => return Err(error),
                Err(error) => error,
            };
            self.rest(at, &error);
            tracing::debug!(model = model.model(), error.type = error.kind().as_str(), "falling back");
            failures.add(model, error);
        }
        Err(failures.into_error())
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        if self.accepts.is_some() {
            return Ok(ChatStream::from_response(self.chat(request).await?));
        }
        request.validate()?;
        let mut failures = Failures(Vec::new());
        for at in self.order() {
            let model = &self.models[at];
            let opening = match model.stream(request).await {
                Ok(stream) => open(stream, model.provider(), model.model()).await,
                Err(error) => Opening::Failed(error),
            };
            match opening {
                Opening::Visible(stream) => return Ok(stream),
                Opening::Failed(error) if !(self.moves_on)(&error) => return Err(error),
                Opening::Failed(error) => {
                    self.rest(at, &error);
                    failures.add(model, error);
                }
            }
        }
        Err(failures.into_error())
    }

    async fn count_tokens(&self, request: &ChatRequest) -> Result<Option<u64>> {
        self.models[0].count_tokens(request).await
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .models
            .iter()
            .map(|m| format!("{}/{}", m.provider(), m.model()));
        f.debug_struct("Fallback")
            .field("models", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
