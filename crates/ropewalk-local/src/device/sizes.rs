//! How much memory the parts of a model take on a device.

use ropewalk_gguf::TensorType;
use ropewalk_spec::{ModelSpec, Role, TensorSource};

use super::{Device, DeviceDtype};
use crate::{CacheType, Error, Result};

/// A device and the bytes that a model may take there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceBudget {
    /// The device.
    pub device: Device,
    /// Bytes; `None` means what CUDA says is free, less a tenth, and no limit on other devices.
    pub bytes: Option<u64>,
}

impl DeviceBudget {
    /// A device and what is free there.
    #[must_use]
    pub const fn new(device: Device) -> Self {
        Self {
            device,
            bytes: None,
        }
    }

    /// Sets the bytes that the model may take.
    #[must_use]
    pub const fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Fills in what the device says is free where nothing is given.
    pub(crate) fn resolved(self) -> Result<Self> {
        self.device.check()?;
        Ok(match (self.bytes, self.device) {
            (None, Device::Cuda(number)) => Self {
                bytes: free_on_cuda(number)?,
                ..self
            },
            _ => self,
        })
    }
}

#[cfg(feature = "cuda")]
fn free_on_cuda(number: usize) -> Result<Option<u64>> {
    use candle_core::cuda_backend::cudarc::driver::result::mem_get_info;

    // Opening the device makes its context the one that is asked.
    let _device = super::tensor::open(Device::Cuda(number))?;
    let (free, _) = mem_get_info().map_err(|e| Error::Device {
        device: Device::Cuda(number),
        doing: "asking for its free memory",
        source: Box::new(e),
    })?;
    Ok(Some(free as u64 / 10 * 9))
}

#[cfg(not(feature = "cuda"))]
fn free_on_cuda(number: usize) -> Result<Option<u64>> {
    Err(Error::DeviceFeature {
        device: Device::Cuda(number),
        feature: "cuda",
    })
}

/// Bytes of the parts of a model on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelSizes {
    /// Weights of each layer.
    pub layers: Vec<u64>,
    /// Weights of the output norm and the output head. The embedding table stays in the file.
    pub head: u64,
    /// Keys and values of one layer for one sequence of the whole context.
    pub cache: u64,
    /// What a pass takes besides, once per device.
    pub scratch: u64,
}

impl ModelSizes {
    /// Sizes of the weights alone.
    #[must_use]
    pub const fn new(layers: Vec<u64>, head: u64) -> Self {
        Self {
            layers,
            head,
            cache: 0,
            scratch: 0,
        }
    }

    /// Sets the bytes of keys and values per layer.
    #[must_use]
    pub const fn with_cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// Sets the bytes that a pass takes besides.
    #[must_use]
    pub const fn with_scratch(mut self, bytes: u64) -> Self {
        self.scratch = bytes;
        self
    }

    /// Adds up the weights of a model by the types they will have on a device, keys and values of
    /// `sequences` sequences of `context` tokens, and the buffers of a pass over a prompt.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape, a cache type that devices do not have.
    pub fn measure(
        spec: &ModelSpec,
        source: &dyn TensorSource,
        dtype: DeviceDtype,
        cache: CacheType,
        (context, sequences): (usize, usize),
    ) -> Result<Self> {
        let bytes = |role: Role, layer: Option<usize>| -> Result<u64> {
            let Some(shape) = spec.shape(role) else {
                return Ok(0);
            };
            let values: u64 = shape.iter().map(|&n| n as u64).product();
            if shape.len() < 2 {
                return Ok(4 * values);
            }
            let at = match spec.weight(role, layer, source.layout()) {
                Some(at) => at,
                // Experts that the file has apart are all of one type.
                None => match spec.expert(role, layer.unwrap_or(0), 0, source.layout()) {
                    Some(at) => at,
                    None => return Ok(0),
                },
            };
            let ty = at.find(source)?.1.ty;
            let (block, size) = stored_as(ty, dtype);
            Ok(values / block as u64 * size as u64)
        };
        let of = |roles: &[Role], layer: Option<usize>| -> Result<u64> {
            roles.iter().try_fold(0, |sum: u64, &role| {
                let has = layer.is_none_or(|layer| spec.has(role, layer));
                Ok(sum + if has { bytes(role, layer)? } else { 0 })
            })
        };
        let layers = (0..spec.layers).map(|i| of(&Role::BLOCK, Some(i)));
        let head = [Role::OutputNorm, Role::OutputNormBias, Role::Head];
        let positions = 2 * (spec.kv_dim() as u64) * (context as u64) * (sequences as u64);
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            head: of(&head, None)?,
            cache: positions * cache_bytes(cache)?,
            scratch: scratch(spec, context),
        })
    }
}

/// Returns the bytes of one stored key or value.
pub(super) fn cache_bytes(cache: CacheType) -> Result<u64> {
    match cache {
        CacheType::F32 => Ok(4),
        CacheType::F16 => Ok(2),
        CacheType::Q8_0 => Err(Error::Option {
            name: "the cache type on a device",
            value: format!("{cache:?}"),
            allowed: "F32 or F16",
        }),
    }
}

/// Values per block and bytes per block of a matrix stored as `ty` once it is on a device.
fn stored_as(ty: TensorType, dtype: DeviceDtype) -> (usize, usize) {
    match dtype {
        DeviceDtype::F32 => (1, 4),
        DeviceDtype::F16 | DeviceDtype::Bf16 => (1, 2),
        DeviceDtype::Stored if stays(ty) => (ty.block_size(), ty.type_size()),
        DeviceDtype::Stored => (1, 2),
    }
}

/// Whether devices have a type as it is.
pub(super) const fn stays(ty: TensorType) -> bool {
    matches!(
        ty,
        TensorType::F32
            | TensorType::F16
            | TensorType::BF16
            | TensorType::Q4_0
            | TensorType::Q4_1
            | TensorType::Q5_0
            | TensorType::Q5_1
            | TensorType::Q8_0
            | TensorType::Q2_K
            | TensorType::Q3_K
            | TensorType::Q4_K
            | TensorType::Q5_K
            | TensorType::Q6_K
    )
}

/// Scores of attention that are in memory at once, at most (of one row at least).
pub(super) const SCORES: usize = 1 << 25;

/// What the largest pass takes: 512 rows, the scores of some of them, the logits of one.
fn scratch(spec: &ModelSpec, context: usize) -> u64 {
    let rows = context.min(512);
    let ffn = match &spec.experts {
        Some(e) => spec.ffn.max(e.ffn * e.used).max(e.shared.unwrap_or(0)),
        None => spec.ffn,
    };
    let widths = 6 * spec.hidden + 4 * (spec.q_dim() + 2 * spec.kv_dim()) + 4 * ffn;
    let all = spec.heads * rows * context;
    let scores = all.min(SCORES.max(spec.heads * context));
    // Scores, the same masked, their softmax, and one of these in the type of the cache.
    (4 * (rows * widths + 4 * scores + 2 * spec.vocab_size)) as u64
}
