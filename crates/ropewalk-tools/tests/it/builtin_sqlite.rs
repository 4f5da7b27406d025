//! Lookups in a SQLite file: what may run, limits, errors.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::FutureExt;
use proptest::prelude::*;
use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{Effect, ErrorKind, Tool, ToolContext, Trust};
use ropewalk_tools::builtin::SqliteLookup;
use rusqlite::Connection;
use serde_json::{Value, json};

/// A database of its own for one test, removed at the end.
struct Database(PathBuf);

impl Database {
    fn new(name: &str) -> Self {
        let file = format!("ropewalk-{name}-{}.sqlite", std::process::id());
        let path = std::env::temp_dir().join(file);
        drop(std::fs::remove_file(&path));
        let connection = Connection::open(&path).unwrap();
        let script = "
            CREATE TABLE flights(id INTEGER PRIMARY KEY, city TEXT NOT NULL, price REAL, seal BLOB);
            INSERT INTO flights VALUES (1, 'Oslo', 99.5, x'00ff'), (2, 'Rome', NULL, NULL),
                (9007199254740993, 'São \"P\"', 1e300, x'');
            CREATE VIEW cheap AS SELECT * FROM flights WHERE price < 100;
            CREATE VIRTUAL TABLE notes USING fts5(body);
            INSERT INTO notes VALUES ('a window seat'), ('an aisle seat');
            CREATE TABLE \"odd\nname\"(x);";
        connection.execute_batch(script).unwrap();
        Self(path)
    }

