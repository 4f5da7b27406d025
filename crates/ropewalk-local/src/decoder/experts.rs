//! Feed-forward layers of which each token uses some.
//!
//! Rows are grouped by expert, each group is multiplied once, and every row adds what its experts
//! give in the order of their probabilities: the same bits for any batch.

use ropewalk_kernels::{Acts, Job, matmul, ops};

use super::pass::{Pass, recycle, resize};
use super::profile::Stage;
use super::route::Routes;
use super::watch::{Point, Watch};
use super::{Decoder, Mixture, Mlp};
use crate::Result;

/// Buffers that every layer uses again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    jobs: Vec<Job<'static>>,
    /// Probabilities of the experts, `[rows, experts]`.
    scores: Vec<f32>,
    routes: Routes,
    /// Per group: its rows, and what its last projection multiplies.
    inputs: Vec<Acts>,
    inner: Vec<Acts>,
    /// `[slots, ffn]`, `[slots, ffn]`, `[slots, hidden]`.
    gate: Vec<f32>,
    up: Vec<f32>,
    out: Vec<f32>,
    /// The same of the expert that every row uses, and its gate, `[rows]`.
    shared_inner: Acts,
    shared_gate: Vec<f32>,
    shared_up: Vec<f32>,
    shared_out: Vec<f32>,
    shared_scale: Vec<f32>,
}

impl Scratch {
    /// Shows a watch what entered the router, the experts and the shared expert.
    fn show(&self, watch: &mut Watch, rows: usize, m: &Mixture, acts: &Acts) {
        let width = |mlp: &Mlp| mlp.up.weights.rows();
        let hidden = m.router.cols();
        watch.see(Point::FeedForward, (0, 1), hidden, acts.input_rows());
        let groups = self.routes.groups.iter();
        for (i, (group, inner)) in groups.zip(&self.inner).enumerate() {
            let input = if rows > 1 { &self.inputs[i] } else { acts };
            let (expert, ffn) = (
                (group.expert, m.experts.len()),
                width(&m.experts[group.expert]),
            );
            watch.see(Point::Experts, expert, hidden, input.input_rows());
            watch.see(Point::ExpertsDown, expert, ffn, inner.input_rows());
        }
        if let Some(shared) = &m.shared {
            let rows = self.shared_inner.input_rows();
            watch.see(Point::SharedDown, (0, 1), width(&shared.mlp), rows);
        }
    }
}

/// An expert between its projections.
struct Middle<'a> {
    mlp: &'a Mlp,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    inner: &'a mut Acts,
}

impl Decoder {
    /// Computes the experts of the rows in `acts`; the output is in `out`.
    pub(super) fn mixture(&self, p: &Pass<'_>, m: &Mixture, s: &mut super::Scratch) -> Result<()> {
        let every = m.experts.iter().filter(|_| p.rows == 1);
        let shared = m.shared.as_ref();
        let matrices = shared
            .into_iter()
            .flat_map(|s| s.mlp.inputs().chain([&s.router]));
        let matrices = matrices.chain(every.flat_map(Mlp::inputs));
        let matrices = matrices.chain([&m.router]);
        s.acts.prepare_input(p.pool, p.isa, matrices)?;
        s.clock.lap(Stage::Norms);

        let (e, acts) = (&mut s.experts, &s.acts);
        let count = m.experts.len();
        resize(&mut e.scores, p.rows * count);
        let mut jobs = recycle(std::mem::take(&mut e.jobs));
        jobs.push(Job::new(&m.router, &mut e.scores));
        if let Some(shared) = shared {
            resize(&mut e.shared_scale, p.rows);
            jobs.push(Job::new(&shared.router, &mut e.shared_scale));
            let buffers = (&mut e.shared_gate, &mut e.shared_up);
            push_inputs(&mut jobs, &shared.mlp, p.rows, buffers);
        }
        matmul(p.pool, acts, &mut jobs)?;
        e.jobs = recycle(jobs);
        p.each(count, e.scores.chunks_exact_mut(count), |row| {
            ops::softmax(p.isa, row, count)
        })?;
        e.routes.choose(&e.scores, count, m.used, m.normalise);

        self.first_products(p, m, acts, e)?;
        self.activate(p, m, e)?;
        last_products(p, m, e, self.spec.hidden)?;
        if let Some(watch) = &mut s.watch {
            e.show(watch, p.rows, m, acts);
        }
        self.combine(p, m, e, &mut s.out)?;
        s.clock.lap(Stage::FeedForward);
        Ok(())
    }

    /// Multiplies each group with gate and up of its expert.
    fn first_products(
        &self,
        p: &Pass<'_>,
        m: &Mixture,
        acts: &Acts,
        e: &mut Scratch,
    ) -> Result<()> {
        let (groups, hidden) = (&e.routes.groups, self.spec.hidden);
        if e.inputs.len() < groups.len() {
            e.inputs.resize_with(groups.len(), Acts::new);
        }
        if p.rows > 1 {
            // A single row is what all its experts multiply; others are collected.
            let x = acts.input_rows();
            let items = groups.iter().zip(&mut e.inputs);
            p.each(m.used * hidden, items, |(group, input)| {
                let rows = &e.routes.rows[group.slots.clone()];
                let out = input.input(rows.len(), hidden);
                for (out, &row) in out.chunks_exact_mut(hidden).zip(rows) {
                    out.copy_from_slice(&x[row * hidden..][..hidden]);
                }
                input.prepare_input(p.pool, p.isa, m.experts[group.expert].inputs())
            })?;
        }
        let mut jobs = recycle(std::mem::take(&mut e.jobs));
        let slots = e.routes.rows.len();
        let ffn = m.experts.first().map_or(0, |mlp| mlp.up.weights.rows());
        resize(&mut e.gate, slots * ffn);
        resize(&mut e.up, slots * ffn);
        let (mut gate, mut up) = (&mut e.gate[..], &mut e.up[..]);
        for (group, input) in groups.iter().zip(&e.inputs) {
            let mlp = &m.experts[group.expert];
            let input = if p.rows > 1 { input } else { acts };
            let len = group.slots.len() * ffn;
            let (gate, up) = (take_mut(&mut gate, len), take_mut(&mut up, len));
            if let Some(l) = &mlp.gate {
                jobs.push(Job::new(&l.weights, gate).with_acts(input));
            }
            jobs.push(Job::new(&mlp.up.weights, up).with_acts(input));
        }
        matmul(p.pool, acts, &mut jobs)?;
        e.jobs = recycle(jobs);
        Ok(())
    }

