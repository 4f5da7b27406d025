//! Low-rank adapters (LoRA) beside a base model that stays as it is.
//!
//! An [`Adapter`] is loaded once against a [`Model`] and handed along with requests:
//! `y = W x + scale * B (A x)` for the rows of those who ask for it, one forward pass for all.

mod batch;
mod dora;
mod merge;
mod ready;

use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use ropewalk_kernels::Isa;
use ropewalk_spec::Family;
use ropewalk_spec::adapter::LoraAdapter;

use crate::{Error, Model, Result};

pub(crate) use batch::{Batch, Buffers};
pub use merge::AdapterSource;
pub(crate) use merge::Merge;
use ready::Ready;
pub(crate) use ready::Site;

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
///
/// ```no_run
/// use ropewalk_local::{ActiveAdapter, Adapter, LoadOptions, Model, Step};
///
/// let model = Model::open("model.gguf", &LoadOptions::default())?;
/// let french = Adapter::open(&model, "lora-french")?; // a PEFT directory
/// let brief = Adapter::open(&model, "brief.gguf")?; // of convert_lora_to_gguf.py
///
/// // One forward pass: the first sequence with both, the second with the model as it is.
/// let both = [ActiveAdapter::new(french), ActiveAdapter::new(brief).with_scale(0.5)];
/// let (mut a, mut b) = (model.new_cache(), model.new_cache());
/// let logits = model.forward_batch(&mut [
///     Step::new(&mut a, &[1, 403, 407]).with_adapters(&both),
///     Step::new(&mut b, &[1, 403, 407]),
/// ])?;
/// assert_ne!(logits[0], logits[1]);
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Adapter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: AdapterId,
    name: String,
    rank: usize,
    parameters: usize,
    base: Base,
    ready: Ready,
}

/// What a model must have in common with the one an adapter was loaded against.
#[derive(Debug, PartialEq)]
struct Base {
    family: Family,
    sizes: [usize; 7],
    isa: Isa,
}

impl Base {
    fn of(model: &Model) -> Self {
        let spec = model.spec();
        Self {
            family: spec.family,
            sizes: [
                spec.layers,
                spec.hidden,
                spec.q_dim(),
                spec.kv_dim(),
                spec.ffn,
                spec.vocab_size,
                usize::from(spec.gated),
            ],
            isa: model.isa(),
        }
    }
}

impl Adapter {
    /// Loads a PEFT directory or a GGUF file of `convert_lora_to_gguf.py` for a model.
    ///
    /// The model may be in use meanwhile. Matrices stay in the type of the file, F32, F16 or BF16. DoRA takes about
    /// as long to load as a prompt of as many tokens as the model has features.
    ///
    /// # Errors
    /// [`Error::Tensor`] with all that is missing, left over or of another shape than the model;
    /// [`Error::Adapter`] for what can only be merged: trained norms and DoRA of the head.
    pub fn open(model: &Model, path: impl AsRef<Path>) -> Result<Self> {
        Self::new(model, &LoraAdapter::open(path, model.spec())?)
    }

    /// Loads an adapter that was read already, such as one that was just trained.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(model: &Model, adapter: &LoraAdapter) -> Result<Self> {
        adapter.check(model.spec())?;
        Ok(Self {
            inner: Arc::new(Inner {
                id: AdapterId::new(),
                name: adapter.name.clone(),
                rank: adapter.rank(),
                parameters: adapter.parameters(),
                base: Base::of(model),
                ready: Ready::new(model, adapter)?,
            }),
        })
    }

    /// Returns the name of the directory or file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the largest rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.inner.rank
    }

    /// Returns the number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.inner.parameters
    }

    /// Returns the bytes that it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ready().bytes()
    }

    pub(crate) fn id(&self) -> AdapterId {
        self.inner.id.clone()
    }

    fn ready(&self) -> &Ready {
        &self.inner.ready
    }
}

/// An adapter with its weight in one request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActiveAdapter {
    /// The adapter.
    pub adapter: Adapter,
    /// What its part of every product is multiplied with, besides the scale of its own file; 1 is
    /// as it was trained, 0 is off. Weights that were trained as a whole (`modules_to_save`) and
    /// biases are taken as they are at every scale but 0.
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

    /// Refuses a list that a model cannot run with.
    pub(crate) fn check(list: &[Self], model: &Model) -> Result<()> {
        let mut whole: Vec<(Site, &str)> = Vec::new();
        for Self { adapter, scale } in list {
            if !scale.is_finite() {
                return Err(Error::Option {
                    name: "adapter scale",
                    value: scale.to_string(),
                    allowed: "a finite number",
                });
            }
            let fail = |problem: String| Error::Adapter {
                name: adapter.name().to_owned(),
                problem,
            };
            if model.device_plan().is_some() {
                return Err(fail("cannot run beside layers on devices".to_owned()));
            }
            if adapter.inner.base != Base::of(model) {
                return Err(fail(
                    "was loaded for a model of another family or shape".to_owned(),
                ));
            }
            for site in adapter.ready().whole_sites() {
                if let Some((_, other)) = whole.iter().find(|(s, _)| *s == site) {
                    let problem = format!("replaces the same whole weight as `{other}`");
                    return Err(fail(problem));
                }
                whole.push((site, adapter.name()));
            }
        }
        Ok(())
    }
}

impl From<Adapter> for ActiveAdapter {
    fn from(adapter: Adapter) -> Self {
        Self::new(adapter)
    }
}
