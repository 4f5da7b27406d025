//! Hugging Face directories as GGUF files: the same logits, the vocabulary, what goes wrong.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ropewalk_gguf::{FileType, Gguf, QuantizePlan, TensorType, requantize};
use ropewalk_local::convert::{Content, ConvertOptions, OutType, Summary, convert};
use ropewalk_local::{LoadOptions, Model, gguf_tokenizer};
use ropewalk_spec::Dtype;
use ropewalk_spec::testing::{Seeded, TempDir, prompt};
use ropewalk_tokens::Tokenizer;
use serde_json::{Value, json};

use crate::golden::{cases, directory};

/// The type of every tensor of a file.
fn types(file: &Path) -> Vec<(String, usize, TensorType)> {
    let file = Gguf::open(file).unwrap();
    let tensor = |t: &ropewalk_gguf::TensorInfo| (t.name.clone(), t.shape().len(), t.ty);
    file.tensors().iter().map(tensor).collect()
}

fn weights(outtype: OutType) -> ConvertOptions {
    ConvertOptions::new(outtype)
        .with_content(Content::Weights)
        .with_threads(NonZeroUsize::new(2).unwrap())
}

fn run(dir: &Path, out: &Path, options: &ConvertOptions) -> Summary {
    convert(dir, out, options, |_| {}).unwrap()
}

/// The logits after every token of a prompt.
fn logits(path: &Path, ids: &[u32]) -> Vec<f32> {
    let model = Model::open(path, &LoadOptions::default()).unwrap();
    model.forward_all(&mut model.new_cache(), ids).unwrap()
}

/// Both files hold the same f32 weights in other orders, which the reader undoes. Only rope
/// divisors (one rounding) and sums of fused matrices could differ; a wrong row order would by far.
#[test]
fn every_family_answers_from_the_file_as_from_the_directory() {
    let mut families = Vec::new();
    for case in cases() {
        let dir = TempDir::new().unwrap();
        let model = &case.model;
        model.write_hf(dir.path(), |_| Dtype::F32, 1).unwrap();
        let out = dir.join("model.gguf");
        if let Err(problem) = model.spec.gguf_metadata() {
            // Windows in some layers of a family whose files cannot say so.
            let error = convert(dir.path(), &out, &weights(OutType::F32), |_| {}).unwrap_err();
            assert_eq!(error.to_string(), problem.to_string());
            continue;
        }
        let summary = run(dir.path(), &out, &weights(OutType::F32));
        let windowed = model.spec.window[0].is_some() && summary.architecture == "llama";
        let warned = summary
            .warnings
            .iter()
            .any(|w| w.contains("sliding window"));
        assert_eq!(
            (warned, summary.warnings.len()),
            (windowed, usize::from(windowed)),
            "{}",
            case.name
        );
        assert_eq!(summary.bytes, fs::metadata(&out).unwrap().len());
        let ids = prompt(7, 40, model.spec.vocab_size);
        let (before, after) = (logits(dir.path(), &ids), logits(&out, &ids));
        let scale = before.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        assert!(scale > 0.1 && before.len() == after.len(), "{}", case.name);
        for (at, (a, b)) in before.iter().zip(&after).enumerate() {
            let place = (at / model.spec.vocab_size, at % model.spec.vocab_size);
            assert!(
                (a - b).abs() <= 2e-5 * scale,
                "{} {place:?}: {a} {b}",
                case.name
            );
        }
        families.push(model.spec.family);
    }
    families.sort_by_key(|family| family.name());
    families.dedup();
    assert!(families.len() >= 5, "{families:?}");
}

/// [`ropewalk_spec::ModelSpec::gguf_tensor`] makes whole tensors, the converter parts of them.
#[test]
fn the_file_is_that_of_the_reference_writer() {
    for case in cases() {
        let dir = TempDir::new().unwrap();
        if case.model.spec.gguf_metadata().is_err() {
            continue;
        }
        case.model.write_hf(dir.path(), |_| Dtype::F32, 3).unwrap();
        let out = dir.join("model.gguf");
        run(dir.path(), &out, &weights(OutType::F32));
        let ours = Gguf::open(&out).unwrap();
        let other = Gguf::from_bytes(case.model.gguf(|_| TensorType::F32).unwrap()).unwrap();
        assert_eq!(ours.tensors().len(), other.tensors().len(), "{}", case.name);
        for info in other.tensors() {
            let (a, b) = (
                ours.require(&info.name).unwrap(),
                other.require(&info.name).unwrap(),
            );
            assert_eq!(
                a.info.shape(),
                b.info.shape(),
                "{} {}",
                case.name,
                info.name
            );
            assert!(a.data == b.data, "{} {}", case.name, info.name);
        }
        for (key, value) in other.metadata().iter() {
            assert_eq!(ours.metadata().get(key), Some(value), "{} {key}", case.name);
        }
    }
}

