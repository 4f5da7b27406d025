//! `cargo xtask package`.

use std::fs;

use crate::json::Json;
use crate::metadata::{Package, packages};
use crate::run::{Result, Steps, cargo, output, run, target_directory};

/// crates.io refuses larger uploads; nothing else tells beforehand.
const LARGEST: u64 = 10 << 20;

/// Packs every published crate without uploading it.
pub fn package(steps: &mut Steps) -> Result {
    let packages = packages()?;
    let published = || packages.iter().filter(|p| p.published);
    for package in published() {
        steps.step(&format!("{} metadata", package.name), || metadata(package));
        steps.step(&format!("{} contents", package.name), || contents(package));
    }
    steps.step("pack", || {
        let mut command = cargo(&["package", "--no-verify", "--allow-dirty"]);
        for package in published() {
            command.args(["-p", &package.name]);
        }
        run(&mut command)
    });
    steps.step("sizes", || published().try_for_each(size));
    Ok(())
}

/// What crates.io demands and docs.rs needs.
fn metadata(package: &Package) -> Result {
    let mut problems = Vec::new();
    let mut demand = |fine: bool, problem: String| problems.extend((!fine).then_some(problem));
    for field in [
        "description",
        "license",
        "repository",
        "readme",
        "rust_version",
    ] {
        let filled = package
            .json
            .get(field)
            .text()
            .is_some_and(|t| !t.trim().is_empty());
        demand(filled, format!("`{field}` is missing"));
    }
    let texts = |field: &str| -> Vec<&str> {
        package
            .json
            .get(field)
            .list()
            .iter()
            .filter_map(Json::text)
            .collect()
    };
    let keywords = texts("keywords");
    demand(
        (1..=5).contains(&keywords.len()),
        "there must be 1 to 5 keywords".into(),
    );
    let short = keywords.iter().all(|k| k.len() <= 20);
    demand(short, "a keyword has more than 20 characters".into());
    demand(
        (1..=5).contains(&texts("categories").len()),
        "there must be 1 to 5 categories".into(),
    );
    for name in ["README.md", "LICENSE"] {
        demand(
            package.directory.join(name).exists(),
            format!("{name} is missing"),
        );
    }
    for dependency in package
        .dependencies
        .iter()
        .filter(|d| d.local && d.kind != "dev")
    {
        let versioned = dependency.requirement != "*";
        demand(
            versioned,
            format!("the dependency on {} has no version", dependency.name),
        );
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn contents(package: &Package) -> Result {
    let list = output(&mut cargo(&[
        "package",
        "--list",
        "--allow-dirty",
        "-p",
        &package.name,
    ]))?;
    for name in ["Cargo.toml", "README.md", "LICENSE", "src/lib.rs"] {
        if !list.lines().any(|l| l == name) {
            return Err(format!("{name} is not packed"));
        }
    }
    println!("    {} files", list.lines().count());
    Ok(())
}

fn size(package: &Package) -> Result {
    let version = package.json.get("version").text().unwrap_or_default();
    let name = format!("{}-{version}.crate", package.name);
    let path = target_directory().join("package").join(&name);
    let size = fs::metadata(&path)
        .map_err(|e| format!("{}: {e}", path.display()))?
        .len();
    println!("    {:8.1} KiB  {name}", size as f64 / 1024.0);
    if size < LARGEST {
        Ok(())
    } else {
        Err(format!("{name} has {size} bytes"))
    }
}
