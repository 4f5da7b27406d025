//! Activations in the forms that the weight formats multiply with.
#![allow(
    unsafe_code,
    reason = "threads write disjoint row blocks of one buffer"
)]

use crate::quant::activation::{self, Rows, SMALL_WORDS, SUPER_WORDS};
use crate::quant::{SMALL, SUPER};
use crate::shared::Shared;
use crate::{Error, Isa, Matrix, Pool};

/// Largest value of [`max_rows`].
pub(crate) const MAX_ROWS: usize = 12;

/// Most rows that one kernel call multiplies; also the interleave of row blocks.
///
/// As many as registers hold. Superblock kernels spend more on unpacking a tile, so they take more
/// rows per tile; small-block kernels take fewer rows and two tiles.
pub(crate) fn max_rows(isa: Isa, need: Need) -> usize {
    match (isa, need) {
        (Isa::Scalar, _) | (_, Need::Float) => 1,
        (Isa::Avx2 | Isa::AvxVnni, _) => 4,
        (Isa::Avx512Vnni, Need::Super) => MAX_ROWS,
        (Isa::Avx512Vnni, Need::Small) => 8,
        (Isa::Neon, _) => 4,
        (Isa::NeonDot, _) => 8,
    }
}

/// Rows from which preparing is spread over the pool.
const PARALLEL_ROWS: usize = 4;

/// A form of activations that a weight format needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Unchanged f32 rows.
    Float,
    /// 8-bit superblocks of 256 with their sums.
    Super,
    /// 8-bit blocks of 32 with their sums.
    Small,
}

/// Activations of `m` rows of `k` values, in every form that a group of matrices needs.
///
/// The buffers are reused from call to call: keep one `Acts` per place of a model.
///
/// Quantised forms: a block's scale is `d = max|x| / 127` and its values `round(x * (127 / max|x|))`,
/// ties to even; a block whose largest magnitude is below 1e-30 is zero; a block that holds a NaN or
/// an infinity gets the scale NaN, so every product with that row is NaN. Integers and scales are
/// the same on every tier.
#[derive(Debug, Default)]
pub struct Acts {
    isa: Option<Isa>,
    m: usize,
    k: usize,
    /// Whether the f32 rows are those that the caller wrote.
    written: bool,
    float: Form<f32>,
    supers: Form<i32>,
    smalls: Form<i32>,
}

/// Forms to make.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    float: bool,
    supers: bool,
    smalls: bool,
}

#[derive(Debug)]
struct Form<T> {
    data: Vec<T>,
    ready: bool,
}

impl<T> Default for Form<T> {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            ready: false,
        }
    }
}

/// Rows that a kernel call takes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowBlock {
    /// First row.
    pub(crate) first: usize,
    /// Rows with data.
    pub(crate) rows: usize,
    /// Rows with their padding: the interleave, one of [`block_sizes`].
    pub(crate) width: usize,
}

/// Returns the padded width of a block of `rows` rows.
fn block_width(isa: Isa, need: Need, rows: usize) -> usize {
    let max = max_rows(isa, need);
    [1, 2, 4, 8]
        .into_iter()
        .find(|&w| w >= rows && w <= max)
        .unwrap_or(max)
}

impl Acts {
    /// Returns empty activations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the rows of the last [`Acts::prepare`].
    #[must_use]
    pub fn rows(&self) -> usize {
        self.m
    }

    /// Returns the values per row of the last [`Acts::prepare`].
    #[must_use]
    pub fn cols(&self) -> usize {
        self.k
    }

