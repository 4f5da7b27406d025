//! The weights of a model as the forward pass uses them.

use ropewalk_kernels::{Matrix, ops};
use ropewalk_spec::ModelSpec;

use crate::adapter::Site;
use crate::device::Part;
use crate::load::Table;

/// A weight matrix and its bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weights: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
    /// How adapters find it.
    pub(crate) site: Site,
}

impl Linear {
    fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.as_ref().map_or(0, |b| 4 * b.len())
    }
}

/// The factors of a norm, and the summands of a layer norm.
#[derive(Debug, Clone)]
pub(crate) struct NormWeights {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

impl NormWeights {
    fn bytes(&self) -> usize {
        4 * (self.weight.len() + self.bias.as_ref().map_or(0, Vec::len))
    }
}

/// The norms around one part of a block; a part has at least one of them.
#[derive(Debug)]
pub(crate) struct Norms {
    /// Of what goes into the part.
    pub(crate) before: Option<NormWeights>,
    /// Of what comes out of it.
    pub(crate) after: Option<NormWeights>,
}

impl Norms {
    fn bytes(&self) -> usize {
        let norms = [&self.before, &self.after];
        norms.into_iter().flatten().map(NormWeights::bytes).sum()
    }
}

/// Projections of attention.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    /// RMS norms of q and k: of each head, or of all heads together, as their length says.
    pub(crate) qk_norm: Option<(Vec<f32>, Vec<f32>)>,
}

/// A feed-forward layer; without a gate the activation applies to `up`.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl Mlp {
    fn bytes(&self) -> usize {
        self.gate.as_ref().map_or(0, Linear::bytes) + self.up.bytes() + self.down.bytes()
    }

    /// The matrices that multiply the input.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Matrix> {
        let gate = self.gate.as_ref().map(|l| &l.weights);
        gate.into_iter().chain([&self.up.weights])
    }
}

/// The expert that every token uses.
#[derive(Debug)]
pub(crate) struct Shared {
    /// `[1, hidden]`; the sigmoid of its product scales the output.
    pub(crate) router: Matrix,
    pub(crate) mlp: Mlp,
}

/// Several feed-forward layers, of which each token uses some.
#[derive(Debug)]
pub(crate) struct Mixture {
    /// `[experts, hidden]`.
    pub(crate) router: Matrix,
    pub(crate) experts: Vec<Mlp>,
    pub(crate) shared: Option<Shared>,
    /// Experts per token.
    pub(crate) used: usize,
    /// Whether the weights of those used are scaled to sum to 1.
    pub(crate) normalise: bool,
}

impl Mixture {
    /// Bytes of `experts` experts and of what every token uses.
    fn bytes(&self, experts: usize) -> usize {
        let one = self.experts.first().map_or(0, Mlp::bytes);
        let shared = self.shared.as_ref();
        let shared = shared.map_or(0, |s| s.router.bytes() + s.mlp.bytes());
        self.router.bytes() + one * experts + shared
    }
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per block, in a vector")]
pub(crate) enum FeedForward {
    Dense(Mlp),
    Mixture(Mixture),
}

/// The weights of one block.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norms: Norms,
    pub(crate) attention: Attention,
    pub(crate) feed_forward_norms: Norms,
    pub(crate) feed_forward: FeedForward,
}

impl Layer {
    /// Bytes of all weights, or of those that one token reads.
    fn bytes(&self, all: bool) -> usize {
        let Attention { q, k, v, o, .. } = &self.attention;
        let feed_forward = match &self.feed_forward {
            FeedForward::Dense(mlp) => mlp.bytes(),
            FeedForward::Mixture(m) => m.bytes(if all { m.experts.len() } else { m.used }),
        };
        [q, k, v, o].map(Linear::bytes).iter().sum::<usize>()
            + self.attention_norms.bytes()
            + self.feed_forward_norms.bytes()
            + feed_forward
    }
}

/// A model that can run.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) spec: ModelSpec,
    pub(crate) embedding: Table,
    /// What each position adds to the embeddings.
    pub(crate) positions: Option<Table>,
    /// The layers before `layers`, where those are on devices, and what `head` is, if it is there too.
    pub(crate) device: Option<Part>,
    pub(crate) layers: Vec<Layer>,
    /// Output norm and output head; `None` if a device has them.
    pub(crate) head: Option<(NormWeights, Matrix)>,
    pub(crate) activation: ops::Activation,
}

impl Decoder {
    /// Bytes of the weights, or of those that one token reads; without the embedding table.
    pub(crate) fn weight_bytes(&self, all: bool) -> usize {
        let layers: usize = self.layers.iter().map(|l| l.bytes(all)).sum();
        let head = self.head.as_ref();
        let head = head.map_or(0, |(norm, head)| norm.bytes() + head.bytes());
        layers + head + self.device.as_ref().map_or(0, |part| part.bytes(all))
    }
}
