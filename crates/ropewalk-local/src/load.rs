//! From files to packed weights.

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_kernels::{Format, Isa, Matrix, Pool};
use ropewalk_spec::{GgufSource, ModelSpec, Role, SafetensorsDir, TensorSource, Weight};

use crate::decoder::{Decoder, Layer, Linear};
use crate::model::LoadProgress;
use crate::{Error, Result};

/// What a model is and where its tensors are.
pub(crate) struct Files {
    pub(crate) spec: ModelSpec,
    pub(crate) source: Arc<dyn TensorSource>,
    /// The file itself, which also holds the vocabulary.
    pub(crate) gguf: Option<Arc<Gguf>>,
}

fn failed<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl Fn(E) -> Error + '_ {
    move |e| Error::Load {
        path: path.to_owned(),
        source: Box::new(e),
    }
}

/// Opens a GGUF file or a Hugging Face directory.
pub(crate) fn open(path: &Path) -> Result<Files> {
    let bad = |reason: String| {
        Err(Error::Path {
            path: path.to_owned(),
            reason,
        })
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) => return bad(format!("{e}; give a GGUF file or a model directory")),
    };
    if !meta.is_dir() {
        return gguf(path, Arc::new(Gguf::open(path).map_err(failed(path))?));
    }
    if !path.join("config.json").is_file() {
        return bad("no config.json in this directory; give a Hugging Face model directory".into());
    }
    let spec = ModelSpec::from_dir(path).map_err(failed(path))?;
    let source = SafetensorsDir::open(path).map_err(failed(path))?;
    Ok(Files {
        spec,
        source: Arc::new(source),
        gguf: None,
    })
}

/// Reads the configuration of a GGUF file.
pub(crate) fn gguf(path: &Path, gguf: Arc<Gguf>) -> Result<Files> {
    let spec = ModelSpec::from_gguf(&gguf).map_err(failed(path))?;
    let source = Arc::new(GgufSource::new(Arc::clone(&gguf)));
    Ok(Files {
        spec,
        source,
        gguf: Some(gguf),
    })
}

/// The embedding table, read row by row from the file.
pub(crate) struct Embedding {
    source: Arc<dyn TensorSource>,
    name: String,
    dequantize: fn(&[u8], &mut [f32]),
    row_bytes: usize,
    vocab: usize,
}

impl std::fmt::Debug for Embedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedding")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Embedding {
    fn new(spec: &ModelSpec, source: Arc<dyn TensorSource>) -> Result<Self> {
        let missing = || Error::MissingTensor {
            name: "token embeddings".to_owned(),
        };
        let at = spec
            .weight(Role::Embed, None, source.layout())
            .ok_or_else(missing)?;
        let weight = at.read(&*source)?;
        let (dequantize, row_bytes) = row_reader(&at.name, &weight)?;
        drop(weight);
        Ok(Self {
            name: at.name,
            dequantize,
            row_bytes,
            vocab: spec.vocab_size,
            source,
        })
    }

    /// Writes the embedding of a token, `[hidden]`.
    pub(crate) fn row(&self, id: u32, out: &mut [f32]) -> Result<()> {
        let outside = || Error::TokenId {
            id,
            vocab: self.vocab,
        };
        let tensor = self.source.tensor(&self.name)?.ok_or_else(outside)?;
        let start = id as usize * self.row_bytes;
        let row = tensor
            .data
            .get(start..start + self.row_bytes)
            .ok_or_else(outside)?;
        (self.dequantize)(row, out);
        Ok(())
    }
}

/// Packs every weight of the model.
pub(crate) fn decoder(
    files: Files,
    isa: Isa,
    pool: &Pool,
    progress: Option<&LoadProgress>,
) -> Result<Decoder> {
    let Files { spec, source, .. } = files;
    // All shapes are known to be right before any large allocation is made.
    spec.check(&*source)?;
    let total = spec.layers + 1;
    let report = |done: usize| progress.iter().for_each(|f| f(done, total));
    let loader = Loader {
        spec: &spec,
        source: &*source,
        isa,
        pool,
    };
    let mut layers = Vec::with_capacity(spec.layers);
    for i in 0..spec.layers {
        layers.push(loader.layer(i)?);
        report(i + 1);
    }
    let output_norm = loader.vector(Role::OutputNorm, None)?;
    let head = loader.matrix(Role::Head, None)?;
    report(total);
    let embedding = Embedding::new(&spec, Arc::clone(&source))?;
    Ok(Decoder {
        embedding,
        layers,
        output_norm,
        head,
        spec,
    })
}

