//! What weights do.

/// What a weight does in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Token embeddings, `[vocab, hidden]`.
    Embed,
    /// Norm after the last block, `[hidden]`.
    OutputNorm,
    /// Output head, `[vocab, hidden]`; the embedding table when tied.
    Head,
    /// Norm before attention, `[hidden]`.
    AttnNorm,
    /// Query projection, `[heads * head_dim, hidden]`.
    Q,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    K,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    V,
    /// Attention output projection, `[hidden, heads * head_dim]`.
    O,
    /// Query bias.
    QBias,
    /// Key bias.
    KBias,
    /// Value bias.
    VBias,
    /// Attention output bias, `[hidden]`.
    OBias,
    /// Norm of each query head, `[head_dim]`, or of all together, `[heads * head_dim]`.
    QNorm,
    /// Norm of each key head, `[head_dim]`, or of all together, `[kv_heads * head_dim]`.
    KNorm,
    /// Norm before the feed-forward layer, `[hidden]`.
    FfnNorm,
    /// Gate projection, `[ffn, hidden]`; the activation applies to it.
    Gate,
    /// Up projection, `[ffn, hidden]`.
    Up,
    /// Down projection, `[hidden, ffn]`.
    Down,
    /// Gate bias, `[ffn]`.
    GateBias,
    /// Up bias, `[ffn]`.
    UpBias,
    /// Down bias, `[hidden]`.
    DownBias,
    /// Position table, `[max_positions, hidden]`.
    PosEmbed,
    /// Bias of the norm after the last block.
    OutputNormBias,
    /// Bias of the norm before attention.
    AttnNormBias,
    /// Bias of the norm before the feed-forward layer.
    FfnNormBias,
    /// Norm after attention, before the residual addition, `[hidden]`.
    AttnPostNorm,
    /// Norm after the feed-forward layer, before the residual addition, `[hidden]`.
    FfnPostNorm,
    /// Router of the experts, `[experts, hidden]`.
    Router,
    /// Gate projections of all experts, `[experts, ffn, hidden]`; one at a time by
    /// [`ModelSpec::read_expert`](crate::ModelSpec::read_expert).
    ExpertGate,
    /// Up projections of all experts, `[experts, ffn, hidden]`.
    ExpertUp,
    /// Down projections of all experts, `[experts, hidden, ffn]`.
    ExpertDown,
    /// Gate of the shared expert's output, `[1, hidden]`.
    SharedRouter,
    /// Gate projection of the shared expert, `[shared ffn, hidden]`.
    SharedGate,
    /// Up projection of the shared expert, `[shared ffn, hidden]`.
    SharedUp,
    /// Down projection of the shared expert, `[hidden, shared ffn]`.
    SharedDown,
}

impl Role {
    /// Roles that a model has once.
    pub const GLOBAL: [Self; 5] = [
        Self::Embed,
        Self::PosEmbed,
        Self::OutputNorm,
        Self::OutputNormBias,
        Self::Head,
    ];

    /// Roles that each block may have.
    pub const BLOCK: [Self; 30] = [
        Self::AttnNorm,
        Self::AttnNormBias,
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::QBias,
        Self::KBias,
        Self::VBias,
        Self::OBias,
        Self::QNorm,
        Self::KNorm,
        Self::AttnPostNorm,
        Self::FfnNorm,
        Self::FfnNormBias,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::GateBias,
        Self::UpBias,
        Self::DownBias,
        Self::FfnPostNorm,
        Self::Router,
        Self::ExpertGate,
        Self::ExpertUp,
        Self::ExpertDown,
        Self::SharedRouter,
        Self::SharedGate,
        Self::SharedUp,
        Self::SharedDown,
    ];

    /// Whether the weight is a matrix inside a block: the part that int8 and NF4 loading
    /// quantise and that LoRA adapts. Routers are not.
    #[must_use]
    pub const fn is_linear(self) -> bool {
        matches!(
            self,
            Self::Q | Self::K | Self::V | Self::O | Self::Gate | Self::Up | Self::Down
        ) || matches!(self, Self::SharedGate | Self::SharedUp | Self::SharedDown)
            || self.is_expert()
    }

    /// Whether the weight stacks the matrices of all experts.
    #[must_use]
    pub const fn is_expert(self) -> bool {
        matches!(self, Self::ExpertGate | Self::ExpertUp | Self::ExpertDown)
    }

    /// Whether only layers without experts have the weight.
    pub(super) const fn is_dense(self) -> bool {
        matches!(
            self,
            Self::Gate | Self::Up | Self::Down | Self::GateBias | Self::UpBias | Self::DownBias
        )
    }

    /// Whether only layers with experts have the weight.
    pub(super) const fn is_sparse(self) -> bool {
        matches!(
            self,
            Self::Router
                | Self::SharedRouter
                | Self::SharedGate
                | Self::SharedUp
                | Self::SharedDown
        ) || self.is_expert()
    }

    /// Whether the weight multiplies normalised features.
    #[must_use]
    pub const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::AttnNorm
                | Self::FfnNorm
                | Self::OutputNorm
                | Self::QNorm
                | Self::KNorm
                | Self::AttnPostNorm
                | Self::FfnPostNorm
        )
    }
}
