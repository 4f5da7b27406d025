//! The code books the other way round: from levels to codes, and to the codes nearby where levels
//! have none.

use std::sync::LazyLock;

use crate::code_books;

/// Books with the distances searched: those of the 1, 2 or 3 nearest shells of neighbours
/// (`iq2xs_init_impl` and `iq3xs_init_impl` in `ggml-quants.c`).
pub(super) static IQ2_XXS: LazyLock<Book<8>> =
    LazyLock::new(|| Book::new(3, &code_books::IQ2_XXS, 2));
pub(super) static IQ2_XS: LazyLock<Book<8>> =
    LazyLock::new(|| Book::new(3, &code_books::IQ2_XS, 2));
pub(super) static IQ2_S: LazyLock<Book<8>> = LazyLock::new(|| Book::new(3, &code_books::IQ2_S, 1));
pub(super) static IQ1: LazyLock<Book<8>> = LazyLock::new(|| Book::new(3, &code_books::IQ1, 3));
pub(super) static IQ3_XXS: LazyLock<Book<4>> =
    LazyLock::new(|| Book::new(8, &code_books::IQ3_XXS, 2));
pub(super) static IQ3_S: LazyLock<Book<4>> = LazyLock::new(|| Book::new(8, &code_books::IQ3_S, 3));

/// The code of a group that has none.
const NONE: u16 = u16::MAX;
/// Above the largest squared distance: 8 * 2² with three levels, 4 * 7² with eight.
const DISTANCES: usize = 197;

/// A code book of groups of `D` levels.
#[derive(Debug)]
pub(super) struct Book<const D: usize> {
    base: usize,
    groups: &'static [[u8; D]],
    /// For each number of a group (`code_books.rs`) its code, or [`NONE`].
    codes: Vec<u16>,
    /// Where the neighbours of each number start in `neighbours`; one more at the end.
    starts: Vec<u32>,
    neighbours: Vec<u16>,
}

/// What a group of levels is coded as.
pub(super) enum Coded<'a> {
    /// The levels have this code.
    Exact(u16),
    /// They have none; these are nearest, by distance, then code. Never empty.
    Near(&'a [u16]),
}

impl<const D: usize> Book<D> {
    fn new(base: usize, groups: &'static [[u8; D]], shells: usize) -> Self {
        let numbers: Vec<usize> = groups.iter().map(|levels| number(base, levels)).collect();
        let mut codes = vec![NONE; base.pow(D as u32)];
        for (code, &number) in numbers.iter().enumerate() {
            codes[number] = code as u16;
        }
        let (mut starts, mut neighbours) = (Vec::with_capacity(codes.len() + 1), Vec::new());
        let between = half_distances(base, D / 2);
        let half = base.pow(D as u32 / 2);
        let mut distances = vec![0; groups.len()];
        for (number, &code) in codes.iter().enumerate() {
            starts.push(neighbours.len() as u32);
            if code != NONE {
                continue;
            }
            let (high, low) = (number / half * half, number % half * half);
            let mut found = [false; DISTANCES];
            for (distance, &other) in distances.iter_mut().zip(&numbers) {
                *distance = between[high + other / half] + between[low + other % half];
                found[*distance] = true;
            }
            for shell in (0..DISTANCES).filter(|&d| found[d]).take(shells) {
                let of_shell = (0..groups.len()).filter(|&code| distances[code] == shell);
                neighbours.extend(of_shell.map(|code| code as u16));
            }
        }
        starts.push(neighbours.len() as u32);
        Self {
            base,
            groups,
            codes,
            starts,
            neighbours,
        }
    }

    /// Looks up levels, each below the number of levels.
    pub(super) fn coded(&self, levels: &[u8; D]) -> Coded<'_> {
        let number = number(self.base, levels);
        match self.codes[number] {
            NONE => {
                let at = self.starts[number] as usize..self.starts[number + 1] as usize;
                Coded::Near(&self.neighbours[at])
            }
            code => Coded::Exact(code),
        }
    }

    /// Returns the levels of a code.
    pub(super) fn levels(&self, code: u16) -> &'static [u8; D] {
        &self.groups[usize::from(code)]
    }
}

/// Returns the number whose digits are the levels, the lowest first.
fn number(base: usize, levels: &[u8]) -> usize {
    levels
        .iter()
        .rev()
        .fold(0, |number, &level| number * base + usize::from(level))
}

/// Returns the squared distances between all groups of `digits` levels.
fn half_distances(base: usize, digits: usize) -> Vec<usize> {
    let n = base.pow(digits as u32);
    let distance = |mut a: usize, mut b: usize| {
        let mut sum = 0;
        for _ in 0..digits {
            sum += (a % base).abs_diff(b % base).pow(2);
            (a, b) = (a / base, b / base);
        }
        sum
    };
    (0..n * n)
        .map(|pair| distance(pair / n, pair % n))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_the_nearest_groups() {
        let book = &*IQ3_XXS;
        for (code, levels) in code_books::IQ3_XXS.iter().enumerate() {
            assert!(matches!(book.coded(levels), Coded::Exact(c) if usize::from(c) == code));
        }
        let levels = [7, 0, 7, 1];
        let Coded::Near(near) = book.coded(&levels) else {
            panic!("{levels:?} has a code");
        };
        let distance = |code: u16| -> u32 {
            let pairs = book.levels(code).iter().zip(&levels);
            pairs.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
        };
        let order: Vec<_> = near.iter().map(|&code| (distance(code), code)).collect();
        assert!(order.is_sorted() && !order.is_empty());
        let shells: std::collections::BTreeSet<_> = order.iter().map(|x| x.0).collect();
        assert_eq!(shells.len(), 2);
        let reach = shells.last().copied().unwrap_or_default();
        let within = (0..256).filter(|&code| distance(code) <= reach).count();
        assert_eq!(within, near.len());
    }
}
