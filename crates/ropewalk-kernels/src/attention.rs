//! Causal attention with grouped key and value heads over a cache in place.
//!
//! A cache is one stretch of memory or pages of some hundred positions, each anywhere. Keys are cut
//! into spans of 128 at fixed positions, and a span never crosses a page, so pages change no bit. For each query a span gives its largest
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

/// What the lengths of pages are multiples of where a sequence has several: the positions that
/// attention takes together.
pub const PAGE_STEP: usize = plan::SPAN;

/// Features of a head that share a factor in [`KvRef::Q8_0`], as in `block_q8_0` of GGML; the last
/// block of a head may be shorter.
pub const Q8_BLOCK: usize = 32;

/// Keys or values of some positions, in one of the formats.
///
/// | elements | of keys | of values |
/// | --- | --- | --- |
/// | features | `[kv_heads, positions / 16, head_dim, 16]` | `[kv_heads, positions, head_dim]` |
/// | factors ([`KvRef::Q8_0`]) | `[kv_heads, positions / 16, blocks, 16]` | `[kv_heads, positions, blocks]` |
///
/// where `positions` is a multiple of [`CAPACITY_STEP`] and `blocks` is `head_dim / 32` rounded up.
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

    /// Returns whether there are so many values, and factors where there are any.
    fn holds(&self, values: usize, factors: usize) -> bool {
        match self {
            Self::F32(x) => x.len() >= values,
            Self::F16(x) => x.len() >= values,
            Self::Q8_0 { values: x, scales } => x.len() >= values && scales.len() >= factors,
        }
    }
}

/// Keys and values of a stretch of positions of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct KvPage<'a> {
    /// The keys.
    pub k: KvRef<'a>,
    /// The values.
    pub v: KvRef<'a>,
}

impl<'a> KvPage<'a> {
    /// Returns a page of these keys and values.
    #[must_use]
    pub fn new(k: KvRef<'a>, v: KvRef<'a>) -> Self {
        Self { k, v }
    }
}

/// One sequence of an attention call.
#[derive(Debug)]
pub struct AttentionSeq<'a> {
    /// Queries `[m, q_heads * head_dim]`.
    pub q: &'a [f32],
    /// Position of the first query; query `i` sees the positions up to `first_pos + i`.
    pub first_pos: usize,
    /// Keys and values, page `i` for the positions from `i * page_len`, filled up to the last
    /// query's position. Pages without a position that a query sees may be anything of that size.
    pub pages: &'a [KvPage<'a>],
    /// Positions of each page: a multiple of [`PAGE_STEP`], or of [`CAPACITY_STEP`] where there is
    /// only one page.
    pub page_len: usize,
    /// Output `[m, q_heads * head_dim]`.
    pub out: &'a mut [f32],
}

/// Memory that attention reuses from call to call.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    seqs: Vec<Sequence<'static>>,
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
#[derive(Debug)]
pub(crate) struct Sequence<'a> {
    q: &'a [f32],
    m: usize,
    first_pos: usize,
    pages: &'a [KvPage<'a>],
    page_len: usize,
    out: *mut f32,
}

// SAFETY: tasks write disjoint rows and heads of `out`.
unsafe impl Sync for Sequence<'_> {}
// SAFETY: as above; between calls the scratch memory holds no sequence.
unsafe impl Send for Sequence<'_> {}

/// Computes attention for the queries of one sequence, whose cache is one page.
///
/// # Shapes
/// - `q`, `out`: `[m, q_heads * head_dim]`; query `i` has position `first_pos + i`
/// - `k`, `v`: as [`KvRef`] says for `capacity` positions, filled up to the last query's position
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
        pages: &[KvPage::new(k, v)],
        page_len: capacity,
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
/// [`Error::Length`] when heads do not divide, a slice does not fit its shape, the length of pages
/// is no multiple as [`AttentionSeq::page_len`] says or a query lies beyond the last page; nothing
/// is written then.
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
    let mut checked: Vec<Sequence<'_>> = recycle(std::mem::take(&mut scratch.seqs));
    for seq in seqs.iter_mut() {
        checked.push(check_sequence(shape, width, seq)?);
    }
    let seqs = checked;
    let AttentionScratch {
        seqs: kept,
        units,
        partials,
        pending,
    } = scratch;
    let floats = plan::plan(shape, &seqs, pool.threads().get(), units, pending);
    if partials.len() < floats {
        partials.resize(floats, 0.0);
    }
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
    *kept = recycle(seqs);
    Ok(())
}

/// Returns an empty vector over the same memory, for what differs in lifetimes alone: the standard
/// library collects in place what has the same size and alignment.
fn recycle<'a>(mut seqs: Vec<Sequence<'_>>) -> Vec<Sequence<'a>> {
    seqs.clear();
    seqs.into_iter().map_while(|_| None).collect()
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
    let (pages, page_len) = (seq.pages, seq.page_len);
    let step = if pages.len() == 1 {
        CAPACITY_STEP
    } else {
        PAGE_STEP
    };
    if !page_len.is_multiple_of(step) || page_len == 0 {
        let needed = page_len.max(1).checked_next_multiple_of(step);
        return Err(Error::Length {
            what: "attention page",
            needed: needed.unwrap_or(step),
            found: page_len,
        });
    }
    let end = seq.first_pos.saturating_add(m);
    let capacity = pages.len().saturating_mul(page_len);
    if end > capacity {
        return Err(Error::Length {
            what: "attention cache",
            needed: end,
            found: capacity,
        });
    }
    let positions = shape.kv_heads.saturating_mul(page_len);
    let values = positions.saturating_mul(shape.head_dim);
    let factors = positions.saturating_mul(shape.head_dim.div_ceil(Q8_BLOCK));
    for (what, found) in pages
        .iter()
        .flat_map(|p| [("attention keys", &p.k), ("attention values", &p.v)])
    {
        if !found.holds(values, factors) {
            return Err(Error::Length {
                what,
                needed: positions,
                found: found.positions(shape.head_dim),
            });
        }
    }
    Ok(Sequence {
        q: seq.q,
        m,
        first_pos: seq.first_pos,
        pages,
        page_len,
        out: seq.out.as_mut_ptr(),
    })
}
