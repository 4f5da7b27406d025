//! From tensors of a file to tensors on a device.

use std::borrow::Cow;

use candle_core::Tensor;
use ropewalk_spec::{ModelSpec, Norm as NormKind, Residual, Role, TensorSource, Weight};

use super::experts::Mixture;
use super::layer::{FeedForward, Layer, Mlp, Norm, Norms};
use super::tensor::{Linear, failed};
use super::{Device, DeviceDtype};
use crate::{Error, Result};

/// Reads the weights of one device.
pub(super) struct Loader<'a> {
    pub(super) spec: &'a ModelSpec,
    pub(super) source: &'a dyn TensorSource,
    pub(super) dtype: DeviceDtype,
    pub(super) device: Device,
    pub(super) on: &'a candle_core::Device,
}

impl Loader<'_> {
    pub(super) fn layer(&self, layer: usize) -> Result<Layer> {
        let at = Some(layer);
        let before = self.norm(Role::AttnNorm, Role::AttnNormBias, at)?;
        let second = match self.spec.residual {
            // Both parts see the stream through the same norm.
            Residual::ParallelOneNorm => before.clone(),
            _ => self.norm(Role::FfnNorm, Role::FfnNormBias, at)?,
        };
        let qk_norm = match self.vector(Role::QNorm, at)? {
            Some(q) => {
                let k = self.vector(Role::KNorm, at)?;
                let k = k.ok_or_else(|| missing(Role::KNorm))?;
                let rms = |weight| Norm {
                    weight,
                    bias: None,
                    eps: self.spec.norm_eps,
                };
                Some((rms(q), rms(k)))
            }
            None => None,
        };
        Ok(Layer {
            attention_norms: Norms {
                before,
                after: self.norm_of(Role::AttnPostNorm, None, at)?,
            },
            q: self.linear(Role::Q, Some(Role::QBias), at)?,
            k: self.linear(Role::K, Some(Role::KBias), at)?,
            v: self.linear(Role::V, Some(Role::VBias), at)?,
            o: self.linear(Role::O, Some(Role::OBias), at)?,
            qk_norm,
            feed_forward_norms: Norms {
                before: second,
                after: self.norm_of(Role::FfnPostNorm, None, at)?,
            },
            feed_forward: if self.spec.has_experts(layer) {
                FeedForward::Mixture(self.mixture(layer)?)
            } else {
                FeedForward::Dense(Mlp {
                    gate: self.gate(|| self.linear(Role::Gate, Some(Role::GateBias), at))?,
                    up: self.linear(Role::Up, Some(Role::UpBias), at)?,
                    down: self.linear(Role::Down, Some(Role::DownBias), at)?,
                })
            },
        })
    }

    /// Reads the norm and the matrix between the last block and the logits.
    pub(super) fn head(&self) -> Result<(Norm, Linear)> {
        let norm = self.norm(Role::OutputNorm, Role::OutputNormBias, None)?;
        let norm = norm.ok_or_else(|| missing(Role::OutputNorm))?;
        Ok((norm, self.linear(Role::Head, None, None)?))
    }

    fn mixture(&self, layer: usize) -> Result<Mixture> {
        let at = Some(layer);
        let shape = self.spec.experts.as_ref();
        let shape = shape.ok_or_else(|| missing(Role::Router))?;
        let expert = |role: Role, expert: usize| -> Result<Linear> {
            let weight = self.spec.read_expert(self.source, role, layer, expert)?;
            self.matrix(role, weight)
        };
        let one = |i: usize| -> Result<Mlp> {
            Ok(Mlp {
                gate: self.gate(|| expert(Role::ExpertGate, i))?,
                up: expert(Role::ExpertUp, i)?,
                down: expert(Role::ExpertDown, i)?,
            })
        };
        let shared = || -> Result<(Linear, Mlp)> {
            let mlp = Mlp {
                gate: self.gate(|| self.linear(Role::SharedGate, None, at))?,
                up: self.linear(Role::SharedUp, None, at)?,
                down: self.linear(Role::SharedDown, None, at)?,
            };
            Ok((self.linear(Role::SharedRouter, None, at)?, mlp))
        };
        Ok(Mixture {
            router: self.linear(Role::Router, None, at)?,
            experts: (0..shape.count).map(one).collect::<Result<_>>()?,
            shared: shape.shared.map(|_| shared()).transpose()?,
            used: shape.used,
            normalise: shape.normalise,
        })
    }

    fn gate(&self, read: impl FnOnce() -> Result<Linear>) -> Result<Option<Linear>> {
        self.spec.gated.then(read).transpose()
    }

    fn linear(&self, role: Role, bias: Option<Role>, at: Option<usize>) -> Result<Linear> {
        let weight = self.spec.read(self.source, role, at)?;
        let mut linear = self.matrix(role, weight)?;
        if let Some(bias) = bias {
            linear.bias = self.vector(bias, at)?;
        }
        Ok(linear)
    }

    fn matrix(&self, role: Role, weight: Option<Weight<'_>>) -> Result<Linear> {
        let weight = weight.ok_or_else(|| missing(role))?;
        let name = format!("{role:?}");
        let linear = Linear::read(&name, &weight, self.dtype, (self.device, self.on))?;
        if let Cow::Borrowed(data) = weight.data {
            self.source.release(data);
        }
        Ok(linear)
    }

    fn norm(&self, weight: Role, bias: Role, at: Option<usize>) -> Result<Option<Norm>> {
        self.norm_of(weight, Some(bias), at)
    }

    /// Reads a norm; a layer norm without a bias gets one of zeros.
    fn norm_of(&self, weight: Role, bias: Option<Role>, at: Option<usize>) -> Result<Option<Norm>> {
        let Some(weight) = self.vector(weight, at)? else {
            return Ok(None);
        };
        let mut bias = bias.map_or(Ok(None), |bias| self.vector(bias, at))?;
        if self.spec.norm != NormKind::Layer {
            bias = None;
        } else if bias.is_none() {
            let zeros = weight.zeros_like();
            bias = Some(zeros.map_err(failed(self.device, "taking a norm"))?);
        }
        Ok(Some(Norm {
            weight,
            bias,
            eps: self.spec.norm_eps,
        }))
    }

    /// Reads a vector that the specification may leave out, in f32.
    fn vector(&self, role: Role, at: Option<usize>) -> Result<Option<Tensor>> {
        let Some(weight) = self.spec.read(self.source, role, at)? else {
            return Ok(None);
        };
        let values = weight.to_f32()?;
        let len = values.len();
        let tensor = Tensor::from_vec(values, len, self.on);
        tensor
            .map(Some)
            .map_err(failed(self.device, "taking a vector"))
    }
}

/// The error for a weight that the specification does not have.
fn missing(role: Role) -> Error {
    Error::MissingTensor {
        name: format!("{role:?}"),
    }
}
