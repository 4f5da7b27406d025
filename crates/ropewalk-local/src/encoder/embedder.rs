//! Texts in, vectors out.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use ropewalk_core::{EmbedKind, EmbedRequest, EmbedResponse, EmbeddingModel, OnUnsupported, Usage};
use ropewalk_gguf::Gguf;
use ropewalk_kernels::Pool;
use ropewalk_spec::{EncoderSpec, PoolingMode, SentenceModule, SentenceSpec};
use ropewalk_tokens::Tokenizer;

use super::decoder::Reader;
use super::modules::Modules;
use super::prompts::Prompts;
use super::text::{Tokens, Truncated, Vocabulary, tokenizer_limit};
use super::worker::{on_thread, refuse_extra, truncation_json, truncation_warning};
use super::{Encoder, EncoderInput, EncoderOptions};
use crate::chat::tokenizer_error;
use crate::{Error, PROVIDER, Result, load, vocab};

/// How to load and run a [`LocalEmbedder`].
///
/// ```
/// use ropewalk_core::EmbedKind;
/// use ropewalk_local::{EmbedderOptions, EncoderOptions};
///
/// let options = EmbedderOptions::default()
///     .with_encoder(EncoderOptions::default().with_int8())
///     .with_prompt(EmbedKind::Query, "query: ");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EmbedderOptions {
    /// How the network is loaded and run.
    pub encoder: EncoderOptions,
    /// How hidden states become a vector; `None` means as the folder says. A folder of a decoder
    /// that does not say needs it.
    pub pooling: Option<PoolingMode>,
    /// Whether vectors get length 1; `None` means as the folder says.
    pub normalize: Option<bool>,
    /// What is put in front of texts of a kind, in place of what the folder says.
    pub prompts: Vec<(EmbedKind, String)>,
}

impl EmbedderOptions {
    /// Sets how the network is loaded and run.
    #[must_use]
    pub fn with_encoder(mut self, options: EncoderOptions) -> Self {
        self.encoder = options;
        self
    }

    /// Sets how hidden states become a vector.
    #[must_use]
    pub fn with_pooling(mut self, mode: PoolingMode) -> Self {
        self.pooling = Some(mode);
        self
    }

    /// Sets whether vectors get length 1.
    #[must_use]
    pub fn with_normalize(mut self, on: bool) -> Self {
        self.normalize = Some(on);
        self
    }

    /// Sets what is put in front of texts of a kind; the last word on a kind counts.
    #[must_use]
    pub fn with_prompt(mut self, kind: EmbedKind, text: impl Into<String>) -> Self {
        self.prompts.push((kind, text.into()));
        self
    }

    /// Puts `query: ` in front of queries and `passage: ` in front of all other texts, as the
    /// models of E5 want it.
    #[must_use]
    pub fn with_e5_prompts(self) -> Self {
        self.with_prompt(EmbedKind::Query, "query: ")
            .with_prompt(EmbedKind::Document, "passage: ")
            .with_prompt(EmbedKind::Clustering, "passage: ")
            .with_prompt(EmbedKind::Classification, "passage: ")
    }

    /// Puts the instruction of the English BGE models in front of queries.
    #[must_use]
    pub fn with_bge_prompts(self) -> Self {
        let text = "Represent this sentence for searching relevant passages: ";
        self.with_prompt(EmbedKind::Query, text)
    }

    /// Puts `Instruct: {task}` and `Query:` in front of queries, as Qwen3-Embedding and the
    /// instructed models of E5 want it.
    #[must_use]
    pub fn with_instruction(self, task: &str) -> Self {
        self.with_prompt(EmbedKind::Query, format!("Instruct: {task}\nQuery:"))
    }
}

/// What [`LocalEmbedder::embed_texts`] returns.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Embedded {
    /// One vector per text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that were read, prompts and special tokens included.
    pub tokens: usize,
    /// Texts that were too long and lost their end.
    pub truncated: Vec<Truncated>,
}

