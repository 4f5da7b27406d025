//! What the examples share: arguments and the model that ships with the repository.

pub mod desk;
pub mod models;
pub mod serve;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use ropewalk::gguf::Gguf;
use ropewalk::local::sample::SamplerOptions;
use ropewalk::local::{LoadOptions, LocalModel, Model};

/// Sentences that the shipped model knows, for the examples that search.
pub const PASSAGES: [&str; 6] = [
    "A token is a piece of text with a number; models read and write tokens.",
    "GGUF is a file format that holds a model's weights, its tokenizer and its settings in one file.",
    "Quantisation stores weights with fewer bits, so that a model is smaller and faster.",
    "A ticket to London costs $799.",
    "ropewalk-train trains language models from scratch; it trained me.",
    "ropewalk-kernels holds the CPU kernels: packed matrix products, attention, norms and the thread pool.",
];

/// The model in `data/`: a small instruct model trained by `train_tiny`, in GGUF, Q8_0.
pub static TINY: &[u8] = include_bytes!("data/ropewalk-tiny.gguf");

/// Runs an example; an error becomes one line on standard error and exit status 1. When the reader of standard output
/// went away there is nobody to tell: the program ends.
pub fn run(example: impl FnOnce() -> Result<()>) -> std::process::ExitCode {
    let gone = |e: &anyhow::Error| {
        let io = e.chain().find_map(|e| e.downcast_ref::<std::io::Error>());
        io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    };
    match example() {
        Err(e) if !gone(&e) => {
            let _ = writeln!(std::io::stderr(), "error: {e:#}");
            std::process::ExitCode::FAILURE
        }
        _ => std::process::ExitCode::SUCCESS,
    }
}

/// Writes to standard output at once.
pub fn write_out(text: std::fmt::Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let done = out.write_fmt(text).and_then(|()| out.flush());
    done.context("cannot write to standard output")
}

/// Writes to standard output, as `print!` does, and returns the error of it.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => { $crate::write_out(format_args!($($text)*)) };
}

/// Command-line arguments: `--name value`, `--name=value`, `--switch` and arguments without a name.
pub struct Args {
    values: Vec<(String, String)>,
    switches: Vec<String>,
    free: Vec<String>,
}

impl Args {
    /// Reads the process's arguments; `usage` is printed for `--help` and names what is allowed.
    ///
    /// Options that take a value are written `--name VALUE` in `usage`, switches `--name` alone; words in capitals on
    /// its first line are arguments without a name.
    pub fn parse(usage: &str) -> Result<Self> {
        let text = |(i, arg): (usize, std::ffi::OsString)| {
            arg.into_string()
                .map_err(|arg| anyhow!("argument {i} is not valid UTF-8: {}", arg.display()))
        };
        let args = std::env::args_os().enumerate().skip(1).map(text);
        Self::read(usage, args.collect::<Result<Vec<_>>>()?)
    }

    fn read(usage: &str, args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut out = Self {
            values: Vec::new(),
            switches: Vec::new(),
            free: Vec::new(),
        };
        let unnamed = unnamed(usage);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--help" || arg == "-h" {
                out!("{}\n", usage.trim())?;
                std::process::exit(0);
            }
            if !arg.starts_with('-') && out.free.len() < unnamed {
                out.free.push(arg);
                continue;
            }
            let (name, inline) = match arg.split_once('=') {
                Some((n, v)) => (n.to_owned(), Some(v.to_owned())),
                None => (arg, None),
            };
            match (takes_value(usage, &name), inline) {
                (None, _) => bail!("unknown argument `{name}`; --help lists what there is"),
                (Some(false), None) => out.switches.push(name),
                (Some(false), Some(_)) => bail!("`{name}` takes no value"),
                (Some(true), Some(v)) => out.values.push((name, v)),
                (Some(true), None) => {
                    let v = args
                        .next()
                        .with_context(|| format!("`{name}` needs a value"))?;
                    out.values.push((name, v));
                }
            }
        }
        Ok(out)
    }

    /// Returns the argument without a name at a place.
    pub fn free(&self, at: usize) -> Option<&str> {
        self.free.get(at).map(String::as_str)
    }

    /// Returns whether a switch was given.
    pub fn has(&self, name: &str) -> bool {
        self.switches.iter().any(|s| s == name)
    }

    /// Returns the last value of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Returns every value of an option.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Returns a parsed value, or `default` when the option was not given.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.optional(name).map(|v| v.unwrap_or(default))
    }

    /// Returns a parsed value.
    pub fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let parse = |v: &str| {
            v.parse()
                .with_context(|| format!("`{name} {v}` is no value for {name}"))
        };
        self.text(name).map(parse).transpose()
    }

    /// Returns an option as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|v| Path::new(v).to_owned())
    }
}

/// Counts the arguments without a name on the first line of a usage text.
fn unnamed(usage: &str) -> usize {
    let line = usage.trim().lines().next().unwrap_or_default();
    let words: Vec<&str> = line
        .split(|c: char| c.is_whitespace() || "[](),`".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let capital = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || c == '.');
    words
        .windows(2)
        .filter(|pair| capital(pair[1]) && !pair[0].starts_with("--"))
        .count()
}

