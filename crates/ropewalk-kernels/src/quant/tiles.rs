//! Packed tiles of 16 rows: their geometry, packing and dispatch.
#![allow(unsafe_code, reason = "threads write disjoint strips of one buffer")]

use super::Format;
use crate::acts::Shared;
use crate::{Isa, Pool};

/// Rows of a tile.
pub(crate) const ROWS: usize = 16;

/// The geometry of a format's tile and the function that fills one.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// Values per row.
    pub(crate) cols: usize,
    /// Bytes.
    pub(crate) bytes: usize,
    /// Bytes of the same values of one row in the source.
    pub(crate) src_bytes: usize,
    /// Packs up to `src_bytes` of one row as row `.1` of a tile.
    pub(crate) pack_row: fn(&[u8], usize, &mut [u8]),
}

/// Returns the tile layout of a format, if the tier has packed kernels for it.
pub(crate) fn layout(isa: Isa, format: Format) -> Option<Layout> {
    let _ = (isa, format);
    None
}

/// Packs `n` rows into strips, in parallel over strips.
pub(crate) fn pack(
    layout: Layout,
    src: &[u8],
    n: usize,
    row_bytes: usize,
    dst: &mut [u8],
    strip_bytes: usize,
    pool: &Pool,
) {
    let strips = n.div_ceil(ROWS);
    debug_assert_eq!(dst.len(), strips * strip_bytes);
    let base = Shared(dst.as_mut_ptr());
    pool.run(strips, &|strip| {
        // SAFETY: strips are disjoint parts of `dst`.
        let dst = unsafe {
            std::slice::from_raw_parts_mut(base.get().add(strip * strip_bytes), strip_bytes)
        };
        let first = strip * ROWS;
        let rows = (n - first).min(ROWS);
        for (tile, dst) in dst.chunks_exact_mut(layout.bytes).enumerate() {
            for row in 0..rows {
                let row_src = &src[(first + row) * row_bytes..][..row_bytes];
                let at = tile * layout.src_bytes;
                let end = (at + layout.src_bytes).min(row_bytes);
                (layout.pack_row)(&row_src[at..end], row, dst);
            }
        }
    });
}
