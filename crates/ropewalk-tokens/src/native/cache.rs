//! Tokens of words that have been seen.

use std::sync::Mutex;

const SLOTS: usize = 1 << 14;
const SHARDS: usize = 64;
/// Longer words and longer results are not kept.
const MAX_WORD: usize = 32;
const MAX_TOKENS: usize = 8;

/// A direct-mapped cache of bounded size (at most 1.2 MiB), in shards so that threads do not wait for
/// each other: a shard that is in use counts as a miss.
pub(crate) struct WordCache {
    shards: Vec<Mutex<Vec<Slot>>>,
}

#[derive(Clone, Copy)]
struct Slot {
    word_len: u8,
    len: u8,
    word: [u8; MAX_WORD],
    ids: [u32; MAX_TOKENS],
    lens: [u8; MAX_TOKENS],
}

impl std::fmt::Debug for WordCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WordCache").finish_non_exhaustive()
    }
}

impl Default for WordCache {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

/// Shard and place of a hash; the bits that choose them do not overlap.
fn place(hash: u64) -> (usize, usize) {
    (
        (hash >> 56) as usize % SHARDS,
        (hash >> 20) as usize % (SLOTS / SHARDS),
    )
}

impl WordCache {
    /// Calls `found` with the tokens of `word` and returns true if they are known.
    #[inline]
    pub(crate) fn get(&self, word: &[u8], hash: u64, mut found: impl FnMut(u32, usize)) -> bool {
        if word.len() > MAX_WORD {
            return false;
        }
        let (shard, place) = place(hash);
        let Ok(shard) = self.shards[shard].try_lock() else {
            return false;
        };
        match shard.get(place) {
            Some(slot)
                if slot.word_len as usize == word.len()
                    && slot.word[..word.len()] == *word
                    && slot.len > 0 =>
            {
                let tokens = slot.ids.iter().zip(&slot.lens).take(slot.len as usize);
                tokens.for_each(|(&id, &len)| found(id, len as usize));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn put(&self, word: &[u8], hash: u64, tokens: &[(u32, u32)]) {
        if word.len() > MAX_WORD || tokens.is_empty() || tokens.len() > MAX_TOKENS {
            return;
        }
        let (shard, place) = place(hash);
        let Ok(mut shard) = self.shards[shard].try_lock() else {
            return;
        };
        if shard.is_empty() {
            let free = Slot {
                word_len: 0,
                len: 0,
                word: [0; MAX_WORD],
                ids: [0; MAX_TOKENS],
                lens: [0; MAX_TOKENS],
            };
            shard.resize(SLOTS / SHARDS, free);
        }
        let slot = &mut shard[place];
        slot.word_len = word.len() as u8;
        slot.len = tokens.len() as u8;
        slot.word[..word.len()].copy_from_slice(word);
        for (at, &(id, len)) in tokens.iter().enumerate() {
            slot.ids[at] = id;
            // No longer than the word.
            slot.lens[at] = len as u8;
        }
    }
}
