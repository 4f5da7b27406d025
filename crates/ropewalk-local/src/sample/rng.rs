//! The random numbers of one request.

/// A seeded xoshiro256++ generator (Blackman and Vigna 2019), filled by splitmix64.
///
/// Each request owns one, so what else runs at the same time never changes a draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng([u64; 4]);

impl Rng {
    /// Returns the generator of `seed`; equal seeds give equal streams on every machine.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        Self(std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    /// Returns the next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Returns a number in `0.0..1.0` with 53 random bits.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams_and_others_do_not() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let x: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        assert_eq!(x, (0..8).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(x, (0..8).map(|_| c.next_u64()).collect::<Vec<_>>());
    }

    #[test]
    fn draws_fill_the_unit_interval_evenly() {
        let mut rng = Rng::new(1);
        let mut bins = [0u32; 10];
        for _ in 0..100_000 {
            bins[(rng.next_f64() * 10.0) as usize] += 1;
        }
        assert!(
            bins.iter().all(|&n| (9_600..10_400).contains(&n)),
            "{bins:?}"
        );
    }
}
