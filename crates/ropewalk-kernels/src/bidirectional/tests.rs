use std::num::NonZeroUsize;

use super::*;
use crate::testing::{close, random};

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap())
}

/// Queries, keys and values as columns of one projection, as an encoder has them.
struct Case {
    shape: BidirectionalShape,
    lens: Vec<usize>,
    stride: usize,
    qkv: Vec<f32>,
}

impl Case {
    fn new(shape: BidirectionalShape, lens: &[usize]) -> Self {
        let stride = (shape.q_heads + 2 * shape.kv_heads) * shape.head_dim;
        let tokens: usize = lens.iter().sum();
        let qkv = random(5, tokens * stride).iter().map(|x| 3.0 * x).collect();
        Self {
            shape,
            lens: lens.to_vec(),
            stride,
            qkv,
        }
    }

    fn width(&self) -> usize {
        self.shape.q_heads * self.shape.head_dim
    }

    fn run(&self, isa: Isa, threads: usize) -> Vec<f32> {
        self.run_part(isa, threads, 0..self.lens.len())
    }

    /// Attends in some of the sequences.
    fn run_part(&self, isa: Isa, threads: usize, part: std::ops::Range<usize>) -> Vec<f32> {
        let first: usize = self.lens[..part.start].iter().sum();
        let lens = &self.lens[part];
        let mut out = vec![f32::NAN; lens.iter().sum::<usize>() * self.width()];
        let qkv = &self.qkv[first * self.stride..];
        let narrow = self.shape.kv_heads * self.shape.head_dim;
        let rows = |skip| Rows::new(qkv.get(skip..).unwrap_or_default(), self.stride);
        let (k, v) = (rows(self.width()), rows(self.width() + narrow));
        bidirectional(
            &pool(threads),
            isa,
            &self.shape,
            lens,
            rows(0),
            k,
            v,
            &mut out,
        )
        .unwrap();
        out
    }

    /// The definition in f64.
    fn reference(&self) -> Vec<f32> {
        let BidirectionalShape {
            q_heads,
            kv_heads,
            head_dim,
            scale,
            window,
        } = self.shape;
        let mut out = Vec::new();
        let mut first = 0;
        for &len in &self.lens {
            for i in 0..len {
                for h in 0..q_heads {
                    let row = |t: usize, at: usize| {
                        &self.qkv[(first + t) * self.stride + at * head_dim..][..head_dim]
                    };
                    let kv = h / (q_heads / kv_heads);
                    let seen = |j: usize| window.is_none_or(|w| i.abs_diff(j) <= w);
                    let weights: Vec<f64> = (0..len)
                        .map(|j| {
                            let pairs = row(i, h).iter().zip(row(j, q_heads + kv));
                            let dot: f64 = pairs.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                            if seen(j) {
                                (dot * f64::from(scale)).exp()
                            } else {
                                0.0
                            }
                        })
                        .collect();
                    let sum: f64 = weights.iter().sum();
                    for d in 0..head_dim {
                        let value = |j: usize| f64::from(row(j, q_heads + kv_heads + kv)[d]);
                        let total: f64 = (0..len).map(|j| weights[j] * value(j)).sum();
                        out.push((total / sum) as f32);
                    }
                }
            }
            first += len;
        }
        out
    }
}

fn cases() -> Vec<Case> {
    let plain = BidirectionalShape::new(3, 32);
    vec![
        Case::new(plain, &[5, 1, 17, 0, 64, 33]),
        Case::new(plain.with_window(Some(4)), &[40, 3, 1]),
        Case::new(plain.with_window(Some(0)), &[19]),
        Case::new(plain.with_window(Some(usize::MAX)), &[19]),
        Case::new(plain.with_scale(0.3), &[130]),
        // Heads that are not whole panels, shared keys.
        Case::new(BidirectionalShape::new(4, 12).with_kv_heads(2), &[9, 21]),
        Case::new(BidirectionalShape::new(1, 1), &[2, 16]),
        Case::new(BidirectionalShape::new(2, 80).with_window(Some(20)), &[70]),
        // Longer than one task and one block of queries.
        Case::new(BidirectionalShape::new(1, 16), &[700]),
        Case::new(
            BidirectionalShape::new(1, 16).with_window(Some(64)),
            &[1100],
        ),
    ]
}

#[test]
fn equals_the_definition_on_every_tier() {
    for case in cases() {
        let want = case.reference();
        for isa in Isa::available() {
            let what = format!("{isa} {:?} {:?}", case.shape, case.lens);
            close(&case.run(isa, 1), &want, 2e-6, &what);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_company() {
    for case in cases() {
        for isa in Isa::available() {
            let whole = case.run(isa, 1);
            assert_eq!(whole, case.run(isa, 3), "{isa} {:?}", case.shape);
            let mut alone = Vec::new();
            for s in 0..case.lens.len() {
                alone.extend(case.run_part(isa, 1, s..s + 1));
            }
            assert_eq!(whole, alone, "{isa} {:?}", case.shape);
        }
    }
}

#[test]
fn refuses_operands_that_do_not_fit() {
    let (pool, isa) = (pool(1), Isa::best());
    let shape = BidirectionalShape::new(2, 8);
    let x = [0.0; 48];
    let run = |shape: &BidirectionalShape, lens: &[usize], stride, out| {
        let rows = Rows::new(&x, stride);
        bidirectional(
            &pool,
            isa,
            shape,
            lens,
            rows,
            rows,
            rows,
            &mut vec![0.0; out],
        )
    };
    assert_eq!(run(&shape, &[2, 1], 16, 48), Ok(()));
    assert_eq!(run(&shape, &[], 16, 0), Ok(()));
    for (shape, lens, stride, out) in [
        (shape, vec![2, 2], 16, 64),
        (shape, vec![2, 1], 17, 48),
        (shape, vec![2, 1], 15, 48),
        (shape, vec![2, 1], 16, 47),
        (shape, vec![usize::MAX, 2], 16, 48),
        (shape.with_kv_heads(0), vec![2, 1], 16, 48),
        (
            BidirectionalShape::new(3, 5).with_kv_heads(2),
            vec![1],
            16,
            15,
        ),
    ] {
        let error = run(&shape, &lens, stride, out).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{error}");
    }
}
