//! Weight matrices, packed for a tier.
#![allow(unsafe_code, reason = "threads copy disjoint rows of one buffer")]

use std::sync::Arc;

use crate::acts::Need;
use crate::buffer::Buffer;
use crate::codec::FourBit;
use crate::codec::tiles::FourBitTiles;
use crate::dense::DenseMatrix;
use crate::quant::{Format, SUPER, tiles};
use crate::shared::Shared;
use crate::{Error, Isa, Pool};

/// Bytes that outlive the matrix that reads them: a vector, or a part of a mapped file.
pub type Source = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A weight matrix `[n, k]`: `n` outputs, `k` inputs, row-major.
///
/// [`Matrix::pack`] copies the weights into tiles of 16 rows that the tier's kernels stream;
/// the copy of a quantised matrix of whole tiles (16 rows of 256 values, or of 128 for formats of
/// small blocks) is at most 3 % larger than the source; other shapes are rounded up to whole tiles.
/// [`Matrix::from_rows`] keeps the source and decodes it row by row, for formats without a packed
/// kernel.
///
/// ```
/// use std::num::NonZeroUsize;
/// use ropewalk_kernels::{Acts, Format, Isa, Job, Matrix, Pool, matmul};
///
/// let pool = Pool::new(NonZeroUsize::MIN);
/// let isa = Isa::best();
/// // Two rows of 32 values with scale 1 (0x3c00): all ones, all twos.
/// let mut bytes = vec![0, 0x3c];
/// bytes.extend([1; 32]);
/// bytes.extend([0, 0x3c]);
/// bytes.extend([2; 32]);
/// let weights = Matrix::pack(isa, Format::Q8_0, &bytes, 2, 32, &pool)?;
///
/// let mut acts = Acts::new();
/// acts.prepare(&pool, isa, &[0.5; 32], 1, 32, &[&weights])?;
/// let mut out = [0.0; 2];
/// matmul(&pool, &acts, &mut [Job::new(&weights, &mut out)])?;
/// assert!((out[0] - 16.0).abs() < 1e-4 && (out[1] - 32.0).abs() < 1e-4);
/// # Ok::<(), ropewalk_kernels::Error>(())
/// ```
pub struct Matrix {
    rows: usize,
    cols: usize,
    isa: Isa,
    name: &'static str,
    /// What the outputs are multiplied with, one per row.
    pub(crate) row_scales: Option<Box<[f32]>>,
    pub(crate) kind: Kind,
}

/// Where the weights are and what multiplies them.
pub(crate) enum Kind {
    /// Source rows, decoded to f32 one at a time.
    Rows {
        source: Source,
        row_bytes: usize,
        decode: fn(&[u8], &mut [f32]),
    },
    /// Unquantised weights.
    Dense(DenseMatrix),
    /// 4-bit blocks of bitsandbytes.
    FourBit(FourBitTiles),
    /// ggml blocks as they are, for the scalar tier.
    Blocks {
        format: Format,
        data: Buffer,
        row_bytes: usize,
    },
    /// Tiles of 16 rows.
    Tiles {
        format: Format,
        data: Buffer,
        strip_bytes: usize,
    },
}

impl Matrix {
    /// Packs `n` rows of ggml blocks for `isa`, in parallel; `src` may have any alignment.
    ///
    /// # Errors
    /// [`Error::Block`] when the format's block does not divide `k`, [`Error::Length`] when `src`
    /// is not exactly `n` rows, [`Error::IsaUnavailable`] when this machine lacks the tier,
    /// [`Error::OutOfMemory`].
    pub fn pack(
        isa: Isa,
        format: Format,
        src: &[u8],
        n: usize,
        k: usize,
        pool: &Pool,
    ) -> Result<Self, Error> {
        if !isa.is_available() {
            return Err(Error::IsaUnavailable { isa });
        }
        let row_bytes = format.row_bytes(k)?;
        let too_large = || Error::TooLarge {
            format: format.name(),
            rows: n,
            cols: k,
        };
        let needed = row_bytes.checked_mul(n).ok_or_else(too_large)?;
        if src.len() != needed {
            return Err(Error::Length {
                what: "packed weights",
                needed,
                found: src.len(),
            });
        }
        let kind = if let Some(dense) = DenseMatrix::pack(format, src, n, k, pool) {
            Kind::Dense(dense?)
        } else if let Some(layout) = tiles::layout(isa, format) {
            let strip_bytes = k.div_ceil(layout.cols).checked_mul(layout.bytes);
            let strip_bytes = strip_bytes.ok_or_else(too_large)?;
            let total = n.div_ceil(tiles::ROWS).checked_mul(strip_bytes);
            let total = total.ok_or_else(too_large)?;
            let mut data = Buffer::zeroed(total)?;
            tiles::pack(
                layout,
                src,
                n,
                row_bytes,
                data.bytes_mut(),
                strip_bytes,
                pool,
            );
            Kind::Tiles {
                format,
                data,
                strip_bytes,
            }
        } else {
            let mut data = Buffer::zeroed(needed)?;
            copy(src, data.bytes_mut(), pool);
            Kind::Blocks {
                format,
                data,
                row_bytes,
            }
        };
        Ok(Self {
            rows: n,
            cols: k,
            isa,
            name: format.name(),
            row_scales: None,
            kind,
        })
    }

