//! Where weights come from, behind one trait.

use std::borrow::Cow;

use ropewalk_gguf::TensorType;

use crate::{Error, ModelSpec, NameLayout, Result, Role, StoredTensor, WeightRef};

/// What values were coded as before their source decoded them: the formats of bitsandbytes, which
/// have no [`TensorType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coding {
    /// NF4, one scale per so many values.
    Nf4(usize),
    /// FP4, one scale per so many values.
    Fp4(usize),
    /// 8-bit integers, one scale per row.
    Int8,
}

/// A stored tensor: shape, type and bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TensorData<'a> {
    /// Shape, row-major: `[out, in]` or `[n]`.
    pub shape: Vec<usize>,
    /// Element or block type.
    pub ty: TensorType,
    /// The values in storage order, little-endian and without alignment; owned by those whom a
    /// source decoded for.
    pub data: Cow<'a, [u8]>,
    /// What the file holds, if the source decoded it.
    pub coding: Option<Coding>,
}

impl<'a> TensorData<'a> {
    /// Puts the parts together.
    #[must_use]
    pub fn new(shape: Vec<usize>, ty: TensorType, data: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            shape,
            ty,
            data: data.into(),
            coding: None,
        }
    }

    /// Says what the file holds.
    #[must_use]
    pub fn with_coding(mut self, coding: Coding) -> Self {
        self.coding = Some(coding);
        self
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

    /// Says that `data`, which [`tensor`](Self::tensor) lent, will not be read soon: a source that
    /// maps files gives the memory of its pages back. Reading them again is allowed.
    fn release(&self, data: &[u8]) {
        let _ = data;
    }

    /// The shape of a tensor; a source that decodes can tell it without decoding.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.tensor(name)?.map(|t| t.shape))
    }
}

/// One weight of a model, cut out of its stored tensor and ready to use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Weight<'a> {
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Element or block type.
    pub ty: TensorType,
    /// The rows one after the other; borrowed unless they had to be reordered or decoded.
    pub data: Cow<'a, [u8]>,
    /// What the file holds, if the source decoded it.
    pub coding: Option<Coding>,
}

impl<'a> Weight<'a> {
    /// Puts the parts together.
    #[must_use]
    pub fn new(shape: Vec<usize>, ty: TensorType, data: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            shape,
            ty,
            data: data.into(),
            coding: None,
        }
    }

    /// Says what the values were coded as.
    #[must_use]
    pub fn with_coding(mut self, coding: Coding) -> Self {
        self.coding = Some(coding);
        self
    }
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

/// Whether two shapes are the same up to leading ones.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let rest = |shape: &[usize]| shape.iter().skip_while(|&&n| n == 1).copied().collect();
    let (a, b): (Vec<usize>, Vec<usize>) = (rest(a), rest(b));
    a == b
}

