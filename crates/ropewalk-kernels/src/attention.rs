//! Causal attention with grouped key and value heads over a cache in place.
//!
//! Keys are cut into spans of 128 at fixed positions. For each query a span gives its largest
//! score, the sum of exponentials and the weighted values; spans are merged in order with a running
//! maximum (Milakov and Gimelshein 2018; Dao et al. 2022, FlashAttention). The arithmetic of a
//! query depends on the tier, the query and the cache alone: decode, prefill, any batch and any
//! number of threads give the same bits.
#![allow(unsafe_code, reason = "threads write disjoint rows of one output")]

mod few;
mod format;
mod plan;
mod rows;
mod span;
mod store;
#[cfg(test)]
mod tests;
mod widen;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::shared::Shared;
use crate::{Error, Isa, Pool};
use plan::Unit;
pub use store::{KvMut, store_keys, store_values};

/// The heads of an attention layer and how scores are formed: for query `i` and key `j`, both of
/// one head, `softcap(scale * q_i . k_j)`.
///
/// ```
/// use ropewalk_kernels::attention::AttentionShape;
///
/// // Gemma 2: heads of 256 features, scores scaled by 1 / 16 and bounded by 50, a window of 4,096.
/// let shape = AttentionShape::new(8, 4, 256)
///     .with_scale(1.0 / 16.0)
///     .with_softcap(Some(50.0))
///     .with_window(Some(4096));
/// assert_eq!(shape.softcap, Some(50.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionShape {
    /// Query heads, a multiple of `kv_heads`; query head `h` reads key head
    /// `h / (q_heads / kv_heads)`.
    pub q_heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features of each head.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Number of positions a query sees, its own included; `None` for all.
    pub window: Option<usize>,
    /// With `Some(c)`, a scaled score `s` becomes `c tanh(s / c)` before any is hidden (Gemma 2
    /// report, section 2; `modeling_gemma2.py::eager_attention_forward`).
    pub softcap: Option<f32>,
}

impl AttentionShape {
    /// Returns a layer that sees all positions, with scores divided by `sqrt(head_dim)`.
    #[must_use]
    pub fn new(q_heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self {
            q_heads,
            kv_heads,
            head_dim,
            scale,
            window: None,
            softcap: None,
        }
    }

    /// Replaces the factor of the scores, which [`Self::new`] sets to `1 / sqrt(head_dim)`.
    #[must_use]
    pub fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Lets a query see `window` positions, its own included.
    #[must_use]
    pub fn with_window(self, window: Option<usize>) -> Self {
        Self { window, ..self }
    }

    /// Bounds the scores to `-cap..=cap`; `None` leaves them as they are.
    #[must_use]
    pub fn with_softcap(self, softcap: Option<f32>) -> Self {
        Self { softcap, ..self }
    }
}

/// What capacities are multiples of: positions whose keys lie together.
pub const CAPACITY_STEP: usize = crate::micro::PANEL;

/// Features of a head that share a factor in [`KvRef::Q8_0`], as in `block_q8_0` of GGML; the last
/// block of a head may be shorter.
pub const Q8_BLOCK: usize = 32;

/// A cache of keys or values in one of the formats.
///
/// | elements | of keys | of values |
/// | --- | --- | --- |
/// | features | `[kv_heads, capacity / 16, head_dim, 16]` | `[kv_heads, capacity, head_dim]` |
/// | factors ([`KvRef::Q8_0`]) | `[kv_heads, capacity / 16, blocks, 16]` | `[kv_heads, capacity, blocks]` |
///
/// where `capacity` is a multiple of [`CAPACITY_STEP`] and `blocks` is `head_dim / 32` rounded up.
/// Sixteen keys lie feature by feature, so that a vector holds one feature of each and scores need
/// no transposition; [`store_keys`] and [`store_values`] write both layouts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum KvRef<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// Bits of IEEE half-precision floats.
    F16(&'a [u16]),
    /// Bytes times a factor for each block of [`Q8_BLOCK`] features: 8.5 bits a value. The product
    /// is an f32 without rounding, so attention gives the bits of an f32 cache that holds it.
    Q8_0 {
        /// The bytes.
        values: &'a [i8],
        /// Bits of half-precision factors.
        scales: &'a [u16],
    },
}

