//! Where weights come from, behind one trait.

use std::borrow::Cow;

use ropewalk_gguf::TensorType;

use crate::{Error, ModelSpec, NameLayout, Result, Role, WeightRef};

/// A stored tensor: shape, type and bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TensorData<'a> {
    /// Shape, row-major: `[out, in]` or `[n]`.
    pub shape: Vec<usize>,
    /// Element or block type.
    pub ty: TensorType,
    /// The values in storage order, little-endian and without alignment.
    pub data: &'a [u8],
}

impl<'a> TensorData<'a> {
    /// Puts the parts together.
    #[must_use]
    pub const fn new(shape: Vec<usize>, ty: TensorType, data: &'a [u8]) -> Self {
        Self { shape, ty, data }
    }
}

/// Named tensors: a GGUF file or a directory of safetensors.
pub trait TensorSource: Send + Sync {
    /// Which names and row order the tensors have.
    fn layout(&self) -> NameLayout;

    /// All names, in no particular order.
    fn names(&self) -> Vec<String>;

    /// A tensor, `None` if there is none of that name.
    ///
    /// # Errors
    /// A type that the source cannot express as a [`TensorType`].
    fn tensor(&self, name: &str) -> Result<Option<TensorData<'_>>>;
}

/// One weight of a model, cut out of its stored tensor and in split-half row order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Weight<'a> {
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Element or block type.
    pub ty: TensorType,
    /// The rows one after the other; borrowed unless rows had to be reordered.
    pub data: Cow<'a, [u8]>,
}

impl Weight<'_> {
    /// The values in f32, whatever they are stored as.
    ///
    /// # Errors
    /// A type without a dequantiser.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.shape.iter().product()];
        ropewalk_gguf::dequantize(self.ty, &self.data, &mut out)?;
        Ok(out)
    }
}

impl WeightRef {
    /// Cuts this weight out of the stored tensor and undoes the row order of its file.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], or blocks that cross rows.
    pub fn read<'a>(&self, source: &'a (impl TensorSource + ?Sized)) -> Result<Weight<'a>> {
        let found = source
            .tensor(&self.name)?
            .ok_or_else(|| Error::MissingTensor {
                name: self.name.clone(),
            })?;
        if found.shape != self.stored {
            return Err(Error::TensorShape {
                name: self.name.clone(),
                expected: self.stored.clone(),
                found: found.shape,
            });
        }
        let layout = |problem: String| Error::TensorLayout {
            name: self.name.clone(),
            problem,
        };
        let whole = self.rows.len() == self.stored.first().copied().unwrap_or(0);
        if whole && self.permute_heads.is_none() {
            let data = Cow::Borrowed(found.data);
            return Ok(Weight {
                shape: self.shape.clone(),
                ty: found.ty,
                data,
            });
        }
        let columns: usize = self.stored.iter().skip(1).product();
        let row = found.ty.row_bytes(columns).ok_or_else(|| {
            layout(format!(
                "rows of {columns} values are not whole blocks of {}",
                found.ty
            ))
        })?;
        let bytes = |row_index: usize| {
            let start = row_index * row;
            found.data.get(start..start + row)
        };
        let short = || {
            layout(format!(
                "{} bytes are too few for its shape",
                found.data.len()
            ))
        };
        let data = if self.permute_heads.is_some() {
            let mut data = Vec::with_capacity(self.rows.len() * row);
            for index in 0..self.rows.len() {
                data.extend_from_slice(bytes(self.source_row(index)).ok_or_else(short)?);
            }
            Cow::Owned(data)
        } else {
            let range = self.rows.start * row..self.rows.end * row;
            Cow::Borrowed(found.data.get(range).ok_or_else(short)?)
        };
        Ok(Weight {
            shape: self.shape.clone(),
            ty: found.ty,
            data,
        })
    }
}

impl ModelSpec {
    /// Reads one weight: q, k, v, gate and up are separate and in split-half order whatever the
    /// file holds. `None` if this model has no such weight (a bias, say).
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], an unusable type.
    pub fn read<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
        role: Role,
        layer: Option<usize>,
    ) -> Result<Option<Weight<'a>>> {
        self.weight(role, layer, source.layout())
            .map(|w| w.read(source))
            .transpose()
    }

    /// Reads the matrix of one expert: `role` is [`Role::ExpertGate`], [`Role::ExpertUp`] or
    /// [`Role::ExpertDown`]. `None` if the layer has no such expert.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_expert<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
        role: Role,
        layer: usize,
        expert: usize,
    ) -> Result<Option<Weight<'a>>> {
        self.expert(role, layer, expert, source.layout())
            .map(|w| w.read(source))
            .transpose()
    }

    /// Checks that every tensor of the model is there with the right shape, without reading
    /// values.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`] or [`Error::TensorType`] for the first
    /// tensor at fault.
    pub fn check(&self, source: &(impl TensorSource + ?Sized)) -> Result<()> {
        for tensor in self.stored_tensors() {
            let name = match source.layout() {
                NameLayout::HuggingFace => tensor.hf,
                NameLayout::Gguf => tensor.gguf,
            };
            match source.tensor(&name)? {
                None => return Err(Error::MissingTensor { name }),
                Some(found) if found.shape != tensor.shape => {
                    return Err(Error::TensorShape {
                        name,
                        expected: tensor.shape,
                        found: found.shape,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
