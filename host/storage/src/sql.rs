//! Ad-hoc questions in SQL to the structured store: one statement that only reads, on a connection of its own, with an
//! authorizer that lets nothing else through.

use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::hex;
use crate::series::Budget;
use crate::sqlite::{Database, READ_MAX};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Bytes of one statement.
pub const SQL_BYTES_MAX: usize = 100_000;
/// Rows of an answer when the question gives no limit.
pub const ROWS_DEFAULT: u64 = 1_000;
/// Rows of an answer.
pub const ROWS_MAX: u64 = 100_000;
/// Columns of an answer.
pub const COLUMNS_MAX: i32 = 200;
/// Bytes of one value, and of one row while it is made.
pub const VALUE_BYTES_MAX: i32 = 16 << 20;
/// Bytes of all values of an answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Steps of SQLite's virtual machine between two looks at the clock.
const STEPS_PER_CHECK: i32 = 10_000;
/// Nesting of an expression, and parts of a compound select.
const NESTING_MAX: i32 = 200;
/// Statements that are answered at once, each on a connection of its own beside the pool's.
pub const AT_ONCE_MAX: usize = 4;

/// How many statements are answered at this moment.
#[derive(Debug, Default)]
pub(crate) struct Desk(AtomicUsize);

/// A place at the desk, while it lives.
struct Seat<'a>(&'a Desk);

impl Desk {
    fn seat(&self) -> Result<Seat<'_>> {
        let seat = Seat(self);
        if self.0.fetch_add(1, Ordering::SeqCst) < AT_ONCE_MAX {
            return Ok(seat);
        }
        Err(Error::new(Kind::Busy, format!("{AT_ONCE_MAX} statements in SQL are answered at this moment"))
            .hint("try again when one of them is done"))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlQuery {
    pub sql: String,
    /// Rows at most; [`ROWS_DEFAULT`] by default, [`ROWS_MAX`] at most.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Rows in the order in which SQLite gave them. Blobs are `x'…'` in hex.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SqlAnswer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    /// There were more rows than the limit.
    pub truncated: bool,
}

/// Answers one statement that reads. Admin: it sees every table, but for what tokens are checked with.
///
/// A read lives as long as every other ([`READ_MAX`]), so that it cannot make the WAL grow.
pub(crate) fn ask(
    db: &Database,
    desk: &Desk,
    caller: &Caller,
    query: &SqlQuery,
    budget: &Budget,
) -> Result<SqlAnswer> {
    caller.require(Scope::Admin, "ask in SQL")?;
    let limit = query.limit.unwrap_or(ROWS_DEFAULT);
    if limit == 0 || limit > ROWS_MAX {
        return Err(Error::limit(
            "the rows of an answer",
            format!("1 to {ROWS_MAX}"),
            "ask for fewer, or export",
        ));
    }
    if query.sql.len() > SQL_BYTES_MAX {
        return Err(Error::limit("the statement", format!("{SQL_BYTES_MAX} bytes"), "shorten it"));
    }
    // SQLite would take it for the end, and answer half of what was asked.
    if query.sql.contains('\0') {
        return Err(Error::invalid("the statement has a NUL"));
    }
    let _seat = desk.seat()?;
    let mut connection = db.connection()?;
    guard(&mut connection, budget)?;
    run(&connection, &query.sql, limit).map_err(|e| match e.kind() {
        Kind::Timeout => budget.check().err().unwrap_or_else(|| {
            Error::new(Kind::Timeout, format!("the statement took longer than {READ_MAX:?}"))
                .hint("ask for less: a condition on an indexed column, a `LIMIT` in the innermost select")
        }),
        _ => e,
    })
}

/// What the connection may do from now on.
fn guard(connection: &mut Connection, budget: &Budget) -> Result<()> {
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, NESTING_MAX),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, NESTING_MAX),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
    ] {
        connection.set_limit(limit, value)?;
    }
    let end = Instant::now() + READ_MAX;
    let budget = budget.clone();
    connection
        .progress_handler(STEPS_PER_CHECK, Some(move || Instant::now() >= end || budget.check().is_err()))?;
    connection.authorizer(Some(allowed))?;
    Ok(())
}

