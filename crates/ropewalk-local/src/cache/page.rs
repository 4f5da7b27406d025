//! Pages: the keys and values of some consecutive positions in every layer.

use std::sync::Arc;

use ropewalk_kernels::attention::{CAPACITY_STEP, KvMut, KvPage, KvRef, PAGE_STEP, Q8_BLOCK};
use ropewalk_spec::ModelSpec;

use super::CacheType;
use super::lines::Lines;
use super::pool::CachePool;

/// Positions of a page: the span of the attention kernel, so that pages change no bit.
pub(crate) const PAGE: usize = PAGE_STEP;

/// What decides the size of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: CacheType,
    /// Layers whose keys and values are in pages.
    pub(crate) layers: usize,
    /// Those before them, whose keys and values are on devices.
    pub(crate) on_devices: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Shape {
    pub(crate) fn new(spec: &ModelSpec, kind: CacheType) -> Self {
        Self {
            kind,
            layers: spec.layers,
            on_devices: 0,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
        }
    }

    /// Says how many layers, from the first one on, keep nothing in pages.
    pub(crate) fn with_layers_on_devices(mut self, layers: usize) -> Self {
        self.layers -= layers;
        self.on_devices = layers;
        self
    }

    /// Returns the bytes of keys and values of one position in all layers.
    pub(crate) fn bytes_per_token(&self) -> usize {
        2 * self.kind.bytes(self.head_dim) * self.kv_heads * (self.layers + self.on_devices)
    }

    /// Returns the features of keys or values that a page holds for one layer.
    fn values(&self) -> usize {
        self.kv_heads * PAGE * self.head_dim
    }

    /// Returns the factors that [`CacheType::Q8_0`] has for them.
    fn factors(&self) -> usize {
        self.kv_heads * PAGE * self.head_dim.div_ceil(Q8_BLOCK)
    }
}

/// The memory of a page: `[layers, 2, kv_heads, ...]`, keys before values, each as
/// [`KvRef`] lays out [`PAGE`] positions.
#[derive(Debug)]
pub(super) enum Store {
    F32(Lines<f32>),
    /// IEEE half-precision bits.
    F16(Lines<u16>),
    Q8_0 {
        values: Lines<i8>,
        scales: Lines<u16>,
    },
}

impl Default for Store {
    fn default() -> Self {
        Self::F32(Lines::default())
    }
}

impl Store {
    /// Returns zeros, or nothing where there is no memory.
    pub(super) fn new(shape: &Shape) -> Option<Self> {
        let [values, factors] = [shape.values(), shape.factors()].map(|n| 2 * shape.layers * n);
        Some(match shape.kind {
            CacheType::F32 => Self::F32(Lines::new(values)?),
            CacheType::F16 => Self::F16(Lines::new(values)?),
            CacheType::Q8_0 => Self::Q8_0 {
                values: Lines::new(values)?,
                scales: Lines::new(factors)?,
            },
        })
    }
}

/// Returns part `index` of equal parts.
fn part<T>(x: &[T], index: usize, len: usize) -> &[T] {
    &x[index * len..][..len]
}

/// Returns keys and values of a layer.
fn pair<T>(x: &mut [T], layer: usize, len: usize) -> (&mut [T], &mut [T]) {
    x[2 * layer * len..][..2 * len].split_at_mut(len)
}

/// The keys and values of [`PAGE`] positions in all layers; they go back to their pool in the end.
#[derive(Debug)]
pub(crate) struct Page {
    store: Store,
    pool: Arc<CachePool>,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.store));
    }
}

impl Page {
    pub(super) fn new(store: Store, pool: Arc<CachePool>) -> Self {
        Self { store, pool }
    }

    /// Lends what a layer has to attention.
    pub(super) fn reading(&self, layer: usize) -> KvPage<'_> {
        let shape = self.pool.shape();
        let (n, f) = (shape.values(), shape.factors());
        let of = |index: usize| match &self.store {
            Store::F32(x) => KvRef::F32(part(x.all(), index, n)),
            Store::F16(x) => KvRef::F16(part(x.all(), index, n)),
            Store::Q8_0 { values, scales } => KvRef::Q8_0 {
                values: part(values.all(), index, n),
                scales: part(scales.all(), index, f),
            },
        };
        KvPage::new(of(2 * layer), of(2 * layer + 1))
    }

    /// Lends keys and values of a layer to what stores new ones.
    pub(super) fn writing(&mut self, layer: usize) -> (KvMut<'_>, KvMut<'_>) {
        let shape = self.pool.shape();
        let (n, f) = (shape.values(), shape.factors());
        match &mut self.store {
            Store::F32(x) => {
                let (k, v) = pair(x.all_mut(), layer, n);
                (KvMut::F32(k), KvMut::F32(v))
            }
            Store::F16(x) => {
                let (k, v) = pair(x.all_mut(), layer, n);
                (KvMut::F16(k), KvMut::F16(v))
            }
            Store::Q8_0 { values, scales } => {
                let (k, v) = pair(values.all_mut(), layer, n);
                let (k_scales, v_scales) = pair(scales.all_mut(), layer, f);
                let of = |values, scales| KvMut::Q8_0 { values, scales };
                (of(k, k_scales), of(v, v_scales))
            }
        }
    }

    /// Copies the first `used` positions of another page of the same pool.
    pub(super) fn copy_from(&mut self, from: &Self, used: usize) {
        let dim = self.pool.shape().head_dim;
        // Keys lie together in sixteens.
        let used = used.next_multiple_of(CAPACITY_STEP);
        match (&mut self.store, &from.store) {
            (Store::F32(to), Store::F32(from)) => copy(to, from, dim, used),
            (Store::F16(to), Store::F16(from)) => copy(to, from, dim, used),
            (
                Store::Q8_0 { values, scales },
                Store::Q8_0 {
                    values: from,
                    scales: from_scales,
                },
            ) => {
                copy(values, from, dim, used);
                copy(scales, from_scales, dim.div_ceil(Q8_BLOCK), used);
            }
            // Pages of one pool are of one kind.
            _ => {}
        }
    }
}

/// Copies the first `used` of the [`PAGE`] positions of every head, `each` elements a position.
fn copy<T: Copy + Default>(to: &mut Lines<T>, from: &Lines<T>, each: usize, used: usize) {
    let heads = to
        .all_mut()
        .chunks_exact_mut(PAGE * each)
        .zip(from.all().chunks_exact(PAGE * each));
    heads.for_each(|(to, from)| to[..used * each].copy_from_slice(&from[..used * each]));
}