#[test]
fn types_are_as_asked_where_rows_allow() {
    // Two shards in f32, f16 and bf16.
    let (path, _) = directory();
    let dir = TempDir::new().unwrap();
    let out = dir.join("model.gguf");
    for outtype in OutType::ALL {
        let summary = run(&path, &out, &weights(outtype));
        let found = types(&out);
        assert!(
            found
                .iter()
                .filter(|t| t.1 == 1)
                .all(|t| t.2 == TensorType::F32),
            "{found:?}"
        );
        let matrices: Vec<_> = found.iter().filter(|t| t.1 > 1).map(|t| t.2).collect();
        let kinds = |wanted: &[TensorType]| {
            assert!(
                wanted.iter().all(|ty| matrices.contains(ty)),
                "{outtype} {matrices:?}"
            );
            assert!(
                matrices.iter().all(|ty| wanted.contains(ty)),
                "{outtype} {matrices:?}"
            );
        };
        match outtype {
            OutType::F32 => kinds(&[TensorType::F32]),
            OutType::F16 => kinds(&[TensorType::F16]),
            OutType::BF16 => kinds(&[TensorType::BF16]),
            OutType::Auto => kinds(&[TensorType::F32, TensorType::F16, TensorType::BF16]),
            // Rows of 48 and 100 are no whole blocks.
            _ => kinds(&[TensorType::F16]),
        }
        let total: usize = summary.types.iter().map(|(_, count, _)| count).sum();
        assert_eq!(total, found.len());
        assert_eq!(outtype.to_string().parse::<OutType>().unwrap(), outtype);
    }
    let wide = cases()
        .into_iter()
        .find(super::golden::GoldenCase::is_wide)
        .unwrap();
    wide.model.write_hf(dir.path(), |_| Dtype::Bf16, 1).unwrap();
    run(dir.path(), &out, &weights(OutType::Q8_0));
    let found = types(&out);
    assert!(found.iter().any(|t| t.2 == TensorType::Q8_0), "{found:?}");
    let file = Gguf::open(&out).unwrap();
    assert_eq!(file.metadata().u32("general.file_type").unwrap(), Some(7));
    let pure: OutType = "pure-q4_k".parse().unwrap();
    assert_eq!(pure, OutType::Pure(TensorType::Q4_K));
    assert_eq!(pure.to_string(), "pure-q4_k");
    run(dir.path(), &out, &weights(pure));
    let matrices = |file: &Path| {
        let found = types(file).into_iter().filter(|t| t.1 > 1);
        found.map(|(name, _, ty)| (name, ty)).collect::<Vec<_>>()
    };
    let found = matrices(&out);
    assert!(
        found.iter().all(|(_, ty)| *ty == TensorType::Q4_K),
        "{found:?}"
    );
    let error = "q9_k".parse::<OutType>().unwrap_err().to_string();
    assert!(error.contains("q8_0") && error.contains("q9_k"), "{error}");
}

