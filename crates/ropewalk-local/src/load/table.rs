//! Tables that are read row by row from the file.

use std::sync::Arc;

use ropewalk_gguf::TensorType;
use ropewalk_spec::{TensorSource, Weight, WeightRef};

use super::held::Held;
use crate::{Error, Result};

/// What turns bytes into values.
pub(super) type Decode = fn(&[u8], &mut [f32]);

/// A table of embeddings; its rows are read when they are asked for.
pub(crate) struct Table {
    held: Held,
    decode: Decode,
    row_bytes: usize,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("row_bytes", &self.row_bytes)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Finds the table `at` a place in the source.
    pub(crate) fn read(source: &Arc<dyn TensorSource>, at: &WeightRef) -> Result<Self> {
        let (held, shape, ty) = Held::read(source, |source| Ok(at.read(source)?))?;
        let (decode, row_bytes) = row_reader(&at.name, &shape, ty)?;
        Ok(Self {
            held,
            decode,
            row_bytes,
        })
    }

    /// Keeps a table that was read and changed.
    pub(super) fn own(name: &str, weight: Weight<'_>) -> Result<Self> {
        let (decode, row_bytes) = row_reader(name, &weight.shape, weight.ty)?;
        Ok(Self {
            held: Held::own(weight.data.into_owned()),
            decode,
            row_bytes,
        })
    }

    /// Writes row `index`; `None` if there is none.
    pub(crate) fn row(&self, index: usize, out: &mut [f32]) -> Option<()> {
        let start = index.checked_mul(self.row_bytes)?;
        let row = self.held.as_ref().get(start..)?.get(..self.row_bytes)?;
        (self.decode)(row, out);
        Some(())
    }
}

/// Returns what turns a row of bytes into floats, and how many bytes a row has.
pub(super) fn row_reader(name: &str, shape: &[usize], ty: TensorType) -> Result<(Decode, usize)> {
    let columns = shape.last().copied().unwrap_or(0);
    let reader = ropewalk_gguf::dequantizer(ty).zip(ty.row_bytes(columns));
    reader.ok_or_else(|| Error::TensorType {
        name: name.to_owned(),
        ty: ty.name().to_owned(),
    })
}