    /// Brings `x` into each form that the matrices `for_` need, once per form.
    ///
    /// Rows are independent: a row's form does not depend on its neighbours, on `m` or on the
    /// number of threads.
    ///
    /// # Shapes
    /// - `x`: `[m, k]`, row-major; each matrix of `for_`: `[n, k]`
    ///
    /// # Errors
    /// [`Error::Length`] when `x` or a matrix has another size, [`Error::IsaUnavailable`] when this
    /// machine lacks the tier, [`Error::NotPrepared`] when a matrix was packed for another tier.
    pub fn prepare(
        &mut self,
        pool: &Pool,
        isa: Isa,
        x: &[f32],
        m: usize,
        k: usize,
        for_: &[&Matrix],
    ) -> Result<(), Error> {
        let wants = self.check(isa, (m, k), for_.iter().copied())?;
        self.written = false;
        let needed = m.saturating_mul(k);
        if x.len() != needed {
            return Err(Error::Length {
                what: "activations",
                needed,
                found: x.len(),
            });
        }
        if wants.float {
            self.float.data.clear();
            self.float.data.extend_from_slice(x);
        }
        self.fill(pool, isa, (m, k), x, wants);
        Ok(())
    }

    /// Returns room for `m` rows of `k` values, of any content, that [`Acts::prepare_input`] takes:
    /// activations that are written there are not copied.
    pub fn input(&mut self, m: usize, k: usize) -> &mut [f32] {
        (self.float.ready, self.supers.ready, self.smalls.ready) = (false, false, false);
        // Only with all its rows there may the room count as written.
        self.written = false;
        let len = m.saturating_mul(k);
        if self.float.data.len() < len {
            self.float.data.resize(len, 0.0);
        } else {
            self.float.data.truncate(len);
        }
        (self.m, self.k, self.written) = (m, k, true);
        &mut self.float.data
    }

    /// Returns the rows that were written to [`Acts::input`].
    #[must_use]
    pub fn input_rows(&self) -> &[f32] {
        &self.float.data
    }

    /// Does what [`Acts::prepare`] does with the rows that were written to [`Acts::input`].
    ///
    /// # Errors
    /// As [`Acts::prepare`]; [`Error::NotPrepared`] when there was no [`Acts::input`] after the last
    /// [`Acts::prepare`].
    pub fn prepare_input<'m>(
        &mut self,
        pool: &Pool,
        isa: Isa,
        for_: impl IntoIterator<Item = &'m Matrix>,
    ) -> Result<(), Error> {
        if !self.written {
            return Err(Error::NotPrepared {
                what: "activations",
            });
        }
        let (m, k) = (self.m, self.k);
        let wants = self.check(isa, (m, k), for_)?;
        let x = std::mem::take(&mut self.float.data);
        // After a panic below the rows are gone.
        self.written = false;
        self.fill(pool, isa, (m, k), &x, wants);
        (self.float.data, self.written) = (x, true);
        Ok(())
    }

    /// Checks that all matrices take rows of `k` values and returns the forms they need.
    fn check<'m>(
        &mut self,
        isa: Isa,
        (m, k): (usize, usize),
        for_: impl IntoIterator<Item = &'m Matrix>,
    ) -> Result<Wants, Error> {
        (self.float.ready, self.supers.ready, self.smalls.ready) = (false, false, false);
        if !isa.is_available() {
            return Err(Error::IsaUnavailable { isa });
        }
        let mut wants = Wants::default();
        for matrix in for_ {
            if matrix.cols() != k {
                let (needed, found) = (matrix.cols(), k);
                return Err(Error::Length {
                    what: "activation row",
                    needed,
                    found,
                });
            }
            if matrix.isa() != isa {
                return Err(Error::NotPrepared {
                    what: "the tier the matrix was packed for",
                });
            }
            match matrix.need() {
                Need::Float => wants.float = true,
                Need::Super => wants.supers = true,
                Need::Small => wants.smalls = true,
            }
        }
        (self.isa, self.m, self.k) = (Some(isa), m, k);
        Ok(wants)
    }

    /// Makes the forms of `x`; the f32 rows are there already.
    fn fill(&mut self, pool: &Pool, isa: Isa, (m, k): (usize, usize), x: &[f32], wants: Wants) {
        if wants.supers {
            let words = k / SUPER * SUPER_WORDS;
            self.supers
                .fill(pool, (isa, Need::Super), (m, k), x, words, |rows, out| {
                    // SAFETY: `out` holds `width * words` values and `isa` is available.
                    unsafe { activation::supers(isa, rows, out) };
                });
        }
        if wants.smalls {
            self.smalls.fill(
                pool,
                (isa, Need::Small),
                (m, k),
                x,
                small_words(k),
                |rows, out| {
                    // SAFETY: as above.
                    unsafe { activation::smalls(isa, rows, out) };
                },
            );
        }
        // Only now: after a panic above the rows may not be there.
        self.float.ready = wants.float;
    }

    /// Returns the tier of the last [`Acts::prepare`].
    pub(crate) fn isa(&self) -> Option<Isa> {
        self.isa
    }

    /// Returns the f32 rows, if prepared.
    pub(crate) fn float(&self) -> Option<&[f32]> {
        self.float.ready.then_some(&*self.float.data)
    }

    /// Returns the words of an interleaved form and its words per row, if prepared.
    pub(crate) fn words(&self, need: Need) -> Option<(&[i32], usize)> {
        match need {
            Need::Float => None,
            Need::Super => {
                let words = self.k / SUPER * SUPER_WORDS;
                self.supers.ready.then_some((&*self.supers.data, words))
            }
            Need::Small => self
                .smalls
                .ready
                .then_some((&*self.smalls.data, small_words(self.k))),
        }
    }

    /// Returns the number of row blocks of a form.
    pub(crate) fn blocks(&self, need: Need) -> usize {
        self.isa
            .map_or(0, |isa| self.m.div_ceil(max_rows(isa, need)))
    }

    /// Returns row block `index` of a form.
    pub(crate) fn block(&self, need: Need, index: usize) -> RowBlock {
        row_block(self.isa.unwrap_or(Isa::Scalar), need, self.m, index)
    }
}

