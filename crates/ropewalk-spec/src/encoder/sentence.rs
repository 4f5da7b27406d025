//! Folders of sentence-transformers: what happens between hidden states and a vector per text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::hf::json::{self, Object};
use crate::{Error, Result};

/// How one vector is made of the hidden states of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolingMode {
    /// That of the first token.
    Cls,
    /// The largest value of each feature.
    Max,
    /// The mean.
    Mean,
    /// The sum divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean weighted by position, 1 for the first token.
    WeightedMean,
    /// That of the last token.
    LastToken,
}

impl PoolingMode {
    /// Each mode with its names in `1_Pooling/config.json`, before and since version 6, in the
    /// order in which several are put side by side.
    const NAMES: [(Self, &'static str, &'static str); 6] = [
        (Self::Cls, "pooling_mode_cls_token", "cls"),
        (Self::Max, "pooling_mode_max_tokens", "max"),
        (Self::Mean, "pooling_mode_mean_tokens", "mean"),
        (
            Self::MeanSqrtLen,
            "pooling_mode_mean_sqrt_len_tokens",
            "mean_sqrt_len_tokens",
        ),
        (
            Self::WeightedMean,
            "pooling_mode_weightedmean_tokens",
            "weightedmean",
        ),
        (Self::LastToken, "pooling_mode_lasttoken", "lasttoken"),
    ];

    /// The name in `1_Pooling/config.json`, such as `mean`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(mode, ..)| *mode == self);
        found.map_or("", |(.., name)| name)
    }
}

/// A pooling module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolingSpec {
    /// One mode, or several whose vectors are put side by side.
    pub modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt count.
    pub include_prompt: bool,
}

impl PoolingSpec {
    /// One mode, of all tokens.
    #[must_use]
    pub fn new(mode: PoolingMode) -> Self {
        Self {
            modes: vec![mode],
            include_prompt: true,
        }
    }
}

/// A dense module: `activation(W x + b)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DenseSpec {
    /// The folder with its `model.safetensors`, which holds `linear.weight` and `linear.bias`.
    pub dir: PathBuf,
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether a hyperbolic tangent follows; nothing otherwise.
    pub tanh: bool,
}

/// A step from hidden states to a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SentenceModule {
    /// One vector per text.
    Pooling(PoolingSpec),
    /// A linear layer.
    Dense(DenseSpec),
    /// Division by the Euclidean norm.
    Normalize,
}

/// What a sentence-transformers folder says besides the encoder itself.
///
/// ```
/// use ropewalk_spec::{PoolingMode, SentenceModule, SentenceSpec};
///
/// let spec = SentenceSpec::new(PoolingMode::Mean);
/// assert!(matches!(spec.modules[..], [SentenceModule::Pooling(_)]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentenceSpec {
    /// Where the encoder lies: the folder itself or one in it.
    pub transformer: PathBuf,
    /// The steps from hidden states to a vector, in order.
    pub modules: Vec<SentenceModule>,
    /// Tokens of the longest text (`max_seq_length`); the encoder's own limit when `None`.
    pub max_tokens: Option<usize>,
    /// Whether texts are brought to lower case before they are encoded.
    pub lowercase: bool,
    /// Prompts by name (`query`, `document` or `passage`, and others).
    pub prompts: BTreeMap<String, String>,
    /// The prompt of texts for which none is chosen.
    pub default_prompt: Option<String>,
    /// How vectors are meant to be compared: `cosine`, `dot`, `euclidean` or `manhattan`.
    pub similarity: Option<String>,
}

fn optional(path: &Path) -> Result<Option<Value>> {
    if path.is_file() {
        json::read(path).map(Some)
    } else {
        Ok(None)
    }
}

impl SentenceSpec {
    /// One pooling step and nothing else.
    #[must_use]
    pub fn new(mode: PoolingMode) -> Self {
        Self {
            transformer: PathBuf::new(),
            modules: vec![SentenceModule::Pooling(PoolingSpec::new(mode))],
            max_tokens: None,
            lowercase: false,
            prompts: BTreeMap::new(),
            default_prompt: None,
            similarity: None,
        }
    }