/// Looks an option up in the usage text: `Some(true)` when an upper-case word follows it.
fn takes_value(usage: &str, name: &str) -> Option<bool> {
    let words: Vec<&str> = usage
        .split(|c: char| c.is_whitespace() || "[](),`".contains(c))
        .collect();
    let at = words
        .iter()
        .position(|w| name.starts_with("--") && *w == name)?;
    let next = words.get(at + 1).copied().unwrap_or_default();
    Some(next.starts_with(|c: char| c.is_ascii_uppercase()) && !next.contains(char::is_lowercase))
}

/// Loads the decoder of a file, a directory or `hf:owner/name`, or of the shipped model.
pub fn load(path: Option<&Path>, options: &LoadOptions) -> Result<Model> {
    match path {
        Some(path) => Ok(Model::open(path, &from_hub(path, options.clone())?)?),
        None => Ok(Model::from_gguf(
            Arc::new(Gguf::from_static(TINY)?),
            options,
        )?),
    }
}

/// Says where models of the Hub come from, if `path` names one, and shows how much has come.
#[cfg(feature = "hub")]
fn from_hub(path: &Path, options: LoadOptions) -> Result<LoadOptions> {
    use ropewalk::core::ProgressEvent;
    if !path.to_string_lossy().starts_with("hf:") {
        return Ok(options);
    }
    let mut hub = ropewalk::local::hub::Hub::from_env()?;
    if std::io::stderr().is_terminal() {
        hub = hub.with_progress(|event: &ProgressEvent<'_>| {
            let share = event
                .fraction()
                .map_or(String::new(), |f| format!(" {:.0} %", 100.0 * f));
            let end = if event.total == Some(event.done) {
                "\r\x1b[K"
            } else {
                ""
            };
            let mut err = std::io::stderr();
            let _ = write!(
                err,
                "\r{}: {} MB{share}{end}",
                event.stage,
                event.done / 1_000_000
            );
            let _ = err.flush();
        });
    }
    Ok(options.with_hub(hub))
}

#[cfg(not(feature = "hub"))]
fn from_hub(path: &Path, options: LoadOptions) -> Result<LoadOptions> {
    if path.to_string_lossy().starts_with("hf:") {
        anyhow::bail!(
            "{} is on the Hub: run the example with --features hub",
            path.display()
        );
    }
    Ok(options)
}

/// Loads a chat model from a file, a directory or `hf:owner/name`, or the shipped one; shows progress on a terminal.
pub fn load_chat(path: Option<&Path>, mut options: LoadOptions, show: bool) -> Result<LocalModel> {
    let Some(path) = path else {
        return Ok(LocalModel::from_gguf(
            Arc::new(Gguf::from_static(TINY)?),
            &options,
        )?);
    };
    if show && std::io::stderr().is_terminal() {
        options = options.with_progress(|done, total| {
            let mut err = std::io::stderr();
            let end = if done == total { "\r\x1b[K" } else { "" };
            let _ = write!(err, "\rpacking weights: {done} of {total}{end}");
            let _ = err.flush();
        });
    }
    Ok(LocalModel::open_with(path, &from_hub(path, options)?)?)
}

/// Reads `--temp`, `--top-k`, `--top-p`, `--min-p`, `--repeat-penalty` and `--seed`.
pub fn sampler(args: &Args) -> Result<SamplerOptions> {
    let mut sampler = SamplerOptions::default()
        .with_temperature(args.get("--temp", 0.0)?)
        .with_top_k(args.get("--top-k", 0)?)
        .with_top_p(args.get("--top-p", 1.0)?)
        .with_min_p(args.get("--min-p", 0.0)?)
        .with_seed(args.get("--seed", 0)?);
    sampler.penalties.repetition = args.get("--repeat-penalty", 1.0)?;
    Ok(sampler)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = "usage: [--model FILE] [--n N] [--raw]\n --raw  as it is";

    fn read(args: &[&str]) -> Result<Args> {
        Args::read(USAGE, args.iter().map(|&s| s.to_owned()))
    }

    #[test]
    fn options_switches_and_mistakes() {
        let a = read(&["--model=x", "--n", "3", "--raw"]).unwrap();
        assert_eq!(
            (a.text("--model"), a.get("--n", 1).unwrap(), a.has("--raw")),
            (Some("x"), 3, true)
        );
        assert_eq!(read(&[]).unwrap().get("--n", 1).unwrap(), 1);
        for (args, error) in [
            (
                &["--nope"][..],
                "unknown argument `--nope`; --help lists what there is",
            ),
            (&["--n"], "`--n` needs a value"),
            (&["--raw=1"], "`--raw` takes no value"),
        ] {
            assert_eq!(read(args).err().unwrap().to_string(), error);
        }
        assert!(read(&["--n", "x"]).unwrap().get("--n", 1).is_err());
        assert!(read(&["file"]).is_err());
        let usage = "usage: convert [DIR OUT.GGUF] [--n N]";
        let a = Args::read(usage, ["a", "--n", "2", "b"].map(str::to_owned)).unwrap();
        assert_eq!(
            (a.free(0), a.free(1), a.free(2)),
            (Some("a"), Some("b"), None)
        );
        assert!(Args::read(usage, ["a", "b", "c"].map(str::to_owned)).is_err());
    }
}
