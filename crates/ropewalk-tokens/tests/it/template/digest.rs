//! SHA-256 (FIPS 180-4), so that comparing renderings needs no dependency.

/// The first half of the hash in hexadecimal, a colon and the length: what `make_templates.py` writes.
pub(super) fn of(text: &str) -> String {
    let hash = sha256(text.as_bytes());
    let hex: String = hash[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("{hex}:{}", text.len())
}

fn sha256(data: &[u8]) -> [u8; 32] {
    let primes = || (2u64..).filter(|n| (2..*n).all(|d| !n.is_multiple_of(d)));
    // Fraction bits of roots: found as the integer root of the prime shifted left.
    let fraction = |prime: u64, power: u32| -> u32 {
        let target = u128::from(prime) << (32 * power);
        let (mut low, mut high) = (0u128, 1 << 40);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if middle.pow(power) <= target {
                low = middle;
            } else {
                high = middle;
            }
        }
        low as u32
    };
    let k: Vec<u32> = primes().take(64).map(|p| fraction(p, 3)).collect();
    let mut h: Vec<u32> = primes().take(8).map(|p| fraction(p, 2)).collect();
    let mut message = data.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend(((data.len() as u64) * 8).to_be_bytes());
    for block in message.chunks(64) {
        let mut w: Vec<u32> = block
            .chunks(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w.push(
                w[i - 16]
                    .wrapping_add(s0)
                    .wrapping_add(w[i - 7])
                    .wrapping_add(s1),
            );
        }
        let mut v = h.clone();
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let t1 = [s1, choice, k[i], w[i]]
                .iter()
                .fold(v[7], |a, b| a.wrapping_add(*b));
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(t1);
            v[0] = t1.wrapping_add(s0).wrapping_add(majority);
        }
        for (a, b) in h.iter_mut().zip(v) {
            *a = a.wrapping_add(b);
        }
    }
    let mut out = [0; 32];
    for (bytes, word) in out.chunks_mut(4).zip(h) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[test]
fn hashes_the_published_example() {
    assert_eq!(of("abc"), "ba7816bf8f01cfea414140de5dae2223:3");
    assert_eq!(of(""), "e3b0c44298fc1c149afbf4c8996fb924:0");
}
