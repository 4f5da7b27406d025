//! Running commands and timing steps.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub type Result<T = ()> = std::result::Result<T, String>;

/// The steps of one command: each is timed, a failed one does not keep the others from running.
#[derive(Default)]
pub struct Steps {
    durations: Vec<(String, Duration)>,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Steps {
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("==> {name}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        self.durations.push((name.to_owned(), took));
        match result {
            Ok(value) => {
                println!("    {name}: ok in {:.1} s", took.as_secs_f64());
                Some(value)
            }
            Err(error) => {
                println!("    {name}: FAILED in {:.1} s", took.as_secs_f64());
                self.fail(&format!("{name}: {error}"));
                None
            }
        }
    }

    pub fn fail(&mut self, error: &str) {
        eprintln!("error: {error}");
        self.failures.push(error.to_owned());
    }

    /// Keeps a line for the summary.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    pub fn finish(self, command: &str) -> ExitCode {
        println!("\n==> {command}: summary");
        for (name, took) in &self.durations {
            println!("    {:8.1} s  {name}", took.as_secs_f64());
        }
        let total: Duration = self.durations.iter().map(|(_, took)| *took).sum();
        println!("    {:8.1} s  in all", total.as_secs_f64());
        for note in &self.notes {
            println!("    {note}");
        }
        if self.failures.is_empty() {
            return ExitCode::SUCCESS;
        }
        for failure in &self.failures {
            let first = failure.lines().next().unwrap_or_default();
            eprintln!("    failed: {first}");
        }
        ExitCode::FAILURE
    }
}

/// The root of the workspace: from the cargo that runs us, so that checkouts may share a target
/// directory.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
pub fn target_directory() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR");
    set.map_or_else(|| root().join("target"), |set| root().join(set))
}

/// `cargo` in the workspace root, without the variables of the cargo that runs us: they would make
/// build scripts run anew.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let inner = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ];
        if inner.iter().any(|p| text.starts_with(p)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Words of a command, for messages.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    let program = command.get_program().to_string_lossy();
    let short = if program.ends_with("cargo") {
        "cargo"
    } else {
        &*program
    };
    words.join(" ").replacen(&*program, short, 1)
}

/// Runs a command with its output shown.
pub fn run(command: &mut Command) -> Result {
    println!("    $ {}", shown(command));
    let status = command
        .status()
        .map_err(|e| format!("cannot run {}: {e}", shown(command)))?;
    check(command, status)
}

fn check(command: &Command, status: ExitStatus) -> Result {
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", shown(command)))
    }
}

/// Runs a command with its output kept; returns standard output. Standard error is shown when the
/// command fails.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .output()
        .map_err(|e| format!("cannot run {}: {e}", shown(command)))?;
    if !out.status.success() {
        eprint!("{}", String::from_utf8_lossy(&out.stderr));
    }
    check(command, out.status)?;
    String::from_utf8(out.stdout).map_err(|e| e.to_string())
}

/// Runs a command that must not warn. Flags that deny warnings would rebuild everything.
pub fn quiet(command: &mut Command) -> Result {
    println!("    $ {}", shown(command));
    let out = command
        .output()
        .map_err(|e| format!("cannot run {}: {e}", shown(command)))?;
    let text = String::from_utf8_lossy(&out.stderr);
    let warned = text.lines().any(|l| l.starts_with("warning"));
    if warned || !out.status.success() {
        eprint!("{text}");
    }
    check(command, out.status)?;
    if warned {
        Err(format!("{} warns", shown(command)))
    } else {
        Ok(())
    }
}

/// Runs a command with its output shown and kept: returns all lines.
pub fn tee(command: &mut Command) -> (Result, Vec<String>) {
    println!("    $ {}", shown(command));
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => {
            return (
                Err(format!("cannot run {}: {e}", shown(command))),
                Vec::new(),
            );
        }
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let err = thread::spawn(move || err.map(|e| copy(e, std::io::stderr())).unwrap_or_default());
    let mut lines = out.map(|o| copy(o, std::io::stdout())).unwrap_or_default();
    lines.extend(err.join().unwrap_or_default());
    let result = match child.wait() {
        Ok(status) => check(command, status),
        Err(e) => Err(e.to_string()),
    };
    (result, lines)
}

fn copy(from: impl Read, mut to: impl Write) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(from)
        .lines()
        .map_while(std::result::Result::ok)
    {
        // Whoever reads us may have gone; that is no reason to stop the tests.
        let _ = writeln!(to, "{line}");
        lines.push(line);
    }
    lines
}

/// Runs a command with its output shown, and kills it when it takes too long.
pub fn run_within(command: &mut Command, limit: Duration) -> Result {
    println!("    $ {}", shown(command));
    let mut child = command
        .spawn()
        .map_err(|e| format!("cannot run {}: {e}", shown(command)))?;
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => return check(command, status),
            None if start.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{} ran longer than {} s",
                    shown(command),
                    limit.as_secs()
                ));
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}
