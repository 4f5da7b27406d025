//! How the rows of a step are shared.

/// What a running sequence could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// Ids that are pending; 1 for a sequence that is generating, more for a prompt.
    pub(super) pending: usize,
    /// Tokens that it would guess after them.
    pub(super) guess: usize,
}

/// Shares `budget` rows between sequences in the order of their arrival; returns the rows of each.
///
/// Generating sequences come first, one row each. When there are more of them than rows they take
/// turns, `turn` says with which to begin, and a quarter is left to prompts. Of what is left the
/// oldest prompt gets half and the others the rest in equal parts, so that a short prompt need not
/// wait for a long one; what they do not need goes to the oldest first. Guesses get what remains.
pub(super) fn share(budget: usize, asks: &[Ask], turn: usize) -> Vec<usize> {
    let mut rows = vec![0; asks.len()];
    let (generating, prompts): (Vec<usize>, Vec<usize>) =
        (0..asks.len()).partition(|&i| asks[i].pending <= 1);
    let reserve = if prompts.is_empty() { 0 } else { budget / 4 };
    let decode = generating.len().min(budget - reserve);
    for k in 0..decode {
        rows[generating[(turn + k) % generating.len()]] = 1;
    }
    let mut left = budget - decode;
    if let Some((&oldest, others)) = prompts.split_first() {
        let each = (left / 2).checked_div(others.len()).unwrap_or(0);
        rows[oldest] = asks[oldest].pending.min(left - left / 2);
        left -= rows[oldest];
        for &i in others {
            rows[i] = asks[i].pending.min(each);
            left -= rows[i];
        }
        for &i in &prompts {
            let more = (asks[i].pending - rows[i]).min(left);
            rows[i] += more;
            left -= more;
        }
    }
    for (rows, ask) in rows.iter_mut().zip(asks) {
        if *rows > 0 && *rows == ask.pending {
            let more = ask.guess.min(left);
            *rows += more;
            left -= more;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(budget: usize, pending: &[usize], turn: usize) -> Vec<usize> {
        let asks: Vec<Ask> = pending
            .iter()
            .map(|&pending| Ask { pending, guess: 0 })
            .collect();
        share(budget, &asks, turn)
    }

    #[test]
    fn generation_first_then_prompts() {
        assert_eq!(rows(512, &[1, 1, 700], 0), [1, 1, 510]);
        assert_eq!(rows(512, &[1, 20, 30], 0), [1, 20, 30]);
        // The oldest prompt gets half and what the short ones leave.
        assert_eq!(rows(100, &[400, 10, 300], 0), [65, 10, 25]);
        assert_eq!(rows(100, &[10, 400, 10], 0), [10, 80, 10]);
    }

    #[test]
    fn few_rows_are_taken_in_turns() {
        assert_eq!(rows(2, &[1, 1, 1, 1], 0), [1, 1, 0, 0]);
        assert_eq!(rows(2, &[1, 1, 1, 1], 3), [1, 0, 0, 1]);
        assert_eq!(rows(4, &[1, 1, 1, 1, 9], 0), [1, 1, 1, 0, 1]);
        assert_eq!(rows(1, &[9, 9], 0), [1, 0]);
        assert_eq!(rows(1, &[1, 9], 0), [1, 0]);
    }

    #[test]
    fn guesses_take_what_is_left() {
        let ask = |pending, guess| Ask { pending, guess };
        let asks = [ask(1, 4), ask(1, 4), ask(5, 4)];
        assert_eq!(share(9, &asks, 0), [3, 1, 5]);
        assert_eq!(share(6, &asks, 0), [1, 1, 4]);
        assert_eq!(share(99, &asks, 0), [5, 5, 9]);
    }

    #[test]
    fn the_budget_is_kept_and_used() {
        for budget in 1..40 {
            for n in 0..12usize {
                for turn in 0..5 {
                    let pending: Vec<usize> = (0..n).map(|i| 1 + (i * i * 7 + turn) % 23).collect();
                    let rows = rows(budget, &pending, turn);
                    assert!(rows.iter().zip(&pending).all(|(r, p)| r <= p));
                    let wanted: usize = pending.iter().sum();
                    let used: usize = rows.iter().sum();
                    assert!(used <= budget && (used > 0 || n == 0));
                    // Only generating sequences may be kept back, for the quarter of the prompts.
                    assert!(used == wanted.min(budget) || used + budget / 4 >= wanted.min(budget));
                }
            }
        }
    }
}
