//! A loaded model: token ids in, logits out.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ropewalk_gguf::Gguf;
use ropewalk_kernels::{Isa, Pool};
use ropewalk_spec::{Footprint, ModelSpec, RopeScaling, TensorSource};

use crate::adapter::{ActiveAdapter, AdapterKey};
use crate::cache::{CachePool, PAGE, Shape, Wanted, make_room};
use crate::decoder::{Decoder, Profile, Scratch, Span, Watch};
use crate::device::{self, DevicePlan, Part};
use crate::generate::refuse_empty;
use crate::rope::length_class;
use crate::{Cache, CacheType, Error, LoadOptions, LoadQuantize, Result, load};

/// One sequence of a forward pass.
#[derive(Debug)]
pub struct Step<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) ids: &'a [u32],
    pub(crate) all: bool,
    pub(crate) adapters: &'a [ActiveAdapter],
}

impl<'a> Step<'a> {
    /// Appends `ids` to the sequence of `cache` and asks for the logits after the last one.
    pub fn new(cache: &'a mut Cache, ids: &'a [u32]) -> Self {
        Self {
            cache,
            ids,
            all: false,
            adapters: &[],
        }
    }

    /// Runs the ids with adapters, whose parts are added up in order.
    #[must_use]
    pub fn with_adapters(mut self, adapters: &'a [ActiveAdapter]) -> Self {
        self.adapters = adapters;
        self
    }

    /// Asks for the logits after every id.
    #[must_use]
    pub fn with_all_logits(mut self) -> Self {
        self.all = true;
        self
    }
}

/// A decoder with its weights packed for this machine.
///
/// It is shared by reference between threads; forward passes take turns.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    decoder: Decoder,
    context: usize,
    cache: CacheType,
    isa: Isa,
    threads: usize,
    stop_ids: Vec<u32>,
    executor: Mutex<Executor>,
    /// Dropped last.
    _memory: Memory,
}

/// Gives the memory of a model back to the system once all of it is freed.
#[derive(Debug)]
struct Memory;

impl Drop for Memory {
    fn drop(&mut self) {
        ropewalk_kernels::give_memory_back();
    }
}

#[derive(Debug)]
struct Executor {
    pool: Pool,
    scratch: Scratch,
}

/// What is left to run of a step.
struct Run<'a> {
    cache: &'a mut Cache,
    /// Tokens in the cache before `ids`.
    before: usize,
    ids: Cow<'a, [u32]>,
    /// Tokens in the cache afterwards.
    total: usize,
    /// The first position whose logits are asked for.
    first_logits: usize,
    adapters: &'a [ActiveAdapter],
}

/// Rows that one pass takes at most; longer prompts run in several passes.
const ROWS_PER_PASS: usize = 512;
/// Context of a model that was made for a longer one, unless asked for.
const DEFAULT_CONTEXT: usize = 4096;

impl Model {
    /// Loads a GGUF file (one file, or any part of a split one) or a Hugging Face directory.
    ///
    /// # Errors
    /// One line that names the file and what is wrong: a path that is neither, an unsupported
    /// architecture or tensor type, a missing tensor, a shape mismatch, a truncated file.
    pub fn open(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = &*options.locate(path.as_ref())?;
        Self::assemble(path, load::open(path)?, options)
    }

