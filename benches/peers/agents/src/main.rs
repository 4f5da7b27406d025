//! Overhead of chats and tool loops beside rig 0.44, against the same server in one process.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/agents/Cargo.toml -- --csv FILE
//! ```
//!
//! With `--no-default-features` it measures this library alone: rig turns on `preserve_order` and
//! `float_roundtrip` of `serde_json`, for the whole program, which slow both.
//!
//! `--rounds N` (9), `--ms N`: length of a measurement in milliseconds (300), `--only N`: one row.
//!
//! In every round both libraries do every row, in turns, on one thread; the server has another. The
//! table shows medians over the rounds. Allocations and processor time are those of the thread of
//! the library alone.

mod canned;
mod case;
mod count;
mod double;
mod ours;
#[cfg(feature = "rig")]
mod rig;

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::runtime::Builder;

use crate::case::{CASES, Case, Operation};

#[global_allocator]
static ALLOCATOR: count::Counting = count::Counting;

/// What one measurement found, for each unit.
#[derive(Clone, Copy)]
struct Sample {
    rate: f64,
    cpu_us: f64,
    allocations: f64,
    bytes: f64,
}

/// Of each row and library.
type Samples = Vec<Vec<Vec<Sample>>>;

fn main() {
    let (mut rounds, mut length, mut only, mut csv) = (9, Duration::from_millis(300), None, None);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), value) = (arguments.next(), arguments.next()) {
        let value = value.unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || {
            value
                .parse::<u64>()
                .unwrap_or_else(|e| panic!("{name} {value}: {e}"))
        };
        match name.as_str() {
            "--rounds" => rounds = number().max(1) as usize,
            "--ms" => length = Duration::from_millis(number()),
            "--only" => only = Some(number() as usize),
            "--csv" => csv = Some(value.clone()),
            _ => panic!("{name} is no option: --rounds, --ms, --only and --csv are"),
        }
    }
    let base_url = format!("http://{}/v1", double::start());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let sides = runtime.block_on(async {
        vec![
            ("ropewalk", ours::side(&base_url)),
            #[cfg(feature = "rig")]
            ("rig", rig::side(&base_url)),
        ]
    });
    let mut samples: Samples = vec![vec![Vec::new(); sides.len()]; CASES.len()];
    let before = load();
    for round in 0..=rounds {
        for (row, case) in CASES.iter().enumerate() {
            if only.is_some_and(|only| only != row) {
                continue;
            }
            for turn in 0..sides.len() {
                let side = (round + turn) % sides.len();
                let operation = &sides[side].1[row];
                let sample = runtime.block_on(measure(case, operation, length));
                // The first round only warms up.
                if round > 0 {
                    samples[row][side].push(sample);
                }
            }
        }
    }
    let names: Vec<&str> = sides.iter().map(|(name, _)| *name).collect();
    let (table, lines) = report(&names, &samples);
    println!(
        "{}; rig-core and rig-agent are 0.44.0; {rounds} rounds of {length:?}; load average {before} \
         before, {} after\n{table}",
        names.join(" and "),
        load()
    );
    if let Some(path) = csv {
        std::fs::write(&path, lines).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}

async fn measure(case: &Case, operation: &Operation, length: Duration) -> Sample {
    let (allocations, bytes) = count::allocated();
    let (begun, cpu) = (Instant::now(), count::cpu());
    let mut operations = 0;
    // As many as fit into the time, in batches that keep the connections busy.
    while begun.elapsed() < length {
        let batch = 8 * case.concurrency;
        let work = futures::stream::iter((0..batch).map(|_| operation()));
        work.buffer_unordered(case.concurrency)
            .collect::<()>()
            .await;
        operations += batch;
    }
    let cpu = count::cpu() - cpu;
    let elapsed = begun.elapsed();
    let (allocations_now, bytes_now) = count::allocated();
    let units = (operations * case.units) as f64;
    Sample {
        rate: units / elapsed.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / units,
        allocations: (allocations_now - allocations) as f64 / units,
        bytes: (bytes_now - bytes) as f64 / units,
    }
}

/// Returns a table in Markdown and the same as CSV.
fn report(names: &[&str], samples: &Samples) -> (String, String) {
    let mut table = String::from(
        "| row | unit | library | units/s | times the last | processor, us | share | allocations \
         | share | bytes | share |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut csv = String::from("row,unit,library,units_per_s,cpu_us,allocations,bytes,rounds\n");
    for (case, sides) in CASES.iter().zip(samples).filter(|(_, s)| !s[0].is_empty()) {
        let medians: Vec<Sample> = sides.iter().map(|s| middle(s)).collect();
        let last = medians[medians.len() - 1];
        let (row, unit) = (case.name, case.unit);
        for ((name, s), n) in names.iter().zip(&medians).zip(sides.iter().map(Vec::len)) {
            let (rate, cpu) = (s.rate / last.rate, s.cpu_us / last.cpu_us);
            let (count, bytes) = (s.allocations / last.allocations, s.bytes / last.bytes);
            let _ = writeln!(
                table,
                "| {row} | {unit} | {name} | {:.0} | {rate:.2} | {:.1} | {cpu:.2} | {:.0} | {count:.2} \
                 | {:.0} | {bytes:.2} |",
                s.rate, s.cpu_us, s.allocations, s.bytes
            );
            let _ = writeln!(
                csv,
                "\"{row}\",{unit},{name},{:.1},{:.2},{:.1},{:.0},{n}",
                s.rate, s.cpu_us, s.allocations, s.bytes
            );
        }
    }
    (table, csv)
}

/// Returns the medians of every figure.
fn middle(samples: &[Sample]) -> Sample {
    let of = |field: fn(&Sample) -> f64| median(samples.iter().map(field).collect());
    Sample {
        rate: of(|s| s.rate),
        cpu_us: of(|s| s.cpu_us),
        allocations: of(|s| s.allocations),
        bytes: of(|s| s.bytes),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}
