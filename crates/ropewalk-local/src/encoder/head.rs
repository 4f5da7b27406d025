//! From hidden states to the scores of a classification head.

use ropewalk_kernels::{Acts, Isa, Job, Pool, matmul, ops};
use ropewalk_spec::{HeadActivation, PoolingMode};

use super::load::activation;
use super::model::{Encoder, EncoderInput};
use super::pooling::pool;
use super::weights::{Linear, Weights};
use crate::{Error, Result};

impl Encoder {
    /// Runs texts through the network and its classification head, and returns the logits of each,
    /// `[labels]`.
    ///
    /// # Errors
    /// As [`hidden_states`](Self::hidden_states); [`Error::MissingTensor`] for a model without a
    /// head.
    pub fn logits(&self, texts: &[EncoderInput]) -> Result<Vec<Vec<f32>>> {
        self.logits_while(texts, &|| true)
    }

    /// As [`logits`](Self::logits), as long as `wanted` says yes.
    pub(super) fn logits_while(
        &self,
        texts: &[EncoderInput],
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<f32>>> {
        let head = self.spec().head.as_ref();
        let head = head.ok_or_else(|| Error::MissingTensor {
            name: "classifier".to_owned(),
        })?;
        let mode = if head.mean {
            PoolingMode::Mean
        } else {
            PoolingMode::Cls
        };
        let hidden = self.spec().hidden;
        let mut pooled = vec![0.0; texts.len() * hidden];
        let mut one = Vec::with_capacity(hidden);
        self.run(texts, wanted, &mut |index, rows| {
            one.clear();
            pool(self.isa(), &[mode], hidden, rows, 0, &mut one);
            pooled[index * hidden..(index + 1) * hidden].copy_from_slice(&one);
        })?;
        let (isa, weights) = (self.isa(), self.weights());
        self.with_pool(|pool| weights.classify(pool, isa, &pooled))
    }
}

impl Weights {
    /// Takes pooled rows, `[rows, hidden]`, through the head; returns `[labels]` of each.
    fn classify(&self, pool: &Pool, isa: Isa, rows: &[f32]) -> Result<Vec<Vec<f32>>> {
        let (Some(head), Some(spec)) = (&self.head, &self.spec.head) else {
            return Ok(Vec::new());
        };
        let mut x = linear(pool, isa, &head.dense, rows)?;
        match spec.activation {
            // `cap tanh(x / cap)` with a cap of 1.
            HeadActivation::Tanh => ops::softcap(isa, &mut x, 1.0),
            HeadActivation::Relu => ops::activate(isa, ops::Activation::Relu, &mut x),
            HeadActivation::Other(of) => ops::activate(isa, activation(of)?, &mut x),
            other => {
                return Err(Error::Option {
                    name: "activation of the head",
                    value: format!("{other:?}"),
                    allowed: "one that this version computes",
                });
            }
        }
        if let Some(norm) = &head.norm {
            let (bias, eps) = (norm.bias.as_deref(), self.spec.norm_eps);
            for row in x.chunks_exact_mut(self.spec.hidden) {
                ops::layer_norm_in_place(isa, row, &norm.weight, bias, eps)?;
            }
        }
        let out = linear(pool, isa, &head.classifier, &x)?;
        Ok(out.chunks_exact(spec.labels).map(<[f32]>::to_vec).collect())
    }
}

/// Returns `x W^T + b`, `[rows, outputs]`.
pub(super) fn linear(pool: &Pool, isa: Isa, linear: &Linear, x: &[f32]) -> Result<Vec<f32>> {
    let (k, n) = (linear.weights.cols(), linear.weights.rows());
    let rows = x.len() / k.max(1);
    let mut acts = Acts::new();
    acts.prepare(pool, isa, x, rows, k, &[&linear.weights])?;
    let mut out = vec![0.0; rows * n];
    matmul(pool, &acts, &mut [Job::new(&linear.weights, &mut out)])?;
    if let Some(bias) = &linear.bias {
        for row in out.chunks_exact_mut(n) {
            ops::add(isa, row, bias)?;
        }
    }
    Ok(out)
}