/// A model that turns texts into vectors, in this process: an [`EmbeddingModel`].
///
/// Opens the folders of sentence-transformers (BERT, DistilBERT, RoBERTa, XLM-RoBERTa, ModernBERT,
/// and decoders such as Qwen3-Embedding), plain encoder folders, which it pools by the mean, and
/// GGUF files of architecture `bert`. Cloning is cheap; clones share weights.
///
/// A text's vector does not depend on the texts beside it, bit for bit, nor on the number of
/// threads. Texts that are longer than the model reads lose their end, and the reply says which.
///
/// ```no_run
/// use ropewalk_core::EmbedKind;
/// use ropewalk_local::LocalEmbedder;
///
/// // Without any async runtime:
/// let model = LocalEmbedder::open("all-MiniLM-L6-v2")?;
/// let out = model.embed_texts(&["Bread is baked.", "A train leaves."], EmbedKind::Document)?;
/// assert_eq!(out.vectors[0].len(), model.width());
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalEmbedder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    vocabulary: Vocabulary,
    modules: Modules,
    prompts: Prompts,
    name: String,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per model, behind a pointer")]
enum Engine {
    Encoder(Encoder),
    Decoder(Reader),
}

/// Texts of one call of the trait.
const MAX_BATCH: usize = 1024;