    /// Applies the activation and prepares the rows for the last projection of each expert.
    fn activate(&self, p: &Pass<'_>, m: &Mixture, e: &mut Scratch) -> Result<()> {
        let groups = &e.routes.groups;
        if e.inner.len() < groups.len() {
            e.inner.resize_with(groups.len(), Acts::new);
        }
        let ffn = m.experts.first().map_or(0, |mlp| mlp.up.weights.rows());
        let (mut gate, mut up) = (&mut e.gate[..], &mut e.up[..]);
        let middle = groups.iter().zip(&mut e.inner).map(|(group, inner)| {
            let len = group.slots.len() * ffn;
            Middle {
                mlp: &m.experts[group.expert],
                gate: take_mut(&mut gate, len),
                up: take_mut(&mut up, len),
                inner,
            }
        });
        let buffers = (&mut e.shared_gate, &mut e.shared_up, &mut e.shared_inner);
        let shared = m.shared.as_ref().map(|s| Middle {
            mlp: &s.mlp,
            gate: buffers.0,
            up: buffers.1,
            inner: buffers.2,
        });
        p.each(m.used * ffn, middle.chain(shared), |middle| {
            let Middle {
                mlp,
                gate,
                up,
                inner,
            } = middle;
            let ffn = mlp.up.weights.rows();
            let out = inner.input(up.len() / ffn, ffn).chunks_exact_mut(ffn);
            let rows = out.zip(up.chunks_exact_mut(ffn));
            if mlp.gate.is_some() {
                for ((out, up), gate) in rows.zip(gate.chunks_exact_mut(ffn)) {
                    self.gated(p, mlp, gate, up, out)?;
                }
            } else {
                for (out, up) in rows {
                    out.copy_from_slice(up);
                    self.plain(p, mlp, out)?;
                }
            }
            inner.prepare_input(p.pool, p.isa, [&mlp.down.weights])
        })
    }

    /// Adds up what the experts of each row give.
    fn combine(&self, p: &Pass<'_>, m: &Mixture, e: &Scratch, out: &mut Vec<f32>) -> Result<()> {
        let hidden = self.spec.hidden;
        resize(out, p.rows * hidden);
        let rows = out.chunks_exact_mut(hidden).zip(e.routes.per_row());
        p.each(m.used * hidden, rows.enumerate(), |(row, (out, chosen))| {
            out.fill(0.0);
            for &(slot, weight) in chosen {
                ops::add_scaled(p.isa, out, &e.out[slot * hidden..][..hidden], weight)?;
            }
            if m.shared.is_some() {
                let gate = 1.0 / (1.0 + (-e.shared_scale[row]).exp());
                ops::add_scaled(p.isa, out, &e.shared_out[row * hidden..][..hidden], gate)?;
            }
            Ok::<_, ropewalk_kernels::Error>(())
        })
    }
}

/// Multiplies each group with down of its expert.
fn last_products(p: &Pass<'_>, m: &Mixture, e: &mut Scratch, hidden: usize) -> Result<()> {
    let mut jobs = recycle(std::mem::take(&mut e.jobs));
    resize(&mut e.out, e.routes.rows.len() * hidden);
    let mut out = &mut e.out[..];
    for (group, inner) in e.routes.groups.iter().zip(&e.inner) {
        let down = &m.experts[group.expert].down.weights;
        let out = take_mut(&mut out, group.slots.len() * hidden);
        jobs.push(Job::new(down, out).with_acts(inner));
    }
    if let Some(shared) = &m.shared {
        resize(&mut e.shared_out, p.rows * hidden);
        let job = Job::new(&shared.mlp.down.weights, &mut e.shared_out);
        jobs.push(job.with_acts(&e.shared_inner));
    }
    // Every job has activations of its own.
    matmul(p.pool, &e.shared_inner, &mut jobs)?;
    e.jobs = recycle(jobs);
    Ok(())
}

/// Adds the products of `rows` rows with gate and up.
fn push_inputs<'a>(
    jobs: &mut Vec<Job<'a>>,
    mlp: &'a Mlp,
    rows: usize,
    (gate, up): (&'a mut Vec<f32>, &'a mut Vec<f32>),
) {
    let ffn = mlp.up.weights.rows();
    resize(up, rows * ffn);
    jobs.push(Job::new(&mlp.up.weights, up));
    if let Some(linear) = &mlp.gate {
        resize(gate, rows * ffn);
        jobs.push(Job::new(&linear.weights, gate));
    }
}

fn take_mut<'a>(from: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (head, rest) = std::mem::take(from).split_at_mut(n);
    *from = rest;
    head
}
