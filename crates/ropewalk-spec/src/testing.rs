//! Seeded weights, and model directories and GGUF files made of them, for tests and benchmarks.
//!
//! A model's weights follow from the names of its tensors and a seed by integer arithmetic and
//! one rounding, so that another language makes the same ones and no weight file need be stored.
//! `tests/fixtures/make_golden.py` of `ropewalk-local` holds the same formula in Python and the
//! logits that transformers computes from it.
//!
//! ```
//! use ropewalk_gguf::{Gguf, TensorType};
//! use ropewalk_spec::testing::Seeded;
//! use ropewalk_spec::{GgufSource, ModelSpec, Role};
//!
//! let config = serde_json::json!({
//!     "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 64,
//!     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
//!     "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
//! });
//! let model = Seeded::new(ModelSpec::from_hf(&config)?, 7);
//! let source = GgufSource::new(Gguf::from_bytes(model.gguf(|_| TensorType::Q8_0)?)?);
//! let spec = ModelSpec::from_gguf(source.gguf())?;
//! let q = spec.read(&source, Role::Q, Some(0))?.unwrap();
//! assert_eq!((q.shape, q.ty), (vec![64, 64], TensorType::Q8_0));
//! # Ok::<(), ropewalk_spec::Error>(())
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

use ropewalk_gguf::{TensorInfo, TensorType, Writer};
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::{
    Dtype, EncoderSpec, Error, ModelSpec, NameLayout, Norm, Result, StoredTensor, TensorData,
    TensorSource,
};

/// Step of the counter of `splitmix64` (Steele, Lea and Flood, 2014).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Standard deviation of the sum of four uniform 16-bit integers.
const SIGMA: f64 = 37_837.227;

/// The output function of `splitmix64`.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn stream(key: u64) -> impl Iterator<Item = u64> {
    (1_u64..).map(move |i| mix(key.wrapping_add(i.wrapping_mul(GOLDEN))))
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// A prompt of `length` token ids below `vocab`.
#[must_use]
pub fn prompt(seed: u64, length: usize, vocab: usize) -> Vec<u32> {
    stream(seed)
        .take(length)
        .map(|z| (z % vocab as u64) as u32)
        .collect()
}

/// The values of a tensor by name and shape: matrices have mean 0 and standard deviation
/// `1 / sqrt(columns)`, vectors 0 and 0.25; `norm` adds 1.
#[must_use]
pub fn values(seed: u64, name: &str, shape: &[usize], norm: bool) -> Vec<f32> {
    let deviation = match shape {
        [_, columns] => 1.0 / (*columns as f64).sqrt(),
        _ => 0.25,
    };
    let scale = (deviation / SIGMA) as f32;
    stream(mix(fnv1a(name) ^ seed))
        .take(shape.iter().product())
        .map(|z| {
            let sum = (z & 0xFFFF) + (z >> 16 & 0xFFFF) + (z >> 32 & 0xFFFF) + (z >> 48);
            let value = (sum as i32 - 131_070) as f32 * scale;
            if norm { 1.0 + value } else { value }
        })
        .collect()
}

/// All tensors of an encoder in memory, in f32 and under the Hugging Face names of a bare model
/// (without `bert.` and the like).
#[must_use]
pub fn encoder(spec: &EncoderSpec, seed: u64) -> MemorySource {
    let mut source = MemorySource::new(NameLayout::HuggingFace);
    for (role, layer) in spec.weights() {
        if let Some(at) = spec.weight(role, layer, NameLayout::HuggingFace) {
            let values = values(seed, &at.name, &at.stored, role.is_norm());
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            source.insert(&at.name, at.stored, TensorType::F32, bytes);
        }
    }
    source
}

/// A model whose weights follow from a seed.
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The shape of the model.
    pub spec: ModelSpec,
    /// What tells its weights from those of another model of the same shape.
    pub seed: u64,
}

impl Seeded {
    /// A model with these weights.
    #[must_use]
    pub const fn new(spec: ModelSpec, seed: u64) -> Self {
        Self { spec, seed }
    }

