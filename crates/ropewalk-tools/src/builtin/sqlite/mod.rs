//! Reading queries on a SQLite file.

mod query;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_channel::oneshot;
use ropewalk_core::{
    Effect, Error, ErrorKind, Result, Tool, ToolContext, ToolError, ToolOutput, ToolSpec,
    async_trait, parse_arguments,
};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest description of tables and columns, in bytes.
const MAX_SCHEMA: usize = 8000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// One SELECT (or EXPLAIN, or PRAGMA table_info) statement in the dialect of SQLite
    sql: String,
}

/// What a query may use.
#[derive(Debug, Clone, Copy)]
struct Limits {
    rows: usize,
    bytes: usize,
    time: Duration,
}

/// The tool `sql_lookup`: one reading query on a SQLite file.
///
/// The file is opened for reading only, for each call anew. SQLite's authorizer lets only reading
/// pass: `SELECT`, `EXPLAIN` of it and a few PRAGMAs about tables; no writing, no other file, no
/// extension. Rows, bytes and time are limited, and what was cut is said. The query runs on a thread
/// of its own and ends when the call is dropped. The tool's description lists tables and columns as
/// they were when it was made. The result is untrusted: rows may hold what others wrote.
///
/// ```
/// use ropewalk_core::{Tool, ToolContext};
/// use ropewalk_tools::builtin::SqliteLookup;
///
/// # let path = std::env::temp_dir().join(format!("ropewalk-doc-{}.sqlite", std::process::id()));
/// # std::fs::write(&path, "").unwrap();
/// let tool = SqliteLookup::open(&path)?.with_max_rows(20);
/// # futures_executor::block_on(async {
/// let arguments = r#"{"sql": "SELECT 6 * 7 AS answer"}"#;
/// let output = tool.call(arguments, &ToolContext::default()).await?;
/// assert_eq!(
///     output.content[0].as_text(),
///     Some(r#"{"columns":["answer"],"rows":[[42]],"truncated":false}"#)
/// );
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), ropewalk_core::ToolError>(()) }).unwrap();
/// # Ok::<(), ropewalk_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SqliteLookup {
    spec: ToolSpec,
    path: PathBuf,
    limits: Limits,
}

impl SqliteLookup {
    /// Opens a file to describe its tables.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when there is no such file or it is no database.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let connection = query::connect(&path);
        let schema = connection.and_then(|c| schema(&c)).map_err(|e| {
            let message = format!("the database {} cannot be read: {e}", path.display());
            Error::new(ErrorKind::Configuration, message)
        })?;
        let description = format!(
            "Looks up rows in a SQLite database with one SELECT statement.\nTables:\n{schema}"
        );
        Ok(Self {
            spec: crate::__private::spec::<Arguments>("sql_lookup", description.trim_end(), false),
            path,
            limits: Limits {
                rows: 100,
                bytes: 32 << 10,
                time: Duration::from_secs(2),
            },
        })
    }

    /// Sets the name of the tool, for several databases in one set; `sql_lookup`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = name.into();
        self
    }

    /// Sets how many rows a query returns; 100.
    #[must_use]
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.limits.rows = rows;
        self
    }

    /// Sets how many bytes of JSON the rows may take; 32 KiB.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets how long a query may run; 2 s.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.limits.time = limit;
        self
    }
}

/// Lists tables and views with their columns and types, one per line.
fn schema(connection: &Connection) -> rusqlite::Result<String> {
    let mut tables = connection.prepare(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN \
         ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names = tables.query_map([], |row| row.get::<_, String>(0))?;
    let mut columns = connection.prepare("SELECT name, type FROM pragma_table_info(?)")?;
    let mut shown = String::new();
    for name in names {
        let name = name?;
        let described = columns.query_map([&name], |row| {
            let (column, kind): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(format!("{column} {kind}").trim().to_owned())
        })?;
        // A view of what is gone has no columns; it is left out.
        let Ok(described) = described.collect::<rusqlite::Result<Vec<_>>>() else {
            continue;
        };
        let line = format!("{name}({})", described.join(", "));
        let line = line.replace(char::is_control, " ");
        if shown.len() + line.len() > MAX_SCHEMA {
            shown.push_str("… and more: SELECT name, sql FROM sqlite_schema\n");
            break;
        }
        // Writing into a String does not fail.
        _ = writeln!(shown, "{line}");
    }
    Ok(shown)
}

/// Tells the query that nobody waits any longer.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Tool for SqliteLookup {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    async fn call(&self, arguments: &str, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let Arguments { sql } = parse_arguments(arguments)?;
        let abandoned = Arc::new(AtomicBool::new(false));
        let guard = Abandon(Arc::clone(&abandoned));
        let (sender, receiver) = oneshot::channel();
        let (path, limits) = (self.path.clone(), self.limits);
        let work = move || {
            let found = query::run(&path, &sql, limits, abandoned);
            // Nobody may wait any longer.
            drop(sender.send(found));
        };
        let thread = std::thread::Builder::new().name(self.spec.name.clone());
        // The thread ends by itself, at the latest at the time limit.
        drop(thread.spawn(work).map_err(ToolError::failed)?);
        let found = receiver.await;
        drop(guard);
        let found = found.map_err(|_| ToolError::failed("the query did not finish"))?;
        Ok(ToolOutput::from(found.map_err(ToolError::Failed)?))
    }
}
