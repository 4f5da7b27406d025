//! A query and documents in, scores out.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use ropewalk_core::{Ranked, RerankModel, RerankRequest, RerankResponse, Usage};
use ropewalk_spec::SentenceSpec;
use ropewalk_tokens::Tokenizer;

use super::embedder::max_tokens;
use super::load;
use super::text::{Truncated, Vocabulary, tokenizer_limit};
use super::worker::{on_thread, refuse_extra, truncation_json, truncation_warning};
use super::yes_no::YesNo;
use super::{Encoder, EncoderOptions};
use crate::chat::tokenizer_error;
use crate::{Error, PROVIDER, Result};

/// What follows the last matrix of a cross-encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ScoreActivation {
    /// `1 / (1 + e^-x)`: scores between 0 and 1.
    #[default]
    Sigmoid,
    /// Nothing: logits.
    Identity,
}

/// Tokens that a decoder reads of a question unless asked for more, as in the model card of
/// Qwen3-Reranker.
const YES_NO_TOKENS: usize = 8192;

/// How to load and run a [`LocalReranker`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RerankerOptions {
    /// How the network is loaded and run. Its longest text is a query and a document together.
    pub encoder: EncoderOptions,
    /// What follows the last matrix. `None` means as `config.json` says, or else the sigmoid.
    pub activation: Option<ScoreActivation>,
    /// Asks a decoder whether a document serves this purpose, and scores its `yes` against its
    /// `no`, as Qwen3-Reranker was trained to.
    pub yes_no: Option<String>,
}

impl RerankerOptions {
    /// Sets how the network is loaded and run.
    #[must_use]
    pub fn with_encoder(mut self, options: EncoderOptions) -> Self {
        self.encoder = options;
        self
    }

    /// Sets what follows the last matrix.
    #[must_use]
    pub fn with_activation(mut self, activation: ScoreActivation) -> Self {
        self.activation = Some(activation);
        self
    }

    /// Asks a decoder whether a document serves a purpose, such as `Given a web search query,
    /// retrieve relevant passages that answer the query` (Qwen3-Reranker).
    #[must_use]
    pub fn with_yes_no(mut self, instruction: impl Into<String>) -> Self {
        self.yes_no = Some(instruction.into());
        self
    }
}

/// What [`LocalReranker::score`] returns.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Scored {
    /// One score per document, in order; higher is better.
    pub scores: Vec<f32>,
    /// Tokens that were read, those of the query once per document.
    pub tokens: usize,
    /// Pairs that were too long and lost an end.
    pub truncated: Vec<Truncated>,
}

/// A cross-encoder in this process: a [`RerankModel`] that reads a query and a document together.
///
/// Opens folders whose class ends in `ForSequenceClassification` and has one label: BERT,
/// DistilBERT, RoBERTa, XLM-RoBERTa and ModernBERT (MS MARCO MiniLM, BGE rerankers, GTE
/// rerankers); and decoders that judge with yes or no, where [`RerankerOptions::with_yes_no`] says
/// so. Cloning is cheap; clones share weights. A score does not depend on the other
/// documents.
///
/// ```no_run
/// use ropewalk_local::LocalReranker;
///
/// let model = LocalReranker::open("bge-reranker-base")?;
/// let out = model.score("What is a ropewalk?", &["A lane where rope is made.", "Bread."])?;
/// assert!(out.scores[0] > out.scores[1]);
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalReranker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    activation: ScoreActivation,
    name: String,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per model, behind a pointer")]
enum Engine {
    Cross(Encoder, Vocabulary),
    YesNo(YesNo),
}

impl LocalReranker {
    /// Opens a folder with default options.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &RerankerOptions::default())
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// As [`Encoder::open`]; also for an encoder without a classification head, or one with several
    /// labels, and when there is no tokenizer for pairs.
    pub fn open_with(path: impl AsRef<Path>, options: &RerankerOptions) -> Result<Self> {
        let path = path.as_ref();
        if let Some(instruction) = &options.yes_no {
            return Self::yes_no(path, instruction, options);
        }
        let files = load::open(path)?;
        let bad = |reason: String| Error::Path {
            path: path.to_owned(),
            reason,
        };
        let spec = &files.spec;
        match spec.head.as_ref().map(|head| head.labels) {
            Some(1) => {}
            Some(labels) => {
                return Err(bad(format!(
                    "has a classification head of {labels} labels; a reranker has one"
                )));
            }
            None => {
                return Err(bad(format!(
                    "holds {} without a classification head; open it with `LocalEmbedder`",
                    spec.family
                )));
            }
        }
        let tokenizer = Tokenizer::from_dir(path).map_err(tokenizer_error(path))?;
        let said = SentenceSpec::from_dir(path).ok().flatten();
        let said = said
            .and_then(|spec| spec.max_tokens)
            .or_else(|| tokenizer_limit(path));
        let most = max_tokens(options.encoder.max_tokens, said, spec.max_tokens)?;
        let family = Some(spec.family).filter(|_| spec.type_vocab > 1);
        let vocabulary = Vocabulary::new(path, tokenizer, family, spec.vocab_size, most)?;
        let activation = match options.activation {
            Some(activation) => activation,
            None => activation(path)?,
        };
        let encoder = Encoder::assemble(path, files, &options.encoder)?;
        Ok(Self::new(
            path,
            Engine::Cross(encoder, vocabulary),
            activation,
        ))
    }

