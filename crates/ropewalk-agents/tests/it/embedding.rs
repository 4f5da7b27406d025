//! An embedding model for tests: one dimension per word it has met.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ropewalk_core::{EmbedRequest, EmbedResponse, EmbeddingModel, Result, async_trait};

const WIDTH: usize = 512;

/// Counts words; texts that share words are near.
#[derive(Default)]
pub(crate) struct Words {
    known: Mutex<HashMap<String, usize>>,
    calls: AtomicUsize,
}

impl Words {
    /// How often the model was asked.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl EmbeddingModel for Words {
    fn provider(&self) -> &str {
        "test"
    }

    fn model(&self) -> &str {
        "words"
    }

    fn dimensions(&self) -> Option<usize> {
        None
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut known = self.known.lock().unwrap();
        let vector = |text: &String| {
            let mut vector = vec![0.0; WIDTH];
            for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
                if !word.is_empty() {
                    let next = known.len();
                    vector[*known.entry(word.to_owned()).or_insert(next) % WIDTH] += 1.0;
                }
            }
            vector
        };
        let vectors = request.inputs.iter().map(vector).collect();
        Ok(EmbedResponse::new("words", vectors))
    }
}
