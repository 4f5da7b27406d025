//! DoRA beside a model (Liu et al. 2024, arXiv 2402.09353): each row of `W + s B A` is brought to a learned length.
//!
//! The model keeps its weights packed, so the lengths of their rows come from products with unit vectors, once
//! per adapter. For any scale, `|W + s B A|^2 = |W|^2 + 2 s <W, B A> + s^2 |B A|^2`, row by row.

use ropewalk_kernels::{Acts, Isa, Job, Matrix, Pool, matmul};
use ropewalk_spec::adapter::LowRank;

use crate::Result;

/// Unit vectors of one product.
const AT_ONCE: usize = 64;

/// What the outputs of a matrix are multiplied with.
#[derive(Debug)]
pub(super) struct Lengths {
    magnitude: Vec<f32>,
    /// `|W|^2`, `<W, B A>` and `|B A|^2` of each row.
    squares: Vec<[f64; 3]>,
    own: f32,
    /// The factors at scale 1.
    usual: Vec<f32>,
}

impl Lengths {
    /// Measures the rows of a matrix and of its change; `None` where the adapter is not DoRA.
    pub(super) fn new(
        weights: &Matrix,
        low: &LowRank,
        (isa, pool): (Isa, &Pool),
    ) -> Result<Option<Self>> {
        let Some(magnitude) = low.magnitude.clone() else {
            return Ok(None);
        };
        let (rows, columns, rank) = (weights.rows(), weights.cols(), low.rank());
        let mut acts = Acts::new();
        let mut out = vec![0.0; AT_ONCE.max(rank) * rows];
        let mut squares = vec![[0.0; 3]; rows];
        for first in (0..columns).step_by(AT_ONCE) {
            let count = AT_ONCE.min(columns - first);
            let units = acts.input(count, columns);
            units.fill(0.0);
            for (i, unit) in units.chunks_exact_mut(columns).enumerate() {
                unit[first + i] = 1.0;
            }
            acts.prepare_input(pool, isa, [weights])?;
            let out = &mut out[..count * rows];
            matmul(pool, &acts, &mut [Job::new(weights, out)])?;
            for column in out.chunks_exact(rows) {
                for (sum, w) in squares.iter_mut().zip(column) {
                    sum[0] += f64::from(*w) * f64::from(*w);
                }
            }
        }
        let (a, b) = (low.a.to_f32()?, low.b.to_f32()?);
        acts.input(rank, columns).copy_from_slice(&a);
        acts.prepare_input(pool, isa, [weights])?;
        let across = &mut out[..rank * rows];
        matmul(pool, &acts, &mut [Job::new(weights, across)])?;
        let dot = |x: &[f32], y: &[f32]| -> f64 {
            let products = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y));
            products.sum()
        };
        let a: Vec<&[f32]> = a.chunks_exact(columns).collect();
        let pairs: Vec<Vec<f64>> = a
            .iter()
            .map(|x| a.iter().map(|y| dot(x, y)).collect())
            .collect();
        for ((row, sums), b) in squares.iter_mut().enumerate().zip(b.chunks_exact(rank)) {
            for (i, (b_i, pairs)) in b.iter().zip(&pairs).enumerate() {
                let b_i = f64::from(*b_i);
                sums[1] += b_i * f64::from(across[i * rows + row]);
                let own = b.iter().zip(pairs).map(|(b_j, p)| f64::from(*b_j) * p);
                sums[2] += b_i * own.sum::<f64>();
            }
        }
        let mut this = Self {
            magnitude,
            squares,
            own: low.scale,
            usual: Vec::new(),
        };
        this.usual = this.factors(1.0).collect();
        Ok(Some(this))
    }

    fn factors(&self, scale: f32) -> impl Iterator<Item = f32> + '_ {
        let s = f64::from(scale * self.own);
        let rows = self.magnitude.iter().zip(&self.squares);
        rows.map(move |(length, [w, across, own])| {
            let square = w + 2.0 * s * across + s * s * own;
            (f64::from(*length) / square.max(f64::MIN_POSITIVE).sqrt()) as f32
        })
    }

    /// Multiplies the outputs of one row of activations, the change at a scale added.
    pub(super) fn apply(&self, scale: f32, out: &mut [f32]) {
        if scale.to_bits() == 1.0_f32.to_bits() {
            out.iter_mut().zip(&self.usual).for_each(|(x, f)| *x *= f);
        } else {
            out.iter_mut()
                .zip(self.factors(scale))
                .for_each(|(x, f)| *x *= f);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        4 * (self.magnitude.len() + self.usual.len()) + 24 * self.squares.len()
    }
}
