//! Coding weights while a model loads.

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;
use ropewalk_local::{HeadRule, LoadOptions, LoadQuantize, Model, WeightFormat};
use ropewalk_spec::testing::{TempDir, prompt};
use ropewalk_spec::{Dtype, Role, StoredTensor};

use crate::families::{exact, from_gguf};
use crate::golden::{GoldenCase, cases};

const TYPES: [TensorType; 12] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
];

fn wide() -> GoldenCase {
    let mut cases = cases().into_iter();
    cases.find(|c| c.name == "llama3_256").unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let ids = prompt(5, 20, model.spec().vocab_size);
    model.forward_all(&mut model.new_cache(), &ids).unwrap()
}

/// Root of the mean squared difference, relative to that of the values.
fn error(found: &[f32], want: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = found.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (difference / want.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// F32 for what a rule that keeps the head leaves alone, `ty` for the rest.
fn projections(ty: TensorType) -> impl Fn(&StoredTensor) -> TensorType {
    move |t| {
        let kept = [Role::Embed, Role::Head, Role::Router];
        if t.shape.len() < 2 || t.roles.iter().any(|r| kept.contains(r)) {
            TensorType::F32
        } else {
            ty
        }
    }
}

fn rule(format: WeightFormat) -> LoadQuantize {
    LoadQuantize::new(format).with_head(HeadRule::Kept)
}

#[test]
fn a_model_coded_on_load_is_the_file_of_that_type() {
    let case = wide();
    let plain = case.model.gguf(|_| TensorType::F32).unwrap();
    let dir = TempDir::new().unwrap();
    case.model.write_hf(dir.path(), |_| Dtype::F32, 2).unwrap();
    for ty in TYPES {
        let file = from_gguf(case.model.gguf(projections(ty)).unwrap(), &exact());
        let options = exact().with_quantize(rule(WeightFormat::Gguf(ty)));
        let coded = from_gguf(plain.clone(), &options);
        let from_dir = Model::open(dir.path(), &options).unwrap();
        let want = logits(&file);
        assert!(logits(&coded) == want, "{ty}: from a file");
        assert!(logits(&from_dir) == want, "{ty}: from a directory");
        assert_eq!(coded.weight_bytes(), file.weight_bytes(), "{ty}");
    }
}

#[test]
fn the_formats_of_bitsandbytes_are_small_and_near() {
    let case = wide();
    let plain = from_gguf(case.model.gguf(|_| TensorType::F32).unwrap(), &exact());
    let want = logits(&plain);
    let bytes = case.model.gguf(|_| TensorType::F32).unwrap();
    let mut errors = Vec::new();
    // The head stays f32, so sizes are those of the projections.
    let head = 4 * plain.spec().vocab_size * plain.spec().hidden;
    let projections = (plain.weight_bytes() - head) as f64;
    for (format, most, share) in [
        (WeightFormat::Int8, 0.03, 8.7),
        (WeightFormat::Nf4, 0.4, 4.6),
        (WeightFormat::Nf4Double, 0.4, 4.6),
        (WeightFormat::Fp4, 0.5, 4.6),
    ] {
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let options = exact().with_isa(isa).with_quantize(rule(format));
            let model = from_gguf(bytes.clone(), &options);
            let found = logits(&model);
            let e = error(&found, &want);
            assert!(
                e > 1e-4 && e < most,
                "{format} on {isa}: relative error {e:.2e}"
            );
            let bits = 32.0 * (model.weight_bytes() - head) as f64 / projections;
            assert!(bits < share, "{format}: {bits} bits per weight");
            let first = first.get_or_insert_with(|| found.clone());
            let e = error(&found, first);
            assert!(e < 0.015, "{format} on {isa}: {e:.2e} from the scalar tier");
        }
        errors.push(error(&first.unwrap(), &want));
    }
    let [int8, nf4, double, fp4] = errors[..] else {
        panic!("four formats");
    };
    assert!(int8 < nf4 && nf4 < fp4 && (double - nf4).abs() < 0.2 * nf4);
}

#[test]
fn rules_speak_for_head_and_roles() {
    let case = wide();
    let bytes = case.model.gguf(|_| TensorType::F32).unwrap();
    let size = |rule: LoadQuantize| {
        let model = from_gguf(bytes.clone(), &exact().with_quantize(rule));
        model.weight_bytes()
    };
    let q4 = WeightFormat::Gguf(TensorType::Q4_K);
    let kept = size(rule(q4));
    let higher = size(LoadQuantize::new(q4));
    let same = size(LoadQuantize::new(q4).with_head(HeadRule::Same));
    assert!(same < higher && higher < kept, "{same} {higher} {kept}");
    let f32_down = size(rule(q4).with_role(Role::Down, WeightFormat::Gguf(TensorType::F32)));
    let spec = &case.model.spec;
    let down = spec.layers * spec.hidden * spec.ffn;
    // 27 bits more for each weight of the matrix (4.625 packed, and padding of tiles).
    assert!(f32_down - kept > 3 * down && f32_down - kept < 4 * down);
}

#[test]
fn what_cannot_be_coded_is_refused() {
    let case = wide();
    let q8 = case.model.gguf(|_| TensorType::Q8_0).unwrap();
    let open = |options: &LoadOptions| {
        let gguf = ropewalk_gguf::Gguf::from_bytes(q8.clone()).unwrap();
        Model::from_gguf(std::sync::Arc::new(gguf), options)
    };
    let q4 = rule(WeightFormat::Gguf(TensorType::Q4_0));
    let error = open(&exact().with_quantize(q4.clone())).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("Q8_0") && text.contains("with_requantize"),
        "{text}"
    );
    let twice = open(&exact().with_quantize(q4.with_requantize(true))).unwrap();
    assert!(twice.weight_bytes() < open(&exact()).unwrap().weight_bytes());
    // The type that the file has anyway changes nothing.
    let same = open(&exact().with_quantize(rule(WeightFormat::Gguf(TensorType::Q8_0)))).unwrap();
    assert_eq!(logits(&same), logits(&open(&exact()).unwrap()));
    let unknown = rule(WeightFormat::Gguf(TensorType::Q8_K));
    let error = open(&exact().with_quantize(unknown)).unwrap_err();
    assert!(error.to_string().contains("Q8_K"), "{error}");
    // What is read row by row, and what is no matrix.
    for role in [Role::Embed, Role::AttnNorm] {
        let rule = rule(WeightFormat::Int8).with_role(role, WeightFormat::Int8);
        let error = open(&exact().with_quantize(rule)).unwrap_err();
        assert!(error.to_string().contains(&format!("{role:?}")), "{error}");
    }
}

#[test]
fn a_weight_that_is_not_a_number_is_named() {
    let case = wide();
    let dir = TempDir::new().unwrap();
    case.model.write_hf(dir.path(), |_| Dtype::F32, 1).unwrap();
    let path = dir.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let at = &json["model.layers.0.mlp.up_proj.weight"]["data_offsets"][0];
    let at = 8 + header + at.as_u64().unwrap() as usize + 40;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    for format in [
        WeightFormat::Nf4,
        WeightFormat::Int8,
        WeightFormat::Gguf(TensorType::Q4_K),
    ] {
        let error = Model::open(dir.path(), &exact().with_quantize(rule(format))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("weight Up cannot be coded as {format}")
        );
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("10"), "{cause}");
    }
}