struct Loader<'a> {
    spec: &'a ModelSpec,
    source: &'a dyn TensorSource,
    isa: Isa,
    pool: &'a Pool,
}

impl Loader<'_> {
    fn layer(&self, i: usize) -> Result<Layer> {
        let linear = |weight: Role, bias: Role| -> Result<Linear> {
            let weights = self.matrix(weight, Some(i))?;
            Ok(Linear {
                weights,
                bias: self.optional_vector(bias, Some(i))?,
            })
        };
        let qk_norm = match self.optional_vector(Role::QNorm, Some(i))? {
            Some(q) => Some((q, self.vector(Role::KNorm, Some(i))?)),
            None => None,
        };
        Ok(Layer {
            attn_norm: self.vector(Role::AttnNorm, Some(i))?,
            q: linear(Role::Q, Role::QBias)?,
            k: linear(Role::K, Role::KBias)?,
            v: linear(Role::V, Role::VBias)?,
            o: linear(Role::O, Role::OBias)?,
            qk_norm,
            ffn_norm: self.vector(Role::FfnNorm, Some(i))?,
            gate: linear(Role::Gate, Role::GateBias)?,
            up: linear(Role::Up, Role::UpBias)?,
            down: linear(Role::Down, Role::DownBias)?,
        })
    }

    fn read(&self, role: Role, layer: Option<usize>) -> Result<Weight<'_>> {
        let missing = || Error::MissingTensor {
            name: format!("{role:?}"),
        };
        self.spec
            .read(self.source, role, layer)?
            .ok_or_else(missing)
    }

    fn matrix(&self, role: Role, layer: Option<usize>) -> Result<Matrix> {
        let weight = self.read(role, layer)?;
        let [n, k] = weight.shape[..] else {
            let (found, wanted) = (weight.shape, vec![0, 0]);
            return Err(Error::Shape {
                name: format!("{role:?}"),
                found,
                wanted,
            });
        };
        if let Some(format) = packed_format(weight.ty) {
            return Ok(Matrix::pack(
                self.isa,
                format,
                &weight.data,
                n,
                k,
                self.pool,
            )?);
        }
        let (dequantize, row_bytes) = row_reader(&format!("{role:?}"), &weight)?;
        Ok(Matrix::from_rows(
            Arc::new(weight.data.into_owned()),
            n,
            k,
            row_bytes,
            dequantize,
            self.isa,
        )?)
    }

    fn vector(&self, role: Role, layer: Option<usize>) -> Result<Vec<f32>> {
        Ok(self.read(role, layer)?.to_f32()?)
    }

    /// Reads a vector that the specification may leave out.
    fn optional_vector(&self, role: Role, layer: Option<usize>) -> Result<Option<Vec<f32>>> {
        Ok(match self.spec.read(self.source, role, layer)? {
            Some(weight) => Some(weight.to_f32()?),
            None => None,
        })
    }
}

/// Returns what turns a row of bytes into floats, and how many bytes a row has.
fn row_reader(name: &str, weight: &Weight<'_>) -> Result<(fn(&[u8], &mut [f32]), usize)> {
    let cols = weight.shape.last().copied().unwrap_or(0);
    let reader = ropewalk_gguf::dequantizer(weight.ty).zip(weight.ty.row_bytes(cols));
    reader.ok_or_else(|| Error::TensorType {
        name: name.to_owned(),
        ty: weight.ty.name().to_owned(),
    })
}

/// Returns the packed format of a tensor type, where it has one.
fn packed_format(ty: TensorType) -> Option<Format> {
    Some(match ty {
        TensorType::F32 => Format::F32,
        TensorType::F16 => Format::F16,
        TensorType::BF16 => Format::BF16,
        TensorType::Q4_0 => Format::Q4_0,
        TensorType::Q4_1 => Format::Q4_1,
        TensorType::Q5_0 => Format::Q5_0,
        TensorType::Q5_1 => Format::Q5_1,
        TensorType::Q8_0 => Format::Q8_0,
        TensorType::Q2_K => Format::Q2_K,
        TensorType::Q3_K => Format::Q3_K,
        TensorType::Q4_K => Format::Q4_K,
        TensorType::Q5_K => Format::Q5_K,
        TensorType::Q6_K => Format::Q6_K,
        TensorType::IQ4_NL => Format::IQ4_NL,
        TensorType::IQ4_XS => Format::IQ4_XS,
        TensorType::MXFP4 => Format::MXFP4,
        _ => return None,
    })
}
