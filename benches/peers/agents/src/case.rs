//! What is measured.

use std::future::Future;
use std::pin::Pin;

/// One operation; panics when the library does not give what the double said.
pub type Operation = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>>;

/// Makes an operation of a closure.
pub fn operation<F: Future<Output = ()> + 'static>(work: impl Fn() -> F + 'static) -> Operation {
    Box::new(move || Box::pin(work()))
}

/// The operations of one library, in the order of [`CASES`].
pub type Side = [Operation; CASES.len()];

/// One row of the table.
pub struct Case {
    pub name: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// How many units an operation is.
    pub units: usize,
    /// How many operations run at the same time.
    pub concurrency: usize,
}

const fn case(name: &'static str, unit: &'static str, units: usize, concurrency: usize) -> Case {
    Case {
        name,
        unit,
        units,
        concurrency,
    }
}

const RUN: usize = crate::canned::TURNS + 1;

/// The rows.
pub const CASES: [Case; 9] = [
    case("chat over HTTP, 1 at a time", "request", 1, 1),
    case("chat over HTTP, 16 at a time", "request", 1, 16),
    case("streamed chat over HTTP, 1 at a time", "request", 1, 1),
    case("streamed chat over HTTP, 16 at a time", "request", 1, 16),
    case("tool loop over HTTP, run", "turn", RUN, 1),
    case("tool loop over HTTP, streamed run", "turn", RUN, 1),
    case("chat over bytes in memory", "request", 1, 1),
    case("tool loop over bytes in memory, run", "turn", RUN, 1),
    case("tool loop over a model in memory, run", "turn", RUN, 1),
];
