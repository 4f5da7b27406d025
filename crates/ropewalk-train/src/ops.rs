//! Differentiable operations for candle's autograd. Its own fused norms, softmax and rotary embedding have no backward
//! and cut the gradient without an error, so everything a decoder needs is here, each with its hand-written gradient.
//!
//! All inputs are contiguous f32 on the CPU; anything else is an error.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor,
    bail,
};

use crate::batch::Batch;
use crate::compute::{Compute, Mat};
use crate::math::{self, Heads, Rope};

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
                )
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
                )
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
                    math::rms_norm_grad(&self.c, x, w, &kept(&self.inv), g, &mut dx, &mut dw)
                })
            })
        })???;
        Ok((Some(tensor(dx, (t, d))?), Some(tensor(dw, d)?)))
    }
}

struct Mlp {
    c: Compute,
    gate_up: Mutex<Vec<f32>>,
}

/// The feed-forward layer `(silu(x g^T) * x u^T) d^T` (Shazeer 2020) with `gate_up = g | u` stacked, `[2 f, k]`, and
/// `down` `[n, f]`: `[t, k] -> [t, n]`. Keeps the two projections for the backward pass.
pub(crate) fn mlp(c: &Compute, x: &Tensor, gate_up: &Tensor, down: &Tensor) -> Result<Tensor> {
    x.apply_op3(
        gate_up,
        down,
        Mlp {
            c: c.clone(),
            gate_up: Mutex::default(),
        },
    )
}

impl CustomOp3 for Mlp {
    fn name(&self) -> &'static str {
        "ropewalk-mlp"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gu, d) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let ((t, k), (f2, k2), (n, f)) = (
            l1.shape().dims2()?,
            l2.shape().dims2()?,
            l3.shape().dims2()?,
        );
        if k != k2 || f2 != 2 * f {
            bail!("mlp: input [{t}, {k}], gate and up [{f2}, {k2}], down [{n}, {f}]");
        }
        let (mut h, mut m, mut y) = (vec![0.0; t * f2], vec![0.0; t * f], vec![0.0; t * n]);
        self.c.gemm(
            [t, f2, k],
            1.0,
            Mat::new(x, k),
            Mat::new(gu, k).t(),
            0.0,
            &mut h,
            f2,
        );
        math::swiglu(&self.c, &h, f, &mut m);
        self.c.gemm(
            [t, n, f],
            1.0,
            Mat::new(&m, f),
            Mat::new(d, f).t(),
            0.0,
            &mut y,
            n,
        );
        *kept(&self.gate_up) = h;
        Ok((CpuStorage::F32(y), (t, n).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gu: &Tensor,
        d: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((t, k), (n, f)) = (x.dims2()?, d.dims2()?);
        let (f2, h, c) = (2 * f, kept(&self.gate_up), &self.c);
        let (mut m, mut dm, mut dh) = (vec![0.0; t * f], vec![0.0; t * f], vec![0.0; t * f2]);
        let (mut dx, mut dgu, mut dd) = (vec![0.0; t * k], vec![0.0; f2 * k], vec![0.0; n * f]);
        math::swiglu(c, &h, f, &mut m);
        let g = g.contiguous()?;
        with(&g, |g| -> Result<()> {
            with(d, |d| {
                c.gemm(
                    [t, f, n],
                    1.0,
                    Mat::new(g, n),
                    Mat::new(d, f),
                    0.0,
                    &mut dm,
                    f,
                )
            })?;
            c.gemm(
                [n, f, t],
                1.0,
                Mat::new(g, n).t(),
                Mat::new(&m, f),
                0.0,
                &mut dd,
                f,
            );
            Ok(())
        })??;
        math::swiglu_grad(c, &h, f, &dm, &mut dh);
        with(gu, |gu| {
            c.gemm(
                [t, k, f2],
                1.0,
                Mat::new(&dh, f2),
                Mat::new(gu, k),
                0.0,
                &mut dx,
                k,
            )
        })?;
        with(x, |x| {
            c.gemm(
                [f2, k, t],
                1.0,
                Mat::new(&dh, f2).t(),
                Mat::new(x, k),
                0.0,
                &mut dgu,
                k,
            )
        })?;
        Ok((
            Some(tensor(dx, (t, k))?),
            Some(tensor(dgu, (f2, k))?),
            Some(tensor(dd, (n, f))?),
        ))
    }
}

