//! Numbered, forward-only migrations: each in a transaction, its text checksummed, a backup taken before the
//! first that changes a database with data in it, unless that is too large to be copied without being asked for.

use crate::error::{Error, Kind, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A larger database is not copied before it is migrated: the copy would take minutes, and room that may not be there.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: u32,
    pub name: &'static str,
    pub sql: &'static str,
    /// What SQL cannot do; in the transaction of the text, after it.
    pub then: Option<fn(&Connection) -> Result<()>>,
}

/// A migration, and whether a database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    pub number: u32,
    pub name: String,
    /// Seconds since the Unix epoch.
    pub applied_at: Option<i64>,
    /// It was applied with another text than this binary has.
    pub changed: bool,
}

impl Migration {
    /// Not applied.
    pub(crate) fn state(&self) -> MigrationState {
        MigrationState { number: self.number, name: self.name.into(), applied_at: None, changed: false }
    }

    pub const fn new(number: u32, name: &'static str, sql: &'static str) -> Self {
        Self { number, name, sql, then: None }
    }
    pub const fn then(mut self, f: fn(&Connection) -> Result<()>) -> Self {
        self.then = Some(f);
        self
    }
    fn checksum(&self) -> String {
        blake3::hash(self.sql.as_bytes()).to_hex().to_string()
    }
}

/// Which of `migrations` a database has.
pub(crate) fn states(
    connection: &Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<Vec<MigrationState>> {
    let place = |e: rusqlite::Error| Error::from(e).context(path.display());
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_migrations'";
    if connection.query_row(table, [], |r| r.get::<_, i64>(0)).map_err(place)? == 0 {
        return Ok(migrations.iter().map(Migration::state).collect());
    }
    migrations
        .iter()
        .map(|m| {
            let applied: Option<(String, i64)> = connection
                .query_row(
                    "SELECT checksum, applied_at FROM schema_migrations WHERE number = ?1",
                    [m.number],
                    |r| Ok((r.get(0)?, r.get(1)?)),
                )
                .optional()
                .map_err(place)?;
            Ok(match applied {
                None => m.state(),
                Some((checksum, at)) => {
                    MigrationState { applied_at: Some(at), changed: checksum != m.checksum(), ..m.state() }
                }
            })
        })
        .collect()
}

/// Brings a database to the newest of `migrations`.
pub(super) fn run(connection: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<()> {
    if migrations.is_empty() {
        return Ok(());
    }
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations(
             number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
         ) STRICT",
    )?;
    refuse_unknown(connection, path, migrations)?;
    let newest = newest(migrations);
    let there: Option<u32> =
        connection.query_row("SELECT max(number) FROM schema_migrations", [], |r| r.get(0))?;
    if let Some(n) = there.filter(|n| *n < newest) {
        copy_before(connection, &backup_path(path, n + 1), COPY_BYTES_MAX)?;
    }
    for m in migrations {
        step(connection, path, m)?;
    }
    Ok(())
}

fn newest(migrations: &[Migration]) -> u32 {
    migrations.iter().map(|m| m.number).max().unwrap_or(0)
}

/// [`Kind::Incompatible`]: a newer version wrote the database, or another build with migrations of another text.
pub(crate) fn refuse_unknown(connection: &Connection, path: &Path, migrations: &[Migration]) -> Result<()> {
    let states = states(connection, path, migrations)?;
    if states.iter().any(|s| s.applied_at.is_some()) {
        let there: u32 =
            connection.query_row("SELECT max(number) FROM schema_migrations", [], |r| r.get(0))?;
        let newest = newest(migrations);
        if there > newest {
            return Err(Error::new(
                Kind::Incompatible,
                format!(
                    "{} was written by a newer version: it is at migration {there}, this binary knows {newest}",
                    path.display(),
                ),
            )
            .hint("install the newer version, or restore a backup that this one wrote"));
        }
    }
    match states.iter().find(|s| s.changed) {
        None => Ok(()),
        Some(s) => Err(other_text(path, s.number, &s.name)),
    }
}

fn place(path: &Path, number: u32, name: &str) -> String {
    format!("migration {number:04} `{name}` of {}", path.display())
}

fn other_text(path: &Path, number: u32, name: &str) -> Error {
    Error::new(
        Kind::Incompatible,
        format!("{} was applied with another text than this binary has", place(path, number, name)),
    )
    .hint("this database belongs to another build; use that one, or restore a backup")
}

fn step(connection: &mut Connection, path: &Path, m: &Migration) -> Result<()> {
    let place = || place(path, m.number, m.name);
    // Two processes could come here at once; the second finds the work done.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let applied: Option<String> = tx
        .query_row("SELECT checksum FROM schema_migrations WHERE number = ?1", [m.number], |r| r.get(0))
        .optional()?;
    match applied {
        Some(checksum) if checksum == m.checksum() => return Ok(()),
        Some(_) => return Err(other_text(path, m.number, m.name)),
        None => {}
    }
    tx.execute_batch(m.sql).map_err(|e| Error::from(e).context(place()))?;
    m.then.map_or(Ok(()), |f| f(&tx)).map_err(|e| e.context(place()))?;
    tx.execute(
        "INSERT INTO schema_migrations(number, name, checksum, applied_at) VALUES (?1, ?2, ?3, unixepoch())",
        (m.number, m.name, m.checksum()),
    )?;
    tx.commit().map_err(|e| Error::from(e).context(place()))?;
    tracing::info!(migration = m.number, name = m.name, "applied");
    Ok(())
}

/// `shiphold.db.before-0002`
fn backup_path(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".before-{number:04}"));
    path.with_file_name(name)
}

/// A database that is damaged somewhere cannot be copied whole, and must open all the same.
pub(super) fn copy_before(connection: &Connection, to: &Path, bytes_max: u64) -> Result<()> {
    let number = |pragma| connection.query_row(pragma, [], |r| r.get::<_, i64>(0)).map(i64::cast_unsigned);
    let bytes = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    if bytes > bytes_max {
        tracing::warn!("{bytes} bytes are migrated without the copy {}", to.display());
        return Ok(());
    }
    match back_up(connection, to) {
        Err(e) if e.kind() == Kind::Corrupt => {
            tracing::error!("migrated without a copy: {e}");
            Ok(())
        }
        other => other,
    }
}

fn back_up(connection: &Connection, to: &Path) -> Result<()> {
    // A copy that a crash left half is not trusted: it is made anew.
    match std::fs::remove_file(to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(to.display(), e)),
        _ => {}
    }
    let text = to.to_str().ok_or_else(|| Error::invalid(format!("{} is not UTF-8", to.display())))?;
    connection
        .execute("VACUUM INTO ?1", [text])
        .map_err(|e| Error::from(e).context(format!("backup before migrating, {}", to.display())))?;
    Ok(())
}
