//! The trained model as files other programs read: a Hugging Face directory and a GGUF file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ropewalk_gguf::{StringArray, TensorInfo, TensorType, Value, Writer};
use ropewalk_tokens::{Tokenizer, VocabExport, VocabValue};
use serde_json::json;

use crate::checkpoint;
use crate::compute::Compute;
use crate::error::{Result, TrainError};
use crate::model::{Lm, LmConfig};
use crate::ops;

/// A byte-level BPE vocabulary and what belongs to it, in the spellings both formats need.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExportVocab {
    /// The text of `tokenizer.json`.
    pub json: String,
    /// The same vocabulary as the keys of a GGUF file.
    pub table: VocabExport,
    /// The token that ends a turn.
    pub eos: String,
    /// The token that fills batches.
    pub pad: String,
    /// The chat template, in Jinja.
    pub chat_template: String,
}

impl ExportVocab {
    /// The vocabulary of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the text is no tokenizer, or one that GGUF has no form for.
    pub fn new(json: String) -> Result<Self> {
        let export = |e: ropewalk_tokens::Error| TrainError::Export(e.to_string());
        let tokenizer = Tokenizer::from_bytes(json.as_bytes()).map_err(export)?;
        let table = tokenizer.export(None).map_err(export)?;
        let (eos, pad) = (String::new(), String::new());
        Ok(Self {
            json,
            table,
            eos,
            pad,
            chat_template: String::new(),
        })
    }

    /// Sets the end-of-turn token, the padding token and the chat template.
    #[must_use]
    pub fn with_chat(mut self, eos: &str, pad: &str, template: &str) -> Self {
        (self.eos, self.pad, self.chat_template) =
            (eos.to_owned(), pad.to_owned(), template.to_owned());
        self
    }

    /// The keys of a GGUF file, with the tokens and the template of [`with_chat`](Self::with_chat).
    fn complete(&self) -> Result<VocabExport> {
        let mut table = self.table.clone();
        (table.bos, table.add_bos, table.eot) = (None, false, None);
        (table.eos, table.pad) = (Some(self.id(&self.eos)?), Some(self.id(&self.pad)?));
        table.chat_template = Some(self.chat_template.clone());
        Ok(table)
    }

    fn id(&self, token: &str) -> Result<u32> {
        let at = self.table.tokens.iter().position(|t| t == token);
        at.map(|i| i as u32)
            .ok_or_else(|| TrainError::Export(format!("the vocabulary has no token `{token}`")))
    }
}

/// Shape and values.
type Values = (Vec<usize>, Vec<f32>);

/// Rows of `t` from `from` to `to`.
fn rows(t: &Values, from: usize, to: usize) -> Values {
    let width = t.0[1];
    (
        vec![to - from, width],
        t.1[from * width..to * width].to_vec(),
    )
}

/// Reorders the rows of each head from halves to pairs: llama.cpp rotates neighbours where transformers rotates the two
/// halves (`permute` of `convert_hf_to_gguf.py`).
fn pairs(t: &Values, dim: usize) -> Values {
    let width = t.0[1];
    let mut out = Vec::with_capacity(t.1.len());
    for head in t.1.chunks_exact(dim * width) {
        for i in 0..dim / 2 {
            for j in [i, i + dim / 2] {
                out.extend_from_slice(&head[j * width..(j + 1) * width]);
            }
        }
    }
    (t.0.clone(), out)
}

impl Lm {
    /// The weights under the names of `transformers`' Llama, split into its projections.
    ///
    /// # Errors
    /// When a weight cannot be read.
    pub fn hf_tensors(&self) -> Result<BTreeMap<String, (Vec<usize>, Vec<f32>)>> {
        let cfg = self.config();
        let (q, kv) = (cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim);
        let mut out = BTreeMap::new();
        for p in self.params() {
            let t = (
                p.var.dims().to_vec(),
                ops::with(p.var.as_tensor(), <[f32]>::to_vec)?,
            );
            let names = hf_names(&p.name);
            let cuts: &[usize] = match names.len() {
                2 => &[0, cfg.ffn, 2 * cfg.ffn],
                3 => &[0, q, q + kv, q + 2 * kv],
                _ => {
                    out.extend(names.into_iter().map(|n| (n, t.clone())));
                    continue;
                }
            };
            out.extend(
                names
                    .into_iter()
                    .zip(cuts.windows(2))
                    .map(|(n, w)| (n, rows(&t, w[0], w[1]))),
            );
        }
        Ok(out)
    }

