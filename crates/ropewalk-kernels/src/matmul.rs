//! Products of activations with one or several matrices in one pool phase.
#![allow(unsafe_code, reason = "threads write disjoint columns of one output")]

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::acts::{Acts, MAX_ROWS, Need, RowBlock};
use crate::dense::Output;
use crate::matrix::{Kind, Matrix};
use crate::quant::{Format, dense_rows, scalar, tiles};
use crate::shared::Shared;
use crate::{Error, Isa, Pool};

/// A product: `out = x * weights^T`.
#[derive(Debug)]
pub struct Job<'a> {
    weights: &'a Matrix,
    out: &'a mut [f32],
    acts: Option<&'a Acts>,
}

impl<'a> Job<'a> {
    /// Returns a product with `weights` `[n, k]` into `out` `[m, n]`, row-major.
    #[must_use]
    pub fn new(weights: &'a Matrix, out: &'a mut [f32]) -> Self {
        Self {
            weights,
            out,
            acts: None,
        }
    }

    /// Multiplies activations of its own in place of those that all jobs of the call share, so that
    /// experts with different rows cost one phase. They may have no rows.
    #[must_use]
    pub fn with_acts(mut self, acts: &'a Acts) -> Self {
        self.acts = Some(acts);
        self
    }
}

/// Weight bytes that one chunk should read when each weight is used for few rows: long enough to
/// stream, short enough that all threads finish together.
const FEW_ROWS_BYTES: usize = 64 << 10;
/// The same when weights stay in the second-level cache for many rows.
const MANY_ROWS_BYTES: usize = 160 << 10;
/// Weight bytes below which claiming a chunk would cost more than its work.
const LEAST_BYTES: usize = 8 << 10;
/// Weight bytes of all jobs that one thread finishes before another would have started.
const ALONE_BYTES: usize = 24 << 10;
/// Activation rows from which weights count as reused.
const MANY_ROWS: usize = 5;

/// Returns the weight rows of one chunk of a job, when the jobs read `total` bytes in all.
fn chunk_rows(weights: &Matrix, m: usize, total: usize, threads: usize) -> usize {
    let (most, grain) = match weights.kind {
        _ if m < MANY_ROWS => (FEW_ROWS_BYTES, tiles::ROWS),
        // What dense and packed kernels take at once.
        Kind::Dense(_) | Kind::FourBit(_) => (MANY_ROWS_BYTES, 3 * tiles::ROWS),
        _ => (MANY_ROWS_BYTES, 2 * tiles::ROWS),
    };
    let row_bytes = (weights.bytes() / weights.rows().max(1)).max(1);
    let fair = (total / (16 * threads)).clamp(LEAST_BYTES, most);
    (fair / row_bytes).max(1).next_multiple_of(grain)
}

/// Most lines of output of one kernel call.
const MAX_LINES: usize = 32;

/// Output of one kernel call.
#[repr(align(64))]
struct Lines {
    _lines: [[f32; tiles::ROWS]; MAX_LINES],
}

const _: () = {
    // Two strips of the widest block, the most that a kernel writes; lines are stored aligned.
    assert!(2 * MAX_ROWS <= MAX_LINES && size_of::<[f32; tiles::ROWS]>() == align_of::<Lines>());
};

/// One job, checked and cut into chunks.
struct Plan<'a> {
    weights: &'a Matrix,
    acts: &'a Acts,
    out: Shared<f32>,
    /// First chunk of this job, and of the next.
    first: usize,
    end: usize,
    /// Rows per chunk.
    rows: usize,
}