    /// Reads `modules.json`, the configurations of the modules it lists, `sentence_bert_config.json`
    /// and `config_sentence_transformers.json`.
    ///
    /// `None` where there is no `modules.json`: the folder holds a plain encoder, which
    /// sentence-transformers would pool by the mean. A pooling module whose folder has no
    /// `config.json` pools by the mean as well.
    ///
    /// # Errors
    /// A file that cannot be read, a module or setting that nothing here does.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Option<Self>> {
        let dir = dir.as_ref();
        let file = dir.join("modules.json");
        let Some(list) = optional(&file)? else {
            return Ok(None);
        };
        let name = file.display().to_string();
        let bad = |problem: String| Error::Inconsistent {
            file: name.clone(),
            problem,
        };
        let list = list
            .as_array()
            .ok_or_else(|| bad("is not a list of modules".to_owned()))?;
        let mut spec = Self::new(PoolingMode::Mean);
        spec.modules.clear();
        let mut encoder = None;
        for module in list {
            let module = Object::new(module, &name)?;
            let class = module.text("type")?.ok_or_else(|| module.missing("type"))?;
            let path = module.text("path")?.unwrap_or("");
            let inside = Path::new(path)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            if !inside {
                return Err(module.invalid("path", &format!("is `{path}`, outside of the folder")));
            }
            let folder = dir.join(path);
            match class.rsplit('.').next().unwrap_or(class) {
                "Transformer" if encoder.is_none() && spec.modules.is_empty() => {
                    encoder = Some(folder);
                }
                "Pooling" => {
                    let pooling = pooling(&folder.join("config.json"))?;
                    spec.modules.push(SentenceModule::Pooling(pooling));
                }
                "Dense" => spec.modules.push(SentenceModule::Dense(dense(folder)?)),
                "Normalize" => spec.modules.push(SentenceModule::Normalize),
                "Dropout" => {}
                _ => {
                    return Err(bad(format!(
                        "module `{class}` is not supported; supported: one Transformer, then Pooling, Dense, Normalize, Dropout"
                    )));
                }
            }
        }
        spec.transformer = encoder.ok_or_else(|| bad("lists no Transformer".to_owned()))?;
        if !matches!(spec.modules.first(), Some(SentenceModule::Pooling(_))) {
            return Err(bad(
                "the module after the Transformer is not Pooling".to_owned()
            ));
        }
        let poolings = spec
            .modules
            .iter()
            .filter(|m| matches!(m, SentenceModule::Pooling(_)));
        if poolings.count() > 1 {
            return Err(bad("lists more than one Pooling".to_owned()));
        }
        spec.settings(dir)?;
        Ok(Some(spec))
    }

    /// Reads the two files of settings.
    fn settings(&mut self, dir: &Path) -> Result<()> {
        let path = self.transformer.join("sentence_bert_config.json");
        if let Some(value) = optional(&path)? {
            let file = path.display().to_string();
            let config = Object::new(&value, &file)?;
            self.max_tokens = config.count_or_none("max_seq_length")?;
            self.lowercase = config.flag("do_lower_case")?;
        }
        let path = dir.join("config_sentence_transformers.json");
        let Some(value) = optional(&path)? else {
            return Ok(());
        };
        let file = path.display().to_string();
        let config = Object::new(&value, &file)?;
        self.similarity = config.text("similarity_fn_name")?.map(str::to_owned);
        self.default_prompt = config.text("default_prompt_name")?.map(str::to_owned);
        if let Some(prompts) = config.present("prompts") {
            let prompts = Object::inside(prompts, &file, "prompts.")?;
            for name in prompts.keys() {
                let text = prompts.text(name)?.unwrap_or_default();
                self.prompts.insert(name.to_owned(), text.to_owned());
            }
        }
        match &self.default_prompt {
            Some(name) if !self.prompts.contains_key(name) => {
                let problem = format!("is `{name}`, which `prompts` does not have");
                Err(config.invalid("default_prompt_name", &problem))
            }
            _ => Ok(()),
        }
    }
}

fn pooling(path: &Path) -> Result<PoolingSpec> {
    let mut spec = PoolingSpec::new(PoolingMode::Mean);
    let Some(value) = optional(path)? else {
        return Ok(spec);
    };
    let file = path.display().to_string();
    let config = Object::new(&value, &file)?;
    spec.include_prompt = config.flag_or_none("include_prompt")?.unwrap_or(true);
    let names = PoolingMode::NAMES;
    if let Some(value) = config.present("pooling_mode") {
        let one = std::slice::from_ref(value);
        let list = value.as_array().map_or(one, Vec::as_slice);
        let mode = |value: &Value| {
            let found = names.iter().find(|(.., name)| value == name);
            found.map(|(mode, ..)| *mode).ok_or_else(|| {
                let known = names.map(|(.., name)| name).join(", ");
                config.invalid("pooling_mode", &format!("is {value}; supported: {known}"))
            })
        };
        spec.modes = list.iter().map(mode).collect::<Result<_>>()?;
        if spec.modes.is_empty() {
            return Err(config.invalid("pooling_mode", "is an empty list"));
        }
        return Ok(spec);
    }
    if let Some(key) = config.keys().find(|key| {
        key.starts_with("pooling_mode_") && !names.iter().any(|(_, name, _)| name == key)
    }) && config.flag(key)?
    {
        return Err(config.invalid(key, "is true; this pooling is not supported"));
    }
    let mut modes = Vec::new();
    for (mode, key, _) in names {
        if config.flag(key)? {
            modes.push(mode);
        }
    }
    if !modes.is_empty() {
        spec.modes = modes;
    }
    Ok(spec)
}

fn dense(dir: PathBuf) -> Result<DenseSpec> {
    let path = dir.join("config.json");
    let file = path.display().to_string();
    let value = json::read(&path)?;
    let config = Object::new(&value, &file)?;
    let tanh = match config.text("activation_function")? {
        None => true,
        Some(name) if name.ends_with(".Tanh") => true,
        Some(name) if name.ends_with(".Identity") => false,
        Some(name) => {
            let problem = format!("is `{name}`; supported: Tanh, Identity");
            return Err(config.invalid("activation_function", &problem));
        }
    };
    if config.flag("use_residual")? {
        return Err(config.invalid("use_residual", "is true, which is not supported"));
    }
    for key in ["module_input_name", "module_output_name"] {
        if let Some(name) = config.text(key)?
            && name != "sentence_embedding"
        {
            let problem = format!("is `{name}`; supported: sentence_embedding");
            return Err(config.invalid(key, &problem));
        }
    }
    Ok(DenseSpec {
        inputs: config.count("in_features")?,
        outputs: config.count("out_features")?,
        bias: config.flag_or_none("bias")?.unwrap_or(true),
        tanh,
        dir,
    })
}
