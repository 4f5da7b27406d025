//! Byte-pair merges over token ids.
//!
//! Byte-level vocabularies start from bytes, SentencePiece-style ones from characters; both then merge
//! the neighbours of lowest rank, leftmost first, until no pair has a rank. Words are independent of each
//! other, so results are kept per word.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};

use super::cache::WordCache;
use super::pool::{Pool, WordMap, hash, mix};

/// No token, no rank.
pub(super) const NONE: u32 = u32::MAX;

/// Words up to this many symbols are merged by scanning for the lowest rank.
const SCAN_MAX: usize = 48;

/// Receives tokens with the number of bytes each stands for.
pub(crate) trait Sink {
    fn token(&mut self, id: u32, bytes: usize);
}

impl Sink for Vec<u32> {
    #[inline]
    fn token(&mut self, id: u32, _: usize) {
        self.push(id);
    }
}

impl Sink for Vec<(u32, u32)> {
    #[inline]
    fn token(&mut self, id: u32, bytes: usize) {
        self.push((id, bytes as u32));
    }
}

impl Sink for usize {
    #[inline]
    fn token(&mut self, _: u32, _: usize) {
        *self += 1;
    }
}

/// What a word is made of before merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Chars,
}

/// Ranks and results of pairs of symbols, in an open-addressed table.
#[derive(Debug, Default)]
pub(super) struct PairMap {
    slots: Vec<(u64, u32, u32)>,
    len: usize,
}

impl PairMap {
    const FREE: u64 = u64::MAX;

    pub(super) fn with_capacity(pairs: usize) -> Self {
        let slots = (pairs * 2).next_power_of_two().max(16);
        Self {
            slots: vec![(Self::FREE, NONE, NONE); slots],
            len: 0,
        }
    }

    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = mix(key, 0x9e37_79b9_7f4a_7c15) as usize & mask;
        while self.slots[slot].0 != key && self.slots[slot].0 != Self::FREE {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Sets the rank and result of a pair; of equal pairs the first counts.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32, merged: u32) {
        if self.len * 2 >= self.slots.len() {
            let old = std::mem::replace(self, Self::with_capacity(self.slots.len()));
            for slot in old.slots.into_iter().filter(|slot| slot.0 != Self::FREE) {
                let place = self.place(slot.0);
                self.slots[place] = slot;
            }
            self.len = old.len;
        }
        let key = u64::from(left) << 32 | u64::from(right);
        let place = self.place(key);
        if self.slots[place].0 == Self::FREE {
            self.slots[place] = (key, rank, merged);
            self.len += 1;
        }
    }

    /// Returns the rank and result of a pair, [`NONE`] if it does not merge.
    #[inline]
    fn get(&self, left: u32, right: u32) -> (u32, u32) {
        let (_, rank, merged) = self.slots[self.place(u64::from(left) << 32 | u64::from(right))];
        (rank, merged)
    }
}

/// A symbol of a word that is being merged.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    id: u32,
    start: u32,
    /// Rank and result of the pair with the next symbol.
    rank: u32,
    merged: u32,
}

/// Buffers that live for one call.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    symbols: Vec<Symbol>,
    tokens: Vec<(u32, u32)>,
}

#[inline]
fn replay(tokens: &[(u32, u32)], sink: &mut impl Sink) {
    for &(id, len) in tokens {
        sink.token(id, len as usize);
    }
}

/// A vocabulary with merges.
#[derive(Debug)]
pub(crate) struct Bpe {
    pub(super) unit: Unit,
    /// Token spellings as merged: bytes of the text, with `▁` for spaces in SentencePiece style.
    pub(super) pool: Pool,
    pub(super) words: WordMap,
    pub(super) pairs: PairMap,
    /// Token of each byte: the unit of byte-level vocabularies, the fallback of the others.
    pub(super) bytes: [u32; 256],
    /// Symbols of characters, for [`Unit::Chars`].
    pub(super) chars: HashMap<char, u32>,
    /// Token for a character that has neither a token nor byte tokens.
    pub(super) unk: u32,
    /// A word that is a token is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Per token: 0 unknown, 1 the merges rebuild it from its own spelling, 2 they do not.
    pub(super) whole: Vec<AtomicU8>,
    pub(super) cache: WordCache,
}

impl Bpe {
    /// Returns the token with this spelling.
    pub(super) fn token(&self, spelling: &[u8]) -> Option<u32> {
        let id = self.words.get(&self.pool, spelling, hash(spelling))?;
        ((id as usize) < self.whole.len()).then_some(id)
    }

    /// Returns the token of a byte.
    pub(super) fn byte(&self, byte: u8) -> Option<u32> {
        Some(self.bytes[byte as usize]).filter(|&id| (id as usize) < self.whole.len())
    }

    /// Returns the token of a word that is one character.
    #[inline]
    fn lone(&self, word: &str) -> Option<u32> {
        if word.len() > 4 {
            return None;
        }
        let mut chars = word.chars();
        let id = *self.chars.get(&chars.next()?)?;
        (chars.next().is_none() && (id as usize) < self.whole.len()).then_some(id)
    }

