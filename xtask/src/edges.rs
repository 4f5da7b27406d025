//! Which crate may depend on which, and what must stay out of whose build.

use crate::metadata::{Dependency, Package};
use crate::run::{Result, cargo, output};

/// `(crate, what it may depend on)` without the prefix `ropewalk-`; `?` means behind a feature. The
/// crates that exist are in docs/architecture.md too.
const TABLE: [(&str, &str); 17] = [
    ("gguf", ""),
    ("kernels", ""),
    ("macros", ""),
    ("core", ""),
    ("http", "core"),
    ("spec", "core gguf"),
    ("tokens", "core http?"),
    ("providers", "core http"),
    ("tools", "core macros http?"),
    ("local", "core spec gguf kernels tokens http?"),
    ("train", "core spec gguf kernels tokens http?"),
    ("pipelines", "core local tokens"),
    ("rag", "core kernels tokens? http?"),
    ("agents", "core tools tokens? http?"),
    ("eval", "core"),
    ("serve", "core local tokens"),
    ("ui", "core"),
];

/// `(dependency, who may name it)`; `?` means behind a feature.
const RESERVED: [(&str, &str); 7] = [
    ("reqwest", "http"),
    ("candle-core", "train pipelines local?"),
    ("candle-nn", "train pipelines local?"),
    ("candle-transformers", ""),
    ("tokenizers", "tokens"),
    ("redb", "rag agents?"),
    ("qdrant-client", "rag?"),
];

/// What may not be anywhere in a crate's default build: `(package, who is excepted)`.
const ABSENT: [(&str, &str); 9] = [
    ("tokio", "http providers tools agents serve ui rag"),
    ("reqwest", "http providers"),
    ("hyper", "http providers serve ui"),
    ("candle-core", "train pipelines"),
    ("cmake", ""),
    ("bindgen", ""),
    ("prost-build", ""),
    ("onig_sys", ""),
    ("openssl-sys", ""),
];

/// Checks the normal and build dependencies of every published crate.
pub fn check(packages: &[Package]) -> Result {
    let mut problems = Vec::new();
    for package in packages.iter().filter(|p| p.published) {
        let name = short(&package.name);
        let allowed = match TABLE.iter().find(|(n, _)| *n == name) {
            Some((_, allowed)) => *allowed,
            None if name == "ropewalk" => "",
            None => {
                problems.push(format!("{name} is not in the table of xtask/src/edges.rs"));
                continue;
            }
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind != "dev") {
            let problem = match name {
                "ropewalk" => facade(dependency),
                _ => edge(name, allowed, dependency),
            };
            problems.extend(problem);
        }
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| d.kind == "dev" && d.local)
        {
            if dependency.requirement != "*" {
                let other = &dependency.name;
                problems.push(format!(
                    "{name}: the dev-dependency on {other} must be path only"
                ));
            }
        }
    }
    report(problems)
}

/// The facade holds core always and everything else behind a feature.
fn facade(dependency: &Dependency) -> Option<String> {
    let fine = dependency.optional || dependency.name == "ropewalk-core" || !dependency.local;
    (!fine).then(|| format!("ropewalk: {} must be optional", dependency.name))
}

fn edge(name: &str, allowed: &str, dependency: &Dependency) -> Option<String> {
    let other = short(&dependency.name);
    let (allowed, whose) = if dependency.local {
        (allowed, other)
    } else {
        let reserved = RESERVED.iter().find(|(n, _)| *n == dependency.name);
        (reserved?.1, name)
    };
    let found = allowed
        .split(' ')
        .find(|a| a.trim_end_matches('?') == whose);
    match found {
        None => Some(format!("{name} may not depend on {other}")),
        Some(a) if a.ends_with('?') && !dependency.optional => Some(format!(
            "{name} may depend on {other} behind a feature only"
        )),
        Some(_) => None,
    }
}

/// Checks the whole tree below each published crate, with its default features.
pub fn check_trees(packages: &[Package]) -> Result {
    let mut problems = Vec::new();
    for package in packages.iter().filter(|p| p.published) {
        let kinds = [
            "tree",
            "-p",
            &package.name,
            "-e",
            "normal,build",
            "--prefix",
            "none",
        ];
        let tree = output(cargo(&kinds).args(["--format", "{p}"]))?;
        let name = short(&package.name);
        for (absent, excepted) in ABSENT {
            let there = tree.lines().any(|l| l.split(' ').next() == Some(absent));
            if there && !excepted.split(' ').any(|e| e == name) {
                problems.push(format!("{name} pulls in {absent} by default"));
            }
        }
        let mut crates: Vec<&str> = tree.lines().map(|l| l.trim_end_matches(" (*)")).collect();
        crates.sort_unstable();
        crates.dedup();
        println!("    {name}: {} crates by default", crates.len());
    }
    report(problems)
}

fn short(name: &str) -> &str {
    name.strip_prefix("ropewalk-").unwrap_or(name)
}

fn report(problems: Vec<String>) -> Result {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(name: &str, optional: bool) -> Dependency {
        let local = name.starts_with("ropewalk");
        let (kind, requirement) = ("normal".to_owned(), "^1".to_owned());
        Dependency {
            name: name.to_owned(),
            kind,
            optional,
            local,
            requirement,
        }
    }

    #[test]
    fn edges_follow_the_table() {
        let refused = |name, allowed, dependency| edge(name, allowed, &dependency).is_some();
        assert!(!refused("spec", "core gguf", on("ropewalk-gguf", false)));
        assert!(refused("spec", "core gguf", on("ropewalk-kernels", true)));
        assert!(!refused("tokens", "core http?", on("ropewalk-http", true)));
        assert!(refused("tokens", "core http?", on("ropewalk-http", false)));
        assert!(refused("gguf", "", on("ropewalk-core", false)));
        assert!(!refused("gguf", "", on("half", false)));
        assert!(refused("core", "", on("reqwest", true)));
        assert!(!refused("train", "core", on("candle-core", false)));
        assert!(refused("local", "core", on("candle-core", false)));
        assert!(!refused("local", "core", on("candle-core", true)));
        assert!(facade(&on("ropewalk-train", false)).is_some());
        assert!(facade(&on("ropewalk-core", false)).is_none());
    }
}
