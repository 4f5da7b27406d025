//! The whole trainer against PyTorch, and resuming against not stopping.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::batch::{Batch, BatchSource, Doc};
use crate::compute::Compute;
use crate::error::Result;
use crate::model::{Lm, LmConfig};
use crate::ops;
use crate::rng::Rng;
use crate::trainer::{TrainConfig, Trainer};

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn small() -> LmConfig {
    LmConfig {
        vocab: 40,
        hidden: 32,
        ffn: 40,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        context: 64,
        ..LmConfig::tiny(40)
    }
}

fn golden(prefix: &str) -> Tensors {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| {
        let t = file.tensor(name).unwrap();
        let v = t
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        (t.shape().to_vec(), v)
    };
    file.names()
        .iter()
        .filter_map(|n| Some((n.strip_prefix(prefix)?.to_owned(), read(n))))
        .collect()
}

#[derive(serde::Deserialize)]
struct Case {
    docs: Vec<CaseDoc>,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

#[derive(serde::Deserialize)]
struct CaseDoc {
    ids: Vec<u32>,
    weights: Vec<f32>,
}

fn case() -> Case {
    serde_json::from_str(include_str!("../tests/fixtures/train.json")).unwrap()
}

/// Largest difference of any tensor relative to the size of its values.
fn distance(ours: &Tensors, theirs: &Tensors) -> f64 {
    let mut worst = 0.0f64;
    for (name, (shape, want)) in theirs {
        let (s, got) = &ours[name];
        assert_eq!(s, shape, "{name}");
        let size = want.iter().map(|&v| f64::from(v.abs())).fold(0.0, f64::max);
        let diff = got
            .iter()
            .zip(want)
            .map(|(a, b)| f64::from((a - b).abs()))
            .fold(0.0, f64::max);
        worst = worst.max(diff / size);
    }
    worst
}

struct Fixed(Vec<Doc>);

impl BatchSource for Fixed {
    fn docs(&self, _: u64) -> Result<Vec<Doc>> {
        Ok(self.0.clone())
    }

    fn fingerprint(&self) -> u64 {
        1
    }
}

#[test]
fn loss_gradients_and_updates_equal_pytorch() {
    let case = case();
    let docs: Vec<Doc> = case
        .docs
        .iter()
        .map(|d| Doc::new(d.ids.clone(), d.weights.clone()))
        .collect();
    let lm = Lm::from_hf_tensors(small(), &golden("before."), Compute::new(2)).unwrap();

    let batch = Batch::pack(&docs).unwrap();
    let loss = lm.loss(&batch, batch.weight()).unwrap();
    assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - case.losses[0]).abs() < 2e-6);
    let grads = loss.backward().unwrap();
    let of =
        |i: usize| ops::with(grads.get(&lm.params()[i].var).unwrap(), <[f32]>::to_vec).unwrap();
    let as_model = Lm::build(small(), Compute::new(1), |i, _, _| of(i)).unwrap();
    let d = distance(&as_model.hf_tensors().unwrap(), &golden("grad."));
    assert!(d < 1e-5, "gradients differ by {d}");

    let mut config = TrainConfig::new(0, 1e-2, 0, 3);
    config.schedule.floor = 1.0;
    let data = Fixed(docs);
    let mut t = Trainer::new(lm, config, &data);
    for (loss, norm) in case.losses.iter().zip(&case.norms) {
        let r = t.advance(&data).unwrap();
        assert!(
            (r.loss - loss).abs() < 1e-5 * loss && (r.grad_norm - norm).abs() < 1e-4 * norm,
            "{r:?} {loss} {norm}"
        );
    }
    // Adam divides by the root of the second moment, so that tiny gradients amplify rounding.
    let d = distance(&t.model().hf_tensors().unwrap(), &golden("after."));
    assert!(d < 2e-4, "weights after three updates differ by {d}");
}

/// Random documents that depend on the step alone.
struct Noise(u64);

impl BatchSource for Noise {
    fn docs(&self, step: u64) -> Result<Vec<Doc>> {
        let mut r = Rng::new(self.0, 0, step);
        let mut doc = |n: usize| {
            let ids: Vec<u32> = (0..n).map(|_| r.below(40) as u32).collect();
            Doc::new(ids, vec![1.0; n])
        };
        Ok(vec![doc(12), doc(5), doc(20)])
    }

