//! Local language models on the CPU: ids in, logits, ids or chat out.
//!
//! One decoder runs every family that [`ropewalk_spec`] describes, from GGUF files and from
//! Hugging Face directories, on the kernels of [`ropewalk_kernels`]. There are three levels, each
//! built on the one before:
//!
//! 1. [`Model`]: token ids in, logits out. No tokenizer, no async runtime.
//! 2. [`Generation`] and [`generate_n`]: token ids in, token ids out, with a [`sample`] chain.
//! 3. [`LocalModel`]: messages in, messages out; a [`ropewalk_core::ChatModel`] with chat template,
//!    streaming, stop strings and tool calls.
//!
//! ```no_run
//! use ropewalk_core::ChatModelExt;
//! use ropewalk_local::LocalModel;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let model = LocalModel::open("model.gguf")?;
//! println!("{}", model.ask("What is a ropewalk?").await?);
//! # Ok(()) }
//! ```
//!
//! # Ids
//!
//! The lower two levels need neither tokenizer nor runtime. Several continuations of one prompt share its pass:
//!
//! ```no_run
//! use ropewalk_local::sample::SamplerOptions;
//! use ropewalk_local::{GenerateOptions, LoadOptions, Model, generate_n};
//!
//! # fn main() -> ropewalk_local::Result<()> {
//! let model = Model::open("model.gguf", &LoadOptions::default())?;
//! let logits = model.forward(&mut model.new_cache(), &[1, 403, 407])?; // [vocab], after the last id
//! println!("{} logits", logits.len());
//!
//! let sampler = SamplerOptions::balanced().with_seed(7);
//! let options = GenerateOptions::greedy(32).with_sampler(sampler).with_logprobs(5);
//! for output in generate_n(&model, &[1, 403, 407], &options, 3)? {
//!     println!("{:?}", output.ids());
//! }
//! # Ok(()) }
//! ```
//!
//! # Replies, and giving up
//!
//! [`LocalModel::respond`] blocks and hands over events as they come. Returning `Break`, also while a long prompt is
//! read, ends it; the reply then holds what came so far and the finish reason `cancelled`. Tools are described in the
//! request; calls come back as data ([`Message::tool_calls`](ropewalk_core::Message::tool_calls)).
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use ropewalk_core::{ChatRequest, StreamEvent};
//! use ropewalk_local::LocalModel;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = LocalModel::open("model.gguf")?;
//! let request = ChatRequest::new().user("Count to ten.").stop("ten").max_tokens(64).logprobs(3);
//! let reply = model.respond(&request, &mut |event| {
//!     if let StreamEvent::TextDelta { text, .. } = event {
//!         print!("{text}");
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! println!("\n{:.0} tokens/s", reply.timings.decode_rate());
//! # Ok(()) }
//! ```
//!
//! # Tool calls and reasoning
//!
//! Calls are read in the format that the chat template writes
//! ([`ToolCallFormat`](ropewalk_tokens::tool_calls::ToolCallFormat)), or in the one of [`LoadOptions::tool_calls`]. What a
//! model thinks between the tags its template names becomes a reasoning part.
//!
//! | option | how it is honoured |
//! | --- | --- |
//! | `tool_choice` `Required`, `Tool` | a grammar holds the reply to calls that fit the schemas of the tools (feature `constrained`); without it the prompt begins the call, for formats in which all models begin it alike |
//! | `tool_choice` `Auto` | once a call has begun a grammar holds it to the tools (feature `constrained`) |
//! | `response_format` | a grammar holds the reply, after reasoning, to JSON or its schema (feature `constrained`) |
//! | `parallel_tool_calls` `false` | the first call ends the reply; so it does where the template takes one call at once (Llama 3) |
//! | `reasoning` `Off`, `Medium` | the switch of the template, if it has one |
//!
//! What cannot be honoured follows `on_unsupported` of the request.
//!
//! # Replies of a form
//!
//! With the feature `constrained` a reply can be held to a JSON schema, a regular expression, a grammar in Lark or GBNF,
//! or one of some texts: see [`constrain`]. [`LocalModel`] enforces `response_format` and `tool_choice` by it, so
//! [`extract`](ropewalk_core::ChatModelExt::extract) needs no repair; a reply that the token limit cuts is an error of
//! the kind [`Truncated`](ropewalk_core::ErrorKind::Truncated).
//!
//! # Defaults
//!
//! Replies take the most likely token unless a temperature is given, draws begin from seed 0 unless a seed is given
//! (so the same request gets the same reply), and the context is the model's own or 4096 tokens, whichever is less.
//! Log probabilities cover every token that was made, also those of a stop string that the text leaves out.
//!
//! # Less memory
//!
//! [`LoadOptions::with_quantize`] codes weights while they are loaded, one after another, in any type that
//! [`ropewalk_gguf`] writes or in the formats of bitsandbytes ([`WeightFormat`]). Directories that bitsandbytes has
//! quantised (`load_in_4bit`, `load_in_8bit`, saved) stay in 4 and 8 bits. [`llama`] has the knobs of llama-cpp-python.
//!
//! ```no_run
//! use ropewalk_local::{LoadOptions, LoadQuantize, LocalModel};
//!
//! let options = LoadOptions::default().with_quantize(LoadQuantize::new("nf4".parse()?));
//! let model = LocalModel::open_with("my-model", &options)?;
//! # Ok::<(), ropewalk_local::Error>(())
//! ```
//!
//! # Adapters
//!
//! LoRA adapters, directories of PEFT and GGUF files of llama.cpp, run beside a model that stays as it is: another one per
//! request, several in one batch, several on one sequence ([`Adapter`], [`GenerateOptions::adapters`],
//! [`Step::with_adapters`], [`LocalModel::with_adapters`]). [`LoadOptions::with_merged`] puts them into the weights instead.
//!
//! ```no_run
//! use ropewalk_local::{Adapter, LoadOptions, LocalModel};
//!
//! let model = LocalModel::open("model.gguf")?;
//! let polite = Adapter::open(model.model(), "lora-polite")?; // the model may be answering meanwhile
//! let polite = model.clone().with_adapters([polite.into()]); // `model` itself answers as before
//!
//! let merged = LocalModel::open_with("model.gguf", &LoadOptions::default().with_merged("lora-polite", 1.0))?;
//! # Ok::<(), ropewalk_local::Error>(())
//! ```
//!
//! | what an adapter holds | beside the model | merged |
//! | --- | --- | --- |
//! | low-rank changes of projections, embeddings and head, with rank and alpha patterns or rsLoRA; biases | yes | yes |
//! | whole embeddings, heads and projections (`modules_to_save`) | yes | yes |
//! | DoRA of projections | yes | yes |
//! | whole norms; DoRA of the head | refused | yes |
//! | experts, routers and positions as low-rank changes; other kinds of adapters | refused | refused |
//!
//! # GPUs
//!
//! With the features `cuda` and `metal` layers run on GPUs: all of them ([`LoadOptions::with_device`]), or as many as fit
//! a budget ([`LoadOptions::with_devices`]), the rest on the CPU. See [`device`].
//!
//! ```no_run
//! use ropewalk_local::device::{Device, DeviceBudget};
//! use ropewalk_local::{LoadOptions, LocalModel};
//!
//! let budget = DeviceBudget::new(Device::Cuda(0)).with_bytes(8 << 30);
//! let model = LocalModel::open_with("model.gguf", &LoadOptions::default().with_devices([budget]))?;
//! if let Some(plan) = model.model().device_plan() {
//!     println!("{plan}");
//! }
//! # Ok::<(), ropewalk_local::Error>(())
//! ```
//!
//! # Many at once
//!
//! Reading the weights is what takes the time of one sequence; a [`Scheduler`] lets many share it. Requests come and go
//! at every step, prompts that begin alike are read once, and each reply is the one that it would be alone, byte for
//! byte. [`LocalModel::with_scheduler`] runs chats through it.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ropewalk_local::{GenerateOptions, LoadOptions, Model, Scheduler, SchedulerOptions};
//!
//! # fn main() -> ropewalk_local::Result<()> {
//! let model = Arc::new(Model::open("model.gguf", &LoadOptions::default())?);
//! let scheduler = Scheduler::new(model, &SchedulerOptions::new().with_max_sequences(16))?;
//! let options = GenerateOptions::greedy(64);
//! let one = scheduler.submit(&[1, 403, 407], &options)?;
//! let two = scheduler.submit(&[1, 403, 500], &options)?; // both run; dropping one would cancel it
//! for token in one.chain(two) {
//!     println!("{}", token?.id);
//! }
//! println!("{:.0} tokens/s", scheduler.stats().tokens_per_second());
//! # Ok(()) }
//! ```
//!
//! Where replies copy from the prompt, [`GenerateOptions::with_speculation`] gets several tokens out of one pass; the
//! reply stays the same for every sampler.
//!
//! # Any family
//!
//! What a model computes follows from the fields of its [`ModelSpec`](ropewalk_spec::ModelSpec) alone: where its norms
//! stand, what they are, how positions enter, which activation and which experts it has. [`Model::from_parts`] runs a
//! specification that was made by hand over tensors from anywhere.
//!
//! # Where the time goes
//!
//! ```no_run
//! use ropewalk_local::{LoadOptions, Model};
//!
//! # fn main() -> ropewalk_local::Result<()> {
//! let model = Model::open("model.gguf", &LoadOptions::default().with_profile(true))?;
//! model.forward(&mut model.new_cache(), &[1, 403, 407])?;
//! if let Some(profile) = model.take_profile() {
//!     for (stage, time) in profile.stages() {
//!         println!("{stage:<12} {:>5.1} %", 100.0 * time.as_secs_f64() / profile.total().as_secs_f64());
//!     }
//!     println!("{} barriers", profile.phases);
//! }
//! # Ok(()) }
//! ```
//!
//! # Long contexts
//!
//! Keys and values take most of the memory of a long context; [`LoadOptions::with_cache`] says how they are stored.
//!
//! | [`CacheType`] | bytes per value | largest change of a logit in the tests, of the largest logit |
//! | --- | --- | --- |
//! | `F32` | 4 | none |
//! | `F16` (the default) | 2 | below 0.2 % |
//! | `Q8_0` | 1.06 | below 3 % |
//!
//! # Step by step
//!
//! Text to ids, ids to logits, logits to a token, tokens to text: each step stands alone, and stages of one's own
//! ([`sample::LogitsProcessor`]) may look in between. [`GenerateOptions::with_stage`] gives such a stage to every way
//! of generating: [`Generation`], [`generate_n`], [`beam_search`] and chats ([`LocalModel::with_stage`]).
//!
//! ```no_run
//! use ropewalk_local::LocalModel;
//! use ropewalk_local::sample::{Sampler, SamplerOptions};
//!
//! let local = LocalModel::open("model.gguf")?;
//! let (model, tokenizer) = (local.model(), local.tokenizer());
//! let mut ids = tokenizer.encode("Once upon a time", true)?;
//! let mut sampler = Sampler::new(&SamplerOptions::balanced())?.after_prompt(ids.len());
//! let mut text = tokenizer.decode_stream(true);
//! let mut cache = model.new_cache();
//! let mut logits = model.forward(&mut cache, &ids)?;
//! for _ in 0..32 {
//!     let token = sampler.sample(&ids, &logits, Some(3))?;
//!     if model.stop_ids().contains(&token.id) {
//!         break;
//!     }
//!     if let Some(piece) = text.push(token.id)? {
//!         print!("{piece}");
//!     }
//!     ids.push(token.id);
//!     logits = model.forward(&mut cache, &[token.id])?;
//! }
//! println!("{}", text.finish());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`beam_search`] looks for the most probable reply, [`expected_number`] reads a number as the mean of those that the
//! model holds possible, and [`view`] shows a reply token by token as a page.
//!
//! # Vectors and scores of texts
//!
//! [`LocalEmbedder`] opens folders of sentence-transformers (BERT, MiniLM, BGE, E5, GTE, DistilBERT, RoBERTa,
//! XLM-RoBERTa, ModernBERT, and decoders such as Qwen3-Embedding) and GGUF files of architecture `bert`;
//! [`LocalReranker`] opens cross-encoders. Texts run without padding, and one text's vector does not depend on the
//! others, bit for bit. [`Encoder`] is what lies below both: ids in, hidden states or logits out.
//!
//! ```no_run
//! use ropewalk_core::{EmbedKind, EmbedRequest, EmbeddingModelExt};
//! use ropewalk_local::{EmbedderOptions, EncoderOptions, LocalEmbedder, LocalReranker};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let model = LocalEmbedder::open("all-MiniLM-L6-v2")?;
//! let out = model.embed_texts(&["Bread is baked.", "A train leaves."], EmbedKind::Document)?;
//! println!("{} values, {} tokens", out.vectors[0].len(), out.tokens);
//!
//! // The same without blocking, as any embedding model does it; matrices in 8 bits.
//! let small = EmbedderOptions::default().with_encoder(EncoderOptions::default().with_int8());
//! let model = LocalEmbedder::open_with("bge-small-en-v1.5", &small.with_bge_prompts())?;
//! let reply = model.embed_all(&EmbedRequest::query("Who bakes?")).await?;
//! println!("{:?}", reply.warnings); // which texts were too long
//!
//! let scores = LocalReranker::open("bge-reranker-base")?.score("Who bakes?", &["A baker.", "A train."])?.scores;
//! assert!(scores[0] > scores[1]);
//! # Ok(()) }
//! ```
//!
//! | what | from where |
//! | --- | --- |
//! | pooling, dense layers, normalisation | the modules of the folder; the mean without any |
//! | prompts of queries and documents | `config_sentence_transformers.json`, or [`EmbedderOptions::with_prompt`] |
//! | tokens that are read | `sentence_bert_config.json`, the tokenizer's, or [`EncoderOptions::with_max_tokens`] |
//! | shorter vectors (Matryoshka) | `dimensions` of a request, or [`LocalEmbedder::embed_short`] |
//!
//! # Measuring
//!
//! [`eval`] computes perplexity, the divergence of one model from another, and importance matrices.
//!
//! # Converting
//!
//! [`convert`] turns a Hugging Face directory into a GGUF file that llama.cpp runs alike, quantised or not.
//!
//! # Features
//!
//! | feature | means |
//! | --- | --- |
//! | `constrained` | replies held to schemas, regular expressions and grammars, by llguidance; property order in JSON then follows the source in the whole program (`serde_json/preserve_order`) |
//! | `candle` | layers on devices that candle knows: alone its own CPU device, which shows that the code for GPUs is right |
//! | `cuda`, `metal` | NVIDIA and Apple GPUs; `cuda` takes the CUDA toolkit, `metal` macOS |
//! | `hub` | models of the Hugging Face Hub by `hf:owner/name[@revision][/file]`: see `hub` |
//! | `full` | every portable feature |

