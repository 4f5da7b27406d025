//! Batches: whole documents laid end to end, each with its own positions and its own causal mask.

use std::sync::Arc;

use crate::error::{Result, TrainError};

/// One tokenized document: ids and, for each id, how much the loss counts its prediction.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Doc {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The weight of predicting `ids[i]` from what stands before it; the first entry is never used.
    pub weights: Vec<f32>,
}

impl Doc {
    /// A document; `weights` must be as long as `ids`.
    #[must_use]
    pub fn new(ids: Vec<u32>, weights: Vec<f32>) -> Self {
        Self { ids, weights }
    }

    /// Appends `ids`, all with the same weight.
    pub fn push(&mut self, ids: &[u32], weight: f32) {
        self.ids.extend_from_slice(ids);
        self.weights.resize(self.ids.len(), weight);
    }

    /// Shortens the document to `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.weights.truncate(len);
    }
}

/// Documents packed into one row of tokens. Attention never crosses a document, and positions start at zero in each,
/// so packing changes no number of the result.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Batch {
    /// Input ids, `[tokens]`.
    pub ids: Arc<[u32]>,
    /// The id to predict at each position, `[tokens]`.
    pub targets: Arc<[u32]>,
    /// The weight of each prediction, `[tokens]`; zero leaves it out.
    pub weights: Arc<[f32]>,
    /// Where each document starts, and as the last entry the number of tokens.
    pub starts: Arc<[usize]>,
}

impl Batch {
    /// Packs documents; each contributes one token less than it has, because the last has nothing to predict.
    ///
    /// # Errors
    /// When a document's weights and ids differ in number, or no document has two tokens.
    pub fn pack(docs: &[Doc]) -> Result<Self> {
        let (mut ids, mut targets, mut weights, mut starts) =
            (Vec::new(), Vec::new(), Vec::new(), vec![0]);
        for (i, d) in docs.iter().enumerate() {
            if d.ids.len() != d.weights.len() {
                let (a, b) = (d.ids.len(), d.weights.len());
                return Err(TrainError::Batch(format!(
                    "document {i} has {a} ids and {b} weights"
                )));
            }
            if d.ids.len() < 2 {
                continue;
            }
            ids.extend_from_slice(&d.ids[..d.ids.len() - 1]);
            targets.extend_from_slice(&d.ids[1..]);
            weights.extend_from_slice(&d.weights[1..]);
            starts.push(ids.len());
        }
        if ids.is_empty() {
            return Err(TrainError::Batch("no document has two tokens".into()));
        }
        Ok(Self {
            ids: ids.into(),
            targets: targets.into(),
            weights: weights.into(),
            starts: starts.into(),
        })
    }

    /// The number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The sum of the weights: what the loss is divided by.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }
}

/// Where batches come from. A batch is a function of its step alone, so a resumed run sees what an uninterrupted one
/// would have seen.
pub trait BatchSource {
    /// The documents of update `step`.
    ///
    /// # Errors
    /// Whatever stops the source from making them.
    fn docs(&self, step: u64) -> Result<Vec<Doc>>;

    /// A value that changes when the data changes; a checkpoint of other data is refused.
    fn fingerprint(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_shifts_inside_each_document() {
        let a = Doc::new(vec![1, 2, 3], vec![0.0, 0.5, 1.0]);
        let b = Doc::new(vec![4, 5], vec![0.0, 1.0]);
        let c = Doc::new(vec![9], vec![1.0]);
        let p = Batch::pack(&[a, c, b]).unwrap();
        assert_eq!(&*p.ids, &[1, 2, 4]);
        assert_eq!(&*p.targets, &[2, 3, 5]);
        assert_eq!(&*p.weights, &[0.5, 1.0, 1.0]);
        assert_eq!(&*p.starts, &[0, 2, 3]);
        assert!(Batch::pack(&[]).is_err());
    }
}
