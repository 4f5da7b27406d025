//! The loss.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::{slice, tensor};
use crate::batch::Batch;
use crate::compute::Compute;
use crate::math;

struct CrossEntropy {
    c: Compute,
    targets: Arc<[u32]>,
    weights: Arc<[f32]>,
    denom: f64,
    grads: Mutex<(Vec<f32>, Vec<f32>)>,
}

/// The weighted cross-entropy of `softmax(h w^T)` against the batch's targets, divided by `denom`: a scalar. Its
/// gradients are made in the forward pass, block by block.
pub(crate) fn cross_entropy(
    c: &Compute,
    h: &Tensor,
    w: &Tensor,
    batch: &Batch,
    denom: f64,
) -> Result<Tensor> {
    let (targets, weights) = (batch.targets.clone(), batch.weights.clone());
    h.apply_op2(
        w,
        CrossEntropy {
            c: c.clone(),
            targets,
            weights,
            denom,
            grads: Mutex::default(),
        },
    )
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "ropewalk-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (h, w) = (slice(s1, l1)?, slice(s2, l2)?);
        let ((t, d), (v, d2)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        if d != d2 || t != self.targets.len() {
            bail!(
                "cross-entropy: hidden [{t}, {d}], head [{v}, {d2}], {} targets",
                self.targets.len()
            );
        }
        if let Some(bad) = self.targets.iter().find(|&&i| i as usize >= v) {
            bail!("target {bad} is outside the vocabulary of {v}");
        }
        let out = math::cross_entropy(
            &self.c,
            h,
            w,
            d,
            &self.targets,
            &self.weights,
            self.denom,
            true,
        );
        *self.grads.lock().unwrap_or_else(PoisonError::into_inner) = (out.dh, out.dw);
        Ok((
            CpuStorage::F32(vec![(out.loss / self.denom) as f32]),
            Shape::from_dims(&[]),
        ))
    }

    fn bwd(
        &self,
        h: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let k = g.to_scalar::<f32>()?;
        let (mut dh, mut dw) =
            std::mem::take(&mut *self.grads.lock().unwrap_or_else(PoisonError::into_inner));
        if k != 1.0 {
            dh.iter_mut().chain(&mut dw).for_each(|v| *v *= k);
        }
        Ok((Some(tensor(dh, h.shape())?), Some(tensor(dw, w.shape())?)))
    }
}
