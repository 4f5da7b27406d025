//! A loaded encoder: token ids in, hidden states out.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ropewalk_gguf::Gguf;
use ropewalk_kernels::{Isa, Pool};
use ropewalk_spec::{EncoderSpec, TensorSource};

use super::EncoderOptions;
use super::load::{self, Files};
use super::pass::{Batch, Scratch};
use super::weights::Weights;
use crate::{Error, Result};

/// The tokens of one text, special ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncoderInput {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The type of each token (0 and 1 for the two texts of a pair); empty means 0 for all. Models
    /// without a table of types do not look at it.
    pub types: Vec<u32>,
}

impl EncoderInput {
    /// Creates the tokens of one text, all of type 0.
    pub fn new(ids: impl Into<Vec<u32>>) -> Self {
        Self {
            ids: ids.into(),
            types: Vec::new(),
        }
    }

    /// Sets the type of each token.
    #[must_use]
    pub fn with_types(mut self, types: impl Into<Vec<u32>>) -> Self {
        self.types = types.into();
        self
    }
}

/// An encoder with its weights packed for this machine: token ids in, hidden states out.
///
/// It is shared by reference between threads; passes take turns. [`LocalEmbedder`] and
/// [`LocalReranker`] put a tokenizer before it and vectors or scores behind it.
///
/// [`LocalEmbedder`]: crate::LocalEmbedder
/// [`LocalReranker`]: crate::LocalReranker
///
/// ```no_run
/// use ropewalk_local::{Encoder, EncoderInput, EncoderOptions};
///
/// let encoder = Encoder::open("all-MiniLM-L6-v2", &EncoderOptions::default())?;
/// let hidden = encoder.hidden_states(&[EncoderInput::new([101, 7592, 102])])?;
/// assert_eq!(hidden[0].len(), 3 * encoder.spec().hidden);
/// # Ok::<(), ropewalk_local::Error>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    path: PathBuf,
    weights: Weights,
    isa: Isa,
    threads: usize,
    tokens_per_pass: usize,
    executor: Mutex<Executor>,
}

#[derive(Debug)]
struct Executor {
    pool: Pool,
    /// One for each pass that runs at the same time.
    rooms: Vec<Room>,
}

/// What a pass works in.
#[derive(Debug, Default)]
struct Room {
    scratch: Scratch,
    batch: Batch,
}

/// Tokens of a pass that one thread runs alone: its rows stay in the second-level cache.
const SHARE: usize = 256;
/// Passes of each thread between two looks at whether they are wanted still.
const WAVE: usize = 16;

impl Encoder {
    /// Loads a Hugging Face directory or a GGUF file of architecture `bert`.
    ///
    /// # Errors
    /// One line that names the file and what is wrong: a path that is neither, a decoder, an
    /// unsupported architecture or tensor type, a missing tensor, a shape mismatch.
    pub fn open(path: impl AsRef<Path>, options: &EncoderOptions) -> Result<Self> {
        let path = path.as_ref();
        Self::assemble(path, load::open(path)?, options)
    }

