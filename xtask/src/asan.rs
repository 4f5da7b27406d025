//! `cargo xtask asan`: the tests of the crates with unsafe code under AddressSanitizer.

use std::process::Command;

use crate::run::{Result, Steps, output, root, run, target_directory};

/// The crates whose unsafe code reads and writes through pointers, and reads files.
const CRATES: [&str; 2] = ["ropewalk-kernels", "ropewalk-gguf"];

/// Runs the tests of the crates with unsafe code with AddressSanitizer; arguments go to the test
/// programs. Takes a nightly toolchain of rustup, and is skipped where there is none.
///
/// The standard library is not instrumented, so an error inside it shows only where it calls back.
pub fn asan(steps: &mut Steps, arguments: &[String]) -> Result {
    let nightly = || {
        let mut command = Command::new("rustup");
        // The toolchain of the cargo that runs us must not be taken for the one asked for.
        command
            .env_remove("RUSTUP_TOOLCHAIN")
            .args(["run", "nightly"]);
        command
    };
    let version = output(nightly().args(["rustc", "-vV"]));
    let host = version
        .ok()
        .and_then(|v| Some(v.lines().find_map(|l| l.strip_prefix("host: "))?.to_owned()));
    let Some(host) = host else {
        steps.note("skipped: no nightly toolchain; rustup toolchain install nightly");
        return Ok(());
    };
    for name in CRATES {
        steps.step(name, || {
            let mut command = nightly();
            command
                .args(["cargo", "test", "--no-fail-fast", "-p", name])
                // With a target given, build scripts and macros are not instrumented.
                .args(["--lib", "--tests", "--target", &host])
                .env("RUSTFLAGS", "-Zsanitizer=address")
                .env("CARGO_TARGET_DIR", target_directory().join("asan"))
                .env_remove("CARGO")
                .env_remove("RUSTC")
                .current_dir(root());
            if !arguments.is_empty() {
                command.arg("--").args(arguments);
            }
            run(&mut command)
        });
    }
    Ok(())
}
