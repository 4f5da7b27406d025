//! The keys and values of the tokens seen so far, in pages that sequences share.

mod index;
mod lines;
mod page;
mod pool;
mod prefix;
mod room;

use std::sync::Arc;

use ropewalk_kernels::Isa;
use ropewalk_kernels::attention::{AttentionShape, KvPage, Q8_BLOCK, store_keys, store_values};

use crate::adapter::{ActiveAdapter, AdapterKey};
use crate::device::DeviceCache;
use page::Page;
pub(crate) use page::{PAGE, Shape};
pub use pool::CachePool;
pub use prefix::PrefixCache;
pub(crate) use room::{Wanted, make_room};

use crate::{Error, Result};

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CacheType {
    /// 32-bit floats: exact, 4 bytes per value.
    F32,
    /// 16-bit floats: 2 bytes per value, as llama.cpp does by default.
    #[default]
    F16,
    /// Bytes with a half-precision factor for each 32 features of a head, as Q8_0 of GGML: 1.0625
    /// bytes per value. The last block of a head may be shorter, so any head size will do.
    Q8_0,
}

impl CacheType {
    /// Returns the bytes that one head takes at one position.
    fn bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * head_dim,
            Self::F16 => 2 * head_dim,
            Self::Q8_0 => head_dim + 2 * head_dim.div_ceil(Q8_BLOCK),
        }
    }
}

/// The state of one sequence: its tokens, and keys and values for each layer.
///
/// Tokens are appended by [`Model::forward`](crate::Model::forward). The memory is pages of 128
/// tokens from a [`CachePool`]; [`Model::new_cache`](crate::Model::new_cache) makes a pool without a
/// limit for each cache and its clones. Clones share pages until one of them writes.
#[derive(Debug)]
pub struct Cache {
    pool: Arc<CachePool>,
    /// Page `i` holds the positions from `i * PAGE`; no page lies behind the last token, but for
    /// those that a running pass will fill.
    pages: Vec<Arc<Page>>,
    tokens: Vec<u32>,
    capacity: usize,
    /// Which frequencies the stored keys were turned with; see [`crate::rope::length_class`].
    pub(crate) rope_class: usize,
    /// What the stored keys were computed with; it means nothing while there are none.
    pub(crate) adapters: AdapterKey,
    /// What is kept on devices.
    pub(crate) device: DeviceCache,
}

impl Clone for Cache {
    /// As [`Cache::fork`] with all tokens.
    fn clone(&self) -> Self {
        self.fork(self.len())
    }
}

impl Cache {
    /// Returns a cache with the first `len` tokens of this one, or all where it has fewer.
    ///
    /// Both share the pages; whichever first writes into the last one, where that is not full,
    /// takes a copy of it from the pool.
    #[must_use]
    pub fn fork(&self, len: usize) -> Self {
        let tokens = self.tokens[..len.min(self.len())].to_vec();
        Self {
            pool: Arc::clone(&self.pool),
            pages: self.pages[..tokens.len().div_ceil(PAGE)].to_vec(),
            tokens,
            capacity: self.capacity,
            rope_class: self.rope_class,
            adapters: self.adapters.clone(),
            device: self.device.clone(),
        }
    }

    /// Refuses a cache that this machine has no memory for.
    pub(crate) fn check_size(shape: &Shape, tokens: usize) -> Result<()> {
        let bytes = tokens.checked_next_multiple_of(PAGE).and_then(|n| {
            n.checked_mul(shape.kv_heads)?
                .checked_mul(shape.kind.bytes(shape.head_dim))
        });
        let whole = bytes
            .and_then(|bytes| bytes.checked_mul(2)?.checked_mul(shape.layers))
            .filter(|&whole| whole <= isize::MAX.cast_unsigned());
        // Pages come when they are used, so that all of them together may be larger than the memory;
        // a context of which one layer does not fit is a mistake.
        let room = bytes.is_some_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
        match whole {
            Some(_) if room => Ok(()),
            bytes => Err(Error::CacheSize { tokens, bytes }),
        }
    }

    /// Refuses a cache that was made for a model of another shape.
    pub(crate) fn check(&self, model: &Shape) -> Result<()> {
        let [found, wanted] =
            [self.pool.shape(), model].map(|s| [s.layers, s.kv_heads, s.head_dim]);
        if found == wanted {
            Ok(())
        } else {
            Err(Error::Cache { found, wanted })
        }
    }

