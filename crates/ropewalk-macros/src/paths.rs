//! Where the caller can find `ropewalk-tools`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Ident;

/// Returns the path of the crate `ropewalk-tools` as the package being compiled sees it: its own
/// dependency on it, or the module `tools` of its dependency on `ropewalk`.
///
/// Read from `Cargo.toml`, since a macro is not told what is there. A dependency that is renamed in
/// the workspace's manifest cannot be seen; `#[tool(crate = …)]` is for that.
pub(crate) fn tools() -> TokenStream {
    // The documents of the facade are compiled as if their reader had nothing else.
    if std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == "ropewalk") {
        return quote!(::ropewalk::tools);
    }
    let manifest = std::env::var("CARGO_MANIFEST_DIR").ok();
    let manifest =
        manifest.and_then(|dir| std::fs::read_to_string(format!("{dir}/Cargo.toml")).ok());
    match manifest.as_deref().and_then(found) {
        Some(Found::Tools(name)) => {
            let name = Ident::new(&name, Span::call_site());
            quote!(::#name)
        }
        Some(Found::Facade(name)) => {
            let name = Ident::new(&name, Span::call_site());
            quote!(::#name::tools)
        }
        None => quote!(::ropewalk_tools),
    }
}

#[derive(Debug, PartialEq)]
enum Found {
    Tools(String),
    Facade(String),
}

/// Returns the dependency of a manifest that leads to the crate, under the name code has for it.
/// One that all code of the package sees comes before one of its tests or build script.
fn found(manifest: &str) -> Option<Found> {
    let all = dependencies(manifest);
    let of = |everywhere: bool, package: &str| {
        let mut these = all.iter().filter(|d| d.everywhere == everywhere);
        let found = these.find(|d| d.package == package)?;
        Some(found.name.replace('-', "_"))
    };
    [true, false].into_iter().find_map(|everywhere| {
        let facade = || of(everywhere, "ropewalk").map(Found::Facade);
        of(everywhere, "ropewalk-tools")
            .map(Found::Tools)
            .or_else(facade)
    })
}

struct Dependency {
    name: String,
    package: String,
    /// All code of the package sees it, not only its tests or build script.
    everywhere: bool,
}

impl Dependency {
    fn new(name: &str, package: &str, everywhere: bool) -> Self {
        Self {
            name: name.to_owned(),
            package: package.to_owned(),
            everywhere,
        }
    }
}

/// Returns the dependencies in a manifest, as far as lines show them.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut all: Vec<Dependency> = Vec::new();
    let mut table = Table::Other;
    let mut everywhere = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            table = Table::of(header);
            everywhere = !header.contains("dev-dep") && !header.contains("build-dep");
            if let Table::One(name) = &table {
                all.push(Dependency::new(name, name, everywhere));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = unquote(key);
        match &table {
            Table::All => {
                // `name.workspace = true` is a dotted key.
                let name = key.split('.').next().unwrap_or_default();
                let package = inline_package(value).unwrap_or(name);
                all.push(Dependency::new(name, package, everywhere));
            }
            Table::One(_) if key == "package" => {
                if let Some(last) = all.last_mut() {
                    last.package = unquote(value).to_owned();
                }
            }
            _ => {}
        }
    }
    all
}

enum Table {
    /// `[dependencies]`, `[dev-dependencies]`, `[target.….dependencies]`.
    All,
    /// `[dependencies.NAME]`.
    One(String),
    Other,
}

impl Table {
    fn of(header: &str) -> Self {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        if header.starts_with("workspace.") {
            return Self::Other;
        }
        let last = header.rsplit('.').next().unwrap_or_default();
        if kinds.contains(&unquote(last)) {
            return Self::All;
        }
        let before = header.strip_suffix(last).unwrap_or_default();
        let before = before.trim_end_matches('.').rsplit('.').next();
        match before {
            Some(kind) if kinds.contains(&unquote(kind)) => Self::One(unquote(last).to_owned()),
            _ => Self::Other,
        }
    }
}

/// Returns the value of `package` in an inline table.
fn inline_package(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("package")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    rest.strip_prefix(['"', '\''])?.split(['"', '\'']).next()
}

fn unquote(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_crate_in_manifests() {
        let tools = |name: &str| Some(Found::Tools(name.into()));
        let facade = |name: &str| Some(Found::Facade(name.into()));
        let cases = [
            ("[dependencies]\nropewalk = \"0.1\"", facade("ropewalk")),
            (
                "[dependencies]\nropewalk = { version = \"0.1\", features = [\"tools\"] }",
                facade("ropewalk"),
            ),
            (
                "[dependencies]\nropewalk.workspace = true",
                facade("ropewalk"),
            ),
            (
                "[dependencies]\nropewalk-tools = \"0.1\"\nropewalk = \"0.1\"",
                tools("ropewalk_tools"),
            ),
            (
                "[dependencies]\nrw = { package = \"ropewalk\", version = \"0.1\" }",
                facade("rw"),
            ),
            (
                "[dependencies.my-rope]\nversion = \"0.1\"\npackage = \"ropewalk-tools\"",
                tools("my_rope"),
            ),
            (
                "[target.'cfg(unix)'.dependencies]\nropewalk-tools = \"0.1\"",
                tools("ropewalk_tools"),
            ),
            (
                "[dev-dependencies]\n\"ropewalk\" = \"0.1\"",
                facade("ropewalk"),
            ),
            (
                "[package]\nname = \"ropewalk\"\n[dependencies]\nserde = \"1\"",
                None,
            ),
            (
                "[dev-dependencies]\nropewalk-tools = \"0.1\"\n[dependencies]\nropewalk = \"0.1\"",
                facade("ropewalk"),
            ),
            ("[workspace.dependencies]\nropewalk = \"0.1\"", None),
            ("[features]\nropewalk = []", None),
            ("", None),
        ];
        for (manifest, expected) in cases {
            assert_eq!(found(manifest), expected, "{manifest}");
        }
    }
}
