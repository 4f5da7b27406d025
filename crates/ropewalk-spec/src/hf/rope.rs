//! Rope settings of `config.json`, old and new spelling.

use super::json::Object;
use crate::rope::{long_rope_attention_factor, yarn_mscale};
use crate::{Error, Family, ModelSpec, Positions, Result, RopeScaling, RopeSpec};

/// Rope types this crate computes, as errors list them.
const SUPPORTED: &str = "default, linear, dynamic, llama3, yarn, longrope (su)";

/// Keys about rope outside of `rope_scaling` and `rope_parameters`.
const TOP_LEVEL: [&str; 5] = [
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "partial_rotary_factor",
    "original_max_position_embeddings",
];

/// What the settings apply to.
struct Context<'a> {
    config: Object<'a>,
    family: Family,
    head_dim: usize,
    max_positions: usize,
    /// The key of the base beside the settings.
    base: &'static str,
}

/// Reads `rope_parameters` (version 5) or `rope_theta` and `rope_scaling` (version 4); where
/// both are given they must agree. The second value is the rotation of layers with a window,
/// where the family has one of its own.
pub(super) fn read(config: &Object<'_>, spec: &ModelSpec) -> Result<(RopeSpec, Option<RopeSpec>)> {
    let family = spec.family;
    let profile = family.profile();
    // `"rope_interleaved": false` and the like say what is true anyway.
    let set = |key: &str| config.present(key).is_some_and(|v| *v != false);
    let about_rope = |key: &str| key.contains("rope") || key.contains("rotary");
    let known = |key: &str| {
        TOP_LEVEL.contains(&key)
            || profile.rope_keys.contains(&key)
            || profile.keys.iter().any(|(_, own)| *own == key)
    };
    let unread = |key: &&str| about_rope(key) && !known(key) && set(key);
    if let Some(key) = config.keys().find(unread) {
        return Err(config.unread_rope(key));
    }
    if spec.positions == Positions::Learned {
        return Ok((spec.rope.clone(), None));
    }
    let context = Context {
        config: *config,
        family,
        head_dim: spec.head_dim,
        max_positions: spec.max_positions,
        base: "rope_theta",
    };
    let read = |key: &str, prefix: &str| match config.present(key) {
        Some(value) => {
            let settings = Object::inside(value, config.file(), prefix)?;
            context.settings(Some(&settings)).map(Some)
        }
        None => Ok(None),
    };
    if family == Family::Gemma3 {
        return two(&context);
    }
    let new = read("rope_parameters", "rope_parameters.")?;
    let old = read("rope_scaling", "rope_scaling.")?;
    let rope = match (new, old) {
        (Some(new), Some(old)) if new != old => {
            return Err(config.inconsistent(
                "rope_parameters and rope_scaling say different things; keep one of them"
                    .to_owned(),
            ));
        }
        (Some(rope), _) | (None, Some(rope)) => rope,
        (None, None) => context.settings(None)?,
    };
    Ok((rope, None))
}

/// Gemma 3: one rotation for layers that see everything, one for those with a window.
fn two(full: &Context<'_>) -> Result<(RopeSpec, Option<RopeSpec>)> {
    let config = &full.config;
    let local = Context {
        base: "rope_local_base_freq",
        ..*full
    };
    let Some(both) = config.present("rope_parameters") else {
        let scaled = match config.present("rope_scaling") {
            Some(value) => {
                let settings = Object::inside(value, config.file(), "rope_scaling.")?;
                full.settings(Some(&settings))?
            }
            None => full.settings(None)?,
        };
        return Ok((scaled, Some(local.settings(None)?)));
    };
    let both = Object::inside(both, config.file(), "rope_parameters.")?;
    let names = ["full_attention", "sliding_attention"];
    if let Some(key) = both.keys().find(|k| !names.contains(k)) {
        return Err(both.unread_rope(key));
    }
    let read = |context: &Context<'_>, key: &str, prefix: &str| match both.present(key) {
        Some(value) => {
            let settings = Object::inside(value, config.file(), prefix)?;
            context.settings(Some(&settings))
        }
        None => context.settings(None),
    };
    Ok((
        read(full, "full_attention", "rope_parameters.full_attention.")?,
        Some(read(
            &local,
            "sliding_attention",
            "rope_parameters.sliding_attention.",
        )?),
    ))
}