impl LocalEmbedder {
    /// Opens a folder or a GGUF file with default options.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &EmbedderOptions::default())
    }

    /// Opens a folder or a GGUF file.
    ///
    /// # Errors
    /// As [`Encoder::open`]; also when there is no tokenizer, the tokenizer has more tokens than the
    /// model, a module of the folder is not known, or nothing says how a decoder's hidden states
    /// become a vector.
    pub fn open_with(path: impl AsRef<Path>, options: &EmbedderOptions) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::from_dir(path, options);
        }
        let gguf = Gguf::open(path).map_err(|e| match path.exists() {
            true => load::failed(path)(e),
            false => Error::Path {
                path: path.to_owned(),
                reason: "not found; give a model directory or a GGUF file".to_owned(),
            },
        })?;
        Self::gguf(path, Arc::new(gguf), options)
    }

    /// Opens a GGUF file that is in memory already.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn from_gguf(gguf: Arc<Gguf>, options: &EmbedderOptions) -> Result<Self> {
        Self::gguf(Path::new("embedded GGUF"), gguf, options)
    }

    fn from_dir(path: &Path, options: &EmbedderOptions) -> Result<Self> {
        let found = SentenceSpec::from_dir(path).map_err(load::failed(path))?;
        let dir = found
            .as_ref()
            .map_or(path, |spec| &spec.transformer)
            .to_owned();
        let tokenizer = Tokenizer::from_dir(&dir).map_err(tokenizer_error(&dir))?;
        let decoder = match EncoderSpec::from_dir(&dir) {
            Ok(_) => None,
            // Anything that is no decoder either gives the error of encoders.
            Err(_) => load::open(&dir).ok(),
        };
        let sentence = match found {
            Some(spec) => spec,
            None if decoder.is_some() && options.pooling.is_none() => return Err(unpooled(path)),
            None => SentenceSpec::new(PoolingMode::Mean),
        };
        let limit = sentence.max_tokens.or_else(|| tokenizer_limit(&dir));
        let files = match decoder {
            Some(files) => Files::Decoder(files),
            None => Files::Encoder(super::load::open(&dir)?),
        };
        Self::assemble(path, files, tokenizer, sentence, limit, options)
    }

    fn gguf(path: &Path, gguf: Arc<Gguf>, options: &EmbedderOptions) -> Result<Self> {
        let tokenizer = vocab::tokenizer(path, &gguf)?;
        if !EncoderSpec::is_gguf(&gguf) {
            if options.pooling.is_none() {
                return Err(unpooled(path));
            }
            let files = Files::Decoder(load::gguf(path, gguf)?);
            let sentence = SentenceSpec::new(PoolingMode::Mean);
            return Self::assemble(path, files, tokenizer, sentence, None, options);
        }
        let sentence = SentenceSpec::from_gguf(&gguf).map_err(load::failed(path))?;
        let sentence = sentence.unwrap_or_else(|| SentenceSpec::new(PoolingMode::Mean));
        let files = Files::Encoder(super::load::gguf(path, gguf)?);
        Self::assemble(path, files, tokenizer, sentence, None, options)
    }

    fn assemble(
        path: &Path,
        files: Files,
        tokenizer: Tokenizer,
        mut sentence: SentenceSpec,
        limit: Option<usize>,
        options: &EmbedderOptions,
    ) -> Result<Self> {
        if let Some(mode) = options.pooling {
            // What else the folder says of pooling, such as whether prompts count, stays.
            match sentence.modules.first_mut() {
                Some(SentenceModule::Pooling(pooling)) => pooling.modes = vec![mode],
                _ => {
                    let pooling = SentenceSpec::new(mode).modules;
                    sentence.modules.splice(..0, pooling);
                }
            }
        }
        let (most, hidden, rows) = match &files {
            Files::Encoder(f) => (f.spec.max_tokens, f.spec.hidden, f.spec.vocab_size),
            Files::Decoder(f) => (f.spec.max_positions, f.spec.hidden, f.spec.vocab_size),
        };
        let most = max_tokens(options.encoder.max_tokens, limit, most)?;
        let mut modules = Modules::new(&sentence, hidden, options.encoder.isa()?)?;
        if let Some(on) = options.normalize {
            modules.set_normalized(on);
        }
        let vocabulary = Vocabulary::new(path, tokenizer, None, rows, most)?;
        let vocabulary = vocabulary.with_lowercase(sentence.lowercase);
        let engine = match files {
            Files::Encoder(f) => Engine::Encoder(Encoder::assemble(path, f, &options.encoder)?),
            Files::Decoder(f) => {
                let last_only = modules.pooling.modes[..] == [PoolingMode::LastToken];
                let reader = Reader::hidden(path, f, &options.encoder, most, last_only);
                Engine::Decoder(reader?)
            }
        };
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                vocabulary,
                modules,
                prompts: Prompts::new(&sentence, &options.prompts),
                name: name.unwrap_or_default(),
            }),
        })
    }

    /// Returns the number of values of a vector.
    pub fn width(&self) -> usize {
        self.inner.modules.width
    }

    /// Returns how many tokens of a text are read, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.inner.vocabulary.max_tokens()
    }

    /// Returns what is put in front of texts of a kind; empty for nothing.
    pub fn prompt(&self, kind: EmbedKind) -> &str {
        self.inner.prompts.of(kind)
    }

    /// Returns the bytes of the packed matrices.
    pub fn weight_bytes(&self) -> usize {
        match &self.inner.engine {
            Engine::Encoder(encoder) => encoder.weight_bytes(),
            Engine::Decoder(reader) => reader.model().weight_bytes(),
        }
    }

    /// Returns the encoder below; `None` for a model that is a decoder.
    pub fn encoder(&self) -> Option<&Encoder> {
        match &self.inner.engine {
            Engine::Encoder(encoder) => Some(encoder),
            Engine::Decoder(_) => None,
        }
    }

    /// Embeds any number of texts on this thread and those of the model.
    ///
    /// # Errors
    /// [`Error::NoTexts`] for an empty list, [`Error::EmptyText`] for a text without a single token,
    /// and what the tokenizer says.
    pub fn embed_texts<T: AsRef<str>>(&self, texts: &[T], kind: EmbedKind) -> Result<Embedded> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        self.inner.embed(&texts, kind, None, &|| true)
    }

    /// As [`embed_texts`](Self::embed_texts), with vectors of `dimensions` values: the first ones
    /// of the whole, brought to length 1 where the model's vectors have it. For models that were
    /// trained so (Matryoshka).
    ///
    /// # Errors
    /// As [`embed_texts`](Self::embed_texts); [`Error::Dimensions`] for 0 and for more than
    /// [`width`](Self::width).
    pub fn embed_short<T: AsRef<str>>(
        &self,
        texts: &[T],
        kind: EmbedKind,
        dimensions: usize,
    ) -> Result<Embedded> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        self.inner.embed(&texts, kind, Some(dimensions), &|| true)
    }
}

