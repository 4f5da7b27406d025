//! `cargo xtask smoke`.

use std::time::Duration;

use crate::metadata::{Package, Target, all_features, packages};
use crate::run::{Result, Steps, cargo, run, run_within};
use crate::sources::read;

/// Longest time one example may take.
const LIMIT: Duration = Duration::from_secs(600);

/// The example of README's first command, which is run exactly as printed there.
const FIRST: &str = "chat";

/// Runs every example that needs no key, and every bench once.
///
/// An example says in its header how to run it quickly: a line `//! Smoke: ARGUMENTS` per run, or
/// `//! Smoke: skip, REASON`. Without such a line it is run without arguments. Standard input is
/// empty.
pub fn smoke(steps: &mut Steps, arguments: &[String]) -> Result {
    let packages = packages()?;
    let find = |name: &str| {
        packages
            .iter()
            .find(|p| p.name == name)
            .ok_or_else(|| format!("there is no {name}"))
    };
    let (examples, benches) = (find("ropewalk-examples")?, find("ropewalk-benches")?);
    let features = all_features([examples]);
    let chosen =
        |t: &&Target| t.kind == "example" && (arguments.is_empty() || arguments.contains(&t.name));
    for target in examples.targets.iter().filter(chosen) {
        for words in runs(steps, target)? {
            let name = format!("example {} {}", target.name, words.join(" "));
            steps.step(name.trim_end(), || {
                run_example(examples, target, &words, &features)
            });
        }
    }
    if arguments.is_empty() && benches.targets.iter().any(|t| t.kind == "bench") {
        let features = all_features([benches]);
        steps.step("benches, once each", || {
            let mut command = cargo(&["test", "-p", &benches.name, "--benches"]);
            if !features.is_empty() {
                command.args(["--features", &features]);
            }
            run(&mut command)
        });
    }
    Ok(())
}

fn run_example(package: &Package, target: &Target, words: &[String], features: &str) -> Result {
    let mut command = cargo(&["run", "--quiet", "--example", &target.name]);
    if target.name == FIRST {
        command.arg("--release");
    } else {
        command.args(["-p", &package.name]);
        if !features.is_empty() {
            command.args(["--features", features]);
        }
    }
    command.arg("--").args(words);
    // The first run builds; only the second is timed by the limit.
    let mut build = cargo(&["build", "--quiet"]);
    build.args(command.get_args().skip(2).take_while(|a| *a != "--"));
    run(&mut build)?;
    run_within(&mut command, LIMIT)
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
