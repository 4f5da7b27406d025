//! Policies that recall what bears on the question.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ropewalk_core::{
    DynEmbeddingModel, DynRetriever, EmbedKind, EmbedRequest, EmbeddingModel, EmbeddingModelExt,
    Message, Part, Result, Retriever, Trust,
};

use super::policy::MemoryPolicy;
use super::turns::Turns;
use crate::prompt::Fence;
use crate::trust::text_with_trust;
use crate::vector::cosine;

/// Shows the last turns and, of the older ones, those nearest to the question by the cosine of
/// their embeddings, in the order in which they were said. Each turn is embedded once.
#[derive(Clone)]
pub struct Recall {
    model: DynEmbeddingModel,
    recent: usize,
    recalled: usize,
    vectors: Arc<Mutex<HashMap<u64, Vec<f32>>>>,
}

impl Recall {
    /// Creates a policy that shows the last two turns and recalls the four nearest.
    pub fn new(model: impl EmbeddingModel + 'static) -> Self {
        Self {
            model: Arc::new(model),
            recent: 2,
            recalled: 4,
            vectors: Arc::default(),
        }
    }

    /// Sets how many of the last turns are shown.
    #[must_use]
    pub fn recent(mut self, turns: usize) -> Self {
        self.recent = turns;
        self
    }

    /// Sets how many of the older turns are recalled.
    #[must_use]
    pub fn recalled(mut self, turns: usize) -> Self {
        self.recalled = turns;
        self
    }

    fn vectors(&self) -> MutexGuard<'_, HashMap<u64, Vec<f32>>> {
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the vectors of the texts, embedding those that are new.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let keys: Vec<u64> = texts.iter().map(|text| key(text)).collect();
        let new: Vec<usize> = {
            let known = self.vectors();
            (0..texts.len())
                .filter(|i| !known.contains_key(&keys[*i]))
                .collect()
        };
        let inputs = EmbedRequest::new(new.iter().map(|i| texts[*i].as_str()));
        let made = self.model.embed_all(&inputs).await?.vectors;
        let mut known = self.vectors();
        known.extend(new.iter().map(|i| keys[*i]).zip(made));
        let found = keys
            .iter()
            .map(|k| known.get(k).cloned().unwrap_or_default());
        Ok(found.collect())
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recall")
            .field("recent", &self.recent)
            .field("recalled", &self.recalled)
            .finish_non_exhaustive()
    }
}

fn key(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn text_of(turn: &[Message]) -> String {
    let texts: Vec<String> = turn.iter().map(Message::text).collect();
    texts.join("\n")
}

#[async_trait]
impl MemoryPolicy for Recall {
    async fn shape(
        &self,
        _conversation: &str,
        messages: Vec<Message>,
        query: &str,
    ) -> Result<Vec<Message>> {
        let mut turns = Turns::of(messages);
        let recent = turns.turns.len().saturating_sub(self.recent);
        if self.recalled < recent {
            let texts: Vec<String> = turns.turns[..recent].iter().map(|t| text_of(t)).collect();
            let vectors = self.embed(&texts).await?;
            let query = self.model.embed_one(query, EmbedKind::Query).await?;
            let mut ranked: Vec<(usize, f32)> = vectors
                .iter()
                .map(|vector| cosine(&query, vector))
                .enumerate()
                .collect();
            // Of equals the newer one.
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
            ranked.truncate(self.recalled);
            let mut number = 0..;
            turns.turns.retain(|_| {
                let number = number.next().unwrap_or(recent);
                number >= recent || ranked.iter().any(|(i, _)| *i == number)
            });
        }
        Ok(turns.join_from(0, Vec::new()))
    }
}

/// Shows the last turns, and before them what a retriever finds for the question, as a message of
/// the user between delimiters. Passages keep their label of trust.
#[derive(Clone)]
pub struct RetrieverMemory {
    retriever: DynRetriever,
    recent: usize,
    passages: usize,
}

impl RetrieverMemory {
    /// Creates a policy that shows the last two turns and four passages.
    pub fn new(retriever: impl Retriever + 'static) -> Self {
        Self {
            retriever: Arc::new(retriever),
            recent: 2,
            passages: 4,
        }
    }

    /// Sets how many of the last turns are shown.
    #[must_use]
    pub fn recent(mut self, turns: usize) -> Self {
        self.recent = turns;
        self
    }

    /// Sets how many passages are asked for.
    #[must_use]
    pub fn passages(mut self, passages: usize) -> Self {
        self.passages = passages;
        self
    }
}

impl std::fmt::Debug for RetrieverMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetrieverMemory")
            .field("recent", &self.recent)
            .field("passages", &self.passages)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl MemoryPolicy for RetrieverMemory {
    async fn shape(
        &self,
        _conversation: &str,
        messages: Vec<Message>,
        query: &str,
    ) -> Result<Vec<Message>> {
        let turns = Turns::of(messages);
        let first = turns.turns.len().saturating_sub(self.recent);
        let passages = self.retriever.retrieve(query, self.passages).await?;
        if passages.is_empty() {
            return Ok(turns.join_from(first, Vec::new()));
        }
        let fence = Fence::for_texts(None, passages.iter().map(|p| p.text.as_str()));
        let mut parts = vec![text_with_trust(
            format!("Passages that may help. {}", fence.rule()),
            Trust::Trusted,
        )];
        let passage = |p: &ropewalk_core::Passage| {
            text_with_trust(format!("\n{}", fence.wrap(&p.text)), p.trust)
        };
        parts.extend(passages.iter().map(passage).collect::<Vec<Part>>());
        Ok(turns.join_from(first, vec![Message::user(parts)]))
    }
}
