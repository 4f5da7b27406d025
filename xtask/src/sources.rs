//! Reading the files of the workspace, and what library sources may not hold.

use std::fs;
use std::path::{Path, PathBuf};

use crate::metadata::Package;
use crate::run::Result;

/// All files below `directory` with this extension, sorted; none if it does not exist.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Refuses stubs in published crates and switched-off tests anywhere.
pub fn check(packages: &[Package]) -> Result {
    // Joined here so that this file does not hold what it looks for.
    let stubs = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let ignored = format!("#[{}", "ignore");
    let mut problems = Vec::new();
    for package in packages {
        for path in files(&package.directory, "rs") {
            let in_library = package.published && path.starts_with(package.directory.join("src"));
            for (number, line) in (1..).zip(read(&path)?.lines()) {
                let code = line.trim_start();
                if code.starts_with("//") {
                    continue;
                }
                let stub = in_library && stubs.iter().any(|s| code.contains(s.as_str()));
                if stub || code.starts_with(&ignored) {
                    problems.push(format!("{}:{number}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}
