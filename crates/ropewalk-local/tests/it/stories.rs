//! stories260K: a real trained model, greedy, against ids that two other programs agree on.
//!
//! The file is llama2.c's first layout: seven i32 (dim, hidden, layers, heads, key-value heads,
//! vocabulary, positions), then f32 tensors in the order of [`to_gguf`]. Rows of q and k are for
//! interleaved rotation, which is what GGUF files of this architecture hold too.

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};
use ropewalk_local::{CacheType, GenerateOptions, Generation, LoadOptions, Model};

/// Turns a llama2.c file into GGUF bytes.
fn to_gguf(bytes: &[u8]) -> Vec<u8> {
    let header: Vec<usize> = bytes[..28]
        .chunks_exact(4)
        .map(|c| i32::from_le_bytes(c.try_into().unwrap()).unsigned_abs() as usize)
        .collect();
    let [dim, hidden, layers, heads, kv_heads, vocab, positions] = header[..] else {
        panic!()
    };
    let kv = dim / heads * kv_heads;
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama");
    for (key, value) in [
        ("context_length", positions),
        ("embedding_length", dim),
        ("block_count", layers),
        ("feed_forward_length", hidden),
        ("attention.head_count", heads),
        ("attention.head_count_kv", kv_heads),
        ("rope.dimension_count", dim / heads),
        ("vocab_size", vocab),
    ] {
        writer.set(format!("llama.{key}"), u32::try_from(value).unwrap());
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    writer.set("llama.rope.freq_base", 10_000f32);

    let mut rest = &bytes[28..];
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at(4 * n);
        rest = tail;
        head.to_vec()
    };
    let mut tensors = vec![(
        "token_embd.weight".to_owned(),
        vec![vocab, dim],
        take(vocab * dim),
    )];
    for (name, shape) in [
        ("attn_norm", vec![dim]),
        ("attn_q", vec![dim, dim]),
        ("attn_k", vec![kv, dim]),
        ("attn_v", vec![kv, dim]),
        ("attn_output", vec![dim, dim]),
        ("ffn_norm", vec![dim]),
        ("ffn_gate", vec![hidden, dim]),
        ("ffn_down", vec![dim, hidden]),
        ("ffn_up", vec![hidden, dim]),
    ] {
        for layer in 0..layers {
            let data = take(shape.iter().product());
            tensors.push((format!("blk.{layer}.{name}.weight"), shape.clone(), data));
        }
    }
    tensors.push(("output_norm.weight".to_owned(), vec![dim], take(dim)));
    for (name, shape, _) in &tensors {
        writer
            .tensor(TensorInfo::from_shape(name, shape, TensorType::F32).unwrap())
            .unwrap();
    }
    let mut out = writer.begin(Vec::new()).unwrap();
    for (name, _, data) in &tensors {
        out.tensor_data(name, data).unwrap();
    }
    out.finish().unwrap()
}

fn golden(dir: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(dir.join("golden_greedy_ids.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn greedy_ids_are_those_of_llama2_c() {
    let Some(data) = ropewalk_core::testing::data_dir("models/stories260k") else {
        return;
    };
    let bytes = to_gguf(&std::fs::read(data.join("stories260K.bin")).unwrap());
    let gguf = Arc::new(Gguf::from_bytes(bytes).unwrap());
    let want = golden(&data);
    let options = LoadOptions::default().with_cache(CacheType::F32);
    let model = Model::from_gguf(gguf, &options).unwrap();
    let mut cache = model.new_cache();
    let generate = GenerateOptions::greedy(want.len() - 1).with_stop_ids([]);
    let got: Vec<u32> = Generation::new(&model, &mut cache, &want[..1], &generate)
        .unwrap()
        .map(|t| t.unwrap().id)
        .collect();
    assert_eq!(got, want[1..]);

    // The whole text as one prompt gives the same bits as token by token.
    let mut fresh = model.new_cache();
    let all = model
        .forward_all(&mut fresh, &want[..want.len() - 1])
        .unwrap();
    let rows = all.chunks_exact(model.spec().vocab_size);
    for (row, next) in rows.zip(&want[1..]) {
        let best = row
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap()
            .0;
        assert_eq!(best as u32, *next);
    }
}
