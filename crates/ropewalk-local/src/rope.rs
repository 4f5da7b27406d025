//! Cosines and sines of the positions seen so far.

use std::collections::BTreeMap;

use ropewalk_spec::{RopeScaling, RopeSpec};

/// Tables that grow with the longest sequence; f32 whatever the weights are.
///
/// Some scalings use other frequencies for sequences past a length; each set has its own table.
#[derive(Debug, Default)]
pub(crate) struct RopeTables(BTreeMap<usize, Table>);

#[derive(Debug, Default)]
struct Table {
    half: usize,
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Tables of lengths that are no longer in use are dropped past this number.
const MAX_TABLES: usize = 16;

/// Returns the sequence length that stands for all lengths with the same frequencies.
pub(crate) fn length_class(spec: &RopeSpec, total: usize) -> usize {
    match spec.switch_length() {
        Some(limit) if total > limit => match spec.scaling {
            RopeScaling::Dynamic { .. } => total,
            _ => limit + 1,
        },
        _ => 0,
    }
}

impl RopeTables {
    /// Makes room for sequences of the given lengths.
    pub(crate) fn grow(&mut self, spec: &RopeSpec, totals: impl Iterator<Item = usize>) {
        if self.0.len() > MAX_TABLES {
            self.0.clear();
        }
        for total in totals {
            let class = length_class(spec, total);
            let table = self.0.entry(class).or_default();
            if total > table.positions {
                // Whole doublings, so that growing token by token stays cheap.
                table.positions = total.next_power_of_two().max(256);
                table.half = spec.dims / 2;
                let positions: Vec<u32> = (0u32..).take(table.positions).collect();
                (table.cos, table.sin) = spec.tables(&positions, class);
            }
        }
    }

    /// Returns cosines and sines, `[dims / 2]` each, of a position in a sequence of a class.
    pub(crate) fn at(&self, position: usize, class: usize) -> (&[f32], &[f32]) {
        let Some(t) = self.0.get(&class) else {
            return (&[], &[]);
        };
        let row = position * t.half..(position + 1) * t.half;
        (&t.cos[row.clone()], &t.sin[row])
    }
}
