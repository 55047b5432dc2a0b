//! What the host remembers of plugins: whether they are enabled, their failures in a row, and their runs.

use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::Database;
use rusqlite::OptionalExtension;
use serde::Serialize;
use std::sync::Arc;

/// Runs kept of each plugin.
pub const RUNS_KEPT: i64 = 1_000;
/// Log lines kept of one run, and bytes kept of one line.
pub const LOG_LINES_KEPT: usize = 1_000;
pub const LOG_LINE_BYTES_KEPT: usize = 4 << 10;

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    pub ok: bool,
    pub error: Option<String>,
    pub duration_ms: u64,
    pub memory_peak_bytes: u64,
    /// Instructions, where fuel is metered.
    pub fuel: Option<u64>,
    /// Actions proposed.
    pub actions: u64,
    pub log: Vec<String>,
    /// It ended for a reason that is not the plugin's own, such as a host without room: it counts neither way.
    pub blameless: bool,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    pub id: i64,
    pub plugin: String,
    /// `operator`, `schedule`, `catch-up`, `retry`.
    pub trigger: String,
    pub dry_run: bool,
    /// `running`, `ok`, `failed`, `interrupted`.
    pub state: String,
    /// Nanoseconds since the Unix epoch.
    pub started_at: i64,
    pub duration_ms: Option<i64>,
    pub memory_peak_bytes: Option<i64>,
    pub fuel: Option<i64>,
    pub actions: Option<i64>,
    pub error: Option<String>,
    pub log: Vec<String>,
}

/// What is remembered between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct State {
    pub enabled: bool,
    /// Failed runs in a row.
    pub failures: u32,
    /// Scheduled runs skipped because one was still going on.
    pub skipped: u32,
    /// When the last scheduled run was due, in nanoseconds.
    pub last_due: Option<i64>,
}

impl Default for State {
    fn default() -> Self {
        Self { enabled: true, failures: 0, skipped: 0, last_due: None }
    }
}

/// The plugins' part of a database. Written on a read-only disk too: retention runs as a plugin, and makes room.
#[derive(Debug)]
pub struct PluginRuns {
    db: Arc<Database>,
}

impl PluginRuns {
    pub fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Runs that a crash cut off are said to be interrupted. Called once, when the folder's lock is held.
    pub fn mark_interrupted(&self) -> Result<usize> {
        let any: Option<i64> = self.db.read(|c| {
            Ok(c.query_row("SELECT id FROM plugin_runs WHERE state = 'running' LIMIT 1", [], |r| r.get(0))
                .optional()?)
        })?;
        if any.is_none() {
            return Ok(0);
        }
        self.db.write_always(|tx| {
            Ok(tx.execute("UPDATE plugin_runs SET state = 'interrupted', error = 'the host ended during the run' WHERE state = 'running'", [])?)
        })
    }

