//! From files to packed weights.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_kernels::{Format, Isa, Matrix, Pool, ops};
use ropewalk_spec::{
    Activation, EncoderRole as R, EncoderSpec, GgufSource, ModelSpec, Role, SafetensorsDir,
    TensorSource,
};

use super::weights::{Head, Layer, Linear, Weights};
use crate::decoder::NormWeights;
use crate::load::{Table, failed, packed_format};
use crate::{Error, LoadQuantize, Result, quantize_on_load};

/// What an encoder is and where its tensors are.
pub(super) struct Files {
    pub(super) spec: EncoderSpec,
    pub(super) source: Arc<dyn TensorSource>,
}

/// Opens a Hugging Face directory or a GGUF file.
pub(super) fn open(path: &Path) -> Result<Files> {
    let bad = |reason: String| Error::Path {
        path: path.to_owned(),
        reason,
    };
    let meta = std::fs::metadata(path)
        .map_err(|e| bad(format!("{e}; give a model directory or a GGUF file")))?;
    if !meta.is_dir() {
        return gguf(path, Arc::new(Gguf::open(path).map_err(failed(path))?));
    }
    if !path.join("config.json").is_file() {
        let reason = "no config.json in this directory; give the directory of an encoder";
        return Err(bad(reason.to_owned()));
    }
    let spec = EncoderSpec::from_dir(path).map_err(|e| match ModelSpec::from_dir(path) {
        Ok(spec) => bad(decoder(spec.family)),
        Err(_) => failed(path)(e),
    })?;
    let source = SafetensorsDir::open(path).map_err(failed(path))?;
    Ok(Files {
        spec,
        source: Arc::new(source),
    })
}

/// Reads the configuration of a GGUF file.
pub(super) fn gguf(path: &Path, gguf: Arc<Gguf>) -> Result<Files> {
    let spec = EncoderSpec::from_gguf(&gguf).map_err(|e| match ModelSpec::from_gguf(&gguf) {
        Ok(spec) => Error::Path {
            path: path.to_owned(),
            reason: decoder(spec.family),
        },
        Err(_) => failed(path)(e),
    })?;
    Ok(Files {
        spec,
        source: Arc::new(GgufSource::new(gguf)),
    })
}

/// Why a decoder is not opened as an encoder.
fn decoder(family: ropewalk_spec::Family) -> String {
    format!(
        "holds a decoder ({family}), no encoder; open it with `Model` or `LocalModel`, or with \
         `LocalEmbedder` for vectors of its hidden states, or with `RerankerOptions::with_yes_no` \
         if it judges documents"
    )
}

/// Packs every weight of the model.
pub(super) fn weights(
    files: Files,
    isa: Isa,
    pool: &Pool,
    rule: Option<&LoadQuantize>,
) -> Result<Weights> {
    let Files { spec, source } = files;
    // All shapes are known to be right before any large allocation is made.
    spec.check(&*source)?;
    let loader = Loader {
        spec: &spec,
        source: &source,
        isa,
        pool,
        rule,
    };
    let layers = (0..spec.layers)
        .map(|i| loader.layer(i))
        .collect::<Result<_>>()?;
    let head = spec.head.as_ref().map(|_| loader.head()).transpose()?;
    let embedding = loader.table(R::Embed)?.ok_or_else(|| missing(R::Embed))?;
    Ok(Weights {
        embedding,
        positions: loader.table(R::PosEmbed)?,
        types: loader.table(R::TypeEmbed)?,
        embedding_norm: loader.needed_norm(R::EmbedNorm, R::EmbedNormBias, 0)?,
        layers,
        final_norm: loader.norm(R::FinalNorm, R::FinalNormBias, 0)?,
        head,
        activation: activation(spec.activation)?,
        spec,
    })
}

pub(super) fn activation(of: Activation) -> Result<ops::Activation> {
    Ok(match of {
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
    })
}

struct Loader<'a> {
    spec: &'a EncoderSpec,
    source: &'a Arc<dyn TensorSource>,
    rule: Option<&'a LoadQuantize>,
    isa: Isa,
    pool: &'a Pool,
}

