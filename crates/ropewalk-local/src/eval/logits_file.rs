//! Log-probabilities of a base model in a file.
//!
//! Little-endian: `RWLOGP01`; u64 vocabulary size, tokens of a window, stride (0: the second half of
//! each window is scored), 1 + the token that begins windows (0: none), number of windows, number of
//! tokens, number of rows; the tokens as u32. Then for each scored position f32 `top`, f32 `step`,
//! f32 log-probability of the token that follows, and a u16 `n` for each token of the vocabulary,
//! whose log-probability is `top - n * step`. Steps divide the range of a row, at most 64, by 65,535.
//! (Files of `llama-perplexity --save-all-logits` cut the range at 16, which leaves out up to 1 % of
//! the probability of a vocabulary of 100,000.)

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ropewalk_kernels::ops;

use super::perplexity::{Perplexity, Progress, Tally};
use super::windows::{EvalOptions, Scoring, run, windows};
use crate::{Error, Model, Result};

const MAGIC: &[u8; 8] = b"RWLOGP01";
const FIELDS: usize = 7;
/// Log-probabilities further below the largest count as this far: `e^-64` is 1e-28.
const RANGE: f32 = 64.0;
const STEPS: f32 = 65_535.0;

fn failed(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::LogitsFile {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// Runs a model over a text and writes its log-probabilities to a file, for
/// [`divergence_from`](super::divergence_from); `report` is called after each window.
///
/// A position takes two bytes for each token of the vocabulary: 65 MB for a window of 512 tokens and
/// 128,000 entries.
///
/// # Errors
/// As [`perplexity`](super::perplexity), and [`Error::LogitsFile`] when the file cannot be written or
/// the model gives no numbers. A file that is not complete is refused when it is read.
pub fn save_logits(
    path: impl AsRef<Path>,
    model: &Model,
    ids: &[u32],
    options: &EvalOptions,
    mut report: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Perplexity> {
    let path = path.as_ref();
    let all = windows(model, ids, options)?;
    let file = File::create(path).map_err(|e| failed(path, e))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(|e| failed(path, e));
    put(MAGIC)?;
    let fields: [usize; FIELDS] = [
        model.spec().vocab_size,
        options.context.unwrap_or(model.context().min(512)),
        match options.scoring {
            Scoring::SecondHalf => 0,
            Scoring::Stride(stride) => stride,
        },
        options.bos.map_or(0, |id| id as usize + 1),
        all.len(),
        ids.len(),
        all.iter().map(|w| w.scored.len()).sum(),
    ];
    for field in fields {
        put(&(field as u64).to_le_bytes())?;
    }
    for id in ids {
        put(&id.to_le_bytes())?;
    }
    let mut tally = Tally::new(all.len());
    let mut row = Vec::new();
    for window in &all {
        run(model, ids, window, options.bos, |logits, next| {
            let total = ops::log_sum_exp(model.isa(), logits);
            if !total.is_finite() {
                // The file has no way to say so, and would compare as equal.
                return Err(failed(path, "the model gives scores that are not numbers"));
            }
            let log = |x: f32| (x - total).max(f32::MIN);
            let top = logits.iter().fold(f32::MIN, |m, &x| m.max(log(x)));
            let low = logits.iter().fold(top, |m, &x| m.min(log(x)));
            let step = (top - low).min(RANGE) / STEPS;
            let exact = log(logits[next as usize]);
            row.clear();
            for x in [top, step, exact] {
                row.extend(x.to_le_bytes());
            }
            let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
            for &x in logits {
                let n = ((top - log(x)) * inverse).round().clamp(0.0, STEPS) as u16;
                row.extend(n.to_le_bytes());
            }
            tally.nll.add(-f64::from(exact));
            put(&row)
        })?;
        tally.step(&mut report)?;
    }
    file.flush().map_err(|e| failed(path, e))?;
    Ok(tally.result())
}

/// A file of log-probabilities, row after row.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    pub(super) ids: Vec<u32>,
    pub(super) options: EvalOptions,
    /// Scored positions.
    rows: u64,
    bytes: Vec<u8>,
    row: Vec<f64>,
}

impl Reader {
    /// Opens a file and checks its size.
    pub(super) fn open(path: &Path, vocab: usize) -> Result<Self> {
        let fail = |problem: &dyn std::fmt::Display| failed(path, problem);
        let file = File::open(path).map_err(|e| fail(&e))?;
        let size = file.metadata().map_err(|e| fail(&e))?.len();
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut head = [0; 8 * (FIELDS + 1)];
        let read = file.read_exact(&mut head);
        let (magic, fields) = head.split_at(MAGIC.len());
        if read.is_err() || magic != MAGIC {
            return Err(fail(&"this is no file of log-probabilities"));
        }
        let mut at = fields.chunks_exact(8).map(|c| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(c);
            u64::from_le_bytes(bytes)
        });
        let [found, context, stride, bos, windows, tokens, rows]: [u64; FIELDS] =
            std::array::from_fn(|_| at.next().unwrap_or_default());
        if found != vocab as u64 {
            let problem = format!("it holds a vocabulary of {found} tokens, the model has {vocab}");
            return Err(fail(&problem));
        }
        let needed = (12 + 2 * found)
            .checked_mul(rows)
            .and_then(|n| n.checked_add(tokens.checked_mul(4)?))
            .and_then(|n| n.checked_add(head.len() as u64));
        if needed != Some(size) {
            let problem = match needed {
                Some(needed) => format!("it has {size} bytes and needs {needed}; write it again"),
                None => "its header is damaged; write it again".to_owned(),
            };
            return Err(fail(&problem));
        }
        // Tokens and rows are in the file, so their numbers fit the memory.
        let number = |n: u64| usize::try_from(n).map_err(|e| fail(&e));
        let mut ids = vec![0; 4 * number(tokens)?];
        file.read_exact(&mut ids).map_err(|e| fail(&e))?;
        let ids = ids.chunks_exact(4).map(|c| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(c);
            u32::from_le_bytes(bytes)
        });
        let options = EvalOptions {
            context: Some(number(context)?),
            scoring: match number(stride)? {
                0 => Scoring::SecondHalf,
                stride => Scoring::Stride(stride),
            },
            bos: bos.checked_sub(1).and_then(|id| u32::try_from(id).ok()),
            windows: Some(number(windows)?),
        };
        Ok(Self {
            path: path.to_owned(),
            ids: ids.collect(),
            file,
            options,
            rows,
            bytes: vec![0; 12 + 2 * vocab],
            row: vec![0.0; vocab],
        })
    }

    /// Refuses a file whose text has another number of scored positions than it holds rows.
    pub(super) fn check_rows(&self, scored: usize) -> Result<()> {
        if self.rows == scored as u64 {
            return Ok(());
        }
        let problem = format!(
            "its text has {scored} scored positions, it holds {}; write it again",
            self.rows
        );
        Err(failed(&self.path, problem))
    }

    /// Returns the log-probabilities of the next position, which the token `next` follows.
    pub(super) fn row(&mut self, next: u32) -> Result<&[f64]> {
        let read = self.file.read_exact(&mut self.bytes);
        read.map_err(|e| failed(&self.path, e))?;
        let (head, row) = self.bytes.split_at(12);
        let mut floats = head.chunks_exact(4).map(|c| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(c);
            f64::from(f32::from_le_bytes(bytes))
        });
        let [top, step, exact]: [f64; 3] =
            std::array::from_fn(|_| floats.next().unwrap_or_default());
        for (x, n) in self.row.iter_mut().zip(row.chunks_exact(2)) {
            *x = top - step * f64::from(u16::from_le_bytes([n[0], n[1]]));
        }
        if let Some(x) = self.row.get_mut(next as usize) {
            *x = exact;
        }
        Ok(&self.row)
    }
}
