//! The one decoder: every family runs through this forward pass, as the fields of its
//! [`ModelSpec`](ropewalk_spec::ModelSpec) say.

mod attention;
mod experts;
mod feed_forward;
mod head;
mod pass;
mod profile;
mod route;
mod watch;
mod weights;

use ropewalk_kernels::attention::{AttentionScratch, AttentionSeq, KvPage};
use ropewalk_kernels::{Acts, Isa, Pool, ops};
use ropewalk_spec::Residual;

use crate::adapter::{ActiveAdapter, Batch, Buffers};
use crate::rope::RopeTables;
use crate::{Cache, Error, Result};

pub use profile::Profile;
#[cfg(feature = "candle")]
pub(crate) use route::Routes;
pub(crate) use watch::{Point, Watch};
pub(crate) use weights::{
    Attention, Decoder, FeedForward, Layer, Linear, Mixture, Mlp, NormWeights, Norms, Shared,
};

pub(crate) use pass::{Pass, resize};
use profile::{Clock, Stage};

/// A run of new tokens of one sequence.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) ids: &'a [u32],
    /// Length of the sequence when all of its step is done; long RoPE depends on it.
    pub(crate) total: usize,
    /// Rows at the beginning whose logits nobody wants.
    pub(crate) skip_logits: usize,
    pub(crate) adapters: &'a [ActiveAdapter],
}

/// Buffers that every pass uses again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) clock: Clock,
    /// Whether passes give normalised hidden states in place of logits.
    pub(crate) hidden: bool,
    /// Sees what enters the weights, where someone asked for it.
    pub(crate) watch: Option<Box<Watch>>,
    /// What the projections of a part multiply, and what its last one does.
    acts: Acts,
    inner: Acts,
    /// Of all layers, and of those with a window where they differ.
    rope: [RopeTables; 2],
    attention: AttentionScratch,
    seqs: Vec<AttentionSeq<'static>>,
    pages: Vec<KvPage<'static>>,
    /// The residual stream, `[rows, hidden]`.
    x: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What a part adds to the stream, `[rows, hidden]`.
    out: Vec<f32>,
    /// The same of attention where the feed-forward layer runs beside it.
    beside: Vec<f32>,
    experts: experts::Scratch,
    logits: Vec<f32>,
    adapters: Buffers,
}

impl Scratch {
    /// Returns empty buffers; with `profile`, passes are measured.
    pub(crate) fn new(profile: bool) -> Self {
        Self {
            clock: Clock::new(profile),
            ..Self::default()
        }
    }
}

/// Ends a pass: its tokens are in the caches now.
fn append(spans: &mut [Span<'_>]) {
    for span in spans {
        span.cache.append(span.ids);
    }
}

impl Decoder {
    /// Runs all spans through the network and appends them to their caches.
    ///
    /// Returns the logits each span asked for, `[rows, vocab]`.
    pub(crate) fn pass(
        &self,
        pool: &Pool,
        isa: Isa,
        s: &mut Scratch,
        spans: &mut [Span<'_>],
    ) -> Result<Vec<Vec<f32>>> {
        let spec = &self.spec;
        let lists = spans.iter().map(|span| (span.ids.len(), span.adapters));
        let adapters = Batch::new(lists, &mut s.adapters);
        let p = Pass {
            pool,
            isa,
            spec,
            rows: spans.iter().map(|s| s.ids.len()).sum(),
            adapters: adapters.as_ref(),
        };
        s.clock.start(pool);
        self.embed(&p, s, spans)?;
        let totals = || spans.iter().map(|span| span.total);
        s.rope[0].grow(&spec.rope, totals());
        if let Some(local) = &spec.rope_local {
            s.rope[1].grow(local, totals());
        }
        s.clock.lap(Stage::Embedding);
        let mut on_devices = 0;
        if let Some(part) = &self.device {
            if s.hidden && part.has_head() {
                return Err(Error::Option {
                    name: "the model of an embedder",
                    value: "on a device".to_owned(),
                    allowed: "one that runs on the CPU",
                });
            }
            let out = part.pass(spec, &s.rope, &mut s.x, spans)?;
            s.clock.lap(Stage::Device);
            if let Some(out) = out {
                append(spans);
                s.clock.stop(pool, p.rows);
                return Ok(out);
            }
            on_devices = part.layers();
        }
        for (i, layer) in (on_devices..).zip(&self.layers) {
            let Layer {
                attention_norms: first,
                attention,
                feed_forward_norms: second,
                feed_forward,
            } = layer;
            if let Some(watch) = &mut s.watch {
                watch.layer = i;
            }
            p.norm_into(&s.x, first.before.as_ref(), &mut s.acts)?;
            self.attention(&p, attention, i, s, spans)?;
            let parallel = spec.residual != Residual::Sequential;
            if parallel {
                // The feed-forward layer sees the stream as attention saw it.
                std::mem::swap(&mut s.out, &mut s.beside);
            } else {
                p.add_part(&mut s.x, &mut s.out, &attention.o.bias, &first.after)?;
            }
            p.norm_into(&s.x, second.before.as_ref(), &mut s.acts)?;
            let bias = match feed_forward {
                FeedForward::Dense(mlp) => {
                    self.dense(&p, mlp, s)?;
                    &mlp.down.bias
                }
                FeedForward::Mixture(mixture) => {
                    self.mixture(&p, mixture, s)?;
                    &None
                }
            };
            if parallel {
                p.add_part(&mut s.x, &mut s.beside, &attention.o.bias, &first.after)?;
            }
            p.add_part(&mut s.x, &mut s.out, bias, &second.after)?;
        }
        let out = self.logits(&p, s, spans)?;
        append(spans);
        s.clock.stop(pool, p.rows);
        if let Some(batch) = adapters {
            s.adapters = batch.into_buffers();
        }
        Ok(out)
    }

    /// Writes the embedding of every token, with that of its position, to the stream.
    fn embed(&self, p: &Pass<'_>, s: &mut Scratch, spans: &[Span<'_>]) -> Result<()> {
        let hidden = self.spec.hidden;
        let scale = self.spec.embedding_scale;
        resize(&mut s.x, p.rows * hidden);
        let tokens = spans.iter().flat_map(|span| {
            let first = span.cache.len();
            span.ids
                .iter()
                .enumerate()
                .map(move |(i, id)| (*id, first + i))
        });
        // Only learned positions need the room.
        let room = s.acts.input(p.rows, hidden);
        let rows = s.x.chunks_exact_mut(hidden);
        let rows = rows.zip(room.chunks_exact_mut(hidden)).zip(tokens);
        let rows = rows.enumerate();
        p.each(hidden, rows, |(index, ((row, room), (id, position)))| {
            let outside = || Error::TokenId {
                id,
                vocab: self.spec.vocab_size,
            };
            self.embedding.row(id as usize, row).ok_or_else(outside)?;
            if let Some(batch) = p.adapters {
                batch.embed(p, index, id, row)?;
            }
            if (scale - 1.0).abs() > f32::EPSILON {
                ops::scale(p.isa, row, scale);
            }
            if let Some(positions) = &self.positions {
                positions.row(position, room).ok_or(Error::Context {
                    wanted: position + 1,
                    limit: self.spec.max_positions,
                })?;
                ops::add(p.isa, row, room)?;
            }
            Ok::<_, Error>(())
        })
    }
}
