//! Real data and keys for tests that can use them.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// The environment variable that names the file in which tests note what they ran and skipped.
/// `cargo xtask test` sets it and prints the totals.
pub const SKIP_LOG: &str = "ROPEWALK_SKIP_LOG";

/// Returns the path of `name` below `$ROPEWALK_DATA`, if it is there.
///
/// A test that gets `None` returns early. Either way the case is noted in the file named by
/// [`SKIP_LOG`], so that a run without data does not look like a run with it.
///
/// ```
/// let Some(dir) = ropewalk_core::testing::data_dir("tokenizers") else { return };
/// assert!(dir.exists());
/// ```
#[must_use]
pub fn data_dir(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("ROPEWALK_DATA").map(|root| PathBuf::from(root).join(name));
    let path = path.filter(|p| p.exists());
    note(path.is_some(), name);
    path
}

/// Returns the environment variable `name` (a key of a provider), and notes the case like
/// [`data_dir`].
#[must_use]
pub fn secret(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name).filter(|v| !v.is_empty());
    note(value.is_some(), name);
    value
}

/// Appends `run|skip <tab> what <tab> test`. A log that cannot be written must not fail a test.
fn note(found: bool, what: &str) {
    let Some(log) = std::env::var_os(SKIP_LOG) else {
        return;
    };
    let thread = std::thread::current();
    let verb = if found { "run" } else { "skip" };
    let line = format!("{verb}\t{what}\t{}\n", thread.name().unwrap_or("?"));
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(log) {
        // One write per line, so that lines of parallel tests do not mix.
        drop(file.write_all(line.as_bytes()));
    }
}
