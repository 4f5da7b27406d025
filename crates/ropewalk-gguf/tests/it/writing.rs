//! What the writer writes, the reader reads; what it cannot write leaves nothing behind.

use std::sync::{Arc, Mutex};

use ropewalk_gguf::{Array, Gguf, StringArray, TensorInfo, TensorType, Value, Writer};

use crate::TempDir;

#[test]
fn the_reference_file_is_reproduced_byte_for_byte() {
    let sample = crate::sample::SAMPLE;
    let file = Gguf::from_static(sample).unwrap();
    let mut writer = Writer::new();
    *writer.metadata_mut() = file.metadata().clone();
    for info in file.tensors() {
        writer.tensor(info.clone()).unwrap();
    }
    let mut out = writer.begin(Vec::new()).unwrap();
    while let Some(name) = out.next_tensor().map(str::to_owned) {
        out.tensor_data(&name, file.require(&name).unwrap().data)
            .unwrap();
    }
    assert!(out.finish().unwrap() == sample);
}

#[test]
fn all_values_survive() {
    let mut writer = Writer::new().with_alignment(128).unwrap();
    let strings: StringArray = [&b"x"[..], b"", b"\xff\xfe"].into_iter().collect();
    writer
        .set("a", u64::MAX)
        .set("b", f64::MIN_POSITIVE)
        .set("c", strings)
        .set("d", Vec::<bool>::new())
        .set(
            "e",
            Value::Array(Array::Array(vec![Array::Array(vec![]), Array::U8(vec![7])])),
        )
        .set("f", Value::String([0x80_u8].as_slice().into()))
        .set("a", -1_i8);
    writer
        .tensor(TensorInfo::from_dims("t", &[256, 2], TensorType::Q6_K).unwrap())
        .unwrap();
    writer
        .tensor(TensorInfo::from_dims("empty", &[0], TensorType::F32).unwrap())
        .unwrap();
    writer
        .tensor(TensorInfo::from_dims("scalar", &[], TensorType::BF16).unwrap())
        .unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let mut out = writer
        .begin(Vec::new())
        .unwrap()
        .with_progress(move |done, total| log.lock().unwrap().push((done, total)));
    let values: Vec<f32> = (0..512).map(|i| (i as f32).sin()).collect();
    out.tensor_f32("t", &values).unwrap();
    out.tensor_f32("empty", &[]).unwrap();
    out.tensor_f32("scalar", &[-2.5]).unwrap();
    let bytes = out.finish().unwrap();
    let progress = seen.lock().unwrap().clone();
    assert_eq!(progress.len(), 3);
    assert_eq!(progress[2], (bytes.len() as u64, bytes.len() as u64));

    let file = Gguf::from_bytes(bytes).unwrap();
    assert_eq!(file.alignment(), 128);
    let mut expected = writer.metadata().clone();
    expected.insert("general.alignment", 128_u32);
    assert_eq!(file.metadata(), &expected);
    assert_eq!(file.metadata().i32("a").unwrap(), Some(-1));
    assert_eq!(file.require("scalar").unwrap().to_f32().unwrap(), [-2.5]);
    assert!(file.tensors().iter().all(|t| t.file_offset() % 128 == 0));
}

#[test]
fn mistakes_are_named() {
    let info = |name: &str| TensorInfo::from_shape(name, &[32], TensorType::Q8_0).unwrap();
    let mut writer = Writer::new();
    writer.tensor(info("w")).unwrap();
    let text = |e: ropewalk_gguf::Error| e.to_string();
    assert_eq!(
        text(writer.tensor(info("w")).unwrap_err()),
        "cannot write `w`: a tensor of this name exists already"
    );
    assert!(text(writer.tensor(info("")).unwrap_err()).contains("1 to 63 bytes"));
    assert!(text(writer.tensor(info(&"x".repeat(64))).unwrap_err()).contains("1 to 63 bytes"));
    let five = TensorInfo::from_shape("v", &[1; 5], TensorType::F32).unwrap();
    assert!(text(writer.tensor(five).unwrap_err()).contains("5 dimensions"));
    assert!(
        text(TensorInfo::from_shape("v", &[4, 48], TensorType::Q8_0).unwrap_err())
            .contains("rows of 48 values")
    );
    assert!(Writer::new().with_alignment(48).is_err());
    assert!(
        Writer::new()
            .set("general.alignment", 48_u32)
            .begin(Vec::new())
            .is_err()
    );
    assert!(Writer::new().set("", 1_u8).begin(Vec::new()).is_err());

    let mut out = writer.begin(Vec::new()).unwrap();
    assert!(text(out.tensor_data("v", &[0; 34]).unwrap_err()).contains("tensor `w` is due"));
    assert_eq!(
        text(out.tensor_data("w", &[0; 33]).unwrap_err()),
        "bytes of Q8_0 tensor `w`: 33 given, 34 expected"
    );
    out.tensor_data("w", &[0; 34]).unwrap();
    assert!(text(out.tensor_data("w", &[0; 34]).unwrap_err()).contains("all announced"));
    let unfinished = writer.begin(Vec::new()).unwrap().finish().unwrap_err();
    assert_eq!(text(unfinished), "cannot write `w`: its data is missing");
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let dir = TempDir::new("atomic");
    let path = dir.write("model.gguf", b"what was there before");
    let mut writer = Writer::new();
    writer
        .tensor(TensorInfo::from_shape("w", &[64], TensorType::F32).unwrap())
        .unwrap();

    let out = writer.create(&path).unwrap();
    assert_eq!(dir.names().len(), 2);
    drop(out);
    assert!(writer.create(&path).unwrap().finish().is_err());
    assert_eq!(dir.names(), ["model.gguf"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there before");

    let mut out = writer.create(&path).unwrap();
    out.tensor_f32("w", &[1.0; 64]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there before");
    out.finish().unwrap();
    assert_eq!(dir.names(), ["model.gguf"]);
    assert_eq!(
        Gguf::open(&path)
            .unwrap()
            .require("w")
            .unwrap()
            .to_f32()
            .unwrap(),
        [1.0; 64]
    );

    for bad in [dir.0.join("absent/model.gguf"), dir.0.clone(), "/".into()] {
        let error = writer.create(&bad).unwrap_err().to_string();
        assert!(error.starts_with("cannot create `"), "{error}");
    }
}

/// Takes `0` bytes, then fails as a full disk does.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let n = bytes.len().min(self.0);
        self.0 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let mut writer = Writer::new();
    writer
        .tensor(TensorInfo::from_shape("w", &[64], TensorType::F32).unwrap())
        .unwrap();
    assert!(writer.begin(Full(10)).is_err());
    let mut out = writer.begin(Full(200)).unwrap();
    let error = out.tensor_f32("w", &[1.0; 64]).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `<output>`");
    assert!(std::error::Error::source(&error).is_some());
}