    /// Writes a directory that `transformers` loads: `config.json`, `generation_config.json`, `model.safetensors` (f32),
    /// `tokenizer.json` and `tokenizer_config.json`.
    ///
    /// # Errors
    /// When a file cannot be written or the vocabulary lacks its end or padding token.
    pub fn save_hf(&self, dir: &Path, vocab: &ExportVocab) -> Result<()> {
        let cfg = self.config();
        let (eos, pad) = (vocab.id(&vocab.eos)?, vocab.id(&vocab.pad)?);
        fs::create_dir_all(dir).map_err(TrainError::io(dir))?;
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": cfg.vocab, "hidden_size": cfg.hidden,
            "intermediate_size": cfg.ffn, "num_hidden_layers": cfg.layers, "num_attention_heads": cfg.heads,
            "num_key_value_heads": cfg.kv_heads, "head_dim": cfg.head_dim, "hidden_act": "silu",
            "max_position_embeddings": cfg.context, "rms_norm_eps": f64::from(cfg.norm_eps), "attention_bias": false,
            "mlp_bias": false, "attention_dropout": 0.0, "initializer_range": 0.02, "tie_word_embeddings": true,
            "use_cache": true, "rope_parameters": { "rope_type": "default", "rope_theta": cfg.rope_theta },
            "dtype": "float32", "bos_token_id": null, "eos_token_id": eos, "pad_token_id": pad,
        });
        let tokenizer = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": cfg.context, "bos_token": null,
            "eos_token": vocab.eos, "pad_token": vocab.pad, "clean_up_tokenization_spaces": false,
            "chat_template": vocab.chat_template,
        });
        let generation = json!({ "eos_token_id": eos, "pad_token_id": pad, "do_sample": false });
        let put = |name: &str, text: &str| checkpoint::write(&dir.join(name), text.as_bytes());
        put("config.json", &format!("{config:#}\n"))?;
        put("generation_config.json", &format!("{generation:#}\n"))?;
        put("tokenizer_config.json", &format!("{tokenizer:#}\n"))?;
        put("tokenizer.json", &vocab.json)?;
        checkpoint::write(
            &dir.join("model.safetensors"),
            &checkpoint::safetensors(&self.hf_tensors()?)?,
        )
    }

    /// Writes a GGUF file of architecture `llama`. Matrices are stored as `ty`, norms as f32; the tied output matrix is
    /// left out, as its readers expect.
    ///
    /// # Errors
    /// When the file cannot be written, a row is no multiple of the type's block, or the vocabulary does not fit.
    pub fn save_gguf(
        &self,
        path: &Path,
        name: &str,
        ty: TensorType,
        vocab: &ExportVocab,
    ) -> Result<()> {
        let cfg = self.config();
        if vocab.table.tokens.len() != cfg.vocab {
            let (a, b) = (vocab.table.tokens.len(), cfg.vocab);
            return Err(TrainError::Export(format!(
                "the vocabulary has {a} tokens, the model {b}"
            )));
        }
        let bad = |e: ropewalk_gguf::Error| TrainError::Export(e.to_string());
        let hf = self.hf_tensors()?;
        let mut tensors = Vec::new();
        let mut put = |name: String, t: Option<Values>| {
            let t = t.ok_or_else(|| TrainError::Export(format!("no weight for {name}")))?;
            tensors.push((name, t));
            Ok::<_, TrainError>(())
        };
        let get = |name: &str| hf.get(&format!("model.{name}.weight")).cloned();
        put("token_embd.weight".into(), get("embed_tokens"))?;
        for i in 0..cfg.layers {
            for (to, from) in BLOCK {
                let mut t = get(&format!("layers.{i}.{from}"));
                if to.ends_with("_q") || to.ends_with("_k") {
                    t = t.map(|t| pairs(&t, cfg.head_dim));
                }
                put(format!("blk.{i}.{to}.weight"), t)?;
            }
        }
        put("output_norm.weight".into(), get("norm"))?;

        let mut w = Writer::new();
        let file_type: u32 = match ty {
            TensorType::F16 => 1,
            TensorType::Q8_0 => 7,
            _ => 0,
        };
        w.set("general.architecture", "llama")
            .set("general.type", "model")
            .set("general.name", name);
        w.set("general.license", "mit")
            .set("general.file_type", file_type)
            .set("general.quantization_version", 2u32);
        let sizes = [
            ("block_count", cfg.layers),
            ("context_length", cfg.context),
            ("embedding_length", cfg.hidden),
            ("feed_forward_length", cfg.ffn),
            ("attention.head_count", cfg.heads),
            ("attention.head_count_kv", cfg.kv_heads),
            ("attention.key_length", cfg.head_dim),
            ("attention.value_length", cfg.head_dim),
            ("rope.dimension_count", cfg.head_dim),
            ("vocab_size", cfg.vocab),
        ];
        for (key, n) in sizes {
            w.set(format!("llama.{key}"), n as u32);
        }
        w.set("llama.attention.layer_norm_rms_epsilon", cfg.norm_eps)
            .set("llama.rope.freq_base", cfg.rope_theta as f32);
        for (key, value) in vocab.complete()?.entries() {
            let value: Value = match value {
                VocabValue::Str(text) => text.into(),
                VocabValue::U32(n) => n.into(),
                VocabValue::Bool(flag) => flag.into(),
                VocabValue::Strings(list) => list.iter().collect::<StringArray>().into(),
                VocabValue::F32s(list) => list.into(),
                VocabValue::I32s(list) => list.into(),
                _ => continue,
            };
            w.set(key, value);
        }
        for (name, (shape, _)) in &tensors {
            let ty = if shape.len() == 1 {
                TensorType::F32
            } else {
                ty
            };
            w.tensor(TensorInfo::from_shape(name, shape, ty).map_err(bad)?)
                .map_err(bad)?;
        }
        let mut out = w.create(path).map_err(bad)?;
        for (name, (_, values)) in &tensors {
            out.tensor_f32(name, values).map_err(bad)?;
        }
        out.finish().map(drop).map_err(bad)
    }
}

