//! The rows of one pass that run with adapters.
//!
//! `A x` of all adapters joins the product with the weights of the model, so that it costs no
//! barrier of its own; then one more phase multiplies with every B. A row adds the parts of its
//! adapters in the order of its list, whatever else is in the pass.

use std::sync::{Arc, Mutex, PoisonError};

use ropewalk_kernels::{Acts, Job, Matrix, matmul, ops};

use super::ready::{Pair, Part, Site};
use super::{ActiveAdapter, Adapter};
use crate::Result;
use crate::decoder::Pass;

/// The rows of one adapter.
#[derive(Debug)]
struct Group<'a> {
    adapter: &'a Adapter,
    rows: Vec<usize>,
}

/// One adapter of one row.
#[derive(Debug, Clone, Copy)]
struct Use {
    group: usize,
    /// Place among the rows of the group.
    place: usize,
    scale: f32,
}

/// Which rows of a pass run with which adapters.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    groups: Vec<Group<'a>>,
    /// The adapters of each row, in the order of its list.
    rows: Vec<Vec<Use>>,
    buffers: Mutex<Buffers>,
}

/// Buffers that every pass uses again.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// `A x` of all rows, per A.
    middle: Vec<Vec<f32>>,
    /// The same of the rows of a group.
    inputs: Vec<Acts>,
    /// What B gives, `[rows of the group, out]`, and what whole weights give, `[rows, out]`.
    parts: Vec<Vec<f32>>,
    whole: Vec<Vec<f32>>,
}

/// One A that a product needs.
struct First<'a> {
    group: usize,
    a: &'a Arc<Matrix>,
}

/// One B that a product needs.
struct Second<'a> {
    group: usize,
    /// Which output it changes.
    part: usize,
    first: usize,
    pair: &'a Pair,
}

impl<'a> Batch<'a> {
    /// Collects the rows of adapters from the number of rows and the adapters of each sequence;
    /// `None` where nobody has any.
    pub(crate) fn new(
        spans: impl Iterator<Item = (usize, &'a [ActiveAdapter])> + Clone,
        buffers: &mut Buffers,
    ) -> Option<Self> {
        let on = |a: &&ActiveAdapter| a.scale != 0.0;
        if !spans.clone().any(|(_, list)| list.iter().any(|a| on(&a))) {
            return None;
        }
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut rows: Vec<Vec<Use>> = Vec::new();
        for (count, list) in spans {
            for _ in 0..count {
                let mut uses = Vec::with_capacity(list.len());
                for active in list.iter().filter(on) {
                    let id = active.adapter.id();
                    let known = groups.iter().position(|g| g.adapter.id() == id);
                    let group = known.unwrap_or_else(|| {
                        groups.push(Group {
                            adapter: &active.adapter,
                            rows: Vec::new(),
                        });
                        groups.len() - 1
                    });
                    let members = &mut groups[group].rows;
                    uses.push(Use {
                        group,
                        place: members.len(),
                        scale: active.scale,
                    });
                    members.push(rows.len());
                }
                rows.push(uses);
            }
        }
        Some(Self {
            groups,
            rows,
            buffers: Mutex::new(std::mem::take(buffers)),
        })
    }

    /// Returns the batch of the rows that are asked for.
    pub(crate) fn select(&self, asked: impl Iterator<Item = bool>) -> Self {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for group in &self.groups {
            groups.push(Group {
                adapter: group.adapter,
                rows: Vec::new(),
            });
        }
        let mut rows = Vec::new();
        for (uses, _) in self.rows.iter().zip(asked).filter(|(_, asked)| *asked) {
            let mut uses = uses.clone();
            for one in &mut uses {
                let members = &mut groups[one.group].rows;
                one.place = members.len();
                members.push(rows.len());
            }
            rows.push(uses);
        }
        let buffers = Mutex::new(std::mem::take(&mut *self.lock()));
        Self {
            groups,
            rows,
            buffers,
        }
    }

    /// Takes buffers for the passes to come.
    pub(crate) fn restore(&self, buffers: Buffers) {
        *self.lock() = buffers;
    }

    /// Gives the buffers back.
    pub(crate) fn into_buffers(self) -> Buffers {
        let buffers = self.buffers.into_inner();
        buffers.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, group: usize, site: Site) -> Option<&'a Part> {
        self.groups[group].adapter.inner.ready.part(site)
    }

    /// Returns whether any adapter changes one of these.
    pub(crate) fn changes(&self, mut sites: impl Iterator<Item = Site>) -> bool {
        sites.any(|site| (0..self.groups.len()).any(|g| self.part(g, site).is_some()))
    }

    /// Changes the embedding of a token in one row.
    pub(crate) fn embed(&self, p: &Pass<'_>, row: usize, id: u32, out: &mut [f32]) -> Result<()> {
        for one in self.rows.get(row).into_iter().flatten() {
            let adapter = self.groups[one.group].adapter;
            if let Some(embedding) = &adapter.inner.ready.embedding {
                embedding.apply(p.isa, id as usize, one.scale, out)?;
            }
        }
        Ok(())
    }

