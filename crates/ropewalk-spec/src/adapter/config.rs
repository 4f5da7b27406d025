//! `adapter_config.json` of PEFT.

use regex::Regex;
use serde_json::Value;

use crate::{Error, Result};

/// How errors call the file.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Keys that have no effect on what a saved adapter computes.
const NEUTRAL: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Keys that are read.
const READ: &[&str] = &[
    "alpha_pattern",
    "bias",
    "exclude_modules",
    "fan_in_fan_out",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
];

/// Initialisations that leave the base weights as they are.
const INITIAL: &[&str] = &["eva", "gaussian", "mica", "orthogonal"];

/// Which modules a setting names.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Targets {
    /// Every linear layer but the output head (`all-linear`).
    AllLinear,
    /// Names, or ends of names after a dot.
    Names(Vec<String>),
    /// Whole names that a regular expression matches.
    Pattern(Regex),
}

impl Targets {
    fn read(value: &Value, key: &str) -> Result<Self> {
        match value {
            Value::String(s) if s == "all-linear" && key == "target_modules" => Ok(Self::AllLinear),
            Value::String(s) => Ok(Self::Pattern(pattern(key, &format!("^(?:{s})$"))?)),
            _ => Ok(Self::Names(strings(value, key)?)),
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Names(names) => names.iter().any(|n| ends_with(name, n)),
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

/// Whether a name is `end` or ends with it after a dot.
pub(super) fn ends_with(name: &str, end: &str) -> bool {
    let before = name.strip_suffix(end);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether a module is of that name or lies in one that is.
pub(super) fn lies_in(module: &str, saved: &str) -> bool {
    let (module, saved): (Vec<&str>, Vec<&str>) =
        (module.split('.').collect(), saved.split('.').collect());
    module.windows(saved.len()).any(|w| *w == saved)
}

/// The settings of a LoRA adapter as PEFT saves them (`LoraConfig` of peft 0.21).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeftConfig {
    /// Rank where no pattern says otherwise.
    pub rank: usize,
    /// Alpha where no pattern says otherwise.
    pub alpha: f64,
    /// Ranks of modules by patterns of their names.
    pub rank_pattern: Vec<(Regex, usize)>,
    /// Alphas of modules by patterns of their names.
    pub alpha_pattern: Vec<(Regex, f64)>,
    /// Whether alpha is divided by the square root of the rank.
    pub rslora: bool,
    /// Whether rows are brought to learned lengths.
    pub dora: bool,
    /// Whether B has a bias.
    pub lora_bias: bool,
    /// Which biases of the base were trained: `none`, `lora_only` or `all`.
    pub bias: String,
    /// Modules that are changed.
    pub targets: Targets,
    /// Modules that are not, of those.
    pub exclude: Option<Targets>,
    /// Blocks that are changed; `None` means all.
    pub layers: Option<Vec<usize>>,
    /// Names before the number of a block; empty means any.
    pub layers_pattern: Vec<String>,
    /// Modules that were trained as a whole.
    pub modules_to_save: Vec<String>,
    /// The base model, a hint.
    pub base: Option<String>,
}

fn invalid(key: &str, problem: impl Into<String>) -> Error {
    Error::InvalidKey {
        file: CONFIG.to_owned(),
        key: key.to_owned(),
        problem: problem.into(),
    }
}

fn pattern(key: &str, text: &str) -> Result<Regex> {
    // Bounds the memory that a hostile file can ask for.
    let built = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
    built.map_err(|e| {
        let e = e.to_string();
        let last = e.lines().last().unwrap_or_default().trim().to_owned();
        invalid(key, format!("is a pattern that cannot be read ({last})"))
    })
}

fn strings(value: &Value, key: &str) -> Result<Vec<String>> {
    let list = value.as_array().map(|list| {
        let names = list.iter().map(|v| v.as_str().map(str::to_owned));
        names.collect::<Option<Vec<_>>>()
    });
    let list = list.flatten();
    list.ok_or_else(|| invalid(key, "is not a list of names"))
}

/// Whether a value switches something on.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(s) => !s.is_empty(),
        Value::Number(_) => true,
    }
}

impl PeftConfig {
    /// Reads the content of `adapter_config.json`.
    ///
    /// # Errors
    /// Another kind of adapter than LoRA, a setting that is not applied, a value of the wrong type;
    /// all by name.
    pub fn from_json(config: &Value) -> Result<Self> {
        let Some(map) = config.as_object() else {
            return Err(invalid("{}", "is not an object"));
        };
        let get = |key: &str| map.get(key).filter(|v| !v.is_null());
        match get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some(other) => {
                let problem = format!("is `{other}`; only LORA can be applied");
                return Err(invalid("peft_type", problem));
            }
            None => {
                return Err(Error::MissingKey {
                    file: CONFIG.to_owned(),
                    key: "peft_type".to_owned(),
                });
            }
        }
        for (key, value) in map {
            let known = NEUTRAL.contains(&key.as_str()) || READ.contains(&key.as_str());
            if !known && is_set(value) {
                return Err(invalid(key, "is a setting that is not applied"));
            }
        }
        match get("init_lora_weights") {
            None | Some(Value::Bool(_)) => {}
            Some(Value::String(s)) if INITIAL.contains(&s.as_str()) => {}
            Some(other) => {
                let problem = format!(
                    "is {other}, which changes the base weights; save the adapter with \
                     `path_initial_model_for_weight_conversion`"
                );
                return Err(invalid("init_lora_weights", problem));
            }
        }
        let flag = |key: &str| match get(key) {
            None => Ok(false),
            Some(v) => v.as_bool().ok_or_else(|| invalid(key, "is not a boolean")),
        };
        // Conv1D needs no other treatment: A and B are those of the turned weight.
        flag("fan_in_fan_out")?;
        let list = |key: &str| get(key).map_or_else(|| Ok(Vec::new()), |v| strings(v, key));
        let bias = get("bias").map_or(Some("none"), Value::as_str);
        let bias = bias.filter(|b| ["none", "lora_only", "all"].contains(b));
        let targets = get("target_modules");
        Ok(Self {
            rank: get("r").map_or(Ok(8), |v| rank("r", v))?,
            alpha: get("lora_alpha").map_or(Ok(8.0), |v| alpha("lora_alpha", v))?,
            rank_pattern: patterns(get("rank_pattern"), "rank_pattern", rank)?,
            alpha_pattern: patterns(get("alpha_pattern"), "alpha_pattern", alpha)?,
            rslora: flag("use_rslora")?,
            dora: flag("use_dora")?,
            lora_bias: flag("lora_bias")?,
            bias: bias
                .ok_or_else(|| invalid("bias", "is not one of none, lora_only, all"))?
                .to_owned(),
            targets: targets.map_or(Ok(Targets::Names(Vec::new())), |v| {
                Targets::read(v, "target_modules")
            })?,
            exclude: get("exclude_modules")
                .filter(|v| is_set(v))
                .map(|v| Targets::read(v, "exclude_modules"))
                .transpose()?,
            layers: get("layers_to_transform").map(layers).transpose()?,
            layers_pattern: match get("layers_pattern") {
                Some(Value::String(s)) if s.is_empty() => Vec::new(),
                Some(Value::String(s)) => vec![s.clone()],
                _ => list("layers_pattern")?,
            },
            modules_to_save: list("modules_to_save")?,
            base: get("base_model_name_or_path")
                .and_then(Value::as_str)
                .filter(|s| !s.is_empty())
                .map(str::to_owned),
        })
    }