/// Computes all `jobs` over the prepared activations in one pool phase.
///
/// Matrices that share their input (query, key and value; gate and up) belong in one call: they
/// then cost one phase. For one tier a row's result is the same, bit for bit, for any number of
/// rows, threads and jobs.
///
/// # Shapes
/// - activations: `[m, k]`; weights of each job: `[n, k]`; output of each job: `[m, n]`; `m` is that
///   of [`Job::with_acts`] where a job has its own
///
/// # Errors
/// [`Error::NotPrepared`] when [`Acts::prepare`] did not see a matrix of this kind,
/// [`Error::Length`] when a width or an output does not fit.
pub fn matmul(pool: &Pool, acts: &Acts, jobs: &mut [Job<'_>]) -> Result<(), Error> {
    for job in jobs.iter() {
        check(job.acts.unwrap_or(acts), job)?;
    }
    let used = jobs.iter().filter(|j| j.acts.unwrap_or(acts).rows() > 0);
    let total: usize = used.map(|job| job.weights.bytes()).sum();
    let threads = pool.threads().get();
    let (mut chunks, mut products) = (0, 0usize);
    let plans: Vec<Plan<'_>> = jobs
        .iter_mut()
        .map(|job| {
            let (n, acts) = (job.weights.rows(), job.acts.unwrap_or(acts));
            let rows = chunk_rows(job.weights, acts.rows(), total, threads);
            let first = chunks;
            if acts.rows() > 0 {
                chunks += n.div_ceil(rows);
            }
            products = products.saturating_add(job.weights.bytes().saturating_mul(acts.rows()));
            let out = Shared(job.out.as_mut_ptr());
            Plan {
                weights: job.weights,
                acts,
                out,
                first,
                end: chunks,
                rows,
            }
        })
        .collect();
    let work = |chunk: usize| {
        let Some(plan) = plans.iter().find(|p| chunk < p.end) else {
            return;
        };
        let n = plan.weights.rows();
        let first = (chunk - plan.first) * plan.rows;
        let rows = first..(first + plan.rows).min(n);
        execute(plan, rows.clone());
        rescale(plan, rows);
    };
    if products <= ALONE_BYTES {
        (0..chunks).for_each(work);
    } else {
        pool.run(chunks, &work);
    }
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
fn execute(plan: &Plan<'_>, rows: Range<usize>) {
    let (w, acts) = (plan.weights, plan.acts);
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
        } => {
            // Taken, not borrowed: `decode` is the caller's and may multiply matrices itself.
            let mut decoded = DECODED.take();
            decoded.resize(k, 0.0);
            let x = acts.float().unwrap_or_default();
            let source = source.as_ref().as_ref();
            for row in rows {
                match source.get(row * row_bytes..(row + 1) * row_bytes) {
                    Some(bytes) => decode(bytes, &mut decoded),
                    None => decoded.fill(f32::NAN),
                }
                for i in 0..m {
                    // SAFETY: `Matrix::from_rows` checked the tier.
                    let value = unsafe { dense_rows::dot(w.isa(), &x[i * k..][..k], &decoded) };
                    store(i, row, value);
                }
            }
            DECODED.set(decoded);
        }
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
        Kind::FourBit(weights) => {
            let x = acts.float().unwrap_or_default();
            let tiles = rows.start / tiles::ROWS..rows.end.div_ceil(tiles::ROWS);
            let out = Output {
                start: plan.out.get(),
                stride: n,
            };
            // SAFETY: `Matrix::pack_four_bit` checked the tier, `check` the sizes; as above.
            unsafe { weights.mul_tiles(w.isa(), x, m, tiles, out) };
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
            let strips = rows.start / tiles::ROWS..rows.end.div_ceil(tiles::ROWS);
            for index in 0..acts.blocks(w.need()) {
                let block = acts.block(w.need(), index);
                let product = Strips {
                    isa: w.isa(),
                    format: *format,
                    data: data.bytes(),
                    strip_bytes: *strip_bytes,
                    block,
                    a: &words[block.first * per_row..][..block.width * per_row],
                    n,
                    out: plan.out,
                };
                product.run(strips.clone());
            }
        }
    }
}

/// Multiplies output columns `rows` of a job with the scales of their rows, if there are such.
fn rescale(plan: &Plan<'_>, rows: Range<usize>) {
    let Some(scales) = &plan.weights.row_scales else {
        return;
    };
    let n = plan.weights.rows();
    for i in 0..plan.acts.rows() {
        // SAFETY: `check` saw `m * n` outputs, `execute` wrote these; chunks are disjoint.
        let out = unsafe {
            std::slice::from_raw_parts_mut(plan.out.get().add(i * n + rows.start), rows.len())
        };
        for (x, scale) in out.iter_mut().zip(&scales[rows.clone()]) {
            *x *= scale;
        }
    }
}

/// A product of strips of tiles with one block of activation rows.
struct Strips<'a> {
    isa: Isa,
    format: Format,
    data: &'a [u8],
    strip_bytes: usize,
    block: RowBlock,
    a: &'a [i32],
    n: usize,
    out: Shared<f32>,
}

impl Strips<'_> {
    /// Multiplies `strips`, several at once where the tier can.
    fn run(&self, strips: Range<usize>) {
        let kernel = |count| tiles::kernel(self.isa, self.format, self.block.width, count);
        let (Some(single), double) = (kernel(1), kernel(2)) else {
            return;
        };
        let Some(layout) = tiles::layout(self.isa, self.format) else {
            return;
        };
        let tiles = self.strip_bytes / layout.bytes;
        let mut lines = MaybeUninit::<Lines>::uninit();
        let mut strip = strips.start;
        while strip < strips.end {
            let (kernel, count) = match double {
                Some(double) if strip + 2 <= strips.end => (double, 2),
                _ => (single, 1),
            };
            let w = &self.data[strip * self.strip_bytes..][..count * self.strip_bytes];
            let out = lines.as_mut_ptr().cast::<f32>();
            // SAFETY: the tier is available (`Matrix::pack`), the strips are aligned and complete,
            // `a` holds all blocks of `width` rows and the output `count * width` lines.
            unsafe { kernel(w.as_ptr(), self.strip_bytes, tiles, self.a.as_ptr(), out) };
            // SAFETY: the kernel wrote `count * width` lines, at most MAX_LINES.
            let lines = unsafe {
                std::slice::from_raw_parts(
                    out.cast::<[f32; tiles::ROWS]>(),
                    count * self.block.width,
                )
            };
            for (s, lines) in lines.chunks_exact(self.block.width).enumerate() {
                let first = (strip + s) * tiles::ROWS;
                let columns = (self.n - first).min(tiles::ROWS);
                for (i, line) in lines[..self.block.rows].iter().enumerate() {
                    let at = (self.block.first + i) * self.n + first;
                    // SAFETY: `check` saw `m * n` outputs; chunks write disjoint columns.
                    unsafe {
                        let out = self.out.get().add(at);
                        if columns == tiles::ROWS {
                            out.cast::<[f32; tiles::ROWS]>().write_unaligned(*line);
                        } else {
                            out.copy_from_nonoverlapping(line.as_ptr(), columns);
                        }
                    }
                }
            }
            strip += count;
        }
    }
}