    fn fingerprint(&self) -> u64 {
        self.0
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ropewalk-train-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn fresh(threads: usize) -> Lm {
    Lm::new(small(), 5, Compute::new(threads)).unwrap()
}

fn files(dir: &Path) -> Vec<Vec<u8>> {
    ["model.safetensors", "optimizer.safetensors", "state.json"]
        .iter()
        .map(|f| std::fs::read(dir.join(f)).unwrap())
        .collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_byte_for_byte() {
    // A rate whose decimal form does not read back to the last bit everywhere.
    let config = TrainConfig::new(5, 3e-3 * 0.4, 2, 8);
    let (dir, data) = (scratch("resume"), Noise(3));
    let mut whole = Trainer::new(fresh(2), config.clone(), &data);
    (0..8).for_each(|_| assert!(whole.advance(&data).unwrap().loss > 0.0));
    whole.save(&dir.join("whole")).unwrap();

    let mut half = Trainer::new(fresh(1), config.clone(), &data);
    (0..4).for_each(|_| assert!(half.advance(&data).unwrap().loss > 0.0));
    half.save(&dir.join("half")).unwrap();
    // As if killed between the renames of a second save.
    assert!(Trainer::has_checkpoint(&dir.join("half")));
    std::fs::rename(dir.join("half"), dir.join(".old-half")).unwrap();
    assert!(Trainer::has_checkpoint(&dir.join("half")));
    assert!(!Trainer::has_checkpoint(&dir.join("other")));
    let mut rest = Trainer::resume(&dir.join("half"), fresh(2), config, &data).unwrap();
    assert_eq!(rest.step(), 4);
    while !rest.finished() {
        rest.advance(&data).unwrap();
    }
    rest.save(&dir.join("rest")).unwrap();
    assert!(files(&dir.join("whole")) == files(&dir.join("rest")));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let (dir, config) = (scratch("refuse"), TrainConfig::new(5, 3e-3, 2, 8));
    Trainer::new(fresh(1), config.clone(), &Noise(3))
        .save(&dir.join("c"))
        .unwrap();
    let resume = |config: TrainConfig, data: u64, model| {
        Trainer::resume(&dir.join("c"), model, config, &Noise(data))
            .unwrap_err()
            .to_string()
    };
    assert!(resume(config.clone(), 4, fresh(1)).contains("data has changed"));
    assert!(resume(TrainConfig::new(6, 3e-3, 2, 8), 3, fresh(1)).contains("settings have changed"));
    let other = Lm::new(
        LmConfig {
            layers: 1,
            ..small()
        },
        5,
        Compute::new(1),
    )
    .unwrap();
    assert!(resume(config.clone(), 3, other).contains("shape has changed"));
    let weights = dir.join("c/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    assert!(resume(config, 3, fresh(1)).contains("model.safetensors"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn greedy_decoding_follows_the_training_forward_pass() {
    let lm = Lm::from_hf_tensors(small(), &golden("before."), Compute::new(2)).unwrap();
    let prompts = vec![vec![1, 2, 3], vec![7; 9], vec![5]];
    let out = lm.greedy(&prompts, 12, 99).unwrap();
    for (p, o) in prompts.iter().zip(&out) {
        assert_eq!(o.len(), 12);
        for i in 0..o.len() {
            // The chosen id has the lowest loss of all candidates.
            let seq = [p.as_slice(), &o[..i]].concat();
            let loss = |id: u32| {
                let mut d = Doc::new(seq.clone(), vec![0.0; seq.len()]);
                d.push(&[id], 1.0);
                lm.evaluate(&[d]).unwrap()
            };
            let best = loss(o[i]);
            assert!(
                (0..40).all(|id| loss(id) >= best - 1e-5),
                "{p:?} {o:?} at {i}"
            );
        }
    }
}

#[test]
fn a_small_model_learns_to_continue_a_pattern() {
    let docs = vec![Doc::new((0..30).map(|i| i % 5).collect(), vec![1.0; 30])];
    let data = Fixed(docs);
    let mut t = Trainer::new(fresh(2), TrainConfig::new(5, 1e-2, 5, 60), &data);
    let first = t.advance(&data).unwrap().loss;
    while !t.finished() {
        t.advance(&data).unwrap();
    }
    let last = t.model().evaluate(&data.0).unwrap();
    assert!(first > 3.0 && last < 0.3, "{first} -> {last}");
    assert_eq!(
        t.model()
            .greedy(&[vec![0, 1, 2, 3, 4, 0, 1]], 6, 99)
            .unwrap(),
        [[2, 3, 4, 0, 1, 2]]
    );
}

#[test]
fn exports_are_complete() {
    use crate::export::ExportVocab;
    use ropewalk_gguf::{Gguf, TensorType};

    let dir = scratch("export");
    let vocab: serde_json::Map<_, _> = (0..38).map(|i| (format!("t{i}"), i.into())).collect();
    let added = |id: u32| {
        serde_json::json!({
            "id": id, "content": format!("t{id}"), "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let byte_level = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [added(38), added(39)], "pre_tokenizer": byte_level,
        "decoder": byte_level, "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let vocab =
        ExportVocab::new(tokenizer.to_string())
            .unwrap()
            .with_chat("t39", "t38", "{{ messages }}");
    let lm = fresh(1);
    lm.save_hf(&dir, &vocab).unwrap();
    let back: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(
        (back["eos_token_id"].as_u64(), back["head_dim"].as_u64()),
        (Some(39), Some(6))
    );
    lm.save_gguf(&dir.join("m.gguf"), "m", TensorType::F32, &vocab)
        .unwrap();
    let g = Gguf::open(dir.join("m.gguf")).unwrap();
    let hf = lm.hf_tensors().unwrap();
    assert_eq!(
        g.require("blk.1.attn_v.weight").unwrap().to_f32().unwrap(),
        hf["model.layers.1.self_attn.v_proj.weight"].1
    );
    let meta = g.metadata();
    assert_eq!(meta.str("tokenizer.ggml.pre").unwrap(), Some("gpt-2"));
    assert_eq!(meta.u32("tokenizer.ggml.eos_token_id").unwrap(), Some(39));
    assert_eq!(
        meta.i32s("tokenizer.ggml.token_type").unwrap().unwrap()[37..],
        [1, 3, 3]
    );
    // Row 3 of a head of 6 goes next to row 0.
    let (q, want) = (
        g.require("blk.0.attn_q.weight").unwrap().to_f32().unwrap(),
        &hf["model.layers.0.self_attn.q_proj.weight"].1,
    );
    assert_eq!((&q[32..64], &q[64..96]), (&want[96..128], &want[32..64]));
    std::fs::remove_dir_all(dir).unwrap();
}