    /// The values of a tensor of a Hugging Face file, one of [`StoredTensor::hf_names`].
    ///
    /// Matrices have mean 0 and standard deviation `1 / sqrt(columns)`, biases 0 and 0.25, norms
    /// 1 and 0.25; norms that hold `w` for `1 + w` have mean 0.
    #[must_use]
    pub fn values(&self, tensor: &StoredTensor, name: &str) -> Vec<f32> {
        let norm = tensor.roles.first().is_some_and(|r| r.is_norm());
        let norm = norm && self.spec.norm != Norm::RmsPlusOne;
        values(self.seed, name, &tensor.hf_shape, norm)
    }

    /// Adds the Hugging Face tensors that a stored tensor consists of.
    fn add(&self, tensor: &StoredTensor, source: &mut MemorySource) {
        for name in tensor.hf_names() {
            let values = self.values(tensor, &name);
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            source.insert(&name, tensor.hf_shape.clone(), TensorType::F32, bytes);
        }
    }

    /// All tensors in memory, in Hugging Face names and f32.
    #[must_use]
    pub fn source(&self) -> MemorySource {
        let mut source = MemorySource::new(NameLayout::HuggingFace);
        for tensor in self.spec.stored_tensors() {
            self.add(&tensor, &mut source);
        }
        source
    }

