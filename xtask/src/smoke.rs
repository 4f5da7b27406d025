//! `cargo xtask smoke`.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::metadata::{Target, all_features, packages};
use crate::run::{Result, Steps, cargo, root, run, run_within, target_directory};
use crate::sources::read;

/// Longest time one example may take.
const LIMIT: Duration = Duration::from_secs(600);

/// The example of README's first command, which is run exactly as printed there.
const FIRST: &str = "chat";

/// Runs every example that needs no key, and every bench once; or the examples named.
///
/// An example says in its header how to run it quickly: a line `//! Smoke: ARGUMENTS` per run, or
/// `//! Smoke: skip, REASON`. Without such a line it is run without arguments. Standard input is
/// empty. All but the first are built together, with the features `cargo xtask test` builds with,
/// so that nothing is compiled twice.
pub fn smoke(steps: &mut Steps, arguments: &[String]) -> Result {
    let packages = packages()?;
    let features = all_features(&packages);
    let chosen =
        |t: &&Target| t.kind == "example" && (arguments.is_empty() || arguments.contains(&t.name));
    let examples: Vec<&Target> = packages
        .iter()
        .flat_map(|p| &p.targets)
        .filter(chosen)
        .collect();
    steps.step("build examples", || {
        run(&mut cargo(&[
            "build",
            "--workspace",
            "--examples",
            "--features",
            &features,
        ]))
    });
    for target in examples {
        for words in runs(steps, target)? {
            let name = format!("example {} {}", target.name, words.join(" "));
            steps.step(name.trim_end(), || run_example(&target.name, &words));
        }
    }
    if arguments.is_empty() {
        steps.step("benches, once each", || {
            run(&mut cargo(&[
                "test",
                "--workspace",
                "--benches",
                "--features",
                &features,
            ]))
        });
    }
    Ok(())
}

fn run_example(name: &str, words: &[String]) -> Result {
    if name != FIRST {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let mut command = Command::new(target_directory().join("debug/examples").join(file));
        return run_within(
            command.args(words).current_dir(root()).stdin(Stdio::null()),
            LIMIT,
        );
    }
    // Building is not within the limit.
    let first = ["--quiet", "--release", "--example", name];
    run(cargo(&["build"]).args(first))?;
    run_within(cargo(&["run"]).args(first).arg("--").args(words), LIMIT)
}

fn runs(steps: &mut Steps, target: &Target) -> Result<Vec<Vec<String>>> {
    let source = read(&target.path)?;
    Ok(runs_of(&source).unwrap_or_else(|reason| {
        steps.note(format!("example {} left out: {reason}", target.name));
        Vec::new()
    }))
}

/// The argument lists of an example's header, or why it is left out.
fn runs_of(source: &str) -> std::result::Result<Vec<Vec<String>>, String> {
    let header = source.lines().take_while(|l| l.starts_with("//!"));
    let lines: Vec<&str> = header
        .filter_map(|l| l.strip_prefix("//! Smoke:"))
        .collect();
    if let Some(reason) = lines.iter().find_map(|l| l.trim().strip_prefix("skip")) {
        return Err(reason.trim_start_matches([',', ' ']).to_owned());
    }
    if lines.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    Ok(lines.into_iter().map(words).collect())
}

/// Splits at spaces, except within double quotes.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (i, piece) in line.trim().trim_matches('`').split('"').enumerate() {
        match i % 2 {
            0 => found.extend(piece.split_whitespace().map(str::to_owned)),
            _ => found.push(piece.to_owned()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_how_to_run() {
        let source = "//! Chats.\n//!\n//! Smoke: --prompt \"hi you\" -n 4\n//! Smoke:\nuse x;\n//! Smoke: no";
        let expected = [vec!["--prompt", "hi you", "-n", "4"], vec![]];
        assert_eq!(runs_of(source).unwrap(), expected);
        assert_eq!(runs_of("//! Chats.").unwrap(), [Vec::<String>::new()]);
        assert_eq!(
            runs_of("//! Smoke: skip, needs a key"),
            Err("needs a key".into())
        );
    }
}