    /// Returns the tokens whose keys and values are stored.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the number of stored tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns whether no token is stored.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Returns how many tokens fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the pool that the pages come from.
    pub fn pool(&self) -> &Arc<CachePool> {
        &self.pool
    }

    /// Returns how many pages this cache holds, its own and shared ones.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Returns whether a sequence with these adapters may go on from what is stored: it was computed
    /// with the same ones, in the same order and at the same scales, or nothing is stored.
    pub fn is_of(&self, adapters: &[ActiveAdapter]) -> bool {
        self.is_empty() || self.adapters == AdapterKey::of(adapters)
    }

    /// Returns the bytes that the stored tokens take.
    pub fn bytes(&self) -> usize {
        self.pool.shape().bytes_per_token() * self.len()
    }

    /// Forgets all but the first `len` tokens and gives back the pages of the others.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.pages.truncate(self.tokens.len().div_ceil(PAGE));
    }

    /// Forgets all tokens and gives back their pages.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Returns how many tokens at the beginning of `ids` are stored already.
    pub fn common_prefix(&self, ids: &[u32]) -> usize {
        self.tokens
            .iter()
            .zip(ids)
            .take_while(|(a, b)| a == b)
            .count()
    }

    /// Forgets all tokens but keeps the pages for a pass that computes them again.
    pub(crate) fn restart(&mut self) {
        self.tokens.clear();
    }

    /// Appends the tokens of a pass that has filled their pages.
    pub(crate) fn append(&mut self, ids: &[u32]) {
        self.tokens.extend_from_slice(ids);
    }

    /// Writes keys and values of a layer, `[n, kv_heads * head_dim]`, behind the stored tokens; the
    /// pages were given by [`make_room`].
    pub(crate) fn store(
        &mut self,
        layer: usize,
        isa: Isa,
        shape: &AttentionShape,
        mut keys: &[f32],
        mut values: &[f32],
    ) -> Result<()> {
        let width = shape.kv_heads * shape.head_dim;
        let mut at = self.len();
        while !keys.is_empty() {
            let (page, within) = (at / PAGE, at % PAGE);
            let n = ((PAGE - within) * width).min(keys.len());
            let full = Error::CacheFull {
                needed: 1,
                free: 0,
                limit: self.pages.len(),
            };
            let page = self.pages.get_mut(page).and_then(Arc::get_mut);
            let in_page = layer - self.pool.shape().on_devices;
            let (k, v) = page.ok_or(full)?.writing(in_page);
            let (now, later) = keys.split_at(n);
            store_keys(isa, shape, now, within, PAGE, k)?;
            keys = later;
            let (now, later) = values.split_at(n);
            store_values(isa, shape, now, within, PAGE, v)?;
            values = later;
            at += n / width;
        }
        Ok(())
    }

    /// Returns keys and values of a layer up to position `end`, page by page.
    pub(crate) fn reading(&self, layer: usize, end: usize) -> impl Iterator<Item = KvPage<'_>> {
        let pages = self.pages.iter().take(end.div_ceil(PAGE));
        let layer = layer - self.pool.shape().on_devices;
        pages.map(move |page| page.reading(layer))
    }
}

#[cfg(test)]
mod tests {
    use ropewalk_spec::ModelSpec;
    use ropewalk_spec::testing::TempDir;

    use super::*;

    #[test]
    fn contexts_without_memory_are_refused_by_size() {
        let dir = TempDir::new().unwrap();
        let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
            "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": false}"#;
        std::fs::write(dir.join("config.json"), config).unwrap();
        let spec = ModelSpec::from_dir(dir.path()).unwrap();
        for kind in [CacheType::F32, CacheType::F16, CacheType::Q8_0] {
            Cache::check_size(&Shape::new(&spec, kind), 128).unwrap();
            // More than an address space holds, and more than a number of bytes can be.
            for tokens in [1 << 50, usize::MAX / 2] {
                let e = Cache::check_size(&Shape::new(&spec, kind), tokens).unwrap_err();
                assert!(matches!(e, Error::CacheSize { .. }), "{e}");
                let start = format!("a context of {tokens} tokens needs ");
                assert!(e.to_string().starts_with(&start), "{e}");
            }
        }
    }
}