impl KvRef<'_> {
    /// Returns how many positions of how many heads are there.
    fn positions(&self, head_dim: usize) -> usize {
        match self {
            Self::F32(x) => x.len() / head_dim,
            Self::F16(x) => x.len() / head_dim,
            Self::Q8_0 { values, scales } => {
                let blocks = head_dim.div_ceil(Q8_BLOCK);
                (values.len() / head_dim).min(scales.len() / blocks)
            }
        }
    }
}

/// One sequence of an attention call.
#[derive(Debug)]
pub struct AttentionSeq<'a> {
    /// Queries `[m, q_heads * head_dim]`.
    pub q: &'a [f32],
    /// Position of the first query; query `i` sees the positions up to `first_pos + i`.
    pub first_pos: usize,
    /// Keys, filled up to the last query's position.
    pub k: KvRef<'a>,
    /// Values, filled likewise.
    pub v: KvRef<'a>,
    /// Positions the cache has room for, a multiple of [`CAPACITY_STEP`].
    pub capacity: usize,
    /// Output `[m, q_heads * head_dim]`.
    pub out: &'a mut [f32],
}

/// Memory that attention reuses from call to call.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    units: Vec<Unit>,
    partials: Vec<f32>,
    /// Units of each split tile that are not finished.
    pending: Vec<AtomicUsize>,
}

impl AttentionScratch {
    /// Returns empty scratch memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// A sequence as the tasks see it: checked extents, raw output.
pub(crate) struct Sequence<'a> {
    q: &'a [f32],
    m: usize,
    first_pos: usize,
    k: KvRef<'a>,
    v: KvRef<'a>,
    capacity: usize,
    out: *mut f32,
}

// SAFETY: tasks write disjoint rows and heads of `out`.
unsafe impl Sync for Sequence<'_> {}

/// Computes attention for the queries of one sequence.
///
/// # Shapes
/// - `q`, `out`: `[m, q_heads * head_dim]`; query `i` has position `first_pos + i`
/// - `k`, `v`: as [`KvRef`] says, filled up to the last query's position
///
/// # Errors
/// As [`attention_batch`].
#[expect(clippy::too_many_arguments, reason = "the operands of one sequence")]
pub fn attention(
    pool: &Pool,
    isa: Isa,
    shape: &AttentionShape,
    q: &[f32],
    first_pos: usize,
    k: KvRef<'_>,
    v: KvRef<'_>,
    capacity: usize,
    out: &mut [f32],
    scratch: &mut AttentionScratch,
) -> Result<(), Error> {
    let mut seqs = [AttentionSeq {
        q,
        first_pos,
        k,
        v,
        capacity,
        out,
    }];
    attention_batch(pool, isa, shape, &mut seqs, scratch)
}

