//! `config.json` of encoders, transformers 4 and 5.

use std::path::Path;

use serde_json::Value;

use super::{EncoderFamily, EncoderHead, EncoderSpec, HeadActivation, MAX_LAYERS, Profile};
use crate::hf::json::{self, Object};
use crate::{Activation, Error, Result, RopeSpec};

/// The suffix of class names with a classification head.
const CLASSIFIER: &str = "ForSequenceClassification";

impl EncoderFamily {
    /// The family a configuration names in `architectures`, or else in `model_type`; `None` for
    /// anything that is no encoder here.
    #[must_use]
    pub fn of_config(config: &Value) -> Option<Self> {
        let class = config
            .get("architectures")
            .and_then(|list| list.get(0)?.as_str());
        let kind = config.get("model_type").and_then(Value::as_str);
        Self::ALL.into_iter().find(|family| {
            let profile = family.profile();
            match class {
                // What follows the name begins a word: `Model`, `For...`, `LMHeadModel`.
                Some(class) => profile.names.iter().any(|name| {
                    let rest = class.strip_prefix(name);
                    rest.is_some_and(|rest| rest == "Model" || rest.starts_with("For"))
                }),
                None => kind.is_some_and(|kind| profile.model_types.contains(&kind)),
            }
        })
    }
}

/// The keys of one configuration in the spelling of its family.
struct Keys<'a> {
    config: Object<'a>,
    profile: &'static Profile,
}

impl Keys<'_> {
    fn count(&self, key: &'static str) -> Result<usize> {
        let own = self.profile.key(key);
        match self.config.count_or_none(own)? {
            Some(n) => Ok(n),
            None => match self.profile.default(key) {
                Some(n) => Ok(n as usize),
                None => Err(self.config.missing(own)),
            },
        }
    }

    fn number(&self, key: &'static str) -> Result<f64> {
        let own = self.profile.key(key);
        let found = self.config.number_or_none(own)?;
        found
            .or_else(|| self.profile.default(key))
            .ok_or_else(|| self.config.missing(own))
    }

    fn activation(&self, key: &'static str, default: Activation) -> Result<Activation> {
        let own = self.profile.key(key);
        let Some(name) = self.config.text(own)? else {
            return Ok(default);
        };
        Activation::from_name(name).ok_or_else(|| {
            let problem =
                format!("is `{name}`; supported: silu, gelu, gelu_new, gelu_pytorch_tanh");
            self.config.invalid(own, &problem)
        })
    }

    /// Refuses what changes results in a way that nothing here does.
    fn refuse(&self) -> Result<()> {
        for key in ["is_decoder", "add_cross_attention"] {
            if self.config.flag(key)? {
                return Err(self
                    .config
                    .invalid(key, "is true; an encoder attends to both sides"));
            }
        }
        if let Some(kind) = self.config.text("position_embedding_type")?
            && kind != "absolute"
        {
            let problem = format!("is `{kind}`; only `absolute` is supported");
            return Err(self.config.invalid("position_embedding_type", &problem));
        }
        for key in ["rope_scaling", "quantization_config"] {
            if self.config.present(key).is_some() {
                let problem = "is set, which encoders do not read; use the plain model";
                return Err(self.config.invalid(key, problem));
            }
        }
        if let Some(size) = self.config.count_or_none("embedding_size")?
            && Some(size) != self.config.count_or_none("hidden_size")?
        {
            let problem = "is another width than the hidden states, which is not supported";
            return Err(self.config.invalid("embedding_size", problem));
        }
        Ok(())
    }

    fn head(&self) -> Result<Option<EncoderHead>> {
        let config = &self.config;
        let class = config
            .present("architectures")
            .and_then(|list| list.get(0)?.as_str());
        if !class.is_some_and(|class| class.ends_with(CLASSIFIER)) {
            return Ok(None);
        }
        let named = config.present("id2label").and_then(Value::as_object);
        let labels = match config.count_or_none("num_labels")? {
            Some(n) => n,
            // The default of transformers.
            None => named.map_or(2, serde_json::Map::len),
        };
        let mut head = EncoderHead {
            labels,
            mean: false,
            activation: self.profile.head,
            bias: true,
            norm: false,
        };
        if self.profile.modern {
            head.mean = match config.text("classifier_pooling")? {
                None | Some("cls") => false,
                Some("mean") => true,
                Some(other) => {
                    let problem = format!("is `{other}`; supported: cls, mean");
                    return Err(config.invalid("classifier_pooling", &problem));
                }
            };
            let activation = self.activation("classifier_activation", Activation::Gelu)?;
            head.activation = HeadActivation::Other(activation);
            head.bias = config.flag("classifier_bias")?;
            head.norm = true;
        }
        Ok(Some(head))
    }

    /// The base of a rotation: `rope_parameters` of version 5 or a key of its own.
    fn theta(&self, kind: &str, key: &'static str) -> Result<f64> {
        let Some(all) = self.config.present("rope_parameters") else {
            return self.number(key);
        };
        let prefix = format!("rope_parameters.{kind}.");
        let Some(one) = all.get(kind).filter(|v| !v.is_null()) else {
            return self.number(key);
        };
        let one = Object::inside(one, self.config.file(), &prefix)?;
        if let Some(name) = one.text("rope_type")?
            && name != "default"
        {
            return Err(Error::UnknownRopeType {
                file: self.config.file().to_owned(),
                name: name.to_owned(),
                supported: "default",
            });
        }
        if let Some(key) = one
            .keys()
            .find(|k| !["rope_type", "rope_theta"].contains(k))
        {
            return Err(one.unread_rope(key));
        }
        match one.number_or_none("rope_theta")? {
            Some(theta) => Ok(theta),
            None => self.number(key),
        }
    }

    /// Which layers have a window: `layer_types` of version 5 or one layer in so many without.
    fn windows(&self, layers: usize) -> Result<Vec<Option<usize>>> {
        // `local_attention` counts both sides.
        let window = Some(self.count("local_attention")? / 2);
        let Some(types) = self.config.present("layer_types") else {
            let every = self.count("global_attn_every_n_layers")?.max(1);
            return Ok((0..layers)
                .map(|i| window.filter(|_| i % every != 0))
                .collect());
        };
        let bad = || {
            self.config
                .invalid("layer_types", "is no list of layer types for each layer")
        };
        let types = types
            .as_array()
            .filter(|l| l.len() == layers)
            .ok_or_else(bad)?;
        let one = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(window),
            _ => Err(bad()),
        };
        types.iter().map(one).collect()
    }
}

