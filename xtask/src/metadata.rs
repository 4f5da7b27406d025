//! What cargo knows of the workspace.

use std::path::PathBuf;

use crate::json::{Json, parse};
use crate::run::{Result, cargo, output};

/// Features that need hardware or a tool chain which not every machine has.
const ACCELERATORS: [&str; 7] = [
    "cuda",
    "cudnn",
    "metal",
    "mkl",
    "accelerate",
    "flash-attn",
    "nccl",
];

/// A member of the workspace.
pub struct Package {
    pub name: String,
    pub directory: PathBuf,
    pub published: bool,
    pub dependencies: Vec<Dependency>,
    /// Names of features, without accelerators.
    pub features: Vec<String>,
    pub targets: Vec<Target>,
    pub json: Json,
}

pub struct Dependency {
    pub name: String,
    /// `normal`, `dev` or `build`.
    pub kind: String,
    pub optional: bool,
    /// Whether it is a member of the workspace.
    pub local: bool,
    pub requirement: String,
}

pub struct Target {
    pub name: String,
    pub kind: String,
    pub path: PathBuf,
    pub required_features: Vec<String>,
}

impl Package {
    /// The portable features to build with: `full` where there is one, else all.
    fn portable_features(&self) -> Vec<String> {
        let has_full = self.features.iter().any(|f| f == "full");
        let chosen = self.features.iter().filter(|f| !has_full || *f == "full");
        chosen.map(|f| format!("{}/{f}", self.name)).collect()
    }
}

/// Reads the members of the workspace.
pub fn packages() -> Result<Vec<Package>> {
    let text = output(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
    ]))?;
    let json = parse(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut packages: Vec<Package> = json.get("packages").list().iter().map(package).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// The value of `--features` that turns on everything portable in these packages.
pub fn all_features<'a>(packages: impl IntoIterator<Item = &'a Package>) -> String {
    packages
        .into_iter()
        .flat_map(Package::portable_features)
        .collect::<Vec<_>>()
        .join(",")
}

fn package(json: &Json) -> Package {
    let manifest = PathBuf::from(string(json.get("manifest_path")));
    let features = json.get("features").keys().filter(|f| *f != "default");
    let portable = features
        .filter(|f| !ACCELERATORS.contains(f))
        .map(str::to_owned);
    Package {
        name: string(json.get("name")),
        directory: manifest.parent().map(PathBuf::from).unwrap_or_default(),
        published: *json.get("publish") == Json::Null,
        dependencies: json
            .get("dependencies")
            .list()
            .iter()
            .map(dependency)
            .collect(),
        features: portable.collect(),
        targets: json.get("targets").list().iter().map(target).collect(),
        json: json.clone(),
    }
}

fn dependency(json: &Json) -> Dependency {
    Dependency {
        name: string(json.get("name")),
        kind: json.get("kind").text().unwrap_or("normal").to_owned(),
        optional: json.get("optional").is_true(),
        local: json.get("path").text().is_some(),
        requirement: string(json.get("req")),
    }
}

fn target(json: &Json) -> Target {
    let required = json.get("required-features").list().iter().map(string);
    Target {
        name: string(json.get("name")),
        kind: json
            .get("kind")
            .list()
            .first()
            .map(string)
            .unwrap_or_default(),
        path: PathBuf::from(string(json.get("src_path"))),
        required_features: required.collect(),
    }
}

fn string(json: &Json) -> String {
    json.text().unwrap_or_default().to_owned()
}
