//! The keys and values of the tokens seen so far.

use ropewalk_spec::ModelSpec;

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
}

impl CacheType {
    /// Returns the bytes of a value.
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// One tensor of the cache, `[kv_heads, capacity, head_dim]`.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    F32(Vec<f32>),
    /// IEEE half-precision bits.
    F16(Vec<u16>),
}

impl Store {
    // Zeroed pages are given by the system when first touched, so a long context costs memory
    // only as far as it is used.
    fn new(kind: CacheType, len: usize) -> Self {
        match kind {
            CacheType::F32 => Self::F32(vec![0.0; len]),
            CacheType::F16 => Self::F16(vec![0; len]),
        }
    }

    /// Copies the first `used` of every `stride` values into fresh pages.
    fn copy_used(&self, stride: usize, used: usize) -> Self {
        fn copy<T: Copy>(from: &[T], mut to: Vec<T>, stride: usize, used: usize) -> Vec<T> {
            let heads = to.chunks_exact_mut(stride).zip(from.chunks_exact(stride));
            heads.for_each(|(to, from)| to[..used].copy_from_slice(&from[..used]));
            to
        }
        match self {
            Self::F32(x) => Self::F32(copy(x, vec![0.0; x.len()], stride, used)),
            Self::F16(x) => Self::F16(copy(x, vec![0; x.len()], stride, used)),
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
        let (stride, used) = (self.capacity * self.head_dim, tokens.len() * self.head_dim);
        let layer = |l: &LayerCache| LayerCache {
            k: l.k.copy_used(stride, used),
            v: l.v.copy_used(stride, used),
        };
        Self {
            layers: self.layers.iter().map(layer).collect(),
            tokens,
            ..*self
        }
    }

    /// Refuses a cache that this machine has no memory for.
    pub(crate) fn check_size(spec: &ModelSpec, kind: CacheType, tokens: usize) -> Result<()> {
        let per_tensor = [spec.kv_heads, spec.head_dim, kind.bytes(), tokens];
        let bytes = per_tensor.into_iter().try_fold(1usize, usize::checked_mul);
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
        let width = spec.kv_heads * spec.head_dim;
        let layer = || LayerCache {
            k: Store::new(kind, width * capacity),
            v: Store::new(kind, width * capacity),
        };
        Self {
            layers: (0..spec.layers).map(|_| layer()).collect(),
            tokens: Vec::new(),
            capacity,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            bytes_per_token: 2 * kind.bytes() * width * spec.layers,
            rope_class: 0,
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
        for kind in [CacheType::F32, CacheType::F16] {
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
