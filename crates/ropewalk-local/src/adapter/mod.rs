//! Low-rank adapters (LoRA) beside a base model that stays as it is.
//!
//! An [`Adapter`] is loaded once against a [`Model`](crate::Model) and handed along with requests:
//! `y = W x + scale * B (A x)` for the rows of those who ask for it, one forward pass for all.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::{Error, Result};

/// What tells adapters apart; it is never given out twice.
#[derive(Debug, Clone)]
pub(crate) struct AdapterId(Arc<u8>);

impl AdapterId {
    /// Returns an id that no other adapter has.
    pub(crate) fn new() -> Self {
        Self(Arc::new(0))
    }
}

impl PartialEq for AdapterId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for AdapterId {}

impl Hash for AdapterId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// What keys and values were computed with: the adapters and the bits of their scales, in order.
/// Empty for the base model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct AdapterKey(Option<Arc<[(AdapterId, u32)]>>);

impl AdapterKey {
    /// Returns the key of a list of adapters.
    pub(crate) fn of(adapters: &[ActiveAdapter]) -> Self {
        let used = adapters.iter().filter(|a| a.scale != 0.0);
        let list: Vec<_> = used.map(|a| (a.adapter.id(), a.scale.to_bits())).collect();
        Self((!list.is_empty()).then(|| list.into()))
    }
}

/// A low-rank adapter that is ready to run beside the model it was loaded against.
///
/// Cloning is cheap; clones are the same adapter. The memory is freed when the last clone goes:
/// requests that still run keep theirs.
#[derive(Debug, Clone)]
pub struct Adapter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: AdapterId,
    name: String,
}

impl Adapter {
    /// Returns the name it was loaded under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub(crate) fn id(&self) -> AdapterId {
        self.inner.id.clone()
    }
}

/// An adapter with its weight in one request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActiveAdapter {
    /// The adapter.
    pub adapter: Adapter,
    /// What its part of every product is multiplied with, besides the scale of its own file; 1 is
    /// as it was trained, 0 is off.
    pub scale: f32,
}

impl ActiveAdapter {
    /// Returns an adapter at the scale it was trained for.
    #[must_use]
    pub fn new(adapter: Adapter) -> Self {
        Self {
            adapter,
            scale: 1.0,
        }
    }

    /// Sets the scale.
    #[must_use]
    pub fn with_scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Refuses scales that are no numbers.
    pub(crate) fn check(list: &[Self]) -> Result<()> {
        match list.iter().find(|a| !a.scale.is_finite()) {
            None => Ok(()),
            Some(bad) => Err(Error::Option {
                name: "adapter scale",
                value: bad.scale.to_string(),
                allowed: "a finite number",
            }),
        }
    }
}

impl From<Adapter> for ActiveAdapter {
    fn from(adapter: Adapter) -> Self {
        Self::new(adapter)
    }
}
