//! The weights of an encoder as the forward pass uses them.

use ropewalk_kernels::{Matrix, ops};
use ropewalk_spec::EncoderSpec;

use crate::decoder::NormWeights;
use crate::load::Table;

/// A weight matrix and its bias.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weights: Matrix,
    pub(super) bias: Option<Vec<f32>>,
}

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Layer {
    /// Norm of attention; none in the first layer where norms come first.
    pub(super) attention_norm: Option<NormWeights>,
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
    pub(super) ffn_norm: NormWeights,
    /// What the activation applies to where the layer is gated.
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

/// A classification head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) dense: Linear,
    pub(super) norm: Option<NormWeights>,
    pub(super) classifier: Linear,
}

/// An encoder.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) spec: EncoderSpec,
    pub(super) embedding: Table,
    pub(super) positions: Option<Table>,
    pub(super) types: Option<Table>,
    pub(super) embedding_norm: NormWeights,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Option<NormWeights>,
    pub(super) head: Option<Head>,
    pub(super) activation: ops::Activation,
}

impl Weights {
    /// Bytes of the packed matrices of all blocks.
    pub(super) fn bytes(&self) -> usize {
        let linear = |l: &Linear| l.weights.bytes();
        let layer = |l: &Layer| {
            let gate = l.gate.as_ref().map_or(0, linear);
            gate + [&l.q, &l.k, &l.v, &l.o, &l.up, &l.down]
                .map(linear)
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(layer).sum()
    }
}
