//! Arbitrary bytes as a file: an error, or a file that can be read in full and written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_gguf::{Gguf, Writer};

fuzz_target!(|data: &[u8]| {
    let file = match Gguf::from_bytes(data) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    assert!(!file.describe().is_empty());
    for (key, value) in file.metadata() {
        let metadata = file.metadata();
        assert_eq!(metadata.get(key).map(|v| v.ty()), Some(value.ty()));
        let _ = (metadata.str(key), metadata.u32(key), metadata.i64(key), metadata.f32(key));
        let _ = (metadata.strings(key), metadata.i32s(key), metadata.u32s(key), metadata.f32s(key));
    }
    let mut writer = Writer::new();
    *writer.metadata_mut() = file.metadata().clone();
    for tensor in file.iter() {
        assert_eq!(file.tensor(&tensor.info.name).map(|t| t.data.len()), Some(tensor.data.len()));
        if let Ok(values) = tensor.to_f32() {
            assert_eq!(values.len(), tensor.info.n_elements());
        }
        if writer.tensor(tensor.info.clone()).is_err() {
            return; // a name longer than the writer allows
        }
    }
    // A large alignment would make a large file.
    if file.alignment() > 4096 {
        return;
    }
    let Ok(mut out) = writer.begin(Vec::new()) else { return };
    for tensor in file.iter() {
        out.tensor_data(&tensor.info.name, tensor.data).expect("the layout is the file's own");
    }
    let copy = Gguf::from_bytes(out.finish().expect("memory does not fail")).expect("our own file");
    // NaN values differ from themselves; the text does not.
    assert_eq!(format!("{:?}", copy.metadata()), format!("{:?}", file.metadata()));
    for (a, b) in copy.iter().zip(file.iter()) {
        assert_eq!((&a.info.name, &a.info.dims, a.data), (&b.info.name, &b.info.dims, b.data));
    }
});
