//! What a loaded model keeps in memory, and what is left when it is gone.
//!
//! Other tests of this process would be measured too, so the test runs itself once more, alone.

use std::path::Path;
use std::process::Command;

use ropewalk_gguf::{TensorInfo, TensorType, Writer};
use ropewalk_local::{LoadOptions, Model};
use ropewalk_spec::ModelSpec;
use ropewalk_spec::testing::TempDir;

const FILE: &str = "ROPEWALK_TEST_MEMORY_FILE";

/// Writes a model of some 60 MB without values.
pub(crate) fn write(path: &Path) {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 8192, "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 6, "num_attention_heads": 16,
        "num_key_value_heads": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": true,
    });
    let spec = ModelSpec::from_hf(&config).unwrap();
    let mut writer = Writer::new();
    for (key, value) in spec.gguf_metadata().unwrap() {
        writer.set(key, value);
    }
    let mut sizes = Vec::new();
    for tensor in spec.stored_tensors() {
        let ty = match tensor.shape.len() {
            2 => TensorType::Q4_0,
            _ => TensorType::F32,
        };
        let info = TensorInfo::from_shape(&tensor.gguf, &tensor.shape, ty).unwrap();
        sizes.push((tensor.gguf, info.n_bytes()));
        writer.tensor(info).unwrap();
    }
    let file = std::fs::File::create(path).unwrap();
    let mut out = writer.begin(std::io::BufWriter::new(file)).unwrap();
    for (name, bytes) in sizes {
        out.tensor_data(&name, &vec![0; bytes]).unwrap();
    }
    out.finish().unwrap();
}

/// A line of `/proc/self/status` in bytes.
pub(crate) fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    1024 * kilobytes.parse::<usize>().unwrap()
}

/// Runs a test in a process of its own, where nothing else takes memory: returns there the file of
/// zeros that `variable` names, and `None` here once the process has passed.
pub(crate) fn alone(variable: &str, test: &str) -> Option<String> {
    if let Ok(path) = std::env::var(variable) {
        return Some(path);
    }
    let dir = TempDir::new().unwrap();
    let path = dir.join("zeros.gguf");
    write(&path);
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, &path)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, log) = (text(&run.stdout), text(&run.stderr));
    assert!(
        run.status.success() && out.contains("1 passed"),
        "{out}{log}"
    );
    None
}

#[test]
fn memory_is_file_and_cache_and_is_given_back() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let Some(path) = alone(FILE, "memory::memory_is_file_and_cache_and_is_given_back") else {
        return;
    };
    let file = std::fs::metadata(&path).unwrap().len() as usize;
    let before = status("VmRSS");
    let two = std::num::NonZeroUsize::new(2).unwrap();
    let options = LoadOptions::default().with_threads(two);
    let model = Model::open(&path, &options).unwrap();
    // The largest tensor is the embedding table, which is packed as the head.
    let (packed, largest) = (model.weight_bytes(), 8192 * 1024 / 32 * 18);
    let peak = status("VmHWM") - before;
    assert!(
        peak < packed + largest + (8 << 20),
        "{peak} bytes at the peak of loading {packed}"
    );
    let mut cache = model.new_cache();
    model.forward(&mut cache, &[1, 2, 3, 4]).unwrap();
    let running = status("VmRSS") - before;
    // Code, stacks and scratch, which do not grow with the model.
    let fixed = 8 << 20;
    let limit = file + file * 15 / 100 + cache.bytes() + fixed;
    assert!(running < limit, "{running} bytes for a file of {file}");
    // Not less than the weights: something was measured.
    assert!(running > packed, "{running} bytes for weights of {packed}");
    drop((model, cache));
    let left = status("VmRSS").saturating_sub(before);
    assert!(left < fixed, "{left} bytes are left of {running}");
}