    fn yes_no(path: &Path, instruction: &str, options: &RerankerOptions) -> Result<Self> {
        let files = crate::load::open(path)?;
        let tokenizer = match &files.gguf {
            Some(gguf) => crate::vocab::tokenizer(path, gguf)?,
            None => Tokenizer::from_dir(path).map_err(tokenizer_error(path))?,
        };
        let said = tokenizer_limit(path).map_or(YES_NO_TOKENS, |limit| limit.min(YES_NO_TOKENS));
        let most = max_tokens(
            options.encoder.max_tokens,
            Some(said),
            files.spec.max_positions,
        )?;
        let encoder = &options.encoder;
        let engine = YesNo::assemble(path, files, tokenizer, instruction, encoder, most)?;
        let activation = options.activation.unwrap_or_default();
        Ok(Self::new(path, Engine::YesNo(engine), activation))
    }

    fn new(path: &Path, engine: Engine, activation: ScoreActivation) -> Self {
        let name = path.file_name().map(|s| s.to_string_lossy().into_owned());
        Self {
            inner: Arc::new(Inner {
                engine,
                activation,
                name: name.unwrap_or_default(),
            }),
        }
    }

    /// Returns how many tokens of a query and a document together are read.
    pub fn max_tokens(&self) -> usize {
        match &self.inner.engine {
            Engine::Cross(_, vocabulary) => vocabulary.max_tokens(),
            Engine::YesNo(engine) => engine.max_tokens(),
        }
    }

    /// Returns what follows the last matrix.
    pub fn activation(&self) -> ScoreActivation {
        self.inner.activation
    }

    /// Returns the encoder below; `None` for a model that is a decoder.
    pub fn encoder(&self) -> Option<&Encoder> {
        match &self.inner.engine {
            Engine::Cross(encoder, _) => Some(encoder),
            Engine::YesNo(_) => None,
        }
    }

    /// Scores each document against the query, on this thread and those of the model.
    ///
    /// # Errors
    /// [`Error::NoTexts`] for an empty list, and what the tokenizer says.
    pub fn score<T: AsRef<str>>(&self, query: &str, documents: &[T]) -> Result<Scored> {
        let documents: Vec<&str> = documents.iter().map(AsRef::as_ref).collect();
        self.inner.score(query, &documents, &|| true)
    }
}

/// Reads what sentence-transformers applies to logits, before and since its version 4.
fn activation(path: &Path) -> Result<ScoreActivation> {
    let file = path.join("config.json");
    let text = std::fs::read(&file).map_err(crate::load::failed(&file))?;
    let config: serde_json::Value =
        serde_json::from_slice(&text).map_err(crate::load::failed(&file))?;
    let new = config
        .get("sentence_transformers")
        .and_then(|c| c.get("activation_fn"));
    let old = config.get("sbert_ce_default_activation_function");
    match new.or(old).and_then(|name| name.as_str()) {
        None => Ok(ScoreActivation::Sigmoid),
        Some(name) if name.ends_with(".Sigmoid") => Ok(ScoreActivation::Sigmoid),
        Some(name) if name.ends_with(".Identity") => Ok(ScoreActivation::Identity),
        Some(name) => Err(Error::Option {
            name: "activation_fn of config.json",
            value: name.to_owned(),
            allowed: "Sigmoid or Identity, or choose with `RerankerOptions::with_activation`",
        }),
    }
}

impl Inner {
    fn score(&self, query: &str, documents: &[&str], wanted: &dyn Fn() -> bool) -> Result<Scored> {
        if documents.is_empty() {
            return Err(Error::NoTexts);
        }
        let (tokens, logits) = match &self.engine {
            Engine::Cross(encoder, vocabulary) => {
                let encode = |pool: &_| vocabulary.encode_pairs(pool, query, documents);
                let tokens = encoder.with_pool(encode)?;
                let logits = encoder.logits_while(&tokens.inputs, wanted)?;
                (tokens, logits.concat())
            }
            Engine::YesNo(engine) => {
                let tokens = engine.with_pool(|pool| engine.encode(pool, query, documents))?;
                let logits = engine.logits(&tokens.inputs, wanted)?;
                (tokens, logits)
            }
        };
        let score = |logit: f32| match self.activation {
            ScoreActivation::Identity => logit,
            ScoreActivation::Sigmoid => 1.0 / (1.0 + (-logit).exp()),
        };
        Ok(Scored {
            scores: logits.into_iter().map(score).collect(),
            tokens: tokens.count(),
            truncated: tokens.truncated,
        })
    }

    fn answer(
        &self,
        request: &RerankRequest,
        wanted: &dyn Fn() -> bool,
    ) -> ropewalk_core::Result<RerankResponse> {
        let mut warnings = refuse_extra(request.extra.keys(), request.on_unsupported)?;
        let documents: Vec<&str> = request.documents.iter().map(String::as_str).collect();
        let out = self.score(&request.query, &documents, wanted)?;
        let scores = out.scores.iter().enumerate();
        let mut results: Vec<Ranked> = scores.map(|(i, score)| Ranked::new(i, *score)).collect();
        // Stable, so that equal scores keep the order given.
        results.sort_by(|a, b| b.score.total_cmp(&a.score));
        results.truncate(request.top_n.unwrap_or(usize::MAX));
        warnings.extend(truncation_warning(
            "documents",
            documents.len(),
            &out.truncated,
        ));
        let mut response = RerankResponse::new(results)
            .with_model(&self.name)
            .with_usage(Usage::new(out.tokens as u64, 0))
            .with_warnings(warnings);
        response.raw = truncation_json(&out.truncated);
        Ok(response)
    }
}

#[async_trait]
impl RerankModel for LocalReranker {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn model(&self) -> &str {
        &self.inner.name
    }

    /// Scores on a thread of its own. Dropping the future ends the work after the current pass.
    async fn rerank(&self, request: &RerankRequest) -> ropewalk_core::Result<RerankResponse> {
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        on_thread(move |wanted| inner.answer(&request, wanted)).await
    }
}
