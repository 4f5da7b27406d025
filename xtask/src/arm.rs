//! `cargo xtask arm`: the tests of the numeric crates on AArch64, under emulation on other machines.

use std::path::Path;
use std::process::Command;

use crate::run::{Result, Steps, cargo, output, run, target_directory};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const EMULATOR: &str = "qemu-aarch64";
/// Keeps the emulator on one CPU: version 7.2 lets a sequentially consistent load pass the store
/// before it, which AArch64 forbids, and a parked thread of the pool then misses its wake-up.
const ON_ONE_CPU: &str = "taskset";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Debian's compiler, for machines whose own has no standard library for the target.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "/usr/lib/rustlib/aarch64-unknown-linux-gnu";
/// The loader of an AArch64 system beside the machine's own, and the libraries of a cross compiler.
/// Only one of the two may be used, or a loader meets a C library of another version.
const SYSTEM_LOADER: &str = "/lib/ld-linux-aarch64.so.1";
const CROSS_ROOT: &str = "/usr/aarch64-linux-gnu";

/// What to install where something is missing, on Debian 12 and Ubuntu 24.04 or later.
const PACKAGES: &str = "dpkg --add-architecture arm64, then install qemu-user, \
    gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, rustc-web and libstd-rust-web-dev:arm64 \
    (or the last two with rustup target add)";

/// What is run: CPU model (the first has the dot product, the other has not), arguments of
/// `cargo test`.
const RUNS: [(&str, &[&str]); 4] = [
    // Pointer authentication as on real CPUs costs the emulator most of its time.
    (
        "max,pauth-impdef=on",
        &["-p", "ropewalk-kernels", "--lib", "--tests"],
    ),
    (
        "cortex-a72",
        &["-p", "ropewalk-kernels", "--lib", "--tests"],
    ),
    (
        "max,pauth-impdef=on",
        &["-p", "ropewalk-gguf", "--lib", "--tests"],
    ),
    (
        "max,pauth-impdef=on",
        &["-p", "ropewalk-local", "--lib", "--tests"],
    ),
];

/// Runs the tests of kernels, gguf and local for AArch64; arguments go to the test programs.
///
/// On an AArch64 machine this is `cargo test`. Elsewhere it takes an emulator, a linker and a
/// standard library for the target, and is skipped where one is missing.
pub fn arm(steps: &mut Steps, arguments: &[String]) -> Result {
    if cfg!(target_arch = "aarch64") {
        for (_, tests) in RUNS.iter().filter(|(cpu, _)| *cpu != "cortex-a72") {
            step(steps, "this machine", tests, arguments, cargo(&["test"]));
        }
        return Ok(());
    }
    let own = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let own = Path::new(own.trim()).join("lib/rustlib").join(TARGET);
    let debian = !own.exists();
    if let Some(what) = missing(debian) {
        steps.note(format!("skipped: {what} is missing; {PACKAGES}"));
        return Ok(());
    }
    for (cpu, tests) in RUNS {
        let mut command = cargo(&["test", "--target", TARGET]);
        if debian {
            command.env("RUSTC", DEBIAN_RUSTC);
        }
        let libraries = if Path::new(SYSTEM_LOADER).exists() {
            String::new()
        } else {
            format!(" -L {CROSS_ROOT}")
        };
        let variable = |what| format!("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_{what}");
        command
            .env("CARGO_TARGET_DIR", target_directory().join("arm"))
            .env(variable("LINKER"), LINKER)
            .env(
                variable("RUNNER"),
                format!("{ON_ONE_CPU} -c 0 {EMULATOR}{libraries} -cpu {cpu}"),
            );
        step(steps, cpu, tests, arguments, command);
    }
    Ok(())
}

fn step(steps: &mut Steps, cpu: &str, tests: &[&str], arguments: &[String], mut command: Command) {
    command.args(tests).arg("--no-fail-fast");
    if !arguments.is_empty() {
        command.arg("--").args(arguments);
    }
    let name = format!("{} on {cpu}", tests[1]);
    steps.step(&name, || run(&mut command));
}

/// Returns the first thing that is not there.
fn missing(debian: bool) -> Option<&'static str> {
    let runs = |program: &str| output(Command::new(program).arg("--version")).is_ok();
    [EMULATOR, ON_ONE_CPU, LINKER]
        .into_iter()
        .find(|program| !runs(program))
        .or_else(|| {
            let there = Path::new(DEBIAN_STD).exists() && Path::new(DEBIAN_RUSTC).exists();
            (debian && !there).then_some("a standard library for aarch64-unknown-linux-gnu")
        })
}