    /// Multiplies the rows in `acts` by matrices of the model and adds what adapters change.
    pub(crate) fn multiply(
        &self,
        p: &Pass<'_>,
        acts: &mut Acts,
        parts: &mut [(&Matrix, Site, &mut [f32])],
    ) -> Result<()> {
        let mut buffers = self.lock();
        let Buffers {
            middle,
            inputs,
            parts: partial,
            whole,
        } = &mut *buffers;
        let (mut firsts, mut seconds): (Vec<First<'_>>, Vec<Second<'_>>) = (Vec::new(), Vec::new());
        let mut others: Vec<(usize, usize, &Matrix)> = Vec::new();
        for group in 0..self.groups.len() {
            for (part, &(_, site, _)) in parts.iter().enumerate() {
                let Some(found) = self.part(group, site) else {
                    continue;
                };
                if let Some(matrix) = &found.whole {
                    others.push((group, part, matrix));
                }
                let Some(pair) = &found.low else { continue };
                let same = |f: &First<'_>| f.group == group && Arc::ptr_eq(f.a, &pair.a);
                let first = firsts.iter().position(same).unwrap_or_else(|| {
                    firsts.push(First { group, a: &pair.a });
                    firsts.len() - 1
                });
                seconds.push(Second {
                    group,
                    part,
                    first,
                    pair,
                });
            }
        }
        let matrices = parts.iter().map(|(weights, ..)| *weights);
        let matrices = matrices.chain(firsts.iter().map(|f| &**f.a));
        let matrices = matrices.chain(others.iter().map(|(.., m)| *m));
        acts.prepare_input(p.pool, p.isa, matrices)?;
        let sizes = firsts.iter().map(|f| p.rows * f.a.rows());
        let middle = room(middle, sizes);
        let whole = room(whole, others.iter().map(|(.., m)| p.rows * m.rows()));
        let base = parts
            .iter_mut()
            .map(|(weights, _, out)| Job::new(weights, out));
        let lows = firsts.iter().zip(middle.iter_mut());
        let lows = lows.map(|(first, out)| Job::new(first.a, out));
        let highs = others.iter().zip(whole.iter_mut());
        let highs = highs.map(|((.., matrix), out)| Job::new(matrix, out));
        let mut jobs: Vec<Job<'_>> = base.chain(lows).chain(highs).collect();
        matmul(p.pool, acts, &mut jobs)?;
        drop(jobs);

        if inputs.len() < firsts.len() {
            inputs.resize_with(firsts.len(), Acts::new);
        }
        for (index, ((first, values), input)) in firsts
            .iter()
            .zip(middle.iter())
            .zip(&mut *inputs)
            .enumerate()
        {
            let (rank, rows) = (first.a.rows(), &self.groups[first.group].rows);
            let to = input.input(rows.len(), rank).chunks_exact_mut(rank);
            for (to, &row) in to.zip(rows) {
                to.copy_from_slice(&values[row * rank..][..rank]);
            }
            let needed = seconds.iter().filter(|s| s.first == index);
            input.prepare_input(p.pool, p.isa, needed.map(|s| &s.pair.b))?;
        }
        let size = |s: &Second<'_>| self.groups[s.group].rows.len() * s.pair.b.rows();
        let partial = room(partial, seconds.iter().map(size));
        let jobs = seconds.iter().zip(partial.iter_mut());
        let jobs = jobs.map(|(s, out)| Job::new(&s.pair.b, out).with_acts(&inputs[s.first]));
        matmul(p.pool, acts, &mut jobs.collect::<Vec<_>>())?;

        for (part, (weights, site, out)) in parts.iter_mut().enumerate() {
            let width = weights.rows();
            let rows = out.chunks_exact_mut(width).zip(&self.rows).enumerate();
            let rows = rows.filter(|(_, (_, uses))| !uses.is_empty());
            p.each(width, rows, |(row, (out, uses))| {
                for one in uses {
                    let other = others.iter().position(|o| (o.0, o.1) == (one.group, part));
                    if let Some(values) = other.and_then(|i| whole.get(i)) {
                        out.copy_from_slice(&values[row * width..][..width]);
                    }
                }
                for one in uses {
                    let second = seconds
                        .iter()
                        .position(|s| (s.group, s.part) == (one.group, part));
                    if let Some((index, values)) = second.and_then(|i| Some((i, partial.get(i)?))) {
                        let pair = seconds[index].pair;
                        let factor = one.scale * pair.scale;
                        ops::add_scaled(p.isa, out, &values[one.place * width..][..width], factor)?;
                        if let Some(bias) = &pair.bias {
                            ops::add_scaled(p.isa, out, bias, factor)?;
                        }
                        if let Some(lengths) = &pair.lengths {
                            lengths.apply(one.scale, out);
                        }
                    }
                    let found = self.part(one.group, *site);
                    if let Some(bias) = found.and_then(|part| part.bias.as_ref()) {
                        ops::add(p.isa, out, bias)?;
                    }
                }
                Ok::<_, ropewalk_kernels::Error>(())
            })?;
        }
        Ok(())
    }
}

/// Returns as many buffers as there are sizes, each of its size and of any content.
fn room(buffers: &mut Vec<Vec<f32>>, sizes: impl Iterator<Item = usize>) -> &mut [Vec<f32>] {
    let mut count = 0;
    for (i, size) in sizes.enumerate() {
        if buffers.len() <= i {
            buffers.push(Vec::new());
        }
        crate::decoder::resize(&mut buffers[i], size);
        count = i + 1;
    }
    &mut buffers[..count]
}
