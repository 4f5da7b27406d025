//! The part of a model that is on devices: its first layers, or all of it.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use ropewalk_spec::{ModelSpec, RopeSpec, TensorSource};

use super::attention::Rows;
use super::cache::{Kv, KvShape};
use super::layer::{Context, Layer, Norm};
use super::load::Loader;
use super::tensor::{Done, Input, Linear, failed, open};
use super::{Device, DeviceDtype, DevicePlan, sizes};
use crate::decoder::Span;
use crate::rope::{RopeTables, length_class};
use crate::{CacheType, Error, Result};

/// The layers of one place of the plan.
#[derive(Debug)]
struct Stretch {
    device: Device,
    on: candle_core::Device,
    /// The first of `layers` among those of the model.
    first: usize,
    layers: Vec<Layer>,
    head: Option<(Norm, Linear)>,
}

/// Layers on devices, from the first one on; the rest of the model is on the CPU.
#[derive(Debug)]
pub(crate) struct Part {
    plan: DevicePlan,
    stretches: Vec<Stretch>,
    cache: DType,
}

impl Part {
    /// Loads what the plan puts on devices; `None` if that is nothing. `report` is called with the
    /// number of layers loaded.
    pub(crate) fn load(
        plan: &DevicePlan,
        spec: &ModelSpec,
        source: &dyn TensorSource,
        (dtype, cache): (DeviceDtype, CacheType),
        report: &dyn Fn(usize),
    ) -> Result<Option<Self>> {
        plan.check(spec.layers)?;
        let mut stretches = Vec::new();
        let mut done = 0;
        for place in plan.places().iter().filter(|p| p.device != Device::Cpu) {
            let on = open(place.device)?;
            let loader = Loader {
                spec,
                source,
                dtype,
                device: place.device,
                on: &on,
            };
            let mut layers = Vec::with_capacity(place.layers.len());
            for layer in place.layers.clone() {
                layers.push(loader.layer(layer)?);
                done += 1;
                report(done);
            }
            stretches.push(Stretch {
                device: place.device,
                first: place.layers.start,
                layers,
                head: place.head.then(|| loader.head()).transpose()?,
                on,
            });
        }
        if stretches.is_empty() {
            return Ok(None);
        }
        let cache = match sizes::cache_bytes(cache)? {
            4 => DType::F32,
            _ => DType::F16,
        };
        Ok(Some(Self {
            plan: plan.clone(),
            stretches,
            cache,
        }))
    }

    /// Returns how many layers, from the first one on, are here.
    pub(crate) fn layers(&self) -> usize {
        self.stretches.iter().map(|s| s.layers.len()).sum()
    }

    /// Returns whether output norm and output head are here too.
    pub(crate) fn has_head(&self) -> bool {
        self.stretches.iter().any(|s| s.head.is_some())
    }

    /// Returns the bytes of the weights, or of those that one token reads.
    pub(crate) fn bytes(&self, all: bool) -> usize {
        let of = |s: &Stretch| {
            let head = s.head.as_ref();
            let head = head.map_or(0, |(norm, linear)| norm.bytes() + linear.bytes());
            s.layers.iter().map(|l| l.bytes(all)).sum::<usize>() + head
        };
        self.stretches.iter().map(of).sum()
    }

    pub(crate) fn plan(&self) -> &DevicePlan {
        &self.plan
    }

