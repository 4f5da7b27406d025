//! What may come next: constraints on the tokens of a reply.

use std::fmt;

use crate::Result;

/// A set of token ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    vocab: usize,
}

impl TokenMask {
    /// Returns the empty set over ids below `vocab`.
    #[must_use]
    pub fn new(vocab: usize) -> Self {
        Self {
            words: vec![0; vocab.div_ceil(64)],
            vocab,
        }
    }

    /// Takes every id out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Puts an id in; ids of the vocabulary only.
    pub fn allow(&mut self, id: u32) {
        if (id as usize) < self.vocab {
            self.words[id as usize / 64] |= 1 << (id % 64);
        }
    }

    /// Returns whether an id is in the set.
    #[must_use]
    pub fn allows(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 64);
        word.is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    /// Returns the number of ids in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Returns whether no id is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Writes `-inf` over the scores of all ids that are not in the set.
    pub fn apply(&self, logits: &mut [f32]) {
        for (id, x) in (0u32..).zip(logits) {
            if !self.allows(id) {
                *x = f32::NEG_INFINITY;
            }
        }
    }
}

/// What the tokens of one reply must spell; it follows the reply token by token.
pub trait TokenConstraint: fmt::Debug + Send {
    /// Writes the ids that may come next to `mask`, which is empty: ids that end a reply are among
    /// them where it may end.
    ///
    /// # Errors
    /// When nothing can follow, or a limit of the constraint was passed.
    fn mask(&mut self, mask: &mut TokenMask) -> Result<()>;

    /// Appends a token to the reply.
    ///
    /// # Errors
    /// When the constraint does not allow it.
    fn accept(&mut self, id: u32) -> Result<()>;

    /// Returns the ids that must come next whatever the model says; they have not been accepted.
    ///
    /// # Errors
    /// When a limit of the constraint was passed.
    fn forced(&mut self) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    /// Returns whether the reply is complete and nothing may follow.
    fn is_complete(&self) -> bool;
}

/// Begins constraints: what requests share, such as a compiled grammar.
pub trait Constrain: fmt::Debug + Send + Sync {
    /// Returns the constraint of a reply that has not begun.
    ///
    /// # Errors
    /// When the constraint can never be met.
    fn start(&self) -> Result<Box<dyn TokenConstraint>>;
}
