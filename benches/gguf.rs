//! GGUF: dequantisation and quantisation per type, and opening a file with a large vocabulary.
//!
//! `cargo bench --bench gguf`; throughput of the conversions is in bytes of the stored blocks.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ropewalk_gguf::{
    Gguf, StringArray, TensorInfo, TensorType, Writer, can_quantize, dequantizer, quantize_with,
    requires_importance,
};

/// Values per conversion: 64 rows, which stay in the caches.
const VALUES: usize = 64 * COLUMNS;
const COLUMNS: usize = 4096;

fn weights(n: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn conversions(c: &mut Criterion) {
    let x = weights(VALUES);
    let types = || {
        TensorType::ALL
            .iter()
            .copied()
            .filter(|&ty| can_quantize(ty))
    };
    // Weights for the types that are not written without.
    let importance: Vec<f32> = x[..COLUMNS].iter().map(|x| x * x).collect();
    let code = |ty| {
        let importance = requires_importance(ty).then_some(&importance[..]);
        quantize_with(ty, black_box(&x), COLUMNS, importance)
    };
    let mut group = c.benchmark_group("gguf/dequantize");
    for ty in types() {
        let (Ok(bytes), Some(convert)) = (code(ty), dequantizer(ty)) else {
            continue;
        };
        let mut out = vec![0.0; VALUES];
        group.throughput(Throughput::BytesDecimal(bytes.len() as u64));
        group.bench_function(ty.name(), |b| {
            b.iter(|| convert(black_box(&bytes), &mut out))
        });
    }
    group.finish();

    let mut group = c.benchmark_group("gguf/quantize");
    group.sample_size(10);
    for ty in types() {
        let n_bytes = ty.row_bytes(VALUES).unwrap_or_default();
        group.throughput(Throughput::BytesDecimal(n_bytes as u64));
        group.bench_function(ty.name(), |b| b.iter(|| code(ty)));
    }
    group.finish();
}

/// A file with the keys of a tokenizer of 256 thousand pieces and 300 small tensors.
fn large_vocabulary() -> Result<Vec<u8>, ropewalk_gguf::Error> {
    const PIECES: usize = 256_000;
    let pieces: StringArray = (0..PIECES).map(|i| format!("piece{i:x}")).collect();
    let merges: StringArray = (0..PIECES).map(|i| format!("pie ce{i:x}")).collect();
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "llama")
        .set("tokenizer.ggml.tokens", pieces)
        .set("tokenizer.ggml.scores", vec![0.0_f32; PIECES])
        .set("tokenizer.ggml.token_type", vec![1_i32; PIECES])
        .set("tokenizer.ggml.merges", merges);
    for i in 0..300 {
        let name = format!("blk.{i}.attn_norm.weight");
        writer.tensor(TensorInfo::from_shape(&name, &[64], TensorType::F32)?)?;
    }
    let mut out = writer.begin(Vec::new())?;
    for i in 0..300 {
        out.tensor_f32(&format!("blk.{i}.attn_norm.weight"), &[1.0; 64])?;
    }
    out.finish()
}

fn open(c: &mut Criterion) {
    let bytes = large_vocabulary().expect("the file is well-formed");
    let path = std::env::temp_dir().join(format!("ropewalk-bench-{}.gguf", std::process::id()));
    std::fs::write(&path, &bytes).expect("the temporary directory is writable");
    let bytes: Arc<[u8]> = bytes.into();
    let mut group = c.benchmark_group("gguf/open");
    group.throughput(Throughput::BytesDecimal(bytes.len() as u64));
    group.bench_function("memory", |b| b.iter(|| Gguf::from_bytes(bytes.clone())));
    group.bench_function("mapped", |b| b.iter(|| Gguf::open(&path)));
    group.finish();
    drop(std::fs::remove_file(&path));
}

criterion_group!(benches, conversions, open);
criterion_main!(benches);
