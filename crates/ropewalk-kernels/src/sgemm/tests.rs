use std::num::NonZeroUsize;

use super::*;
use crate::testing::{close, properties, random};

struct Case {
    ta: bool,
    tb: bool,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    beta: f32,
}

impl Case {
    /// Leading dimensions, each a little longer than the row.
    fn strides(&self) -> [usize; 3] {
        let lda = if self.ta { self.m } else { self.k };
        let ldb = if self.tb { self.k } else { self.n };
        [lda + 3, ldb + 1, self.n + 2]
    }

    fn operands(&self) -> [Vec<f32>; 3] {
        let [lda, ldb, ldc] = self.strides();
        [
            random(1, lda * self.m.max(self.k)),
            random(2, ldb * self.n.max(self.k)),
            random(3, ldc * self.m),
        ]
    }

    fn run(&self, isa: Isa, threads: usize) -> Vec<f32> {
        let [lda, ldb, ldc] = self.strides();
        let [a, b, mut c] = self.operands();
        let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
        sgemm(
            &pool, isa, self.ta, self.tb, self.m, self.n, self.k, self.alpha, &a, lda, &b, ldb,
            self.beta, &mut c, ldc,
        )
        .unwrap();
        c
    }

    /// The product in f64, and for each element the sum of magnitudes that went into it.
    fn reference(&self) -> (Vec<f64>, Vec<f64>) {
        let [lda, ldb, ldc] = self.strides();
        let [a, b, c] = self.operands();
        let mut want: Vec<f64> = c.iter().map(|&x| f64::from(x)).collect();
        let mut size: Vec<f64> = vec![0.0; c.len()];
        for i in 0..self.m {
            for j in 0..self.n {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for p in 0..self.k {
                    let x = f64::from(if self.ta {
                        a[p * lda + i]
                    } else {
                        a[i * lda + p]
                    });
                    let y = f64::from(if self.tb {
                        b[j * ldb + p]
                    } else {
                        b[p * ldb + j]
                    });
                    sum += x * y;
                    magnitude += (x * y).abs();
                }
                let at = i * ldc + j;
                let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
                size[at] = alpha.abs() * magnitude + (beta * want[at]).abs();
                want[at] = alpha * sum + beta * want[at];
            }
        }
        (want, size)
    }
}

fn check(case: &Case) {
    let (want, size) = case.reference();
    for isa in Isa::available() {
        let got = case.run(isa, 1);
        for (i, &x) in got.iter().enumerate() {
            let error = (f64::from(x) - want[i]).abs();
            assert!(
                error <= 1e-6 * size[i],
                "{isa:?} element {i}: {x} instead of {}",
                want[i]
            );
        }
        for threads in [2, 3] {
            assert_eq!(
                got,
                case.run(isa, threads),
                "{isa:?} with {threads} threads"
            );
        }
    }
}

#[test]
fn equals_the_reference_for_every_transposition() {
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for (m, n, k) in [
            (1, 1, 1),
            (7, 50, 20),
            (8, 48, 16),
            (9, 17, 172),
            (33, 97, 401),
        ] {
            for (alpha, beta) in [(1.0, 0.0), (0.5, 1.0), (-2.0, 0.25)] {
                check(&Case {
                    ta,
                    tb,
                    m,
                    n,
                    k,
                    alpha,
                    beta,
                });
            }
        }
    }
}

#[test]
fn splits_wide_products_without_changing_them() {
    check(&Case {
        ta: false,
        tb: true,
        m: 5,
        n: 700,
        k: 64,
        alpha: 1.0,
        beta: 0.0,
    });
    check(&Case {
        ta: true,
        tb: false,
        m: 410,
        n: 20,
        k: 30,
        alpha: 1.0,
        beta: 1.0,
    });
}

#[test]
fn an_empty_sum_scales_c() {
    check(&Case {
        ta: false,
        tb: false,
        m: 3,
        n: 5,
        k: 0,
        alpha: 1.0,
        beta: 0.5,
    });
    check(&Case {
        ta: false,
        tb: false,
        m: 3,
        n: 5,
        k: 4,
        alpha: 0.0,
        beta: 0.0,
    });
    check(&Case {
        ta: false,
        tb: false,
        m: 0,
        n: 5,
        k: 4,
        alpha: 1.0,
        beta: 0.0,
    });
}

#[test]
fn does_not_read_c_when_beta_is_zero() {
    let pool = Pool::new(NonZeroUsize::MIN);
    for isa in Isa::available() {
        let mut c = [f32::NAN; 6];
        sgemm(
            &pool,
            isa,
            false,
            false,
            2,
            3,
            1,
            1.0,
            &[1.0, 2.0],
            1,
            &[1.0; 3],
            3,
            0.0,
            &mut c,
            3,
        )
        .unwrap();
        assert_eq!(c, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    }
}

#[test]
fn a_batch_equals_its_products() {
    let (m, n, k) = (5, 18, 33);
    for isa in Isa::available() {
        for (batch, threads) in [(1, 1), (3, 2), (9, 2)] {
            let pool = Pool::new(NonZeroUsize::new(threads).unwrap());
            let (a, b) = (random(4, batch * m * k), random(5, k * n));
            let mut got = vec![0.0; batch * m * n];
            sgemm_batched(
                &pool,
                isa,
                batch,
                false,
                false,
                m,
                n,
                k,
                1.0,
                &a,
                k,
                m * k,
                &b,
                n,
                0,
                0.0,
                &mut got,
                n,
                m * n,
            )
            .unwrap();
            for (a, got) in a.chunks(m * k).zip(got.chunks(m * n)) {
                let mut want = vec![0.0; m * n];
                sgemm(
                    &pool, isa, false, false, m, n, k, 1.0, a, k, &b, n, 0.0, &mut want, n,
                )
                .unwrap();
                assert_eq!(got, want);
            }
        }
    }
}

#[test]
fn refuses_short_slices() {
    let pool = Pool::new(NonZeroUsize::MIN);
    let (a, b, mut c) = ([0.0; 6], [0.0; 6], [0.0; 4]);
    let mut go = |lda, ldb, ldc, m| {
        sgemm(
            &pool,
            Isa::Scalar,
            false,
            false,
            m,
            2,
            3,
            1.0,
            &a,
            lda,
            &b,
            ldb,
            0.0,
            &mut c,
            ldc,
        )
    };
    assert!(go(3, 2, 2, 2).is_ok());
    assert!(go(3, 2, 2, 3).is_err());
    assert!(go(4, 2, 2, 2).is_err());
    assert!(go(3, 1, 2, 2).is_err());
    assert!(go(3, 2, 3, 2).is_err());
    assert!(go(usize::MAX, 2, 2, 2).is_err());
}

#[test]
fn tiers_agree() {
    let case = Case {
        ta: false,
        tb: true,
        m: 31,
        n: 65,
        k: 300,
        alpha: 1.0,
        beta: 0.0,
    };
    let want = case.run(Isa::Scalar, 1);
    for isa in Isa::available() {
        close(&case.run(isa, 1), &want, 1e-6, "sgemm");
    }
}

#[test]
fn equals_the_reference_for_random_shapes() {
    let shapes = ((1usize..40, 1usize..110, 0usize..420), 0u8..4, 0usize..3);
    properties(24, &shapes, |((m, n, k), transposed, scale)| {
        let (alpha, beta) = [(1.0, 0.0), (1.0, 1.0), (-0.5, 2.0)][scale];
        let (ta, tb) = (transposed & 1 == 1, transposed & 2 == 2);
        check(&Case {
            ta,
            tb,
            m,
            n,
            k,
            alpha,
            beta,
        });
    });
}
