//! Overhead of chats and tool loops beside rig 0.44, against the same server in one process.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/agents/Cargo.toml -- --csv FILE
//! ```
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
    let sides = runtime.block_on(async { [ours::side(&base_url), rig::side(&base_url)] });
    let mut samples: Vec<[Vec<Sample>; 2]> =
        CASES.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    let before = load();
    for round in 0..=rounds {
        for (row, case) in CASES.iter().enumerate() {
            if only.is_some_and(|only| only != row) {
                continue;
            }
            for turn in 0..2 {
                let side = (round + turn) % 2;
                let operation = &sides[side][row];
                let sample = runtime.block_on(measure(case, operation, length));
                // The first round only warms up.
                if round > 0 {
                    samples[row][side].push(sample);
                }
            }
        }
    }
    let (table, lines) = report(&samples);
    println!(
        "ropewalk beside rig-core and rig-agent 0.44.0; {rounds} rounds of {length:?}; load average \
         {before} before, {} after",
        load()
    );
    println!("{table}");
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
fn report(samples: &[[Vec<Sample>; 2]]) -> (String, String) {
    let mut table = String::from(
        "| per unit | ropewalk: units/s | rig | times | processor, us | rig | share | allocations | rig \
         | share | bytes | rig | share |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut csv = String::from("row,unit,library,units_per_s,cpu_us,allocations,bytes,rounds\n");
    for (case, sides) in CASES.iter().zip(samples).filter(|(_, s)| !s[0].is_empty()) {
        let [ours, rig] = sides.each_ref().map(|s| {
            let of = |field: fn(&Sample) -> f64| median(s.iter().map(field).collect());
            Sample {
                rate: of(|s| s.rate),
                cpu_us: of(|s| s.cpu_us),
                allocations: of(|s| s.allocations),
                bytes: of(|s| s.bytes),
            }
        });
        let (name, unit) = (case.name, case.unit);
        let _ = writeln!(
            table,
            "| {name}: {unit} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.2} \
             | {:.0} | {:.0} | {:.2} |",
            ours.rate,
            rig.rate,
            ours.rate / rig.rate,
            ours.cpu_us,
            rig.cpu_us,
            ours.cpu_us / rig.cpu_us,
            ours.allocations,
            rig.allocations,
            ours.allocations / rig.allocations,
            ours.bytes,
            rig.bytes,
            ours.bytes / rig.bytes,
        );
        for (library, s, n) in [
            ("ropewalk", ours, sides[0].len()),
            ("rig", rig, sides[1].len()),
        ] {
            let _ = writeln!(
                csv,
                "\"{name}\",{unit},{library},{:.1},{:.2},{:.1},{:.0},{n}",
                s.rate, s.cpu_us, s.allocations, s.bytes
            );
        }
    }
    (table, csv)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}
