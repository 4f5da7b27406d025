//! Files that are broken in one way each. Every message is one line that names the file and item.

use ropewalk_gguf::Gguf;

use crate::raw::Raw;

fn refused(bytes: &[u8], expected: &str) {
    let error = Gguf::from_bytes(bytes).expect_err(expected).to_string();
    assert!(
        error.contains(expected),
        "`{error}` does not contain `{expected}`"
    );
    assert!(error.starts_with("`<memory>` "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn other_formats_are_recognised() {
    refused(b"", "is empty");
    refused(
        b"PK\x03\x04rest of a zip",
        "a zip archive or PyTorch checkpoint",
    );
    refused(b"tjgg\x03\0\0\0", "a ggml file from before GGUF");
    refused(b"\x40\0\0\0\0\0\0\0{\"a\":{}}", "a safetensors file");
    refused(b"{\"model_type\": \"llama\"}", "a JSON file");
    refused(b"<!DOCTYPE html>", "a web page");
    refused(
        b"version https://git-lfs.github.com/spec/v1",
        "a git-lfs pointer",
    );
    refused(
        b"\x7fELF",
        "is not a GGUF file (it does not begin with `GGUF`)",
    );
    refused(&Raw::header(1, 0, 0).0, "GGUF version 1");
    refused(
        &Raw::header(4, 0, 0).0,
        "GGUF version 4, versions 2 and 3 are read",
    );
    refused(
        &Raw::header(3_u32.swap_bytes(), 0, 0).0,
        "a big-endian GGUF file",
    );
}

#[test]
fn paths_that_are_not_files() {
    let error = |path: &std::path::Path| {
        let error = Gguf::open(path).unwrap_err();
        assert!(Gguf::read(path).is_err());
        let source = std::error::Error::source(&error).unwrap();
        format!("{error}: {source}")
    };
    let dir = crate::TempDir::new("paths");
    assert!(error(&dir.0).ends_with("it is a directory; pass the .gguf file inside it"));
    let absent = error(&dir.0.join("absent.gguf"));
    assert!(
        absent.starts_with("cannot open `") && absent.contains("absent.gguf"),
        "{absent}"
    );
}

#[test]
fn every_truncation_is_refused() {
    let bytes = crate::sample::SAMPLE;
    let file = Gguf::from_static(bytes).unwrap();
    let end = file
        .tensors()
        .iter()
        .map(|t| t.file_offset() + t.n_bytes())
        .max()
        .unwrap();
    for len in 0..end {
        let error = Gguf::from_bytes(&bytes[..len]).unwrap_err().to_string();
        assert!(error.contains("truncated") || len == 0, "{len}: {error}");
    }
    // The padding after the last tensor may be missing.
    assert!(Gguf::from_bytes(&bytes[..end]).is_ok());
}

#[test]
fn huge_counts_are_refused_before_allocation() {
    for huge in [1 << 20, u64::MAX / 13, u64::MAX] {
        refused(
            &Raw::header(3, 0, huge).bytes(&[0; 64]).0,
            "is truncated: metadata (",
        );
        refused(
            &Raw::header(3, huge, 0).bytes(&[0; 64]).0,
            "is truncated: the tensor list (",
        );
        refused(
            &Raw::header(3, 0, 1).u64(huge).bytes(&[b'k'; 9]).0,
            "metadata key 1 of 1",
        );
        let key = || Raw::header(3, 0, 1).text(b"k");
        refused(&key().u32(8).u64(huge).0, "the value of metadata key `k`");
        for element in 0..=12 {
            let bytes = key().u32(9).u32(element).u64(huge).bytes(&[0; 64]).0;
            refused(&bytes, "the value of metadata key `k` (");
        }
        let tensor = |dims: &[u64]| Raw::header(3, 1, 0).tensor("w", dims, 0, 0).data(32, 64);
        refused(&tensor(&[1 << 20, huge]), "`w`");
        refused(&tensor(&[huge]), "`w`");
    }
}

#[test]
fn types_are_checked() {
    let key = || Raw::header(3, 0, 1).text(b"k");
    refused(
        &key().u32(13).u64(0).0,
        "metadata key `k` has unknown value type 13",
    );
    refused(
        &key().u32(9).u32(99).u64(0).0,
        "metadata key `k` has unknown value type 99",
    );
    let nested = (0..40).fold(key().u32(9), |raw, _| raw.u32(9).u64(1));
    refused(
        &nested.u32(0).u64(0).0,
        "metadata key `k` nests arrays more than 8 deep",
    );
    let tensor = |ty| Raw::header(3, 1, 0).tensor("w", &[32], ty, 0).data(32, 128);
    refused(
        &tensor(31),
        "tensor `w` has type 31, a type ggml has withdrawn",
    );
    refused(
        &tensor(99),
        "tensor `w` has type 99, which is not known here; update ropewalk",
    );
}

#[test]
fn names_are_checked() {
    let twice = Raw::header(3, 0, 2).key_u32("k\n", 1).key_u32("k\n", 2);
    refused(&twice.0, r"metadata key `k\n` occurs twice");
    refused(
        &Raw::header(3, 0, 1).text(b"\xff").u32(4).u32(0).0,
        "metadata key 1 of 1 is not UTF-8",
    );
    let twice = Raw::header(3, 2, 0)
        .tensor("w", &[8], 0, 0)
        .tensor("w", &[8], 0, 32);
    refused(&twice.data(32, 64), "tensor `w` occurs twice");
    let bytes = Raw::header(3, 1, 0)
        .text(b"\xff")
        .u32(0)
        .u32(0)
        .u64(0)
        .data(32, 4);
    refused(&bytes, "the name of tensor 1 of 1 is not UTF-8");
}

#[test]
fn shapes_are_checked() {
    let tensor = |dims: &[u64], ty| Raw::header(3, 1, 0).tensor("w", dims, ty, 0).data(32, 256);
    refused(
        &tensor(&[1, 1, 1, 1, 1], 0),
        "tensor `w` has 5 dimensions, the format allows 4",
    );
    refused(
        &tensor(&[48, 2], 8),
        "rows of 48 values, which blocks of 32 (Q8_0) do not divide",
    );
    refused(&tensor(&[1 << 40, 1 << 40], 0), "whose size overflows");
    refused(&tensor(&[1 << 40, 1 << 40, 0], 0), "whose size overflows");
    let scalar = Gguf::from_bytes(tensor(&[], 0)).unwrap();
    assert_eq!(scalar.tensor("w").unwrap().to_f32().unwrap().len(), 1);
    let none = Gguf::from_bytes(tensor(&[32, 0], 8)).unwrap();
    assert!(none.tensor("w").unwrap().to_f32().unwrap().is_empty());
}

#[test]
fn places_are_checked() {
    let one = |offset| {
        Raw::header(3, 1, 0)
            .tensor("w", &[8], 0, offset)
            .data(32, 64)
    };
    refused(
        &one(4),
        "tensor `w` starts at offset 4, which is not a multiple of the alignment 32",
    );
    refused(&one(64), "is truncated: tensor `w` needs 32 bytes");
    refused(
        &one(u64::MAX - 31),
        "is truncated: tensor `w` needs 32 bytes",
    );
    let two = |b| {
        Raw::header(3, 2, 0)
            .tensor("a", &[16], 0, 0)
            .tensor("b", &[8], 0, b)
    };
    refused(&two(32).data(32, 128), "tensors `a` and `b` overlap");
    refused(&two(0).data(32, 128), "overlap");
    // Gaps and another order than that of the list are allowed.
    let swapped = Raw::header(3, 2, 0)
        .tensor("a", &[16], 0, 64)
        .tensor("b", &[8], 0, 0);
    assert!(Gguf::from_bytes(swapped.data(32, 128)).is_ok());
}

#[test]
fn alignment_is_checked() {
    let with = |n| Raw::header(3, 1, 1).key_u32("general.alignment", n);
    for bad in [0, 3, 33, u32::MAX] {
        let bytes = with(bad).tensor("w", &[8], 0, 0).data(32, 32);
        refused(
            &bytes,
            &format!("`general.alignment` is {bad}, a power of two is required"),
        );
    }
    let text = Raw::header(3, 0, 1)
        .text(b"general.alignment")
        .u32(8)
        .text(b"32");
    refused(&text.0, "`general.alignment` holds string, u32 is required");
    for good in [1, 8, 4096] {
        let bytes = with(good).tensor("w", &[8], 0, 0).data(good as usize, 32);
        let file = Gguf::from_bytes(bytes).unwrap();
        assert_eq!(file.tensor("w").unwrap().data, [0x55; 32]);
    }
    // Past the end of the file there is no data to place.
    refused(
        &with(1 << 31).tensor("w", &[8], 0, 0).0,
        "is truncated: tensor `w`",
    );
}

#[test]
fn strings_need_not_be_utf8_until_asked() {
    let pieces = Raw::header(3, 0, 2)
        .text(b"s")
        .u32(8)
        .text(b"\xf0\x9f")
        .text(b"pieces")
        .u32(9)
        .u32(8)
        .u64(2)
        .text(b"\xe2\x96")
        .text(b"ok");
    let file = Gguf::from_bytes(pieces.0).unwrap();
    assert!(
        file.metadata()
            .str("s")
            .unwrap_err()
            .to_string()
            .contains("not UTF-8")
    );
    let pieces = file.metadata().strings("pieces").unwrap().unwrap();
    assert_eq!(
        (pieces.get(0), pieces.str(0)),
        (Some(&b"\xe2\x96"[..]), None)
    );
    assert_eq!(pieces.str(1), Some("ok"));
}
