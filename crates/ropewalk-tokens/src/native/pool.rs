//! Byte strings in one allocation, and a hash table from byte strings to ids.

/// Byte strings by index.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    data: Vec<u8>,
    /// End of each string; it starts where the one before ends.
    ends: Vec<u32>,
}

impl Pool {
    pub(crate) fn with_capacity(strings: usize) -> Self {
        Self {
            data: Vec::new(),
            ends: Vec::with_capacity(strings),
        }
    }

    /// Appends a string, or returns `None` when 4 GiB are full.
    pub(crate) fn push(&mut self, string: &[u8]) -> Option<u32> {
        let end = u32::try_from(self.data.len() + string.len()).ok()?;
        self.data.extend_from_slice(string);
        self.ends.push(end);
        Some(self.ends.len() as u32 - 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        Some(&self.data[start..end])
    }
}

/// Hashes a byte string, eight bytes at a time (multiply and fold, as in wyhash).
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const KEY: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = (bytes.len() as u64).wrapping_mul(KEY) ^ 0x2545_f491_4f6c_dd1d;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(
            state ^ u64::from_le_bytes(chunk.try_into().unwrap_or_default()),
            KEY,
        );
    }
    let mut tail = [0; 8];
    let rest = chunks.remainder();
    tail[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(tail), KEY)
}

#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Ids of the strings of a [`Pool`] by content.
#[derive(Debug, Default)]
pub(crate) struct WordMap {
    /// High hash bits and id plus one; zero is free. The length is a power of two.
    slots: Vec<(u32, u32)>,
    len: usize,
}

impl WordMap {
    pub(crate) fn with_capacity(strings: usize) -> Self {
        Self {
            slots: vec![(0, 0); (strings * 2).next_power_of_two().max(16)],
            len: 0,
        }
    }

    /// Sets the id of its string, replacing that of an equal string.
    pub(crate) fn insert(&mut self, pool: &Pool, id: u32) {
        let Some(string) = pool.get(id) else { return };
        if self.len * 2 >= self.slots.len() {
            self.grow(pool);
        }
        let slot = self.find(pool, string, hash(string));
        if self.slots[slot].1 == 0 {
            self.len += 1;
        }
        self.slots[slot] = ((hash(string) >> 32) as u32, id + 1);
    }

    fn grow(&mut self, pool: &Pool) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![(0, 0); (old.len() * 2).max(16)];
        for (high, id) in old.into_iter().filter(|slot| slot.1 != 0) {
            let Some(string) = pool.get(id - 1) else {
                continue;
            };
            let slot = self.find(pool, string, hash(string));
            self.slots[slot] = (high, id);
        }
    }

    /// Returns the slot that holds `string`, or the free one where it belongs.
    #[inline]
    fn find(&self, pool: &Pool, string: &[u8], hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (high, id) = self.slots[slot];
            if id == 0 || high == (hash >> 32) as u32 && pool.get(id - 1) == Some(string) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    #[inline]
    pub(crate) fn get(&self, pool: &Pool, string: &[u8], hash: u64) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.find(pool, string, hash)].1.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_after_growth_and_the_last_equal_one_wins() {
        let (mut pool, mut map) = (Pool::default(), WordMap::with_capacity(0));
        for number in 0..1000u32 {
            let id = pool.push(number.to_string().as_bytes()).unwrap();
            map.insert(&pool, id);
        }
        let id = pool.push(b"7").unwrap();
        map.insert(&pool, id);
        let get = |word: &str| map.get(&pool, word.as_bytes(), hash(word.as_bytes()));
        assert_eq!(
            (get("7"), get("999"), get("1000"), get("")),
            (Some(1000), Some(999), None, None)
        );
    }
}
