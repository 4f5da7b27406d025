//! Attention over keys and values that stay where they are.
//!
//! Query heads that share a key head are rows of one product: `[kv_heads, group * rows, d]` by
//! `[kv_heads, d, n]`. The keys are a view of the first `n` of `capacity` positions, which the
//! products of candle 0.11.1 take as they are: `gemm_config` in its CUDA back end gives the step between
//! heads to cuBLAS as the stride of the batch, and its Metal back end hands the strides of the layout to
//! `call_mlx_gemm`. Nothing is copied, whatever the length of the context.

use candle_core::{D, DType, Tensor};
use candle_nn::ops::softmax_last_dim;
use ropewalk_spec::ModelSpec;

use super::cache::Kv;
use super::sizes::SCORES;
use super::tensor::Done;

/// New rows of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// Where they begin among all rows of the pass.
    pub(super) start: usize,
    pub(super) count: usize,
    /// The position of the first.
    pub(super) first: usize,
}

impl Rows {
    /// Positions that any of the rows sees, with the rows themselves.
    fn seen(&self, window: Option<usize>) -> std::ops::Range<usize> {
        let from = window.map_or(0, |w| (self.first + 1).saturating_sub(w));
        from..self.first + self.count
    }

    /// Makes what is added to scores, `[count, seen]`; `None` where every row sees everything.
    pub(super) fn mask(
        &self,
        window: Option<usize>,
        device: &candle_core::Device,
    ) -> Done<Option<Tensor>> {
        let seen = self.seen(window);
        if self.count == 1 {
            return Ok(None);
        }
        let width = seen.len();
        let mut mask = vec![0f32; self.count * width];
        for (row, mask) in mask.chunks_exact_mut(width).enumerate() {
            let position = self.first + row;
            let from = window.map_or(0, |w| (position + 1).saturating_sub(w));
            mask[..from.saturating_sub(seen.start)].fill(f32::NEG_INFINITY);
            mask[position + 1 - seen.start..].fill(f32::NEG_INFINITY);
        }
        Tensor::from_vec(mask, (self.count, width), device).map(Some)
    }
}

/// Stores the keys and values of some rows and returns what attention gives for them,
/// `[count, q_dim]` in f32. `q`, `k` and `v` are `[heads, rows of the pass, head_dim]` in f32.
pub(super) fn attend(
    spec: &ModelSpec,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    rows: Rows,
    window: Option<usize>,
    mask: Option<&Tensor>,
    kv: &Kv,
) -> Done<Tensor> {
    let dtype = kv.k.dtype();
    for (new, store) in [(k, &kv.k), (v, &kv.v)] {
        let new = new.narrow(1, rows.start, rows.count)?.to_dtype(dtype)?;
        store.slice_set(&new.contiguous()?, 1, rows.first)?;
    }
    let seen = rows.seen(window);
    let keys = kv.k.narrow(1, seen.start, seen.len())?.transpose(1, 2)?;
    let values = kv.v.narrow(1, seen.start, seen.len())?;
    let scale = spec
        .attention_scale
        .unwrap_or_else(|| spec.usual_attention_scale());
    let q = (q.narrow(1, rows.start, rows.count)? * f64::from(scale))?.to_dtype(dtype)?;

    let (group, dim) = (spec.group(), spec.head_dim);
    let at_once = (SCORES / (spec.heads * seen.len())).clamp(1, rows.count);
    let mut out = Vec::with_capacity(rows.count.div_ceil(at_once));
    for from in (0..rows.count).step_by(at_once) {
        let n = at_once.min(rows.count - from);
        let q = q.narrow(1, from, n)?.contiguous()?;
        let q = q.reshape((spec.kv_heads, group * n, dim))?;
        let mut scores = q.matmul(&keys)?.to_dtype(DType::F32)?;
        if let Some(cap) = spec.attention_softcap.map(f64::from) {
            scores = ((scores / cap)?.tanh()? * cap)?;
        }
        if let Some(mask) = mask {
            let by_head = scores.reshape((spec.heads, n, seen.len()))?;
            let masked = by_head.broadcast_add(&mask.narrow(0, from, n)?)?;
            scores = masked.reshape(scores.shape())?;
        }
        let weights = softmax_last_dim(&scores)?.to_dtype(dtype)?;
        let mixed = weights.matmul(&values)?.to_dtype(DType::F32)?;
        let by_row = mixed.reshape((spec.heads, n, dim))?.transpose(0, 1)?;
        out.push(by_row.contiguous()?.reshape((n, spec.q_dim()))?);
    }
    match &out[..] {
        [one] => Ok(one.clone()),
        _ => Tensor::cat(&out, 0),
    }
}

/// Rotates the first features of heads, `[heads, rows, head_dim]`, by angles of `[rows, pairs]`.
pub(super) fn rotate(x: &Tensor, (cos, sin): (&Tensor, &Tensor)) -> Done<Tensor> {
    let (dim, turned) = (x.dim(D::Minus1)?, 2 * cos.dim(D::Minus1)?);
    let part = if turned == dim {
        x.clone()
    } else {
        x.narrow(D::Minus1, 0, turned)?.contiguous()?
    };
    let part = candle_nn::rotary_emb::rope(&part.unsqueeze(0)?, cos, sin)?.squeeze(0)?;
    if turned == dim {
        return Ok(part);
    }
    let rest = x.narrow(D::Minus1, turned, dim - turned)?;
    Tensor::cat(&[&part, &rest.contiguous()?], D::Minus1)
}
