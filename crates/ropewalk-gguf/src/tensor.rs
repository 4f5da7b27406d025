use crate::{Error, Result, TensorType, dequant};

/// Name, shape and type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Extents in ggml's order: `dims[0]` is the length of a row, the extent that varies fastest.
    pub dims: Vec<usize>,
    /// Storage type.
    pub ty: TensorType,
    /// Start in its file, in bytes.
    pub(crate) offset: usize,
    /// Index of its file among those of a split model.
    pub(crate) part: usize,
    n_bytes: usize,
}

impl TensorInfo {
    /// Describes a tensor by its row-major shape, slowest extent first, as PyTorch prints it.
    ///
    /// # Errors
    /// Rows that are not whole blocks of `ty`, or a size that overflows.
    pub fn from_shape(name: &str, shape: &[usize], ty: TensorType) -> Result<Self> {
        let dims: Vec<usize> = shape.iter().rev().copied().collect();
        Self::from_dims(name, &dims, ty)
    }

    /// Describes a tensor by its extents in ggml's order, row length first.
    ///
    /// # Errors
    /// As [`TensorInfo::from_shape`].
    pub fn from_dims(name: &str, dims: &[usize], ty: TensorType) -> Result<Self> {
        Self::new(name, dims, ty).map_err(|problem| Error::write(name, problem))
    }

    pub(crate) fn new(name: &str, dims: &[usize], ty: TensorType) -> Result<Self, String> {
        let cols = dims.first().copied().unwrap_or(1);
        if !cols.is_multiple_of(ty.block_size()) {
            return Err(format!(
                "has rows of {cols} values, which blocks of {} ({ty}) do not divide",
                ty.block_size()
            ));
        }
        // The product of the other extents must not overflow even where one is zero.
        let n = dims
            .iter()
            .try_fold(1_usize, |n, &dim| n.checked_mul(dim.max(1)));
        if n.and_then(|n| n.checked_mul(ty.type_size()))
            .is_none_or(|n| n > isize::MAX as usize)
        {
            return Err(format!("has shape {dims:?}, whose size overflows"));
        }
        let n_bytes = dims.iter().product::<usize>() / ty.block_size() * ty.type_size();
        Ok(Self {
            name: name.to_owned(),
            dims: dims.to_vec(),
            ty,
            offset: 0,
            part: 0,
            n_bytes,
        })
    }

    /// Returns the extents in row-major order, slowest first, as PyTorch and NumPy print them.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        self.dims.iter().rev().copied().collect()
    }

    /// Returns the number of values in a row (`dims[0]`; 1 for a scalar).
    #[must_use]
    pub fn cols(&self) -> usize {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Returns the number of rows: the product of all extents but the first.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.dims.iter().skip(1).product()
    }

    /// Returns the number of values.
    #[must_use]
    pub fn n_elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Returns the size of the data in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Returns the start of the data in its file, in bytes.
    #[must_use]
    pub fn file_offset(&self) -> usize {
        self.offset
    }
}

/// A tensor in an open file: its description and its bytes.
///
/// The bytes have no alignment.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Tensor<'a> {
    /// Name, shape and type.
    pub info: &'a TensorInfo,
    /// The data as stored, `info.n_bytes()` bytes.
    pub data: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// Returns all values in storage order (row-major over [`TensorInfo::shape`]).
    ///
    /// # Errors
    /// [`Error::Unsupported`] for types without a dequantiser.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        // Nothing is allocated for a type that cannot be converted.
        let known = dequant::dequantizer(self.info.ty).is_some();
        let mut out = vec![0.0; if known { self.info.n_elements() } else { 0 }];
        dequant::dequantize(self.info.ty, self.data, &mut out)?;
        Ok(out)
    }

    /// Returns the bytes of row `row`, or `None` past the last row.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<&'a [u8]> {
        let n = self.info.ty.row_bytes(self.info.cols())?;
        let start = row.checked_mul(n)?;
        if row >= self.info.rows() {
            return None;
        }
        self.data.get(start..start.checked_add(n)?)
    }

    /// Writes row `row` to `out`, which has `info.cols()` values.
    ///
    /// # Errors
    /// A row that does not exist, an `out` of another length, a type without a dequantiser.
    pub fn row_f32(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let bytes = self.row(row).ok_or_else(|| {
            let what = format!("rows of tensor `{}` up to row {row}", self.info.name);
            Error::length(what, row.saturating_add(1), self.info.rows())
        })?;
        dequant::dequantize(self.info.ty, bytes, out)
    }
}

impl std::fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tensor({} {} {:?})",
            self.info.name,
            self.info.ty,
            self.info.shape()
        )
    }
}
