//! Devices, matrices and products by candle.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Tensor};
use ropewalk_gguf::TensorType;
use ropewalk_spec::Weight;

use super::{Device, DeviceDtype, sizes};
use crate::{Error, Result};

/// Result of candle.
pub(super) type Done<T> = candle_core::Result<T>;

/// Returns what turns an error of candle into one of this crate.
pub(super) fn failed(
    device: Device,
    doing: &'static str,
) -> impl Fn(candle_core::Error) -> Error + Copy {
    move |e| Error::Device {
        device,
        doing,
        source: Box::new(e),
    }
}

/// Opens a device.
pub(super) fn open(device: Device) -> Result<candle_core::Device> {
    device.check()?;
    let opened = match device {
        Device::Cpu | Device::CandleCpu => Ok(candle_core::Device::Cpu),
        Device::Cuda(number) => candle_core::Device::new_cuda(number),
        Device::Metal(number) => candle_core::Device::new_metal(number),
    };
    opened.map_err(failed(device, "opening the device"))
}

/// The values of a matrix, `[out, in]`.
#[derive(Debug)]
enum Values {
    Floats(Tensor),
    /// Blocks of a quantised type.
    Blocks(Arc<QTensor>),
}

/// A weight matrix and its bias, `[out]` in f32.
#[derive(Debug)]
pub(super) struct Linear {
    values: Values,
    pub(super) bias: Option<Tensor>,
}

/// Rows that several matrices multiply: they are cast once.
#[derive(Debug)]
pub(super) struct Input {
    rows: Tensor,
    half: OnceCell<Tensor>,
}

impl Input {
    /// Takes rows `[rows, in]` in f32.
    pub(super) fn new(rows: Tensor) -> Self {
        Self {
            rows,
            half: OnceCell::new(),
        }
    }

    pub(super) fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// Returns the rows in a type. Matrices of a model with the same input nearly always have the
    /// same, so one is kept.
    fn cast(&self, dtype: DType) -> Done<Tensor> {
        if dtype == self.rows.dtype() {
            return Ok(self.rows.clone());
        }
        if let Some(kept) = self.half.get()
            && kept.dtype() == dtype
        {
            return Ok(kept.clone());
        }
        let cast = self.rows.to_dtype(dtype)?;
        drop(self.half.set(cast.clone()));
        Ok(cast)
    }
}

impl Linear {
    /// Puts a matrix on a device.
    pub(super) fn read(
        name: &str,
        weight: &Weight<'_>,
        dtype: DeviceDtype,
        (device, on): (Device, &candle_core::Device),
    ) -> Result<Self> {
        let shape = &weight.shape[..];
        let error = failed(device, "taking a weight");
        let [rows, columns] = *shape else {
            return Err(Error::Shape {
                name: name.to_owned(),
                found: shape.to_vec(),
                wanted: vec![0, 0],
            });
        };
        let wanted = match dtype {
            DeviceDtype::Stored => match blocks(weight.ty) {
                Some(ty) => {
                    let bytes = weight.ty.row_bytes(columns).map(|row| row * rows);
                    let data = aligned(&weight.data).filter(|d| Some(d.len()) == bytes);
                    let data = data.ok_or_else(|| unusable(name, weight.ty))?;
                    let storage = QStorage::from_data(data, on, ty).map_err(error)?;
                    let tensor = QTensor::new(storage, (rows, columns)).map_err(error)?;
                    let values = Values::Blocks(Arc::new(tensor));
                    return Ok(Self { values, bias: None });
                }
                None => plain(weight.ty).unwrap_or(DType::F16),
            },
            DeviceDtype::F32 => DType::F32,
            DeviceDtype::F16 => DType::F16,
            DeviceDtype::Bf16 => DType::BF16,
        };
        // Turned into its type here, so that the device never holds more than the result.
        let here = candle_core::Device::Cpu;
        let tensor = match plain(weight.ty) {
            Some(ty) if ty == wanted => Tensor::from_raw_buffer(&weight.data, ty, shape, on),
            Some(ty) => Tensor::from_raw_buffer(&weight.data, ty, shape, &here)
                .and_then(|t| t.to_dtype(wanted)?.to_device(on)),
            None => Tensor::from_vec(weight.to_f32()?, shape, &here)
                .and_then(|t| t.to_dtype(wanted)?.to_device(on)),
        };
        let values = Values::Floats(tensor.map_err(error)?);
        Ok(Self { values, bias: None })
    }

    /// Multiplies rows: `[rows, in]` to `[rows, out]` in f32, bias added.
    pub(super) fn forward(&self, input: &Input) -> Done<Tensor> {
        let out = match &self.values {
            Values::Floats(w) => input
                .cast(w.dtype())?
                .matmul(&w.t()?)?
                .to_dtype(DType::F32)?,
            Values::Blocks(w) => input.rows.apply_op1_no_bwd(w.as_ref())?,
        };
        match &self.bias {
            Some(bias) => out.broadcast_add(bias),
            None => Ok(out),
        }
    }

    /// Returns the bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Floats(w) => bytes(w),
            Values::Blocks(w) => w.storage_size_in_bytes(),
        };
        values + self.bias.as_ref().map_or(0, bytes)
    }
}

/// Returns the bytes of a tensor.
pub(super) fn bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

/// The bytes where candle can read blocks of them: it asks for the alignment of a block, which has
/// nothing wider than half a word.
fn aligned(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    let even = |d: &[u8]| d.as_ptr().addr().is_multiple_of(4);
    if even(data) {
        return Some(Cow::Borrowed(data));
    }
    let copy = data.to_vec();
    even(&copy).then_some(Cow::Owned(copy))
}

fn unusable(name: &str, ty: TensorType) -> Error {
    Error::TensorType {
        name: name.to_owned(),
        ty: format!("{} in bytes that do not fit its shape", ty.name()),
    }
}

/// Returns the type of plain values.
const fn plain(ty: TensorType) -> Option<DType> {
    Some(match ty {
        TensorType::F32 => DType::F32,
        TensorType::F16 => DType::F16,
        TensorType::BF16 => DType::BF16,
        _ => return None,
    })
}

/// Returns the type of blocks that candle multiplies with.
const fn blocks(ty: TensorType) -> Option<GgmlDType> {
    if !sizes::stays(ty) {
        return None;
    }
    Some(match ty {
        TensorType::Q4_0 => GgmlDType::Q4_0,
        TensorType::Q4_1 => GgmlDType::Q4_1,
        TensorType::Q5_0 => GgmlDType::Q5_0,
        TensorType::Q5_1 => GgmlDType::Q5_1,
        TensorType::Q8_0 => GgmlDType::Q8_0,
        TensorType::Q2_K => GgmlDType::Q2K,
        TensorType::Q3_K => GgmlDType::Q3K,
        TensorType::Q4_K => GgmlDType::Q4K,
        TensorType::Q5_K => GgmlDType::Q5K,
        TensorType::Q6_K => GgmlDType::Q6K,
        _ => return None,
    })
}
