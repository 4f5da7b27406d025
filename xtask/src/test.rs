//! `cargo xtask test`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::metadata::{all_features, packages};
use crate::run::{Result, Steps, cargo, output, target_directory, tee};

/// Where tests note which cases that depend on data or keys they ran and skipped; see
/// `ropewalk_core::testing::data_dir`.
const SKIP_LOG: &str = "ROPEWALK_SKIP_LOG";

/// Runs all tests, then all doc-tests. Arguments go to the test runner.
pub fn test(steps: &mut Steps, arguments: &[String]) -> Result {
    let packages = packages()?;
    let features = all_features(&packages);
    let log = target_directory().join("xtask/skipped.tsv");
    fs::create_dir_all(target_directory().join("xtask")).map_err(|e| e.to_string())?;
    fs::write(&log, "").map_err(|e| format!("{}: {e}", log.display()))?;

    let has_nextest = output(&mut cargo(&["nextest", "--version"])).is_ok();
    let runner: &[&str] = if has_nextest {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    // Examples and benches are run by `smoke`.
    let what = [
        "--no-fail-fast",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
    ];
    let mut closing = Vec::new();
    let mut tested = |mut command: Command| {
        let (result, lines) = tee(command.args(["--features", &features]).env(SKIP_LOG, &log));
        closing.extend(lines.into_iter().filter(|l| is_closing(l)));
        result
    };
    steps.step("tests", || {
        let mut command = cargo(runner);
        command.args(what).args(arguments);
        tested(command)
    });
    steps.step("doc-tests", || {
        tested(cargo(&["test", "--no-fail-fast", "--workspace", "--doc"]))
    });
    for line in closing {
        steps.note(line.trim().to_owned());
    }
    steps.note(skipped(&fs::read_to_string(&log).unwrap_or_default()));
    Ok(())
}

/// The lines in which nextest and libtest say how it went.
fn is_closing(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("Summary [") || line.starts_with("test result:")
}

/// Counts the lines `run|skip <tab> what <tab> test`.
fn skipped(log: &str) -> String {
    let cases: BTreeSet<&str> = log.lines().collect();
    let ran = cases.iter().filter(|c| c.starts_with("run\t")).count();
    let skipped: Vec<&str> = cases
        .iter()
        .filter_map(|c| c.strip_prefix("skip\t"))
        .collect();
    let lacking: BTreeSet<&str> = skipped
        .iter()
        .filter_map(|c| c.split('\t').next())
        .collect();
    let lacking: Vec<&str> = lacking.into_iter().collect();
    let mut line = format!(
        "cases that need data or keys: {ran} run, {} skipped",
        skipped.len()
    );
    if !lacking.is_empty() {
        line.push_str(&format!(" for lack of {}", lacking.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_case_once() {
        let log =
            "run\ttokenizers\ta::b\nskip\tmodels\ta::c\nrun\ttokenizers\ta::b\nskip\tKEY\td\n";
        assert_eq!(
            skipped(log),
            "cases that need data or keys: 1 run, 2 skipped for lack of KEY, models"
        );
        assert_eq!(
            skipped(""),
            "cases that need data or keys: 0 run, 0 skipped"
        );
    }
}
