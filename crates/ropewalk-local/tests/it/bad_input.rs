//! Mistakes get one line that names the thing.

use std::error::Error as _;
use std::path::Path;

use ropewalk_gguf::{Gguf, TensorInfo, TensorType, Writer};
use ropewalk_local::{Error, GenerateOptions, Generation, LoadOptions, Model};
use ropewalk_spec::testing::TempDir;

use crate::families::from_gguf;
use crate::golden::cases;

/// The error and its causes as one line.
fn line(e: &Error) -> String {
    let mut out = e.to_string();
    let mut source = e.source();
    while let Some(e) = source {
        out += &format!(": {e}");
        source = e.source();
    }
    out
}

fn open(path: &Path) -> String {
    let e = Model::open(path, &LoadOptions::default()).unwrap_err();
    let text = line(&e);
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn paths_that_are_no_model() {
    let dir = TempDir::new().unwrap();
    let missing = dir.join("nothing.gguf");
    assert!(open(&missing).contains("nothing.gguf"));
    assert!(open(dir.path()).contains("no config.json"));
    std::fs::write(dir.join("text.gguf"), "hello").unwrap();
    assert!(open(&dir.join("text.gguf")).contains("text.gguf"));
    std::fs::write(
        dir.join("config.json"),
        r#"{"architectures":["BertModel"]}"#,
    )
    .unwrap();
    assert!(open(dir.path()).contains("BertModel"));
    std::fs::write(dir.join("config.json"), "{").unwrap();
    assert!(open(dir.path()).contains("config.json"));
}

#[test]
fn files_that_are_cut_or_lack_a_tensor() {
    let case = &cases()[0];
    let whole = case.model.gguf(|_| TensorType::F32).unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.join("cut.gguf");
    for keep in [0, 3, 11, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..keep]).unwrap();
        assert!(open(&path).contains("cut.gguf"), "{keep}");
    }
    // One letter of a name changed: the tensor is then missing.
    let mut bytes = whole;
    let at = bytes
        .windows(12)
        .position(|w| w == b"blk.1.ffn_up")
        .unwrap();
    bytes[at + 11] = b'x';
    std::fs::write(&path, &bytes).unwrap();
    assert!(open(&path).contains("blk.1.ffn_up"), "{}", open(&path));
}

/// Writes the model again, with changes to its metadata and to one tensor.
fn changed(whole: &Gguf, key: Option<(&str, u32)>, retyped: Option<(&str, TensorType)>) -> Vec<u8> {
    let mut writer = Writer::new();
    for (name, value) in whole.metadata().iter() {
        writer.set(name, value.clone());
    }
    if let Some((key, value)) = key {
        writer.set(key, value);
    }
    let ty = |name: &str, ty| retyped.filter(|(n, _)| *n == name).map_or(ty, |(_, ty)| ty);
    for info in whole.tensors() {
        let ty = ty(&info.name, info.ty);
        writer
            .tensor(TensorInfo::from_shape(&info.name, &info.shape(), ty).unwrap())
            .unwrap();
    }
    let mut out = writer.begin(Vec::new()).unwrap();
    for tensor in whole.iter() {
        let info = TensorInfo::from_shape(
            &tensor.info.name,
            &tensor.info.shape(),
            ty(&tensor.info.name, tensor.info.ty),
        );
        let mut data = tensor.data.to_vec();
        data.resize(info.unwrap().n_bytes(), 0);
        out.tensor_data(&tensor.info.name, &data).unwrap();
    }
    out.finish().unwrap()
}

#[test]
fn shapes_types_and_architectures_that_do_not_fit() {
    let case = cases()
        .into_iter()
        .find(|c| c.name == "llama3_256")
        .unwrap();
    let whole = Gguf::from_bytes(case.model.gguf(|_| TensorType::Q8_0).unwrap()).unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.join("odd.gguf");
    for (key, retyped, names) in [
        (
            Some(("llama.feed_forward_length", 768)),
            None,
            &["ffn_", "512", "768"][..],
        ),
        (
            Some(("llama.attention.head_count_kv", 3)),
            None,
            &["3 key-value heads"],
        ),
        (
            None,
            Some(("blk.0.attn_q.weight", TensorType::I64)),
            &["I64"],
        ),
    ] {
        std::fs::write(&path, changed(&whole, key, retyped)).unwrap();
        let text = open(&path);
        for name in names {
            assert!(text.contains(name), "{text} does not name {name}");
        }
    }
    let mut bytes = changed(&whole, None, None);
    let at = bytes.windows(5).position(|w| w == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"lamma");
    std::fs::write(&path, &bytes).unwrap();
    assert!(open(&path).contains("lamma"), "{}", open(&path));
}

#[test]
fn prompts_that_cannot_run() {
    let model = from_gguf(
        cases()[0].model.gguf(|_| TensorType::F32).unwrap(),
        &LoadOptions::default().with_context(8),
    );
    let mut cache = model.new_cache();
    let run = |cache: &mut _, ids: &[u32]| line(&model.forward(cache, ids).unwrap_err());
    assert_eq!(
        run(&mut cache, &[]),
        "the prompt is empty; give at least one token"
    );
    assert_eq!(
        run(&mut cache, &[1, 320]),
        "token id 320 is not in the vocabulary of 320"
    );
    assert!(run(&mut cache, &[1; 9]).starts_with("9 tokens do not fit the context of 8"));
    assert!(cache.is_empty());
    let forever = GenerateOptions::greedy(100).with_stop_ids([]);
    let mut tokens = Generation::new(&model, &mut cache, &[1, 2, 3], &forever).unwrap();
    // Five more fit; the sixth is chosen from the logits of the last.
    assert_eq!(tokens.by_ref().count(), 6);
    assert_eq!(tokens.finish(), Some(ropewalk_local::Finish::Context));
    let bytes = cases()[0].model.gguf(|_| TensorType::F32).unwrap();
    let gguf = std::sync::Arc::new(Gguf::from_bytes(bytes).unwrap());
    for tokens in [1 << 40, usize::MAX / 2, usize::MAX] {
        let huge = LoadOptions::default().with_context(tokens);
        let e = Model::from_gguf(gguf.clone(), &huge).unwrap_err();
        assert!(matches!(e, Error::ContextLength { .. }), "{e}");
        assert!(e.to_string().contains(&tokens.to_string()), "{e}");
    }
}