/// The error for hidden states that nothing says how to pool.
fn unpooled(path: &Path) -> Error {
    Error::Path {
        path: path.to_owned(),
        reason: "holds a decoder and does not say how its hidden states become a vector; choose \
                 with `EmbedderOptions::with_pooling`, or open it with `LocalModel` to chat"
            .to_owned(),
    }
}

/// The number of tokens that are read of a text.
pub(super) fn max_tokens(asked: Option<usize>, said: Option<usize>, most: usize) -> Result<usize> {
    match asked {
        Some(tokens) if tokens == 0 || tokens > most => Err(Error::ContextLength {
            wanted: tokens,
            limit: most,
        }),
        Some(tokens) => Ok(tokens),
        None => Ok(said.unwrap_or(most).min(most)),
    }
}

enum Files {
    Encoder(super::load::Files),
    Decoder(load::Files),
}

impl Inner {
    fn embed(
        &self,
        texts: &[&str],
        kind: EmbedKind,
        dimensions: Option<usize>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Embedded> {
        if texts.is_empty() {
            return Err(Error::NoTexts);
        }
        let width = self.modules.width;
        if let Some(asked) = dimensions.filter(|d| *d == 0 || *d > width) {
            return Err(Error::Dimensions { asked, width });
        }
        let prompt = self.prompts.of(kind);
        let skip = if self.modules.pooling.include_prompt || prompt.is_empty() {
            0
        } else {
            self.vocabulary.prompt_tokens(prompt)?
        };
        let tokens = self.with_pool(|pool| self.vocabulary.encode(pool, prompt, texts))?;
        let mut vectors = vec![Vec::new(); texts.len()];
        self.run(&tokens, wanted, &mut |index, rows| {
            vectors[index] = self.modules.pool(rows, skip);
        })?;
        self.with_pool(|pool| self.modules.finish(pool, &mut vectors, dimensions))?;
        Ok(Embedded {
            vectors,
            tokens: tokens.count(),
            truncated: tokens.truncated,
        })
    }

    fn run(
        &self,
        tokens: &Tokens,
        wanted: &dyn Fn() -> bool,
        done: &mut (dyn FnMut(usize, &[f32]) + Send),
    ) -> Result<()> {
        let inputs: &[EncoderInput] = &tokens.inputs;
        match &self.engine {
            Engine::Encoder(encoder) => encoder.run(inputs, wanted, done),
            Engine::Decoder(reader) => reader.run(inputs, wanted, done),
        }
    }

    fn with_pool<T>(&self, f: impl FnOnce(&Pool) -> T) -> T {
        match &self.engine {
            Engine::Encoder(encoder) => encoder.with_pool(f),
            Engine::Decoder(reader) => reader.model().with_pool(f),
        }
    }

    fn answer(
        &self,
        request: &EmbedRequest,
        wanted: &dyn Fn() -> bool,
    ) -> ropewalk_core::Result<EmbedResponse> {
        let policy: OnUnsupported = request.on_unsupported;
        let mut warnings = refuse_extra(request.extra.keys(), policy)?;
        let texts: Vec<&str> = request.inputs.iter().map(String::as_str).collect();
        let dimensions = request.dimensions.map(|d| d as usize);
        let out = self.embed(&texts, request.kind, dimensions, wanted)?;
        warnings.extend(truncation_warning("inputs", texts.len(), &out.truncated));
        let mut response = EmbedResponse::new(&self.name, out.vectors)
            .with_usage(Usage::new(out.tokens as u64, 0))
            .with_warnings(warnings);
        response.raw = truncation_json(&out.truncated);
        Ok(response)
    }
}

#[async_trait]
impl EmbeddingModel for LocalEmbedder {
    fn provider(&self) -> &str {
        PROVIDER
    }

    fn model(&self) -> &str {
        &self.inner.name
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.width())
    }

    fn max_batch(&self) -> usize {
        MAX_BATCH
    }

    /// Embeds on a thread of its own. Dropping the future ends the work after the current pass.
    async fn embed(&self, request: &EmbedRequest) -> ropewalk_core::Result<EmbedResponse> {
        let (inner, request) = (Arc::clone(&self.inner), request.clone());
        on_thread(move |wanted| inner.answer(&request, wanted)).await
    }
}
