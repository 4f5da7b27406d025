//! Stages of one's own for every reply.

use std::fmt;
use std::sync::Arc;

use super::LogitsProcessor;

/// Makes a stage for each reply, so that replies that run together share no state.
#[derive(Clone)]
pub struct StageFactory(Arc<dyn Fn() -> Box<dyn LogitsProcessor> + Send + Sync>);

impl StageFactory {
    /// Returns a factory that calls `make` at the beginning of each reply.
    pub fn new<S: LogitsProcessor + 'static>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::new(make())))
    }

    /// Returns a fresh stage.
    pub fn stage(&self) -> Box<dyn LogitsProcessor> {
        (self.0)()
    }
}

impl fmt::Debug for StageFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StageFactory").field(&self.stage()).finish()
    }
}
