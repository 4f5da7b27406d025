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
    /// How keys and values are stored.
    formats: [Format; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    F32,
    F16,
    Q8,
}

/// A cache of keys or values.
enum Cache {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Q8(Vec<i8>, Vec<u16>),
}

const NAN16: u16 = 0x7e00;

impl Cache {
    /// Returns a cache full of NaN.
    fn new(shape: &AttentionShape, capacity: usize, format: Format) -> Self {
        let positions = shape.kv_heads * capacity;
        let n = positions * shape.head_dim;
        match format {
            Format::F32 => Self::F32(vec![f32::NAN; n]),
            Format::F16 => Self::F16(vec![NAN16; n]),
            Format::Q8 => Self::Q8(
                vec![1; n],
                vec![NAN16; positions * shape.head_dim.div_ceil(32)],
            ),
        }
    }

    fn reading(&self) -> KvRef<'_> {
        match self {
            Self::F32(x) => KvRef::F32(x),
            Self::F16(x) => KvRef::F16(x),
            Self::Q8(values, scales) => KvRef::Q8_0 { values, scales },
        }
    }

    fn writing(&mut self) -> KvMut<'_> {
        match self {
            Self::F32(x) => KvMut::F32(x),
            Self::F16(x) => KvMut::F16(x),
            Self::Q8(values, scales) => KvMut::Q8_0 { values, scales },
        }
    }

    /// Reads feature `d` at position `at` over all heads, as the layouts are documented.
    fn get(&self, keys: bool, dim: usize, at: usize, d: usize) -> f32 {
        let place = |n: usize, d: usize| {
            if keys {
                (at / 16 * n + d) * 16 + at % 16
            } else {
                at * n + d
            }
        };
        let wide = |x: u16| {
            let mut out = [0.0];
            ops::f16_to_f32(Isa::Scalar, &[x], &mut out).unwrap();
            out[0]
        };
        match self {
            Self::F32(x) => x[place(dim, d)],
            Self::F16(x) => wide(x[place(dim, d)]),
            Self::Q8(values, scales) => {
                wide(scales[place(dim.div_ceil(32), d / 32)]) * f32::from(values[place(dim, d)])
            }
        }
    }
}

struct Data {
    capacity: usize,
    q: Vec<f32>,
    /// Rows `[len, kv_heads * head_dim]` and where they are stored.
    rows: [Vec<f32>; 2],
    caches: [Cache; 2],
}

impl Data {
    /// Stores keys and values again, `x` at all positions but `seen`.
    fn hide(&mut self, case: &Case, seen: std::ops::Range<usize>, x: f32) {
        let width = case.shape.kv_heads * case.shape.head_dim;
        for rows in &mut self.rows {
            for (pos, row) in rows.chunks_exact_mut(width).enumerate() {
                if !seen.contains(&pos) {
                    row.fill(x);
                }
            }
        }
        self.store(case, Isa::Scalar);
    }

    fn store(&mut self, case: &Case, isa: Isa) {
        let Self {
            capacity,
            rows: [k, v],
            caches: [kc, vc],
            ..
        } = self;
        store_keys(isa, &case.shape, k, 0, *capacity, kc.writing()).unwrap();
        store_values(isa, &case.shape, v, 0, *capacity, vc.writing()).unwrap();
    }
}

/// Pairs of formats of keys and values: each with itself and with every other.
const FORMATS: [[Format; 2]; 9] = {
    use Format::{F16, F32, Q8};
    [
        [F32, F32],
        [F16, F16],
        [Q8, Q8],
        [F16, F32],
        [F32, F16],
        [Q8, F32],
        [F32, Q8],
        [Q8, F16],
        [F16, Q8],
    ]
};

impl Case {
    fn new(q_heads: usize, kv_heads: usize, head_dim: usize, len: usize, m: usize) -> Self {
        let shape = AttentionShape::new(q_heads, kv_heads, head_dim);
        Self {
            shape,
            len,
            m,
            formats: [Format::F32; 2],
        }
    }

