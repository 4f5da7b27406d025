//! Weight names, fused rows, row order.

use std::collections::BTreeSet;

use ropewalk_spec::{ModelSpec, NameLayout, Role};
use serde_json::json;

use crate::fixtures::{all, tiny, tiny_with};

#[test]
fn rows_of_fused_tensors_follow_each_other() {
    let spec = ModelSpec::from_hf(&tiny("Phi3")).unwrap();
    let at = |role| {
        let w = spec.weight(role, Some(1), NameLayout::Gguf).unwrap();
        (w.name, w.rows, w.stored, w.shape)
    };
    let qkv = "blk.1.attn_qkv.weight".to_owned();
    assert_eq!(
        at(Role::Q),
        (qkv.clone(), 0..48, vec![96, 48], vec![48, 48])
    );
    assert_eq!(
        at(Role::K),
        (qkv.clone(), 48..72, vec![96, 48], vec![24, 48])
    );
    assert_eq!(at(Role::V), (qkv, 72..96, vec![96, 48], vec![24, 48]));
    let up = "blk.1.ffn_up.weight".to_owned();
    assert_eq!(
        at(Role::Gate),
        (up.clone(), 0..100, vec![200, 48], vec![100, 48])
    );
    assert_eq!(at(Role::Up), (up, 100..200, vec![200, 48], vec![100, 48]));
}

#[test]
fn tied_heads_are_the_embedding_table() {
    let tied =
        ModelSpec::from_hf(&tiny_with("Llama", json!({"tie_word_embeddings": true}))).unwrap();
    let head = tied
        .weight(Role::Head, None, NameLayout::HuggingFace)
        .unwrap();
    assert_eq!(head.name, "model.embed_tokens.weight");
    assert!(tied.weights().all(|(role, _)| role != Role::Head));
    let free = ModelSpec::from_hf(&tiny("Llama")).unwrap();
    assert_eq!(
        free.weight(Role::Head, None, NameLayout::Gguf)
            .unwrap()
            .name,
        "output.weight"
    );
}

#[test]
fn llama_rows_are_interleaved_in_gguf_alone() {
    let spec = ModelSpec::from_hf(&tiny_with("Llama", json!({"head_dim": 4}))).unwrap();
    let q = spec.weight(Role::Q, Some(0), NameLayout::Gguf).unwrap();
    // Heads of four rows: the file holds rows 0, 2, 1, 3.
    let order: Vec<_> = (0..8).map(|row| q.source_row(row)).collect();
    assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
    assert_eq!(q.permute_heads, Some(4));
    assert_eq!(
        spec.weight(Role::K, Some(0), NameLayout::Gguf)
            .unwrap()
            .permute_heads,
        Some(2)
    );
    assert_eq!(
        spec.weight(Role::V, Some(0), NameLayout::Gguf)
            .unwrap()
            .permute_heads,
        None
    );
    let hf = spec
        .weight(Role::Q, Some(0), NameLayout::HuggingFace)
        .unwrap();
    assert_eq!(
        (0..8).map(|row| hf.source_row(row)).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6, 7]
    );
    let qwen = ModelSpec::from_hf(&tiny("Qwen2")).unwrap();
    assert_eq!(
        qwen.weight(Role::Q, Some(0), NameLayout::Gguf)
            .unwrap()
            .permute_heads,
        None
    );
}

#[test]
fn weights_cover_every_stored_row_once() {
    for fixture in all() {
        let spec = fixture.spec();
        for layout in [NameLayout::HuggingFace, NameLayout::Gguf] {
            let mut covered = BTreeSet::new();
            for (role, layer) in spec.weights() {
                let places: Vec<_> = match spec.weight(role, layer, layout) {
                    Some(place) => vec![place],
                    None => (0..spec.experts.as_ref().unwrap().count)
                        .map(|e| spec.expert(role, layer.unwrap(), e, layout).unwrap())
                        .collect(),
                };
                for w in places {
                    for row in 0..w.rows.len() {
                        assert!(
                            covered.insert((w.name.clone(), w.source_row(row))),
                            "{}",
                            w.name
                        );
                    }
                }
            }
            let mut stored = BTreeSet::new();
            for t in spec.stored_tensors() {
                // Rows of stacks count through the stack; rows of a transposed matrix are its
                // columns.
                let outputs = |shape: &[usize]| match shape {
                    [experts, out, _] => experts * out,
                    [out, ..] => *out,
                    [] => 0,
                };
                if layout == NameLayout::Gguf {
                    stored.extend((0..outputs(&t.shape)).map(|row| (t.gguf.clone(), row)));
                    continue;
                }
                let shape = match (t.experts, t.shape.as_slice()) {
                    (Some(_), [_, rest @ ..]) => rest,
                    (_, shape) if t.hf_shape.first() == Some(&1) => {
                        &t.hf_shape[..1.min(shape.len())]
                    }
                    (_, shape) => shape,
                };
                for name in t.hf_names() {
                    stored.extend((0..outputs(shape)).map(|row| (name.clone(), row)));
                }
            }
            assert_eq!(covered, stored, "{}", fixture.name);
        }
    }
}
