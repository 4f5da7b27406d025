use std::num::NonZeroUsize;

use super::*;
use crate::ops;
use crate::testing::{properties, random};

/// A layer with a filled cache and queries for its last positions.
#[derive(Clone, Debug)]
struct Case {
    shape: AttentionShape,
    len: usize,
    m: usize,
    /// Whether keys and values are stored in f16.
    half: [bool; 2],
}

struct Data {
    capacity: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    k16: Vec<u16>,
    v16: Vec<u16>,
}

impl Data {
    /// Overwrites the keys and values at all positions but `seen`.
    fn hide(&mut self, seen: std::ops::Range<usize>, head_dim: usize, x: f32) {
        let mut bits = [0];
        ops::f32_to_f16(Isa::Scalar, &[x], &mut bits).unwrap();
        let hidden = |at: &usize| !seen.contains(&(at / head_dim % self.capacity));
        for at in (0..self.k.len()).filter(hidden) {
            (self.k[at], self.v[at]) = (x, x);
            (self.k16[at], self.v16[at]) = (bits[0], bits[0]);
        }
    }
}

/// Every pair of formats of keys and values.
const FORMATS: [[bool; 2]; 4] = [[false, false], [true, true], [true, false], [false, true]];

impl Case {
    fn new(q_heads: usize, kv_heads: usize, head_dim: usize, len: usize, m: usize) -> Self {
        let shape = AttentionShape::new(q_heads, kv_heads, head_dim);
        Self {
            shape,
            len,
            m,
            half: [false; 2],
        }
    }

    fn width(&self) -> usize {
        self.shape.q_heads * self.shape.head_dim
    }

    fn data(&self) -> Data {
        let capacity = self.len + 3;
        let n = self.shape.kv_heads * capacity * self.shape.head_dim;
        // Scores spread over several units, so that the maximum matters.
        let q = random(1, self.m * self.width())
            .iter()
            .map(|x| x * 4.0)
            .collect();
        let (mut k, mut v) = (random(2, n), random(3, n));
        // What lies behind the last query must not be read.
        for cache in [&mut k, &mut v] {
            for head in cache.chunks_mut(capacity * self.shape.head_dim) {
                head[self.len * self.shape.head_dim..].fill(f32::NAN);
            }
        }
        let (mut k16, mut v16) = (vec![0; n], vec![0; n]);
        ops::f32_to_f16(Isa::Scalar, &k, &mut k16).unwrap();
        ops::f32_to_f16(Isa::Scalar, &v, &mut v16).unwrap();
        if self.half[0] {
            ops::f16_to_f32(Isa::Scalar, &k16, &mut k).unwrap();
        }
        if self.half[1] {
            ops::f16_to_f32(Isa::Scalar, &v16, &mut v).unwrap();
        }
        Data {
            capacity,
            q,
            k,
            v,
            k16,
            v16,
        }
    }

    /// Runs queries `from..to` of the case.
    fn run(&self, data: &Data, isa: Isa, threads: usize, from: usize, to: usize) -> Vec<f32> {
        let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
        let mut out = vec![f32::NAN; (to - from) * self.width()];
        let cache = |half, full, bits| {
            if half {
                KvRef::F16(bits)
            } else {
                KvRef::F32(full)
            }
        };
        let k = cache(self.half[0], &data.k, &data.k16);
        let v = cache(self.half[1], &data.v, &data.v16);
        let q = &data.q[from * self.width()..to * self.width()];
        let first_pos = self.len - self.m + from;
        let mut scratch = AttentionScratch::new();
        attention(
            &pool,
            isa,
            &self.shape,
            q,
            first_pos,
            k,
            v,
            data.capacity,
            &mut out,
            &mut scratch,
        )
        .unwrap();
        out
    }

