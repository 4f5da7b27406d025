//! The keys and values of the tokens seen so far.

use ropewalk_kernels::attention::{CAPACITY_STEP, KvMut, KvRef, Q8_BLOCK};
use ropewalk_spec::ModelSpec;

use crate::adapter::{ActiveAdapter, AdapterKey};
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

/// Keys or values of one layer, as [`KvRef`] lays them out.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    F32(Vec<f32>),
    /// IEEE half-precision bits.
    F16(Vec<u16>),
    Q8_0 {
        values: Vec<i8>,
        scales: Vec<u16>,
    },
}

impl Store {
    // Zeroed pages are given by the system when first touched, so a long context costs memory
    // only as far as it is used.
    fn new(kind: CacheType, positions: usize, head_dim: usize) -> Self {
        let len = positions * head_dim;
        match kind {
            CacheType::F32 => Self::F32(vec![0.0; len]),
            CacheType::F16 => Self::F16(vec![0; len]),
            CacheType::Q8_0 => Self::Q8_0 {
                values: vec![0; len],
                scales: vec![0; positions * head_dim.div_ceil(Q8_BLOCK)],
            },
        }
    }

    /// Lends the values to attention.
    pub(crate) fn reading(&self) -> KvRef<'_> {
        match self {
            Self::F32(x) => KvRef::F32(x),
            Self::F16(x) => KvRef::F16(x),
            Self::Q8_0 { values, scales } => KvRef::Q8_0 { values, scales },
        }
    }

    /// Lends the values to what stores new ones.
    pub(crate) fn writing(&mut self) -> KvMut<'_> {
        match self {
            Self::F32(x) => KvMut::F32(x),
            Self::F16(x) => KvMut::F16(x),
            Self::Q8_0 { values, scales } => KvMut::Q8_0 { values, scales },
        }
    }

    /// Copies the first `used` of every `stride` positions into fresh pages.
    fn copy_used(&self, head_dim: usize, stride: usize, used: usize) -> Self {
        fn copy<T: Copy + Default>(from: &[T], each: usize, stride: usize, used: usize) -> Vec<T> {
            let mut to = vec![T::default(); from.len()];
            let heads = to
                .chunks_exact_mut(stride * each)
                .zip(from.chunks_exact(stride * each));
            heads.for_each(|(to, from)| to[..used * each].copy_from_slice(&from[..used * each]));
            to
        }
        match self {
            Self::F32(x) => Self::F32(copy(x, head_dim, stride, used)),
            Self::F16(x) => Self::F16(copy(x, head_dim, stride, used)),
            Self::Q8_0 { values, scales } => Self::Q8_0 {
                values: copy(values, head_dim, stride, used),
                scales: copy(scales, head_dim.div_ceil(Q8_BLOCK), stride, used),
            },
        }
    }
}

#[derive(Debug)]
pub(crate) struct LayerCache {
    pub(crate) k: Store,
    pub(crate) v: Store,
}

/// The state of one sequence: its tokens, and keys and values for each layer.
///
/// Tokens are appended in place by [`Model::forward`](crate::Model::forward).
#[derive(Debug)]
pub struct Cache {
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) tokens: Vec<u32>,
    capacity: usize,
    kv_heads: usize,
    head_dim: usize,
    bytes_per_token: usize,
    /// Which frequencies the stored keys were turned with; see [`crate::rope::length_class`].
    pub(crate) rope_class: usize,
    /// What the stored keys were computed with; it means nothing while there are none.
    pub(crate) adapters: AdapterKey,
}

impl Clone for Cache {
    /// Copies what is stored, not the room that is still free.
    fn clone(&self) -> Self {
        self.fork(self.len())
    }
}