pub mod adapter;
mod beam;
mod bnb;
mod cache;
mod chat;
pub mod constrain;
pub mod convert;
mod decoder;
pub mod device;
mod encoder;
mod error;
pub mod eval;
mod expected;
mod generate;
#[cfg(feature = "hub")]
pub mod hub;
pub mod llama;
mod load;
mod model;
mod options;
mod quantize_on_load;
mod rope;
mod rows;
pub mod sample;
mod schedule;
mod stop;
pub mod view;
mod vocab;

pub use adapter::{ActiveAdapter, Adapter, AdapterSource};
pub use beam::{Beam, BeamOptions, EarlyStopping, beam_search};
pub use cache::{Cache, CachePool, CacheType, PrefixCache};
pub use chat::{LocalModel, PROVIDER, Reply};
pub use decoder::Profile;
pub use encoder::{
    Embedded, EmbedderOptions, Encoder, EncoderInput, EncoderOptions, LocalEmbedder, LocalReranker,
    RerankerOptions, ScoreActivation, Scored, Truncated,
};
pub use error::{Error, Result};
pub use expected::{ExpectedNumber, NumberOptions, expected_number};
pub use generate::{Finish, GenerateOptions, Generation, Output, Speculate, Timings, generate_n};
pub use model::{Model, Step};
pub use options::{LoadOptions, LoadProgress};
pub use quantize_on_load::{HeadRule, LoadQuantize, WeightFormat};
pub use schedule::{Handle, Scheduler, SchedulerOptions, SchedulerStats, TokenStream};
pub use stop::StopStrings;
pub use vocab::gguf_tokenizer;
