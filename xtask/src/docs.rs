//! Documents must hold true: their commands name what exists, their Rust blocks are compiled.

use std::path::{Path, PathBuf};

use crate::COMMANDS;
use crate::metadata::{Package, Target};
use crate::run::{Result, root};
use crate::sources::{files, read};

/// Documents and example headers that hold commands.
fn documents(packages: &[Package]) -> Vec<PathBuf> {
    let root = root();
    let mut found = files(&root.join("docs"), "md");
    for name in ["README.md", "CONTRIBUTING.md", "examples/README.md"] {
        found.extend(Some(root.join(name)).filter(|p| p.exists()));
    }
    for package in packages {
        found.extend(Some(package.directory.join("README.md")).filter(|p| p.exists()));
        found.extend(
            package
                .targets
                .iter()
                .filter(|t| t.kind == "example")
                .map(|t| t.path.clone()),
        );
    }
    found.sort();
    found.dedup();
    found
}

/// Checks that every `cargo` command in the documents would find what it names.
pub fn check_commands(packages: &[Package]) -> Result {
    let mut problems = Vec::new();
    let mut count = 0;
    for path in documents(packages) {
        let is_source = path.extension().is_some_and(|e| e == "rs");
        for (number, command) in commands(&read(&path)?, is_source) {
            count += 1;
            if let Err(problem) = check_command(&command, packages) {
                let path = path
                    .strip_prefix(root())
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                problems.push(format!("{path}:{number}: `{command}`: {problem}"));
            }
        }
    }
    println!("    {count} commands checked");
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// The cargo commands of a text with their line numbers: in Markdown those inside code, in Rust
/// those of the `//!` header.
fn commands(text: &str, is_source: bool) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let line = match is_source {
            true if !line.starts_with("//!") => break,
            true => line.trim_start_matches("//!"),
            false => line,
        };
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let mut line = line.to_owned();
        while fenced && line.ends_with('\\') {
            line.pop();
            line.push_str(
                lines
                    .next()
                    .map_or("", |(_, l)| l.trim_start_matches("//!").trim()),
            );
        }
        let pieces: Vec<&str> = match fenced {
            true => line.split("&&").collect(),
            // The odd pieces between backticks are code.
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        for piece in pieces {
            let piece = piece.split(" #").next().unwrap_or_default().trim();
            let piece = piece.trim_start_matches("$ ");
            if let Some(at) = piece.find("cargo ")
                && (at == 0 || piece[..at].contains('='))
            {
                found.push((number, piece[at..].to_owned()));
            }
        }
    }
    found
}

fn check_command(command: &str, packages: &[Package]) -> Result {
    let words: Vec<&str> = command.split_whitespace().collect();
    // Arguments of the program itself are its own matter.
    let words = words.split(|w| *w == "--").next().unwrap_or_default();
    let value = |flag: &str| {
        let after = words
            .iter()
            .position(|w| *w == flag)
            .and_then(|at| words.get(at + 1));
        after
            .copied()
            .filter(|v| !v.chars().any(char::is_uppercase))
    };
    if words.get(1) == Some(&"xtask") {
        return match words.get(2) {
            Some(name) if !COMMANDS.iter().any(|(n, _)| n == name) => {
                Err(format!("there is no xtask command `{name}`"))
            }
            _ => Ok(()),
        };
    }
    if let Some(name) = value("-p").or(value("--package"))
        && name.starts_with("ropewalk")
        && !packages.iter().any(|p| p.name == name)
    {
        return Err(format!("there is no package `{name}`"));
    }
    let features: Vec<&str> = value("--features").map_or(vec![], |f| f.split(',').collect());
    for (flag, kind) in [("--example", "example"), ("--bench", "bench")] {
        let Some(name) = value(flag) else { continue };
        let target = targets(packages, kind).find(|t| t.name == name);
        let target = target.ok_or_else(|| format!("there is no {kind} `{name}`"))?;
        let missing = target
            .required_features
            .iter()
            .find(|f| !features.contains(&f.as_str()));
        if let Some(feature) = missing {
            return Err(format!("`{name}` needs `--features {feature}`"));
        }
    }
    Ok(())
}

fn targets<'a>(packages: &'a [Package], kind: &'a str) -> impl Iterator<Item = &'a Target> {
    packages
        .iter()
        .flat_map(|p| &p.targets)
        .filter(move |t| t.kind == kind)
}

/// Checks that every page with Rust blocks is among those the facade compiles as doc-tests.
pub fn check_compiled() -> Result {
    let facade = root().join("crates/ropewalk/src/lib.rs");
    let source = read(&facade)?;
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(Some(root().join("README.md")).filter(|p| p.exists()));
    let mut missing = Vec::new();
    for page in pages {
        let relative = page.strip_prefix(root()).unwrap_or(&page).to_path_buf();
        if has_rust(&read(&page)?) && !source.contains(&include_of(&relative)) {
            missing.push(include_of(&relative));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "crates/ropewalk/src/lib.rs lacks the doc-tests of\n{}",
        missing.join("\n")
    ))
}

fn include_of(page: &Path) -> String {
    format!(
        "include_str!(\"../../../{}\")",
        page.display().to_string().replace('\\', "/")
    )
}

fn has_rust(text: &str) -> bool {
    text.lines().any(|l| l.trim_start().starts_with("```rust"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    fn packages() -> Vec<Package> {
        let target = |name: &str, kind: &str, required: &[&str]| Target {
            name: name.into(),
            kind: kind.into(),
            path: PathBuf::new(),
            required_features: required.iter().map(|f| (*f).into()).collect(),
        };
        vec![Package {
            name: "ropewalk-examples".into(),
            directory: PathBuf::new(),
            published: false,
            dependencies: vec![],
            features: vec!["train".into()],
            targets: vec![
                target("chat", "example", &[]),
                target("train_tiny", "example", &["train"]),
                target("stream", "bench", &[]),
            ],
            json: Json::Null,
        }]
    }

    #[test]
    fn finds_commands_in_code_only() {
        let text = "Run cargo run --example none or `cargo xtask lint` and\n```sh\n\
            $ cargo run --release \\\n  --example chat # talks\nA=1 cargo bench && cargo test\n\
            not cargo at all\n```\n`cargo bench --bench stream`";
        let found: Vec<String> = commands(text, false).into_iter().map(|(_, c)| c).collect();
        assert_eq!(
            found,
            [
                "cargo xtask lint",
                "cargo run --release --example chat",
                "cargo bench",
                "cargo test",
                "cargo bench --bench stream"
            ]
        );
        let source = "//! Chats: `cargo run --example chat`\nfn main() { \"`cargo xtask none`\" }";
        assert_eq!(commands(source, true).len(), 1);
    }

    #[test]
    fn commands_must_name_what_exists() {
        let good = [
            "cargo run --release --example chat -- --example none",
            "cargo run --example train_tiny --features train -- --quick",
            "cargo bench --bench stream",
            "cargo run --example NAME",
            "cargo xtask lint",
            "cargo test -p ropewalk-examples",
        ];
        for command in good {
            assert_eq!(check_command(command, &packages()), Ok(()), "{command}");
        }
        let bad = [
            ("cargo run --example talk", "no example `talk`"),
            ("cargo run --example train_tiny", "needs `--features train`"),
            ("cargo bench --bench none", "no bench `none`"),
            ("cargo xtask polish", "no xtask command `polish`"),
            ("cargo test -p ropewalk-none", "no package `ropewalk-none`"),
        ];
        for (command, expected) in bad {
            let problem = check_command(command, &packages()).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
