//! One block on a device.

use candle_core::Tensor;
use ropewalk_spec::{Activation, ModelSpec, Residual};

use super::attention::{Rows, attend, rotate};
use super::cache::Kv;
use super::experts::Mixture;
use super::tensor::{Done, Input, Linear, bytes};

/// The factors of a norm, and the summands of a layer norm (zeros where it has none).
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) eps: f32,
}

impl Norm {
    /// Normalises the last dimension of contiguous rows.
    pub(super) fn forward(&self, x: &Tensor) -> Done<Tensor> {
        match &self.bias {
            Some(bias) => candle_nn::ops::layer_norm(x, &self.weight, bias, self.eps),
            None => candle_nn::ops::rms_norm(x, &self.weight, self.eps),
        }
    }

    fn optional(norm: Option<&Self>, x: &Tensor) -> Done<Tensor> {
        norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
    }

    pub(super) fn bytes(&self) -> usize {
        bytes(&self.weight) + self.bias.as_ref().map_or(0, bytes)
    }
}

/// The norms before and after one part of a block.
#[derive(Debug)]
pub(super) struct Norms {
    pub(super) before: Option<Norm>,
    pub(super) after: Option<Norm>,
}

/// A feed-forward layer; without a gate the activation applies to `up`.
#[derive(Debug)]
pub(super) struct Mlp {
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl Mlp {
    pub(super) fn forward(&self, input: &Input, activation: Activation) -> Done<Tensor> {
        let up = self.up.forward(input)?;
        let inner = match &self.gate {
            Some(gate) => (activate(&gate.forward(input)?, activation)? * up)?,
            None => activate(&up, activation)?,
        };
        self.down.forward(&Input::new(inner))
    }

    pub(super) fn bytes(&self) -> usize {
        let gate = self.gate.as_ref().map_or(0, Linear::bytes);
        gate + self.up.bytes() + self.down.bytes()
    }
}

fn activate(x: &Tensor, activation: Activation) -> Done<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        other => candle_core::bail!("the activation {other:?} is not known to devices"),
    }
}

#[derive(Debug)]
pub(super) enum FeedForward {
    Dense(Mlp),
    Mixture(Mixture),
}

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norms: Norms,
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
    /// Norms of q and k: of each head, or of all heads together, as their length says.
    pub(super) qk_norm: Option<(Norm, Norm)>,
    pub(super) feed_forward_norms: Norms,
    pub(super) feed_forward: FeedForward,
}

/// What a layer needs to know of the rows of a pass.
pub(super) struct Context<'a> {
    pub(super) spec: &'a ModelSpec,
    /// Cosines and sines, `[rows, pairs]`, if the layer turns q and k.
    pub(super) angles: Option<(&'a Tensor, &'a Tensor)>,
    pub(super) window: Option<usize>,
    /// Each sequence with its mask and what it keeps for this layer.
    pub(super) sequences: Vec<(Rows, Option<&'a Tensor>, &'a Kv)>,
}

impl Layer {
    /// Returns the residual stream, `[rows, hidden]`, after the block.
    pub(super) fn forward(&self, c: &Context<'_>, x: &Tensor) -> Done<Tensor> {
        let (spec, first, second) = (c.spec, &self.attention_norms, &self.feed_forward_norms);
        let add = |x: &Tensor, part: Tensor, after: Option<&Norm>| -> Done<Tensor> {
            let part = Norm::optional(after, &part)?;
            let scale = spec.residual_scale;
            let scaled = (scale - 1.0).abs() > f32::EPSILON;
            x + if scaled {
                (part * f64::from(scale))?
            } else {
                part
            }
        };
        let attention = self.attention(c, Norm::optional(first.before.as_ref(), x)?)?;
        if spec.residual == Residual::Sequential {
            let x = add(x, attention, first.after.as_ref())?;
            let part = self.feed_forward(c, Norm::optional(second.before.as_ref(), &x)?)?;
            return add(&x, part, second.after.as_ref());
        }
        // The feed-forward layer sees the stream as attention saw it.
        let part = self.feed_forward(c, Norm::optional(second.before.as_ref(), x)?)?;
        let x = add(x, attention, first.after.as_ref())?;
        add(&x, part, second.after.as_ref())
    }

    fn feed_forward(&self, c: &Context<'_>, x: Tensor) -> Done<Tensor> {
        let input = Input::new(x);
        match &self.feed_forward {
            FeedForward::Dense(mlp) => mlp.forward(&input, c.spec.activation),
            FeedForward::Mixture(mixture) => mixture.forward(&input, c.spec.activation),
        }
    }

    fn attention(&self, c: &Context<'_>, x: Tensor) -> Done<Tensor> {
        let (spec, input) = (c.spec, Input::new(x));
        let rows = input.rows().dim(0)?;
        let heads = |x: Tensor, norm: Option<&Norm>, count: usize| -> Done<Tensor> {
            let per_head = (rows, count, spec.head_dim);
            let x = match norm {
                // The norm spans all heads, or each one apart.
                Some(norm) if norm.weight.elem_count() == spec.head_dim => {
                    norm.forward(&x.reshape(per_head)?)?
                }
                Some(norm) => norm.forward(&x)?.reshape(per_head)?,
                None => x.reshape(per_head)?,
            };
            x.transpose(0, 1)?.contiguous()
        };
        let (q_norm, k_norm) = match &self.qk_norm {
            Some((q, k)) => (Some(q), Some(k)),
            None => (None, None),
        };
        let mut q = heads(self.q.forward(&input)?, q_norm, spec.heads)?;
        let mut k = heads(self.k.forward(&input)?, k_norm, spec.kv_heads)?;
        let v = heads(self.v.forward(&input)?, None, spec.kv_heads)?;
        if let Some(angles) = c.angles {
            (q, k) = (rotate(&q, angles)?, rotate(&k, angles)?);
        }
        let mut out = Vec::with_capacity(c.sequences.len());
        for (rows, mask, kv) in &c.sequences {
            out.push(attend(spec, (&q, &k, &v), *rows, c.window, *mask, kv)?);
        }
        let mixed = match &out[..] {
            [one] => one.clone(),
            _ => Tensor::cat(&out, 0)?,
        };
        self.o.forward(&Input::new(mixed))
    }

    /// Bytes of all weights, or of those that one token reads.
    pub(super) fn bytes(&self, all: bool) -> usize {
        let matrices = [&self.q, &self.k, &self.v, &self.o];
        let (first, second) = (&self.attention_norms, &self.feed_forward_norms);
        let norms = [&first.before, &first.after, &second.before, &second.after];
        let qk = self.qk_norm.iter().flat_map(|(q, k)| [q, k]);
        let feed_forward = match &self.feed_forward {
            FeedForward::Dense(mlp) => mlp.bytes(),
            FeedForward::Mixture(mixture) => mixture.bytes(all),
        };
        let norms = norms.into_iter().flatten().chain(qk);
        matrices.map(Linear::bytes).iter().sum::<usize>()
            + norms.map(Norm::bytes).sum::<usize>()
            + feed_forward
    }
}
