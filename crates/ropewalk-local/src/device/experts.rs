//! Feed-forward layers of which each row uses some.

use candle_core::{DType, Tensor};
use candle_nn::ops::{sigmoid, softmax_last_dim};
use ropewalk_spec::Activation;

use super::layer::Mlp;
use super::tensor::{Done, Input, Linear};
use crate::decoder::Routes;

/// Several feed-forward layers on a device.
#[derive(Debug)]
pub(super) struct Mixture {
    /// `[experts, hidden]`.
    pub(super) router: Linear,
    pub(super) experts: Vec<Mlp>,
    /// The router, `[1, hidden]`, and the expert that every row uses.
    pub(super) shared: Option<(Linear, Mlp)>,
    pub(super) used: usize,
    pub(super) normalise: bool,
}

impl Mixture {
    /// Computes rows `[rows, hidden]`. The probabilities come to the host, which chooses experts
    /// as the CPU does: one exchange per layer. The rows of each expert are multiplied together.
    pub(super) fn forward(&self, input: &Input, activation: Activation) -> Done<Tensor> {
        let x = input.rows();
        let device = x.device();
        let scores = softmax_last_dim(&self.router.forward(input)?)?;
        let scores: Vec<f32> = scores.flatten_all()?.to_vec1()?;
        let mut routes = Routes::default();
        routes.choose(&scores, self.experts.len(), self.used, self.normalise);
        // The weight of every slot.
        let mut weights = vec![0f32; routes.rows.len()];
        for &(slot, weight) in routes.per_row().flatten() {
            weights[slot] = weight;
        }
        let mut out = Tensor::zeros(x.shape(), DType::F32, device)?;
        for group in &routes.groups {
            let n = group.slots.len();
            let rows = routes.rows[group.slots.clone()].iter();
            let rows: Vec<u32> = rows.map(|&row| row as u32).collect();
            let rows = Tensor::from_vec(rows, n, device)?;
            let weights = weights[group.slots.clone()].to_vec();
            let weights = Tensor::from_vec(weights, (n, 1), device)?;
            let part = Input::new(x.index_select(&rows, 0)?);
            let part = self.experts[group.expert].forward(&part, activation)?;
            out = out.index_add(&rows, &part.broadcast_mul(&weights)?, 0)?;
        }
        if let Some((router, mlp)) = &self.shared {
            let gate = sigmoid(&router.forward(input)?)?;
            out = (out + mlp.forward(input, activation)?.broadcast_mul(&gate)?)?;
        }
        Ok(out)
    }

    /// Bytes of `experts` experts and of what every row uses.
    pub(super) fn bytes(&self, all: bool) -> usize {
        let count = if all { self.experts.len() } else { self.used };
        let one = self.experts.first().map_or(0, Mlp::bytes);
        let shared = self.shared.as_ref();
        let shared = shared.map_or(0, |(router, mlp)| router.bytes() + mlp.bytes());
        self.router.bytes() + one * count + shared
    }
}
