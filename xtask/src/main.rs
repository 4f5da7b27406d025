//! The workspace's own commands: `cargo xtask lint | test | smoke | package | arm | asan`.
//!
//! Standard library only, so that it builds in a second on a fresh machine.

mod arm;
mod asan;
mod docs;
mod edges;
mod json;
mod lint;
mod metadata;
mod package;
mod run;
mod smoke;
mod sources;
mod test;

use std::process::ExitCode;

use run::Steps;

/// What `cargo xtask NAME` understands; `docs` checks commands in documents against it.
const COMMANDS: [(&str, &str); 6] = [
    (
        "lint",
        "formatting, clippy, rustdoc, dependency edges, features, documents",
    ),
    (
        "test",
        "all tests and doc-tests, and how many needed data that was not there",
    ),
    (
        "smoke",
        "every example that needs no key, and every bench once",
    ),
    (
        "package",
        "what would be published: contents, size, metadata",
    ),
    (
        "arm",
        "the tests of the numeric crates for AArch64, emulated elsewhere",
    ),
    (
        "asan",
        "the tests of the crates with unsafe code under AddressSanitizer",
    ),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let mut steps = Steps::default();
    let outcome = match command.as_str() {
        "lint" => lint::lint(&mut steps, &rest),
        "test" => test::test(&mut steps, &rest),
        "smoke" => smoke::smoke(&mut steps, &rest),
        "package" => package::package(&mut steps),
        "arm" => arm::arm(&mut steps, &rest),
        "asan" => asan::asan(&mut steps, &rest),
        _ => {
            eprintln!("usage: cargo xtask COMMAND");
            for (name, what) in COMMANDS {
                eprintln!("  {name:8} {what}");
            }
            return ExitCode::from(2);
        }
    };
    if let Err(error) = outcome {
        steps.fail(&error);
    }
    steps.finish(&command)
}
