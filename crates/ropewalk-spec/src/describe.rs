//! The module tree that PyTorch prints for a model.

use std::fmt::Write as _;

use crate::{Activation, Family, ModelSpec, Norm, Positions};

/// The text that `print(model)` gives in transformers 5 for a model of this configuration,
/// without a line break at the end. Rates of dropout, which only training uses, are those of
/// published configurations.
///
/// ```
/// # let config = serde_json::json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 320,
/// #   "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2,
/// #   "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
/// #   "rms_norm_eps": 1e-5, "hidden_act": "silu"});
/// let spec = ropewalk_spec::ModelSpec::from_hf(&config)?;
/// let text = ropewalk_spec::describe(&spec);
/// assert!(text.starts_with("LlamaForCausalLM(\n  (model): LlamaModel(\n"));
/// assert!(text.contains("(k_proj): Linear(in_features=48, out_features=24, bias=False)"));
/// # Ok::<(), ropewalk_spec::Error>(())
/// ```
#[must_use]
pub fn describe(spec: &ModelSpec) -> String {
    let outer = outer(spec.family);
    let name = spec.family.name();
    let mut tree = Tree {
        text: String::new(),
        depth: 0,
        spec,
    };
    tree.open(&format!("{}(", spec.family.architecture()));
    let model = spec.family.profile().model;
    tree.open(&format!("({}): {name}{model}(", outer.model));
    tree.template(outer.before);
    tree.open(&format!("({}): ModuleList(", outer.list));
    let mut first = 0;
    while first < spec.layers {
        let sparse = spec.has_experts(first);
        let same = (first..spec.layers).take_while(|&i| spec.has_experts(i) == sparse);
        let count = same.count();
        let class = outer.block;
        match count {
            1 => tree.open(&format!("({first}): {name}{class}(")),
            n => tree.open(&format!(
                "({first}-{}): {n} x {name}{class}(",
                first + n - 1
            )),
        }
        for part in block(spec.family, sparse) {
            tree.template(part);
        }
        if spec.family == Family::Falcon {
            tree.template(falcon_norms(spec));
        }
        tree.close();
        first += count;
    }
    tree.close();
    tree.template(outer.after);
    tree.close();
    tree.template("lm_head: linear hidden vocab none");
    tree.close();
    tree.text.truncate(tree.text.trim_end().len());
    tree.text
}

/// The modules around the blocks. Templates are lines of `name: kind arguments`, indented by one
/// space per level; a kind that is not a known word is a class of the family.
struct Outer {
    model: &'static str,
    before: &'static str,
    list: &'static str,
    block: &'static str,
    after: &'static str,
}

const LLAMA: Outer = Outer {
    model: "model",
    before: "embed_tokens: embedding vocab padded",
    list: "layers",
    block: "DecoderLayer",
    after: "norm: norm hidden\nrotary_emb: rotary",
};

const GPT2: Outer = Outer {
    model: "transformer",
    before: "wte: embedding vocab\nwpe: embedding positions\ndrop: dropout 0.1",
    list: "h",
    block: "Block",
    after: "ln_f: norm hidden",
};

const fn outer(family: Family) -> Outer {
    match family {
        Family::Gpt2 => GPT2,
        Family::GptNeo => Outer {
            before: "wte: embedding vocab\nwpe: embedding positions\ndrop: dropout 0.0",
            ..GPT2
        },
        Family::GptNeoX => Outer {
            model: "gpt_neox",
            before: "embed_in: embedding vocab\nemb_dropout: dropout 0.0",
            list: "layers",
            block: "Layer",
            after: "final_layer_norm: norm hidden\nrotary_emb: rotary",
        },
        Family::Falcon => Outer {
            model: "transformer",
            before: "word_embeddings: embedding vocab",
            list: "h",
            block: "DecoderLayer",
            after: "ln_f: norm hidden\nrotary_emb: rotary",
        },
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => Outer {
            before: "embed_tokens: scaled vocab padded",
            ..LLAMA
        },
        _ => LLAMA,
    }
}

const ATTENTION: &str = "self_attn: Attention
 q_proj: linear hidden q qkv
 k_proj: linear hidden kv qkv
 v_proj: linear hidden kv qkv
 o_proj: linear q hidden o
 q_norm: norm q_norm
 k_norm: norm k_norm";
const MLP: &str = "mlp: MLP
 gate_proj: linear hidden ffn mlp
 up_proj: linear hidden ffn mlp
 down_proj: linear ffn hidden mlp
 act_fn: activation";
const NORMS: &str = "input_layernorm: norm hidden\npost_attention_layernorm: norm hidden";