/// Names of a block in GGUF and in `transformers`.
const BLOCK: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

impl Lm {
    /// A model with weights under the names of `transformers`' Llama, the inverse of [`Lm::hf_tensors`].
    ///
    /// # Errors
    /// When a weight is missing or has another size.
    pub fn from_hf_tensors(
        config: LmConfig,
        tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>,
        compute: Compute,
    ) -> Result<Self> {
        let mut failed = None;
        let lm = Self::build(config, compute, |_, name, n| {
            let mut values = Vec::with_capacity(n);
            for part in hf_names(name) {
                match tensors.get(&part) {
                    Some((_, v)) => values.extend_from_slice(v),
                    None => failed = Some(format!("no tensor {part}")),
                }
            }
            if values.len() != n {
                failed.get_or_insert(format!("{name} has {} values, expected {n}", values.len()));
                values.resize(n, 0.0);
            }
            values
        })?;
        failed.map_or(Ok(lm), |m| Err(TrainError::Config(m)))
    }
}

/// The tensors that make up the parameter `name`.
fn hf_names(name: &str) -> Vec<String> {
    let full = |n: &str| format!("model.{n}.weight");
    let Some((prefix, last)) = name.rsplit_once('.') else {
        return vec![full(if name == "embed" {
            "embed_tokens"
        } else {
            "norm"
        })];
    };
    let parts: &[&str] = match last {
        "attn_norm" => &["input_layernorm"],
        "ffn_norm" => &["post_attention_layernorm"],
        "o" => &["self_attn.o_proj"],
        "down" => &["mlp.down_proj"],
        "gate_up" => &["mlp.gate_proj", "mlp.up_proj"],
        _ => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    };
    parts
        .iter()
        .map(|p| full(&format!("{prefix}.{p}")))
        .collect()
}
