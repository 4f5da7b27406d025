//! What can go wrong with a local model.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a local model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path leads to nothing that can be loaded.
    #[error("{path}: {reason}")]
    Path {
        /// What was asked for.
        path: PathBuf,
        /// Why it cannot be used and what to give instead.
        reason: String,
    },
    /// A file or configuration could not be read.
    #[error("{path}: cannot load the model")]
    Load {
        /// The model.
        path: PathBuf,
        /// What was wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tensor could not be read.
    #[error(transparent)]
    Tensor(#[from] ropewalk_spec::Error),
    /// A weight that the architecture needs is not in the file.
    #[error("tensor `{name}` is missing; the file is incomplete or of another architecture")]
    MissingTensor {
        /// Name in the file's own layout.
        name: String,
    },
    /// A weight has another shape than the configuration says.
    #[error("tensor `{name}` has shape {found:?}, the configuration needs {wanted:?}")]
    Shape {
        /// Name in the file's own layout.
        name: String,
        /// Shape in the file, rows first.
        found: Vec<usize>,
        /// Shape that the configuration gives.
        wanted: Vec<usize>,
    },
    /// A weight is stored in a type that has no kernel.
    #[error(
        "tensor `{name}` is stored as {ty}, which cannot be run; convert the model to another type"
    )]
    TensorType {
        /// Name in the file's own layout.
        name: String,
        /// The type.
        ty: String,
    },
    /// A weight could not be coded in another format.
    #[error("weight {name} cannot be coded as {format}")]
    Quantize {
        /// The weight.
        name: String,
        /// The format.
        format: crate::WeightFormat,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The prompt and what should follow do not fit the context.
    #[error(
        "{wanted} tokens do not fit the context of {limit}; shorten the prompt or raise the context length"
    )]
    Context {
        /// Tokens that were asked for.
        wanted: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// A context length that the model does not have was asked for.
    #[error("a context of {wanted} tokens was asked for; this model takes 1 to {limit}")]
    ContextLength {
        /// Tokens that were asked for.
        wanted: usize,
        /// The longest context of the model.
        limit: usize,
    },
    /// The keys and values of the context would need more memory than there is.
    #[error(
        "a context of {tokens} tokens needs {} of keys and values, more than there is memory; ask for a shorter context",
        size(*.bytes)
    )]
    CacheSize {
        /// Tokens of the context.
        tokens: usize,
        /// What they need; `None` where the number does not fit the machine's own.
        bytes: Option<usize>,
    },
    /// A cache was made for a model of another shape.
    #[error(
        "the cache has {found:?} layers, heads and features, this model {wanted:?}; make it with `Model::new_cache`"
    )]
    Cache {
        /// Layers, key-value heads and features per head of the cache.
        found: [usize; 3],
        /// Those of the model.
        wanted: [usize; 3],
    },
    /// A pool of caches has too few pages left; no cache has changed.
    #[error(
        "the cache pool has {free} of its {limit} pages left and {needed} are needed; end or shorten a sequence, or make the pool larger"
    )]
    CacheFull {
        /// Pages of 128 tokens that were needed.
        needed: usize,
        /// Pages that were left.
        free: usize,
        /// Pages of the pool.
        limit: usize,
    },
    /// An adapter cannot run beside this model, or not with the others.
    #[error("the adapter `{name}` {problem}")]
    Adapter {
        /// The adapter.
        name: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// A sequence goes on with other adapters than its keys were computed with.
    #[error(
        "the cache holds {tokens} tokens that were computed with other adapters; use a new cache, or clear it"
    )]
    CacheAdapters {
        /// Tokens of the cache.
        tokens: usize,
    },
    /// The caller did not want the rest of a prompt or an evaluation to run.
    #[error("cancelled before the end of the prompt or the text")]
    Cancelled,
    /// A scheduler has as many waiting requests as it takes.
    #[error("{limit} requests are waiting already; try again later, or raise `max_waiting`")]
    QueueFull {
        /// Requests that may wait.
        limit: usize,
    },
    /// The scheduler of a request has ended before it.
    #[error("the scheduler has ended; keep it as long as its requests run")]
    SchedulerEnded,
    /// The system gives no more threads.
    #[error("the thread of the scheduler cannot be started")]
    Thread(#[source] std::io::Error),
    /// Code that a request brought along, such as its constraint, panicked; other requests go on.
    #[error("the request panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// There is nothing to run.
    #[error("the prompt is empty; give at least one token")]
    EmptyPrompt,
    /// A token id is not in the vocabulary.
    #[error("token id {id} is not in the vocabulary of {vocab}")]
    TokenId {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// An option is out of range.
    #[error("{name} is {value}; use {allowed}")]
    Option {
        /// Name of the option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// No token can come next.
    #[error("no token can come next: all {vocab} scores are -inf or not a number")]
    NoCandidates {
        /// Size of the row of scores.
        vocab: usize,
    },
    /// The tokenizer or its template failed.
    #[error("{context}")]
    Tokenizer {
        /// What was being done.
        context: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model has no chat template.
    #[error("{model} has no chat template; use plain generation or give a template")]
    NoTemplate {
        /// The model.
        model: String,
    },
    /// A tokenizer belongs to another model.
    #[error(
        "{path}: the tokenizer has {tokens} tokens, the model's table of embeddings {rows} rows; \
         the files belong to different models"
    )]
    Vocabulary {
        /// The model.
        path: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the table of embeddings.
        rows: usize,
    },
    /// There is nothing to embed or to score.
    #[error("the list of texts is empty; give at least one text")]
    NoTexts,
    /// A text becomes no token at all.
    #[error("text number {index} has no tokens; leave it out")]
    EmptyText {
        /// Position of the text in the list.
        index: usize,
    },
    /// Vectors of a width that the model does not have were asked for.
    #[error("vectors of {asked} values were asked for; this model gives 1 to {width}")]
    Dimensions {
        /// Values that were asked for.
        asked: usize,
        /// Values of a whole vector.
        width: usize,
    },
    /// A text has too few tokens to be evaluated.
    #[error(
        "the text has {found} tokens, the evaluation needs {needed}; give more text or a shorter context"
    )]
    ShortText {
        /// Tokens of the text.
        found: usize,
        /// Tokens that are needed.
        needed: usize,
    },
    /// A file of log-probabilities cannot be used.
    #[error("{path}: {problem}")]
    LogitsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What a reply should spell cannot be used.
    #[error("the {kind} cannot be used: {reason}")]
    Grammar {
        /// What it is: a regular expression, a JSON schema, a grammar.
        kind: &'static str,
        /// What is wrong with it, with the place where there is one.
        reason: String,
    },
    /// A keyword of a JSON schema cannot be enforced.
    #[error(
        "the schema keyword `{keyword}` at {path} is not supported: {reason}; leave it out or relax the schema"
    )]
    SchemaKeyword {
        /// The keyword.
        keyword: String,
        /// JSON pointer to the schema that holds it, beginning with `#`.
        path: String,
        /// Why it cannot be enforced.
        reason: String,
    },
    /// A grammar passes a limit.
    #[error("the {kind} is too large: {reason}")]
    GrammarSize {
        /// What it is.
        kind: &'static str,
        /// Which limit it passes.
        reason: String,
    },
    /// No text is what a reply should spell.
    #[error("no text fits the {kind}: {reason}")]
    Unsatisfiable {
        /// What it is.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A reply cannot go on under its constraint; other replies are not touched.
    #[error("the reply cannot go on under its {kind}: {reason}")]
    Constraint {
        /// What it is.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A part of a model could not be converted or written.
    #[error("cannot convert {what}")]
    Convert {
        /// The tensor or file.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The build cannot use a device.
    #[error(
        "built without feature `{feature}`: cannot run on {device}; build with `--features {feature}`"
    )]
    DeviceFeature {
        /// The device.
        device: crate::device::Device,
        /// The feature of this crate that it takes.
        feature: &'static str,
    },
    /// A device is not there, has too little memory, or failed.
    #[error("{device}: {doing} failed; see docs/reference/gpu.md or load with `Placement::Auto`")]
    Device {
        /// The device.
        device: crate::device::Device,
        /// What was being done.
        doing: &'static str,
        /// What the device said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A kernel refused its input; this is a bug worth reporting.
    #[error("kernel failed")]
    Kernel(#[from] ropewalk_kernels::Error),
}

/// Returns a number of bytes as text.
fn size(bytes: Option<usize>) -> String {
    match bytes {
        Some(bytes) => format!("{bytes} bytes"),
        None => format!("over {} bytes", isize::MAX),
    }
}
