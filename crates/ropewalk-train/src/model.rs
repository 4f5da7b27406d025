//! The trainable decoder: Llama architecture, tied embeddings.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::compute::Compute;
use crate::error::{Result, TrainError};
use crate::math::{Heads, Rope};
use crate::ops;
use crate::rng::Rng;

/// Shape of a model of the Llama family (Touvron et al. 2023): pre-norm, rotary embedding, grouped-query attention,
/// SwiGLU, no biases, one matrix for input and output embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LmConfig {
    /// Pieces in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Longest sequence the model is meant for.
    pub context: usize,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Added under the root of each norm.
    pub norm_eps: f32,
}

impl LmConfig {
    /// The model shipped in `examples/data`: 4 layers of 256 values, 8 query and 4 key heads of 32.
    #[must_use]
    pub fn tiny(vocab: usize) -> Self {
        Self {
            vocab,
            hidden: 256,
            ffn: 768,
            layers: 4,
            heads: 8,
            kv_heads: 4,
            head_dim: 32,
            context: 1024,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
        }
    }

    /// Another width of the residual stream and of the feed-forward layer.
    #[must_use]
    pub fn with_width(self, hidden: usize, ffn: usize) -> Self {
        Self {
            hidden,
            ffn,
            ..self
        }
    }

    /// Another number of blocks.
    #[must_use]
    pub fn with_layers(self, layers: usize) -> Self {
        Self { layers, ..self }
    }

    /// Other query heads, key-value heads and width of a head.
    #[must_use]
    pub fn with_heads(self, heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            ..self
        }
    }

    /// The number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.shapes()
            .iter()
            .map(|(_, s)| s.iter().product::<usize>())
            .sum()
    }

    pub(crate) fn attention(&self) -> Heads {
        Heads {
            q: self.heads,
            kv: self.kv_heads,
            dim: self.head_dim,
        }
    }

    /// Names and shapes in registry order. `qkv` and `gate_up` stack the projections of one input.
    pub(crate) fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let h = self.hidden;
        let mut out = vec![("embed".to_owned(), vec![self.vocab, h])];
        for i in 0..self.layers {
            let mut add =
                |name: &str, shape: Vec<usize>| out.push((format!("layers.{i}.{name}"), shape));
            add("attn_norm", vec![h]);
            add("qkv", vec![self.attention().row(), h]);
            add("o", vec![h, self.heads * self.head_dim]);
            add("ffn_norm", vec![h]);
            add("gate_up", vec![2 * self.ffn, h]);
            add("down", vec![h, self.ffn]);
        }
        out.push(("norm".to_owned(), vec![h]));
        out
    }

    /// Refuses shapes that cannot work.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn check(&self) -> Result<()> {
        let bad = |m: String| Err(TrainError::Config(m));
        if [
            self.vocab,
            self.hidden,
            self.ffn,
            self.layers,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.context,
        ]
        .contains(&0)
        {
            return bad("every size must be at least 1".into());
        }
        if !self.head_dim.is_multiple_of(2) {
            return bad(format!("head_dim {} must be even", self.head_dim));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return bad(format!(
                "kv_heads {} must divide heads {}",
                self.kv_heads, self.heads
            ));
        }
        Ok(())
    }
}

/// A named parameter.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Param {
    /// Its name in the registry, e.g. `layers.0.qkv`.
    pub name: String,
    /// Its value, f32.
    pub var: Var,
}

/// A trainable model: parameters in a fixed order and the forward pass.
#[derive(Debug, Clone)]
pub struct Lm {
    config: LmConfig,
    params: Vec<Param>,
    rope: Arc<Rope>,
    compute: Compute,
}

impl Lm {
    /// A model with initial weights from `seed`: N(0, 0.02), and N(0, 0.02 / sqrt(2 layers)) for the two projections
    /// that write to the residual stream; norms are ones.
    ///
    /// # Errors
    /// When the configuration is refused by [`LmConfig::check`].
    pub fn new(config: LmConfig, seed: u64, compute: Compute) -> Result<Self> {
        Self::build(config, compute, |index, name, n| {
            if name.ends_with("norm") {
                return vec![1.0; n];
            }
            let to_stream = name.ends_with(".o") || name.ends_with(".down");
            let std = if to_stream {
                0.02 / (2.0 * config.layers as f32).sqrt()
            } else {
                0.02
            };
            let mut rng = Rng::new(seed, 0x1417, index as u64);
            (0..n).map(|_| rng.normal() * std).collect()
        })
    }

    /// A model whose parameter `name` of `n` values is `value(index, name, n)`.
    pub(crate) fn build(
        config: LmConfig,
        compute: Compute,
        mut value: impl FnMut(usize, &str, usize) -> Vec<f32>,
    ) -> Result<Self> {
        config.check()?;
        let mut params = Vec::new();
        for (i, (name, shape)) in config.shapes().into_iter().enumerate() {
            let v = value(i, &name, shape.iter().product());
            let var = Var::from_tensor(&Tensor::from_vec(v, shape, &Device::Cpu)?)?;
            params.push(Param { name, var });
        }
        let rope = Arc::new(Rope::new(
            config.head_dim,
            config.rope_theta,
            config.context,
        ));
        Ok(Self {
            config,
            params,
            rope,
            compute,
        })
    }

    /// The shape.
    #[must_use]
    pub fn config(&self) -> &LmConfig {
        &self.config
    }

    /// The parameters, in registry order.
    #[must_use]
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Where this model computes.
    #[must_use]
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    pub(crate) fn rope(&self) -> &Rope {
        &self.rope
    }

    fn var(&self, i: usize) -> &Tensor {
        self.params[i].var.as_tensor()
    }

    /// The last hidden states after the final norm, `[tokens, hidden]`, with a graph behind them.
    pub(crate) fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let (c, eps) = (&self.compute, self.config.norm_eps);
        if let Some(w) = batch
            .starts
            .windows(2)
            .find(|w| w[1] - w[0] > self.config.context)
        {
            let n = w[1] - w[0];
            return Err(TrainError::Batch(format!(
                "a document of {n} tokens exceeds the context of {}",
                self.config.context
            )));
        }
        let mut x = ops::embedding(self.var(0), &batch.ids)?;
        for layer in 0..self.config.layers {
            let at = 1 + 6 * layer;
            let n = ops::rms_norm(c, &x, self.var(at), eps)?;
            let qkv = ops::linear(c, &n, self.var(at + 1))?;
            let a = ops::attention(c, &qkv, self.config.attention(), &self.rope, &batch.starts)?;
            x = (x + ops::linear(c, &a, self.var(at + 2))?)?;
            let n = ops::rms_norm(c, &x, self.var(at + 3), eps)?;
            x = (x + ops::mlp(c, &n, self.var(at + 4), self.var(at + 5))?)?;
        }
        Ok(ops::rms_norm(
            c,
            &x,
            self.var(1 + 6 * self.config.layers),
            eps,
        )?)
    }

    /// The weighted loss of a batch divided by `denom`, a scalar with a graph behind it. With several micro-batches in
    /// one update, `denom` is the weight of all of them.
    ///
    /// # Errors
    /// When a token is outside the vocabulary or a document longer than the context.
    pub fn loss(&self, batch: &Batch, denom: f64) -> Result<Tensor> {
        Ok(ops::cross_entropy(
            &self.compute,
            &self.hidden(batch)?,
            self.var(0),
            batch,
            denom,
        )?)
    }
}