/// Only what reads. `ATTACH`, `PRAGMA`, writes, transactions and functions that reach outside are refused.
fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        // What a token is checked against stays unread: the column is empty.
        AuthAction::Read { table_name: "tokens", column_name: "hash" } => Authorization::Ignore,
        AuthAction::Read { .. } => Authorization::Allow,
        AuthAction::Function { function_name: "load_extension" | "fts3_tokenizer" } => Authorization::Deny,
        AuthAction::Function { .. } => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn run(connection: &Connection, sql: &str, limit: u64) -> Result<SqlAnswer> {
    let mut statement = connection.prepare(sql).map_err(refused)?;
    if !statement.readonly() {
        return Err(
            Error::new(Kind::Denied, "the statement writes").hint("only statements that read are answered")
        );
    }
    if statement.parameter_count() > 0 {
        return Err(Error::invalid("the statement has parameters").hint("write the values into it"));
    }
    let columns: Vec<String> = statement.column_names().map(str::to_string).collect();
    if columns.is_empty() {
        return Err(
            Error::invalid("the statement asks for nothing").hint("such as `SELECT name FROM skills`")
        );
    }
    let mut answer = SqlAnswer { columns, rows: Vec::new(), truncated: false };
    let mut bytes = 0_usize;
    let mut rows = statement.query([]).map_err(refused)?;
    while let Some(row) = rows.next().map_err(refused)? {
        if answer.rows.len() as u64 == limit {
            answer.truncated = true;
            break;
        }
        let mut values = Vec::with_capacity(answer.columns.len());
        for column in 0..answer.columns.len() {
            let (value, size) = value(row.get_ref(column)?);
            bytes = bytes.saturating_add(size);
            values.push(value);
        }
        if bytes > ANSWER_BYTES_MAX {
            return Err(Error::limit(
                "the values of the answer",
                format!("{ANSWER_BYTES_MAX} bytes"),
                "ask for fewer columns or rows",
            ));
        }
        answer.rows.push(values);
    }
    Ok(answer)
}

/// A value as JSON has it, and the bytes that it takes. SQLite gives no NaN; an infinity has no form in JSON and is a text.
fn value(of: ValueRef<'_>) -> (Value, usize) {
    match of {
        ValueRef::Null => (Value::Null, 1),
        ValueRef::Integer(n) => (n.into(), 8),
        ValueRef::Real(x) => {
            (serde_json::Number::from_f64(x).map_or_else(|| x.to_string().into(), Value::Number), 8)
        }
        ValueRef::Text(text) => (String::from_utf8_lossy(text).into_owned().into(), text.len()),
        ValueRef::Blob(bytes) => (format!("x'{}'", hex::encode(bytes)).into(), bytes.len() * 2),
    }
}