impl Cache {
    /// Returns a cache with the first `len` tokens of this one.
    pub(crate) fn fork(&self, len: usize) -> Self {
        let tokens = self.tokens[..len.min(self.len())].to_vec();
        // Keys lie together in sixteens.
        let used = tokens.len().next_multiple_of(CAPACITY_STEP);
        let copy = |store: &Store| store.copy_used(self.head_dim, self.stride(), used);
        let layer = |l: &LayerCache| LayerCache {
            k: copy(&l.k),
            v: copy(&l.v),
        };
        Self {
            layers: self.layers.iter().map(layer).collect(),
            tokens,
            adapters: self.adapters.clone(),
            ..*self
        }
    }

    /// Refuses a cache that this machine has no memory for.
    pub(crate) fn check_size(spec: &ModelSpec, kind: CacheType, tokens: usize) -> Result<()> {
        let bytes = tokens
            .checked_next_multiple_of(CAPACITY_STEP)
            .and_then(|n| {
                n.checked_mul(spec.kv_heads)?
                    .checked_mul(kind.bytes(spec.head_dim))
            });
        let whole = bytes
            .and_then(|bytes| bytes.checked_mul(2)?.checked_mul(spec.layers))
            .filter(|&whole| whole <= isize::MAX.cast_unsigned());
        // The pages of a tensor come when they are used, so that all of them together may be
        // larger than the memory; asking for one is what would end the process.
        let room = bytes.is_some_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
        match whole {
            Some(_) if room => Ok(()),
            bytes => Err(Error::CacheSize { tokens, bytes }),
        }
    }

    pub(crate) fn new(spec: &ModelSpec, kind: CacheType, capacity: usize) -> Self {
        let positions = spec.kv_heads * capacity.next_multiple_of(CAPACITY_STEP);
        let layer = || LayerCache {
            k: Store::new(kind, positions, spec.head_dim),
            v: Store::new(kind, positions, spec.head_dim),
        };
        Self {
            layers: (0..spec.layers).map(|_| layer()).collect(),
            tokens: Vec::new(),
            capacity,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            bytes_per_token: 2 * kind.bytes(spec.head_dim) * spec.kv_heads * spec.layers,
            rope_class: 0,
            adapters: AdapterKey::default(),
        }
    }

    /// Refuses a cache that was made for a model of another shape.
    pub(crate) fn check(&self, spec: &ModelSpec) -> Result<()> {
        let found = [self.layers.len(), self.kv_heads, self.head_dim];
        let wanted = [spec.layers, spec.kv_heads, spec.head_dim];
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

    /// Returns the positions that each head has room for, whole sixteens.
    pub(crate) fn stride(&self) -> usize {
        self.capacity.next_multiple_of(CAPACITY_STEP)
    }

    /// Returns whether a sequence with these adapters may go on from what is stored: it was computed
    /// with the same ones, in the same order and at the same scales, or nothing is stored.
    pub fn is_of(&self, adapters: &[ActiveAdapter]) -> bool {
        self.is_empty() || self.adapters == AdapterKey::of(adapters)
    }

    /// Returns the bytes that the stored tokens take.
    pub fn bytes(&self) -> usize {
        self.bytes_for(self.len())
    }

    pub(crate) fn bytes_for(&self, tokens: usize) -> usize {
        self.bytes_per_token * tokens
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.tokens.clear();
    }

    /// Returns how many tokens at the beginning of `ids` are stored already.
    pub fn common_prefix(&self, ids: &[u32]) -> usize {
        self.tokens
            .iter()
            .zip(ids)
            .take_while(|(a, b)| a == b)
            .count()
    }
}

#[cfg(test)]
mod tests {
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
            Cache::check_size(&spec, kind, 128).unwrap();
            // More than an address space holds, and more than a number of bytes can be.
            for tokens in [1 << 50, usize::MAX / 2] {
                let e = Cache::check_size(&spec, kind, tokens).unwrap_err();
                assert!(matches!(e, Error::CacheSize { .. }), "{e}");
                let start = format!("a context of {tokens} tokens needs ");
                assert!(e.to_string().starts_with(&start), "{e}");
            }
        }
    }
}
