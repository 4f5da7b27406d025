//! Writing keys and values into a cache.
use super::AttentionShape;
use crate::{Error, Isa, ops};

/// A cache of keys or values for writing, `[kv_heads, capacity, head_dim]`.
#[derive(Debug)]
#[non_exhaustive]
pub enum KvMut<'a> {
    /// 32-bit floats.
    F32(&'a mut [f32]),
    /// Bits of IEEE half-precision floats.
    F16(&'a mut [u16]),
}

/// Writes the keys (or values) of consecutive positions into a cache; halves are rounded to
/// nearest even.
///
/// # Shapes
/// - `rows`: `[m, kv_heads * head_dim]`, for the positions from `first_pos`
/// - `cache`: `[kv_heads, capacity, head_dim]`
///
/// # Errors
/// [`Error::Length`] when `rows` is not whole rows, they do not fit behind `first_pos`, or the
/// cache is shorter than its shape; nothing is written then.
pub fn kv_store(
    isa: Isa,
    shape: &AttentionShape,
    rows: &[f32],
    first_pos: usize,
    capacity: usize,
    cache: KvMut<'_>,
) -> Result<(), Error> {
    let AttentionShape {
        kv_heads, head_dim, ..
    } = *shape;
    let width = kv_heads.saturating_mul(head_dim);
    if !rows.len().is_multiple_of(width) {
        let needed = rows.len().checked_next_multiple_of(width).unwrap_or(0);
        return Err(Error::Length {
            what: "cache rows",
            needed,
            found: rows.len(),
        });
    }
    if width == 0 {
        return Ok(());
    }
    let end = first_pos.saturating_add(rows.len() / width);
    if end > capacity {
        return Err(Error::Length {
            what: "cache capacity",
            needed: end,
            found: capacity,
        });
    }
    let needed = width.saturating_mul(capacity);
    let found = match &cache {
        KvMut::F32(cache) => cache.len(),
        KvMut::F16(cache) => cache.len(),
    };
    if found < needed {
        return Err(Error::Length {
            what: "cache",
            needed,
            found,
        });
    }
    let place = |i: usize, head: usize| (head * capacity + first_pos + i) * head_dim;
    match cache {
        KvMut::F32(cache) => {
            for (i, row) in rows.chunks_exact(width).enumerate() {
                for (head, x) in row.chunks_exact(head_dim).enumerate() {
                    cache[place(i, head)..][..head_dim].copy_from_slice(x);
                }
            }
        }
        KvMut::F16(cache) => {
            for (i, row) in rows.chunks_exact(width).enumerate() {
                for (head, x) in row.chunks_exact(head_dim).enumerate() {
                    ops::f32_to_f16(isa, x, &mut cache[place(i, head)..][..head_dim])?;
                }
            }
        }
    }
    Ok(())
}