impl WeightRef {
    /// The stored tensor under the first of its names that the source has, and that name.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], a type that the source cannot express.
    pub fn find<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
    ) -> Result<(&str, TensorData<'a>)> {
        for name in std::iter::once(&self.name).chain(&self.aliases) {
            if let Some(found) = source.tensor(name)? {
                self.fits(name, &found.shape)?;
                return Ok((name, found));
            }
        }
        Err(self.missing())
    }

    /// Checks that the stored tensor is there and has its shape, without reading values.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn check(&self, source: &(impl TensorSource + ?Sized)) -> Result<()> {
        for name in std::iter::once(&self.name).chain(&self.aliases) {
            if let Some(shape) = source.shape(name)? {
                return self.fits(name, &shape);
            }
        }
        Err(self.missing())
    }

    fn fits(&self, name: &str, shape: &[usize]) -> Result<()> {
        if same_shape(shape, &self.stored) {
            return Ok(());
        }
        Err(Error::TensorShape {
            name: name.to_owned(),
            expected: self.stored.clone(),
            found: shape.to_vec(),
        })
    }

    fn missing(&self) -> Error {
        Error::MissingTensor {
            name: self.name.clone(),
        }
    }

    /// Cuts this weight out of the stored tensor and undoes the order and form of its file.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], or blocks that cross rows.
    pub fn read<'a>(&self, source: &'a (impl TensorSource + ?Sized)) -> Result<Weight<'a>> {
        let (name, found) = self.find(source)?;
        let lent = match &found.data {
            Cow::Borrowed(data) => Some(*data),
            Cow::Owned(_) => None,
        };
        let weight = self.cut(name, found)?;
        if let (Some(lent), Cow::Owned(_)) = (lent, &weight.data) {
            // The rows were copied.
            source.release(lent);
        }
        if !self.add_one {
            return Ok(weight);
        }
        let values = weight.to_f32()?;
        let bytes = values.iter().flat_map(|w| (1.0 + w).to_le_bytes());
        Ok(Weight {
            shape: weight.shape,
            ty: TensorType::F32,
            data: Cow::Owned(bytes.collect()),
            coding: None,
        })
    }

    fn cut<'a>(&self, name: &str, found: TensorData<'a>) -> Result<Weight<'a>> {
        let layout = |problem: String| Error::TensorLayout {
            name: name.to_owned(),
            problem,
        };
        let (ty, coding) = (found.ty, found.coding);
        let weight = |data: Cow<'a, [u8]>| Weight {
            shape: self.shape.clone(),
            ty,
            data,
            coding,
        };
        let (all_rows, columns) = match self.stored.as_slice() {
            [n] => (*n, 1),
            [rows @ .., columns] => (rows.iter().product(), *columns),
            [] => (0, 0),
        };
        let plain = self.permute_heads.is_none() && self.groups.is_none();
        if self.transposed {
            let turned = self.transpose(&found, all_rows, columns).ok_or_else(|| {
                layout(format!(
                    "is stored transposed, which {} cannot be",
                    found.ty
                ))
            })?;
            // Blocks of codes run along the other axis now.
            return Ok(Weight {
                coding: None,
                ..weight(Cow::Owned(turned))
            });
        }
        if plain && self.rows == (0..all_rows) {
            return Ok(weight(found.data));
        }
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
        if plain {
            let range = self.rows.start * row..self.rows.end * row;
            let data = match &found.data {
                Cow::Borrowed(data) => data.get(range).map(Cow::Borrowed),
                Cow::Owned(data) => data.get(range).map(|part| Cow::Owned(part.to_vec())),
            };
            return data.map(weight).ok_or_else(short);
        }
        let mut data = Vec::with_capacity(self.rows.len() * row);
        for index in 0..self.rows.len() {
            data.extend_from_slice(bytes(self.source_row(index)).ok_or_else(short)?);
        }
        Ok(weight(Cow::Owned(data)))
    }

    /// The columns of a stored `[inputs, outputs]` matrix as rows; `None` for types of blocks.
    fn transpose(&self, found: &TensorData<'_>, inputs: usize, outputs: usize) -> Option<Vec<u8>> {
        let size = match found.ty {
            TensorType::F32 => 4,
            TensorType::F16 | TensorType::BF16 => 2,
            _ => return None,
        };
        let mut data = Vec::with_capacity(self.rows.len() * inputs * size);
        for row in 0..self.rows.len() {
            let column = self.source_row(row);
            for input in 0..inputs {
                let start = (input * outputs + column) * size;
                data.extend_from_slice(found.data.get(start..start + size)?);
            }
        }
        Some(data)
    }
}