impl EncoderSpec {
    /// Reads the content of a `config.json`.
    ///
    /// A class that ends in `ForSequenceClassification` has a [`head`](Self::head); of any other
    /// class only the encoder proper is used.
    ///
    /// # Errors
    /// A missing or unusable key, an architecture that is no encoder here, settings that nothing
    /// reads, sizes that contradict each other.
    ///
    /// ```
    /// use ropewalk_spec::EncoderSpec;
    ///
    /// let config = serde_json::json!({
    ///     "architectures": ["BertModel"], "vocab_size": 30522, "hidden_size": 384,
    ///     "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
    /// });
    /// let spec = EncoderSpec::from_hf(&config)?;
    /// assert_eq!((spec.head_dim, spec.max_tokens, spec.head.is_none()), (32, 512, true));
    /// # Ok::<(), ropewalk_spec::Error>(())
    /// ```
    pub fn from_hf(config: &Value) -> Result<Self> {
        Self::from_hf_named(config, "config.json")
    }

    /// Reads `config.json` in a model directory.
    ///
    /// # Errors
    /// As [`from_hf`](Self::from_hf); also when the file cannot be read.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        let path = dir.as_ref().join("config.json");
        Self::from_hf_named(&json::read(&path)?, &path.display().to_string())
    }

    fn from_hf_named(config: &Value, file: &str) -> Result<Self> {
        let object = Object::new(config, file)?;
        let Some(family) = EncoderFamily::of_config(config) else {
            let class = config.get("architectures").and_then(|l| l.get(0)?.as_str());
            let name = class.or(object.text("model_type")?);
            return Err(Error::UnknownArchitecture {
                file: file.to_owned(),
                name: name
                    .ok_or_else(|| object.missing("architectures"))?
                    .to_owned(),
                supported: format!(
                    "the encoders {}",
                    EncoderFamily::ALL.map(EncoderFamily::name).join(", ")
                ),
            });
        };
        let profile = family.profile();
        let keys = Keys {
            config: object,
            profile,
        };
        keys.refuse()?;
        let (hidden, layers) = (keys.count("hidden_size")?, keys.count("num_hidden_layers")?);
        if layers > MAX_LAYERS {
            let problem = format!("is {layers}, above {MAX_LAYERS}");
            return Err(object.invalid(profile.key("num_hidden_layers"), &problem));
        }
        let heads = keys.count("num_attention_heads")?;
        let head_dim = hidden.checked_div(heads).unwrap_or(0);
        let pad = match object.present("pad_token_id") {
            Some(_) => object.ids("pad_token_id")?.first().copied(),
            None => profile.default("pad_token_id").map(|id| id as u32),
        };
        let positions = keys.count("max_position_embeddings")?;
        let offset = if profile.offset_positions {
            pad.unwrap_or(0) as usize + 1
        } else {
            0
        };
        let modern = profile.modern;
        let rope = |kind: &str, key: &'static str| -> Result<Option<RopeSpec>> {
            if !modern {
                return Ok(None);
            }
            Ok(Some(RopeSpec::new(head_dim, keys.theta(kind, key)? as f32)))
        };
        let flag = |key: &str| Ok::<_, Error>(!modern || object.flag(key)?);
        let spec = Self {
            family,
            vocab_size: keys.count("vocab_size")?,
            hidden,
            layers,
            heads,
            head_dim,
            ffn: keys.count("intermediate_size")?,
            max_tokens: positions.saturating_sub(offset),
            position_offset: offset,
            type_vocab: keys.count("type_vocab_size")?,
            norm_eps: keys.number("layer_norm_eps")? as f32,
            norm_bias: flag("norm_bias")?,
            norm_first: modern,
            activation: keys.activation("hidden_act", Activation::Gelu)?,
            gated: modern,
            attention_bias: flag("attention_bias")?,
            mlp_bias: flag("mlp_bias")?,
            window: if modern {
                keys.windows(layers)?
            } else {
                vec![None; layers]
            },
            rope: rope("full_attention", "global_rope_theta")?,
            rope_local: rope("sliding_attention", "local_rope_theta")?,
            head: keys.head()?,
            pad_id: pad,
        };
        spec.validate_in(file)?;
        Ok(spec)
    }
}
