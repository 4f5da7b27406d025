//! Attention in both directions over ragged sequences, as encoders need it.
//!
//! A task takes one head of one sequence (of long ones, some hundred queries): keys are turned into
//! panels of 16, scores are one product per block of queries, each row becomes weights at once
//! (Vaswani et al. 2017, eq. 1), and a second product weighs the values. Rows lie as a projection
//! wrote them, so queries, keys and values may be columns of one matrix, and nothing is padded to
//! the longest sequence. The arithmetic of a query depends on the tier and its sequence alone.
#![allow(unsafe_code, reason = "threads write disjoint rows of one output")]

mod task;
#[cfg(test)]
mod tests;

use crate::shared::Shared;
use crate::{Error, Isa, Pool};
use task::Task;

/// The heads of a bidirectional attention layer and how scores are formed: `scale * q_i . k_j` for
/// query `i` and key `j` of one head.
///
/// ```
/// use ropewalk_kernels::bidirectional::BidirectionalShape;
///
/// // A local layer of ModernBERT: 12 heads of 64 features, 64 positions seen on each side.
/// let shape = BidirectionalShape::new(12, 64).with_window(Some(64));
/// assert_eq!((shape.kv_heads, shape.scale), (12, 0.125));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BidirectionalShape {
    /// Query heads, a multiple of `kv_heads`; query head `h` reads key head
    /// `h / (q_heads / kv_heads)`.
    pub q_heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features of each head.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Positions a query sees on each side of its own; `None` for the whole sequence.
    pub window: Option<usize>,
}

impl BidirectionalShape {
    /// Returns a layer of `heads` heads that sees the whole sequence, with scores divided by
    /// `sqrt(head_dim)`.
    #[must_use]
    pub fn new(heads: usize, head_dim: usize) -> Self {
        Self {
            q_heads: heads,
            kv_heads: heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            window: None,
        }
    }

    /// Lets groups of query heads share `kv_heads` key and value heads (Ainslie et al. 2023, GQA).
    #[must_use]
    pub fn with_kv_heads(self, kv_heads: usize) -> Self {
        Self { kv_heads, ..self }
    }

    /// Replaces the factor of the scores, which [`Self::new`] sets to `1 / sqrt(head_dim)`.
    #[must_use]
    pub fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Lets a query see `window` positions on each side (Warner et al. 2024, ModernBERT: half of
    /// `local_attention`).
    #[must_use]
    pub fn with_window(self, window: Option<usize>) -> Self {
        Self { window, ..self }
    }
}

/// Rows of features of all tokens: row `t` begins `t * stride` elements into `data`.
///
/// Of a projection `[tokens, 3 * hidden]` to queries, keys and values, the keys are
/// `Rows::new(&qkv[hidden..], 3 * hidden)`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Returns the rows that begin at `data`, `stride` elements apart.
    #[must_use]
    pub fn new(data: &'a [f32], stride: usize) -> Self {
        Self { data, stride }
    }
}

/// Attends within each sequence: `out_i = sum_j softmax_j(scale * q_i . k_j) v_j`.
///
/// Sequences lie one after the other, `lens[s]` tokens each, without padding; a sequence may be
/// empty. A query's output is the same, bit for bit, whatever the other sequences and the number of
/// threads. A key or value that is not a finite number spoils outputs of its sequence, also those of
/// queries whose window ends before it.
///
/// # Shapes
/// with `tokens` the sum of `lens`
/// - `q`: `[tokens, q_heads * head_dim]`; `k`, `v`: `[tokens, kv_heads * head_dim]`
/// - `out`: `[tokens, q_heads * head_dim]`, without gaps
///
/// # Errors
/// [`Error::Length`] when an operand is too short for its shape, `out` is not exactly as long, or
/// `kv_heads` does not divide `q_heads`.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ropewalk_kernels::bidirectional::{BidirectionalShape, Rows, bidirectional};
/// use ropewalk_kernels::{Isa, Pool};
///
/// let pool = Pool::new(NonZeroUsize::MIN);
/// let shape = BidirectionalShape::new(1, 2);
/// // Two sequences, of two tokens and of one; equal keys share their values evenly.
/// let (q, k) = ([1.0; 6], [0.5; 6]);
/// let v = [1.0, 2.0, 3.0, 4.0, 7.0, 8.0];
/// let mut out = [0.0; 6];
/// let rows = |x| Rows::new(x, 2);
/// bidirectional(&pool, Isa::best(), &shape, &[2, 1], rows(&q), rows(&k), rows(&v), &mut out)?;
/// assert_eq!(out, [2.0, 3.0, 2.0, 3.0, 7.0, 8.0]);
/// # Ok::<(), ropewalk_kernels::Error>(())
/// ```
#[expect(clippy::too_many_arguments, reason = "the operands of an attention")]
pub fn bidirectional(
    pool: &Pool,
    isa: Isa,
    shape: &BidirectionalShape,
    lens: &[usize],
    q: Rows<'_>,
    k: Rows<'_>,
    v: Rows<'_>,
    out: &mut [f32],
) -> Result<(), Error> {
    let tokens = check(shape, lens, [q, k, v], out.len())?;
    if tokens == 0 || out.is_empty() {
        return Ok(());
    }
    let task = Task {
        isa: isa.usable(),
        shape,
        q,
        k,
        v,
        out: Shared(out.as_mut_ptr()),
    };
    let mut units = Vec::new();
    let mut first = 0;
    for &len in lens {
        for query in (0..len).step_by(task::QUERIES) {
            let queries = task::QUERIES.min(len - query);
            units.push(task::Unit {
                first,
                len,
                query,
                queries,
            });
        }
        first += len;
    }
    pool.run(units.len() * shape.q_heads, &|i| {
        let (unit, head) = (units[i / shape.q_heads], i % shape.q_heads);
        // SAFETY: the operands were checked; a task writes the columns of its head in the rows of
        // its unit, which no other task has.
        unsafe { task.run(unit, head) };
    });
    Ok(())
}

/// Checks the operands and returns the number of tokens.
fn check(
    shape: &BidirectionalShape,
    lens: &[usize],
    [q, k, v]: [Rows<'_>; 3],
    out: usize,
) -> Result<usize, Error> {
    let too_long = |what| Error::Length {
        what,
        needed: usize::MAX,
        found: lens.len(),
    };
    let tokens = lens.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    let tokens = tokens.ok_or_else(|| too_long("bidirectional sequences"))?;
    if shape.kv_heads == 0 || !shape.q_heads.is_multiple_of(shape.kv_heads) {
        return Err(Error::Length {
            what: "bidirectional query heads per key head",
            needed: shape.kv_heads,
            found: shape.q_heads,
        });
    }
    let width = shape.q_heads.checked_mul(shape.head_dim);
    let width = width.ok_or_else(|| too_long("bidirectional heads"))?;
    let narrow = shape.kv_heads * shape.head_dim;
    for (what, rows, width) in [
        ("bidirectional q", q, width),
        ("bidirectional k", k, narrow),
        ("bidirectional v", v, narrow),
    ] {
        crate::sgemm::check_extent(what, rows.data.len(), rows.stride, tokens, width)?;
    }
    let needed = tokens.checked_mul(width);
    let needed = needed.ok_or_else(|| too_long("bidirectional out"))?;
    if out != needed {
        return Err(Error::Length {
            what: "bidirectional out",
            needed,
            found: out,
        });
    }
    Ok(tokens)
}
