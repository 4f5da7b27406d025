//! Quantising files: the types llama.cpp chooses (`../fixtures/make_types.py`), options, errors,
//! parts.

use ropewalk_gguf::{
    FileType, Gguf, Importance, ImportanceMatrix, QuantizePlan, SplitPlan, TensorInfo, TensorType,
    Writer, merge, quantize, quantize_with, requantize, split,
};

use crate::TempDir;

const TYPES: &str = include_str!("../fixtures/types.txt");

/// A model without weights worth the name, as the script writes it.
#[derive(Default)]
struct Model {
    writer: Writer,
    tensors: Vec<String>,
}

impl Model {
    fn file(&self) -> Gguf {
        let mut out = self.writer.begin(Vec::new()).unwrap();
        for info in self.writer.tensors() {
            let values: Vec<f32> = (0..info.n_elements()).map(|i| (i as f32).sin()).collect();
            out.tensor_f32(&info.name, &values).unwrap();
        }
        Gguf::from_bytes(out.finish().unwrap()).unwrap()
    }

    fn importance(&self) -> ImportanceMatrix {
        let mut matrix = ImportanceMatrix::new();
        for info in self.writer.tensors() {
            let n = info.cols() * info.dims.iter().skip(2).product::<usize>();
            let entry = Importance::new(vec![1.0; n], vec![1.0]);
            matrix.entries.insert(info.name.clone(), entry);
        }
        matrix
    }

    fn add(&mut self, name: &str, dims: &[usize]) {
        let info = TensorInfo::from_dims(name, dims, TensorType::F32).unwrap();
        self.writer.tensor(info).unwrap();
        self.tensors.push(name.to_owned());
    }

    /// Compares the types of one line with those that the plan gives.
    fn check(&self, name: &str, rest: &str) -> usize {
        let (id, rest) = rest.split_once(' ').unwrap();
        let (with, runs) = rest.split_once(' ').unwrap();
        let ty = FileType::from_u32(id.parse().unwrap()).unwrap();
        let expected: Vec<TensorType> = runs
            .split_terminator(',')
            .flat_map(|run| {
                let id = u32::from(run.as_bytes()[0]) - 48;
                let n = run[1..].parse().unwrap();
                std::iter::repeat_n(TensorType::from_u32(id).unwrap(), n)
            })
            .collect();
        for with in with.chars() {
            let mut plan = QuantizePlan::new(ty);
            if with == '1' {
                plan = plan.with_importance(self.importance(), "imatrix.gguf");
            }
            let targets = plan.types(&self.file()).unwrap();
            for (tensor, expected) in self.tensors.iter().zip(&expected) {
                let target = targets.iter().find(|t| t.name == *tensor).unwrap();
                assert_eq!(target.ty, *expected, "{name} as {ty}: {tensor} ({with})");
            }
            assert_eq!(
                (targets.len(), expected.len()),
                (expected.len(), targets.len())
            );
        }
        with.len()
    }
}

#[test]
fn types_are_those_of_llama_cpp() {
    let (mut model, mut name, mut checked) = (Model::default(), "", 0);
    for line in TYPES.lines() {
        let (key, rest) = line.split_once(' ').unwrap();
        match key {
            "model" => (model, name) = (Model::default(), rest),
            "type" => checked += model.check(name, rest),
            "tensor" => {
                let (tensor, dims) = rest.split_once(' ').unwrap();
                let dims: Vec<usize> = dims.split(' ').map(|n| n.parse().unwrap()).collect();
                model.add(tensor, &dims);
            }
            "general.architecture" => _ = model.writer.set(key, rest),
            _ => _ = model.writer.set(key, rest.parse::<u32>().unwrap()),
        }
    }
    // 14 models: 35 types with importance, 26 without.
    assert!(checked > 800, "{checked}");
}

/// Eight layers, with a stack of experts in each.
fn small() -> Model {
    let mut model = Model::default();
    model.writer.set("general.architecture", "llama");
    model.writer.set("llama.block_count", 2_u32);
    model.writer.set("llama.expert_count", 3_u32);
    model.writer.set("general.file_type", 0_u32);
    model.writer.set("general.name", "small");
    model.add("output.weight", &[256, 3]);
    model.add("output_norm.weight", &[256]);
    for layer in 0..2 {
        model.add(&format!("blk.{layer}.attn_q.weight"), &[256, 5]);
        model.add(&format!("blk.{layer}.ffn_down_exps.weight"), &[256, 2, 3]);
    }
    model
}

