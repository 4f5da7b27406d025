//! Arbitrary bytes as a safetensors file: an error of one line, or tensors within the file. Half of
//! the inputs are the header alone, with its length put before it.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ropewalk_spec::{SafetensorsDir, TensorSource};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("ropewalk-fuzz-{}.safetensors", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    let Some((&framed, data)) = data.split_first() else { return };
    let mut bytes = Vec::new();
    if framed & 1 == 1 {
        bytes.extend((data.len() as u64).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len() + usize::from(framed), 0);
    } else {
        bytes.extend(data);
    }
    std::fs::write(&*FILE, &bytes).expect("the temporary directory can be written");
    let file = match SafetensorsDir::open_file(&*FILE) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    for name in file.names() {
        let tensor = file.raw(&name).expect("a tensor that is listed");
        assert!(tensor.data.len() <= bytes.len());
    }
});
