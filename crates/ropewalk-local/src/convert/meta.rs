//! The keys `general.*`.

use std::path::Path;

use ropewalk_gguf::{TensorType, Writer};
use ropewalk_spec::{ModelSpec, memory};

use super::OutType;
use super::plan::Target;

/// Version of the block formats (`GGML_QNT_VERSION`).
const QUANTIZATION_VERSION: u32 = 2;

/// Writes what is known of the model as a whole; [`ModelSpec::gguf_metadata`] says the rest.
pub(super) fn general(
    writer: &mut Writer,
    dir: &Path,
    spec: &ModelSpec,
    outtype: OutType,
    targets: &[Target],
) {
    writer.set("general.architecture", spec.family.gguf_architecture());
    writer.set("general.type", "model");
    let named = dir.canonicalize().ok();
    let named = named.as_deref().unwrap_or(dir).file_name();
    if let Some(name) = named.and_then(|name| name.to_str()) {
        writer.set("general.name", name.replace(['-', '_'], " "));
    }
    writer.set("general.size_label", size_label(spec));
    if let Some(license) = license(dir) {
        writer.set("general.license", license);
    }
    writer.set("general.file_type", file_type(outtype, targets));
    writer.set("general.quantization_version", QUANTIZATION_VERSION);
}

/// `llama_ftype` of `llama.h`: the type of most matrices.
fn file_type(outtype: OutType, targets: &[Target]) -> u32 {
    let matrices = targets.iter().filter(|t| t.shape.len() > 1);
    let first = matrices.map(|t| t.ty).find(|ty| *ty != TensorType::F32);
    let ty = match outtype {
        OutType::Auto => first.unwrap_or(TensorType::F32),
        OutType::F32 => TensorType::F32,
        OutType::F16 => TensorType::F16,
        OutType::BF16 => TensorType::BF16,
        OutType::Q8_0 => TensorType::Q8_0,
        OutType::Pure(ty) => ty,
    };
    FILE_TYPES
        .iter()
        .find(|(known, _)| *known == ty)
        .map_or(GUESSED, |(_, file_type)| *file_type)
}

/// `LLAMA_FTYPE_GUESSED`: see the tensors.
const GUESSED: u32 = 1024;

/// Types of files that are all of one type; for K-quants the smaller mix.
const FILE_TYPES: &[(TensorType, u32)] = &[
    (TensorType::F32, 0),
    (TensorType::F16, 1),
    (TensorType::Q4_0, 2),
    (TensorType::Q4_1, 3),
    (TensorType::Q8_0, 7),
    (TensorType::Q5_0, 8),
    (TensorType::Q5_1, 9),
    (TensorType::Q2_K, 10),
    (TensorType::Q3_K, 11),
    (TensorType::Q4_K, 14),
    (TensorType::Q5_K, 16),
    (TensorType::Q6_K, 18),
    (TensorType::IQ2_XXS, 19),
    (TensorType::IQ2_XS, 20),
    (TensorType::IQ3_XXS, 23),
    (TensorType::IQ1_S, 24),
    (TensorType::IQ4_NL, 25),
    (TensorType::IQ3_S, 26),
    (TensorType::IQ2_S, 28),
    (TensorType::IQ4_XS, 30),
    (TensorType::IQ1_M, 31),
    (TensorType::BF16, 32),
    (TensorType::TQ1_0, 36),
    (TensorType::TQ2_0, 37),
];

/// The number of parameters in two digits, such as `1.1B` or `8x7B`
/// (`size_label` of the `gguf` package).
fn size_label(spec: &ModelSpec) -> String {
    let total = memory(spec).parameters as f64;
    let Some(experts) = &spec.experts else {
        return rounded(total);
    };
    let layers = experts.layers.iter().filter(|has| **has).count() as f64;
    let (count, ffn) = (experts.count as f64, experts.ffn as f64);
    let one = 3.0 * ffn * spec.hidden as f64 * layers;
    format!("{}x{}", experts.count, rounded(total - (count - 1.0) * one))
}

fn rounded(count: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| count > *unit)
        .unwrap_or((1e3, "K"));
    let scaled = count / unit;
    let digits = usize::from(scaled < 9.5);
    format!("{scaled:.digits$}{name}")
}

/// The licence that the model card names in its front matter.
fn license(dir: &Path) -> Option<String> {
    let card = std::fs::read_to_string(dir.join("README.md")).ok()?;
    let front = card.strip_prefix("---")?.split("\n---").next()?;
    let line = front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    let name = line.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn sizes_have_two_digits() {
        let cases = [
            (1_100_048_384.0, "1.1B"),
            (6_738_415_616.0, "6.7B"),
            (12e9, "12B"),
            (124e6, "124M"),
            (260_000.0, "260K"),
            (900.0, "0.9K"),
        ];
        for (count, label) in cases {
            assert_eq!(rounded(count), label);
        }
    }
}