#[test]
fn tensors_are_coded_with_the_importance_of_their_expert() {
    let dir = TempDir::new("requant-experts");
    let (model, source) = (small(), small().file());
    let mut matrix = model.importance().with_chunks(5, 64).with_dataset("a.txt");
    let sums: Vec<f32> = (0..768)
        .map(|i| (i % 7) as f32 + (i / 256) as f32)
        .collect();
    let entry = Importance::new(sums.clone(), vec![1.0, 2.0, 4.0]);
    let name = "blk.1.ffn_down_exps.weight";
    matrix.entries.insert(name.into(), entry);
    matrix.entries.remove("blk.0.attn_q.weight");
    for threads in [1, 3] {
        let path = dir.0.join("out.gguf");
        let plan = QuantizePlan::new(FileType::Q4_K_S)
            .with_importance(matrix.clone(), "imatrix.gguf")
            .with_threads(threads);
        let mut seen = Vec::new();
        let summary = requantize(&source, &path, &plan, &mut |p| {
            seen.push((p.tensor.to_owned(), p.done, p.total));
        })
        .unwrap();
        assert_eq!(seen.len(), 6);
        assert_eq!(seen[5].1, seen[5].2);
        assert_eq!(summary.without_importance, ["blk.0.attn_q.weight"]);
        assert_eq!(summary.paths, std::slice::from_ref(&path));
        assert_eq!(summary.types.values().sum::<usize>(), 6);

        let file = Gguf::read(&path).unwrap();
        let tensor = file.require(name).unwrap();
        let values = source.require(name).unwrap().to_f32().unwrap();
        let mut expected = Vec::new();
        for (expert, values) in values.chunks(512).enumerate() {
            let count = [1.0, 2.0, 4.0][expert];
            let weights: Vec<f32> = sums[256 * expert..][..256]
                .iter()
                .map(|s| s / count)
                .collect();
            expected.extend(quantize_with(tensor.info.ty, values, 256, Some(&weights)).unwrap());
        }
        assert!(tensor.info.ty.is_quantized() && tensor.data == expected);
        let norm = file.require("output_norm.weight").unwrap();
        assert_eq!(norm.info.ty, TensorType::F32);
        let keys: Vec<_> = file.metadata().iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys[3..],
            [
                "general.name",
                "general.quantization_version",
                "general.file_type",
                "quantize.imatrix.file",
                "quantize.imatrix.dataset",
                "quantize.imatrix.entries_count",
                "quantize.imatrix.chunks_count",
            ]
        );
        assert_eq!(file.metadata().u32("general.file_type").unwrap(), Some(14));
    }
}

#[test]
fn options_change_types() {
    let source = small().file();
    let types = |plan: QuantizePlan| -> Vec<TensorType> {
        let targets = plan.types(&source).unwrap();
        targets.iter().map(|target| target.ty).collect()
    };
    use TensorType::{F32, Q4_K, Q5_K, Q6_K, Q8_0};
    let plan = || QuantizePlan::new(FileType::Q4_K_M);
    // Order: output, norm, then by layer and name.
    assert_eq!(types(plan()), [Q6_K, F32, Q4_K, Q4_K, Q4_K, Q6_K]);
    let pure = types(plan().with_pure(true));
    assert_eq!(pure, [Q4_K, F32, Q4_K, Q4_K, Q4_K, Q4_K]);
    assert_eq!(types(plan().with_output_type(Q8_0))[0], Q8_0);
    assert_eq!(types(plan().with_output_kept(true))[0], F32);
    let some = types(plan().with_tensor_type("blk.1.", Q5_K));
    assert_eq!(some, [Q6_K, F32, Q4_K, Q4_K, Q5_K, Q5_K]);
    assert_eq!(types(QuantizePlan::copy()), [F32; 6]);
}

