//! The GGUF files of `convert_lora_to_gguf.py` (llama.cpp).
//!
//! `general.type` is `adapter`, `adapter.type` is `lora`, `adapter.lora.alpha` holds alpha, and
//! each changed tensor NAME has `NAME.lora_a` `[rank, in]` and `NAME.lora_b` `[out, rank]`, its rows
//! in the order of the base file. `token_embd.weight.lora_a` is `[vocab, rank]`.

use std::collections::BTreeMap;

use ropewalk_gguf::Gguf;

use super::modules::Modules;
use super::read::{Pair, owned, transposed};
use super::{LoraAdapter, Problems};
use crate::{Error, ModelSpec, NameLayout, Result, Role, TensorData, Weight};

/// How errors call the file where it has no path.
const FILE: &str = "GGUF adapter";

/// The key of the factor that A and B are multiplied with, times the rank.
pub(super) const ALPHA: &str = "adapter.lora.alpha";

#[derive(Default)]
struct Found {
    a: Option<String>,
    b: Option<String>,
}

impl LoraAdapter {
    /// Reads a GGUF file that is open already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_gguf(gguf: &Gguf, spec: &ModelSpec) -> Result<Self> {
        let shown = gguf.path().map(|p| p.display().to_string());
        let file = shown.unwrap_or_else(|| FILE.to_owned());
        let fail = |problem: String| {
            Err(Error::Adapter {
                file: file.clone(),
                problem,
            })
        };
        let meta = gguf.metadata();
        match meta.str("general.type")? {
            Some("adapter") => {}
            other => {
                let other = other.unwrap_or("model");
                return fail(format!("is a {other}, not an adapter"));
            }
        }
        match meta.str("adapter.type")? {
            Some("lora") => {}
            other => {
                let other = other.unwrap_or("of no kind");
                return fail(format!("the adapter is {other}; only lora can be applied"));
            }
        }
        let arch = meta.str("general.architecture")?.unwrap_or_default();
        let own = spec.family.gguf_architecture();
        if arch != own {
            return fail(format!(
                "is made for the architecture {arch}, the base is {own}"
            ));
        }
        let alpha = meta.f32(ALPHA)?.unwrap_or(0.0);
        if !alpha.is_finite() {
            return fail(format!("`{ALPHA}` is {alpha}"));
        }

        let mut problems = Problems::default();
        let mut found: BTreeMap<&str, Found> = BTreeMap::new();
        for tensor in gguf.tensors() {
            let name = tensor.name.as_str();
            if let Some(base) = name.strip_suffix(".lora_a") {
                found.entry(base).or_default().a = Some(name.to_owned());
            } else if let Some(base) = name.strip_suffix(".lora_b") {
                found.entry(base).or_default().b = Some(name.to_owned());
            } else {
                problems.add("nothing uses", name);
            }
        }
        let modules = Modules::of(spec, NameLayout::Gguf);
        let source = Tensors(gguf);
        let mut updates = Vec::new();
        for (base, Found { a, b }) in found {
            let (Some(a), Some(b)) = (a, b) else {
                problems.add("one half is missing of", base);
                continue;
            };
            let Some((_, module)) = modules.find(base) else {
                problems.add("the base has no", base);
                continue;
            };
            if !module.adapts() {
                problems.add("adapters cannot be applied to", base);
                continue;
            }
            let (mut a, b) = (source.get(&a)?, source.get(&b)?);
            let embeds = module.is(Role::Embed);
            if embeds {
                a = transposed(&a)?;
            }
            let rank = a.shape.first().copied().unwrap_or(0);
            let pair = Pair {
                scale: if alpha == 0.0 {
                    1.0
                } else {
                    alpha / rank as f32
                },
                a,
                b,
                bias: None,
                magnitude: None,
            };
            match pair.misfit(module) {
                Some(problem) => problems.add("another shape than the base has", problem),
                None => updates.extend(pair.updates(module)),
            }
        }
        problems.into_result(&file)?;
        if updates.is_empty() {
            return fail("holds no tensor".to_owned());
        }
        let name = meta.str("general.name")?;
        let path = gguf.path().map(super::stem);
        let name = path.or_else(|| name.map(str::to_owned)).unwrap_or_default();
        let base = meta.str("general.base_model.0.name")?.map(str::to_owned);
        Ok(Self::new(name, base, updates))
    }
}

/// The tensors of a file, copied.
struct Tensors<'a>(&'a Gguf);

impl Tensors<'_> {
    fn get(&self, name: &str) -> Result<Weight<'static>> {
        let tensor = self.0.require(name)?;
        owned(TensorData::new(
            tensor.info.shape(),
            tensor.info.ty,
            tensor.data,
        ))
    }
}
