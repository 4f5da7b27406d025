//! Encoders: texts in, vectors or scores out.
//!
//! Texts run without padding: those of a pass lie one after the other, sorted by length, and only
//! attention knows where one ends. Of many texts every thread takes passes of its own through the
//! whole network; of few, all threads share each matrix. What a text gives does not depend on the
//! others, nor on the number of threads.

mod decoder;
mod embedder;
mod head;
mod load;
mod model;
mod modules;
mod options;
mod pass;
mod pooling;
mod prompts;
mod reranker;
mod text;
mod weights;
mod worker;
mod yes_no;

pub use embedder::{Embedded, EmbedderOptions, LocalEmbedder};
pub use model::{Encoder, EncoderInput};
pub use options::EncoderOptions;
pub use reranker::{LocalReranker, RerankerOptions, ScoreActivation, Scored};
pub use text::Truncated;
