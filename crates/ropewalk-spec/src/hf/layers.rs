//! What `config.json` says per layer: windows, rotation, experts.

use serde_json::Value;

use super::json::Object;
use crate::family::{ExpertKeys, Layers, Profile, Windows};
use crate::{Experts, Family, Result};

/// The sliding window of each layer. `rotated` is that of the rotation, empty for all.
pub(super) fn windows(
    config: &Object<'_>,
    profile: &Profile,
    layers: usize,
    rotated: &[bool],
) -> Result<Vec<Option<usize>>> {
    let window = config.count_or_none("sliding_window");
    let (rule, asks) = match profile.windows {
        Windows::Never => return uniform(config, profile, None, layers),
        Windows::All => return uniform(config, profile, window?, layers),
        Windows::Flagged => {
            let on = config.flag("use_sliding_window")?;
            return uniform(config, profile, window?.filter(|_| on), layers);
        }
        Windows::LocalGlobal => return local_global(config, window?, layers),
        Windows::Some(rule, asks) => (rule, asks),
    };
    let on = !asks || config.flag("use_sliding_window")?;
    let window = window?.filter(|_| on);
    let Some(types) = config.present("layer_types") else {
        return by_rule(config, rule, window, layers, rotated);
    };
    let types = types
        .as_array()
        .ok_or_else(|| config.invalid("layer_types", "is not a list"))?;
    if types.len() != layers {
        return Err(config.inconsistent(format!(
            "layer_types has {} entries for {layers} layers",
            types.len()
        )));
    }
    types
        .iter()
        .map(|t| match t.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") if window.is_some() => Ok(window),
            Some("sliding_attention") => Err(config.inconsistent(
                "layer_types has sliding layers, but sliding_window is off".to_owned(),
            )),
            _ => Err(config.invalid(
                "layer_types",
                &format!("holds {t}; supported: full_attention, sliding_attention"),
            )),
        })
        .collect()
}

/// The same in all layers; a list must say so too.
fn uniform(
    config: &Object<'_>,
    profile: &Profile,
    window: Option<usize>,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    if let Some(types) = config.present("layer_types") {
        let wanted = if window.is_some() {
            "sliding_attention"
        } else {
            "full_attention"
        };
        let same = types
            .as_array()
            .is_some_and(|l| l.iter().all(|t| t == wanted));
        if !same {
            return Err(config.invalid(
                "layer_types",
                &format!(
                    "mixes layers, {} has the same attention in all",
                    profile.name
                ),
            ));
        }
    }
    Ok(vec![window; layers])
}

fn by_rule(
    config: &Object<'_>,
    rule: Layers,
    window: Option<usize>,
    layers: usize,
    rotated: &[bool],
) -> Result<Vec<Option<usize>>> {
    let first = config.count_or_none("max_window_layers")?.unwrap_or(0);
    let each = config.count_or_none("sliding_window_pattern")?.unwrap_or(1);
    if each == 0 {
        return Err(config.invalid("sliding_window_pattern", "is 0"));
    }
    let slides = |i: usize| match rule {
        Layers::FromMax => i >= first,
        Layers::EvenBelowMax => i.is_multiple_of(2) && i < first,
        Layers::ButEach => !(i + 1).is_multiple_of(each),
        Layers::Unrotated => !rotated.get(i).copied().unwrap_or(true),
    };
    Ok((0..layers).map(|i| window.filter(|_| slides(i))).collect())
}

/// `attention_layers`, or `attention_types` as `[[["global", "local"], 12]]`.
fn local_global(
    config: &Object<'_>,
    window: Option<usize>,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    let key = if config.present("attention_layers").is_some() {
        "attention_layers"
    } else {
        "attention_types"
    };
    let unusable = || config.invalid(key, "does not name `global` or `local` for each layer");
    let mut names = Vec::new();
    match config.present(key) {
        None => names = ["global", "local"].repeat(12),
        Some(list) if key == "attention_layers" => {
            let list = list.as_array().ok_or_else(unusable)?;
            names.extend(list.iter().filter_map(Value::as_str));
        }
        Some(list) => {
            for item in list.as_array().ok_or_else(unusable)? {
                let kinds = item.get(0).and_then(Value::as_array);
                let times = item.get(1).and_then(Value::as_u64);
                let (kinds, times) = kinds.zip(times).ok_or_else(unusable)?;
                for _ in 0..times.min(1 << 10) {
                    if names.len() > layers {
                        break;
                    }
                    names.extend(kinds.iter().filter_map(Value::as_str));
                }
            }
        }
    }
    if names.len() != layers {
        return Err(config.inconsistent(format!("{key} names {} layers of {layers}", names.len())));
    }
    names
        .into_iter()
        .map(|name| match name {
            "global" => Ok(None),
            "local" if window.is_some() => Ok(window),
            _ => Err(unusable()),
        })
        .collect()
}

/// Which layers rotate; empty for all.
pub(super) fn rotated(config: &Object<'_>, family: Family, layers: usize) -> Result<Vec<bool>> {
    if family != Family::SmolLm3 {
        return Ok(Vec::new());
    }
    let list: Vec<bool> = match config.counts_or_none("no_rope_layers")? {
        Some(list) => list.iter().map(|&n| n != 0).collect(),
        None => {
            let each = config.count("no_rope_layer_interval")?.max(1);
            (1..=layers).map(|i| !i.is_multiple_of(each)).collect()
        }
    };
    if list.len() != layers {
        return Err(config.inconsistent(format!(
            "no_rope_layers has {} entries for {layers} layers",
            list.len()
        )));
    }
    Ok(if list.contains(&false) {
        list
    } else {
        Vec::new()
    })
}

/// The experts, if any layer has them.
pub(super) fn experts(
    config: &Object<'_>,
    profile: &Profile,
    layers: usize,
) -> Result<Option<Experts>> {
    let Some(keys) = profile.experts else {
        return Ok(None);
    };
    let count = match config.count_or_none("num_local_experts")? {
        Some(count) => count,
        None if keys == ExpertKeys::Qwen => config.count("num_experts")?,
        None => return Err(config.missing("num_local_experts")),
    };
    let used = config.count("num_experts_per_tok")?;
    if keys == ExpertKeys::Mixtral {
        let ffn = config.count("intermediate_size")?;
        return Ok(Some(Experts::new(count, used, ffn, true, layers)));
    }
    let normalise = config.flag("norm_topk_prob")?;
    let ffn = config.count("moe_intermediate_size")?;
    let mut experts = Experts::new(count, used, ffn, normalise, layers);
    if profile.model_type == Family::Qwen2Moe.model_type() {
        experts.shared = Some(config.count("shared_expert_intermediate_size")?);
    }
    let dense = config
        .counts_or_none("mlp_only_layers")?
        .unwrap_or_default();
    let step = config.count_or_none("decoder_sparse_step")?.unwrap_or(1);
    if step == 0 {
        return Err(config.invalid("decoder_sparse_step", "is 0"));
    }
    for (i, has) in experts.layers.iter_mut().enumerate() {
        *has = count > 0 && (i + 1).is_multiple_of(step) && !dense.contains(&i);
    }
    Ok(experts.layers.contains(&true).then_some(experts))
}
