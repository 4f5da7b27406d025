//! A decoder of a few dozen lines, driven by the specification alone, against the logits that
//! transformers computes: names, shapes, row order, rope, windows and norms are right as data.

use ropewalk_gguf::{Gguf, TensorType};
use ropewalk_spec::testing::{Seeded, prompt};
use ropewalk_spec::{
    Activation, GgufSource, ModelSpec, Norm, NormPlace, Residual, Role, TensorSource,
};
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
    fn linear(
        &self,
        x: &[f32],
        columns: usize,
        role: Role,
        bias: Option<Role>,
        layer: usize,
    ) -> Vec<f32> {
        let w = self.weight(role, Some(layer)).unwrap();
        let bias = bias.and_then(|role| self.weight(role, Some(layer)));
        let mut out = product(x, &w, columns);
        if let Some(bias) = bias {
            out.iter_mut()
                .zip(bias.iter().cycle())
                .for_each(|(y, b)| *y += b);
        }
        out
    }

    /// A norm and, for layer norms, the role of its bias.
    fn norm(&self, x: &[f32], role: Role, bias: Role, layer: Option<usize>) -> Vec<f32> {
        let w = self.weight(role, layer).unwrap();
        let b = self
            .weight(bias, layer)
            .filter(|_| self.spec.norm == Norm::Layer);
        let mut out = Vec::new();
        for row in x.chunks(w.len()) {
            let n = row.len() as f32;
            let mean = match b {
                Some(_) => row.iter().sum::<f32>() / n,
                None => 0.0,
            };
            let square = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
            let scale = 1.0 / (square + self.spec.norm_eps).sqrt();
            for (i, v) in row.iter().enumerate() {
                out.push((v - mean) * scale * w[i] + b.as_ref().map_or(0.0, |b| b[i]));
            }
        }
        out
    }

    fn rotate(&self, x: &mut [f32], heads: usize, tokens: usize, layer: usize) {
        if !self.spec.rotates(layer) {
            return;
        }
        let rope = self.spec.rope_of(layer);
        let (size, half) = (self.spec.head_dim, rope.dims / 2);
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let (cos, sin) = rope.tables(&positions, tokens);
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
        let mut q = self.linear(x, hidden, Role::Q, Some(Role::QBias), layer);
        let mut k = self.linear(x, hidden, Role::K, Some(Role::KBias), layer);
        let v = self.linear(x, hidden, Role::V, Some(Role::VBias), layer);
        if spec.qk_norm.is_some() {
            q = self.norm(&q, Role::QNorm, Role::QBias, Some(layer));
            k = self.norm(&k, Role::KNorm, Role::KBias, Some(layer));
        }
        self.rotate(&mut q, spec.heads, tokens, layer);
        self.rotate(&mut k, spec.kv_heads, tokens, layer);
        let scale = spec
            .attention_scale
            .unwrap_or_else(|| spec.usual_attention_scale());
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
                        cap(dot * scale, spec.attention_softcap)
                    })
                    .collect();
                let weights = softmax(&scores);
                let mut mix = vec![0.0; size];
                for (t, w) in (first..=position).zip(&weights) {
                    for (m, v) in mix.iter_mut().zip(at(&v, spec.kv_heads, t, kv)) {
                        *m += w * v;
                    }
                }
                out.extend(mix);
            }
        }
        self.linear(&out, spec.q_dim(), Role::O, Some(Role::OBias), layer)
    }

    fn activate(&self, x: f32) -> f32 {
        let wide = f64::from(x);
        match self.spec.activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => (wide * 0.5 * (1.0 + erf(wide / 2f64.sqrt()))) as f32,
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
                (wide * 0.5 * (1.0 + inner.tanh())) as f32
            }
            other => panic!("{other:?}"),
        }
    }

    /// `down(act(gate(x)) * up(x))` or `down(act(up(x)))`.
    fn mlp(&self, up: &[f32], gate: Option<Vec<f32>>) -> Vec<f32> {
        match gate {
            Some(gate) => gate
                .iter()
                .zip(up)
                .map(|(g, u)| self.activate(*g) * u)
                .collect(),
            None => up.iter().map(|u| self.activate(*u)).collect(),
        }
    }

    fn feed_forward(&self, x: &[f32], layer: usize) -> Vec<f32> {
        let hidden = self.spec.hidden;
        if self.spec.has_experts(layer) {
            return x
                .chunks(hidden)
                .flat_map(|row| self.mixture(row, layer))
                .collect();
        }
        let gate = self
            .spec
            .gated
            .then(|| self.linear(x, hidden, Role::Gate, Some(Role::GateBias), layer));
        let up = self.linear(x, hidden, Role::Up, Some(Role::UpBias), layer);
        let mid = self.mlp(&up, gate);
        self.linear(&mid, self.spec.ffn, Role::Down, Some(Role::DownBias), layer)
    }

    /// The experts of one token.
    fn mixture(&self, x: &[f32], layer: usize) -> Vec<f32> {
        let experts = self.spec.experts.as_ref().unwrap();
        let hidden = self.spec.hidden;
        let logits = self.linear(x, hidden, Role::Router, None, layer);
        let weights = softmax(&logits);
        let mut order: Vec<usize> = (0..experts.count).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        order.truncate(experts.used);
        let sum: f32 = order.iter().map(|e| weights[*e]).sum();
        let mut out = vec![0.0; hidden];
        for expert in order {
            let matrix = |role| {
                let weight = self.spec.read_expert(self.source, role, layer, expert);
                weight.unwrap().unwrap().to_f32().unwrap()
            };
            let gate = product(x, &matrix(Role::ExpertGate), hidden);
            let up = product(x, &matrix(Role::ExpertUp), hidden);
            let mid = self.mlp(&up, Some(gate));
            let y = product(&mid, &matrix(Role::ExpertDown), experts.ffn);
            let weight = weights[expert] / if experts.normalise { sum } else { 1.0 };
            out.iter_mut().zip(y).for_each(|(o, y)| *o += weight * y);
        }
        if let Some(width) = experts.shared {
            let gate = self.linear(x, hidden, Role::SharedGate, None, layer);
            let up = self.linear(x, hidden, Role::SharedUp, None, layer);
            let mid = self.mlp(&up, Some(gate));
            let y = self.linear(&mid, width, Role::SharedDown, None, layer);
            let open = self.linear(x, hidden, Role::SharedRouter, None, layer)[0];
            let open = 1.0 / (1.0 + (-open).exp());
            out.iter_mut().zip(y).for_each(|(o, y)| *o += open * y);
        }
        out
    }

    /// One block.
    fn block(&self, x: &mut [f32], layer: usize, tokens: usize) {
        let spec = &self.spec;
        let before = |x: &[f32], role, bias| match spec.norm_place {
            NormPlace::After => x.to_vec(),
            _ => self.norm(x, role, bias, Some(layer)),
        };
        let after = |y: Vec<f32>, role| match spec.norm_place {
            NormPlace::Before => y,
            _ => self.norm(&y, role, Role::OutputNormBias, Some(layer)),
        };
        let add = |x: &mut [f32], y: &[f32]| {
            x.iter_mut()
                .zip(y)
                .for_each(|(x, y)| *x += y * spec.residual_scale);
        };
        let first = before(x, Role::AttnNorm, Role::AttnNormBias);
        let attended = after(self.attention(&first, layer, tokens), Role::AttnPostNorm);
        let input = match spec.residual {
            Residual::Sequential => {
                add(x, &attended);
                before(x, Role::FfnNorm, Role::FfnNormBias)
            }
            Residual::Parallel => before(x, Role::FfnNorm, Role::FfnNormBias),
            Residual::ParallelOneNorm => first,
            other => panic!("{other:?}"),
        };
        let fed = after(self.feed_forward(&input, layer), Role::FfnPostNorm);
        if spec.residual != Residual::Sequential {
            add(x, &attended);
        }
        add(x, &fed);
    }

    /// Logits of every position.
    fn forward(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let hidden = self.spec.hidden;
        let table = self.weight(Role::Embed, None).unwrap();
        let positions = self.weight(Role::PosEmbed, None);
        let mut x = Vec::new();
        for (position, &token) in tokens.iter().enumerate() {
            for i in 0..hidden {
                let learned = positions.as_ref().map_or(0.0, |p| p[position * hidden + i]);
                x.push(table[token as usize * hidden + i] * self.spec.embedding_scale + learned);
            }
        }
        for layer in 0..self.spec.layers {
            self.block(&mut x, layer, tokens.len());
        }
        let x = self.norm(&x, Role::OutputNorm, Role::OutputNormBias, None);
        let head = self.weight(Role::Head, None).unwrap();
        x.chunks(hidden)
            .map(|row| {
                let logits = product(row, &head, hidden);
                logits
                    .iter()
                    .map(|l| cap(l * self.spec.logit_scale, self.spec.logit_softcap))
                    .collect()
            })
            .collect()
    }
}

/// Rows of `x` times the transposed matrix.
fn product(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    x.chunks(columns)
        .flat_map(|row| w.chunks(columns).map(move |w| dot(row, w)))
        .collect()
}

fn cap(x: f32, at: Option<f32>) -> f32 {
    at.map_or(x, |c| c * (x / c).tanh())
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let top = scores.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// The error function by its series, which converges for the arguments that occur here.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
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
    phi35,
    phi4,
    gemma,
    gemma2,
    gemma3,
    mixtral,
    qwen2moe,
    qwen2moe_mixed,
    qwen3moe,
    qwen3moe_mixed,
    starcoder2,
    smollm3,
    olmo2,
    granite,
    gpt2,
    gpt2_untied,
    gptneox,
    gptneox_sequential,
    gptneo,
    falcon,
    falcon_two_norms
);
