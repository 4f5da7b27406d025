use std::cmp::Ordering;
use std::num::NonZero;

use super::rules::{Model, Rules};
use crate::{Error, FileType, Gguf, ImportanceMatrix, Result, TensorInfo, TensorType};

/// What to make of a model's tensors: the options of `llama-quantize`.
///
/// ```
/// use ropewalk_gguf::{FileType, QuantizePlan, TensorType};
///
/// let plan = QuantizePlan::new(FileType::Q4_K_M)
///     .with_output_type(TensorType::Q8_0)
///     .with_tensor_type("blk.0.ffn_*", TensorType::Q6_K)
///     .with_threads(2);
/// assert_eq!(plan.file_type(), Some(FileType::Q4_K_M));
/// ```
#[derive(Clone, Debug, Default)]
pub struct QuantizePlan {
    pub(super) file_type: Option<FileType>,
    pub(super) output: Option<TensorType>,
    pub(super) embedding: Option<TensorType>,
    pub(super) overrides: Vec<(String, TensorType)>,
    pub(super) pure: bool,
    pub(super) keep_output: bool,
    pub(super) allow_requantize: bool,
    pub(super) keep_split: bool,
    pub(super) fine: bool,
    pub(super) threads: Option<NonZero<usize>>,
    pub(super) importance: Option<ImportanceMatrix>,
    pub(super) importance_name: Option<String>,
}

/// The type one tensor gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// Name of the tensor.
    pub name: String,
    /// The type it is to have.
    pub ty: TensorType,
    /// The type it was to have, where its rows are not whole blocks of that.
    pub instead_of: Option<TensorType>,
}

impl QuantizePlan {
    /// Plans a file of type `file_type`.
    #[must_use]
    pub fn new(file_type: FileType) -> Self {
        Self {
            file_type: Some(file_type),
            ..Self::default()
        }
    }

    /// Plans to copy all tensors as they are (`COPY`).
    #[must_use]
    pub fn copy() -> Self {
        Self::default()
    }

    /// Returns the file type, or `None` for a copy.
    #[must_use]
    pub fn file_type(&self) -> Option<FileType> {
        self.file_type
    }

    /// Sets the type of `output.weight` (`--output-tensor-type`), and of token embeddings that
    /// stand in for it.
    #[must_use]
    pub fn with_output_type(mut self, ty: TensorType) -> Self {
        self.output = Some(ty);
        self
    }

    /// Sets the type of the token embeddings (`--token-embedding-type`).
    #[must_use]
    pub fn with_embedding_type(mut self, ty: TensorType) -> Self {
        self.embedding = Some(ty);
        self
    }

    /// Sets the type of tensors whose name contains `pattern` (`--tensor-type`), before any rule.
    /// The first pattern that matches counts.
    ///
    /// `*` stands for anything, `^` and `$` for beginning and end of the name; a full stop is a full
    /// stop. llama.cpp takes regular expressions here: other than plain names, they are written
    /// differently.
    #[must_use]
    pub fn with_tensor_type(mut self, pattern: impl Into<String>, ty: TensorType) -> Self {
        self.overrides.push((pattern.into(), ty));
        self
    }

    /// Gives all tensors the type of the file, without mixture (`--pure`).
    #[must_use]
    pub fn with_pure(mut self, pure: bool) -> Self {
        self.pure = pure;
        self
    }

    /// Leaves `output.weight` as it is (`--leave-output-tensor`).
    #[must_use]
    pub fn with_output_kept(mut self, keep: bool) -> Self {
        self.keep_output = keep;
        self
    }

    /// Allows tensors that are quantised already as the source (`--allow-requantize`). Both errors
    /// add up; quantise from 16 bits where there is a file of them.
    #[must_use]
    pub fn with_requantize(mut self, allow: bool) -> Self {
        self.allow_requantize = allow;
        self
    }

    /// Writes as many parts as the source has (`--keep-split`).
    #[must_use]
    pub fn with_split_kept(mut self, keep: bool) -> Self {
        self.keep_split = keep;
        self
    }

    /// Searches scales longer where there is no importance, as if all columns had the same. Bytes
    /// then differ from llama.cpp's; the root mean square error of normal weights falls by 10 % for
    /// Q2_K, 5 % for Q4_0, 4 % for Q3_K, 2 % for Q5_K and Q6_K, 1 % for Q4_K.
    #[must_use]
    pub fn with_fine_search(mut self, fine: bool) -> Self {
        self.fine = fine;
        self
    }