impl Loader<'_> {
    fn layer(&self, i: usize) -> Result<Layer> {
        let gate = self
            .spec
            .gated
            .then(|| self.linear(R::Gate, R::GateBias, i));
        Ok(Layer {
            attention_norm: self.norm(R::AttnNorm, R::AttnNormBias, i)?,
            q: self.linear(R::Q, R::QBias, i)?,
            k: self.linear(R::K, R::KBias, i)?,
            v: self.linear(R::V, R::VBias, i)?,
            o: self.linear(R::O, R::OBias, i)?,
            ffn_norm: self.needed_norm(R::FfnNorm, R::FfnNormBias, i)?,
            gate: gate.transpose()?,
            up: self.linear(R::Up, R::UpBias, i)?,
            down: self.linear(R::Down, R::DownBias, i)?,
        })
    }

    /// The head has few rows and decides the scores: it is never coded.
    fn head(&self) -> Result<Head> {
        let plain = Loader {
            rule: None,
            ..*self
        };
        Ok(Head {
            dense: plain.linear(R::HeadDense, R::HeadDenseBias, 0)?,
            norm: plain.norm(R::HeadNorm, R::HeadNormBias, 0)?,
            classifier: plain.linear(R::Classifier, R::ClassifierBias, 0)?,
        })
    }

    fn linear(&self, weight: R, bias: R, layer: usize) -> Result<Linear> {
        Ok(Linear {
            weights: self.matrix(weight, layer)?,
            bias: self.vector(bias, layer)?,
        })
    }

    fn norm(&self, weight: R, bias: R, layer: usize) -> Result<Option<NormWeights>> {
        let Some(weight) = self.vector(weight, layer)? else {
            return Ok(None);
        };
        let bias = self.vector(bias, layer)?;
        Ok(Some(NormWeights { weight, bias }))
    }

    fn needed_norm(&self, weight: R, bias: R, layer: usize) -> Result<NormWeights> {
        self.norm(weight, bias, layer)?
            .ok_or_else(|| missing(weight))
    }

    fn vector(&self, role: R, layer: usize) -> Result<Option<Vec<f32>>> {
        let weight = self.spec.read(&**self.source, role, layer)?;
        weight.map(|w| Ok(w.to_f32()?)).transpose()
    }

    fn table(&self, role: R) -> Result<Option<Table>> {
        let place = self.spec.weight(role, 0, self.source.layout());
        place.map(|at| Table::read(self.source, &at)).transpose()
    }

    /// Packs a matrix: as the rule says, in its stored blocks, or in f32.
    fn matrix(&self, role: R, layer: usize) -> Result<Matrix> {
        let weight = self.spec.read(&**self.source, role, layer)?;
        let weight = weight.ok_or_else(|| missing(role))?;
        let [n, k] = weight.shape[..] else {
            return Err(missing(role));
        };
        // The rule tells matrices of blocks apart from heads alone, which are not coded here.
        let coded = quantize_on_load::pack(self.rule, Role::Q, &weight, (self.isa, self.pool))?;
        let matrix = match (coded, packed_format(weight.ty)) {
            (Some(matrix), _) => matrix,
            (None, Some(format)) if weight.ty.block_size() > 1 || format == Format::F32 => {
                Matrix::pack(self.isa, format, &weight.data, n, k, self.pool)?
            }
            (None, _) => {
                let values = weight.to_f32()?;
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                Matrix::pack(self.isa, Format::F32, &bytes, n, k, self.pool)?
            }
        };
        if let Cow::Borrowed(data) = &weight.data {
            self.source.release(data);
        }
        Ok(matrix)
    }
}

/// Refuses a rule that some matrix could not follow.
pub(super) fn check_rule(rule: Option<&LoadQuantize>, spec: &EncoderSpec) -> Result<()> {
    let Some(rule) = rule else { return Ok(()) };
    rule.check()?;
    let fits = |k: usize| k.is_multiple_of(TensorType::Q8_0.block_size());
    if fits(spec.hidden) && fits(spec.ffn) {
        return Ok(());
    }
    Err(Error::Option {
        name: "quantize",
        value: format!(
            "{} with {} and {} columns",
            rule.format, spec.hidden, spec.ffn
        ),
        allowed: "f32 for matrices whose columns are not whole blocks of 32",
    })
}

/// The error for a weight that the specification does not have.
fn missing(role: R) -> Error {
    Error::MissingTensor {
        name: format!("{role:?}"),
    }
}
