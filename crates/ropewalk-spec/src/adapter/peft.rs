//! The directories that PEFT saves.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::config::{CONFIG, ends_with, lies_in};
use super::modules::{Module, Modules};
use super::read::{Pair, owned};
use super::{Change, LoraAdapter, PeftConfig, Problems, Targets, Update};
use crate::hf::json;
use crate::{Error, ModelSpec, NameLayout, Result, Role, SafetensorsDir, TensorSource, Weight};

/// The file of the values, and the one that this crate does not read.
const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLE: &str = "adapter_model.bin";
/// What PEFT puts before the names of the base model.
const PREFIX: &str = "base_model.model.";

/// What one tensor of the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    A,
    B,
    BiasOfB,
    Magnitude,
    /// A weight or a bias of the base, trained as a whole.
    Whole,
}

/// The tensors of one module.
#[derive(Default)]
struct Found {
    a: Option<String>,
    b: Option<String>,
    bias: Option<String>,
    magnitude: Option<String>,
}

impl LoraAdapter {
    /// Reads a directory with `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_peft_dir(dir: impl AsRef<Path>, spec: &ModelSpec) -> Result<Self> {
        let dir = dir.as_ref();
        let config = json::read(&dir.join(CONFIG))?;
        let weights = dir.join(WEIGHTS);
        if !weights.is_file() && dir.join(PICKLE).is_file() {
            return Err(Error::Adapter {
                file: dir.join(PICKLE).display().to_string(),
                problem: format!(
                    "is a Python pickle, which can run code and is not read; save the adapter with \
                     `safe_serialization=True` as {WEIGHTS}"
                ),
            });
        }
        let source = SafetensorsDir::open_file(&weights)?;
        Self::from_peft(super::stem(dir), &config, &source, spec)
    }

    /// Reads the content of `adapter_config.json` and the tensors beside it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_peft(
        name: impl Into<String>,
        config: &Value,
        source: &dyn TensorSource,
        spec: &ModelSpec,
    ) -> Result<Self> {
        let name = name.into();
        let config = PeftConfig::from_json(config)?;
        let modules = Modules::of(spec, NameLayout::HuggingFace);
        let reader = Reader {
            config: &config,
            source,
            modules: &modules,
        };
        let updates = reader.updates(&name)?;
        Ok(Self::new(name, config.base, updates))
    }
}

struct Reader<'a> {
    config: &'a PeftConfig,
    source: &'a dyn TensorSource,
    modules: &'a Modules,
}

