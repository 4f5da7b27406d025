//! Importance matrices: both file formats, and what is refused.

use ropewalk_gguf::{Importance, ImportanceMatrix};

use crate::TempDir;

fn sample() -> ImportanceMatrix {
    let mut matrix = ImportanceMatrix::new()
        .with_chunks(3, 512)
        .with_dataset("wiki.train.raw")
        .with_dataset("code.txt");
    let stack = Importance::new(vec![2.0, 4.0, 0.0, 0.0, 9.0, 3.0], vec![2.0, 0.0, 3.0]);
    let plain = Importance::new(vec![0.5, 0.0, 8.0], vec![4.0]);
    let name = |n: &str| format!("blk.0.{n}.weight");
    matrix.entries.insert(name("ffn_down_exps"), stack);
    matrix.entries.insert(name("attn_q"), plain);
    matrix
}

#[test]
fn what_is_written_is_read() {
    let dir = TempDir::new("imatrix");
    let path = dir.0.join("imatrix.gguf");
    sample().write(&path).unwrap();
    let read = ImportanceMatrix::open(&path).unwrap();
    assert_eq!(read, sample());
    let weights = read.entries["blk.0.ffn_down_exps.weight"].weights();
    // The expert that was never used has the same importance throughout.
    assert_eq!(weights, [1.0, 2.0, 1.0, 1.0, 3.0, 1.0]);
    assert_eq!(dir.names(), ["imatrix.gguf"]);
}

/// The old format: counts, then `name calls values`, then chunks and the text.
fn old(entries: &[(&str, i32, &[f32])], tail: bool) -> Vec<u8> {
    let mut out = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, calls, values) in entries {
        out.extend((name.len() as i32).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(calls.to_le_bytes());
        out.extend((values.len() as i32).to_le_bytes());
        out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    if tail {
        out.extend(7_i32.to_le_bytes());
        out.extend(8_i32.to_le_bytes());
        out.extend(b"wiki.txt");
    }
    out
}

#[test]
fn the_old_format_is_read() {
    let entries: [(&str, i32, &[f32]); 2] = [("a", 4, &[8.0, 2.0]), ("b", 0, &[3.0])];
    let read = ImportanceMatrix::from_bytes(old(&entries, true)).unwrap();
    assert_eq!((read.chunks, read.chunk_size), (7, 0));
    assert_eq!(read.datasets, ["wiki.txt"]);
    assert_eq!(read.entries["a"].weights(), [2.0, 0.5]);
    assert_eq!(read.entries["b"].weights(), [3.0]);
    let early = ImportanceMatrix::from_bytes(old(&entries, false)).unwrap();
    assert_eq!((early.chunks, early.datasets.len()), (0, 0));
    // Every shorter file is refused, with the exception of the one without a tail.
    let whole = old(&entries, true);
    for n in 0..whole.len() {
        let result = ImportanceMatrix::from_bytes(&whole[..n]);
        assert_eq!(result.is_ok(), n == whole.len() - 16, "{n}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let text = |bytes: Vec<u8>| ImportanceMatrix::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(
        text(old(&[("a", 1, &[f32::NAN])], true)),
        "importance of `a`: NaN among its values; collect the importance matrix again"
    );
    assert!(text(old(&[("a", 1, &[-1.0])], true)).contains("-1 among its values"));
    assert!(text(old(&[("a", 1, &[])], true)).contains("there are no values"));
    assert!(text(old(&[("a", 1, &[1.0]), ("a", 1, &[1.0])], true)).contains("`a` occurs twice"));
    assert!(text(old(&[], true)).contains("it has no entries"));
    assert!(text(b"\xff\xff\xff\xff".to_vec()).contains("is truncated"));
    let model = crate::sample::SAMPLE.to_vec();
    assert!(text(model).contains("is no importance matrix: it has no imatrix.chunk_count"));
    let mut uneven = sample();
    let entry = Importance::new(vec![1.0; 5], vec![1.0; 2]);
    uneven.entries.insert("x".into(), entry);
    let error = uneven.to_bytes().unwrap_err().to_string();
    assert!(error.contains("5 sums are not whole columns of 2 matrices"));
}
