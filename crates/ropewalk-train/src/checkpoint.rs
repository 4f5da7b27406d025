//! Checkpoints: `model.safetensors`, `optimizer.safetensors` and `state.json` in one directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::error::{Result, TrainError};
use crate::model::{Lm, LmConfig};
use crate::ops;
use crate::optim::AdamW;
use crate::trainer::TrainConfig;

/// The content of `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    format: u32,
    step: u64,
    seen: u64,
    data: u64,
    model: LmConfig,
    train: TrainConfig,
}

/// Writes `bytes` to `path` and waits until they are on the disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut f = File::create(path).map_err(TrainError::io(path))?;
    f.write_all(bytes)
        .and_then(|()| f.sync_all())
        .map_err(TrainError::io(path))
}

/// A safetensors file of f32 tensors.
pub(crate) fn safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|(_, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::new();
    for ((name, (shape, _)), bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|e| TrainError::Export(format!("{name}: {e}")))?;
        views.push((name.as_str(), view));
    }
    let meta = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(meta)).map_err(|e| TrainError::Export(e.to_string()))
}

pub(crate) fn save(
    dir: &Path,
    model: &Lm,
    train: &TrainConfig,
    data: u64,
    opt: &AdamW,
    seen: u64,
) -> Result<()> {
    let parent = dir
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = dir
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let tmp = parent.join(format!(".tmp-{name}"));
    if tmp.exists() {
        fs::remove_dir_all(&tmp).map_err(TrainError::io(&tmp))?;
    }
    fs::create_dir_all(&tmp).map_err(TrainError::io(&tmp))?;
    let (mut weights, mut moments) = (BTreeMap::new(), BTreeMap::new());
    for (i, p) in model.params().iter().enumerate() {
        let shape = p.var.dims().to_vec();
        moments.insert(
            format!("exp_avg.{}", p.name),
            (shape.clone(), opt.m[i].clone()),
        );
        moments.insert(
            format!("exp_avg_sq.{}", p.name),
            (shape.clone(), opt.v[i].clone()),
        );
        weights.insert(
            p.name.clone(),
            (shape, ops::with(p.var.as_tensor(), <[f32]>::to_vec)?),
        );
    }
    write(&tmp.join("model.safetensors"), &safetensors(&weights)?)?;
    write(&tmp.join("optimizer.safetensors"), &safetensors(&moments)?)?;
    let state = State {
        format: 1,
        step: opt.step,
        seen,
        data,
        model: *model.config(),
        train: train.clone(),
    };
    let json = serde_json::to_vec_pretty(&state).map_err(|e| TrainError::Export(e.to_string()))?;
    write(&tmp.join("state.json"), &json)?;
    // The old directory moves aside first: at every moment one complete checkpoint exists under one of the names. One
    // that an earlier kill left aside is removed only when there is another.
    let old = parent.join(format!(".old-{name}"));
    if dir.exists() {
        if old.exists() {
            fs::remove_dir_all(&old).map_err(TrainError::io(&old))?;
        }
        fs::rename(dir, &old).map_err(TrainError::io(dir))?;
    }
    fs::rename(&tmp, dir).map_err(TrainError::io(dir))?;
    if let Ok(d) = File::open(parent) {
        d.sync_all().map_err(TrainError::io(parent))?;
    }
    if old.exists() {
        fs::remove_dir_all(&old).map_err(TrainError::io(&old))?;
    }
    Ok(())
}

/// Whether a checkpoint is there to be read.
pub(crate) fn exists(dir: &Path) -> bool {
    place(dir).join("state.json").exists()
}

/// Where the checkpoint really is: a kill between the two renames leaves it under the name of the old one.
fn place(dir: &Path) -> PathBuf {
    let old = dir
        .file_name()
        .map(|n| dir.with_file_name(format!(".old-{}", n.to_string_lossy())));
    match old {
        Some(old) if !dir.exists() && old.exists() => old,
        _ => dir.to_path_buf(),
    }
}

/// Fills `model` and `opt`; returns the tokens seen.
pub(crate) fn load(
    dir: &Path,
    model: &Lm,
    train: &TrainConfig,
    data: u64,
    opt: &mut AdamW,
) -> Result<u64> {
    let dir = &place(dir);
    let bad = |reason: String| TrainError::Checkpoint {
        path: dir.clone(),
        reason,
    };
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(TrainError::io(&path))
    };
    let state: State = serde_json::from_slice(&read("state.json")?)
        .map_err(|e| bad(format!("state.json: {e}")))?;
    if state.format != 1 {
        return Err(bad(format!(
            "format {} is not known to this version",
            state.format
        )));
    }
    if state.model != *model.config() {
        return Err(bad(
            "the model's shape has changed; start a new run or restore the old settings".into(),
        ));
    }
    // Reading a number may miss its last bit, so the settings are compared as they read.
    let text = serde_json::to_vec(train).map_err(|e| bad(e.to_string()))?;
    if state.train != serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))? {
        return Err(bad(
            "the training settings have changed; start a new run or restore the old settings"
                .into(),
        ));
    }
    if state.data != data {
        return Err(bad("the training data has changed; start a new run".into()));
    }
    let (weights, moments) = (read("model.safetensors")?, read("optimizer.safetensors")?);
    let weights =
        SafeTensors::deserialize(&weights).map_err(|e| bad(format!("model.safetensors: {e}")))?;
    let moments = SafeTensors::deserialize(&moments)
        .map_err(|e| bad(format!("optimizer.safetensors: {e}")))?;
    for (i, p) in model.params().iter().enumerate() {
        let v = tensor(&weights, &p.name, p.var.dims()).map_err(bad)?;
        p.var
            .set(&Tensor::from_vec(v, p.var.shape(), &Device::Cpu)?)?;
        opt.m[i] = tensor(&moments, &format!("exp_avg.{}", p.name), p.var.dims()).map_err(bad)?;
        opt.v[i] =
            tensor(&moments, &format!("exp_avg_sq.{}", p.name), p.var.dims()).map_err(bad)?;
    }
    opt.step = state.step;
    Ok(state.seen)
}

fn tensor(
    file: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> std::result::Result<Vec<f32>, String> {
    let t = file.tensor(name).map_err(|e| format!("{name}: {e}"))?;
    if t.dtype() != Dtype::F32 || t.shape() != shape {
        return Err(format!(
            "{name} is {:?} {:?}, expected F32 {shape:?}",
            t.dtype(),
            t.shape()
        ));
    }
    Ok(t.data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect())
}

impl Lm {
    /// The model of a checkpoint directory, without its optimiser.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn from_checkpoint(dir: &Path, compute: crate::Compute) -> Result<Self> {
        let dir = &place(dir);
        let bad = |reason: String| TrainError::Checkpoint {
            path: dir.clone(),
            reason,
        };
        let path = dir.join("state.json");
        let state: State = serde_json::from_slice(&fs::read(&path).map_err(TrainError::io(&path))?)
            .map_err(|e| bad(e.to_string()))?;
        let model = Self::new(state.model, state.train.seed, compute)?;
        let path = dir.join("model.safetensors");
        let bytes = fs::read(&path).map_err(TrainError::io(&path))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
        for p in model.params() {
            let v = tensor(&file, &p.name, p.var.dims()).map_err(bad)?;
            p.var
                .set(&Tensor::from_vec(v, p.var.shape(), &Device::Cpu)?)?;
        }
        Ok(model)
    }
}
