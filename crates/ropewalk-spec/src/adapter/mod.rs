//! Adapter files: low-rank changes of a base model (LoRA, Hu et al. 2021, arXiv 2106.09685).
//!
//! [`LoraAdapter::open`] reads the directories that PEFT saves and the GGUF files of llama.cpp's
//! `convert_lora_to_gguf.py`, and gives each change by the [`Role`] of the weight it belongs to, in
//! the row order of [`ModelSpec::read`]: fused tensors are cut apart, the row order of llama.cpp is
//! undone. Reading is strict: every tensor of the file is used, every module that the configuration
//! names is there, every shape is that of the base.

mod config;
mod gguf;
mod modules;
mod peft;
mod read;
mod write;

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::Gguf;

use crate::{Error, ModelSpec, Result, Role, Weight};

pub use self::config::{PeftConfig, Targets};

/// A low-rank change of one matrix: `W + scale * B A`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LowRank {
    /// `[rank, in]`. Parts of one stored matrix (q, k and v of Phi-3) share it.
    pub a: Arc<Weight<'static>>,
    /// `[out, rank]`.
    pub b: Weight<'static>,
    /// `alpha / rank`, or `alpha / sqrt(rank)` for rank-stabilised adapters (arXiv 2312.03732).
    pub scale: f32,
    /// What is added to the output with the same scale, `[out]`: the bias of B (`lora_bias`).
    pub bias: Option<Vec<f32>>,
    /// DoRA (arXiv 2402.09353): each row of the sum is brought to this length, `[out]`.
    pub magnitude: Option<Vec<f32>>,
}

impl LowRank {
    /// Returns whether the change is one of a matrix `[out, in]`; embeddings are used transposed.
    fn fits(&self, role: Role, shape: &[usize]) -> bool {
        let (out, columns) = match (role, shape) {
            (Role::Embed, &[vocab, hidden]) => (hidden, vocab),
            (_, &[out, columns]) => (out, columns),
            _ => return false,
        };
        let rank = self.rank();
        let long = |v: &Option<Vec<f32>>| v.as_ref().is_none_or(|v| v.len() == out);
        rank > 0
            && self.a.shape == [rank, columns]
            && self.b.shape == [out, rank]
            && long(&self.bias)
            && long(&self.magnitude)
    }

    /// The rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.a.shape.first().copied().unwrap_or(0)
    }
}

/// What becomes of one weight.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// A low-rank change. For [`Role::Embed`], A is `[rank, vocab]` and B `[hidden, rank]`: the
    /// embedding of a token changes by `scale * B` times its column of A.
    LowRank(LowRank),
    /// Another weight in its place (`modules_to_save`, trained biases), as [`ModelSpec::read`]
    /// would give it.
    Replace(Weight<'static>),
}

/// A change and where it belongs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Update {
    /// The weight.
    pub role: Role,
    /// Its block, `None` outside of blocks.
    pub layer: Option<usize>,
    /// What becomes of it.
    pub change: Change,
}

/// What an adapter file holds, checked against the base model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoraAdapter {
    /// The name of the directory or file, or that of the GGUF metadata.
    pub name: String,
    /// The base model that the file names; a hint, nothing checks it.
    pub base: Option<String>,
    /// The changes, by layer and role.
    pub updates: Vec<Update>,
}

impl LoraAdapter {
    /// Reads a PEFT directory or a GGUF file, whichever is there.
    ///
    /// # Errors
    /// [`Error::Adapter`] with everything that is missing, left over or of another shape;
    /// a kind of adapter or a setting that is not applied, by name; a damaged file.
    pub fn open(path: impl AsRef<Path>, spec: &ModelSpec) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::from_peft_dir(path, spec);
        }
        let mut this = Self::from_gguf(&Gguf::open(path)?, spec)?;
        if this.name.is_empty() {
            this.name = stem(path);
        }
        Ok(this)
    }

    fn new(name: String, base: Option<String>, mut updates: Vec<Update>) -> Self {
        // What takes a weight's place comes before what is added to it.
        updates.sort_by_key(|u| (u.layer, u.role, matches!(u.change, Change::LowRank(_))));
        Self {
            name,
            base,
            updates,
        }
    }

    /// Checks that every change has its place in a model and fits it. [`open`](Self::open) has done
    /// so for the model it was given; whoever takes an adapter that was read or made elsewhere does
    /// it again.
    ///
    /// # Errors
    /// [`Error::Adapter`] with all changes that do not fit.
    pub fn check(&self, spec: &ModelSpec) -> Result<()> {
        let mut problems = Problems::default();
        for Update {
            role,
            layer,
            change,
        } in &self.updates
        {
            let block = layer.map_or_else(String::new, |layer| format!(" of block {layer}"));
            let name = format!("{role:?}{block}");
            let shape = spec.shape(*role);
            let Some(shape) = shape.filter(|_| layer.is_none_or(|layer| layer < spec.layers))
            else {
                problems.add("the model has no", name);
                continue;
            };
            let fits = match change {
                Change::Replace(weight) => weight.shape == shape,
                Change::LowRank(change) => change.fits(*role, &shape),
            };
            if !fits {
                problems.add(
                    "another shape than the base has:",
                    format!("{name} ({shape:?})"),
                );
            }
        }
        problems.into_result(&self.name)
    }

    /// The largest rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        let ranks = self.updates.iter().map(|u| match &u.change {
            Change::LowRank(l) => l.rank(),
            Change::Replace(_) => 0,
        });
        ranks.max().unwrap_or(0)
    }

    /// The number of parameters.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let count = |w: &Weight<'_>| w.shape.iter().product::<usize>();
        let mut shared: Vec<&Arc<Weight<'static>>> = Vec::new();
        let mut sum = 0;
        for update in &self.updates {
            match &update.change {
                Change::Replace(w) => sum += count(w),
                Change::LowRank(l) => {
                    if !shared.iter().any(|a| Arc::ptr_eq(a, &l.a)) {
                        shared.push(&l.a);
                        sum += count(&l.a);
                    }
                    sum += count(&l.b) + l.bias.as_ref().map_or(0, Vec::len);
                    sum += l.magnitude.as_ref().map_or(0, Vec::len);
                }
            }
        }
        sum
    }
}

/// The name of a file or directory without its ending.
fn stem(path: &Path) -> String {
    let name = path.file_stem().or(path.file_name());
    name.map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// What is wrong with a file, collected so that one error tells all of it.
#[derive(Default)]
struct Problems(Vec<(&'static str, Vec<String>)>);

/// Names of one kind that an error lists.
const LISTED: usize = 8;

impl Problems {
    fn add(&mut self, kind: &'static str, name: impl Into<String>) {
        match self.0.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, names)) => names.push(name.into()),
            None => self.0.push((kind, vec![name.into()])),
        }
    }

    fn into_result(self, file: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let kinds = self.0.into_iter().map(|(kind, mut names)| {
            let more = names.len().saturating_sub(LISTED);
            names.truncate(LISTED);
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("{kind} {}{rest}", names.join(", "))
        });
        Err(Error::Adapter {
            file: file.to_owned(),
            problem: kinds.collect::<Vec<_>>().join("; "),
        })
    }
}
