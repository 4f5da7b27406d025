//! What enters the weight matrices, summed up by column.

use std::collections::BTreeMap;

use ropewalk_spec::Role;

/// Where rows enter matrices: those named share their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// q, k and v.
    Attention,
    /// The attention output.
    AttentionOutput,
    /// Gate, up, router, and all that shared experts begin with.
    FeedForward,
    /// Down.
    Down,
    /// Gate and up of the experts.
    Experts,
    /// Down of the experts.
    ExpertsDown,
    /// Down of the shared expert.
    SharedDown,
    /// The output head.
    Head,
}

impl Point {
    /// Returns where the rows that a weight multiplies enter; `None` for what is no matrix of a
    /// product.
    pub(crate) const fn of(role: Role) -> Option<Self> {
        Some(match role {
            Role::Q | Role::K | Role::V => Self::Attention,
            Role::O => Self::AttentionOutput,
            Role::Gate
            | Role::Up
            | Role::Router
            | Role::SharedRouter
            | Role::SharedGate
            | Role::SharedUp => Self::FeedForward,
            Role::Down => Self::Down,
            Role::ExpertGate | Role::ExpertUp => Self::Experts,
            Role::ExpertDown => Self::ExpertsDown,
            Role::SharedDown => Self::SharedDown,
            Role::Head => Self::Head,
            _ => return None,
        })
    }
}

/// Squares of what entered at a point, by expert (0 where there is none).
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Rows of each expert.
    pub(crate) rows: Vec<f64>,
    /// `[experts, columns]`
    pub(crate) squares: Vec<f64>,
}

/// Adds up what enters the matrices of the passes that run while it is in the scratch.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The layer that runs.
    pub(crate) layer: usize,
    pub(crate) seen: BTreeMap<(usize, Point), Seen>,
}

impl Watch {
    /// Adds rows of `columns` values that enter at a point, for one of `experts` experts.
    pub(crate) fn see(
        &mut self,
        point: Point,
        (expert, experts): (usize, usize),
        columns: usize,
        rows: &[f32],
    ) {
        let layer = if point == Point::Head { 0 } else { self.layer };
        let seen = self.seen.entry((layer, point)).or_default();
        seen.rows.resize(experts, 0.0);
        seen.squares.resize(experts * columns, 0.0);
        let sums = &mut seen.squares[expert * columns..][..columns];
        for row in rows.chunks_exact(columns) {
            seen.rows[expert] += 1.0;
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
    }
}

/// Lets the watch of a scratch, if it has one, see what is in `$acts`.
macro_rules! watch {
    ($scratch:expr, $point:expr, $columns:expr, $acts:expr) => {
        if let Some(watch) = &mut $scratch.watch {
            watch.see($point, (0, 1), $columns, $acts.input_rows());
        }
    };
}
pub(super) use watch;