impl ModelSpec {
    /// Reads one weight, ready to use whatever the file holds: q, k, v, gate and up are separate,
    /// matrices are `[out, in]`, rows are in split-half order, and norms of
    /// [`Norm::RmsPlusOne`](crate::Norm::RmsPlusOne) are `1 + w` in f32. Experts are stacked.
    /// `None` if this model has no such weight there (a bias, say).
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], an unusable type.
    pub fn read<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
        role: Role,
        layer: Option<usize>,
    ) -> Result<Option<Weight<'a>>> {
        if let Some(place) = self.weight(role, layer, source.layout()) {
            return place.read(source).map(Some);
        }
        let (layer, shape) = (layer.unwrap_or(0), self.shape(role));
        let (Some(shape), Some(experts)) = (shape, &self.experts) else {
            return Ok(None);
        };
        let mut stack: Option<Weight<'a>> = None;
        for expert in 0..experts.count {
            let Some(one) = self.read_expert(source, role, layer, expert)? else {
                return Ok(None);
            };
            match &mut stack {
                None => {
                    stack = Some(Weight {
                        shape: shape.clone(),
                        ty: one.ty,
                        data: Cow::Owned(one.data.into_owned()),
                        coding: one.coding,
                    });
                }
                Some(stack) => {
                    one.of_type(stack.ty, role)?;
                    stack.data.to_mut().extend_from_slice(&one.data);
                }
            }
        }
        Ok(stack)
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

    /// A tensor as a GGUF file of this model holds it, from a source of any layout: fused rows,
    /// stacked experts, matrices as `[out, in]`, the row order of llama.cpp, norms as `1 + w`.
    ///
    /// # Errors
    /// As [`read`](Self::read); also parts of different types.
    pub fn gguf_tensor<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
        tensor: &StoredTensor,
    ) -> Result<Weight<'a>> {
        let mut whole: Option<Weight<'a>> = None;
        for &role in tensor.roles {
            let part = self.gguf_part(source, role, tensor)?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    part.of_type(whole.ty, role)?;
                    whole.data.to_mut().extend_from_slice(&part.data);
                }
            }
        }
        let mut whole = whole.ok_or_else(|| Error::MissingTensor {
            name: tensor.gguf.clone(),
        })?;
        whole.shape.clone_from(&tensor.shape);
        Ok(whole)
    }

    /// One of the weights of a tensor with its rows in the order of llama.cpp.
    fn gguf_part<'a>(
        &self,
        source: &'a (impl TensorSource + ?Sized),
        role: Role,
        tensor: &StoredTensor,
    ) -> Result<Weight<'a>> {
        let missing = || Error::MissingTensor {
            name: tensor.gguf.clone(),
        };
        let weight = self.read(source, role, tensor.layer)?.ok_or_else(missing)?;
        let place = self
            .weight(role, tensor.layer, NameLayout::Gguf)
            .ok_or_else(missing)?;
        if place.permute_heads.is_none() {
            return Ok(weight);
        }
        let count = place.rows.len();
        let size = weight.data.len() / count.max(1);
        let mut data = vec![0; weight.data.len()];
        for row in 0..count {
            let at = (place.source_row(row) - place.rows.start) * size;
            let from = weight.data.get(row * size..(row + 1) * size);
            let to = data.get_mut(at..at + size);
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
        }
        Ok(Weight {
            data: Cow::Owned(data),
            ..weight
        })
    }

    /// Checks that every tensor of the model is there with the right shape, without reading
    /// values.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`] or [`Error::TensorType`] for the first
    /// tensor at fault.
    pub fn check(&self, source: &(impl TensorSource + ?Sized)) -> Result<()> {
        let layout = source.layout();
        for (role, layer) in self.weights() {
            if let Some(place) = self.weight(role, layer, layout) {
                place.check(source)?;
                continue;
            }
            let count = self.experts.as_ref().map_or(0, |e| e.count);
            let layer = layer.unwrap_or(0);
            for place in (0..count).filter_map(|e| self.expert(role, layer, e, layout)) {
                place.check(source)?;
            }
        }
        Ok(())
    }
}

impl Weight<'_> {
    /// Fails unless the values are of a type.
    fn of_type(&self, ty: TensorType, role: Role) -> Result<()> {
        if self.ty == ty {
            return Ok(());
        }
        Err(Error::TensorLayout {
            name: format!("{role:?}"),
            problem: format!("is {}, what it is stacked with is {ty}", self.ty),
        })
    }
}