    /// Writes a model directory: `config.json` and safetensors in one file or, for more than one
    /// shard, in several with an index.
    ///
    /// `dtype` says how to store each tensor.
    ///
    /// # Errors
    /// A directory that cannot be written, or a model that `config.json` cannot express.
    pub fn write_hf(
        &self,
        dir: impl AsRef<Path>,
        dtype: impl Fn(&StoredTensor) -> Dtype,
        shards: usize,
    ) -> Result<()> {
        let dir = dir.as_ref();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| Error::Io { path, source })
        };
        write(
            "config.json",
            format!("{:#}\n", self.spec.to_hf()?).as_bytes(),
        )?;
        let tensors: Vec<_> = self.spec.stored_tensors().collect();
        let per_shard = tensors.len().div_ceil(shards.max(1)).max(1);
        let mut map = serde_json::Map::new();
        for (index, shard) in tensors.chunks(per_shard).enumerate() {
            let name = if shards > 1 {
                format!(
                    "model-{:05}-of-{:05}.safetensors",
                    index + 1,
                    tensors.len().div_ceil(per_shard)
                )
            } else {
                "model.safetensors".to_owned()
            };
            let mut stored = Vec::new();
            for tensor in shard {
                let (ty, kind) = match dtype(tensor) {
                    Dtype::F32 => (TensorType::F32, safetensors::Dtype::F32),
                    Dtype::F16 => (TensorType::F16, safetensors::Dtype::F16),
                    Dtype::Bf16 => (TensorType::BF16, safetensors::Dtype::BF16),
                };
                for part in tensor.hf_names() {
                    let values = ropewalk_gguf::quantize(ty, &self.values(tensor, &part))?;
                    map.insert(part.clone(), json!(name));
                    stored.push((part, tensor.hf_shape.clone(), kind, values));
                }
            }
            let fail = |e: safetensors::SafeTensorError| Error::Safetensors {
                path: dir.join(&name),
                problem: e.to_string(),
            };
            let views = stored.iter().map(|(part, shape, kind, bytes)| {
                TensorView::new(*kind, shape.clone(), bytes).map(|v| (part, v))
            });
            let views = views
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(fail)?;
            write(&name, &safetensors::serialize(views, None).map_err(fail)?)?;
        }
        if shards > 1 {
            let index = json!({"metadata": {}, "weight_map": map});
            write("model.safetensors.index.json", index.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// A GGUF file in memory. `ty` says how to code each matrix; vectors stay f32.
    ///
    /// # Errors
    /// A type without an encoder or whose blocks do not divide the columns, or a model that GGUF
    /// metadata cannot express.
    pub fn gguf(&self, ty: impl Fn(&StoredTensor) -> TensorType) -> Result<Vec<u8>> {
        self.gguf_with(ty, false)
    }

    /// The same file with every matrix coded, decoded again and stored as f32: what a packed
    /// model should compute, up to the rounding of its activations.
    ///
    /// # Errors
    /// As [`gguf`](Self::gguf).
    pub fn gguf_dequantized(&self, ty: impl Fn(&StoredTensor) -> TensorType) -> Result<Vec<u8>> {
        self.gguf_with(ty, true)
    }

    fn gguf_with(
        &self,
        ty: impl Fn(&StoredTensor) -> TensorType,
        dequantized: bool,
    ) -> Result<Vec<u8>> {
        let mut writer = Writer::new();
        for (key, value) in self.spec.gguf_metadata()? {
            writer.set(key, value);
        }
        let rope = self.spec.gguf_rope_tensors();
        for (name, values) in &rope {
            writer.tensor(TensorInfo::from_shape(
                name,
                &[values.len()],
                TensorType::F32,
            )?)?;
        }
        let coded = |t: &StoredTensor| {
            if t.shape.len() > 1 {
                ty(t)
            } else {
                TensorType::F32
            }
        };
        for t in self.spec.stored_tensors() {
            let ty = if dequantized {
                TensorType::F32
            } else {
                coded(&t)
            };
            writer.tensor(TensorInfo::from_shape(&t.gguf, &t.shape, ty)?)?;
        }
        let mut out = writer.begin(Vec::new())?;
        for (name, values) in &rope {
            out.tensor_f32(name, values)?;
        }
        for t in self.spec.stored_tensors() {
            let mut parts = MemorySource::new(NameLayout::HuggingFace);
            self.add(&t, &mut parts);
            let mut values = self.spec.gguf_tensor(&parts, &t)?.to_f32()?;
            if dequantized {
                let bytes = ropewalk_gguf::quantize(coded(&t), &values)?;
                ropewalk_gguf::dequantize(coded(&t), &bytes, &mut values)?;
            }
            out.tensor_f32(&t.gguf, &values)?;
        }
        Ok(out.finish()?)
    }
}

/// Tensors in memory.
#[derive(Debug, Clone)]
pub struct MemorySource {
    layout: NameLayout,
    tensors: HashMap<String, (Vec<usize>, TensorType, Vec<u8>)>,
}

impl MemorySource {
    /// A source without tensors.
    #[must_use]
    pub fn new(layout: NameLayout) -> Self {
        Self {
            layout,
            tensors: HashMap::new(),
        }
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: &str, shape: Vec<usize>, ty: TensorType, data: Vec<u8>) {
        self.tensors.insert(name.to_owned(), (shape, ty, data));
    }

    /// Writes the tensors as one safetensors file, which [`SafetensorsDir`](crate::SafetensorsDir)
    /// opens.
    ///
    /// # Errors
    /// A tensor that is not f32, f16 or bf16, or a file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let fail = |e: safetensors::SafeTensorError| Error::Safetensors {
            path: path.to_owned(),
            problem: e.to_string(),
        };
        let mut views = Vec::new();
        for (name, (shape, ty, data)) in &self.tensors {
            let kind = match *ty {
                TensorType::F32 => safetensors::Dtype::F32,
                TensorType::F16 => safetensors::Dtype::F16,
                TensorType::BF16 => safetensors::Dtype::BF16,
                other => {
                    return Err(Error::TensorType {
                        name: name.clone(),
                        found: other.name().to_owned(),
                    });
                }
            };
            let view = TensorView::new(kind, shape.clone(), data).map_err(fail)?;
            views.push((name, view));
        }
        let bytes = safetensors::serialize(views, None).map_err(fail)?;
        fs::write(path, bytes).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Gives every tensor the name that `rename` makes of its own.
    #[must_use]
    pub fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        let tensors = self.tensors.into_iter();
        Self {
            layout: self.layout,
            tensors: tensors.map(|(name, t)| (rename(&name), t)).collect(),
        }
    }

    /// Takes a tensor away, to see what its absence does.
    pub fn remove(&mut self, name: &str) {
        self.tensors.remove(name);
    }
}

impl TensorSource for MemorySource {
    fn layout(&self) -> NameLayout {
        self.layout
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<TensorData<'_>>> {
        let found = self.tensors.get(name);
        Ok(found.map(|(shape, ty, data)| TensorData::new(shape.clone(), *ty, data)))
    }
}

/// A new directory that is removed with its content when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes a directory of its own for this process under the system's temporary directory.
    ///
    /// # Errors
    /// What the system says when it cannot be made.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("ropewalk-{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
                Ok(()) => return Ok(Self(path)),
            }
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path inside of it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing can be done about a directory that stays.
        drop(fs::remove_dir_all(&self.0));
    }
}
