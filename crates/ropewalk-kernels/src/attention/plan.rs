//! Cuts an attention call into units of work. No cut changes a result.
use std::sync::atomic::AtomicUsize;

use super::{AttentionShape, Sequence};

/// Keys of one span; spans begin at multiples of it.
pub(super) const SPAN: usize = 128;
/// Rows (queries times heads of a group) that share a pass over keys and values.
const ROWS: usize = 64;
/// Units per thread below which tiles are split along the keys.
const UNITS: usize = 8;

/// Some queries of one sequence and key head, and the spans of keys they meet.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) seq: usize,
    pub(super) kv_head: usize,
    /// First query and number of queries.
    pub(super) query: usize,
    pub(super) queries: usize,
    /// First span and the one after the last.
    pub(super) span: usize,
    pub(super) end: usize,
    pub(super) split: Option<Split>,
}

/// The place of a unit whose tile is split along the keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    /// Partial results of this unit's first span, in floats.
    pub(super) partials: usize,
    /// Partial results of the tile's first span.
    pub(super) first: usize,
    /// The tile's counter of unfinished units.
    pub(super) pending: usize,
    /// The spans of the whole tile.
    pub(super) span: usize,
    pub(super) end: usize,
}

/// Returns the first position a query at `pos` sees.
pub(super) fn window_start(shape: &AttentionShape, pos: usize) -> usize {
    shape
        .window
        .map_or(0, |window| (pos + 1).saturating_sub(window))
}

/// Returns the floats that the partial results of one span take: per row a maximum, a sum and
/// `head_dim` weighted values.
pub(super) fn partial_len(rows: usize, head_dim: usize) -> usize {
    rows * (head_dim + 2)
}

/// Lists the units of a call, biggest tiles of each sequence last, and for each tile that is split
/// how many units it has; returns the floats that partial results take.
pub(super) fn plan(
    shape: &AttentionShape,
    seqs: &[Sequence<'_>],
    threads: usize,
    units: &mut Vec<Unit>,
    pending: &mut Vec<AtomicUsize>,
) -> usize {
    let group = shape.q_heads / shape.kv_heads;
    let per_tile = (ROWS / group).max(1);
    let mut partials = 0;
    units.clear();
    pending.clear();
    let tiles: usize = seqs
        .iter()
        .map(|s| s.m.div_ceil(per_tile) * shape.kv_heads)
        .sum();
    // How many units each tile should give; 1 leaves tiles whole.
    let pieces = if threads == 1 {
        1
    } else {
        (UNITS * threads).div_ceil(tiles.max(1))
    };
    for (seq, s) in seqs.iter().enumerate() {
        for kv_head in 0..shape.kv_heads {
            for query in (0..s.m).step_by(per_tile) {
                let queries = per_tile.min(s.m - query);
                let span = window_start(shape, s.first_pos + query) / SPAN;
                let end = (s.first_pos + query + queries).div_ceil(SPAN);
                let pieces = pieces.min(end - span);
                let whole = Unit {
                    seq,
                    kv_head,
                    query,
                    queries,
                    span,
                    end,
                    split: None,
                };
                if pieces < 2 {
                    units.push(whole);
                    continue;
                }
                let (counter, first) = (pending.len(), partials);
                let each = partial_len(queries * group, shape.head_dim);
                pending.push(AtomicUsize::new(pieces));
                partials += (end - span) * each;
                for piece in 0..pieces {
                    let from = (end - span) * piece / pieces;
                    let to = (end - span) * (piece + 1) / pieces;
                    let split = Some(Split {
                        partials: first + from * each,
                        first,
                        pending: counter,
                        span,
                        end,
                    });
                    units.push(Unit {
                        span: span + from,
                        end: span + to,
                        split,
                        ..whole.clone()
                    });
                }
            }
        }
    }
    partials
}
