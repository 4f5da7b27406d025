//! Attention.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{kept, slice, tensor, with};
use crate::compute::Compute;
use crate::math::{self, Heads, Rope};

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
