//! Models in several files.

use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};

use crate::TempDir;

/// Writes part `index` of `count` with one tensor; `says` are the numbers in its metadata.
fn part(dir: &TempDir, index: usize, count: usize, says: Option<(u16, u16, i32)>) {
    let mut writer = Writer::new();
    if index == 0 {
        writer.set("general.architecture", "llama");
    }
    if let Some((no, count, tensors)) = says {
        writer
            .set("split.no", no)
            .set("split.count", count)
            .set("split.tensors.count", tensors);
    }
    let name = format!("blk.{index}.weight");
    writer
        .tensor(TensorInfo::from_shape(&name, &[2, 4], TensorType::F32).unwrap())
        .unwrap();
    let path = dir.0.join(format!("m-{:05}-of-{count:05}.gguf", index + 1));
    let mut out = writer.create(path).unwrap();
    out.tensor_f32(&name, &[index as f32; 8]).unwrap();
    out.finish().unwrap();
}

#[test]
fn any_part_opens_all() {
    let dir = TempDir::new("split-all");
    for index in 0..3 {
        part(&dir, index, 3, Some((index as u16, 3, 3)));
    }
    for index in 1..=3 {
        let file = Gguf::open(dir.0.join(format!("m-0000{index}-of-00003.gguf"))).unwrap();
        assert_eq!((file.n_parts(), file.tensors().len()), (3, 3));
        assert_eq!(
            file.metadata().str("general.architecture").unwrap(),
            Some("llama")
        );
        for i in 0..3 {
            let tensor = file.require(&format!("blk.{i}.weight")).unwrap();
            assert_eq!(tensor.to_f32().unwrap(), [i as f32; 8]);
        }
    }
}

#[test]
fn parts_without_split_keys_are_joined_by_name() {
    let dir = TempDir::new("split-bare");
    for index in 0..2 {
        part(&dir, index, 2, None);
    }
    let file = Gguf::read(dir.0.join("m-00002-of-00002.gguf")).unwrap();
    assert_eq!(file.tensors().len(), 2);
}

#[test]
fn incomplete_and_foreign_parts_are_named() {
    let dir = TempDir::new("split-bad");
    let open = |index: usize| {
        Gguf::open(dir.0.join(format!("m-{index:05}-of-00002.gguf")))
            .unwrap_err()
            .to_string()
    };
    part(&dir, 0, 2, Some((0, 2, 2)));
    let missing = open(1);
    assert!(
        missing.contains("m-00002-of-00002.gguf` is missing; put all 2 parts"),
        "{missing}"
    );
    assert!(open(2).starts_with("cannot open `"), "{}", open(2));

    part(&dir, 1, 2, Some((0, 2, 2)));
    let foreign = open(1);
    assert!(
        foreign.contains("its name says part 2 of 2, its metadata part 1 of 2"),
        "{foreign}"
    );

    part(&dir, 0, 2, Some((0, 2, 7)));
    part(&dir, 1, 2, Some((1, 2, 7)));
    assert!(
        open(1).contains("its parts have 2 tensors, 7 are announced"),
        "{}",
        open(1)
    );

    std::fs::copy(
        dir.0.join("m-00001-of-00002.gguf"),
        dir.0.join("plain.gguf"),
    )
    .unwrap();
    let renamed = Gguf::open(dir.0.join("plain.gguf"))
        .unwrap_err()
        .to_string();
    assert!(
        renamed.contains("it has 2 parts; name them NAME-00001-of-00002.gguf"),
        "{renamed}"
    );
    let bytes = std::fs::read(dir.0.join("plain.gguf")).unwrap();
    let alone = Gguf::from_bytes(bytes).unwrap_err().to_string();
    assert!(
        alone.contains("open it by the path of one of them"),
        "{alone}"
    );
}