/// The modules of a block.
const fn block(family: Family, sparse: bool) -> &'static [&'static str] {
    match family {
        Family::Phi3 => &[
            "self_attn: Attention
 o_proj: linear q hidden o
 qkv_proj: linear hidden fused qkv
mlp: MLP
 gate_up_proj: linear hidden two mlp
 down_proj: linear ffn hidden mlp
 activation_fn: activation",
            NORMS,
            "resid_attn_dropout: dropout 0.0\nresid_mlp_dropout: dropout 0.0",
        ],
        Family::Gemma2 | Family::Gemma3 => &[
            ATTENTION,
            MLP,
            NORMS,
            "pre_feedforward_layernorm: norm hidden\npost_feedforward_layernorm: norm hidden",
        ],
        Family::Olmo2 => &[
            ATTENTION,
            MLP,
            "post_attention_layernorm: norm hidden\npost_feedforward_layernorm: norm hidden",
        ],
        Family::Starcoder2 => &[
            ATTENTION,
            "mlp: MLP
 c_fc: linear hidden ffn mlp
 c_proj: linear ffn hidden mlp
 act: activation",
            NORMS,
        ],
        Family::Mixtral => &[
            ATTENTION,
            "mlp: SparseMoeBlock
 gate: router
 experts: Experts
  act_fn: activation",
            NORMS,
        ],
        Family::Qwen2Moe if sparse => &[
            ATTENTION,
            "mlp: SparseMoeBlock
 gate: router
 experts: Experts
  act_fn: activation
 shared_expert: MLP
  gate_proj: linear hidden shared none
  up_proj: linear hidden shared none
  down_proj: linear shared hidden none
  act_fn: activation
 shared_expert_gate: linear hidden one none",
            NORMS,
        ],
        Family::Qwen3Moe if sparse => &[
            ATTENTION,
            "mlp: SparseMoeBlock
 experts: Experts
  act_fn: activation
 gate: router",
            NORMS,
        ],
        Family::Gpt2 => &["ln_1: norm hidden
attn: Attention
 c_attn: conv hidden fused
 c_proj: conv q hidden
 attn_dropout: dropout 0.1
 resid_dropout: dropout 0.1
ln_2: norm hidden
mlp: MLP
 c_fc: conv hidden ffn
 c_proj: conv ffn hidden
 act: activation
 dropout: dropout 0.1"],
        Family::GptNeo => &["ln_1: norm hidden
attn: Attention
 attention: SelfAttention
  attn_dropout: dropout 0.0
  resid_dropout: dropout 0.0
  k_proj: linear hidden kv qkv
  v_proj: linear hidden kv qkv
  q_proj: linear hidden q qkv
  out_proj: linear q hidden o
ln_2: norm hidden
mlp: MLP
 c_fc: linear hidden ffn mlp
 c_proj: linear ffn hidden mlp
 act: activation
 dropout: dropout 0.0"],
        Family::GptNeoX => &[
            NORMS,
            "post_attention_dropout: dropout 0.0
post_mlp_dropout: dropout 0.0
attention: Attention
 query_key_value: linear hidden fused qkv
 dense: linear q hidden o
mlp: MLP
 dense_h_to_4h: linear hidden ffn mlp
 dense_4h_to_h: linear ffn hidden mlp
 act: activation",
        ],
        Family::Falcon => &["self_attention: Attention
 query_key_value: own hidden fused qkv
 dense: own q hidden o
 attention_dropout: dropout 0.0
mlp: MLP
 dense_h_to_4h: own hidden ffn mlp
 act: activation
 dense_4h_to_h: own ffn hidden mlp"],
        _ => &[ATTENTION, MLP, NORMS],
    }
}

fn falcon_norms(spec: &ModelSpec) -> &'static str {
    match spec.residual {
        crate::Residual::ParallelOneNorm => "input_layernorm: norm hidden",
        _ => "ln_attn: norm hidden\nln_mlp: norm hidden",
    }
}

/// Lines indented by two spaces per open bracket.
struct Tree<'a> {
    text: String,
    depth: usize,
    spec: &'a ModelSpec,
}

impl Tree<'_> {
    fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:1$}{text}", "", self.depth * 2);
    }

    fn open(&mut self, text: &str) {
        self.line(text);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line(")");
    }

    /// Writes the modules of a template and closes what it opened.
    fn template(&mut self, lines: &str) {
        let base = self.depth;
        for line in lines.lines() {
            let text = line.trim_start();
            let depth = base + line.len() - text.len();
            while self.depth > depth {
                self.close();
            }
            self.module(text);
        }
        while self.depth > base {
            self.close();
        }
    }

    fn module(&mut self, text: &str) {
        let (name, kind) = text.split_once(": ").unwrap_or((text, ""));
        let words: Vec<&str> = kind.split(' ').collect();
        let family = self.spec.family.name();
        let body = match words.as_slice() {
            ["linear", inputs, outputs, bias] => self.linear("Linear", inputs, outputs, bias),
            ["own", inputs, outputs, bias] => {
                self.linear(&format!("{family}Linear"), inputs, outputs, bias)
            }
            ["conv", inputs, outputs] => {
                let (nx, nf) = (self.width(inputs), self.width(outputs));
                format!("Conv1D(nf={nf}, nx={nx})")
            }
            ["norm", width] => match self.width(width) {
                0 => return,
                width => self.norm(width),
            },
            ["embedding", rows, rest @ ..] => self.embedding("Embedding", rows, rest),
            ["scaled", rows, rest @ ..] => {
                // Gemma 3 calls the class of its text model so as well.
                let text = self.spec.family.profile().model.trim_end_matches("Model");
                let text = if text.is_empty() { "Text" } else { text };
                self.embedding(&format!("{family}{text}ScaledWordEmbedding"), rows, rest)
            }
            ["dropout", rate] => format!("Dropout(p={rate}, inplace=False)"),
            ["activation"] => self.activation().to_owned(),
            ["rotary"] => format!("{family}RotaryEmbedding()"),
            ["router"] => format!("{family}TopKRouter()"),
            _ => {
                self.open(&format!("({name}): {family}{kind}("));
                return;
            }
        };
        self.line(&format!("({name}): {body}"));
    }

    /// A width by its name in templates; 0 for norms that the model does not have.
    fn width(&self, name: &str) -> usize {
        let spec = self.spec;
        let shared = spec.experts.as_ref().and_then(|e| e.shared);
        let of = |role| spec.shape(role).map_or(0, |s| s.iter().product());
        match name {
            "hidden" => spec.hidden,
            "vocab" => spec.vocab_size,
            "positions" => spec.max_positions,
            "q" => spec.q_dim(),
            "kv" => spec.kv_dim(),
            "fused" => spec.q_dim() + 2 * spec.kv_dim(),
            "ffn" => spec.ffn,
            "two" => 2 * spec.ffn,
            "shared" => shared.unwrap_or(0),
            "q_norm" => of(crate::Role::QNorm),
            "k_norm" => of(crate::Role::KNorm),
            _ => 1,
        }
    }

    fn linear(&self, class: &str, inputs: &str, outputs: &str, bias: &str) -> String {
        let (inputs, outputs) = (self.width(inputs), self.width(outputs));
        let bias = match bias {
            "qkv" => self.spec.qkv_bias,
            "o" => self.spec.o_bias,
            "mlp" => self.spec.mlp_bias,
            _ => false,
        };
        let bias = if bias { "True" } else { "False" };
        format!("{class}(in_features={inputs}, out_features={outputs}, bias={bias})")
    }

    fn embedding(&self, class: &str, rows: &str, rest: &[&str]) -> String {
        let (rows, hidden) = (self.width(rows), self.spec.hidden);
        let padding = match self.spec.pad_id {
            Some(id) if rest.contains(&"padded") => format!(", padding_idx={id}"),
            _ => String::new(),
        };
        format!("{class}({rows}, {hidden}{padding})")
    }

    fn norm(&self, width: usize) -> String {
        let eps = python_float(self.spec.norm_eps);
        match self.spec.norm {
            Norm::Layer => {
                format!("LayerNorm(({width},), eps={eps}, elementwise_affine=True, bias=True)")
            }
            Norm::Rms | Norm::RmsPlusOne => {
                format!("{}RMSNorm(({width},), eps={eps})", self.spec.family.name())
            }
        }
    }

    fn activation(&self) -> &'static str {
        match self.spec.activation {
            Activation::Silu => "SiLUActivation()",
            Activation::Gelu => "GELUActivation()",
            Activation::GeluTanh if self.spec.positions == Positions::Learned => {
                "NewGELUActivation()"
            }
            Activation::GeluTanh => "GELUTanh()",
        }
    }
}

/// A number as Python's `repr` writes it: an exponent below 1e-4, two digits in it.
fn python_float(value: f32) -> String {
    if value != 0.0 && value.abs() < 1e-4 {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
        return format!("{digits}e-{exponent:0>2}");
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_look_like_python() {
        for (value, text) in [
            (1e-5, "1e-05"),
            (1e-6, "1e-06"),
            (1.5e-10, "1.5e-10"),
            (1e-3, "0.001"),
            (0.0, "0.0"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }
}