#[test]
fn what_cannot_be_done_is_said_and_leaves_nothing() {
    let dir = TempDir::new("requant-errors");
    let path = dir.0.join("out.gguf");
    let source = small().file();
    let refuse = |source: &Gguf, plan: &QuantizePlan| {
        let error = requantize(source, &path, plan, &mut |_| {}).unwrap_err();
        assert!(dir.names().is_empty(), "{:?}", dir.names());
        let inner = std::error::Error::source(&error).map(ToString::to_string);
        [error.to_string(), inner.unwrap_or_default()].join(": ")
    };
    let text = refuse(&source, &QuantizePlan::new(FileType::IQ2_XS));
    assert!(text.contains("IQ2_XS needs an importance matrix"), "{text}");

    let mut matrix = small().importance();
    let name = "blk.0.attn_q.weight";
    matrix
        .entries
        .insert(name.into(), Importance::new(vec![1.0; 255], vec![1.0]));
    let plan = QuantizePlan::new(FileType::Q4_0).with_importance(matrix.clone(), "i");
    let text = refuse(&source, &plan);
    assert!(text.contains("255 values for 256 columns"), "{text}");
    matrix.entries.remove(name);
    let plan = QuantizePlan::new(FileType::IQ2_XXS).with_importance(matrix, "i");
    let text = refuse(&source, &plan);
    assert!(text.contains("the importance matrix has none"), "{text}");

    let mut broken = Model::default();
    broken.add("a.weight", &[256, 4]);
    let mut out = broken.writer.begin(Vec::new()).unwrap();
    let mut values = vec![0.5; 1024];
    values[700] = f32::NAN;
    out.tensor_f32("a.weight", &values).unwrap();
    let broken = Gguf::from_bytes(out.finish().unwrap()).unwrap();
    let text = refuse(&broken, &QuantizePlan::new(FileType::Q8_0));
    assert!(
        text.starts_with("cannot convert tensor `a.weight`: value NaN at index 700"),
        "{text}"
    );
}

#[test]
fn quantised_tensors_are_a_source_when_allowed() {
    let dir = TempDir::new("requant-again");
    let plan = |ty| QuantizePlan::new(ty);
    let first = dir.0.join("first.gguf");
    requantize(&small().file(), &first, &plan(FileType::Q8_0), &mut |_| {}).unwrap();
    let file = Gguf::open(&first).unwrap();
    let second = dir.0.join("second.gguf");
    let error = requantize(&file, &second, &plan(FileType::Q4_0), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("it is Q8_0 already"), "{error}");
    let error = requantize(&file, &first, &plan(FileType::Q8_0), &mut |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("it is the model that is read"),
        "{error}"
    );
    let plan = plan(FileType::Q4_0).with_requantize(true).with_pure(true);
    requantize(&file, &second, &plan, &mut |_| {}).unwrap();
    let name = "blk.0.attn_q.weight";
    let values = file.require(name).unwrap().to_f32().unwrap();
    let again = Gguf::open(&second).unwrap();
    let expected = quantize(TensorType::Q4_0, &values).unwrap();
    assert!(again.require(name).unwrap().data == expected);
}

fn same(a: &Gguf, b: &Gguf) {
    assert_eq!(a.metadata(), b.metadata());
    assert_eq!(a.tensors().len(), b.tensors().len());
    for (a, b) in a.iter().zip(b.iter()) {
        assert_eq!(
            (&a.info.name, &a.info.dims, a.info.ty),
            (&b.info.name, &b.info.dims, b.info.ty)
        );
        assert!(a.data == b.data);
    }
}

#[test]
fn parts_are_merged_to_what_was_split() {
    let dir = TempDir::new("requant-parts");
    let whole = small().file();
    for (plan, expected) in [
        (SplitPlan::by_tensors(4), vec![4, 2]),
        (
            SplitPlan::by_tensors(4).with_empty_first(true),
            vec![0, 4, 2],
        ),
        (SplitPlan::by_bytes(8192), vec![2, 1, 1, 1, 1]),
        (SplitPlan::by_bytes(1), vec![1; 6]),
        (SplitPlan::by_tensors(9), vec![6]),
    ] {
        let paths = split(&whole, dir.0.join("m.gguf"), &plan, &mut |_| {}).unwrap();
        let parts = Gguf::open(&paths[0]).unwrap();
        let mut counts = vec![0; expected.len()];
        if paths.len() > 1 {
            let (name, n) = (paths[1].to_string_lossy(), expected.len());
            assert!(name.ends_with(&format!("m-00002-of-{n:05}.gguf")), "{name}");
            let first = parts.metadata();
            assert_eq!(first.u32("split.count").unwrap(), Some(n as u32));
            assert_eq!(first.i32("split.tensors.count").unwrap(), Some(6));
        }
        for (count, path) in counts.iter_mut().zip(&paths) {
            let bytes = std::fs::read(path).unwrap();
            *count = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
        }
        assert_eq!(counts, expected);
        let merged = merge(&parts, dir.0.join("merged.gguf"), &mut |_| {}).unwrap();
        same(&Gguf::open(merged).unwrap(), &whole);

        // Quantising keeps the parts where it is asked to.
        let plan = QuantizePlan::new(FileType::Q8_0).with_split_kept(true);
        let summary = requantize(&parts, dir.0.join("q"), &plan, &mut |_| {}).unwrap();
        assert_eq!(summary.paths.len(), expected.len());
        let kept = Gguf::open(&summary.paths[0]).unwrap();
        assert_eq!(kept.tensors().len(), 6);
    }
}