    fn width(&self) -> usize {
        self.shape.q_heads * self.shape.head_dim
    }

    fn data(&self) -> Data {
        // What lies behind the last query must not be read.
        let capacity = (self.len + 3).next_multiple_of(CAPACITY_STEP);
        let n = self.len * self.shape.kv_heads * self.shape.head_dim;
        // Scores spread over several units, so that the maximum matters.
        let q = random(1, self.m * self.width())
            .iter()
            .map(|x| x * 4.0)
            .collect();
        let mut data = Data {
            capacity,
            q,
            rows: [random(2, n), random(3, n)],
            caches: self.formats.map(|f| Cache::new(&self.shape, capacity, f)),
        };
        data.store(self, Isa::best());
        data
    }

    /// Runs queries `from..to` of the case.
    fn run(&self, data: &Data, isa: Isa, threads: usize, from: usize, to: usize) -> Vec<f32> {
        let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
        let mut out = vec![f32::NAN; (to - from) * self.width()];
        let [k, v] = [&data.caches[0], &data.caches[1]].map(Cache::reading);
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

    /// Runs queries `from..to` with the cache in pages, in reverse order in memory.
    fn run_paged(
        &self,
        data: &Data,
        isa: Isa,
        (threads, page_len): (usize, usize),
        from: usize,
        to: usize,
    ) -> Vec<f32> {
        let width = self.shape.kv_heads * self.shape.head_dim;
        let [k, v] = data
            .rows
            .each_ref()
            .map(|rows| rows.chunks(page_len * width).rev().collect::<Vec<&[f32]>>());
        let new = |format| Cache::new(&self.shape, page_len, format);
        let mut caches: Vec<[Cache; 2]> = k.iter().map(|_| self.formats.map(new)).collect();
        for (cache, (k, v)) in caches.iter_mut().zip(k.iter().zip(&v)) {
            let [kc, vc] = cache;
            store_keys(isa, &self.shape, k, 0, page_len, kc.writing()).unwrap();
            store_values(isa, &self.shape, v, 0, page_len, vc.writing()).unwrap();
        }
        let pages: Vec<KvPage<'_>> = caches
            .iter()
            .rev()
            .map(|[k, v]| KvPage::new(k.reading(), v.reading()))
            .collect();
        let mut out = vec![f32::NAN; (to - from) * self.width()];
        let mut seqs = [AttentionSeq {
            q: &data.q[from * self.width()..to * self.width()],
            first_pos: self.len - self.m + from,
            pages: &pages,
            page_len,
            out: &mut out,
        }];
        let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
        let mut scratch = AttentionScratch::new();
        attention_batch(&pool, isa, &self.shape, &mut seqs, &mut scratch).unwrap();
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
                let row = |keys: bool, j: usize, d: usize| {
                    let cache = &data.caches[usize::from(!keys)];
                    f64::from(cache.get(keys, head_dim, kv + j, d))
                };
                let scores: Vec<f64> = (low..=pos)
                    .map(|j| {
                        let dot: f64 = (0..head_dim)
                            .map(|d| f64::from(q[d]) * row(true, j, d))
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
                        .map(|(s, j)| (s - max).exp() * row(false, j, d))
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
        for (threads, page_len) in [(1, PAGE_STEP), (3, PAGE_STEP), (2, 2 * PAGE_STEP)] {
            same(
                &case.run_paged(&data, isa, (threads, page_len), 0, case.m),
                0,
                "a cache in pages",
            );
            let last = case.m - 1;
            same(
                &case.run_paged(&data, isa, (threads, page_len), last, case.m),
                last,
                "decode from pages",
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
        for formats in FORMATS {
            check(&Case {
                formats,
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
        for (formats, bad) in FORMATS.into_iter().zip([f32::NAN, f32::INFINITY].repeat(5)) {
            let mut case = Case {
                formats,
                ..Case::new(4, 2, head_dim, 300, m)
            };
            case.shape.window = window;
            // Each query alone: what it does not see is zeros, then what is not finite.
            for i in [0, m / 3, m / 2, m - 1] {
                let pos = case.len - m + i;
                let low = window.map_or(0, |w| (pos + 1).saturating_sub(w));
                let [zeros, bad] = [0.0, bad].map(|x| {
                    let mut data = case.data();
                    data.hide(&case, low..pos + 1, x);
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
    for formats in [FORMATS[0], FORMATS[1], FORMATS[2]] {
        check(&Case {
            formats,
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
        (5.0, 2.0, Some(33)),
    ] {
        for formats in FORMATS {
            let mut case = Case {
                formats,
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
        0usize..9,
    );
    properties(
        24,
        &layers,
        |((kv_heads, group, dim), (len, m), window, softcap, format)| {
            let mut case = Case::new(kv_heads * group, kv_heads, dim, len, m.min(len));
            case.shape.window = window;
            case.shape.softcap = softcap.map(f32::from);
            case.formats = FORMATS[format];
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
            let pages: Vec<[KvPage<'_>; 1]> = data
                .iter()
                .map(|d| [KvPage::new(d.caches[0].reading(), d.caches[1].reading())])
                .collect();
            let mut seqs: Vec<AttentionSeq<'_>> = cases
                .iter()
                .zip(&data)
                .zip(&mut outs)
                .zip(&pages)
                .map(|(((case, data), out), pages)| AttentionSeq {
                    q: &data.q,
                    first_pos: case.len - case.m,
                    pages,
                    page_len: data.capacity,
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
    for (dim, first, capacity) in [(20, 2, 16), (64, 13, 32), (80, 14, 48)] {
        let case = Case::new(2, 2, dim, 0, 0);
        let rows = random(5, 5 * 2 * dim);
        for (isa, format) in Isa::available()
            .into_iter()
            .flat_map(|isa| [Format::F32, Format::F16, Format::Q8].map(|f| (isa, f)))
        {
            for keys in [true, false] {
                let mut cache = Cache::new(&case.shape, capacity, format);
                let store = if keys { store_keys } else { store_values };
                store(isa, &case.shape, &rows, first, capacity, cache.writing()).unwrap();
                for at in 0..2 * capacity {
                    let (head, pos) = (at / capacity, at % capacity);
                    for d in 0..dim {
                        let got = cache.get(keys, dim, at, d);
                        if !(first..first + 5).contains(&pos) {
                            assert!(got.is_nan());
                            continue;
                        }
                        let row = &rows[((pos - first) * 2 + head) * dim..][..dim];
                        let block = &row[d / 32 * 32..dim.min(d / 32 * 32 + 32)];
                        let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                        let bound = match format {
                            Format::F32 => 0.0,
                            Format::F16 => row[d].abs() / 2048.0,
                            // Half a step, and what the rounded factor cuts off the largest.
                            Format::Q8 => largest / 127.0 * 0.5 + largest / 2048.0,
                        };
                        assert!((got - row[d]).abs() <= bound, "{isa} {format:?} {got}");
                    }
                }
            }
        }
    }
}

#[test]
fn blocks_that_bytes_cannot_hold_are_told() {
    let shape = AttentionShape::new(1, 1, 64);
    for (x, want) in [
        (0.0, 0.0),
        (1e-12, 0.0),
        (f32::NAN, f32::NAN),
        (f32::INFINITY, f32::NAN),
        (1e9, f32::NAN),
        (8.3e6, 8.3e6),
    ] {
        let mut cache = Cache::new(&shape, 16, Format::Q8);
        let mut row = [0.0; 64];
        (row[3], row[40]) = (x, -1.0);
        store_values(Isa::best(), &shape, &row, 0, 16, cache.writing()).unwrap();
        let got = cache.get(false, 64, 0, 3);
        if want.is_nan() {
            assert!(got.is_nan(), "{x}: {got}");
        } else {
            assert!((got - want).abs() <= 5e-4 * want, "{x}: {got}");
        }
        // The other block keeps its own factor.
        assert!((cache.get(false, 64, 0, 40) + 1.0).abs() < 1e-3);
    }
}

#[test]
fn a_cache_of_bytes_gives_the_bits_of_the_floats_it_holds() {
    for dim in [32, 40, 64] {
        let case = Case {
            formats: [Format::Q8; 2],
            ..Case::new(4, 2, dim, 200, 33)
        };
        let data = case.data();
        let mut wide = Case::new(4, 2, dim, 200, 33).data();
        for (keys, (wide, from)) in [true, false]
            .into_iter()
            .zip(wide.caches.iter_mut().zip(&data.caches))
        {
            let Cache::F32(wide) = wide else { panic!() };
            for at in 0..2 * data.capacity {
                for d in 0..dim {
                    let place = if keys {
                        (at / 16 * dim + d) * 16 + at % 16
                    } else {
                        at * dim + d
                    };
                    wide[place] = from.get(keys, dim, at, d);
                }
            }
        }
        for isa in Isa::available() {
            for (from, to) in [(0, 33), (32, 33)] {
                assert_eq!(
                    case.run(&data, isa, 2, from, to),
                    case.run(&wide, isa, 2, from, to)
                );
            }
        }
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let pool = Pool::new(NonZeroUsize::MIN);
    let mut scratch = AttentionScratch::new();
    let case = Case::new(4, 2, 8, 10, 2);
    let scales = [0; 32];
    let bytes = [0; 256];
    let mut go = |shape: &AttentionShape, q: usize, first: usize, kv: KvRef<'_>, out: usize| {
        let (q, mut out) = (vec![0.0; q], vec![0.0; out]);
        let capacity = if first == 3 { 15 } else { 16 };
        attention(
            &pool,
            Isa::best(),
            shape,
            &q,
            first,
            kv,
            kv,
            capacity,
            &mut out,
            &mut scratch,
        )
    };
    let (whole, short) = (KvRef::F32(&[0.0; 256]), KvRef::F32(&[0.0; 255]));
    assert!(go(&case.shape, 64, 14, whole, 64).is_ok());
    assert!(go(&case.shape, 0, 8, whole, 0).is_ok());
    // A capacity that is no multiple of 16.
    assert!(go(&case.shape, 64, 3, whole, 64).is_err());
    assert!(go(&case.shape, 64, 15, whole, 64).is_err());
    assert!(go(&case.shape, 64, usize::MAX, whole, 64).is_err());
    assert!(go(&case.shape, 63, 8, whole, 63).is_err());
    assert!(go(&case.shape, 64, 8, short, 64).is_err());
    assert!(go(&case.shape, 64, 8, whole, 32).is_err());
    for (values, scales, fits) in [
        (&bytes[..], &scales[..], true),
        (&bytes[1..], &scales[..], false),
        (&bytes[..], &scales[1..], false),
    ] {
        let kv = KvRef::Q8_0 { values, scales };
        assert_eq!(go(&case.shape, 64, 8, kv, 64).is_ok(), fits);
    }
    assert!(go(&case.shape.with_window(Some(0)), 64, 8, whole, 64).is_err());
    for (q_heads, kv_heads, head_dim) in [(3, 2, 8), (0, 2, 8), (4, 0, 8), (4, 2, 0)] {
        let shape = AttentionShape {
            q_heads,
            kv_heads,
            head_dim,
            ..case.shape
        };
        assert!(go(&shape, 0, 0, whole, 0).is_err(), "{shape:?}");
    }
    // Several pages: whole spans long, all of them large enough, enough of them.
    let (page, short) = ([0.0; 128 * 16], [0.0; 127 * 16]);
    let [page, short] = [&page[..], &short[..]].map(|x| KvPage::new(KvRef::F32(x), KvRef::F32(x)));
    let paged = |pages: &[KvPage<'_>], page_len: usize, first_pos: usize| {
        let (q, mut out) = ([0.0; 32], [0.0; 32]);
        let mut seqs = [AttentionSeq {
            q: &q,
            first_pos,
            pages,
            page_len,
            out: &mut out,
        }];
        let mut scratch = AttentionScratch::new();
        attention_batch(&pool, Isa::best(), &case.shape, &mut seqs, &mut scratch)
    };
    assert!(paged(&[page, page], 128, 255).is_ok());
    assert!(paged(&[page, page], 128, 256).is_err());
    assert!(paged(&[page, page], 64, 3).is_err());
    assert!(paged(&[page, page], 0, 0).is_err());
    assert!(paged(&[page], 112, 111).is_ok());
    assert!(paged(&[page, short], 128, 3).is_err());
    assert!(paged(&[], 128, 0).is_err());
    let mut cache = [0.0; 256];
    let mut put = |rows, first, capacity, len| {
        let (rows, isa) = (vec![0.0; rows], Isa::best());
        let fits = [store_keys, store_values].map(|store| {
            let cache = KvMut::F32(&mut cache[..len]);
            store(isa, &case.shape, &rows, first, capacity, cache).is_ok()
        });
        assert_eq!(fits[0], fits[1]);
        fits[0]
    };
    assert!(put(32, 14, 16, 256));
    assert!(!put(31, 14, 16, 256));
    assert!(!put(32, 15, 16, 256));
    assert!(!put(32, usize::MAX, 16, 256));
    assert!(!put(32, 8, 15, 256));
    assert!(!put(32, 14, 16, 255));
}

#[test]
fn spans_before_the_window_are_not_touched_and_threads_get_equal_shares() {
    let data = Case::new(8, 1, 16, 4096, 4096).data();
    let pages = [KvPage::new(
        data.caches[0].reading(),
        data.caches[1].reading(),
    )];
    let units = |window: Option<usize>, kv_heads, first: usize, m: usize, threads| {
        let shape = AttentionShape::new(8, kv_heads, 16).with_window(window);
        let seq = Sequence {
            q: &data.q,
            m,
            first_pos: first,
            pages: &pages,
            page_len: 4096,
            out: std::ptr::null_mut(),
        };
        let mut units = Vec::new();
        plan::plan(&shape, &[seq], threads, &mut units, &mut Vec::new());
        units
    };
    // Position 4,000 sees 3,901 to 4,000: spans 30 and 31 of 128 keys.
    for threads in [1, 2, 4] {
        let spans: Vec<usize> = units(Some(100), 1, 4000, 1, threads)
            .iter()
            .flat_map(|u| u.span..u.end)
            .collect();
        assert_eq!(spans, [30, 31]);
    }
    // Tiles of 8 queries, each with the spans of its own window.
    for unit in units(Some(100), 1, 0, 4096, 2) {
        let first = (unit.query + 1).saturating_sub(100) / plan::SPAN;
        let end = (unit.query + unit.queries).div_ceil(plan::SPAN);
        assert_eq!((unit.span, unit.end), (first, end));
    }
    // One key head and contexts of a few spans: no thread has more than its share of whole spans.
    for (context, threads) in [(256, 2), (512, 2), (1024, 2), (1024, 4), (4096, 2)] {
        for kv_heads in [1, 2] {
            let units = units(None, kv_heads, context - 1, 1, threads);
            let spans = kv_heads * context / plan::SPAN;
            for thread in 0..threads {
                // The pool cuts the units into equal ranges.
                let range = thread * units.len() / threads..(thread + 1) * units.len() / threads;
                let own: usize = units[range].iter().map(|u| u.end - u.span).sum();
                assert!(own <= spans.div_ceil(threads), "{context} {threads} {own}");
            }
        }
    }
}