    /// Appends the tokens of `word` to `sink`.
    #[inline]
    pub(super) fn word(&self, word: &str, scratch: &mut Scratch, sink: &mut impl Sink) {
        let bytes = word.as_bytes();
        if let (&[byte], Unit::Bytes) = (bytes, self.unit)
            && let Some(id) = self.byte(byte)
        {
            return sink.token(id, 1);
        }
        if self.unit == Unit::Chars
            && let Some(id) = self.lone(word)
        {
            return sink.token(id, bytes.len());
        }
        let hash = hash(bytes);
        let mut candidate = None;
        if let Some(id) = self.words.get(&self.pool, bytes, hash) {
            let known = self
                .whole
                .get(id as usize)
                .map_or(2, |cell| cell.load(Ordering::Relaxed));
            if self.ignore_merges || known == 1 {
                return sink.token(id, bytes.len());
            }
            if known == 0 {
                candidate = Some(id);
            }
        }
        if candidate.is_none() && self.cache.get(bytes, hash, |id, len| sink.token(id, len)) {
            return;
        }
        scratch.tokens.clear();
        self.merge(word, scratch);
        if let Some(id) = candidate {
            let same = matches!(scratch.tokens[..], [(only, _)] if only == id);
            self.whole[id as usize].store(if same { 1 } else { 2 }, Ordering::Relaxed);
        } else {
            self.cache.put(bytes, hash, &scratch.tokens);
        }
        replay(&scratch.tokens, sink);
    }

    /// Merges `word` and leaves its tokens in the scratch.
    fn merge(&self, word: &str, scratch: &mut Scratch) {
        let symbols = &mut scratch.symbols;
        symbols.clear();
        let symbol = |start: usize, id| Symbol {
            id,
            start: start as u32,
            rank: NONE,
            merged: NONE,
        };
        match self.unit {
            Unit::Bytes => symbols.extend(
                word.bytes()
                    .enumerate()
                    .map(|(at, byte)| symbol(at, self.bytes[byte as usize])),
            ),
            Unit::Chars => symbols.extend(
                word.char_indices()
                    .map(|(at, c)| symbol(at, self.chars.get(&c).copied().unwrap_or(NONE))),
            ),
        }
        if symbols.len() <= SCAN_MAX {
            self.merge_scanning(symbols);
        } else {
            self.merge_queued(symbols);
        }
        self.finish(word.as_bytes(), symbols, &mut scratch.tokens);
    }

    fn merge_scanning(&self, symbols: &mut Vec<Symbol>) {
        for at in 1..symbols.len() {
            self.rank(symbols, at - 1, at);
        }
        loop {
            let (mut best, mut lowest) = (0, NONE);
            for (at, symbol) in symbols.iter().enumerate() {
                if symbol.rank < lowest {
                    (best, lowest) = (at, symbol.rank);
                }
            }
            if lowest == NONE {
                return;
            }
            symbols[best].id = symbols[best].merged;
            symbols.remove(best + 1);
            if best + 1 < symbols.len() {
                self.rank(symbols, best, best + 1);
            } else {
                symbols[best].rank = NONE;
            }
            if best > 0 {
                self.rank(symbols, best - 1, best);
            }
        }
    }

    #[inline]
    fn rank(&self, symbols: &mut [Symbol], at: usize, next: usize) {
        (symbols[at].rank, symbols[at].merged) = self.pairs.get(symbols[at].id, symbols[next].id);
    }

    /// The same for long words, in n log n.
    fn merge_queued(&self, symbols: &mut Vec<Symbol>) {
        const GONE: u32 = NONE - 1;
        let len = symbols.len();
        let mut next: Vec<u32> = (1..=len as u32).collect();
        let mut previous: Vec<u32> = (0..len as u32).map(|at| at.wrapping_sub(1)).collect();
        let mut queue = BinaryHeap::new();
        for at in 1..len {
            self.rank(symbols, at - 1, at);
            if symbols[at - 1].rank != NONE {
                queue.push(Reverse((symbols[at - 1].rank, at as u32 - 1)));
            }
        }
        while let Some(Reverse((rank, at))) = queue.pop() {
            let at = at as usize;
            // An entry is out of date when the pair at its place has changed since.
            if symbols[at].rank != rank || symbols[at].id == GONE {
                continue;
            }
            let right = next[at] as usize;
            symbols[at].id = symbols[at].merged;
            symbols[right].id = GONE;
            symbols[right].rank = NONE;
            next[at] = next[right];
            symbols[at].rank = NONE;
            let after = next[at] as usize;
            if after < len {
                previous[after] = at as u32;
                self.rank(symbols, at, after);
                if symbols[at].rank != NONE {
                    queue.push(Reverse((symbols[at].rank, at as u32)));
                }
            }
            let before = previous[at] as usize;
            if before < len {
                self.rank(symbols, before, at);
                if symbols[before].rank != NONE {
                    queue.push(Reverse((symbols[before].rank, before as u32)));
                }
            }
        }
        symbols.retain(|symbol| symbol.id != GONE);
    }

    /// Turns symbols into tokens; one that is no token becomes its bytes' tokens.
    fn finish(&self, word: &[u8], symbols: &[Symbol], tokens: &mut Vec<(u32, u32)>) {
        for (at, symbol) in symbols.iter().enumerate() {
            let start = symbol.start as usize;
            let end = symbols
                .get(at + 1)
                .map_or(word.len(), |next| next.start as usize);
            if (symbol.id as usize) < self.whole.len() {
                tokens.push((symbol.id, (end - start) as u32));
                continue;
            }
            let ids = || word[start..end].iter().map(|&byte| self.byte(byte));
            if self.unk == NONE || ids().all(|id| id.is_some()) {
                // A byte without a token is dropped; its neighbour keeps its place in the text.
                let mut dropped = 0;
                for id in ids() {
                    dropped += 1;
                    if let Some(id) = id {
                        tokens.push((id, std::mem::take(&mut dropped)));
                    }
                }
                if let Some(last) = tokens.last_mut() {
                    last.1 += dropped;
                }
            } else {
                tokens.push((self.unk, (end - start) as u32));
            }
        }
    }
}
