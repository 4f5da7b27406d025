//! The matrices of a base model by the names of its modules.

use std::collections::HashMap;

use crate::{ModelSpec, NameLayout, Role, WeightRef};

/// One of the weights that a stored tensor holds.
pub(super) struct Part {
    pub(super) role: Role,
    pub(super) layer: Option<usize>,
    pub(super) at: WeightRef,
}

/// A stored tensor: a module of PyTorch, but for `.weight`.
pub(super) struct Module {
    /// The name that files write, without `.weight` or `.bias`.
    pub(super) name: String,
    /// That and its names in other files.
    pub(super) names: Vec<String>,
    pub(super) parts: Vec<Part>,
}

impl Module {
    /// Whether an adapter may change it: matrices of blocks, embeddings, the head.
    pub(super) fn adapts(&self) -> bool {
        let adapts = |p: &Part| {
            let role = p.role;
            matches!(role, Role::Embed | Role::Head)
                || (role.is_linear()
                    && !role.is_expert()
                    && !matches!(role, Role::SharedGate | Role::SharedUp | Role::SharedDown))
        };
        self.parts.iter().all(adapts)
    }

    /// Inputs and outputs of the matrix; `None` for vectors and stacks.
    pub(super) fn sizes(&self) -> Option<(usize, usize)> {
        let at = &self.parts.first()?.at;
        match at.stored[..] {
            [inputs, outputs] if at.transposed => Some((inputs, outputs)),
            [outputs, inputs] => Some((inputs, outputs)),
            _ => None,
        }
    }

    pub(super) fn is(&self, role: Role) -> bool {
        self.parts.first().is_some_and(|p| p.role == role)
    }
}

/// A name without `.weight` or `.bias`.
fn plain(name: &str) -> &str {
    let plain = name.strip_suffix(".weight");
    plain.or_else(|| name.strip_suffix(".bias")).unwrap_or(name)
}

/// All stored tensors of a model in one layout, weights and biases apart.
pub(super) struct Modules {
    pub(super) all: Vec<Module>,
    by_name: HashMap<String, usize>,
}

impl Modules {
    pub(super) fn of(spec: &ModelSpec, layout: NameLayout) -> Self {
        // The head is a module also where its weight is the embedding table.
        let mut untied = spec.clone();
        untied.tied = false;
        let mut this = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
        };
        for (role, layer) in untied.weights() {
            if let Some(at) = untied.weight(role, layer, layout) {
                this.add(Part { role, layer, at });
                continue;
            }
            let count = untied.experts.as_ref().map_or(0, |e| e.count);
            for i in 0..count {
                if let Some(at) = untied.expert(role, layer.unwrap_or(0), i, layout) {
                    this.add(Part { role, layer, at });
                }
            }
        }
        this
    }

    fn add(&mut self, part: Part) {
        if let Some(&index) = self.by_name.get(&part.at.name) {
            if let Some(module) = self.all.get_mut(index) {
                module.parts.push(part);
            }
            return;
        }
        let names = std::iter::once(&part.at.name).chain(&part.at.aliases);
        for name in names {
            self.by_name.insert(name.clone(), self.all.len());
        }
        let names = std::iter::once(&part.at.name).chain(&part.at.aliases);
        let names: Vec<String> = names.map(|name| plain(name).to_owned()).collect();
        self.all.push(Module {
            name: plain(&part.at.name).to_owned(),
            names,
            parts: vec![part],
        });
    }

    /// The module whose tensor has this name, `.weight` or `.bias` included.
    pub(super) fn find(&self, tensor: &str) -> Option<(usize, &Module)> {
        let &index = self.by_name.get(tensor)?;
        Some((index, self.all.get(index)?))
    }
}
