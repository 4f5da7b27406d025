//! A decoder of a few dozen lines, driven by the specification alone, against the logits that
//! transformers computes: names, shapes, row order, rope, windows and norms are right as data.

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_spec::testing::{Seeded, prompt};
use ropewalk_spec::{GgufSource, ModelSpec, Role, TensorSource};
use serde_json::Value;

use crate::fixtures::floats;

struct Decoder<'a> {
    spec: ModelSpec,
    source: &'a dyn TensorSource,
}

impl Decoder<'_> {
    fn weight(&self, role: Role, layer: Option<usize>) -> Option<Vec<f32>> {
        self.spec
            .read(self.source, role, layer)
            .unwrap()
            .map(|w| w.to_f32().unwrap())
    }

    /// `x` (rows of `columns`) times the transposed matrix, plus bias.
    fn linear(&self, x: &[f32], columns: usize, role: Role, bias: Role, layer: usize) -> Vec<f32> {
        let w = self.weight(role, Some(layer)).unwrap();
        let bias = self.weight(bias, Some(layer));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let mut out = Vec::new();
        for row in x.chunks(columns) {
            for (i, w) in w.chunks(columns).enumerate() {
                out.push(dot(row, w) + bias.as_ref().map_or(0.0, |b| b[i]));
            }
        }
        out
    }

    fn norm(&self, x: &[f32], role: Role, layer: Option<usize>) -> Vec<f32> {
        let w = self.weight(role, layer).unwrap();
        x.chunks(w.len())
            .flat_map(|row| {
                let mean = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
                let scale = 1.0 / (mean + self.spec.norm_eps).sqrt();
                row.iter()
                    .zip(&w)
                    .map(move |(v, w)| v * scale * w)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn rotate(&self, x: &mut [f32], heads: usize, tokens: usize) {
        let (size, half) = (self.spec.head_dim, self.spec.rope.dims / 2);
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let (cos, sin) = self.spec.rope.tables(&positions, tokens);
        for (i, head) in x.chunks_mut(size).enumerate() {
            let at = i / heads * half;
            for pair in 0..half {
                let (a, b) = (head[pair], head[pair + half]);
                let (c, s) = (cos[at + pair], sin[at + pair]);
                (head[pair], head[pair + half]) = (a * c - b * s, b * c + a * s);
            }
        }
    }

    fn attention(&self, x: &[f32], layer: usize, tokens: usize) -> Vec<f32> {
        let spec = &self.spec;
        let (size, hidden) = (spec.head_dim, spec.hidden);
        let mut q = self.linear(x, hidden, Role::Q, Role::QBias, layer);
        let mut k = self.linear(x, hidden, Role::K, Role::KBias, layer);
        let v = self.linear(x, hidden, Role::V, Role::VBias, layer);
        if spec.qk_norm.is_some() {
            q = self.norm(&q, Role::QNorm, Some(layer));
            k = self.norm(&k, Role::KNorm, Some(layer));
        }
        self.rotate(&mut q, spec.heads, tokens);
        self.rotate(&mut k, spec.kv_heads, tokens);
        let mut out = Vec::new();
        for position in 0..tokens {
            let first = spec.window[layer].map_or(0, |w| (position + 1).saturating_sub(w));
            for head in 0..spec.heads {
                let at = |m: &[f32], heads: usize, t: usize, h: usize| {
                    m[(t * heads + h) * size..][..size].to_vec()
                };
                let kv = head / spec.group();
                let query = at(&q, spec.heads, position, head);
                let scores: Vec<f32> = (first..=position)
                    .map(|t| {
                        let key = at(&k, spec.kv_heads, t, kv);
                        let dot: f32 = query.iter().zip(&key).map(|(a, b)| a * b).sum();
                        dot / (size as f32).sqrt()
                    })
                    .collect();
                let top = scores.iter().copied().fold(f32::MIN, f32::max);
                let weights: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
                let sum: f32 = weights.iter().sum();
                let mut mix = vec![0.0; size];
                for (t, w) in (first..=position).zip(&weights) {
                    for (m, v) in mix.iter_mut().zip(at(&v, spec.kv_heads, t, kv)) {
                        *m += w / sum * v;
                    }
                }
                out.extend(mix);
            }
        }
        self.linear(&out, spec.q_dim(), Role::O, Role::OBias, layer)
    }

    fn feed_forward(&self, x: &[f32], layer: usize) -> Vec<f32> {
        let hidden = self.spec.hidden;
        let gate = self.linear(x, hidden, Role::Gate, Role::GateBias, layer);
        let up = self.linear(x, hidden, Role::Up, Role::UpBias, layer);
        let mid: Vec<f32> = gate
            .iter()
            .zip(&up)
            .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
            .collect();
        self.linear(&mid, self.spec.ffn, Role::Down, Role::DownBias, layer)
    }

    /// Logits of every position.
    fn forward(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let hidden = self.spec.hidden;
        let table = self.weight(Role::Embed, None).unwrap();
        let mut x: Vec<f32> = tokens
            .iter()
            .flat_map(|&t| table[t as usize * hidden..][..hidden].to_vec())
            .collect();
        for layer in 0..self.spec.layers {
            let y = self.norm(&x, Role::AttnNorm, Some(layer));
            let y = self.attention(&y, layer, tokens.len());
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            let y = self.norm(&x, Role::FfnNorm, Some(layer));
            let y = self.feed_forward(&y, layer);
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        }
        let x = self.norm(&x, Role::OutputNorm, None);
        let head = self.weight(Role::Head, None).unwrap();
        x.chunks(hidden)
            .map(|row| {
                head.chunks(hidden)
                    .map(|w| row.iter().zip(w).map(|(a, b)| a * b).sum())
                    .collect()
            })
            .collect()
    }
}

/// The largest difference over the runs of at most `limit` tokens, relative to the tolerance.
fn worst(decoder: &Decoder<'_>, golden: &Value, limit: usize) -> f32 {
    let mut worst = 0.0_f32;
    for run in golden["runs"].as_array().unwrap() {
        let (seed, length) = (
            run["seed"].as_u64().unwrap(),
            run["length"].as_u64().unwrap(),
        );
        if length as usize > limit {
            continue;
        }
        let tokens = prompt(seed, length as usize, decoder.spec.vocab_size);
        let stride = run["stride"].as_u64().unwrap() as usize;
        let expected = floats(&run["logits"]);
        let positions = run["positions"].as_array().unwrap();
        let rows = expected.chunks(expected.len() / positions.len());
        let all = decoder.forward(&tokens);
        let tolerance = 2e-5 * run["max_abs"].as_f64().unwrap() as f32 + 1e-5;
        for (position, row) in positions.iter().zip(rows) {
            let position = position.as_u64().unwrap() as usize;
            // Long rope: the row is that of a forward that ends here.
            let found = if run["name"] == "switch" {
                decoder.forward(&tokens[..=position])[position].clone()
            } else {
                all[position].clone()
            };
            for (a, b) in found.iter().step_by(stride).zip(row) {
                worst = worst.max((a - b).abs() / tolerance);
            }
        }
    }
    worst
}

macro_rules! golden {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!(
                "../../../ropewalk-local/tests/fixtures/golden/", stringify!($name), ".json"
            ));
            let golden: Value = serde_json::from_str(text).unwrap();
            let spec = ModelSpec::from_hf(&golden["config"]).unwrap();
            let model = Seeded::new(spec.clone(), golden["seed"].as_u64().unwrap());

            let source = model.source();
            let ratio = worst(&Decoder { spec: spec.clone(), source: &source }, &golden, 64);
            assert!(ratio < 1.0, "from config.json: {ratio} of the tolerance");

            let Ok(bytes) = model.gguf(|_| TensorType::F32) else {
                assert_eq!(stringify!($name), "qwen2_window");
                return;
            };
            let source = GgufSource::new(Gguf::from_bytes(bytes).unwrap());
            let spec = ModelSpec::from_gguf(source.gguf()).unwrap();
            let ratio = worst(&Decoder { spec, source: &source }, &golden, 64);
            assert!(ratio < 1.0, "from GGUF: {ratio} of the tolerance");
        }
    )*};
}

golden!(
    llama2,
    llama3,
    llama_linear,
    mistral,
    qwen2,
    qwen2_window,
    qwen3,
    phi3,
    phi35
);