    fn tool(&self) -> SqliteLookup {
        SqliteLookup::open(&self.0).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn ask(tool: &SqliteLookup, sql: &str) -> Result<Value, String> {
    let arguments = json!({ "sql": sql }).to_string();
    let output = block_on(tool.call(&arguments, &ToolContext::default()));
    let output = output.map_err(|e| e.to_string())?;
    assert_eq!(output.trust, Trust::Untrusted);
    Ok(output.structured.unwrap())
}

#[test]
fn looks_up_rows() {
    let database = Database::new("rows");
    let tool = database.tool();
    assert_eq!(tool.effect(), Effect::Read);
    let suite = ToolSuite::new(r#"{"sql": "SELECT 1"}"#);
    block_on(testing::tool(&tool, &suite))
        .into_result()
        .unwrap();
    assert_eq!(
        tool.spec().description,
        "Looks up rows in a SQLite database with one SELECT statement.\nTables:\n\
         cheap(id INTEGER, city TEXT, price REAL, seal BLOB)\n\
         flights(id INTEGER, city TEXT, price REAL, seal BLOB)\n\
         notes(body)\nodd name(x)"
    );
    assert_eq!(
        ask(&tool, "SELECT * FROM flights ORDER BY id; -- all").unwrap(),
        json!({"columns": ["id", "city", "price", "seal"], "truncated": false, "rows": [
            [1, "Oslo", 99.5, "[2 bytes]"], [2, "Rome", null, null],
            [9_007_199_254_740_993_i64, "São \"P\"", 1e300, "[0 bytes]"],
        ]})
    );
    let rows = |sql: &str| ask(&tool, sql).unwrap()["rows"].clone();
    assert_eq!(rows("SELECT city FROM cheap"), json!([["Oslo"]]));
    assert_eq!(
        rows("SELECT body FROM notes WHERE notes MATCH 'window'"),
        json!([["a window seat"]])
    );
    assert_eq!(rows("PRAGMA table_info(flights)")[1][1], "city");
    assert_eq!(
        rows("SELECT name FROM pragma_table_info('flights')")[3],
        json!(["seal"])
    );
    assert!(
        rows("EXPLAIN QUERY PLAN SELECT * FROM flights")[0][3]
            .as_str()
            .unwrap()
            .contains("SCAN")
    );
    assert_eq!(
        rows(
            "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) FROM n"
        ),
        json!([[15]])
    );
    assert_eq!(
        rows("SELECT 9e999, -9e999, CAST(x'ff41' AS TEXT)"),
        json!([[null, null, "\u{fffd}A"]])
    );
    let other = tool.with_name("flights");
    assert_eq!(other.spec().name, "flights");
}

#[test]
fn only_reads() {
    let database = Database::new("reads");
    let tool = database.tool();
    let before = std::fs::read(&database.0).unwrap();
    let beside = database.0.with_extension("other");
    let refused = [
        "DELETE FROM flights",
        "UPDATE flights SET price = 0 RETURNING city",
        "INSERT INTO flights VALUES (5, 'x', 1, NULL)",
        "DROP TABLE flights",
        "CREATE TEMP TABLE t(x)",
        "EXPLAIN DELETE FROM flights",
        "WITH d AS (SELECT 1) DELETE FROM flights",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = 1",
        "PRAGMA query_only = 0",
        "SELECT * FROM pragma_journal_mode",
        "SELECT load_extension('x')",
        "BEGIN",
        "SAVEPOINT a",
        "VACUUM",
        "REINDEX",
        "ANALYZE",
        "DETACH main",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE flights",
        "",
        "-- nothing",
    ];
    let attach = [
        format!("ATTACH '{}' AS other", beside.display()),
        format!("VACUUM INTO '{}'", beside.display()),
    ];
    for sql in refused.into_iter().chain(attach.iter().map(String::as_str)) {
        let error = ask(&tool, sql).unwrap_err();
        let only = "only one SELECT, EXPLAIN SELECT or PRAGMA table_info may run";
        assert!(
            error.starts_with(only) || error.contains("not authorized"),
            "{sql}: {error}"
        );
    }
    assert!(!beside.exists());
    assert_eq!(std::fs::read(&database.0).unwrap(), before);
    assert_eq!(
        ask(&tool, "SELECT nope FROM flights").unwrap_err(),
        "no such column: nope"
    );
    assert_eq!(
        ask(&tool, "SELEC 1").unwrap_err(),
        "near \"SELEC\": syntax error"
    );
    assert_eq!(
        ask(&tool, "SELECT '\0'").unwrap_err(),
        "unrecognized token: \"'\""
    );
}

#[test]
fn limits_hold() {
    let database = Database::new("limits");
    let numbers = |n: u64| {
        format!(
            "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n LIMIT {n}) SELECT x FROM n"
        )
    };
    let tool = database.tool().with_max_rows(3);
    let found = ask(&tool, &numbers(1_000_000_000)).unwrap();
    assert_eq!(
        (&found["rows"], &found["truncated"]),
        (&json!([[1], [2], [3]]), &json!(true))
    );
    assert_eq!(ask(&tool, &numbers(3)).unwrap()["truncated"], false);
    let tool = database.tool().with_max_bytes(10);
    assert_eq!(ask(&tool, &numbers(9)).unwrap()["rows"], json!([[1], [2]]));
    let found = ask(&tool, "SELECT printf('%.*c', 1000, 'x')").unwrap();
    assert_eq!(
        found,
        json!({"columns": ["printf('%.*c', 1000, 'x')"], "rows": [], "truncated": true})
    );
    let error = ask(&tool, "SELECT zeroblob(1000000000)").unwrap_err();
    assert_eq!(error, "string or blob too big");
    let error = ask(&tool, &format!("SELECT 1 -- {}", "x".repeat(70_000))).unwrap_err();
    assert!(error.contains("too") || error.contains("large"), "{error}");

    let tool = database.tool().with_time_limit(Duration::from_millis(20));
    let error = ask(
        &tool,
        &format!("SELECT count(*) FROM ({})", numbers(1 << 50)),
    )
    .unwrap_err();
    assert_eq!(error, "the query took longer than 0.02 s; narrow it down");
}

#[test]
fn a_dropped_call_ends_its_query() {
    let database = Database::new("dropped");
    let tool = database.tool().with_name("dropped_sql");
    let tool = tool.with_time_limit(Duration::from_secs(3600));
    let sql =
        "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let arguments = json!({ "sql": sql }).to_string();
    let context = ToolContext::default();
    let threads = || {
        std::fs::read_dir("/proc/self/task").map_or(0, |d| {
            d.filter_map(Result::ok)
                .filter(|t| {
                    std::fs::read_to_string(t.path().join("comm"))
                        .is_ok_and(|c| c.trim() == "dropped_sql")
                })
                .count()
        })
    };
    let mut call = tool.call(&arguments, &context);
    assert!((&mut call).now_or_never().is_none());
    drop(call);
    let started = Instant::now();
    while threads() > 0 && started.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(threads(), 0);
}

#[test]
fn says_what_is_no_database() {
    let path = std::env::temp_dir().join(format!("ropewalk-none-{}.sqlite", std::process::id()));
    let error = SqliteLookup::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error.to_string().contains("unable to open database file"),
        "{error}"
    );
    assert!(!path.exists());
    std::fs::write(
        &path,
        "no database at all, but long enough to be looked at".repeat(30),
    )
    .unwrap();
    let error = SqliteLookup::open(&path).unwrap_err();
    assert!(error.to_string().contains("is not a database"), "{error}");
    std::fs::remove_file(&path).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_statement_changes_the_file(words in prop::collection::vec(prop::sample::select(vec![
        "SELECT", "*", "FROM", "flights", "DELETE", "INSERT", "INTO", "VALUES", "(1)", "UPDATE", "SET",
        "city", "=", "'x'", "CREATE", "TABLE", "t", "AS", "WITH", "PRAGMA", "user_version", "7", ";",
        "EXPLAIN", "DROP", "REPLACE", "RETURNING", "id", "BEGIN", "COMMIT", "(", ")", ",",
    ]), 0..10)) {
        let database = Database::new("random");
        let before = std::fs::read(&database.0).unwrap();
        let tool = database.tool();
        if let Ok(found) = ask(&tool, &words.join(" ")) {
            prop_assert!(found["rows"].is_array());
        }
        prop_assert!(std::fs::read(&database.0).unwrap() == before);
    }
}
