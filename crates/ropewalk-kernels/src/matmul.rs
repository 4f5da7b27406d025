//! Products of activations with one or several matrices in one pool phase.
#![allow(unsafe_code, reason = "threads write disjoint columns of one output")]

use std::cell::RefCell;

use crate::acts::{Acts, Need, Shared};
use crate::dense::Output;
use crate::matrix::{Kind, Matrix};
use crate::quant::{dense_rows, scalar, tiles};
use crate::{Error, Pool};

/// A product: `out = x * weights^T`.
#[derive(Debug)]
pub struct Job<'a> {
    weights: &'a Matrix,
    out: &'a mut [f32],
}

impl<'a> Job<'a> {
    /// Returns a product with `weights` `[n, k]` into `out` `[m, n]`, row-major.
    #[must_use]
    pub fn new(weights: &'a Matrix, out: &'a mut [f32]) -> Self {
        Self { weights, out }
    }
}

/// Source bytes that one chunk of rows should read: long enough to stream, short enough to share.
const CHUNK_BYTES: usize = 96 << 10;

/// Rows of a chunk come in multiples of this: three tiles, which dense kernels take together.
const GRAIN: usize = 3 * tiles::ROWS;

/// The widest block of activation rows of any tier.
const MAX_WIDTH: usize = 16;

/// Output of one kernel call.
#[repr(align(64))]
struct Lines([[f32; tiles::ROWS]; MAX_WIDTH]);

/// One job, checked and cut into chunks.
struct Plan<'a> {
    weights: &'a Matrix,
    out: Shared<f32>,
    /// First chunk of this job, and of the next.
    first: usize,
    end: usize,
    /// Rows per chunk, a multiple of [`GRAIN`].
    rows: usize,
}