impl Reader<'_> {
    fn updates(&self, file: &str) -> Result<Vec<Update>> {
        let mut problems = Problems::default();
        let mut pairs: BTreeMap<usize, Found> = BTreeMap::new();
        let mut whole: BTreeMap<usize, String> = BTreeMap::new();
        let mut names = self.source.names();
        names.sort();
        for name in names {
            let Some((tensor, kind)) = parse(&name) else {
                problems.add("nothing uses", name);
                continue;
            };
            let Some((index, module)) = self.modules.find(&tensor) else {
                problems.add("the base has no module of", name);
                continue;
            };
            if kind == Kind::Whole {
                if whole.insert(index, name.clone()).is_some() {
                    problems.add("twice in the file:", name);
                }
                continue;
            }
            if !module.adapts() {
                problems.add("adapters cannot be applied to", module.name.clone());
                continue;
            }
            if !self.is_target(module) {
                problems.add("the configuration does not name", name);
                continue;
            }
            let found = pairs.entry(index).or_default();
            let place = match kind {
                Kind::A => &mut found.a,
                Kind::B => &mut found.b,
                Kind::BiasOfB => &mut found.bias,
                Kind::Magnitude | Kind::Whole => &mut found.magnitude,
            };
            if place.replace(name.clone()).is_some() {
                problems.add("twice in the file:", name);
            }
        }
        self.check_targets(&pairs, &whole, &mut problems);

        let mut updates = Vec::new();
        for (index, found) in pairs {
            let Some(module) = self.modules.all.get(index) else {
                continue;
            };
            if let Some(pair) = self.pair(module, &found, &mut problems)? {
                updates.extend(pair.updates(module));
            }
        }
        for (index, name) in whole {
            if let Some(module) = self.modules.all.get(index) {
                self.replace(module, &name, &mut updates, &mut problems)?;
            }
        }
        problems.into_result(file)?;
        if updates.is_empty() {
            return Err(Error::Adapter {
                file: file.to_owned(),
                problem: "holds no tensor".to_owned(),
            });
        }
        Ok(updates)
    }

    fn is_target(&self, module: &Module) -> bool {
        let linear = !module.is(Role::Embed) && !module.is(Role::Head);
        let mut names = module.names.iter();
        let excluded = module.names.iter().any(|name| self.config.excludes(name));
        !excluded && names.any(|name| self.config.targets(name, linear))
    }

    /// Looks for what the configuration names and the file or the base lacks.
    fn check_targets(
        &self,
        pairs: &BTreeMap<usize, Found>,
        whole: &BTreeMap<usize, String>,
        problems: &mut Problems,
    ) {
        let all = self.modules.all.iter().enumerate();
        let adapting = all.filter(|(_, m)| m.adapts());
        for (index, module) in adapting {
            if self.is_target(module) && !pairs.contains_key(&index) {
                problems.add("the file lacks the module", module.name.clone());
            }
        }
        if let Targets::Names(names) = &self.config.targets {
            for name in names {
                let mut known = self.modules.all.iter().flat_map(|m| &m.names);
                if !known.any(|m| ends_with(m, name)) {
                    problems.add("the base has no target module", name.clone());
                }
            }
        }
        for saved in &self.config.modules_to_save {
            let mut found = whole.keys().filter_map(|&i| self.modules.all.get(i));
            if !found.any(|m| lies_in(&m.name, saved)) {
                problems.add("the file lacks the saved module", saved.clone());
            }
        }
    }

    fn pair(
        &self,
        module: &Module,
        found: &Found,
        problems: &mut Problems,
    ) -> Result<Option<Pair>> {
        let name = &module.name;
        let wants = [
            ("lora_A", &found.a, true),
            ("lora_B", &found.b, true),
            ("lora_B.bias", &found.bias, self.config.lora_bias),
            ("lora_magnitude_vector", &found.magnitude, self.config.dora),
        ];
        let mut complete = true;
        for (what, tensor, wanted) in wants {
            if tensor.is_some() != wanted {
                let kind = if wanted {
                    "the file lacks"
                } else {
                    "the configuration does not announce"
                };
                problems.add(kind, format!("{name}.{what}"));
                complete = false;
            }
        }
        let (Some(a), Some(b), true) = (&found.a, &found.b, complete) else {
            return Ok(None);
        };
        let vector = |name: &Option<String>| -> Result<Option<Vec<f32>>> {
            let name = name.as_ref();
            name.map(|n| self.tensor(n)?.to_f32()).transpose()
        };
        let pair = Pair {
            a: self.tensor(a)?,
            b: self.tensor(b)?,
            bias: vector(&found.bias)?,
            magnitude: vector(&found.magnitude)?,
            scale: self.config.scale_of(name),
        };
        if let Some(problem) = pair.misfit(module) {
            problems.add("another shape than the base has:", problem);
            return Ok(None);
        }
        let (rank, said) = (pair.a.shape[0], self.config.rank_of(name));
        if rank != said {
            problems.add(
                "another rank than the configuration says:",
                format!("{name} ({rank}, not {said})"),
            );
            return Ok(None);
        }
        Ok(Some(pair))
    }

    fn tensor(&self, name: &str) -> Result<Weight<'static>> {
        let tensor = self.source.tensor(name)?;
        owned(tensor.ok_or_else(|| Error::MissingTensor {
            name: name.to_owned(),
        })?)
    }

    /// Takes a weight that was trained as a whole, or stored along with the change of an embedding.
    fn replace(
        &self,
        module: &Module,
        name: &str,
        updates: &mut Vec<Update>,
        problems: &mut Problems,
    ) -> Result<()> {
        let vector = module.sizes().is_none();
        let bias = vector && !module.parts.iter().any(|p| p.role.is_norm());
        let trained = match self.config.bias.as_str() {
            "all" => bias,
            "lora_only" => bias && self.config.targets(&module.name, true),
            _ => false,
        };
        // PEFT stores the table with its change (`save_embedding_layers`).
        let stored = (module.is(Role::Embed) || module.is(Role::Head)) && self.is_target(module);
        if !trained && !stored && !self.config.saves(&module.name) {
            problems.add("the configuration does not name", name);
            return Ok(());
        }
        if module.parts.iter().any(|p| p.role.is_expert()) {
            problems.add("adapters cannot be applied to", module.name.clone());
            return Ok(());
        }
        for part in &module.parts {
            let mut at = part.at.clone();
            name.clone_into(&mut at.name);
            at.aliases.clear();
            match at.read(self.source) {
                Ok(weight) => updates.push(Update {
                    role: part.role,
                    layer: part.layer,
                    change: Change::Replace(Weight {
                        shape: weight.shape,
                        ty: weight.ty,
                        data: weight.data.into_owned().into(),
                        coding: None,
                    }),
                }),
                Err(Error::TensorShape {
                    found, expected, ..
                }) => {
                    let shapes = format!("{name} ({found:?}; the base has {expected:?})");
                    problems.add("another shape than the base has:", shapes);
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The tensor of the base that a name belongs to, and what it is for it.
///
/// The name of the adapter may stand in it, as in the state of a model that is being trained.
fn parse(name: &str) -> Option<(String, Kind)> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let parts: Vec<&str> = name.split('.').collect();
    let special =
        |part: &str| part.starts_with("lora_") || matches!(part, "modules_to_save" | "base_layer");
    let Some(at) = parts.iter().position(|p| special(p)) else {
        // Saved as a whole.
        let last = parts.last()?;
        return matches!(*last, "weight" | "bias").then(|| (name.to_owned(), Kind::Whole));
    };
    let (module, rest) = (parts.get(..at)?.join("."), parts.get(at + 1..)?);
    // Either the adapter's name, or the parameter's, or both.
    let parameter = match rest {
        [] => "weight",
        [last @ ("weight" | "bias")] => last,
        [_] => "weight",
        [_, last @ ("weight" | "bias")] => last,
        _ => return None,
    };
    let kind = match (*parts.get(at)?, parameter) {
        ("lora_A" | "lora_embedding_A", "weight") => Kind::A,
        ("lora_B" | "lora_embedding_B", "weight") => Kind::B,
        ("lora_B", "bias") => Kind::BiasOfB,
        ("lora_magnitude_vector", "weight") => Kind::Magnitude,
        ("modules_to_save" | "base_layer", parameter) => {
            return Some((format!("{module}.{parameter}"), Kind::Whole));
        }
        _ => return None,
    };
    Some((format!("{module}.weight"), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_the_name_of_the_adapter() {
        let q = "model.layers.0.self_attn.q_proj.weight";
        let m = "base_model.model.model.layers.0.self_attn.q_proj";
        for (name, kind) in [
            ("lora_A.weight", Kind::A),
            ("lora_A.default.weight", Kind::A),
            ("lora_B.weight", Kind::B),
            ("lora_B.style.weight", Kind::B),
            ("lora_B.default.bias", Kind::BiasOfB),
            ("lora_embedding_A", Kind::A),
            ("lora_embedding_B.default", Kind::B),
            ("lora_magnitude_vector", Kind::Magnitude),
            ("lora_magnitude_vector.default.weight", Kind::Magnitude),
            ("base_layer.weight", Kind::Whole),
            ("modules_to_save.default.weight", Kind::Whole),
            ("weight", Kind::Whole),
        ] {
            let found = parse(&format!("{m}.{name}"));
            assert!(found == Some((q.to_owned(), kind)), "{name}");
        }
        let head = parse("lm_head.modules_to_save.bias");
        assert!(head == Some(("lm_head.bias".to_owned(), Kind::Whole)));
        for name in [
            "x.lora_C.weight",
            "x.lora_A.a.b.weight",
            "x.lora_A.bias",
            "x.y",
        ] {
            assert!(parse(name).is_none(), "{name}");
        }
    }
}
