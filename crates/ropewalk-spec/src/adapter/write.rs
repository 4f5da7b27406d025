//! Adapters as GGUF files, as `convert_lora_to_gguf.py` of llama.cpp writes them.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{TensorInfo, TensorType, Value, Writer};

use super::gguf::ALPHA;
use super::modules::{Module, Modules};
use super::read::transposed;
use super::{Change, LoraAdapter, LowRank};
use crate::{Error, ModelSpec, NameLayout, Result, Role};

/// The two halves of a stored tensor, `[rank, in]` and `[out, rank]`.
struct Halves {
    name: String,
    rank: usize,
    a: (Vec<usize>, Vec<f32>),
    b: (Vec<usize>, Vec<f32>),
}

impl LoraAdapter {
    /// Writes a GGUF file that llama.cpp runs alike, in F32 or F16.
    ///
    /// Changes of the parts of a stored tensor (q, k and v of Phi-3) become one change whose rank is
    /// the sum of theirs where their A differ.
    ///
    /// # Errors
    /// [`Error::Adapter`] for what such a file cannot say: DoRA, biases, whole weights; another type;
    /// a file that cannot be written.
    pub fn write_gguf(
        &self,
        path: impl AsRef<Path>,
        spec: &ModelSpec,
        ty: TensorType,
    ) -> Result<()> {
        let (writer, halves) = self.plan(spec, ty)?;
        fill(writer.create(path)?, &halves)?;
        Ok(())
    }

    /// The bytes of that file.
    ///
    /// # Errors
    /// As [`write_gguf`](Self::write_gguf).
    pub fn to_gguf(&self, spec: &ModelSpec, ty: TensorType) -> Result<Vec<u8>> {
        let (writer, halves) = self.plan(spec, ty)?;
        fill(writer.begin(Vec::new())?, &halves)
    }

    fn fail<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(Error::Adapter {
            file: self.name.clone(),
            problem: problem.into(),
        })
    }

    fn plan(&self, spec: &ModelSpec, ty: TensorType) -> Result<(Writer, Vec<Halves>)> {
        if !matches!(ty, TensorType::F32 | TensorType::F16) {
            return self.fail(format!("cannot be written as {ty}; use F32 or F16"));
        }
        self.check(spec)?;
        let mut changes = Vec::new();
        for update in &self.updates {
            match &update.change {
                Change::LowRank(l) if l.bias.is_none() && l.magnitude.is_none() => {
                    changes.push(((update.role, update.layer), l));
                }
                _ => {
                    let role = update.role;
                    return self.fail(format!(
                        "GGUF adapters hold low-rank changes alone; {role:?} has more"
                    ));
                }
            }
        }
        // One alpha for all if they have one; otherwise each B takes its own factor.
        let alphas = changes.iter().map(|(_, l)| l.scale * l.rank() as f32);
        let first = alphas.clone().next().unwrap_or(0.0);
        let ranks_alike = changes.windows(2).all(|w| w[0].1.rank() == w[1].1.rank());
        let alike = ranks_alike && alphas.clone().all(|a| a == first);
        let modules = Modules::of(spec, NameLayout::Gguf);
        let mut halves = Vec::new();
        for module in &modules.all {
            if let Some(pair) = halves_of(module, &changes, alike)? {
                halves.push(pair);
            }
        }
        let alike = alike && halves.windows(2).all(|w| w[0].rank == w[1].rank);
        let alpha = if alike { first } else { 0.0 };
        if !alike {
            halves.clear();
            for module in &modules.all {
                halves.extend(halves_of(module, &changes, false)?);
            }
        }
        let mut writer = Writer::new();
        writer
            .set("general.architecture", spec.family.gguf_architecture())
            .set("general.type", "adapter")
            .set("adapter.type", "lora")
            .set("general.name", self.name.as_str())
            .set(ALPHA, Value::F32(alpha));
        for pair in &halves {
            for (end, shape) in [("lora_a", &pair.a.0), ("lora_b", &pair.b.0)] {
                let name = format!("{}.{end}", pair.name);
                writer.tensor(TensorInfo::from_shape(&name, shape, ty)?)?;
            }
        }
        Ok((writer, halves))
    }
}

fn fill<W: Write>(mut out: ropewalk_gguf::TensorWriter<W>, halves: &[Halves]) -> Result<W> {
    for pair in halves {
        out.tensor_f32(&format!("{}.lora_a", pair.name), &pair.a.1)?;
        out.tensor_f32(&format!("{}.lora_b", pair.name), &pair.b.1)?;
    }
    Ok(out.finish()?)
}

type Changes<'a> = [((Role, Option<usize>), &'a LowRank)];

/// Puts the changes of a module's weights together; factors go into B unless all have the same.
fn halves_of(module: &Module, changes: &Changes<'_>, alike: bool) -> Result<Option<Halves>> {
    let of = |role, layer| changes.iter().find(|(at, _)| *at == (role, layer));
    let mut parts = Vec::new();
    for part in &module.parts {
        if let Some((_, change)) = of(part.role, part.layer) {
            parts.push((part, *change));
        }
    }
    let Some((inputs, outputs)) = module.sizes().filter(|_| !parts.is_empty()) else {
        return Ok(None);
    };
    let embeds = module.is(Role::Embed);
    let (inputs, outputs) = if embeds {
        (outputs, inputs)
    } else {
        (inputs, outputs)
    };
    let mut stacked: Vec<&Arc<crate::Weight<'static>>> = Vec::new();
    let mut first_of = Vec::new();
    let mut rank = 0;
    for (_, change) in &parts {
        let found = stacked.iter().position(|a| Arc::ptr_eq(a, &change.a));
        let first = match found {
            Some(i) => stacked[..i].iter().map(|a| a.shape[0]).sum(),
            None => {
                stacked.push(&change.a);
                rank += change.rank();
                rank - change.rank()
            }
        };
        first_of.push(first);
    }
    let mut a = Vec::with_capacity(rank * inputs);
    for part in stacked {
        a.extend(part.to_f32()?);
    }
    let mut b = vec![0.0; outputs * rank];
    for ((part, change), first) in parts.iter().zip(first_of) {
        let (values, own) = (change.b.to_f32()?, change.rank());
        let factor = if alike { 1.0 } else { change.scale };
        for (row, values) in values.chunks_exact(own).enumerate() {
            let at = if embeds { row } else { part.at.source_row(row) };
            for (to, from) in b[at * rank + first..][..own].iter_mut().zip(values) {
                *to = factor * from;
            }
        }
    }
    let mut a = (vec![rank, inputs], a);
    if embeds {
        let weight = super::read::from_f32(a.0, &a.1);
        let turned = transposed(&weight)?;
        a = (turned.shape.clone(), turned.to_f32()?);
    }
    Ok(Some(Halves {
        name: module.parts[0].at.name.clone(),
        rank,
        a,
        b: (vec![outputs, rank], b),
    }))
}