impl Context<'_> {
    fn settings(&self, given: Option<&Object<'_>>) -> Result<RopeSpec> {
        let mut read = Read {
            settings: given,
            used: Vec::new(),
        };
        let base = match read.number("rope_theta")? {
            Some(base) => base,
            None => self.config.number_or_none(self.base)?.unwrap_or(10_000.0),
        };
        let dims = self.dims(&mut read)?;
        let name = self.type_name(&mut read)?;
        let scaling = match name {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: read.required("factor")? as f32,
            },
            "dynamic" => RopeScaling::Dynamic {
                factor: read.required("factor")? as f32,
                max_positions: self.max_positions,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: read.required("factor")? as f32,
                low_freq_factor: read.required("low_freq_factor")? as f32,
                high_freq_factor: read.required("high_freq_factor")? as f32,
                original_max: self.original_max(&mut read)?,
            },
            "longrope" => self.long_rope(&mut read)?,
            "yarn" => self.yarn(&mut read)?,
            other => {
                return Err(Error::UnknownRopeType {
                    file: self.config.file().to_owned(),
                    name: other.to_owned(),
                    supported: SUPPORTED,
                });
            }
        };
        read.finish()?;
        Ok(RopeSpec {
            dims,
            base: base as f32,
            scaling,
        })
    }

    /// Rotated features: `int(head_dim * partial_rotary_factor)`, where the family has that.
    fn dims(&self, read: &mut Read<'_>) -> Result<usize> {
        let key = "partial_rotary_factor";
        let inner = read.number(key)?;
        let factor = inner.or(self.config.number_or_none(key)?).unwrap_or(1.0);
        if factor == 1.0 {
            return Ok(self.head_dim);
        }
        if !self.family.profile().rope_keys.contains(&key) {
            return Err(self.config.unread_rope(key));
        }
        if !(factor > 0.0 && factor < 1.0) {
            return Err(self
                .config
                .invalid(key, &format!("is {factor}, not between 0 and 1")));
        }
        Ok((self.head_dim as f64 * factor) as usize)
    }

    /// `rope_type`, or `type` as older files say; `su` is the first name of `longrope`.
    fn type_name<'a>(&self, read: &mut Read<'a>) -> Result<&'a str> {
        let (new, old) = (read.text("rope_type")?, read.text("type")?);
        let canonical = |name: &'a str| match name {
            "su" => "longrope",
            // Phi-3 files of spring 2024 call the same thing yarn.
            "yarn" if self.family == Family::Phi3 => "longrope",
            _ => name,
        };
        match (new.map(canonical), old.map(canonical)) {
            (Some(new), Some(old)) if new != old => Err(self
                .config
                .inconsistent(format!("the rope type is both `{new}` and `{old}`"))),
            (Some(name), _) | (None, Some(name)) => Ok(name),
            // Version 5 writes the type always; version 4 left no other key without it.
            (None, None) => Ok("default"),
        }
    }

    /// The context before extension. A value beside the rope settings wins, as in transformers.
    fn original_max(&self, read: &mut Read<'_>) -> Result<usize> {
        let key = "original_max_position_embeddings";
        let inner = read.count(key)?;
        match self.config.count_or_none(key)?.or(inner) {
            Some(n) => Ok(n),
            None => Err(read.missing(key, &self.config)),
        }
    }

    fn long_rope(&self, read: &mut Read<'_>) -> Result<RopeScaling> {
        let original_max = self.original_max(read)?;
        let factor = match read.number("factor")? {
            Some(factor) => factor,
            None => self.max_positions as f64 / original_max as f64,
        };
        let attention_factor = match read.number("attention_factor")? {
            Some(factor) => factor as f32,
            None => long_rope_attention_factor(factor, original_max),
        };
        let (short, long) = (read.list("short_factor")?, read.list("long_factor")?);
        Ok(RopeScaling::LongRope {
            short,
            long,
            original_max,
            attention_factor,
        })
    }

    fn yarn(&self, read: &mut Read<'_>) -> Result<RopeScaling> {
        let original_max = self.original_max(read)?;
        let factor = read.required("factor")?;
        let (mscale, all_dim) = (read.number("mscale")?, read.number("mscale_all_dim")?);
        let attention_factor = match (read.number("attention_factor")?, mscale, all_dim) {
            (Some(given), ..) => given,
            (None, Some(a), Some(b)) if a != 0.0 && b != 0.0 => {
                yarn_mscale(factor, a) / yarn_mscale(factor, b)
            }
            (None, ..) => yarn_mscale(factor, 1.0),
        };
        Ok(RopeScaling::Yarn {
            factor: factor as f32,
            original_max,
            beta_fast: read.number("beta_fast")?.unwrap_or(32.0) as f32,
            beta_slow: read.number("beta_slow")?.unwrap_or(1.0) as f32,
            truncate: read.flag("truncate")?.unwrap_or(true),
            attention_factor: attention_factor as f32,
        })
    }
}

/// The inner object, which remembers what was read.
struct Read<'a> {
    settings: Option<&'a Object<'a>>,
    used: Vec<&'static str>,
}

impl<'a> Read<'a> {
    fn object(&mut self, key: &'static str) -> Option<&'a Object<'a>> {
        self.used.push(key);
        self.settings
    }

    fn number(&mut self, key: &'static str) -> Result<Option<f64>> {
        self.object(key).map_or(Ok(None), |o| o.number_or_none(key))
    }

    fn count(&mut self, key: &'static str) -> Result<Option<usize>> {
        self.object(key).map_or(Ok(None), |o| o.count_or_none(key))
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.object(key).map_or(Ok(None), |o| o.flag_or_none(key))
    }

    fn text(&mut self, key: &'static str) -> Result<Option<&'a str>> {
        self.object(key).map_or(Ok(None), |o| o.text(key))
    }

    fn list(&mut self, key: &'static str) -> Result<Vec<f32>> {
        self.object(key)
            .map_or_else(|| Ok(Vec::new()), |o| o.numbers(key))
    }

    fn required(&mut self, key: &'static str) -> Result<f64> {
        // A type other than `default` comes from the object, so there is one.
        self.object(key).map_or(Ok(1.0), |o| o.number(key))
    }

    fn missing(&self, key: &str, outer: &Object<'_>) -> Error {
        self.settings
            .map_or_else(|| outer.missing(key), |o| o.missing(key))
    }

    /// Every key that is there must have been asked for.
    fn finish(self) -> Result<()> {
        let Some(object) = self.settings else {
            return Ok(());
        };
        let unread = object
            .keys()
            .find(|k| !self.used.contains(k) && object.present(k).is_some());
        unread.map_or(Ok(()), |key| Err(object.unread_rope(key)))
    }
}