    /// Runs the residual stream `x`, `[rows, hidden]`, through the layers. Returns the logits that
    /// the spans ask for if the head is here, and otherwise leaves the stream in `x`.
    pub(crate) fn pass(
        &self,
        spec: &ModelSpec,
        rope: &[RopeTables; 2],
        x: &mut [f32],
        spans: &mut [Span<'_>],
    ) -> Result<Option<Vec<Vec<f32>>>> {
        let rows = rows(spans);
        let angles = Angles::new(spec, rope, spans);
        let wanted: Vec<u32> = wanted(spans);
        let split: Vec<usize> = spans.iter().map(|s| s.ids.len() - s.skip_logits).collect();
        let caches = self.caches(spec, spans)?;
        let count = x.len() / spec.hidden;
        let mut stream: Option<Tensor> = None;
        for stretch in &self.stretches {
            let error = failed(stretch.device, "a pass");
            let entered = match &stream {
                Some(x) => x.to_device(&stretch.on),
                None => Tensor::from_slice(x, (count, spec.hidden), &stretch.on),
            };
            let left = entered.and_then(|x| stretch.run(spec, x, &rows, &angles, &caches));
            let left = left.map_err(error)?;
            if let Some(head) = &stretch.head {
                let logits = logits(spec, head, &left, &wanted).map_err(error)?;
                let mut rest = &logits[..];
                let split = split.iter().map(|n| {
                    let (head, tail) = rest.split_at(n * spec.vocab_size);
                    rest = tail;
                    head.to_vec()
                });
                return Ok(Some(split.collect()));
            }
            stream = Some(left);
        }
        if let (Some(stream), Some(last)) = (stream, self.stretches.last()) {
            let values = stream.flatten_all().and_then(|x| x.to_vec1::<f32>());
            x.copy_from_slice(&values.map_err(failed(last.device, "a pass"))?);
        }
        Ok(None)
    }

    /// Returns what each sequence keeps on devices, ready for writing.
    fn caches<'a>(&self, spec: &ModelSpec, spans: &'a mut [Span<'_>]) -> Result<Vec<&'a [Kv]>> {
        let device = self.stretches.first().map_or(Device::Cpu, |s| s.device);
        let caches = spans.iter_mut().map(|span| {
            let (len, capacity) = (span.cache.len(), span.cache.capacity());
            let layers = self.stretches.iter().flat_map(|s| {
                let shape = KvShape {
                    shape: (spec.kv_heads, capacity, spec.head_dim),
                    dtype: self.cache,
                    device: s.on.clone(),
                };
                s.layers.iter().map(move |_| shape.clone())
            });
            if !span.cache.device.fits(len, layers.clone()) {
                return Err(Error::Cache {
                    found: [span.cache.device.layers(), spec.kv_heads, spec.head_dim],
                    wanted: [self.layers(), spec.kv_heads, spec.head_dim],
                });
            }
            let writing = span.cache.device.writing(len, layers);
            writing.map_err(failed(device, "making room for keys and values"))
        });
        caches.collect()
    }
}

impl Stretch {
    fn run(
        &self,
        spec: &ModelSpec,
        mut x: Tensor,
        rows: &[Rows],
        angles: &[Option<Angles>; 2],
        caches: &[&[Kv]],
    ) -> Done<Tensor> {
        let mut on_device = [None, None];
        let mut masks: BTreeMap<(usize, Option<usize>), Option<Tensor>> = BTreeMap::new();
        let end = rows.iter().map(|r| r.first + r.count).max().unwrap_or(0);
        // A window longer than every sequence hides nothing.
        let window = |layer: usize| {
            let window = spec.window.get(layer).copied().flatten();
            window.filter(|&w| w < end)
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let at = self.first + i;
            let turn = usize::from(is_local(spec, at));
            if spec.rotates(at)
                && on_device[turn].is_none()
                && let Some(angles) = &angles[turn]
            {
                on_device[turn] = Some(angles.upload(&self.on)?);
            }
            let window = window(at);
            for (n, rows) in rows.iter().enumerate() {
                if let std::collections::btree_map::Entry::Vacant(e) = masks.entry((n, window)) {
                    e.insert(rows.mask(window, &self.on)?);
                }
            }
            let turns = on_device[turn].as_ref().filter(|_| spec.rotates(at));
            let sequences = rows.iter().zip(caches).enumerate().map(|(n, (rows, kv))| {
                let mask = masks.get(&(n, window)).and_then(Option::as_ref);
                (*rows, mask, &kv[at])
            });
            let context = Context {
                spec,
                angles: turns.map(|(cos, sin)| (cos, sin)),
                window,
                sequences: sequences.collect(),
            };
            x = layer.forward(&context, &x)?;
        }
        Ok(x)
    }
}

/// Cosines and sines of the rows of a pass, `[rows, pairs]`.
struct Angles {
    pairs: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// Collects those of all layers, and those of layers with a window where they differ.
    fn new(spec: &ModelSpec, rope: &[RopeTables; 2], spans: &[Span<'_>]) -> [Option<Self>; 2] {
        let of = |rope: &RopeSpec, tables: &RopeTables| {
            let mut angles = Self {
                pairs: rope.dims / 2,
                cos: Vec::new(),
                sin: Vec::new(),
            };
            for span in spans {
                let class = length_class(rope, span.total);
                let first = span.cache.len();
                for position in first..first + span.ids.len() {
                    let (cos, sin) = tables.at(position, class);
                    angles.cos.extend_from_slice(cos);
                    angles.sin.extend_from_slice(sin);
                }
            }
            angles
        };
        let rotates = (0..spec.layers).any(|i| spec.rotates(i));
        [
            rotates.then(|| of(&spec.rope, &rope[0])),
            spec.rope_local.as_ref().map(|local| of(local, &rope[1])),
        ]
    }

    fn upload(&self, device: &candle_core::Device) -> Done<(Tensor, Tensor)> {
        let rows = self.cos.len() / self.pairs.max(1);
        let tensor = |values: &[f32]| Tensor::from_slice(values, (rows, self.pairs), device);
        Ok((tensor(&self.cos)?, tensor(&self.sin)?))
    }
}

/// Whether a layer turns q and k as only layers with a window do.
fn is_local(spec: &ModelSpec, layer: usize) -> bool {
    let local = spec.rope_local.as_ref();
    local.is_some_and(|local| std::ptr::eq(local, spec.rope_of(layer)))
}

fn rows(spans: &[Span<'_>]) -> Vec<Rows> {
    let mut start = 0;
    let rows = spans.iter().map(|span| {
        let count = span.ids.len();
        start += count;
        Rows {
            start: start - count,
            count,
            first: span.cache.len(),
        }
    });
    rows.collect()
}

/// The rows whose logits are asked for.
fn wanted(spans: &[Span<'_>]) -> Vec<u32> {
    let asked = spans
        .iter()
        .flat_map(|span| (0..span.ids.len()).map(|i| i >= span.skip_logits));
    let asked = asked.enumerate().filter(|(_, asked)| *asked);
    asked.map(|(row, _)| row as u32).collect()
}

/// Computes the logits of some rows, `[wanted, vocab]`.
fn logits(
    spec: &ModelSpec,
    (norm, head): &(Norm, Linear),
    x: &Tensor,
    wanted: &[u32],
) -> Done<Vec<f32>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let x = if wanted.len() == x.dim(0)? {
        x.clone()
    } else {
        let rows = Tensor::from_slice(wanted, wanted.len(), x.device())?;
        x.index_select(&rows, 0)?
    };
    let mut logits = head.forward(&Input::new(norm.forward(&x)?))?;
    if (spec.logit_scale - 1.0).abs() > f32::EPSILON {
        logits = (logits * f64::from(spec.logit_scale))?;
    }
    if let Some(cap) = spec.logit_softcap.map(f64::from) {
        logits = ((logits / cap)?.tanh()? * cap)?;
    }
    logits.flatten_all()?.to_vec1()
}
