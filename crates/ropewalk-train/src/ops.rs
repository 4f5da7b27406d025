//! Differentiable operations for candle's autograd. Its own fused norms, softmax and rotary embedding have no backward
//! and cut the gradient without an error, so everything a decoder needs is here, each with its hand-written gradient.
//!
//! All inputs are contiguous f32 on the CPU; anything else is an error.

mod attention;
mod loss;
mod mlp;

pub(crate) use attention::attention;
pub(crate) use loss::cross_entropy;
pub(crate) use mlp::mlp;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Storage, Tensor, bail,
};

use crate::compute::{Compute, Mat};
use crate::math;

/// The values of a contiguous f32 storage.
fn slice<'a>(s: &'a CpuStorage, l: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(v) = s else {
        bail!("expected f32 values")
    };
    match l.contiguous_offsets() {
        Some((a, b)) => Ok(&v[a..b]),
        None => bail!("expected a contiguous tensor, got {l:?}"),
    }
}

/// Calls `f` with the values of a contiguous f32 CPU tensor.
pub(crate) fn with<T>(t: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (s, l) = t.storage_and_layout();
    match &*s {
        Storage::Cpu(s) => Ok(f(slice(s, l)?)),
        _ => bail!("expected a CPU tensor"),
    }
}

fn tensor(v: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(v, shape.into(), &Device::Cpu)
}

fn kept(m: &Mutex<Vec<f32>>) -> std::sync::MutexGuard<'_, Vec<f32>> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Linear(Compute);

/// `y[t, n] = x[t, k] w[n, k]^T`; gradients `dx = g w`, `dw = g^T x`.
pub(crate) fn linear(c: &Compute, x: &Tensor, w: &Tensor) -> Result<Tensor> {
    x.apply_op2(w, Linear(c.clone()))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "ropewalk-linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(s1, l1)?, slice(s2, l2)?);
        let ((t, k), (n, k2)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        if k != k2 {
            bail!("linear: input [{t}, {k}] does not fit the weight [{n}, {k2}]");
        }
        let mut y = vec![0.0; t * n];
        self.0.gemm(
            [t, n, k],
            1.0,
            Mat::new(x, k),
            Mat::new(w, k).t(),
            0.0,
            &mut y,
            n,
        );
        Ok((CpuStorage::F32(y), (t, n).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((t, k), n) = (x.dims2()?, w.dim(0)?);
        let g = g.contiguous()?;
        let (mut dx, mut dw) = (vec![0.0; t * k], vec![0.0; n * k]);
        with(&g, |g| -> Result<()> {
            with(w, |w| {
                self.0.gemm(
                    [t, k, n],
                    1.0,
                    Mat::new(g, n),
                    Mat::new(w, k),
                    0.0,
                    &mut dx,
                    k,
                );
            })?;
            with(x, |x| {
                self.0.gemm(
                    [n, k, t],
                    1.0,
                    Mat::new(g, n).t(),
                    Mat::new(x, k),
                    0.0,
                    &mut dw,
                    k,
                );
            })
        })??;
        Ok((Some(tensor(dx, (t, k))?), Some(tensor(dw, (n, k))?)))
    }
}

struct RmsNorm {
    c: Compute,
    eps: f32,
    inv: Mutex<Vec<f32>>,
}

/// `y = x / sqrt(mean(x^2) + eps) * w` over the last dimension (Zhang and Sennrich 2019).
pub(crate) fn rms_norm(c: &Compute, x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op2(
        w,
        RmsNorm {
            c: c.clone(),
            eps,
            inv: Mutex::default(),
        },
    )
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "ropewalk-rms-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(s1, l1)?, slice(s2, l2)?);
        let (t, d) = l1.shape().dims2()?;
        if w.len() != d {
            bail!("rms norm: rows of {d} values and a weight of {}", w.len());
        }
        let (mut y, mut inv) = (vec![0.0; t * d], vec![0.0; t]);
        math::rms_norm(&self.c, x, w, self.eps, &mut y, &mut inv);
        *kept(&self.inv) = inv;
        Ok((CpuStorage::F32(y), (t, d).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (t, d) = x.dims2()?;
        let (mut dx, mut dw) = (vec![0.0; t * d], vec![0.0; d]);
        let g = g.contiguous()?;
        with(x, |x| {
            with(w, |w| {
                with(&g, |g| {
                    math::rms_norm_grad(&self.c, x, w, &kept(&self.inv), g, &mut dx, &mut dw);
                })
            })
        })???;
        Ok((Some(tensor(dx, (t, d))?), Some(tensor(dw, d)?)))
    }
}

struct Embedding(Arc<[u32]>);

/// Rows `ids` of `w`, `[v, d] -> [t, d]`; the gradient is added up in the order of the ids.
pub(crate) fn embedding(w: &Tensor, ids: &Arc<[u32]>) -> Result<Tensor> {
    w.apply_op1(Embedding(ids.clone()))
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "ropewalk-embedding"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (w, (v, d)) = (slice(s, l)?, l.shape().dims2()?);
        let mut y = Vec::with_capacity(self.0.len() * d);
        for &id in self.0.iter() {
            let at = id as usize * d;
            let Some(row) = w.get(at..at + d) else {
                bail!("token {id} is outside the vocabulary of {v}")
            };
            y.extend_from_slice(row);
        }
        Ok((CpuStorage::F32(y), (self.0.len(), d).into()))
    }

    fn bwd(&self, w: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (v, d) = w.dims2()?;
        let mut dw = vec![0.0f32; v * d];
        with(&g.contiguous()?, |g| {
            for (&id, g) in self.0.iter().zip(g.chunks_exact(d)) {
                let at = id as usize * d;
                for (dw, g) in dw[at..at + d].iter_mut().zip(g) {
                    *dw += g;
                }
            }
        })?;
        Ok(Some(tensor(dw, (v, d))?))
    }
}

#[cfg(test)]
mod tests;
