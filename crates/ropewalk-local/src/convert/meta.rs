//! The keys `general.*`.

use std::path::Path;

use ropewalk_gguf::{FileType, TensorType, Writer};
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
        OutType::Auto | OutType::Quantized(_) => first.unwrap_or(TensorType::F32),
        OutType::F32 => TensorType::F32,
        OutType::F16 => TensorType::F16,
        OutType::BF16 => TensorType::BF16,
        OutType::Q8_0 => TensorType::Q8_0,
        OutType::Pure(ty) => ty,
    };
    let all = || FileType::ALL.iter().copied();
    all()
        .find(|known| known.name() == ty.name())
        .or_else(|| all().find(|known| known.tensor_type() == ty))
        .map_or(GUESSED, FileType::to_u32)
}

/// `LLAMA_FTYPE_GUESSED`: see the tensors.
const GUESSED: u32 = 1024;

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
