//! The weights of one block, packed for this machine.

use std::borrow::Cow;
use std::sync::Arc;

use ropewalk_gguf::TensorType;
use ropewalk_kernels::{Format, Isa, Matrix, Pool};
use ropewalk_spec::{ModelSpec, Residual, Role, TensorSource, Weight};

use super::held::Held;
use super::missing;
use super::table::row_reader;
use crate::adapter::{Merge, Site};
use crate::decoder::{
    Attention, FeedForward, Layer, Linear, Mixture, Mlp, NormWeights, Norms, Shared,
};
use crate::quantize_on_load::{self, LoadQuantize};
use crate::{Error, Result};

pub(super) struct Loader<'a> {
    pub(super) spec: &'a ModelSpec,
    pub(super) source: &'a Arc<dyn TensorSource>,
    pub(super) rule: Option<&'a LoadQuantize>,
    pub(super) merge: &'a Merge,
    pub(super) isa: Isa,
    pub(super) pool: &'a Pool,
}

impl Loader<'_> {
    pub(super) fn layer(&self, i: usize) -> Result<Layer> {
        let at = Some(i);
        let qk_norm = match self.vector(Role::QNorm, at)? {
            Some(q) => {
                let k = self.vector(Role::KNorm, at)?;
                Some((q, k.ok_or_else(|| missing(Role::KNorm))?))
            }
            None => None,
        };
        let before = self.norm(Role::AttnNorm, Role::AttnNormBias, at)?;
        let second = match self.spec.residual {
            // Both parts see the stream through the same norm.
            Residual::ParallelOneNorm => before.clone(),
            _ => self.norm(Role::FfnNorm, Role::FfnNormBias, at)?,
        };
        Ok(Layer {
            attention_norms: Norms {
                before,
                after: self.plain_norm(Role::AttnPostNorm, at)?,
            },
            attention: Attention {
                q: self.linear(Role::Q, Role::QBias, at)?,
                k: self.linear(Role::K, Role::KBias, at)?,
                v: self.linear(Role::V, Role::VBias, at)?,
                o: self.linear(Role::O, Role::OBias, at)?,
                qk_norm,
            },
            feed_forward_norms: Norms {
                before: second,
                after: self.plain_norm(Role::FfnPostNorm, at)?,
            },
            feed_forward: if self.spec.has_experts(i) {
                FeedForward::Mixture(self.mixture(i)?)
            } else {
                FeedForward::Dense(self.dense(at)?)
            },
        })
    }

    fn dense(&self, at: Option<usize>) -> Result<Mlp> {
        let gate = self
            .spec
            .gated
            .then(|| self.linear(Role::Gate, Role::GateBias, at));
        Ok(Mlp {
            gate: gate.transpose()?,
            up: self.linear(Role::Up, Role::UpBias, at)?,
            down: self.linear(Role::Down, Role::DownBias, at)?,
        })
    }

    fn mixture(&self, layer: usize) -> Result<Mixture> {
        let at = Some(layer);
        let shape = self.spec.experts.as_ref();
        let shape = shape.ok_or_else(|| missing(Role::Router))?;
        let expert = |role: Role, expert: usize| -> Result<Linear> {
            let weights = self.pack(role, None, |source| {
                let weight = self.spec.read_expert(source, role, layer, expert)?;
                weight.ok_or_else(|| missing(role))
            })?;
            Ok(Linear {
                weights,
                bias: None,
                site: Site::None,
            })
        };
        let one = |i: usize| -> Result<Mlp> {
            let gate = self.spec.gated.then(|| expert(Role::ExpertGate, i));
            Ok(Mlp {
                gate: gate.transpose()?,
                up: expert(Role::ExpertUp, i)?,
                down: expert(Role::ExpertDown, i)?,
            })
        };
        let plain = |role: Role| -> Result<Linear> {
            Ok(Linear {
                weights: self.matrix(role, at)?,
                bias: None,
                site: Site::None,
            })
        };
        let shared = || -> Result<Shared> {
            let gate = self.spec.gated.then(|| plain(Role::SharedGate));
            Ok(Shared {
                router: self.matrix(Role::SharedRouter, at)?,
                mlp: Mlp {
                    gate: gate.transpose()?,
                    up: plain(Role::SharedUp)?,
                    down: plain(Role::SharedDown)?,
                },
            })
        };
        Ok(Mixture {
            router: self.matrix(Role::Router, at)?,
            experts: (0..shape.count).map(one).collect::<Result<_>>()?,
            shared: shape.shared.map(|_| shared()).transpose()?,
            used: shape.used,
            normalise: shape.normalise,
        })
    }

    fn linear(&self, weight: Role, bias: Role, at: Option<usize>) -> Result<Linear> {
        Ok(Linear {
            weights: self.matrix(weight, at)?,
            bias: self.vector(bias, at)?,
            site: Site::of(weight, at),
        })
    }

    /// Reads a norm and its bias, where the model has them.
    pub(super) fn norm(
        &self,
        weight: Role,
        bias: Role,
        at: Option<usize>,
    ) -> Result<Option<NormWeights>> {
        let Some(weight) = self.vector(weight, at)? else {
            return Ok(None);
        };
        let bias = self.vector(bias, at)?;
        Ok(Some(NormWeights { weight, bias }))
    }

    fn plain_norm(&self, role: Role, at: Option<usize>) -> Result<Option<NormWeights>> {
        let weight = self.vector(role, at)?;
        Ok(weight.map(|weight| NormWeights { weight, bias: None }))
    }

    /// Reads a vector that the specification may leave out.
    fn vector(&self, role: Role, at: Option<usize>) -> Result<Option<Vec<f32>>> {
        let weight = self.spec.read(&**self.source, role, at)?;
        let vector = weight.map(|w| w.to_f32()).transpose()?;
        self.merge.vector(role, at, vector)
    }

    pub(super) fn matrix(&self, role: Role, at: Option<usize>) -> Result<Matrix> {
        self.pack(role, at, |source| {
            let weight = self.spec.read(source, role, at)?;
            weight.ok_or_else(|| missing(role))
        })
    }

    /// Packs what `read` gives; types without packed kernels stay where they are and are decoded
    /// row by row.
    fn pack(
        &self,
        role: Role,
        at: Option<usize>,
        read: impl for<'s> Fn(&'s dyn TensorSource) -> Result<Weight<'s>>,
    ) -> Result<Matrix> {
        let weight = read(&**self.source)?;
        let lent = match &weight.data {
            Cow::Borrowed(data) => Some(*data),
            Cow::Owned(_) => None,
        };
        let merged = self.merge.touches(role, at);
        let coded = self.rule.is_some();
        let weight = self
            .merge
            .matrix((role, at), weight, coded, (self.isa, self.pool))?;
        let [n, k] = weight.shape[..] else {
            return Err(Error::Shape {
                name: format!("{role:?}"),
                found: weight.shape,
                wanted: vec![0, 0],
            });
        };
        let (isa, pool) = (self.isa, self.pool);
        let done = || {
            if let Some(data) = lent {
                self.source.release(data);
            }
        };
        if let Some(matrix) = quantize_on_load::pack(self.rule, role, &weight, (isa, pool))? {
            done();
            return Ok(matrix);
        }
        if let Some(format) = packed_format(weight.ty) {
            let matrix = Matrix::pack(isa, format, &weight.data, n, k, pool)?;
            done();
            return Ok(matrix);
        }
        let (held, shape, ty) = if merged {
            let (shape, ty) = (weight.shape.clone(), weight.ty);
            (Held::own(weight.data.into_owned()), shape, ty)
        } else {
            drop(weight);
            Held::read(self.source, read)?
        };
        let (decode, row_bytes) = row_reader(&format!("{role:?}"), &shape, ty)?;
        let source = Arc::new(held);
        Ok(Matrix::from_rows(source, n, k, row_bytes, decode, isa)?)
    }
}

/// Returns the packed format of a tensor type, where it has one.
pub(crate) fn packed_format(ty: TensorType) -> Option<Format> {
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