/// Returns block `index` of `m` rows.
fn row_block(isa: Isa, need: Need, m: usize, index: usize) -> RowBlock {
    let max = max_rows(isa, need);
    let first = index * max;
    let rows = (m - first).min(max);
    RowBlock {
        first,
        rows,
        width: block_width(isa, need, rows),
    }
}

/// Returns the words of a row of small blocks, padded so that packed tiles may hold several.
fn small_words(k: usize) -> usize {
    (k / SMALL).next_multiple_of(activation::SMALL_PADDING) * SMALL_WORDS
}

impl Form<i32> {
    /// Fills the form with `write(rows, block)` for every row block.
    fn fill(
        &mut self,
        pool: &Pool,
        (isa, need): (Isa, Need),
        (m, k): (usize, usize),
        x: &[f32],
        words: usize,
        write: impl Fn(Rows<'_>, *mut i32) + Sync,
    ) {
        if m == 0 {
            self.ready = true;
            return;
        }
        let blocks = m.div_ceil(max_rows(isa, need));
        let last = row_block(isa, need, m, blocks - 1);
        let len = (last.first + last.width) * words;
        // Old content may stay: every word is written below.
        if self.data.len() < len {
            self.data.resize(len, 0);
        }
        let base = Shared(self.data.as_mut_ptr());
        let one = |index: usize| {
            let block = row_block(isa, need, m, index);
            let x = &x[block.first * k..][..block.rows * k];
            // SAFETY: blocks lie one after the other in the buffer; each is written by one call.
            let out = unsafe { base.get().add(block.first * words) };
            write(
                Rows {
                    x,
                    k,
                    width: block.width,
                },
                out,
            );
        };
        if m < PARALLEL_ROWS {
            (0..blocks).for_each(one);
        } else {
            pool.run(blocks, &one);
        }
        // Only now: after a panic above the form holds rows of an earlier call.
        self.ready = true;
    }
}
