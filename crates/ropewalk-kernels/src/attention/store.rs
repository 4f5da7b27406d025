//! Writing keys and values into a cache.
use super::{AttentionShape, CAPACITY_STEP, Q8_BLOCK};
use crate::simd::scalar;
use crate::{Error, Isa, ops};

/// A cache of keys or values for writing; [`KvRef`](super::KvRef) tells the layouts.
#[derive(Debug)]
#[non_exhaustive]
pub enum KvMut<'a> {
    /// 32-bit floats.
    F32(&'a mut [f32]),
    /// Bits of IEEE half-precision floats.
    F16(&'a mut [u16]),
    /// Bytes with a factor for each block of [`Q8_BLOCK`] features.
    Q8_0 {
        /// The bytes.
        values: &'a mut [i8],
        /// Bits of half-precision factors.
        scales: &'a mut [u16],
    },
}

/// Which of the two a cache holds.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Keys,
    Values,
}

/// Writes the keys of consecutive positions into a cache of keys.
///
/// Halves are rounded to nearest even. A block of [`Q8_BLOCK`] features becomes bytes
/// `round(x / s)` with the factor `s`, the largest magnitude over 127 rounded to half precision; a
/// block with a value that is not finite is read back as NaNs. All tiers store the same bits.
///
/// # Shapes
/// - `rows`: `[m, kv_heads * head_dim]`, for the positions from `first_pos`
/// - `cache`: as [`KvRef`](super::KvRef) says for keys
///
/// # Errors
/// [`Error::Length`] when `rows` is not whole rows, they do not fit behind `first_pos`, the
/// capacity is no multiple of [`CAPACITY_STEP`] or the cache is shorter than its shape; nothing is
/// written then.
pub fn store_keys(
    isa: Isa,
    shape: &AttentionShape,
    rows: &[f32],
    first_pos: usize,
    capacity: usize,
    cache: KvMut<'_>,
) -> Result<(), Error> {
    store(isa, Kind::Keys, shape, rows, first_pos, capacity, cache)
}

/// Writes the values of consecutive positions into a cache of values; as [`store_keys`].
///
/// # Errors
/// As [`store_keys`].
pub fn store_values(
    isa: Isa,
    shape: &AttentionShape,
    rows: &[f32],
    first_pos: usize,
    capacity: usize,
    cache: KvMut<'_>,
) -> Result<(), Error> {
    store(isa, Kind::Values, shape, rows, first_pos, capacity, cache)
}

fn store(
    isa: Isa,
    kind: Kind,
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
    if end > capacity || !capacity.is_multiple_of(CAPACITY_STEP) {
        let needed = end.max(capacity);
        return Err(Error::Length {
            what: "cache capacity",
            needed: needed
                .checked_next_multiple_of(CAPACITY_STEP)
                .unwrap_or(needed),
            found: capacity,
        });
    }
    let blocks = head_dim.div_ceil(Q8_BLOCK);
    let needed = width.saturating_mul(capacity);
    let lengths = match &cache {
        KvMut::F32(cache) => [(cache.len(), needed), (0, 0)],
        KvMut::F16(cache) => [(cache.len(), needed), (0, 0)],
        KvMut::Q8_0 { values, scales } => [
            (values.len(), needed),
            (
                scales.len(),
                kv_heads.saturating_mul(blocks).saturating_mul(capacity),
            ),
        ],
    };
    for (found, needed) in lengths {
        if found < needed {
            return Err(Error::Length {
                what: "cache",
                needed,
                found,
            });
        }
    }
    let place = Place {
        kind,
        first: first_pos,
        capacity,
    };
    let mut half = Vec::new();
    match cache {
        KvMut::F32(cache) => {
            for (row, x) in rows.chunks_exact(width).enumerate() {
                for (head, x) in x.chunks_exact(head_dim).enumerate() {
                    place.put(cache, x, head, row);
                }
            }
        }
        KvMut::F16(cache) => {
            half.resize(width, 0);
            for (row, x) in rows.chunks_exact(width).enumerate() {
                ops::f32_to_f16(isa, x, &mut half)?;
                for (head, x) in half.chunks_exact(head_dim).enumerate() {
                    place.put(cache, x, head, row);
                }
            }
        }
        KvMut::Q8_0 { values, scales } => {
            half.resize(blocks, 0);
            let mut bytes = vec![0i8; head_dim];
            for (row, x) in rows.chunks_exact(width).enumerate() {
                for (head, x) in x.chunks_exact(head_dim).enumerate() {
                    let pieces = x.chunks(Q8_BLOCK).zip(bytes.chunks_mut(Q8_BLOCK));
                    for ((x, bytes), scale) in pieces.zip(&mut half) {
                        *scale = quantise(x, bytes);
                    }
                    place.put(values, &bytes, head, row);
                    place.put(scales, &half, head, row);
                }
            }
        }
    }
    Ok(())
}

/// Where the rows of a call go.
struct Place {
    kind: Kind,
    first: usize,
    capacity: usize,
}

impl Place {
    /// Writes what a head has at one position: `x.len()` features, or factors of blocks of them.
    fn put<T: Copy>(&self, cache: &mut [T], x: &[T], head: usize, row: usize) {
        let (n, at) = (x.len(), head * self.capacity + self.first + row);
        match self.kind {
            Kind::Values => cache[at * n..][..n].copy_from_slice(x),
            Kind::Keys => {
                let (panel, lane) = (at / CAPACITY_STEP, at % CAPACITY_STEP);
                let panel = &mut cache[panel * n * CAPACITY_STEP..][..n * CAPACITY_STEP];
                for (column, &x) in panel.chunks_exact_mut(CAPACITY_STEP).zip(x) {
                    column[lane] = x;
                }
            }
        }
    }
}

/// Writes a block as bytes and returns the bits of its factor.
fn quantise(x: &[f32], bytes: &mut [i8]) -> u16 {
    /// Adding it leaves the nearest whole number, ties to even, in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const NAN: u16 = 0x7e00;
    let largest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    // The product of zero and what is not finite is NaN.
    let scale = scalar::f32_to_f16(largest / 127.0);
    let factor = scalar::f16_to_f32(scale);
    if x.iter().map(|x| x * 0.0).sum::<f32>().is_nan() || !factor.is_finite() {
        bytes.fill(1);
        return NAN;
    }
    let inverse = if factor > 0.0 { 1.0 / factor } else { 0.0 };
    for (&x, byte) in x.iter().zip(bytes) {
        let whole = (x * inverse).clamp(-127.0, 127.0) + ROUND;
        *byte = whole.to_bits().wrapping_sub(ROUND.to_bits()) as i8;
    }
    scale
}