    /// Returns a matrix over `n` rows of `row_bytes` bytes in any format that `decode` turns into
    /// `k` values; products decode one row at a time and multiply in f32.
    ///
    /// # Errors
    /// [`Error::Length`] when `source` is shorter than `n` rows, [`Error::IsaUnavailable`].
    pub fn from_rows(
        source: Source,
        n: usize,
        k: usize,
        row_bytes: usize,
        decode: fn(&[u8], &mut [f32]),
        isa: Isa,
    ) -> Result<Self, Error> {
        if !isa.is_available() {
            return Err(Error::IsaUnavailable { isa });
        }
        let found = source.as_ref().as_ref().len();
        let needed = n.saturating_mul(row_bytes);
        if found < needed {
            return Err(Error::Length {
                what: "weight rows",
                needed,
                found,
            });
        }
        let kind = Kind::Rows {
            source,
            row_bytes,
            decode,
        };
        Ok(Self {
            rows: n,
            cols: k,
            isa,
            name: "rows",
            row_scales: None,
            kind,
        })
    }

    /// Packs a matrix in the 4-bit blocks of [`codec`](crate::codec); products decode it exactly
    /// and multiply in f32.
    ///
    /// # Shapes
    /// - `codes`: `n * k / 2` bytes, two indices each, the first in the high half
    /// - `scales`: `n * k / block`
    ///
    /// # Errors
    /// [`Error::BlockSize`]; [`Error::Block`] when the block does not divide `k`;
    /// [`Error::Length`], [`Error::IsaUnavailable`], [`Error::OutOfMemory`].
    pub fn pack_four_bit(
        isa: Isa,
        code: FourBit,
        block: usize,
        (codes, scales): (&[u8], &[f32]),
        (n, k): (usize, usize),
        pool: &Pool,
    ) -> Result<Self, Error> {
        if !isa.is_available() {
            return Err(Error::IsaUnavailable { isa });
        }
        let tiles = FourBitTiles::pack(code, block, (codes, scales), (n, k), pool)?;
        Ok(Self {
            rows: n,
            cols: k,
            isa,
            name: code.name(),
            row_scales: None,
            kind: Kind::FourBit(tiles),
        })
    }

    /// Packs rows of 8-bit integers with one scale each, as [`codec::int8`](crate::codec::int8)
    /// makes them.
    ///
    /// Activations are quantised to 8 bits in blocks of 32, so that an outlier coarsens its block and
    /// not its row. The integer sum of each block is exact; blocks are added in f32, times
    /// `scale / 127`.
    ///
    /// # Shapes
    /// - `codes`: `[n, k]`, -127 to 127 each (-128 counts as -127); `scales`: `[n]`
    ///
    /// # Errors
    /// [`Error::Block`] when 32 does not divide `k`; [`Error::Length`],
    /// [`Error::IsaUnavailable`], [`Error::OutOfMemory`].
    pub fn pack_int8(
        isa: Isa,
        (codes, scales): (&[i8], &[f32]),
        (n, k): (usize, usize),
        pool: &Pool,
    ) -> Result<Self, Error> {
        const ONE: [u8; 2] = 0x3c00u16.to_le_bytes();
        let format = Format::Q8_0;
        let needed = n.saturating_mul(k);
        for (what, needed, found) in [
            ("int8 codes", needed, codes.len()),
            ("int8 scales", n, scales.len()),
        ] {
            if found != needed {
                return Err(Error::Length {
                    what,
                    needed,
                    found,
                });
            }
        }
        // Blocks of Q8_0 whose own scale is 1.
        let mut blocks = Vec::with_capacity(format.row_bytes(k)?.saturating_mul(n));
        for block in codes.chunks(format.block_size()) {
            blocks.extend(ONE);
            blocks.extend(block.iter().map(|c| c.max(&-127).cast_unsigned()));
        }
        let mut this = Self::pack(isa, format, &blocks, n, k, pool)?;
        this.name = "int8";
        this.row_scales = Some(scales.iter().map(|s| s / 127.0).collect());
        Ok(this)
    }

    /// Returns the number of outputs, `n`.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of inputs, `k`.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns the bytes that a product with this matrix reads: the packed size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let own = self.row_scales.as_ref().map_or(0, |s| size_of_val(&**s));
        own + match &self.kind {
            Kind::Rows { row_bytes, .. } => self.rows.saturating_mul(*row_bytes),
            Kind::Dense(dense) => dense.bytes(),
            Kind::FourBit(tiles) => tiles.bytes(),
            Kind::Blocks { data, .. } | Kind::Tiles { data, .. } => data.len(),
        }
    }

    /// Returns the name of the weight format: that of [`Format::name`], `nf4`, `fp4`, `int8`, or
    /// `rows` for [`Matrix::from_rows`].
    #[must_use]
    pub fn format_name(&self) -> &'static str {
        self.name
    }

    /// Returns the tier the matrix was packed for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the form of activations that this matrix multiplies with.
    pub(crate) fn need(&self) -> Need {
        match &self.kind {
            Kind::Rows { .. } | Kind::Dense(_) | Kind::FourBit(_) => Need::Float,
            Kind::Blocks { format, .. } | Kind::Tiles { format, .. } => {
                if format.block_size() == SUPER {
                    Need::Super
                } else {
                    Need::Small
                }
            }
        }
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("rows", &self.rows)
            .field("cols", &self.cols)
            .field("isa", &self.isa)
            .field("format", &self.name)
            .finish_non_exhaustive()
    }
}

/// Copies `src` into `dst` of the same length with all threads.
fn copy(src: &[u8], dst: &mut [u8], pool: &Pool) {
    const CHUNK: usize = 1 << 20;
    let base = Shared(dst.as_mut_ptr());
    pool.run(src.len().div_ceil(CHUNK), &|i| {
        let part = &src[i * CHUNK..src.len().min((i + 1) * CHUNK)];
        // SAFETY: `dst` is as long as `src` and the parts are disjoint.
        unsafe {
            base.get()
                .add(i * CHUNK)
                .copy_from_nonoverlapping(part.as_ptr(), part.len());
        };
    });
}