/// The mix is that of `requantize` on the unquantised file; of the latter nothing is left.
#[test]
fn a_mix_is_made_in_one_go() {
    let wide = cases()
        .into_iter()
        .find(super::golden::GoldenCase::is_wide)
        .unwrap();
    let dir = TempDir::new().unwrap();
    wide.model.write_hf(dir.path(), |_| Dtype::F32, 1).unwrap();
    let (whole, mixed, direct) = (dir.join("whole"), dir.join("mixed"), dir.join("direct"));
    let mix: OutType = "Q4_K_M".parse().unwrap();
    assert_eq!(mix, OutType::Quantized(FileType::Q4_K_M));
    let named = |outtype| weights(outtype).with_name("x");
    run(dir.path(), &whole, &named(OutType::Auto));
    let plan = QuantizePlan::new(FileType::Q4_K_M);
    requantize(&Gguf::open(&whole).unwrap(), &mixed, &plan, &mut |_| {}).unwrap();
    let mut passes = [0, 0];
    let summary = convert(dir.path(), &direct, &named(mix), |at| {
        passes[usize::from(at.quantizing)] += 1;
    });
    let file = fs::read(&direct).unwrap();
    assert!(file == fs::read(&mixed).unwrap());
    let summary = summary.unwrap();
    assert_eq!(summary.bytes, file.len() as u64);
    let count: usize = summary.types.iter().map(|t| t.1).sum();
    let rope = wide.model.spec.gguf_rope_tensors().len();
    assert_eq!(passes, [count - rope, count]);
    assert!(
        summary.types.iter().any(|t| t.0 == TensorType::Q6_K),
        "{:?}",
        summary.types
    );
    let names = fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name());
    assert!(
        names
            .into_iter()
            .all(|name| !name.to_string_lossy().starts_with('.'))
    );
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let wide = cases()
        .into_iter()
        .find(super::golden::GoldenCase::is_wide)
        .unwrap();
    let dir = TempDir::new().unwrap();
    wide.model.write_hf(dir.path(), |_| Dtype::F16, 1).unwrap();
    let bytes = |threads: usize| {
        let out = dir.join("model.gguf");
        let options = weights(OutType::Q8_0).with_threads(NonZeroUsize::new(threads).unwrap());
        run(dir.path(), &out, &options);
        fs::read(out).unwrap()
    };
    let one = bytes(1);
    assert!(one == bytes(3) && one.len() > 100_000);
}