    /// Loads from a GGUF file that is open already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_gguf(gguf: Arc<Gguf>, options: &EncoderOptions) -> Result<Self> {
        let path = Path::new("GGUF");
        Self::assemble(path, load::gguf(path, gguf)?, options)
    }

    /// Puts an encoder together from what it is and where its weights are.
    ///
    /// # Errors
    /// As [`open`](Self::open); a specification whose fields contradict each other.
    pub fn from_parts(
        spec: EncoderSpec,
        source: Arc<dyn TensorSource>,
        options: &EncoderOptions,
    ) -> Result<Self> {
        spec.validate()?;
        let files = Files { spec, source };
        Self::assemble(Path::new("parts"), files, options)
    }

    pub(super) fn assemble(path: &Path, files: Files, options: &EncoderOptions) -> Result<Self> {
        let isa = options.isa()?;
        let rule = options.quantize.as_ref();
        load::check_rule(rule, &files.spec)?;
        let pool = Pool::new(options.pool_threads());
        let weights = load::weights(files, isa, &pool, rule)?;
        Ok(Self {
            path: path.to_owned(),
            weights,
            isa,
            threads: pool.threads().get(),
            tokens_per_pass: options.pass_size(),
            executor: Mutex::new(Executor {
                rooms: (0..pool.threads().get()).map(|_| Room::default()).collect(),
                pool,
            }),
        })
    }

    /// Returns what the model is, from its configuration.
    pub fn spec(&self) -> &EncoderSpec {
        &self.weights.spec
    }

    /// Returns where the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the number of threads that compute.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns the bytes of the packed matrices.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Runs texts through the network and returns the hidden states of each, `[tokens, hidden]`.
    ///
    /// A text gives the bits that it gives alone, whatever else is in the list.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] for a text without tokens, [`Error::Context`] for one that is too
    /// long, [`Error::TokenId`] for an id or type outside of the tables.
    pub fn hidden_states(&self, texts: &[EncoderInput]) -> Result<Vec<Vec<f32>>> {
        let mut out = vec![Vec::new(); texts.len()];
        self.run(texts, &|| true, &mut |index, rows| {
            out[index] = rows.to_vec();
        })?;
        Ok(out)
    }

    fn check(&self, text: &EncoderInput) -> Result<()> {
        let spec = self.spec();
        let EncoderInput { ids, types } = text;
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if ids.len() > spec.max_tokens {
            return Err(Error::Context {
                wanted: ids.len(),
                limit: spec.max_tokens,
            });
        }
        let vocab = spec.vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenId { id, vocab });
        }
        if spec.type_vocab == 0 || types.is_empty() {
            return Ok(());
        }
        let vocab = spec.type_vocab;
        if let Some(&id) = types.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenId { id, vocab });
        }
        if types.len() == ids.len() {
            return Ok(());
        }
        Err(Error::Option {
            name: "number of token types",
            value: types.len().to_string(),
            allowed: "one for each token, or none",
        })
    }

    /// Runs texts in passes of similar length; `done` gets the index and the hidden states of each.
    ///
    /// # Errors
    /// As [`hidden_states`](Self::hidden_states); [`Error::Cancelled`] once `wanted` says no.
    pub(super) fn run(
        &self,
        texts: &[EncoderInput],
        wanted: &dyn Fn() -> bool,
        done: &mut (dyn FnMut(usize, &[f32]) + Send),
    ) -> Result<()> {
        texts.iter().try_for_each(|text| self.check(text))?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(texts[i].ids.len()));
        let mut passes = cut(texts, &order, self.tokens_per_pass.min(SHARE));
        let threads = self.threads;
        // Few passes would leave threads idle: then all threads work on each, and it may be long.
        let alone = threads == 1 || passes.len() >= 2 * threads;
        if !alone {
            passes = cut(texts, &order, self.tokens_per_pass);
        }
        let done = Mutex::new(done);
        let wave = if alone { WAVE * threads } else { 1 };
        for wave in passes.chunks(wave) {
            if !wanted() {
                return Err(Error::Cancelled);
            }
            let mut executor = self.executor();
            let Executor { pool, rooms } = &mut *executor;
            let pool: &Pool = pool;
            let rooms: Vec<_> = rooms.iter_mut().map(Mutex::new).collect();
            let failure = Mutex::new(None);
            pool.run(wave.len(), &|i| {
                // As many rooms as threads, so one is free.
                let mut held = rooms.iter().find_map(|room| room.try_lock().ok());
                let mut spare = Room::default();
                let room = held.as_deref_mut().map_or(&mut spare, |room| &mut **room);
                let threads = if alone { 1 } else { threads };
                if let Err(e) = self.pass((pool, threads), room, texts, wave[i], &done) {
                    lock(&failure).get_or_insert(e);
                }
            });
            let failure = lock(&failure).take();
            failure.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Runs the texts of one pass, given by their places in the list.
    fn pass(
        &self,
        (pool, threads): (&Pool, usize),
        Room { scratch, batch }: &mut Room,
        texts: &[EncoderInput],
        pass: &[usize],
        done: &Mutex<&mut (dyn FnMut(usize, &[f32]) + Send)>,
    ) -> Result<()> {
        batch.fill(pass.iter().map(|&i| &texts[i]));
        let mut rows = self
            .weights
            .pass((pool, threads), self.isa, scratch, batch)?;
        let mut done = lock(done);
        for &i in pass {
            let (own, others) = rows.split_at(texts[i].ids.len() * self.spec().hidden);
            rows = others;
            done(i, own);
        }
        Ok(())
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Runs `f` with the threads of this encoder.
    pub(super) fn with_pool<T>(&self, f: impl FnOnce(&Pool) -> T) -> T {
        f(&self.executor().pool)
    }

    fn executor(&self) -> MutexGuard<'_, Executor> {
        lock(&self.executor)
    }
}

/// Locks; a panic in a pass leaves only scratch space behind, which the next pass overwrites.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts texts, in this order, into passes of at most `limit` tokens, one longer text excepted.
fn cut<'o>(texts: &[EncoderInput], order: &'o [usize], limit: usize) -> Vec<&'o [usize]> {
    let mut passes = Vec::new();
    let mut rest = order;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fit = rest.iter().take_while(|&&i| {
            tokens += texts[i].ids.len();
            tokens <= limit
        });
        let (now, later) = rest.split_at(fit.count().max(1));
        passes.push(now);
        rest = later;
    }
    passes
}

impl Batch {
    /// Puts texts one after the other.
    fn fill<'t>(&mut self, texts: impl Iterator<Item = &'t EncoderInput>) {
        self.ids.clear();
        self.types.clear();
        self.lens.clear();
        for text in texts {
            self.ids.extend_from_slice(&text.ids);
            if text.types.is_empty() {
                self.types.resize(self.ids.len(), 0);
            } else {
                self.types.extend_from_slice(&text.types);
                self.types.resize(self.ids.len(), 0);
            }
            self.lens.push(text.ids.len());
        }
    }
}
