//! The feed-forward layer.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{kept, slice, tensor, with};
use crate::compute::{Compute, Mat};
use crate::math;

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
                );
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
            );
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
            );
        })?;
        Ok((
            Some(tensor(dx, (t, k))?),
            Some(tensor(dgu, (f2, k))?),
            Some(tensor(dd, (n, f))?),
        ))
    }
}
