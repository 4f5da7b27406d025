//! One query within limits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Statement};
use serde_json::{Value, json};

use super::Limits;

/// Longest text or blob, in bytes: bounds what a function can make.
const MAX_VALUE: i32 = 16 << 20;
/// Longest statement, in bytes.
const MAX_SQL: i32 = 64 << 10;
/// Instructions between two looks at the clock.
const STEP: i32 = 1000;

/// PRAGMAs that only tell about tables; `data_version` is what full-text tables ask.
const PRAGMAS: [&str; 7] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "foreign_key_list",
    "data_version",
];

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Lets only reading pass.
fn authorize(context: AuthContext<'_>) -> Authorization {
    let fine = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !["load_extension", "fts3_tokenizer"]
            .contains(&function_name.to_ascii_lowercase().as_str()),
        AuthAction::Pragma { pragma_name, .. } => {
            PRAGMAS.contains(&pragma_name.to_ascii_lowercase().as_str())
        }
        _ => false,
    };
    match fine {
        true => Authorization::Allow,
        false => Authorization::Deny,
    }
}

/// Runs a query; returns columns, rows and whether rows are missing.
pub(super) fn run(
    path: &Path,
    sql: &str,
    limits: Limits,
    abandoned: Arc<AtomicBool>,
) -> Result<Value, String> {
    let started = Instant::now();
    let prepared = move || -> rusqlite::Result<Connection> {
        let mut connection = connect(path)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_SQL)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)?;
        connection.authorizer(Some(authorize))?;
        let over = move || abandoned.load(Ordering::Relaxed) || started.elapsed() >= limits.time;
        connection.progress_handler(STEP, Some(over))?;
        Ok(connection)
    };
    let connection = prepared().map_err(|e| format!("the database cannot be read: {e}"))?;
    let outcome = connection
        .prepare(sql)
        .and_then(|mut s| rows(&mut s, limits));
    outcome.map_err(|e| explain(&e, limits))
}

fn rows(statement: &mut Statement<'_>, limits: Limits) -> rusqlite::Result<Value> {
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(rusqlite::Error::InvalidQuery);
    }
    let columns: Vec<_> = statement.column_names().map(str::to_owned).collect();
    let mut found = Vec::new();
    let mut left = limits.bytes;
    let mut rows = statement.query([])?;
    let mut truncated = false;
    while let Some(row) = rows.next()? {
        let shown = (found.len() < limits.rows).then(|| fitting(row, columns.len(), left));
        let Some((row, size)) = shown.transpose()?.flatten() else {
            truncated = true;
            break;
        };
        left -= size;
        found.push(row);
    }
    Ok(json!({"columns": columns, "rows": found, "truncated": truncated}))
}

/// Reads a row and how many bytes of JSON it takes; `None` when it takes more than `left`.
fn fitting(row: &Row<'_>, columns: usize, left: usize) -> rusqlite::Result<Option<(Value, usize)>> {
    let mut values = Vec::with_capacity(columns);
    let mut size = 2;
    for column in 0..columns {
        let value = match row.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => json!(number),
            ValueRef::Real(number) => json!(number),
            // Even unescaped this is too long.
            ValueRef::Text(text) if text.len() > left => return Ok(None),
            ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
            ValueRef::Blob(bytes) => json!(format!("[{} bytes]", bytes.len())),
        };
        size += value.to_string().len() + 1;
        if size > left {
            return Ok(None);
        }
        values.push(value);
    }
    Ok(Some((Value::Array(values), size)))
}

fn explain(error: &rusqlite::Error, limits: Limits) -> String {
    const ONLY: &str = "only one SELECT, EXPLAIN SELECT or PRAGMA table_info may run";
    let inner = match error {
        rusqlite::Error::SqlInputError { error, msg, .. } => Some((error.code, msg.as_str())),
        rusqlite::Error::SqliteFailure(error, Some(message)) => {
            Some((error.code, message.as_str()))
        }
        rusqlite::Error::SqliteFailure(error, None) => Some((error.code, "")),
        rusqlite::Error::MultipleStatement | rusqlite::Error::InvalidQuery => {
            return ONLY.to_owned();
        }
        _ => None,
    };
    match inner {
        Some((ErrorCode::AuthorizationForStatementDenied, message)) => {
            format!("{ONLY} ({message})")
        }
        Some((ErrorCode::OperationInterrupted, _)) => {
            let seconds = limits.time.as_secs_f64();
            format!("the query took longer than {seconds} s; narrow it down")
        }
        Some((_, message)) if !message.is_empty() => message.to_owned(),
        _ => error.to_string(),
    }
}
