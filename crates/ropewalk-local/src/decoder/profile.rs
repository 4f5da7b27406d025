//! Where the time of passes goes.

use std::time::{Duration, Instant};

use ropewalk_kernels::Pool;

/// A part of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    Embedding,
    Device,
    Norms,
    Qkv,
    Attention,
    Output,
    FeedForward,
    Head,
}

/// What the passes since the last [`Model::take_profile`](crate::Model::take_profile) took.
///
/// The times of one pass add up to its length; sampling and what happens between passes is not in
/// them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Passes: one for each generated token, one for each 512 tokens of a prompt.
    pub passes: usize,
    /// Rows of all passes: the tokens that went through the network.
    pub rows: usize,
    /// Looking up embeddings and making tables of positions.
    pub embedding: Duration,
    /// Layers on devices, and the output head where it is there too
    /// ([`LoadOptions::with_device`](crate::LoadOptions::with_device)); what follows is of the rest.
    pub device: Duration,
    /// Norms, additions to the residual stream, and rounding activations to 8 bits.
    pub norms: Duration,
    /// Products with the weights of q, k and v.
    pub qkv: Duration,
    /// Rotation, writing keys and values, scores and weighted sums.
    pub attention: Duration,
    /// Products with the weights of the attention output.
    pub output: Duration,
    /// Products with gate, up and down, the activation between them, routing to experts.
    pub feed_forward: Duration,
    /// Products with the output head, scale and cap of the logits, handing them over.
    pub head: Duration,
    /// Pool runs that threads shared: each ends in one barrier.
    pub phases: u64,
}

impl Profile {
    /// Returns the time of all stages together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.stages().iter().map(|(_, time)| *time).sum()
    }

    /// Returns the stages in the order of a pass, with their names.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, Duration); 8] {
        [
            ("embedding", self.embedding),
            ("device", self.device),
            ("norms", self.norms),
            ("qkv", self.qkv),
            ("attention", self.attention),
            ("output", self.output),
            ("feed-forward", self.feed_forward),
            ("head", self.head),
        ]
    }
}

/// Measures stages, or does nothing.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    profile: Option<Profile>,
    last: Option<Instant>,
    phases: u64,
}

impl Clock {
    /// Returns a clock that measures if it is `on`.
    pub(crate) fn new(on: bool) -> Self {
        Self {
            profile: on.then(Profile::default),
            ..Self::default()
        }
    }

    /// Returns what was measured and begins anew; `None` if nothing is measured.
    pub(crate) fn take(&mut self) -> Option<Profile> {
        self.profile.as_mut().map(std::mem::take)
    }

    pub(super) fn start(&mut self, pool: &Pool) {
        if self.profile.is_some() {
            self.phases = pool.phases();
            self.last = Some(Instant::now());
        }
    }

    /// Counts the time since the last call for `stage`.
    pub(super) fn lap(&mut self, stage: Stage) {
        let (Some(profile), Some(last)) = (&mut self.profile, &mut self.last) else {
            return;
        };
        let now = Instant::now();
        let time = match stage {
            Stage::Embedding => &mut profile.embedding,
            Stage::Device => &mut profile.device,
            Stage::Norms => &mut profile.norms,
            Stage::Qkv => &mut profile.qkv,
            Stage::Attention => &mut profile.attention,
            Stage::Output => &mut profile.output,
            Stage::FeedForward => &mut profile.feed_forward,
            Stage::Head => &mut profile.head,
        };
        *time += now - *last;
        *last = now;
    }

    pub(super) fn stop(&mut self, pool: &Pool, rows: usize) {
        if let Some(profile) = &mut self.profile {
            profile.passes += 1;
            profile.rows += rows;
            profile.phases += pool.phases() - self.phases;
            self.last = None;
        }
    }
}
