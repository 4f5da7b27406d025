//! From files to packed weights.

mod held;
mod layers;
mod table;

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::Gguf;
use ropewalk_kernels::{Isa, Pool, ops};
use ropewalk_spec::{
    Activation, EncoderFamily, EncoderSpec, GgufSource, ModelSpec, Role, SafetensorsDir,
    TensorSource,
};

use crate::adapter::Merge;
use crate::decoder::Decoder;
use crate::device::{DevicePlan, Part};
use crate::{Error, LoadOptions, Result, bnb};

use layers::Loader;
pub(crate) use layers::packed_format;
pub(crate) use table::Table;

/// What a model is and where its tensors are.
pub(crate) struct Files {
    pub(crate) spec: ModelSpec,
    pub(crate) source: Arc<dyn TensorSource>,
    /// The file itself, which also holds the vocabulary.
    pub(crate) gguf: Option<Arc<Gguf>>,
}

pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
) -> impl Fn(E) -> Error + '_ {
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
    let spec = ModelSpec::from_dir(path).map_err(|e| match EncoderSpec::from_dir(path) {
        Ok(spec) => encoder(path, spec.family),
        Err(_) => failed(path)(e),
    })?;
    let source = SafetensorsDir::open(path).map_err(failed(path))?;
    Ok(Files {
        spec,
        source: bnb::source(source).map_err(failed(path))?,
        gguf: None,
    })
}

/// The error for an encoder where a decoder is needed.
fn encoder(path: &Path, family: EncoderFamily) -> Error {
    Error::Path {
        path: path.to_owned(),
        reason: format!(
            "holds an encoder ({family}), which generates nothing; open it with `LocalEmbedder`, \
             `LocalReranker` or `Encoder`"
        ),
    }
}

/// Reads the configuration of a GGUF file.
pub(crate) fn gguf(path: &Path, gguf: Arc<Gguf>) -> Result<Files> {
    let spec = ModelSpec::from_gguf(&gguf).map_err(|e| match EncoderSpec::from_gguf(&gguf) {
        Ok(spec) => encoder(path, spec.family),
        Err(_) => failed(path)(e),
    })?;
    let source = Arc::new(GgufSource::new(Arc::clone(&gguf)));
    Ok(Files {
        spec,
        source,
        gguf: Some(gguf),
    })
}

/// Packs every weight of the model.
pub(crate) fn decoder(
    files: Files,
    isa: Isa,
    pool: &Pool,
    options: &LoadOptions,
    plan: Option<&DevicePlan>,
) -> Result<Decoder> {
    let Files { spec, source, .. } = files;
    // All shapes are known to be right before any large allocation is made.
    spec.check(&*source)?;
    let total = spec.layers + 1;
    let progress = options.progress.as_ref();
    let report = |done: usize| progress.iter().for_each(|f| f(done, total));
    let merge = Merge::open(options, &spec)?;
    let loader = Loader {
        spec: &spec,
        source: &source,
        isa,
        pool,
        rule: options.quantize.as_ref(),
        merge: &merge,
    };
    let types = (options.device_dtype, options.cache);
    let device = match plan {
        Some(plan) => Part::load(plan, &spec, &*source, types, &report)?,
        None => None,
    };
    let first = device.as_ref().map_or(0, Part::layers);
    let mut layers = Vec::with_capacity(spec.layers - first);
    for i in first..spec.layers {
        layers.push(loader.layer(i)?);
        report(i + 1);
    }
    let head = if device.as_ref().is_some_and(Part::has_head) {
        None
    } else {
        let norm = loader.norm(Role::OutputNorm, Role::OutputNormBias, None)?;
        let norm = norm.ok_or_else(|| missing(Role::OutputNorm))?;
        Some((norm, loader.matrix(Role::Head, None)?))
    };
    report(total);
    let table = |role: Role| -> Result<Option<Table>> {
        let Some(at) = spec.weight(role, None, source.layout()) else {
            return Ok(None);
        };
        if !merge.touches(role, None) {
            return Table::read(&source, &at).map(Some);
        }
        let weight = at.read(&*source)?;
        let weight = merge.matrix((role, None), weight, false, (isa, pool))?;
        Table::own(&at.name, weight).map(Some)
    };
    Ok(Decoder {
        embedding: table(Role::Embed)?.ok_or_else(|| missing(Role::Embed))?,
        positions: table(Role::PosEmbed)?,
        device,
        layers,
        head,
        activation: match spec.activation {
            Activation::Silu => ops::Activation::Silu,
            Activation::Gelu => ops::Activation::GeluErf,
            Activation::GeluTanh => ops::Activation::GeluTanh,
            other => {
                return Err(Error::Option {
                    name: "activation",
                    value: format!("{other:?}"),
                    allowed: "one that this version computes",
                });
            }
        },
        spec,
    })
}

/// The error for a weight that the specification does not have.
fn missing(role: Role) -> Error {
    Error::MissingTensor {
        name: format!("{role:?}"),
    }
}