struct Attention {
    c: Compute,
    heads: Heads,
    rope: Arc<Rope>,
    starts: Arc<[usize]>,
    rotated: Mutex<Vec<f32>>,
    probs: Mutex<Vec<f32>>,
}

/// Rotary embedding and causal grouped-query attention inside each document: rows `q heads | k heads | v heads`
/// `[t, (q + 2 kv) dim] -> [t, q dim]`. Keeps the rotated rows and the probabilities for the backward pass.
pub(crate) fn attention(
    c: &Compute,
    x: &Tensor,
    heads: Heads,
    rope: &Arc<Rope>,
    starts: &Arc<[usize]>,
) -> Result<Tensor> {
    let (rotated, probs) = (Mutex::default(), Mutex::default());
    x.apply_op1(Attention {
        c: c.clone(),
        heads,
        rope: rope.clone(),
        starts: starts.clone(),
        rotated,
        probs,
    })
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "ropewalk-attention"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut x = slice(s, l)?.to_vec();
        let (t, row) = l.shape().dims2()?;
        if row != self.heads.row() || self.starts.last() != Some(&t) {
            bail!(
                "attention: input [{t}, {row}] does not fit {:?} and {:?}",
                self.heads,
                self.starts.last()
            );
        }
        let out = self.heads.q * self.heads.dim;
        let mut y = vec![0.0; t * out];
        let mut p = vec![0.0; math::probs_len(&self.starts, self.heads)];
        math::attention(
            &self.c,
            &mut x,
            &self.starts,
            self.heads,
            &self.rope,
            &mut p,
            &mut y,
        );
        *kept(&self.rotated) = x;
        *kept(&self.probs) = p;
        Ok((CpuStorage::F32(y), (t, out).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let mut dx = vec![0.0; x.elem_count()];
        let (rotated, probs) = (kept(&self.rotated), kept(&self.probs));
        with(&g, |g| {
            math::attention_grad(
                &self.c,
                &rotated,
                &self.starts,
                self.heads,
                &self.rope,
                &probs,
                g,
                &mut dx,
            );
        })?;
        Ok(Some(tensor(dx, x.shape())?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Doc;
    use crate::rng::Rng;
    use candle_core::Var;

    fn random(seed: u32, shape: &[usize], scale: f32) -> Var {
        let mut r = Rng::new(11, seed, 0);
        let n = shape.iter().product();
        let v: Vec<f32> = (0..n).map(|_| r.normal() * scale).collect();
        Var::from_tensor(&Tensor::from_vec(v, shape, &Device::Cpu).unwrap()).unwrap()
    }

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Compares the gradient of `sum(f(vars) * fixed)` with central differences in f32.
    fn check(name: &str, vars: &[Var], f: impl Fn(&[Var]) -> Result<Tensor>) {
        let y = f(vars).unwrap();
        let fixed = random(99, y.dims(), 1.0).as_tensor().clone();
        let loss = |v: &[Var]| -> Result<Tensor> { (f(v)? * &fixed)?.sum_all() };
        let grads = loss(vars).unwrap().backward().unwrap();
        for (i, var) in vars.iter().enumerate() {
            let g = values(grads.get(var).unwrap());
            let base = values(var);
            let mut worst = 0.0f64;
            let size = g.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
                / (g.len() as f64).sqrt();
            for j in (0..base.len()).step_by((base.len() / 40).max(1)) {
                let at = |e: f32| {
                    let mut b = base.clone();
                    b[j] += e;
                    var.set(&Tensor::from_vec(b, var.shape(), &Device::Cpu).unwrap())
                        .unwrap();
                    let y = values(&f(vars).unwrap());
                    y.iter()
                        .zip(values(&fixed))
                        .map(|(a, b)| f64::from(*a) * f64::from(b))
                        .sum::<f64>()
                };
                let h = 4e-3;
                // Richardson: error of order h^4.
                let (d1, d2) = (
                    (at(h) - at(-h)) / f64::from(2.0 * h),
                    (at(2.0 * h) - at(-2.0 * h)) / f64::from(4.0 * h),
                );
                worst = worst.max((((4.0 * d1 - d2) / 3.0) - f64::from(g[j])).abs() / size);
            }
            var.set(&Tensor::from_vec(base, var.shape(), &Device::Cpu).unwrap())
                .unwrap();
            assert!(worst < 2e-3, "{name}: input {i}: relative error {worst}");
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let c = Compute::new(2);
        check(
            "linear",
            &[random(0, &[9, 6], 1.0), random(1, &[5, 6], 1.0)],
            |v| linear(&c, &v[0], &v[1]),
        );
        check(
            "rms norm",
            &[random(2, &[130, 6], 1.0), random(3, &[6], 1.0)],
            |v| rms_norm(&c, &v[0], &v[1], 1e-5),
        );
        let weights = [
            random(4, &[70, 6], 1.0),
            random(9, &[10, 6], 0.7),
            random(10, &[4, 5], 0.7),
        ];
        check("mlp", &weights, |v| mlp(&c, &v[0], &v[1], &v[2]));
        let heads = Heads {
            q: 4,
            kv: 2,
            dim: 6,
        };
        let rope = Arc::new(Rope::new(6, 10_000.0, 16));
        let starts: Arc<[usize]> = vec![0, 7, 8, 19].into();
        check("attention", &[random(5, &[19, 48], 1.0)], |v| {
            attention(&c, &v[0], heads, &rope, &starts)
        });
        let ids: Arc<[u32]> = vec![3, 0, 3, 1].into();
        check("embedding", &[random(6, &[5, 4], 1.0)], |v| {
            embedding(&v[0], &ids)
        });
        let doc = Doc::new(vec![0, 3, 1, 4, 2, 2], vec![0.0, 1.0, 0.0, 0.5, 2.0, 1.0]);
        let batch = Batch::pack(&[doc]).unwrap();
        check(
            "cross-entropy",
            &[random(7, &[5, 4], 1.0), random(8, &[6, 4], 1.0)],
            |v| cross_entropy(&c, &v[0], &v[1], &batch, batch.weight()),
        );
    }

    #[test]
    fn documents_do_not_see_each_other() {
        let c = Compute::new(1);
        let heads = Heads {
            q: 2,
            kv: 1,
            dim: 4,
        };
        let rope = Arc::new(Rope::new(4, 10_000.0, 16));
        let x = random(5, &[9, 16], 1.0);
        let both = values(&attention(&c, &x, heads, &rope, &vec![0, 4, 9].into()).unwrap());
        let second = x.narrow(0, 4, 5).unwrap().contiguous().unwrap();
        let alone = values(&attention(&c, &second, heads, &rope, &vec![0, 5].into()).unwrap());
        assert_eq!(&both[4 * 8..], &alone[..]);
    }

    #[test]
    fn wrong_input_is_an_error() {
        let c = Compute::new(1);
        let x = random(0, &[3, 4], 1.0);
        assert!(linear(&c, &x, &random(1, &[5, 3], 1.0)).is_err());
        assert!(linear(&c, &x.t().unwrap(), &random(1, &[5, 3], 1.0)).is_err());
        assert!(embedding(&x, &vec![3].into()).is_err());
    }
}
