//! Where caches take their pages from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ropewalk_spec::{RopeScaling, RopeSpec};

use super::index::Index;
use super::page::{PAGE, Page, Shape, Store};
use super::{AdapterKey, Cache};
use crate::device::DeviceCache;
use crate::rope::length_class;
use crate::{Error, Result};

/// Pages beyond those in use that a pool without a limit keeps memory for.
const KEPT_FREE: usize = 4;

/// Memory for the keys and values of many sequences: pages of 128 tokens, up to a limit.
///
/// Caches of a pool take a page when a sequence reaches it and give it back when they are cut,
/// cleared or dropped; the pool keeps what came back for the next one, so memory stays at the most
/// that was ever in use; one without a limit keeps little more than is in use. Caches that begin
/// alike share pages ([`Cache::fork`], [`PrefixCache`](crate::PrefixCache)).
///
/// ```
/// use std::sync::Arc;
///
/// use ropewalk_local::{Error, LoadOptions, Model};
/// # use ropewalk_spec::{ModelSpec, testing::Seeded};
/// # let config = serde_json::json!({
/// #     "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 64,
/// #     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
/// #     "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu",
/// # });
/// # let spec = ModelSpec::from_hf(&config)?;
/// # let weights = Arc::new(Seeded::new(spec.clone(), 7).source());
/// # let model = Model::from_parts(spec, weights, &LoadOptions::default())?;
/// let pool = model.new_pool(256)?;
/// let (mut one, mut two) = (pool.new_cache(), pool.new_cache());
/// model.forward(&mut one, &[1; 100])?;
/// model.forward(&mut two, &[2; 100])?;
/// assert_eq!((pool.pages_in_use(), pool.pages_free()), (2, Some(0)));
/// // A third page would be needed. Nothing has changed then.
/// assert!(matches!(model.forward(&mut one, &[1; 50]), Err(Error::CacheFull { .. })));
/// assert_eq!(one.len(), 100);
/// drop(two);
/// model.forward(&mut one, &[1; 50])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CachePool {
    shape: Shape,
    rope: RopeSpec,
    /// Tokens of each cache at most.
    context: usize,
    /// Pages at most.
    limit: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pages that came back.
    free: Vec<Store>,
    in_use: usize,
    peak: usize,
    /// What keeps pages that it can do without.
    keepers: Vec<Weak<Mutex<Index>>>,
}

impl CachePool {
    /// Returns an empty pool; `limit` is in pages.
    pub(crate) fn new(
        shape: Shape,
        rope: RopeSpec,
        context: usize,
        limit: Option<usize>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shape,
            rope,
            context,
            limit,
            state: Mutex::default(),
        })
    }

    /// Returns an empty cache for one sequence; it holds no page yet.
    pub fn new_cache(self: &Arc<Self>) -> Cache {
        Cache {
            pool: Arc::clone(self),
            pages: Vec::new(),
            tokens: Vec::new(),
            capacity: self.context,
            rope_class: 0,
            adapters: AdapterKey::default(),
            device: DeviceCache::default(),
        }
    }

    /// Returns the tokens of a page, 128.
    pub fn page_tokens(&self) -> usize {
        PAGE
    }

    /// Returns how many pages may be in use at once; `None` for any number.
    pub fn pages_limit(&self) -> Option<usize> {
        self.limit
    }

    /// Returns how many pages caches and prefix caches hold; one that several share counts once.
    pub fn pages_in_use(&self) -> usize {
        self.state().in_use
    }

    /// Returns how many more pages may be taken; `None` for any number. Pages that a
    /// [`PrefixCache`](crate::PrefixCache) alone holds come besides, when they are needed.
    pub fn pages_free(&self) -> Option<usize> {
        self.limit.map(|limit| limit - self.state().in_use)
    }

    /// Returns the most pages that were in use at once.
    pub fn pages_peak(&self) -> usize {
        self.state().peak
    }

    /// Returns how many pages have memory, in use or not.
    pub fn pages_allocated(&self) -> usize {
        let state = self.state();
        state.in_use + state.free.len()
    }

    /// Returns the bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.shape.bytes_per_token() * PAGE
    }

    /// Gives the memory of pages that are not in use back to the system.
    pub fn shrink(&self) {
        let free = std::mem::take(&mut self.state().free);
        drop(free);
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns which frequencies the keys of a sequence of `len` tokens are turned with; `None` where
    /// they depend on how the sequence grew.
    pub(super) fn rope_class(&self, len: usize) -> Option<usize> {
        let class = length_class(&self.rope, len);
        let grown = class != 0 && matches!(self.rope.scaling, RopeScaling::Dynamic { .. });
        (!grown).then_some(class)
    }

    /// Lets an index give up pages when the pool has none left.
    pub(super) fn ask_first(&self, keeper: &Arc<Mutex<Index>>) {
        let mut state = self.state();
        state.keepers.retain(|k| k.strong_count() > 0);
        state.keepers.push(Arc::downgrade(keeper));
    }

    /// Returns `n` pages of any content, all or none.
    pub(super) fn take(self: &Arc<Self>, n: usize) -> Result<Vec<Page>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        self.make_room(n);
        let mut state = self.state();
        let free = self.limit.map_or(usize::MAX, |limit| limit - state.in_use);
        if n > free {
            return Err(Error::CacheFull {
                needed: n,
                free,
                limit: state.in_use + free,
            });
        }
        state.in_use += n;
        state.peak = state.peak.max(state.in_use);
        let kept = state.free.len() - n.min(state.free.len());
        let mut stores = state.free.split_off(kept);
        drop(state);
        while stores.len() < n {
            let Some(store) = Store::new(&self.shape) else {
                let mut state = self.state();
                state.in_use -= n;
                state.free.append(&mut stores);
                return Err(Error::CacheSize {
                    tokens: n * PAGE,
                    bytes: Some(n * self.page_bytes()),
                });
            };
            stores.push(store);
        }
        let page = |store| Page::new(store, Arc::clone(self));
        Ok(stores.into_iter().map(page).collect())
    }

    /// Has pages given up that nobody uses, as far as `n` are not free.
    fn make_room(&self, n: usize) {
        let Some(limit) = self.limit else { return };
        let short = |state: &State| (state.in_use + n).saturating_sub(limit);
        let state = self.state();
        if short(&state) == 0 || n > limit {
            return;
        }
        let keepers = state.keepers.clone();
        // Pages that are given up come back through `put`.
        drop(state);
        for keeper in keepers.iter().filter_map(Weak::upgrade) {
            let missing = short(&self.state());
            let pages = keeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .give_up(missing);
            drop(pages);
        }
    }

    /// Takes a page back.
    pub(super) fn put(&self, store: Store) {
        let mut state = self.state();
        state.in_use -= 1;
        state.free.push(store);
        if self.limit.is_none() {
            // What was needed once may never be needed again.
            let kept = state.in_use + KEPT_FREE;
            state.free.truncate(kept);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts and lists are whole between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