    fn reference(&self, data: &Data) -> Vec<f64> {
        let AttentionShape {
            q_heads,
            kv_heads,
            head_dim,
            scale,
            window,
            softcap,
        } = self.shape;
        let mut out = Vec::new();
        for i in 0..self.m {
            let pos = self.len - self.m + i;
            let low = window.map_or(0, |w| (pos + 1).saturating_sub(w));
            for h in 0..q_heads {
                let q = &data.q[(i * q_heads + h) * head_dim..][..head_dim];
                let kv = h / (q_heads / kv_heads) * data.capacity;
                let row =
                    |cache: &[f32], j: usize, d: usize| f64::from(cache[(kv + j) * head_dim + d]);
                let scores: Vec<f64> = (low..=pos)
                    .map(|j| {
                        let dot: f64 = (0..head_dim)
                            .map(|d| f64::from(q[d]) * row(&data.k, j, d))
                            .sum();
                        let s = dot * f64::from(scale);
                        softcap.map_or(s, |c| f64::from(c) * (s / f64::from(c)).tanh())
                    })
                    .collect();
                let max = scores.iter().fold(f64::MIN, |m, &s| m.max(s));
                let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for d in 0..head_dim {
                    let sum: f64 = scores
                        .iter()
                        .zip(low..)
                        .map(|(s, j)| (s - max).exp() * row(&data.v, j, d))
                        .sum();
                    out.push(sum / total);
                }
            }
        }
        out
    }
}

fn check(case: &Case) {
    let data = case.data();
    let want = case.reference(&data);
    for isa in Isa::available() {
        let got = case.run(&data, isa, 1, 0, case.m);
        for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
            // Values are below 1, so this is relative to the largest possible output.
            assert!(
                (f64::from(g) - w).abs() < 2e-6,
                "{isa:?} {case:?} element {i}: {g}, not {w}"
            );
        }
        let same = |other: &[f32], from: usize, what: &str| {
            let own = &got[from * case.width()..][..other.len()];
            let equal = own
                .iter()
                .zip(other)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(equal, "{isa:?} {case:?}: {what} changes bits");
        };
        for threads in [2, 5] {
            same(
                &case.run(&data, isa, threads, 0, case.m),
                0,
                "a number of threads",
            );
        }
        for i in [0, case.m / 2, case.m - 1] {
            same(&case.run(&data, isa, 1, i, i + 1), i, "decode");
            same(
                &case.run(&data, isa, 2, i, i + 1),
                i,
                "decode on two threads",
            );
        }
        let (from, to) = (case.m / 3, case.m - case.m / 4);
        same(
            &case.run(&data, isa, 2, from, to),
            from,
            "another cut of the prompt",
        );
    }
}

#[test]
fn equals_the_reference_for_every_head_size() {
    for head_dim in [8, 16, 20, 64, 80, 96, 112, 128, 256] {
        for half in FORMATS {
            check(&Case {
                half,
                ..Case::new(4, 2, head_dim, 200, 70)
            });
        }
    }
}

#[test]
fn equals_the_reference_for_every_grouping() {
    for (q_heads, kv_heads) in [(1, 1), (3, 3), (6, 2), (8, 1), (14, 2), (80, 1)] {
        check(&Case::new(q_heads, kv_heads, 16, 150, 9));
    }
}

#[test]
fn equals_the_reference_around_span_borders() {
    for len in [1, 2, 15, 16, 17, 127, 128, 129, 255, 256, 257, 300] {
        for m in [1, 2, len.min(40), len] {
            check(&Case::new(2, 1, 20, len, m.min(len)));
        }
    }
}

#[test]
fn a_window_hides_old_positions() {
    for window in [1, 5, 64, 128, 129, 200, 1000] {
        let mut case = Case::new(4, 2, 24, 420, 300);
        case.shape.window = Some(window);
        check(&case);
    }
}

