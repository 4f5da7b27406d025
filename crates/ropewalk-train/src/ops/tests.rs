use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};

use super::*;
use crate::batch::{Batch, Doc};
use crate::math::{Heads, Rope};
use crate::rng::Rng;

fn random(seed: u32, shape: &[usize], scale: f32) -> Var {
    let mut r = Rng::new(11, seed, 0);
    let n = shape.iter().product();
    let v: Vec<f32> = (0..n).map(|_| r.normal() * scale).collect();
    Var::from_tensor(&Tensor::from_vec(v, shape, &Device::Cpu).unwrap()).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Compares the gradient of `sum(f(vars) * fixed)` with central differences in f32.
fn check(name: &str, vars: &[Var], f: impl Fn(&[Var]) -> Result<Tensor>) {
    let y = f(vars).unwrap();
    let fixed = random(99, y.dims(), 1.0).as_tensor().clone();
    let loss = |v: &[Var]| -> Result<Tensor> { (f(v)? * &fixed)?.sum_all() };
    let grads = loss(vars).unwrap().backward().unwrap();
    for (i, var) in vars.iter().enumerate() {
        let g = values(grads.get(var).unwrap());
        let base = values(var);
        let mut worst = 0.0f64;
        let size =
            g.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt() / (g.len() as f64).sqrt();
        for j in (0..base.len()).step_by((base.len() / 40).max(1)) {
            let at = |e: f32| {
                let mut b = base.clone();
                b[j] += e;
                var.set(&Tensor::from_vec(b, var.shape(), &Device::Cpu).unwrap())
                    .unwrap();
                let y = values(&f(vars).unwrap());
                y.iter()
                    .zip(values(&fixed))
                    .map(|(a, b)| f64::from(*a) * f64::from(b))
                    .sum::<f64>()
            };
            let h = 4e-3;
            // Richardson: error of order h^4.
            let (d1, d2) = (
                (at(h) - at(-h)) / f64::from(2.0 * h),
                (at(2.0 * h) - at(-2.0 * h)) / f64::from(4.0 * h),
            );
            worst = worst.max((((4.0 * d1 - d2) / 3.0) - f64::from(g[j])).abs() / size);
        }
        var.set(&Tensor::from_vec(base, var.shape(), &Device::Cpu).unwrap())
            .unwrap();
        assert!(worst < 2e-3, "{name}: input {i}: relative error {worst}");
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let c = Compute::new(2);
    check(
        "linear",
        &[random(0, &[9, 6], 1.0), random(1, &[5, 6], 1.0)],
        |v| linear(&c, &v[0], &v[1]),
    );
    check(
        "rms norm",
        &[random(2, &[130, 6], 1.0), random(3, &[6], 1.0)],
        |v| rms_norm(&c, &v[0], &v[1], 1e-5),
    );
    let weights = [
        random(4, &[70, 6], 1.0),
        random(9, &[10, 6], 0.7),
        random(10, &[4, 5], 0.7),
    ];
    check("mlp", &weights, |v| mlp(&c, &v[0], &v[1], &v[2]));
    let heads = Heads {
        q: 4,
        kv: 2,
        dim: 6,
    };
    let rope = Arc::new(Rope::new(6, 10_000.0, 16));
    let starts: Arc<[usize]> = vec![0, 7, 8, 19].into();
    check("attention", &[random(5, &[19, 48], 1.0)], |v| {
        attention(&c, &v[0], heads, &rope, &starts)
    });
    let ids: Arc<[u32]> = vec![3, 0, 3, 1].into();
    check("embedding", &[random(6, &[5, 4], 1.0)], |v| {
        embedding(&v[0], &ids)
    });
    let doc = Doc::new(vec![0, 3, 1, 4, 2, 2], vec![0.0, 1.0, 0.0, 0.5, 2.0, 1.0]);
    let batch = Batch::pack(&[doc]).unwrap();
    check(
        "cross-entropy",
        &[random(7, &[5, 4], 1.0), random(8, &[6, 4], 1.0)],
        |v| cross_entropy(&c, &v[0], &v[1], &batch, batch.weight()),
    );
}

#[test]
fn documents_do_not_see_each_other() {
    let c = Compute::new(1);
    let heads = Heads {
        q: 2,
        kv: 1,
        dim: 4,
    };
    let rope = Arc::new(Rope::new(4, 10_000.0, 16));
    let x = random(5, &[9, 16], 1.0);
    let both = values(&attention(&c, &x, heads, &rope, &vec![0, 4, 9].into()).unwrap());
    let second = x.narrow(0, 4, 5).unwrap().contiguous().unwrap();
    let alone = values(&attention(&c, &second, heads, &rope, &vec![0, 5].into()).unwrap());
    assert_eq!(&both[4 * 8..], &alone[..]);
}

#[test]
fn wrong_input_is_an_error() {
    let c = Compute::new(1);
    let x = random(0, &[3, 4], 1.0);
    assert!(linear(&c, &x, &random(1, &[5, 3], 1.0)).is_err());
    assert!(linear(&c, &x.t().unwrap(), &random(1, &[5, 3], 1.0)).is_err());
    assert!(embedding(&x, &vec![3].into()).is_err());
}
