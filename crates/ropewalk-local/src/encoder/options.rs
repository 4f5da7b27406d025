//! How an encoder is loaded and run.

use std::num::NonZeroUsize;

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;

use crate::{Error, LoadQuantize, Result, WeightFormat};

/// How to load and run an [`Encoder`](crate::Encoder).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EncoderOptions {
    /// Threads that compute; `None` means as many as the process may use.
    pub threads: Option<NonZeroUsize>,
    /// Instruction set; `None` means the best of this machine.
    pub isa: Option<Isa>,
    /// How matrices are coded while they are loaded. `None` means f32 for F32, F16 and BF16, and
    /// the stored blocks for quantised GGUF files.
    pub quantize: Option<LoadQuantize>,
    /// Tokens of the longest text; longer ones lose their end. `None` means what the model's files
    /// say; never more than it has positions.
    pub max_tokens: Option<usize>,
    /// Tokens that one pass takes at most, one longer text excepted. `None` means 2,048. Of many
    /// texts every thread takes passes of its own, of at most 256 tokens.
    pub tokens_per_pass: Option<NonZeroUsize>,
}

/// Tokens of a pass unless others are asked for.
const TOKENS_PER_PASS: usize = 2048;

impl EncoderOptions {
    /// Sets the number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the instruction set.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Codes matrices while they are loaded. Embeddings, norms and biases stay as they are.
    #[must_use]
    pub fn with_quantize(mut self, rule: LoadQuantize) -> Self {
        self.quantize = Some(rule);
        self
    }

    /// Holds matrices in 8 bits (Q8_0: blocks of 32 with one scale) and multiplies integers.
    #[must_use]
    pub fn with_int8(self) -> Self {
        self.with_quantize(LoadQuantize::new(WeightFormat::Gguf(TensorType::Q8_0)))
    }

    /// Sets how many tokens of a text count.
    #[must_use]
    pub fn with_max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets how many tokens one pass takes at most.
    #[must_use]
    pub fn with_tokens_per_pass(mut self, tokens: NonZeroUsize) -> Self {
        self.tokens_per_pass = Some(tokens);
        self
    }

    pub(super) fn pass_size(&self) -> usize {
        self.tokens_per_pass
            .map_or(TOKENS_PER_PASS, NonZeroUsize::get)
    }

    /// The instruction set in use.
    pub(super) fn isa(&self) -> Result<Isa> {
        let isa = self.isa.unwrap_or_else(Isa::best);
        if isa.is_available() {
            return Ok(isa);
        }
        Err(Error::Option {
            name: "instruction set",
            value: format!("{isa:?}"),
            allowed: "one that this machine has",
        })
    }

    pub(super) fn pool_threads(&self) -> NonZeroUsize {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.unwrap_or_else(all)
    }
}