/// Computes all `jobs` over the prepared activations in one pool phase.
///
/// Matrices that share their input (query, key and value; gate and up) belong in one call: they
/// then cost one phase. For one tier a row's result is the same, bit for bit, for any number of
/// rows, threads and jobs.
///
/// # Shapes
/// - activations: `[m, k]`; weights of each job: `[n, k]`; output of each job: `[m, n]`
///
/// # Errors
/// [`Error::NotPrepared`] when [`Acts::prepare`] did not see a matrix of this kind,
/// [`Error::Length`] when a width or an output does not fit.
pub fn matmul(pool: &Pool, acts: &Acts, jobs: &mut [Job<'_>]) -> Result<(), Error> {
    for job in jobs.iter() {
        check(acts, job)?;
    }
    if acts.rows() == 0 {
        return Ok(());
    }
    let mut chunks = 0;
    let plans: Vec<Plan<'_>> = jobs
        .iter_mut()
        .map(|job| {
            let n = job.weights.rows();
            let row_bytes = (job.weights.bytes() / n.max(1)).max(1);
            // At least eight chunks per thread where the matrix allows it.
            let fair = n.div_ceil(8 * pool.threads().get());
            let rows = (CHUNK_BYTES / row_bytes)
                .min(fair)
                .max(1)
                .next_multiple_of(GRAIN);
            let first = chunks;
            chunks += n.div_ceil(rows);
            let out = Shared(job.out.as_mut_ptr());
            Plan {
                weights: job.weights,
                out,
                first,
                end: chunks,
                rows,
            }
        })
        .collect();
    pool.run(chunks, &|chunk| {
        let Some(plan) = plans.iter().find(|p| chunk < p.end) else {
            return;
        };
        let n = plan.weights.rows();
        let first = (chunk - plan.first) * plan.rows;
        let rows = first..(first + plan.rows).min(n);
        execute(plan, acts, rows);
    });
    Ok(())
}

/// Checks that the activations and the output fit a job.
fn check(acts: &Acts, job: &Job<'_>) -> Result<(), Error> {
    let w = job.weights;
    let ready = match w.need() {
        Need::Float => acts.float().is_some(),
        need => acts.words(need).is_some(),
    };
    if !ready {
        return Err(Error::NotPrepared {
            what: w.format_name(),
        });
    }
    if acts.isa() != Some(w.isa()) {
        return Err(Error::NotPrepared {
            what: "the tier the matrix was packed for",
        });
    }
    if acts.cols() != w.cols() {
        let (needed, found) = (w.cols(), acts.cols());
        return Err(Error::Length {
            what: "activation row",
            needed,
            found,
        });
    }
    let needed = acts.rows().saturating_mul(w.rows());
    if job.out.len() != needed {
        return Err(Error::Length {
            what: "matmul output",
            needed,
            found: job.out.len(),
        });
    }
    Ok(())
}

thread_local! {
    /// One decoded weight row.
    static DECODED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Computes output columns `rows` of a job.
fn execute(plan: &Plan<'_>, acts: &Acts, rows: std::ops::Range<usize>) {
    let w = plan.weights;
    let (n, k, m) = (w.rows(), w.cols(), acts.rows());
    // SAFETY: `check` saw `m * n` outputs; chunks write disjoint columns.
    let store = |i: usize, row: usize, value: f32| unsafe {
        plan.out.get().add(i * n + row).write(value);
    };
    match &w.kind {
        Kind::Rows {
            source,
            row_bytes,
            decode,
        } => DECODED.with_borrow_mut(|decoded| {
            decoded.resize(k, 0.0);
            let x = acts.float().unwrap_or_default();
            for row in rows {
                match source
                    .as_ref()
                    .as_ref()
                    .get(row * row_bytes..(row + 1) * row_bytes)
                {
                    Some(bytes) => decode(bytes, decoded),
                    None => decoded.fill(f32::NAN),
                }
                for i in 0..m {
                    // SAFETY: `Matrix::from_rows` checked the tier.
                    let value = unsafe { dense_rows::dot(w.isa(), &x[i * k..][..k], decoded) };
                    store(i, row, value);
                }
            }
        }),
        Kind::Dense(dense) => {
            let x = acts.float().unwrap_or_default();
            let tiles = rows.start / tiles::ROWS..rows.end.div_ceil(tiles::ROWS);
            let out = Output {
                start: plan.out.get(),
                stride: n,
            };
            // SAFETY: `Matrix::pack` checked the tier, `check` the sizes; chunks are disjoint.
            unsafe { dense.mul_tiles(w.isa(), x, m, tiles, out) };
        }
        Kind::Blocks {
            format,
            data,
            row_bytes,
        } => {
            let Some((words, per_row)) = acts.words(w.need()) else {
                return;
            };
            for row in rows {
                let bytes = &data.bytes()[row * row_bytes..][..*row_bytes];
                for i in 0..m {
                    store(
                        i,
                        row,
                        scalar::dot(*format, bytes, &words[i * per_row..][..per_row]),
                    );
                }
            }
        }
        Kind::Tiles {
            format,
            data,
            strip_bytes,
        } => {
            let Some((words, per_row)) = acts.words(w.need()) else {
                return;
            };
            let Some(layout) = tiles::layout(w.isa(), *format) else {
                return;
            };
            let tiles = strip_bytes / layout.bytes;
            let mut tile_out = Lines([[0.0; tiles::ROWS]; MAX_WIDTH]);
            for index in 0..acts.blocks() {
                let block = acts.block(index);
                let Some(kernel) = tiles::kernel(w.isa(), *format, block.width) else {
                    return;
                };
                let a = &words[block.first * per_row..][..block.width * per_row];
                for row in rows.clone().step_by(tiles::ROWS) {
                    let strip = &data.bytes()[row / tiles::ROWS * strip_bytes..][..*strip_bytes];
                    // SAFETY: the tier is available (`Matrix::pack`), the strip is aligned and
                    // complete, `a` holds all blocks of `width` rows and the output `width` rows.
                    unsafe {
                        kernel(
                            strip.as_ptr(),
                            tiles,
                            a.as_ptr(),
                            tile_out.0.as_mut_ptr().cast(),
                        );
                    }
                    let columns = (n - row).min(tiles::ROWS);
                    for (i, values) in tile_out.0[..block.rows].iter().enumerate() {
                        for (j, &value) in values[..columns].iter().enumerate() {
                            store(block.first + i, row + j, value);
                        }
                    }
                }
            }
        }
    }
}
