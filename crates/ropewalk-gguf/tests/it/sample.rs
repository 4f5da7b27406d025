//! A whole file written by the `gguf` package (`../fixtures/make_gguf.py`).

use ropewalk_gguf::{Array, Gguf, TensorType, Value};

pub(crate) const SAMPLE: &[u8] = include_bytes!("../fixtures/sample.gguf");

#[test]
fn metadata_of_every_type() {
    let file = Gguf::from_static(SAMPLE).unwrap();
    let m = file.metadata();
    assert_eq!(
        (file.version(), file.alignment(), file.n_parts()),
        (3, 64, 1)
    );
    assert_eq!(m.str("general.architecture").unwrap(), Some("llama"));
    let expected = [
        ("t.u8", Value::U8(200)),
        ("t.i8", Value::I8(-100)),
        ("t.u16", Value::U16(60_000)),
        ("t.i16", Value::I16(-30_000)),
        ("t.u32", Value::U32(4_000_000_000)),
        ("t.i32", Value::I32(-2_000_000_000)),
        ("t.f32", Value::F32(1.5)),
        ("t.bool", Value::Bool(true)),
        ("t.string", Value::from("rope ⚓ walk")),
        ("t.u64", Value::U64(u64::MAX)),
        ("t.i64", Value::I64(i64::MIN)),
        ("t.f64", Value::F64(1e300)),
        ("t.bools", Value::from(vec![true, false, true])),
        ("t.ints", Value::from(vec![3, -1, 7])),
        ("t.floats", Value::from(vec![0.5_f32, -0.25])),
        ("t.u8s", Value::from(vec![1_u8, 2, 255])),
        ("t.u64s", Value::from(vec![1_u64, 1 << 63])),
        (
            "t.nested",
            Value::Array(Array::Array(vec![
                Array::I32(vec![1, 2]),
                Array::I32(vec![3]),
            ])),
        ),
    ];
    for (key, value) in expected {
        assert_eq!(m.get(key), Some(&value), "{key}");
    }
    let strings = m.strings("t.strings").unwrap().unwrap();
    let texts: Vec<_> = (0..strings.len())
        .map(|i| strings.str(i).unwrap())
        .collect();
    assert_eq!(texts, ["a", "", "\u{120}the", "⚓"]);
    assert_eq!((strings.get(4), strings.n_bytes()), (None, 9));
    assert_eq!(m.iter().next().unwrap().0, "general.architecture");
}

#[test]
fn tensors_have_shapes_types_and_values() {
    let file = Gguf::from_static(SAMPLE).unwrap();
    let names: Vec<_> = file.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["f32", "f16", "q8_0", "q4_k", "i32"]);

    let f32s = file.tensor("f32").unwrap();
    assert_eq!(
        (f32s.info.shape(), &f32s.info.dims[..]),
        (vec![2, 3, 64], &[64, 3, 2][..])
    );
    assert_eq!(
        (f32s.info.rows(), f32s.info.cols(), f32s.info.n_elements()),
        (6, 64, 384)
    );
    let values = f32s.to_f32().unwrap();

    // The other tensors hold the same numbers, to the precision of their types.
    let check = |name: &str, tolerance: f32| {
        for (a, b) in file
            .require(name)
            .unwrap()
            .to_f32()
            .unwrap()
            .iter()
            .zip(&values)
        {
            assert!((a - b).abs() <= tolerance, "{name}: {a} {b}");
        }
    };
    check("f16", 2e-3);
    check("q8_0", 2e-2);

    let q8_0 = file.tensor("q8_0").unwrap();
    let mut row = [0.0; 64];
    q8_0.row_f32(4, &mut row).unwrap();
    assert_eq!(row, q8_0.to_f32().unwrap()[256..320]);
    assert!(
        q8_0.row_f32(6, &mut row)
            .unwrap_err()
            .to_string()
            .contains("up to row 6")
    );
    assert!(q8_0.row_f32(0, &mut row[1..]).is_err());
    assert!(q8_0.row(6).is_none() && q8_0.row(usize::MAX).is_none());

    let q4_k = file.tensor("q4_k").unwrap();
    assert_eq!(
        (q4_k.info.ty, q4_k.info.shape()),
        (TensorType::Q4_K, vec![2, 512])
    );
    assert_eq!(
        file.tensor("i32").unwrap().to_f32().unwrap(),
        [0.0, 1.0, 2.0, 3.0, 4.0]
    );

    let missing = file.require("f64").unwrap_err().to_string();
    assert!(
        missing.starts_with("`<memory>` has no tensor `f64`"),
        "{missing}"
    );
    assert_eq!(
        file.iter().map(|t| t.data.len()).sum::<usize>(),
        384 * 4 + 192 * 2 + 408 + 576 + 20
    );
}

#[test]
fn mapped_read_and_shared_files_are_equal() {
    let dir = crate::TempDir::new("sample");
    let path = dir.write("sample.gguf", SAMPLE);
    let mapped = Gguf::open(&path).unwrap();
    let read = Gguf::read(&path).unwrap();
    let shared = Gguf::from_bytes(SAMPLE.to_vec()).unwrap();
    assert_eq!(mapped.path(), Some(path.as_path()));
    for file in [&mapped, &read, &shared] {
        assert_eq!(
            file.metadata(),
            Gguf::from_static(SAMPLE).unwrap().metadata()
        );
        assert_eq!(file.file_bytes(), SAMPLE.len() as u64);
        for (a, b) in file.iter().zip(mapped.iter()) {
            assert_eq!((a.info, a.data), (b.info, b.data));
        }
    }
}

#[test]
fn version_2_has_the_same_layout() {
    let mut bytes = SAMPLE.to_vec();
    bytes[4] = 2;
    let file = Gguf::from_bytes(bytes).unwrap();
    assert_eq!((file.version(), file.tensors().len()), (2, 5));
}

#[test]
fn files_are_shared_between_threads() {
    let file = std::sync::Arc::new(Gguf::from_static(SAMPLE).unwrap());
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || file.tensor("f16").unwrap().to_f32().unwrap())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap().len(), 192);
    }
}

#[test]
fn descriptions_show_everything_shortly() {
    let text = Gguf::from_static(SAMPLE).unwrap().describe();
    for line in [
        "<memory>: GGUF version 3, 3.94 KiB, alignment 64",
        "Metadata (22 keys)",
        "  t.f64                 1e300",
        "  t.string              \"rope ⚓ walk\"",
        "  t.strings             [\"a\", \"\", \"Ġthe\", \"⚓\"] (4 string)",
        "  t.nested              [array of 2 i32, array of 1 i32] (2 array)",
        "  q4_k  [2, 512]            Q4_K          576 B",
        "  Q8_0        1 tensors             384 values       408 B   8.500 bits per value",
        "  all         5 tensors            1989 values    2.86 KiB  11.761 bits per value",
    ] {
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}