    /// The rank of a module.
    #[must_use]
    pub fn rank_of(&self, module: &str) -> usize {
        let own = self.rank_pattern.iter().find(|(p, _)| p.is_match(module));
        own.map_or(self.rank, |(_, rank)| *rank)
    }

    /// The factor of a module's product of B and A.
    #[must_use]
    pub fn scale_of(&self, module: &str) -> f32 {
        let own = self.alpha_pattern.iter().find(|(p, _)| p.is_match(module));
        let alpha = own.map_or(self.alpha, |(_, alpha)| *alpha);
        let rank = self.rank_of(module) as f64;
        (alpha / if self.rslora { rank.sqrt() } else { rank }) as f32
    }

    /// Whether a linear layer or an embedding of this name is changed
    /// (`check_target_module_exists` of PEFT).
    #[must_use]
    pub fn targets(&self, module: &str, is_linear: bool) -> bool {
        if self.excludes(module) {
            return false;
        }
        match &self.targets {
            Targets::AllLinear => is_linear,
            Targets::Pattern(p) => p.is_match(module),
            Targets::Names(names) if names.iter().any(|n| n == module) => true,
            Targets::Names(_) => self.targets.has(module) && self.in_layers(module),
        }
    }

    /// Whether a module is left alone or trained as a whole, whatever the targets say.
    #[must_use]
    pub fn excludes(&self, module: &str) -> bool {
        self.exclude.as_ref().is_some_and(|e| e.has(module)) || self.saves(module)
    }

    /// Whether a module was trained as a whole, or lies in one that was.
    #[must_use]
    pub fn saves(&self, module: &str) -> bool {
        self.modules_to_save
            .iter()
            .any(|saved| lies_in(module, saved))
    }

    fn in_layers(&self, module: &str) -> bool {
        let Some(layers) = self.layers.as_ref().filter(|l| !l.is_empty()) else {
            return true;
        };
        let parts: Vec<&str> = module.split('.').collect();
        let number = parts.windows(2).find_map(|pair| {
            let any =
                self.layers_pattern.is_empty() || self.layers_pattern.iter().any(|p| p == pair[0]);
            pair[1].parse::<usize>().ok().filter(|_| any)
        });
        number.is_some_and(|n| layers.contains(&n))
    }
}

fn rank(key: &str, value: &Value) -> Result<usize> {
    let rank = value.as_u64().and_then(|n| usize::try_from(n).ok());
    let rank = rank.filter(|n| (1..=1 << 16).contains(n));
    rank.ok_or_else(|| invalid(key, "is not a rank from 1 to 65536"))
}

fn alpha(key: &str, value: &Value) -> Result<f64> {
    let alpha = value.as_f64().filter(|a| (*a as f32).is_finite());
    alpha.ok_or_else(|| invalid(key, "is not a number"))
}

fn layers(value: &Value) -> Result<Vec<usize>> {
    let one = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    let list = match value {
        Value::Array(list) => list.iter().map(one).collect::<Option<Vec<_>>>(),
        single => one(single).map(|n| vec![n]),
    };
    list.ok_or_else(|| invalid("layers_to_transform", "is not a list of layer numbers"))
}

fn patterns<T>(
    value: Option<&Value>,
    key: &str,
    read: fn(&str, &Value) -> Result<T>,
) -> Result<Vec<(Regex, T)>> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let map = value.as_object();
    let map = map.ok_or_else(|| invalid(key, "is not an object"))?;
    map.iter()
        .map(|(name, value)| {
            let whole = pattern(key, &format!(r"^(?:.*\.)?(?:{name})$"))?;
            Ok((whole, read(key, value)?))
        })
        .collect()
}
