//! The module tree that PyTorch prints for a model.

use std::fmt::Write as _;

use crate::{Activation, Family, ModelSpec};

/// The text that `print(model)` gives in transformers 5 for a model of this configuration,
/// without a line break at the end.
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
    let name = spec.family.name();
    let (hidden, vocab) = (spec.hidden, spec.vocab_size);
    let mut tree = Tree {
        text: String::new(),
        depth: 0,
    };
    tree.open(&format!("{name}ForCausalLM("));
    tree.open(&format!("(model): {name}Model("));
    let padding = spec
        .pad_id
        .map_or_else(String::new, |id| format!(", padding_idx={id}"));
    tree.line(&format!(
        "(embed_tokens): Embedding({vocab}, {hidden}{padding})"
    ));
    tree.open("(layers): ModuleList(");
    match spec.layers {
        1 => tree.open(&format!("(0): {name}DecoderLayer(")),
        n => tree.open(&format!(
            "(0-{}): {n} x {name}DecoderLayer(",
            n.saturating_sub(1)
        )),
    }
    attention(&mut tree, spec);
    feed_forward(&mut tree, spec);
    tree.norm("input_layernorm", spec, hidden);
    tree.norm("post_attention_layernorm", spec, hidden);
    if spec.family == Family::Phi3 {
        tree.line("(resid_attn_dropout): Dropout(p=0.0, inplace=False)");
        tree.line("(resid_mlp_dropout): Dropout(p=0.0, inplace=False)");
    }
    tree.close();
    tree.close();
    tree.norm("norm", spec, hidden);
    tree.line(&format!("(rotary_emb): {name}RotaryEmbedding()"));
    tree.close();
    tree.linear("lm_head", hidden, vocab, false);
    tree.close();
    tree.text.truncate(tree.text.trim_end().len());
    tree.text
}

fn attention(tree: &mut Tree, spec: &ModelSpec) {
    let (hidden, q, kv) = (spec.hidden, spec.q_dim(), spec.kv_dim());
    tree.open(&format!("(self_attn): {}Attention(", spec.family.name()));
    if spec.family.is_fused() {
        tree.linear("o_proj", q, hidden, spec.o_bias);
        tree.linear("qkv_proj", hidden, q + 2 * kv, spec.qkv_bias);
    } else {
        tree.linear("q_proj", hidden, q, spec.qkv_bias);
        tree.linear("k_proj", hidden, kv, spec.qkv_bias);
        tree.linear("v_proj", hidden, kv, spec.qkv_bias);
        tree.linear("o_proj", q, hidden, spec.o_bias);
    }
    if spec.qk_norm.is_some() {
        tree.norm("q_norm", spec, spec.head_dim);
        tree.norm("k_norm", spec, spec.head_dim);
    }
    tree.close();
}

fn feed_forward(tree: &mut Tree, spec: &ModelSpec) {
    let (hidden, ffn, bias) = (spec.hidden, spec.ffn, spec.mlp_bias);
    tree.open(&format!("(mlp): {}MLP(", spec.family.name()));
    let function = if spec.family.is_fused() {
        tree.linear("gate_up_proj", hidden, 2 * ffn, bias);
        "activation_fn"
    } else {
        tree.linear("gate_proj", hidden, ffn, bias);
        tree.linear("up_proj", hidden, ffn, bias);
        "act_fn"
    };
    tree.linear("down_proj", ffn, hidden, bias);
    let activation = match spec.activation {
        Activation::Silu => "SiLUActivation()",
        Activation::Gelu => "GELUActivation()",
        Activation::GeluTanh => "GELUTanh()",
    };
    tree.line(&format!("({function}): {activation}"));
    tree.close();
}

/// Lines indented by two spaces per open bracket.
struct Tree {
    text: String,
    depth: usize,
}

impl Tree {
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

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        let bias = if bias { "True" } else { "False" };
        self.line(&format!(
            "({name}): Linear(in_features={inputs}, out_features={outputs}, bias={bias})"
        ));
    }

    fn norm(&mut self, name: &str, spec: &ModelSpec, width: usize) {
        let (family, eps) = (spec.family.name(), python_float(spec.norm_eps));
        self.line(&format!("({name}): {family}RMSNorm(({width},), eps={eps})"));
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