    /// Notes that a run begins; its id.
    pub fn begin(&self, plugin: &str, trigger: &str, dry_run: bool) -> Result<i64> {
        self.db.write_always(|tx| {
            tx.prepare_cached("INSERT INTO plugin_runs(plugin, trigger, dry_run, state, started_at) VALUES (?1, ?2, ?3, 'running', ?4)")?
                .execute((plugin, trigger, dry_run, now_ns()))?;
            let id = tx.last_insert_rowid();
            tx.prepare_cached(
                "DELETE FROM plugin_runs WHERE plugin = ?1 AND id <= coalesce(
                     (SELECT id FROM plugin_runs WHERE plugin = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2), 0)",
            )?
            .execute((plugin, RUNS_KEPT))?;
            Ok(id)
        })
    }

    /// Notes how a run ended; the failures in a row after it. A dry run counts neither way, nor does a run that nobody can blame.
    pub fn finish(&self, id: i64, outcome: &Outcome) -> Result<u32> {
        let mut log: Vec<String> = outcome.log.iter().take(LOG_LINES_KEPT).map(|l| cut(l)).collect();
        if outcome.log.len() > LOG_LINES_KEPT {
            log.push(format!("… {} more lines were not kept", outcome.log.len() - LOG_LINES_KEPT));
        }
        let int = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        self.db.write_always(|tx| {
            let changed = tx.execute(
                "UPDATE plugin_runs SET state = ?2, error = ?3, duration_ms = ?4, memory_peak = ?5, fuel = ?6, actions = ?7, log = ?8
                 WHERE id = ?1 AND state = 'running'",
                (
                    id,
                    if outcome.ok { "ok" } else { "failed" },
                    &outcome.error,
                    int(outcome.duration_ms),
                    int(outcome.memory_peak_bytes),
                    outcome.fuel.map(int),
                    int(outcome.actions),
                    serde_json::Value::from(log).to_string(),
                ),
            )?;
            if changed == 0 {
                return Err(Error::not_found(format!("there is no running run {id}")));
            }
            let (plugin, dry_run): (String, bool) =
                tx.query_row("SELECT plugin, dry_run FROM plugin_runs WHERE id = ?1", [id], |r| Ok((r.get(0)?, r.get(1)?)))?;
            if !dry_run && !outcome.blameless {
                tx.execute(
                    "INSERT INTO plugin_state(name, failures) VALUES (?1, ?2)
                     ON CONFLICT(name) DO UPDATE SET failures = CASE WHEN ?2 = 0 THEN 0 ELSE failures + 1 END",
                    (&plugin, u32::from(!outcome.ok)),
                )?;
            }
            Ok(tx
                .query_row("SELECT failures FROM plugin_state WHERE name = ?1", [&plugin], |r| r.get(0))
                .optional()?
                .unwrap_or(0))
        })
    }

    /// Runs, newest first.
    pub fn list(&self, caller: &Caller, plugin: &str, limit: u64) -> Result<Vec<Run>> {
        caller.require(Scope::Read, "list runs")?;
        let limit = i64::try_from(limit).unwrap_or(RUNS_KEPT).min(RUNS_KEPT);
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT id, plugin, trigger, dry_run, state, started_at, duration_ms, memory_peak, fuel, actions, error, log
                 FROM plugin_runs WHERE plugin = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map((plugin, limit), |r| {
                let log: Option<String> = r.get(11)?;
                Ok(Run {
                    id: r.get(0)?,
                    plugin: r.get(1)?,
                    trigger: r.get(2)?,
                    dry_run: r.get(3)?,
                    state: r.get(4)?,
                    started_at: r.get(5)?,
                    duration_ms: r.get(6)?,
                    memory_peak_bytes: r.get(7)?,
                    fuel: r.get(8)?,
                    actions: r.get(9)?,
                    error: r.get(10)?,
                    log: log.and_then(|l| serde_json::from_str(&l).ok()).unwrap_or_default(),
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// What is remembered of a plugin; the default for one never seen.
    pub fn state(&self, plugin: &str) -> Result<State> {
        self.db.read(|c| {
            Ok(c.prepare_cached(
                "SELECT enabled, failures, skipped, last_due FROM plugin_state WHERE name = ?1",
            )?
            .query_row([plugin], |r| {
                Ok(State { enabled: r.get(0)?, failures: r.get(1)?, skipped: r.get(2)?, last_due: r.get(3)? })
            })
            .optional()?
            .unwrap_or_default())
        })
    }

    /// Enables a plugin and forgets its failures, or disables it; audited with the reason.
    pub fn set_enabled(&self, caller: &Caller, plugin: &str, enabled: bool, reason: &str) -> Result<()> {
        caller.require(Scope::Admin, "enable or disable plugins")?;
        self.db.write_always(|tx| {
            tx.execute(
                "INSERT INTO plugin_state(name, enabled) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET enabled = ?2, failures = CASE WHEN ?2 THEN 0 ELSE failures END",
                (plugin, enabled),
            )?;
            let action = if enabled { "plugins.enable" } else { "plugins.disable" };
            Audit::append(tx, &Entry::new(caller, action, format!("plugin:{plugin}")).detail(serde_json::json!({ "reason": reason })))?;
            Ok(())
        })
    }

    /// Notes when a scheduled run was due, for catching up after the host was down.
    pub fn set_last_due(&self, plugin: &str, due_ns: i64) -> Result<()> {
        self.db.write_always(|tx| {
            tx.execute(
                "INSERT INTO plugin_state(name, last_due) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET last_due = ?2",
                (plugin, due_ns),
            )?;
            Ok(())
        })
    }

    /// Counts a scheduled run that did not start because another was going on.
    pub fn count_skipped(&self, plugin: &str) -> Result<()> {
        self.db.write_always(|tx| {
            tx.execute(
                "INSERT INTO plugin_state(name, skipped) VALUES (?1, 1) ON CONFLICT(name) DO UPDATE SET skipped = skipped + 1",
                [plugin],
            )?;
            Ok(())
        })
    }
}

/// A line cut to its bound at a character's boundary.
fn cut(line: &str) -> String {
    if line.len() <= LOG_LINE_BYTES_KEPT {
        return line.to_string();
    }
    let end = (0..=LOG_LINE_BYTES_KEPT).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", line.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Options;

    const OP: Caller = Caller::Operator;

    fn runs() -> (tempfile::TempDir, Arc<Database>, PluginRuns) {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(
            Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
        );
        (dir, db.clone(), PluginRuns::new(db))
    }

    #[test]
    fn failures_in_a_row_are_counted_and_forgotten() {
        let (_dir, _db, r) = runs();
        let end = |ok, dry| {
            let id = r.begin("p", "schedule", dry).unwrap();
            r.finish(id, &Outcome { ok, error: (!ok).then(|| "trap".into()), ..Outcome::default() }).unwrap()
        };
        assert_eq!((end(false, false), end(false, false), end(false, true)), (1, 2, 2));
        assert_eq!(end(true, false), 0);
        assert_eq!(end(false, false), 1);
        r.set_enabled(&OP, "p", false, "five failures in a row").unwrap();
        assert_eq!(r.state("p").unwrap(), State { enabled: false, failures: 1, ..State::default() });
        r.set_enabled(&OP, "p", true, "mended").unwrap();
        assert_eq!(r.state("p").unwrap(), State::default());
        let list = r.list(&OP, "p", 2).unwrap();
        assert_eq!(list.iter().map(|x| x.state.as_str()).collect::<Vec<_>>(), ["failed", "ok"]);
        assert_eq!(list[0].error.as_deref(), Some("trap"));
    }

    #[test]
    fn a_run_that_a_crash_cut_off_is_said_to_be_interrupted() {
        let (_dir, _db, r) = runs();
        let id = r.begin("p", "operator", false).unwrap();
        assert_eq!(r.mark_interrupted().unwrap(), 1);
        assert_eq!(r.list(&OP, "p", 1).unwrap()[0].state, "interrupted");
        assert!(r.finish(id, &Outcome::default()).is_err());
        assert_eq!(r.mark_interrupted().unwrap(), 0);
    }

    #[test]
    fn the_history_and_the_log_have_bounds() {
        let (_dir, db, r) = runs();
        db.write(|tx| {
            for _ in 0..RUNS_KEPT + 10 {
                tx.execute("INSERT INTO plugin_runs(plugin, trigger, dry_run, state, started_at) VALUES ('p', 'x', 0, 'ok', 0)", [])?;
            }
            Ok(())
        })
        .unwrap();
        let id = r.begin("p", "operator", false).unwrap();
        let log = vec!["ä".repeat(LOG_LINE_BYTES_KEPT); LOG_LINES_KEPT + 5];
        r.finish(id, &Outcome { ok: true, log, ..Outcome::default() }).unwrap();
        let list = r.list(&OP, "p", 10_000).unwrap();
        assert_eq!(list.len(), usize::try_from(RUNS_KEPT).unwrap());
        assert_eq!(list[0].log.len(), LOG_LINES_KEPT + 1);
        assert!(list[0].log[0].len() <= LOG_LINE_BYTES_KEPT + 4);
        assert!(list[0].log[LOG_LINES_KEPT].contains("5 more"));
    }

    #[test]
    fn schedules_are_remembered() {
        let (_dir, _db, r) = runs();
        r.set_last_due("p", 7).unwrap();
        r.count_skipped("p").unwrap();
        r.count_skipped("p").unwrap();
        assert_eq!(r.state("p").unwrap(), State { last_due: Some(7), skipped: 2, ..State::default() });
    }
}