    /// Loads from a GGUF file that is open already, such as one embedded in the program.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_gguf(gguf: Arc<Gguf>, options: &LoadOptions) -> Result<Self> {
        let path = Path::new("GGUF");
        Self::assemble(path, load::gguf(path, gguf)?, options)
    }

    /// Puts a model together from what it is and where its weights are: the way to a family that
    /// no file format names yet.
    ///
    /// The fields of the specification decide what is computed; its family and the layout of the
    /// source decide which names the weights have. A source is anything that gives tensors by name.
    ///
    /// # Errors
    /// As [`open`](Self::open); a specification whose fields contradict each other.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use ropewalk_local::{LoadOptions, Model};
    /// use ropewalk_spec::testing::Seeded;
    /// use ropewalk_spec::{Activation, ModelSpec};
    ///
    /// let config = serde_json::json!({
    ///     "architectures": ["LlamaForCausalLM"], "vocab_size": 320, "hidden_size": 64,
    ///     "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
    ///     "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    /// });
    /// let mut spec = ModelSpec::from_hf(&config)?;
    /// // A Llama with the activation of Gemma and a bound on its logits.
    /// spec.activation = Activation::GeluTanh;
    /// spec.logit_softcap = Some(30.0);
    /// let weights = Arc::new(Seeded::new(spec.clone(), 7).source());
    /// let model = Model::from_parts(spec, weights, &LoadOptions::default())?;
    /// let logits = model.forward(&mut model.new_cache(), &[1, 2, 3])?;
    /// assert!(logits.len() == 320 && logits.iter().all(|x| x.abs() < 30.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_parts(
        spec: ModelSpec,
        source: Arc<dyn TensorSource>,
        options: &LoadOptions,
    ) -> Result<Self> {
        spec.validate()?;
        let files = load::Files {
            spec,
            source,
            gguf: None,
        };
        Self::assemble(Path::new("parts"), files, options)
    }

    pub(crate) fn assemble(path: &Path, files: load::Files, options: &LoadOptions) -> Result<Self> {
        let threads = options
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let isa = options.isa.unwrap_or_else(Isa::best);
        if !isa.is_available() {
            return Err(Error::Option {
                name: "instruction set",
                value: format!("{isa:?}"),
                allowed: "one that this machine has",
            });
        }
        let context = options
            .context
            .unwrap_or(files.spec.max_positions.min(DEFAULT_CONTEXT));
        if context == 0 || context > files.spec.max_positions {
            return Err(Error::ContextLength {
                wanted: context,
                limit: files.spec.max_positions,
            });
        }
        Cache::check_size(&Shape::new(&files.spec, options.cache), context)?;
        let pool = Pool::new(threads);
        let rule = options.quantize.as_ref();
        rule.map_or(Ok(()), LoadQuantize::check)?;
        let plan = device::plan(&files.spec, &*files.source, options, context)?;
        let decoder = load::decoder(files, isa, &pool, options, plan.as_ref())?;
        Ok(Self {
            path: path.to_owned(),
            context,
            cache: options.cache,
            isa,
            threads: pool.threads().get(),
            stop_ids: decoder.spec.eos_ids.clone(),
            executor: Mutex::new(Executor {
                pool,
                scratch: Scratch::new(options.profile),
            }),
            _memory: Memory,
            decoder,
        })
    }

    /// Returns what the model is, from its configuration.
    pub fn spec(&self) -> &ModelSpec {
        &self.decoder.spec
    }

    /// Returns where the layers are; `None` if all of them run on the CPU.
    pub fn device_plan(&self) -> Option<&DevicePlan> {
        self.decoder.device.as_ref().map(Part::plan)
    }

    /// Returns where the model was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many tokens one sequence may hold.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Returns the instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the number of threads that compute.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Returns the ids that end a generation unless others are given.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub(crate) fn add_stop_ids(&mut self, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            if !self.stop_ids.contains(&id) {
                self.stop_ids.push(id);
            }
        }
    }

    /// Returns the module tree with shapes, as PyTorch prints it.
    pub fn describe(&self) -> String {
        ropewalk_spec::describe(self.spec())
    }

    /// Returns the number of parameters and their size in several types.
    pub fn memory(&self) -> Footprint {
        ropewalk_spec::memory(self.spec())
    }

    /// Returns the bytes of the packed weights, without the embedding table.
    pub fn weight_bytes(&self) -> usize {
        self.decoder.weight_bytes(true)
    }

    /// Returns where the time of the passes since the last call went, and begins anew; `None`
    /// unless the model was loaded with [`LoadOptions::with_profile`].
    pub fn take_profile(&self) -> Option<Profile> {
        self.executor().scratch.clock.take()
    }

    /// Returns the bytes that one decoding step reads with `tokens` in the cache.
    ///
    /// This divided by the machine's read bandwidth is the least time a token can take. Of experts
    /// those count that a token uses; layers with a window count as if they read all positions.
    pub fn bytes_per_step(&self, tokens: usize) -> usize {
        self.decoder.weight_bytes(false) + self.cache_shape().bytes_per_token() * tokens
    }

    /// Returns an empty cache for one sequence, with a pool of its own that has no limit.
    pub fn new_cache(&self) -> Cache {
        self.pool_of(None).new_cache()
    }

    /// Returns a pool of pages for the caches of many sequences, with room for `tokens` tokens in
    /// all, whole pages of 128. It takes memory only as pages are used.
    ///
    /// # Errors
    /// [`Error::Option`] for no token at all, [`Error::CacheSize`] where this machine has not that
    /// much memory.
    pub fn new_pool(&self, tokens: usize) -> Result<Arc<CachePool>> {
        if tokens == 0 {
            return Err(Error::Option {
                name: "tokens of the cache pool",
                value: tokens.to_string(),
                allowed: "1 or more",
            });
        }
        let shape = self.cache_shape();
        let pages = tokens.div_ceil(PAGE);
        let bytes = pages
            .checked_mul(PAGE)
            .and_then(|n| n.checked_mul(shape.bytes_per_token()));
        let room = bytes.is_some_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
        if !room {
            return Err(Error::CacheSize { tokens, bytes });
        }
        Ok(self.pool_of(Some(pages)))
    }

    /// Returns a pool of so many pages, or of any number.
    pub(crate) fn pool_of(&self, pages: Option<usize>) -> Arc<CachePool> {
        let rope = self.spec().rope.clone();
        CachePool::new(self.cache_shape(), rope, self.context, pages)
    }

    fn cache_shape(&self) -> Shape {
        let on_devices = self.decoder.device.as_ref().map_or(0, Part::layers);
        Shape::new(self.spec(), self.cache).with_layers_on_devices(on_devices)
    }

    /// Appends `ids` to a sequence and returns the logits after the last one, `[vocab]`.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::TokenId`], [`Error::Context`], [`Error::CacheFull`] where the
    /// pool of the cache has no page left, [`Error::CacheAdapters`], or [`Error::Cache`] for one of
    /// another model; the cache is then as before. After any other error it holds what it held, but
    /// for a sequence that just passed the length from which long RoPE turns keys otherwise: all of
    /// it is computed again then, and an error in between leaves it empty.
    pub fn forward(&self, cache: &mut Cache, ids: &[u32]) -> Result<Vec<f32>> {
        let mut rows = self.forward_batch(&mut [Step::new(cache, ids)])?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Appends `ids` to a sequence and returns the logits after each, `[ids, vocab]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_all(&self, cache: &mut Cache, ids: &[u32]) -> Result<Vec<f32>> {
        let mut rows = self.forward_batch(&mut [Step::new(cache, ids).with_all_logits()])?;
        Ok(rows.pop().unwrap_or_default())
    }

    /// Runs several sequences together; each gives the bits that it would give alone.
    ///
    /// Returns for each step its logits: `[vocab]`, or `[ids, vocab]` where all were asked for.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); no cache has changed then.
    pub fn forward_batch(&self, steps: &mut [Step<'_>]) -> Result<Vec<Vec<f32>>> {
        let vocab = self.spec().vocab_size;
        for step in steps.iter() {
            refuse_empty(step.ids)?;
            step.cache.check(&self.cache_shape())?;
            if let Some(&id) = step.ids.iter().find(|&&id| id as usize >= vocab) {
                return Err(Error::TokenId { id, vocab });
            }
            ActiveAdapter::check(step.adapters, self)?;
            if !step.cache.is_of(step.adapters) {
                return Err(Error::CacheAdapters {
                    tokens: step.cache.len(),
                });
            }
            let wanted = step.cache.len() + step.ids.len();
            if wanted > step.cache.capacity() {
                return Err(Error::Context {
                    wanted,
                    limit: step.cache.capacity(),
                });
            }
        }
        make_room(steps, |step| self.wanted(step))?;
        let mut runs: Vec<Run<'_>> = steps.iter_mut().map(|s| self.start(s)).collect();
        let result = self.finish(&mut runs);
        if result.is_err() {
            for run in &mut runs {
                run.cache.truncate(run.before);
            }
        }
        result
    }

    /// Returns whether other RoPE frequencies hold for the sequence of a step than its keys were turned
    /// with, and those that hold.
    fn turns_again(&self, step: &Step<'_>) -> (bool, usize) {
        let rope = &self.spec().rope;
        let class = length_class(rope, step.cache.len() + step.ids.len());
        let again = !step.cache.is_empty()
            && matches!(rope.scaling, RopeScaling::LongRope { .. })
            && step.cache.rope_class != class;
        (again, class)
    }

    /// Returns the positions that a step writes.
    fn wanted<'a>(&self, step: &'a mut Step<'_>) -> Wanted<'a> {
        let (again, _) = self.turns_again(step);
        let len = step.cache.len();
        Wanted {
            from: if again { 0 } else { len },
            end: len + step.ids.len(),
            cache: step.cache,
        }
    }

    /// Says what a step has to run: its ids, or everything again when other RoPE frequencies hold for
    /// the sequence than its keys were turned with (it grew past a length, or was cut below it).
    fn start<'a>(&self, step: &'a mut Step<'_>) -> Run<'a> {
        let before = step.cache.len();
        let total = before + step.ids.len();
        let (again, class) = self.turns_again(step);
        step.cache.rope_class = class;
        step.cache.adapters = AdapterKey::of(step.adapters);
        let ids = if again {
            let ids = [step.cache.tokens(), step.ids].concat();
            step.cache.restart();
            Cow::Owned(ids)
        } else {
            Cow::Borrowed(step.ids)
        };
        let first_logits = if step.all { before } else { total - 1 };
        Run {
            before: step.cache.len(),
            cache: &mut *step.cache,
            ids,
            total,
            first_logits,
            adapters: step.adapters,
        }
    }

    fn finish(&self, runs: &mut [Run<'_>]) -> Result<Vec<Vec<f32>>> {
        let mut executor = self.executor();
        let Executor { pool, scratch } = &mut *executor;
        let mut out: Vec<Vec<f32>> = vec![Vec::new(); runs.len()];
        loop {
            let mut room = ROWS_PER_PASS;
            let mut spans = Vec::new();
            let mut owners = Vec::new();
            for (i, run) in runs.iter_mut().enumerate() {
                let at = run.cache.len();
                let done = at - run.before;
                let take = (run.ids.len() - done).min(room);
                if take == 0 {
                    continue;
                }
                room -= take;
                owners.push(i);
                spans.push(Span {
                    cache: &mut *run.cache,
                    ids: &run.ids[done..done + take],
                    total: run.total,
                    skip_logits: run.first_logits.saturating_sub(at).min(take),
                    adapters: run.adapters,
                });
            }
            if spans.is_empty() {
                return Ok(out);
            }
            let rows = self.decoder.pass(pool, self.isa, scratch, &mut spans)?;
            for (i, row) in owners.into_iter().zip(rows) {
                if out[i].is_empty() {
                    out[i] = row;
                } else {
                    out[i].extend(row);
                }
            }
        }
    }

    /// From now on gives the normalised hidden states of the last layer wherever logits were asked
    /// for, `[rows, hidden]`.
    pub(crate) fn give_hidden_states(&mut self) {
        self.executor().scratch.hidden = true;
    }

    /// Runs `f` with the threads of this model.
    pub(crate) fn with_pool<T>(&self, f: impl FnOnce(&Pool) -> T) -> T {
        f(&self.executor().pool)
    }

    /// Sets what sees the activations of all passes from now on, and returns what did so far.
    pub(crate) fn watch(&mut self, watch: Option<Box<Watch>>) -> Option<Box<Watch>> {
        std::mem::replace(&mut self.executor().scratch.watch, watch)
    }

    fn executor(&self) -> MutexGuard<'_, Executor> {
        // A panic in a pass leaves only scratch space behind, which the next pass overwrites.
        self.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
