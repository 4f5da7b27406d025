//! Models of the Hugging Face Hub: `hf:owner/name[@revision][/file]`.
//!
//! ```no_run
//! use ropewalk_local::hub::{Hub, fetch};
//! use ropewalk_local::{LoadOptions, LocalModel};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Hub::from_env()?;
//! let options = LoadOptions::default().with_hub(hub.clone());
//! let model = LocalModel::open_with("hf:owner/model-GGUF/model-Q4_K_M.gguf", &options)?;
//!
//! // Whatever is opened by its path: embedders, rerankers, adapters.
//! let folder = fetch(&hub, &"hf:sentence-transformers/all-MiniLM-L6-v2".parse()?)?;
//! # Ok(()) }
//! ```
//!
//! | name | what is fetched | what is opened |
//! | --- | --- | --- |
//! | a GGUF file, or a part of a split one | that file, or all parts | the file |
//! | any other file | that file | the file |
//! | a repository with safetensors | configurations, vocabularies, templates, weights | the folder |
//! | a repository with one GGUF model | that model | the file |
//! | a repository with several | nothing; the error lists them | |

use std::borrow::Cow;
use std::path::{Path, PathBuf};

pub use ropewalk_http::hub::{Hub, HubFile, HubName, RepoKind};

use crate::{Error, LoadOptions, Result};

/// Most files that an error lists.
const LISTED: usize = 20;

/// Fetches what a model needs, blocking, and returns what to open.
///
/// It may be called from any thread, also one that runs tasks of an async runtime.
///
/// # Errors
/// [`Error::Load`] with the reason of [`Hub::file`]; [`Error::Path`] for a repository that holds no
/// model, or several.
pub fn fetch(hub: &Hub, name: &HubName) -> Result<PathBuf> {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| failed(name, e))?;
        runtime.block_on(wanted(hub, name))
    };
    // A thread of its own, since a runtime may not wait inside another.
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| {
        let reason = "fetching it ended without a result".to_owned();
        let path = PathBuf::from(name.to_string());
        Err(Error::Path { path, reason })
    })
}

/// Returns the path of what is on this machine already, or fetches what the Hub has.
pub(crate) fn locate<'a>(path: &'a Path, options: &LoadOptions) -> Result<Cow<'a, Path>> {
    let Some(text) = path.to_str().filter(|text| text.starts_with("hf:")) else {
        return Ok(Cow::Borrowed(path));
    };
    let Some(hub) = &options.hub else {
        let reason = "say where it comes from: LoadOptions::with_hub(Hub::from_env()?)".to_owned();
        let path = path.to_owned();
        return Err(Error::Path { path, reason });
    };
    let name: HubName = text.parse().map_err(|source| Error::Load {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    fetch(hub, &name).map(Cow::Owned)
}

fn failed(name: &HubName, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Load {
        path: PathBuf::from(name.to_string()),
        source: Box::new(e),
    }
}

async fn wanted(hub: &Hub, name: &HubName) -> Result<PathBuf> {
    let get = async |file: &str| hub.file(name, file).await.map_err(|e| failed(name, e));
    let model = async |file: &str| {
        for part in parts(file).filter(|part| part.as_str() != file) {
            get(&part).await?;
        }
        get(file).await
    };
    if let Some(file) = name.file() {
        return model(file).await;
    }
    let files = hub.files(name).await.map_err(|e| failed(name, e))?;
    let has = |end: &str| files.iter().any(|f| f.path.ends_with(end));
    if has(".safetensors") && has("config.json") {
        let originals = files.iter().any(|f| is_shard(&f.path, "model"));
        let keep = |file: &str| belongs(file) && !(originals && is_shard(file, "consolidated"));
        return hub.snapshot(name, keep).await.map_err(|e| failed(name, e));
    }
    let models: Vec<&str> = files
        .iter()
        .map(|f| f.path.as_str())
        .filter(|f| first_part(f))
        .collect();
    let reason = match models[..] {
        [file] => return model(file).await,
        [] => "no safetensors with a config.json and no GGUF file is in it".to_owned(),
        _ => {
            let more = if models.len() > LISTED { ", ..." } else { "" };
            let listed = models
                .iter()
                .take(LISTED)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            format!("it holds several models; append one of /{listed}{more}")
        }
    };
    let path = PathBuf::from(name.to_string());
    Err(Error::Path { path, reason })
}

fn is_shard(file: &str, stem: &str) -> bool {
    file.starts_with(stem) && file.ends_with(".safetensors")
}

/// Returns whether a file of a repository belongs to the model that transformers loads from it:
/// those of the folder itself, and those of the numbered modules of sentence-transformers.
fn belongs(file: &str) -> bool {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let module = folder.split_once('_').is_some_and(|(number, rest)| {
        number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() && !rest.contains('/')
    });
    let kinds = [".json", ".txt", ".model", ".jinja", ".safetensors"];
    (folder.is_empty() || module) && kinds.iter().any(|kind| name.ends_with(kind))
}

/// Returns number and count of a part of a split GGUF file, `name-00001-of-00003.gguf`, and its stem.
fn split(file: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let number_of = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
    Some((stem, number_of(number)?, number_of(count)?))
}

/// Returns whether a file is a GGUF model, or its first part.
fn first_part(file: &str) -> bool {
    file.ends_with(".gguf")
        && !file.contains("mmproj")
        && split(file).is_none_or(|(_, number, _)| number == 1)
}

/// Returns the files of a model: itself, or all its parts.
fn parts(file: &str) -> impl Iterator<Item = String> + use<> {
    let whole = split(file).is_none().then(|| file.to_owned());
    let split = split(file).map(|(stem, _, count)| (stem.to_owned(), count));
    let parts = split.into_iter().flat_map(|(stem, count)| {
        (1..=count).map(move |n| format!("{stem}-{n:05}-of-{count:05}.gguf"))
    });
    whole.into_iter().chain(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_split_files_are_known() {
        let all: Vec<String> = parts("q/m-00002-of-00003.gguf").collect();
        assert_eq!(
            all,
            [
                "q/m-00001-of-00003.gguf",
                "q/m-00002-of-00003.gguf",
                "q/m-00003-of-00003.gguf"
            ]
        );
        assert_eq!(parts("m-of-x.gguf").collect::<Vec<_>>(), ["m-of-x.gguf"]);
        let first = [
            "a.gguf",
            "b-00001-of-00002.gguf",
            "b-00002-of-00002.gguf",
            "mmproj-a.gguf",
            "c.bin",
        ];
        assert_eq!(first.map(first_part), [true, true, false, false, false]);
    }

    #[test]
    fn only_the_model_belongs() {
        for yes in [
            "config.json",
            "merges.txt",
            "1_Pooling/config.json",
            "model-00001-of-00002.safetensors",
        ] {
            assert!(belongs(yes), "{yes}");
        }
        for no in [
            "onnx/model.onnx",
            "README.md",
            "original/params.json",
            "pytorch_model.bin",
            "x/1_y/config.json",
        ] {
            assert!(!belongs(no), "{no}");
        }
    }
}
