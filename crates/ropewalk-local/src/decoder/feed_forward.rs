//! The feed-forward layer.

use ropewalk_kernels::ops;

use super::pass::{Pass, add_bias};
use super::profile::Stage;
use super::watch::{Point, watch};
use super::{Decoder, Mlp, Scratch};
use crate::Result;

impl Decoder {
    /// Computes the layer for the rows in `acts`; the output, without its bias, is in `out`.
    pub(super) fn dense(&self, p: &Pass<'_>, mlp: &Mlp, s: &mut Scratch) -> Result<()> {
        let ffn = mlp.up.weights.rows();
        watch!(s, Point::FeedForward, self.spec.hidden, s.acts);
        if let Some(gate) = &mlp.gate {
            let parts = [(gate, &mut s.gate), (&mlp.up, &mut s.up)];
            p.project(&mut s.acts, (&mut s.clock, Stage::FeedForward), parts)?;
            let out = s.inner.input(p.rows, ffn).chunks_exact_mut(ffn);
            let gated = s.gate.chunks_exact_mut(ffn).zip(s.up.chunks_exact_mut(ffn));
            p.each(ffn, out.zip(gated), |(out, (gate, up))| {
                self.gated(p, mlp, gate, up, out)
            })?;
        } else {
            let out = s.inner.input(p.rows, ffn);
            let parts = [(&mlp.up.weights, mlp.up.site, &mut *out)];
            p.multiply(&mut s.acts, (&mut s.clock, Stage::FeedForward), parts)?;
            p.each(ffn, out.chunks_exact_mut(ffn), |row| {
                self.plain(p, mlp, row)
            })?;
        }
        s.clock.lap(Stage::FeedForward);
        let parts = [(&mlp.down, &mut s.out)];
        p.project(&mut s.inner, (&mut s.clock, Stage::FeedForward), parts)?;
        watch!(s, Point::Down, ffn, s.inner);
        Ok(())
    }

    /// Writes `activation(gate) * up`, biases added, of one row.
    pub(super) fn gated(
        &self,
        p: &Pass<'_>,
        mlp: &Mlp,
        gate: &mut [f32],
        up: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), ropewalk_kernels::Error> {
        let bias = mlp.gate.as_ref().and_then(|l| l.bias.as_deref());
        add_bias(p.isa, gate, bias)?;
        add_bias(p.isa, up, mlp.up.bias.as_deref())?;
        ops::gate(p.isa, self.activation, gate, up, out)
    }

    /// Applies the activation to a row that no gate multiplies, its bias added.
    pub(super) fn plain(
        &self,
        p: &Pass<'_>,
        mlp: &Mlp,
        row: &mut [f32],
    ) -> Result<(), ropewalk_kernels::Error> {
        add_bias(p.isa, row, mlp.up.bias.as_deref())?;
        ops::activate(p.isa, self.activation, row);
        Ok(())
    }
}