#[test]
fn hidden_keys_and_values_leave_no_trace() {
    // Decode, few rows, tiles, and heads that are no whole panels; with and without a window.
    for (m, head_dim, window) in [
        (1, 16, Some(40)),
        (1, 20, Some(150)),
        (4, 16, None),
        (7, 20, Some(9)),
        (70, 32, None),
        (70, 20, Some(150)),
        (200, 64, Some(33)),
    ] {
        for (half, bad) in FORMATS.into_iter().zip([f32::NAN, f32::INFINITY].repeat(2)) {
            let mut case = Case {
                half,
                ..Case::new(4, 2, head_dim, 300, m)
            };
            case.shape.window = window;
            // Each query alone: what it does not see is zeros, then what is not finite.
            for i in [0, m / 3, m / 2, m - 1] {
                let pos = case.len - m + i;
                let low = window.map_or(0, |w| (pos + 1).saturating_sub(w));
                let [zeros, bad] = [0.0, bad].map(|x| {
                    let mut data = case.data();
                    data.hide(low..pos + 1, head_dim, x);
                    data
                });
                for isa in Isa::available() {
                    for threads in [1, 3] {
                        let row = |data: &Data| {
                            let out = case.run(data, isa, threads, 0, m);
                            let row = &out[i * case.width()..][..case.width()];
                            row.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                        };
                        let (want, got) = (row(&zeros), row(&bad));
                        assert!(want.iter().all(|&x| f32::from_bits(x).is_finite()));
                        assert_eq!(got, want, "{isa:?} {case:?} query {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn equals_the_reference_for_heads_of_512() {
    for half in [FORMATS[0], FORMATS[1]] {
        check(&Case {
            half,
            ..Case::new(4, 1, 512, 150, 20)
        });
    }
}

#[test]
fn a_softcap_bounds_the_scores() {
    // The caps and the scale of Gemma 2, and a cap that most scores reach; with a window too.
    for (cap, scale, window) in [
        (1.5, 0.2, None),
        (50.0, 1.0 / 16.0, None),
        (50.0, 1.0 / 16.0, Some(100)),
        (30.0, 2.0, Some(33)),
    ] {
        for half in FORMATS {
            let mut case = Case {
                half,
                ..Case::new(4, 2, 32, 260, 50)
            };
            case.shape = case
                .shape
                .with_scale(scale)
                .with_softcap(Some(cap))
                .with_window(window);
            check(&case);
        }
    }
}

#[test]
fn equals_the_reference_for_random_layers() {
    use proptest::option::of;
    let heads = (1usize..4, 1usize..6, 1usize..70);
    let layers = (
        heads,
        (1usize..400, 1usize..60),
        of(1usize..300),
        of(1u8..50),
        0usize..4,
    );
    properties(
        24,
        &layers,
        |((kv_heads, group, dim), (len, m), window, softcap, half)| {
            let mut case = Case::new(kv_heads * group, kv_heads, dim, len, m.min(len));
            case.shape.window = window;
            case.shape.softcap = softcap.map(f32::from);
            case.half = FORMATS[half];
            check(&case);
        },
    );
}

#[test]
fn scores_far_apart_do_not_overflow() {
    let mut case = Case::new(2, 1, 16, 300, 20);
    case.shape.scale = 40.0;
    let data = case.data();
    let want = case.reference(&data);
    for isa in Isa::available() {
        let got = case.run(&data, isa, 2, 0, case.m);
        for (g, w) in got.iter().zip(&want) {
            // Scores of some hundreds carry an error of about 1e-5 into the exponential.
            assert!((f64::from(*g) - w).abs() < 2e-4, "{isa:?}: {g}, not {w}");
        }
    }
}

#[test]
fn a_batch_equals_its_sequences() {
    let cases = [
        Case::new(4, 2, 20, 300, 1),
        Case::new(4, 2, 20, 17, 17),
        Case::new(4, 2, 20, 140, 40),
    ];
    let data: Vec<Data> = cases.iter().map(Case::data).collect();
    for isa in Isa::available() {
        for threads in [1, 3] {
            let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
            let mut outs: Vec<Vec<f32>> = cases
                .iter()
                .map(|c| vec![f32::NAN; c.m * c.width()])
                .collect();
            let mut seqs: Vec<AttentionSeq<'_>> = cases
                .iter()
                .zip(&data)
                .zip(&mut outs)
                .map(|((case, data), out)| AttentionSeq {
                    q: &data.q,
                    first_pos: case.len - case.m,
                    k: KvRef::F32(&data.k),
                    v: KvRef::F32(&data.v),
                    capacity: data.capacity,
                    out,
                })
                .collect();
            let mut scratch = AttentionScratch::new();
            let shape = &cases[0].shape;
            attention_batch(&pool, isa, shape, &mut seqs, &mut scratch).unwrap();
            for ((case, data), out) in cases.iter().zip(&data).zip(&outs) {
                assert_eq!(*out, case.run(data, isa, 1, 0, case.m));
            }
        }
    }
}

#[test]
fn stores_rows_where_attention_reads_them() {
    let case = Case::new(2, 2, 20, 0, 0);
    let (kv_heads, dim, capacity) = (2, 20, 7);
    let rows = random(5, 3 * kv_heads * dim);
    for isa in Isa::available() {
        let (mut full, mut half) = (vec![0.0; 2 * 7 * dim], vec![0u16; 2 * 7 * dim]);
        kv_store(isa, &case.shape, &rows, 2, capacity, KvMut::F32(&mut full)).unwrap();
        kv_store(isa, &case.shape, &rows, 2, capacity, KvMut::F16(&mut half)).unwrap();
        let mut back = vec![0.0; half.len()];
        ops::f16_to_f32(isa, &half, &mut back).unwrap();
        for head in 0..kv_heads {
            for pos in 0..capacity {
                for d in 0..dim {
                    let at = (head * capacity + pos) * dim + d;
                    let want = if (2..5).contains(&pos) {
                        rows[((pos - 2) * kv_heads + head) * dim + d]
                    } else {
                        0.0
                    };
                    assert_eq!(full[at], want);
                    assert!((back[at] - want).abs() <= want.abs() / 2048.0);
                }
            }
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let pool = Pool::new(NonZeroUsize::MIN);
    let mut scratch = AttentionScratch::new();
    let case = Case::new(4, 2, 8, 10, 2);
    let mut go = |shape: &AttentionShape, q: usize, first: usize, kv: usize, out: usize| {
        let (q, kv, mut out) = (vec![0.0; q], vec![0.0; kv], vec![0.0; out]);
        let kv = KvRef::F32(&kv);
        attention(
            &pool,
            Isa::best(),
            shape,
            &q,
            first,
            kv,
            kv,
            10,
            &mut out,
            &mut scratch,
        )
    };
    assert!(go(&case.shape, 64, 8, 160, 64).is_ok());
    assert!(go(&case.shape, 0, 8, 160, 0).is_ok());
    assert!(go(&case.shape, 64, 9, 160, 64).is_err());
    assert!(go(&case.shape, 64, usize::MAX, 160, 64).is_err());
    assert!(go(&case.shape, 63, 8, 160, 63).is_err());
    assert!(go(&case.shape, 64, 8, 159, 64).is_err());
    assert!(go(&case.shape, 64, 8, 160, 32).is_err());
    assert!(go(&case.shape.with_window(Some(0)), 64, 8, 160, 64).is_err());
    for (q_heads, kv_heads, head_dim) in [(3, 2, 8), (0, 2, 8), (4, 0, 8), (4, 2, 0)] {
        let shape = AttentionShape {
            q_heads,
            kv_heads,
            head_dim,
            ..case.shape
        };
        assert!(go(&shape, 0, 0, 160, 0).is_err(), "{shape:?}");
    }
    let mut cache = [0.0; 160];
    let mut put = |rows, first, len| {
        let rows = vec![0.0; rows];
        kv_store(
            Isa::best(),
            &case.shape,
            &rows,
            first,
            10,
            KvMut::F32(&mut cache[..len]),
        )
    };
    assert!(put(32, 8, 160).is_ok());
    assert!(put(31, 8, 160).is_err());
    assert!(put(32, 9, 160).is_err());
    assert!(put(32, 8, 159).is_err());
}
