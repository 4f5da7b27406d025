//! Pages of sequences that ended, for those that begin alike.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index::{Index, Root};
use super::pool::CachePool;
use super::{Cache, PAGE};
use crate::adapter::{ActiveAdapter, AdapterKey};

/// Keeps the keys and values of sequences, so that a prompt that begins as one of them did runs only
/// from where they part.
///
/// Whole pages are found by their tokens and all before them; of the first page that differs, the
/// tokens in common are used too. Sequences with other adapters share nothing. Pages are given up,
/// least recently used first, when their pool has no other left or when there are more than
/// [`with_max_pages`](Self::with_max_pages) allows; those that a running sequence holds stay.
///
/// ```
/// # use std::sync::Arc;
/// # use ropewalk_local::{LoadOptions, Model};
/// use ropewalk_local::PrefixCache;
/// # use ropewalk_spec::{ModelSpec, testing::Seeded};
/// # let config = serde_json::json!({
/// #     "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 64,
/// #     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
/// #     "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu",
/// # });
/// # let spec = ModelSpec::from_hf(&config)?;
/// # let weights = Arc::new(Seeded::new(spec.clone(), 7).source());
/// # let model = Model::from_parts(spec, weights, &LoadOptions::default())?;
/// let pool = model.new_pool(4096)?;
/// let prefixes = PrefixCache::new(&pool);
/// let mut cache = pool.new_cache();
/// model.forward(&mut cache, &[&[7; 200][..], &[1, 2, 3]].concat())?;
/// prefixes.keep(&cache);
/// // Another prompt with the same beginning: its 200 tokens are there already.
/// let prompt = [&[7; 200][..], &[4, 5]].concat();
/// let mut cache = prefixes.find(&prompt, &[]);
/// assert_eq!(cache.len(), 200);
/// model.forward(&mut cache, &prompt[200..])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PrefixCache {
    pool: Arc<CachePool>,
    max_pages: usize,
    index: Arc<Mutex<Index>>,
}

impl PrefixCache {
    /// Returns an empty prefix cache for the caches of a pool.
    pub fn new(pool: &Arc<CachePool>) -> Self {
        let index = Arc::default();
        pool.ask_first(&index);
        Self {
            pool: Arc::clone(pool),
            max_pages: usize::MAX,
            index,
        }
    }

    /// Limits how many pages are kept; those that running sequences hold come besides where there are
    /// more. Without it the limit of the pool is the only one, so a pool without a limit needs this.
    #[must_use]
    pub fn with_max_pages(mut self, pages: usize) -> Self {
        self.max_pages = pages;
        self
    }

    /// Returns the pool of the pages.
    pub fn pool(&self) -> &Arc<CachePool> {
        &self.pool
    }

    /// Returns a cache with the longest beginning of `ids` that is kept for these adapters; an empty
    /// one where there is none.
    pub fn find(&self, ids: &[u32], adapters: &[ActiveAdapter]) -> Cache {
        let mut cache = self.pool.new_cache();
        cache.adapters = AdapterKey::of(adapters);
        let ids = &ids[..ids.len().min(cache.capacity)];
        let Some(rope_class) = self.pool.rope_class(ids.len()) else {
            return cache;
        };
        let root = Root {
            adapters: cache.adapters.clone(),
            rope_class,
        };
        // Pages do not hold what is on devices.
        if self.pool.shape().on_devices > 0 {
            return cache;
        }
        let (pages, found) = self.index().find(&root, ids);
        cache.rope_class = rope_class;
        cache.pages = pages;
        cache.tokens.extend_from_slice(&ids[..found]);
        cache
    }

    /// Keeps what a cache holds, also after the cache is gone. One that goes on takes a copy of its
    /// last page before it writes into it; [`keep_whole`](Self::keep_whole) spares it that.
    ///
    /// A cache of another pool is not kept, nor one of a model with layers on devices.
    pub fn keep(&self, cache: &Cache) {
        self.keep_first(cache, cache.len());
    }

    /// As [`keep`](Self::keep), but without the last page where it is not full: for a sequence that
    /// goes on.
    pub fn keep_whole(&self, cache: &Cache) {
        self.keep_first(cache, cache.len() / PAGE * PAGE);
    }

    fn keep_first(&self, cache: &Cache, len: usize) {
        let class = self.pool.rope_class(cache.len());
        let on_devices = self.pool.shape().on_devices > 0;
        if on_devices || !Arc::ptr_eq(&cache.pool, &self.pool) || class != Some(cache.rope_class) {
            return;
        }
        let root = Root {
            adapters: cache.adapters.clone(),
            rope_class: cache.rope_class,
        };
        let mut index = self.index();
        let pages = cache.tokens[..len].chunks(PAGE).zip(&cache.pages);
        let replaced = index.keep(&root, pages);
        let given_up = match index.len().checked_sub(self.max_pages) {
            Some(more) => index.give_up(more),
            None => Vec::new(),
        };
        drop(index);
        drop((replaced, given_up));
    }

    /// Returns how many pages are kept.
    pub fn pages(&self) -> usize {
        self.index().len()
    }

    /// Returns how many of them no sequence uses: they come back when the pool needs them.
    pub fn pages_unused(&self) -> usize {
        self.index().unused()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.index());
        drop(all);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A panic could only come from memory running out, which ends the process.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
