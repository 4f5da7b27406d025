//! `cargo xtask lint`.

use crate::metadata::{Package, all_features, packages};
use crate::run::{Result, Steps, cargo, quiet, run};
use crate::{docs, edges, sources};

/// Checks everything that does not need running code. With `--fast`, leaves out what compiles.
pub fn lint(steps: &mut Steps, arguments: &[String]) -> Result {
    let packages = packages()?;
    steps.step("fmt", || {
        run(&mut cargo(&["fmt", "--all", "--check", "--", "-l"]))
    });
    steps.step("dependency edges", || edges::check(&packages));
    steps.step("dependency trees", || edges::check_trees(&packages));
    steps.step("sources", || sources::check(&packages));
    steps.step("commands in documents", || docs::check_commands(&packages));
    steps.step("documents listed", docs::check_compiled);
    if arguments.iter().any(|a| a == "--fast") {
        return Ok(());
    }
    let features = all_features(&packages);
    steps.step("clippy", || {
        let all = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            &features,
        ];
        run(cargo(&all).args(["--", "-D", "warnings"]))
    });
    steps.step("rustdoc", || rustdoc(&packages));
    // The facade holds them as doc-tests of its module `documents`. The whole workspace is named so that `cargo xtask
    // test` finds everything built.
    steps.step("documents' Rust blocks", || {
        let all = ["test", "--quiet", "--workspace", "--doc", "--features"];
        run(cargo(&all).args([&features, "documents"]))
    });
    for package in packages.iter().filter(|p| p.published) {
        steps.step(&format!("{} alone", package.name), || alone(package));
    }
    Ok(())
}

fn rustdoc(packages: &[Package]) -> Result {
    let published = || packages.iter().filter(|p| p.published);
    let features = all_features(published());
    let mut command = cargo(&["doc", "--no-deps", "--features", &features]);
    for package in published() {
        command.args(["-p", &package.name]);
    }
    run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Checks a crate by itself: other members turn no features on for it.
fn alone(package: &Package) -> Result {
    let check = |more: &[&str]| quiet(cargo(&["check", "-p", &package.name]).args(more));
    check(&[])?;
    check(&["--no-default-features"])?;
    for feature in &package.features {
        check(&["--no-default-features", "--features", feature])?;
    }
    Ok(())
}
