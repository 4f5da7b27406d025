//! The model of an example: the shipped one, a file, or `provider/model`.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use ropewalk::core::DynChatModel;
use ropewalk::local::LoadOptions;
#[cfg(feature = "apis")]
use ropewalk::providers::{Registry, Settings};

use crate::{Args, load_chat};

#[cfg(feature = "apis")]
/// Returns the registry that examples connect by: the environment and, if there is one, the file
/// `.env` of the current directory.
pub fn registry() -> Result<Registry> {
    let mut settings = Settings::from_env();
    if Path::new(".env").exists() {
        settings = settings.with_env_file(".env", false)?;
    }
    Ok(Registry::new(settings)?.with("local", |path| open(Path::new(path))))
}

fn open(path: &Path) -> ropewalk::core::Result<DynChatModel> {
    let model = load_chat(Some(path), LoadOptions::default(), true).map_err(|e| {
        ropewalk::core::Error::new(ropewalk::core::ErrorKind::Configuration, format!("{e:#}"))
    })?;
    Ok(Arc::new(model))
}

/// Returns the shipped model.
pub fn shipped() -> Result<DynChatModel> {
    Ok(Arc::new(load_chat(None, LoadOptions::default(), false)?))
}

/// Returns the model of `--model`: a GGUF file, a directory, `hf:owner/name[@revision][/file]`,
/// `provider/model`, or the shipped one
/// when the option is not given.
pub fn chosen(args: &Args) -> Result<DynChatModel> {
    match args.text("--model") {
        None => shipped(),
        Some(name) => named(name),
    }
}

/// Returns whether a name is `provider/model` rather than a file or directory.
pub fn is_remote(name: &str) -> bool {
    let path = Path::new(name);
    !path.exists()
        && !name.starts_with("hf:")
        && name.contains('/')
        && path.extension().is_none_or(|e| e != "gguf")
}

/// Returns the model of a file, a directory or `provider/model`.
pub fn named(name: &str) -> Result<DynChatModel> {
    if !is_remote(name) {
        return Ok(open(Path::new(name))?);
    }
    #[cfg(feature = "apis")]
    {
        Ok(registry()?.connect(name)?)
    }
    #[cfg(not(feature = "apis"))]
    {
        anyhow::bail!("{name} is behind an API: run the example with --features apis")
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no asynchronous runtime can be made")?;
    runtime.block_on(future)
}