    /// Sets the number of threads; without it, as many as there are processors.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = NonZero::new(threads);
        self
    }

    /// Weights errors by `matrix` (`--imatrix`); `name` is noted in the file.
    #[must_use]
    pub fn with_importance(mut self, matrix: ImportanceMatrix, name: impl Into<String>) -> Self {
        self.importance = Some(matrix);
        self.importance_name = Some(name.into());
        self
    }

    /// Returns the types that the tensors of `input` get, in the order in which they are written:
    /// what `llama-quantize --dry-run` prints.
    ///
    /// # Errors
    /// Metadata of the wrong type, a tensor without a type that fits its rows, a type that needs
    /// importance where there is none.
    pub fn types(&self, input: &Gguf) -> Result<Vec<Target>> {
        let pairs = self.choose(input)?;
        Ok(pairs.into_iter().map(|(_, target)| target).collect())
    }

    pub(super) fn choose<'a>(&self, input: &'a Gguf) -> Result<Vec<(&'a TensorInfo, Target)>> {
        let mut tensors: Vec<&TensorInfo> = input.tensors().iter().collect();
        tensors.sort_by(|a, b| by_layer(a, b));
        if self.keep_split {
            tensors.sort_by_key(|info| (info.part, info.offset));
        }
        let model = Model::of(input, &tensors)?;
        let mut rules = Rules::new(self, &model);
        let mut chosen = Vec::with_capacity(tensors.len());
        for info in tensors {
            let target = rules.choose(info)?;
            self.check(info, &target)?;
            chosen.push((info, target));
        }
        Ok(chosen)
    }

    /// Refuses what cannot be done before anything is written.
    fn check(&self, info: &TensorInfo, target: &Target) -> Result<()> {
        if target.ty == info.ty {
            return Ok(());
        }
        if info.ty.is_quantized() && !self.allow_requantize {
            let problem = format!(
                "it is {} already; allow requantising, or start from a file of 16 bits",
                info.ty
            );
            return Err(Error::write(&info.name, problem));
        }
        if self.importance.is_none() && self.needs_importance(info, target.ty) {
            let problem = format!("{} needs an importance matrix, none is given", target.ty);
            return Err(Error::importance(&format!("`{}`", info.name), problem));
        }
        Ok(())
    }

    /// Reports whether llama.cpp refuses to quantise the tensor without importance.
    pub(super) fn needs_importance(&self, info: &TensorInfo, ty: TensorType) -> bool {
        let low = match ty {
            TensorType::IQ3_XXS
            | TensorType::IQ2_XXS
            | TensorType::IQ2_XS
            | TensorType::IQ2_S
            | TensorType::IQ1_M
            | TensorType::IQ1_S => true,
            TensorType::Q2_K => self.file_type == Some(FileType::Q2_K_S),
            _ => false,
        };
        low && !is_embedding(&info.name) && info.name != "output.weight"
    }
}

pub(super) fn is_embedding(name: &str) -> bool {
    matches!(name, "token_embd.weight" | "per_layer_token_embd.weight")
}

/// Returns the number in `blk.NUMBER`.
pub(super) fn layer(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("blk.")?;
    let end = rest
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Orders tensors without a layer first, then layer by layer, each by name.
fn by_layer(a: &TensorInfo, b: &TensorInfo) -> Ordering {
    (layer(&a.name), &a.name).cmp(&(layer(&b.name), &b.name))
}

/// Reports whether `name` contains `pattern`, see [`QuantizePlan::with_tensor_type`].
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, from_start) = pattern
        .strip_prefix('^')
        .map_or((pattern, false), |rest| (rest, true));
    let (pattern, to_end) = pattern
        .strip_suffix('$')
        .map_or((pattern, false), |rest| (rest, true));
    let mut pieces = pattern.split('*').peekable();
    let mut rest = name;
    let mut anchored = from_start;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() && to_end {
            return rest.ends_with(piece) && (!anchored || rest == piece);
        }
        let found = if anchored {
            rest.strip_prefix(piece)
        } else {
            rest.split_once(piece).map(|(_, after)| after)
        };
        match found {
            Some(after) => rest = after,
            None => return false,
        }
        anchored = false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_parts_of_names() {
        for (pattern, name, expected) in [
            ("attn_q", "blk.1.attn_q.weight", true),
            ("attn_q", "blk.1.attn_k.weight", false),
            ("blk.1.*ffn", "blk.1.ffn_up.weight", true),
            ("blk.1.*ffn", "blk.11.ffn_up.weight", false),
            ("^output", "attn_output.weight", false),
            ("^output.weight$", "output.weight", true),
            ("^output$", "output.weight", false),
            ("ffn_*_exps.weight$", "blk.0.ffn_up_exps.weight", true),
            ("ffn_*_exps.weight$", "blk.0.ffn_up_exps.weights", false),
            ("", "anything", true),
            ("^a*a$", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn layers_are_read_from_names() {
        assert_eq!(layer("blk.12.attn_q.weight"), Some(12));
        assert_eq!(layer("output.weight"), None);
        assert_eq!(layer("blk.x"), None);
    }
}