/// A directory with a byte-level tokenizer of 2,000 tokens and a model of 2,016 rows.
fn with_vocabulary() -> TempDir {
    let dir = TempDir::new().unwrap();
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"], "vocab_size": 2016, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "eos_token_id": [1998, 1999], "tie_word_embeddings": true,
    });
    let spec = ropewalk_spec::ModelSpec::from_hf(&config).unwrap();
    Seeded::new(spec, 5)
        .write_hf(dir.path(), |_| Dtype::F32, 1)
        .unwrap();
    let fixtures =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ropewalk-tokens/tests/fixtures");
    let text = fs::read_to_string(fixtures.join("bytelevel.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
    tokenizer["post_processor"] = Value::Null;
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({
        "bos_token": null, "eos_token": "<|im_end|>", "chat_template": "{{ messages }}",
    });
    fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    let card = "---\nlicense: apache-2.0\ntags: [x]\n---\n# A model\n";
    fs::write(dir.join("README.md"), card).unwrap();
    dir
}

#[test]
fn vocabulary_and_description_come_along() {
    let dir = with_vocabulary();
    let out = dir.join("model.gguf");
    let options = ConvertOptions::new(OutType::Auto)
        .with_name("Tiny")
        .with_metadata("general.author", "somebody");
    let mut seen = Vec::new();
    let summary = convert(dir.path(), &out, &options, |at| {
        assert!(at.written <= at.total && at.index < at.tensors);
        seen.push(at.name.to_owned());
    });
    assert_eq!(summary.unwrap().warnings, [""; 0]);
    let file = Gguf::open(&out).unwrap();
    assert_eq!(seen.len(), file.tensors().len());
    let meta = file.metadata();
    for (key, value) in [
        ("general.name", "Tiny"),
        ("general.author", "somebody"),
        ("general.license", "apache-2.0"),
        ("general.size_label", "75K"),
        ("tokenizer.ggml.pre", "qwen2"),
        ("tokenizer.chat_template", "{{ messages }}"),
    ] {
        assert_eq!(meta.str(key).unwrap(), Some(value), "{key}");
    }
    assert_eq!(meta.u32("tokenizer.ggml.eos_token_id").unwrap(), Some(1998));
    assert_eq!(
        meta.strings("tokenizer.ggml.tokens")
            .unwrap()
            .unwrap()
            .len(),
        2016
    );
    let (before, after) = (
        Tokenizer::from_dir(dir.path()).unwrap(),
        gguf_tokenizer(&file).unwrap(),
    );
    for text in [
        "Tickets: 12 to Oslo, it's   late\n\n<|im_end|>",
        "größe 你好 🦙",
    ] {
        let ids = before.encode(text, true).unwrap();
        assert_eq!(after.encode(text, true).unwrap(), ids, "{text}");
    }
    assert!([1998, 1999].iter().all(|id| after.end_ids().contains(id)));

    let only = ConvertOptions::default().with_content(Content::Vocabulary);
    let summary = run(dir.path(), &out, &only);
    assert_eq!(summary.types, []);
    let file = Gguf::open(&out).unwrap();
    assert_eq!(file.tensors().len(), 0);
    assert_eq!(gguf_tokenizer(&file).unwrap().vocab_size(), 2016);
}

/// What is wrong is told in one line, and no file appears.
#[test]
fn what_is_wrong_is_told() {
    let wrong = |change: &dyn Fn(&TempDir), words: &[&str]| {
        let dir = with_vocabulary();
        change(&dir);
        let out = dir.join("model.gguf");
        let error = convert(dir.path(), &out, &ConvertOptions::default(), |_| {}).unwrap_err();
        let mut line = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            line += &format!(": {cause}");
            source = cause.source();
        }
        assert!(
            words.iter().all(|word| line.contains(word)) && !line.contains('\n'),
            "{line}"
        );
        assert!(!out.exists());
        let left = fs::read_dir(dir.path()).unwrap();
        let temporary = left.filter(|f| {
            f.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".tmp")
        });
        assert_eq!(temporary.count(), 0, "{line}");
    };
    let edit = |name: &'static str, from: &'static str, to: &'static str| {
        move |dir: &TempDir| {
            let text = fs::read(dir.join(name)).unwrap();
            let at = text
                .windows(from.len())
                .position(|w| w == from.as_bytes())
                .unwrap();
            let text = [&text[..at], to.as_bytes(), &text[at + from.len()..]].concat();
            fs::write(dir.join(name), text).unwrap();
        }
    };
    wrong(
        &|dir| fs::remove_file(dir.join("tokenizer.json")).unwrap(),
        &["tokenizer.json", "weights alone"],
    );
    wrong(
        &|dir| fs::write(dir.join("tokenizer.json"), "{").unwrap(),
        &["tokenizer.json"],
    );
    wrong(
        &|dir| fs::remove_file(dir.join("config.json")).unwrap(),
        &["config.json"],
    );
    wrong(
        &|dir| fs::remove_file(dir.join("model.safetensors")).unwrap(),
        &["model.safetensors"],
    );
    wrong(
        &|dir| {
            let bytes = fs::read(dir.join("model.safetensors")).unwrap();
            fs::write(dir.join("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
        },
        &["model.safetensors"],
    );
    wrong(
        &edit(
            "config.json",
            "\"vocab_size\": 2016",
            "\"vocab_size\": 1990",
        ),
        &["[1990, 32]"],
    );
    wrong(
        &edit("config.json", "Qwen2ForCausalLM", "BertForMaskedLM"),
        &["Bert", "encoder"],
    );
    wrong(
        &edit(
            "model.safetensors",
            "model.norm.weight",
            "model.nrom.weight",
        ),
        &["model.norm.weight"],
    );
    wrong(
        &edit("tokenizer.json", "\\\\p{N}|", "[a-z]|"),
        &["[a-z]|", "qwen2"],
    );
}

#[test]
fn values_that_a_type_cannot_hold_are_named() {
    let dir = with_vocabulary();
    let path = dir.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = json["model.layers.0.mlp.up_proj.weight"]["data_offsets"][0]
        .as_u64()
        .unwrap();
    let start = 8 + header + start as usize + 4 * 77;
    bytes[start..start + 4].copy_from_slice(&1e6_f32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let out = dir.join("model.gguf");
    for outtype in [OutType::F16, OutType::Q8_0] {
        let options = ConvertOptions::new(outtype);
        let error = convert(dir.path(), &out, &options, |_| {}).unwrap_err();
        assert!(
            error.to_string().contains("`blk.0.ffn_up.weight`"),
            "{error}"
        );
        assert!(!out.exists());
    }
    run(dir.path(), &out, &ConvertOptions::new(OutType::BF16));
    let folder = dir.join("folder");
    fs::create_dir(&folder).unwrap();
    let error = convert(dir.path(), &folder, &ConvertOptions::default(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("folder"), "{error}");
    let error = convert(&out, &folder, &ConvertOptions::default(), |_| {}).unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
}
