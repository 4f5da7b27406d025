//! Metadata of GGUF files of architecture `bert`.

use ropewalk_gguf::Gguf;

use super::{EncoderFamily, EncoderSpec, PoolingMode, SentenceModule, SentenceSpec};
use crate::{Activation, Error, Result};

const FILE: &str = "GGUF";
/// `general.architecture` of the files that are read here.
const ARCHITECTURE: &str = "bert";

impl EncoderSpec {
    /// Whether a GGUF file says that it holds an encoder that [`from_gguf`](Self::from_gguf) reads.
    #[must_use]
    pub fn is_gguf(gguf: &Gguf) -> bool {
        let name = gguf.metadata().str("general.architecture");
        name.is_ok_and(|name| name == Some(ARCHITECTURE))
    }

    /// Reads the metadata of a GGUF file of architecture `bert`: BERT, RoBERTa and XLM-RoBERTa as
    /// llama.cpp stores them, whose position tables begin at the first position in use.
    /// Classification heads are not read.
    ///
    /// # Errors
    /// A missing or unusable key, another architecture, sizes that contradict each other.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let meta = gguf.metadata();
        let key = |key: &str| format!("{ARCHITECTURE}.{key}");
        let missing = |key: String| Error::MissingKey {
            file: FILE.to_owned(),
            key,
        };
        if !Self::is_gguf(gguf) {
            let name = meta.str("general.architecture")?;
            return Err(Error::UnknownArchitecture {
                file: FILE.to_owned(),
                name: name
                    .ok_or_else(|| missing("general.architecture".to_owned()))?
                    .to_owned(),
                supported: format!("the encoder architecture {ARCHITECTURE}"),
            });
        }
        let count = |name: &str| -> Result<usize> {
            meta.usize(&key(name))?.ok_or_else(|| missing(key(name)))
        };
        let rows = |name: &str| -> Result<Option<usize>> {
            let shape = gguf.tensor(name).map(|t| t.info.shape());
            match shape.as_deref() {
                None => Ok(None),
                // A table of one row may have lost its first axis.
                Some([_]) => Ok(Some(1)),
                Some([rows, _]) => Ok(Some(*rows)),
                Some(_) => Err(Error::Inconsistent {
                    file: FILE.to_owned(),
                    problem: format!("{name} is not a matrix"),
                }),
            }
        };
        let table = |name: &str| -> Result<usize> {
            rows(name)?.ok_or_else(|| Error::MissingTensor {
                name: name.to_owned(),
            })
        };
        let (hidden, layers) = (count("embedding_length")?, count("block_count")?);
        let heads = count("attention.head_count")?;
        let eps = key("attention.layer_norm_epsilon");
        let spec = Self {
            family: EncoderFamily::Bert,
            vocab_size: table("token_embd.weight")?,
            hidden,
            layers,
            heads,
            head_dim: hidden.checked_div(heads).unwrap_or(0),
            ffn: count("feed_forward_length")?,
            max_tokens: table("position_embd.weight")?,
            position_offset: 0,
            type_vocab: rows("token_types.weight")?.unwrap_or(0),
            norm_eps: meta.f32(&eps)?.ok_or_else(|| missing(eps))?,
            norm_bias: true,
            norm_first: false,
            activation: Activation::Gelu,
            gated: false,
            attention_bias: true,
            mlp_bias: true,
            window: vec![None; layers.min(super::MAX_LAYERS)],
            rope: None,
            rope_local: None,
            head: None,
            pad_id: meta.u32("tokenizer.ggml.padding_token_id")?,
        };
        spec.validate_in(FILE)?;
        Ok(spec)
    }
}

impl SentenceSpec {
    /// What a GGUF file says about sentence embeddings: `bert.pooling_type`, and vectors of length
    /// 1 as llama.cpp gives them. `None` where it names no pooling, or that of a reranker.
    ///
    /// # Errors
    /// A key of another type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>> {
        let kind = gguf
            .metadata()
            .u32(&format!("{ARCHITECTURE}.pooling_type"))?;
        // `LLAMA_POOLING_TYPE_*` of llama.h.
        let mode = match kind {
            Some(1) => PoolingMode::Mean,
            Some(2) => PoolingMode::Cls,
            Some(3) => PoolingMode::LastToken,
            _ => return Ok(None),
        };
        let mut spec = Self::new(mode);
        spec.modules.push(SentenceModule::Normalize);
        Ok(Some(spec))
    }
}
