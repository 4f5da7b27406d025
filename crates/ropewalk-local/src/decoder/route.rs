//! Which experts each row uses, and the rows of each expert.

use std::ops::Range;

/// The rows that one expert works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) expert: usize,
    /// Its slots among those of all groups.
    pub(crate) slots: Range<usize>,
}

/// The experts of every row and the rows of every expert. A row has one slot for each expert that
/// it uses; the slots of an expert follow each other.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Slot and weight of each row's experts, `[rows, used]`, the most probable first.
    chosen: Vec<(usize, f32)>,
    used: usize,
    /// Experts with rows, ascending.
    pub(crate) groups: Vec<Group>,
    /// The row of each slot.
    pub(crate) rows: Vec<usize>,
    order: Vec<usize>,
    next: Vec<usize>,
}

impl Routes {
    /// Chooses the `used` most probable experts of each row of `probabilities`, `[rows, count]`; of
    /// equal ones the first. Their probabilities are the weights, scaled to sum to 1 if asked for.
    pub(crate) fn choose(
        &mut self,
        probabilities: &[f32],
        count: usize,
        used: usize,
        normalise: bool,
    ) {
        self.used = used;
        self.chosen.clear();
        self.next.clear();
        self.next.resize(count, 0);
        for row in probabilities.chunks_exact(count) {
            self.order.clear();
            self.order.extend(0..count);
            let best = |&a: &usize, &b: &usize| row[b].total_cmp(&row[a]).then(a.cmp(&b));
            if used < count {
                self.order.select_nth_unstable_by(used, best);
            }
            self.order.truncate(used);
            self.order.sort_unstable_by(best);
            let sum: f32 = self.order.iter().map(|&expert| row[expert]).sum();
            let scale = if normalise { sum } else { 1.0 };
            for &expert in &self.order {
                self.chosen.push((expert, row[expert] / scale));
                self.next[expert] += 1;
            }
        }
        self.group();
    }

    /// Gives every row its slots: `next` counts the rows of each expert, `chosen` names experts.
    fn group(&mut self) {
        self.groups.clear();
        let mut start = 0;
        for (expert, next) in self.next.iter_mut().enumerate() {
            let slots = start..start + *next;
            *next = start;
            start = slots.end;
            if !slots.is_empty() {
                self.groups.push(Group { expert, slots });
            }
        }
        self.rows.clear();
        self.rows.resize(start, 0);
        for (row, chosen) in self.chosen.chunks_exact_mut(self.used).enumerate() {
            for (place, _) in chosen {
                let slot = &mut self.next[*place];
                *place = *slot;
                self.rows[*slot] = row;
                *slot += 1;
            }
        }
    }

    /// Returns slots and weights of each row, the most probable expert first.
    pub(crate) fn per_row(&self) -> impl Iterator<Item = &[(usize, f32)]> {
        self.chosen.chunks_exact(self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_come_first_and_ties_go_to_the_lower() {
        let mut routes = Routes::default();
        let rows = [
            [0.1, 0.4, 0.1, 0.4],
            [0.25, 0.25, 0.25, 0.25],
            [0.0, 0.2, 0.5, 0.3],
        ];
        routes.choose(rows.as_flattened(), 4, 2, false);
        let experts: Vec<Vec<(usize, f32)>> = routes
            .per_row()
            .map(|row| {
                let expert = |slot: usize| routes.groups.iter().find(|g| g.slots.contains(&slot));
                row.iter()
                    .map(|&(slot, w)| (expert(slot).unwrap().expert, w))
                    .collect()
            })
            .collect();
        let want = [
            [(1, 0.4), (3, 0.4)],
            [(0, 0.25), (1, 0.25)],
            [(2, 0.5), (3, 0.3)],
        ];
        assert_eq!(experts, want);
        let group = |expert, slots| Group { expert, slots };
        let groups = [
            group(0, 0..1),
            group(1, 1..3),
            group(2, 3..4),
            group(3, 4..6),
        ];
        assert_eq!(routes.groups, groups);
        assert_eq!(routes.rows, [1, 0, 1, 2, 0, 2]);
    }

    #[test]
    fn weights_can_be_made_to_sum_to_one() {
        let mut routes = Routes::default();
        routes.choose(&[0.1, 0.6, 0.3], 3, 2, true);
        let weights: Vec<f32> = routes.per_row().flatten().map(|&(_, w)| w).collect();
        let sum = 0.6f32 + 0.3;
        assert_eq!(weights, [0.6 / sum, 0.3 / sum]);
    }

    #[test]
    fn rows_that_are_not_numbers_still_get_experts() {
        let mut routes = Routes::default();
        routes.choose(&[f32::NAN; 4], 4, 4, true);
        assert_eq!(routes.groups.len(), 4);
        assert!(routes.per_row().flatten().all(|(_, w)| w.is_nan()));
    }
}