/// What SQLite does not take is the asker's mistake; what it could not read is not.
fn refused(error: rusqlite::Error) -> Error {
    use rusqlite::{Error as E, ErrorCode as C};
    let denied = |said: &str| {
        Error::new(Kind::Denied, format!("the statement is refused: {said}"))
            .hint("a statement only reads the structured store: no writes, ATTACH, PRAGMA or transactions")
    };
    let mended = match &error {
        E::MultipleStatement => Error::invalid("there are several statements").hint("send one at a time"),
        E::Empty => {
            Error::invalid("the statement asks for nothing").hint("such as `SELECT name FROM skills`")
        }
        E::SqlInputError { error: cause, msg, offset, .. } => match cause.code {
            // An error of the statement itself: no table, no column, a word too many.
            C::Unknown if msg.starts_with("not authorized") => denied(msg),
            C::Unknown => Error::invalid(format!("{msg}, at byte {offset} of the statement"))
                .hint("`SELECT name, sql FROM sqlite_schema` shows the tables"),
            C::AuthorizationForStatementDenied => denied(msg),
            _ => return error.into(),
        },
        other => match other.sqlite_error_code() {
            Some(C::AuthorizationForStatementDenied) => denied(&other.to_string()),
            Some(C::TooBig) => {
                Error::limit("one value", format!("{VALUE_BYTES_MAX} bytes"), "ask for less of it")
            }
            Some(C::Unknown) => Error::invalid(other.to_string()),
            _ => return error.into(),
        },
    };
    mended.source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Options;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    const OP: Caller = Caller::Operator;

    fn db() -> (tempfile::TempDir, Arc<Database>) {
        let dir = tempfile::tempdir().unwrap();
        let db =
            Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap();
        db.write(|tx| {
            tx.execute(
                "INSERT INTO tokens(name, hash, scope, created_at) VALUES ('t', randomblob(32), 'read', 7)",
                [],
            )?;
            Ok(())
        })
        .unwrap();
        (dir, Arc::new(db))
    }

    fn asked(db: &Arc<Database>, sql: &str, limit: Option<u64>) -> Result<SqlAnswer> {
        ask(db, &Desk::default(), &OP, &SqlQuery { sql: sql.into(), limit }, &Budget::default())
    }

    #[test]
    fn every_type_of_value_has_a_form() {
        let (_dir, db) = db();
        let a = asked(&db, "SELECT 1 AS a, 2.5, 'ü', x'00ff', NULL, 1e999", None).unwrap();
        assert_eq!(a.columns[0], "a");
        assert_eq!(serde_json::to_string(&a.rows).unwrap(), r#"[[1,2.5,"ü","x'00ff'",null,"inf"]]"#);
        let invalid = asked(&db, "SELECT CAST(x'ff' AS TEXT)", None).unwrap();
        assert_eq!(invalid.rows[0][0], "\u{fffd}");
    }

    #[test]
    fn only_reading_is_let_through() {
        let (_dir, db) = db();
        for sql in [
            "DELETE FROM tokens",
            "INSERT INTO tokens(name, hash, scope, created_at) VALUES ('u', zeroblob(32), 'admin', 1)",
            "UPDATE tokens SET scope = 'admin'",
            "DROP TABLE audit",
            "CREATE TABLE x(a)",
            "CREATE TEMP TABLE x(a)",
            "ATTACH ':memory:' AS x",
            "DETACH main",
            "PRAGMA writable_schema = ON",
            "PRAGMA journal_mode",
            "BEGIN",
            "SAVEPOINT a",
            "VACUUM INTO '/tmp/x'",
            "REINDEX",
            "ANALYZE",
            "EXPLAIN DELETE FROM tokens",
            "SELECT load_extension('x')",
            "SELECT * FROM pragma_table_info('tokens')",
            "WITH x AS (SELECT 1) DELETE FROM tokens",
        ] {
            let e = asked(&db, sql, None).unwrap_err();
            assert!(matches!(e.kind(), Kind::Denied | Kind::Invalid), "{sql}: {e:?}");
        }
        assert_eq!(asked(&db, "SELECT count(*) FROM tokens", None).unwrap().rows[0][0], 1);
        let hidden = asked(&db, "SELECT name, hash FROM tokens", None).unwrap();
        assert_eq!(
            hidden.rows[0],
            [Value::from("t"), Value::Null],
            "what a token is checked with is not told"
        );
        assert_eq!(
            asked(&db, "SELECT * FROM (SELECT hash FROM tokens)", None).unwrap().rows[0][0],
            Value::Null
        );
        let counted = asked(&db, "SELECT count(*) FROM tokens WHERE hash IS NOT NULL", None).unwrap();
        assert_eq!(counted.rows[0][0], 0, "nor compared");
    }

    #[test]
    fn mistakes_are_the_askers() {
        let (_dir, db) = db();
        for (sql, says) in [
            ("SELEC 1", "syntax error"),
            ("SELECT * FROM nowhere", "no such table: nowhere"),
            ("SELECT 1; SELECT 2", "several statements"),
            ("", "asks for nothing"),
            ("-- nothing", "asks for nothing"),
            ("SELECT ?1", "parameters"),
            ("SELECT 1\0", "NUL"),
        ] {
            let e = asked(&db, sql, None).unwrap_err();
            assert_eq!(e.kind(), Kind::Invalid, "{sql}: {e:?}");
            assert!(e.message().contains(says), "{sql}: {e}");
        }
        let token = Caller::Token { id: 1, name: "t".into(), scope: Scope::Write };
        let one = SqlQuery { sql: "SELECT 1".into(), limit: None };
        let e = ask(&db, &Desk::default(), &token, &one, &Budget::default());
        assert_eq!(e.unwrap_err().kind(), Kind::Denied);
    }

    #[test]
    fn every_bound_holds() {
        let (_dir, db) = db();
        let many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        let a = asked(&db, many, None).unwrap();
        assert_eq!((a.rows.len() as u64, a.truncated), (ROWS_DEFAULT, true));
        let exact = asked(&db, &format!("{many} LIMIT 5"), Some(5)).unwrap();
        assert_eq!((exact.rows.len(), exact.truncated), (5, false));
        assert_eq!(asked(&db, many, Some(ROWS_MAX)).unwrap().rows.len() as u64, ROWS_MAX);
        for limit in [0, ROWS_MAX + 1] {
            assert_eq!(asked(&db, many, Some(limit)).unwrap_err().kind(), Kind::Limit, "{limit}");
        }
        let padded = |bytes: usize| format!("SELECT 1{}", " ".repeat(bytes - 8));
        assert!(asked(&db, &padded(SQL_BYTES_MAX), None).is_ok());
        assert_eq!(asked(&db, &padded(SQL_BYTES_MAX + 1), None).unwrap_err().kind(), Kind::Limit);
        let blob = |n: i32| asked(&db, &format!("SELECT length(zeroblob({n}))"), None);
        assert!(blob(VALUE_BYTES_MAX).is_ok());
        assert_eq!(blob(VALUE_BYTES_MAX + 1).unwrap_err().kind(), Kind::Limit);
        // 5 × 16 MiB, twice as long in hex.
        let large = asked(
            &db,
            &format!("SELECT zeroblob({VALUE_BYTES_MAX}) FROM (VALUES (1),(2),(3),(4),(5))"),
            None,
        );
        assert_eq!(large.unwrap_err().kind(), Kind::Limit);
        let deep = format!("SELECT {}1{}", "(-".repeat(1_000), ")".repeat(1_000));
        assert_eq!(asked(&db, &deep, None).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn a_statement_without_end_is_ended() {
        let (_dir, db) = db();
        let endless =
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let query = SqlQuery { sql: endless.into(), limit: None };
        let soon = Budget {
            deadline: Some(Instant::now() + std::time::Duration::from_millis(50)),
            ..Budget::default()
        };
        assert_eq!(ask(&db, &Desk::default(), &OP, &query, &soon).unwrap_err().kind(), Kind::Timeout);
        let cancelled = Budget { cancel: Some(Arc::new(AtomicBool::new(true))), ..Budget::default() };
        assert_eq!(ask(&db, &Desk::default(), &OP, &query, &cancelled).unwrap_err().kind(), Kind::Cancelled);
    }

    #[test]
    fn no_more_are_answered_at_once_than_there_are_places() {
        let (_dir, db) = db();
        let desk = Desk::default();
        let one =
            || ask(&db, &desk, &OP, &SqlQuery { sql: "SELECT 1".into(), limit: None }, &Budget::default());
        let mut seats: Vec<_> = (0..AT_ONCE_MAX).map(|_| desk.seat().unwrap()).collect();
        assert_eq!(one().unwrap_err().kind(), Kind::Busy);
        seats.pop();
        for _ in 0..2 * AT_ONCE_MAX {
            assert_eq!(one().unwrap().rows.len(), 1, "a place comes free with each answer");
        }
    }

    proptest! {
        /// Whatever is sent, the store is as it was and nothing panics.
        #[test]
        fn any_text_only_reads(sql in r#"(SELECT|DELETE FROM|DROP|PRAGMA|ATTACH|tokens|audit|\*|;|--|'|\(|\)| |[a-z0-9]|\PC){0,20}"#) {
            // Opened once: the property is that no case changes it.
            static DB: std::sync::OnceLock<(tempfile::TempDir, Arc<Database>)> = std::sync::OnceLock::new();
            let (_, db) = DB.get_or_init(db);
            let _ = asked(db, &sql, Some(10));
            prop_assert_eq!(asked(db, "SELECT count(*) FROM tokens", None).unwrap().rows[0][0].as_i64(), Some(1));
        }
    }
}