/// Computes attention for several sequences in one phase of the pool.
///
/// For one tier each output row is bit-identical for any number of threads and of queries per call
/// and any other sequences beside it. Keys and values that a query does not see have no influence
/// on its row, not even NaNs and infinities.
///
/// # Errors
/// [`Error::Length`] when heads do not divide, a slice does not fit its shape, the capacity is no
/// multiple of [`CAPACITY_STEP`] or a query lies beyond the cache; nothing is written then.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ropewalk_kernels::attention::{
///     AttentionScratch, AttentionShape, KvMut, KvRef, attention, store_keys, store_values,
/// };
/// use ropewalk_kernels::{Isa, Pool};
///
/// let pool = Pool::new(NonZeroUsize::MIN);
/// let shape = AttentionShape::new(2, 1, 8);
/// // A cache for 16 positions. The first has the only key, so both heads give its value.
/// let (mut k, mut v) = ([0.0; 128], [0.0; 128]);
/// store_keys(Isa::best(), &shape, &[0.1; 8], 0, 16, KvMut::F32(&mut k))?;
/// store_values(Isa::best(), &shape, &[7.0; 8], 0, 16, KvMut::F32(&mut v))?;
/// let (q, mut out) = ([0.3; 16], [0.0; 16]);
/// let (k, v, mut scratch) = (KvRef::F32(&k), KvRef::F32(&v), AttentionScratch::new());
/// attention(&pool, Isa::best(), &shape, &q, 0, k, v, 16, &mut out, &mut scratch)?;
/// assert_eq!(out, [7.0; 16]);
/// # Ok::<(), ropewalk_kernels::Error>(())
/// ```
pub fn attention_batch(
    pool: &Pool,
    isa: Isa,
    shape: &AttentionShape,
    seqs: &mut [AttentionSeq<'_>],
    scratch: &mut AttentionScratch,
) -> Result<(), Error> {
    let isa = isa.usable();
    let width = check_shape(shape)?;
    let seqs: Vec<Sequence<'_>> = seqs
        .iter_mut()
        .map(|seq| check_sequence(shape, width, seq))
        .collect::<Result<_, Error>>()?;
    let AttentionScratch {
        units,
        partials,
        pending,
    } = scratch;
    let split = plan::plan(shape, &seqs, pool.threads().get(), units);
    if partials.len() < split.partials {
        partials.resize(split.partials, 0.0);
    }
    pending.clear();
    pending.extend(split.pending.into_iter().map(AtomicUsize::new));
    let (units, pending, partials) = (&*units, &*pending, Shared(partials.as_mut_ptr()));
    pool.run(units.len(), &|i| {
        let unit = &units[i];
        let work = span::Work::new(isa, shape, &seqs[unit.seq], unit);
        // SAFETY: `isa` is available, the extents were checked, the plan gives each unit its own
        // rows of the output or its own part of the partial results, and the last unit of a tile
        // reads the others' after it has seen their releases.
        unsafe {
            match unit.split {
                None => work.whole(),
                Some(split) => {
                    work.part(partials.at(split.partials));
                    if pending[split.pending].fetch_sub(1, Ordering::AcqRel) == 1 {
                        work.merge(partials.at(split.first));
                    }
                }
            }
        }
    });
    Ok(())
}

/// Returns the width of a query row.
fn check_shape(shape: &AttentionShape) -> Result<usize, Error> {
    let AttentionShape {
        q_heads,
        kv_heads,
        head_dim,
        window,
        ..
    } = *shape;
    if window == Some(0) {
        // A query sees itself at least.
        return Err(Error::Length {
            what: "attention window",
            needed: 1,
            found: 0,
        });
    }
    if kv_heads == 0 || q_heads == 0 || q_heads % kv_heads != 0 {
        let needed = q_heads
            .checked_next_multiple_of(kv_heads)
            .unwrap_or(1)
            .max(1);
        return Err(Error::Length {
            what: "query heads",
            needed,
            found: q_heads,
        });
    }
    match q_heads.checked_mul(head_dim) {
        Some(width) if width > 0 => Ok(width),
        _ => Err(Error::Length {
            what: "attention head",
            needed: 1,
            found: head_dim,
        }),
    }
}

fn check_sequence<'a>(
    shape: &AttentionShape,
    width: usize,
    seq: &'a mut AttentionSeq<'_>,
) -> Result<Sequence<'a>, Error> {
    let same = |what, needed, found| {
        if needed == found {
            Ok(())
        } else {
            Err(Error::Length {
                what,
                needed,
                found,
            })
        }
    };
    let m = seq.q.len() / width;
    same("attention queries", m * width, seq.q.len())?;
    same("attention output", seq.q.len(), seq.out.len())?;
    let end = seq.first_pos.saturating_add(m);
    if end > seq.capacity || !seq.capacity.is_multiple_of(CAPACITY_STEP) {
        let needed = end.max(seq.capacity);
        return Err(Error::Length {
            what: "attention cache",
            needed: needed
                .checked_next_multiple_of(CAPACITY_STEP)
                .unwrap_or(needed),
            found: seq.capacity,
        });
    }
    let needed = shape.kv_heads.saturating_mul(seq.capacity);
    for (what, found) in [
        ("attention keys", seq.k.positions(shape.head_dim)),
        ("attention values", seq.v.positions(shape.head_dim)),
    ] {
        if found < needed {
            return Err(Error::Length {
                what,
                needed,
                found,
            });
        }
    }
    Ok(Sequence {
        q: seq.q,
        m,
        first_pos: seq.first_pos,
        k: seq.k,
        v: seq.v,
        capacity: seq.capacity,
        out: seq.out.as_mut_ptr(),
    })
}
