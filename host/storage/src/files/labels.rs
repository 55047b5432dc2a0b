//! Labels: names such as `production` that stand for one version each. All that one ever stood for is kept.

use super::rows;
use super::store::{Access, FileStores, may, may_any};
use super::types::PAGE_MAX;
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::names::check_name;
use crate::schema::now_ns;
use crate::settings::Expect;
use crate::sqlite::Tx;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::Serialize;
use serde_json::json;

/// Bytes of the name of a label.
pub const LABEL_BYTES_MAX: usize = 64;
/// Labels of one store.
pub const LABELS_MAX: i64 = 10_000;

/// What a label stands for, or stood for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    pub store: String,
    pub label: String,
    /// From 1; each change is the next.
    pub revision: u64,
    /// `None`: the label was taken away.
    pub path: Option<String>,
    pub version: Option<u64>,
    /// Nanoseconds since the Unix epoch.
    pub set_at: i64,
    pub set_by: String,
}

fn read(r: &Row<'_>) -> rusqlite::Result<Label> {
    Ok(Label {
        store: r.get(0)?,
        label: r.get(1)?,
        revision: r.get::<_, i64>(2)?.unsigned_abs(),
        path: r.get(3)?,
        version: r.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs),
        set_at: r.get(5)?,
        set_by: r.get(6)?,
    })
}

fn newest(c: &Connection, store: &str, label: &str) -> Result<Option<Label>> {
    let mut statement = c.prepare_cached(
        "SELECT store, label, revision, path, version, set_at, set_by FROM file_label_changes
         WHERE store = ?1 AND label = ?2 ORDER BY revision DESC LIMIT 1",
    )?;
    Ok(statement.query_row((store, label), read).optional()?)
}

/// Refuses to take versions of a name away while one of them has a label.
pub(super) fn none_of(tx: &Tx<'_>, store: &str, path: &str) -> Result<()> {
    let held: Option<(String, i64)> = tx
        .prepare_cached("SELECT label, version FROM file_labels WHERE store = ?1 AND path = ?2 LIMIT 1")?
        .query_row((store, path), |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((label, version)) = held else { return Ok(()) };
    Err(Error::conflict(format!(
        "version {version} of `{store}/{path}` is what the label `{label}` stands for"
    ))
    .hint(format!("point the label elsewhere, or `shiphold files unlabel {store} {label}`")))
}

/// May a caller do this with a label? Of a plugin what it stands for decides, and is not named: it may be nothing that it may see.
fn may_label(caller: &Caller, access: Access, of: &Label) -> Result<()> {
    let Some(path) = &of.path else { return Ok(()) };
    may(caller, access, &of.store, path).map_err(|e| match caller {
        Caller::Plugin { name, .. } => {
            let (_, key) = access.needs();
            Error::denied(format!(
                "plugin `{name}` has no `{key}` grant for what the label `{}` of store `{}` stands for",
                of.label, of.store
            ))
            .hint(format!("add a pattern to `grants.{key}` of the plugin in shiphold.toml"))
        }
        _ => e,
    })
}

/// May a caller set labels of a store at all?
fn may_set(caller: &Caller, store: &str) -> Result<()> {
    match caller {
        Caller::Plugin { .. } => may_any(caller, Access::Write, store),
        other => other.require(Scope::Write, "set labels of files"),
    }
}

fn check(label: &str) -> Result<()> {
    check_name("label", label, LABEL_BYTES_MAX)
}

impl FileStores {
    /// Lets a label stand for a version, the newest without a number. [`crate::Kind::Conflict`] when it is not at what `expect`
    /// says; a label that was taken away is absent. Audited.
    pub fn set_label(
        &self,
        caller: &Caller,
        store: &str,
        label: &str,
        (path, version): (&str, Option<u64>),
        expect: Expect,
    ) -> Result<Label> {
        may_set(caller, store)?;
        check(label)?;
        if matches!(caller, Caller::Plugin { .. }) {
            may(caller, Access::Write, store, path)?;
        }
        let version = self.found(store, path, version)?.version;
        self.change(caller, store, label, Some((path, version)), expect)
    }

    /// Takes a label away; its history stays. Audited.
    pub fn remove_label(&self, caller: &Caller, store: &str, label: &str, expect: Expect) -> Result<Label> {
        may_set(caller, store)?;
        self.store(store)?;
        check(label)?;
        self.change(caller, store, label, None, expect)
    }

    fn change(
        &self,
        caller: &Caller,
        store: &str,
        label: &str,
        to: Option<(&str, u64)>,
        expect: Expect,
    ) -> Result<Label> {
        let write = |tx: &Tx<'_>| {
            let before = newest(tx, store, label)?;
            let revision = before.as_ref().map_or(0, |b| b.revision);
            let there = before.as_ref().filter(|b| b.path.is_some());
            // Before anything is said of it.
            there.map_or(Ok(()), |b| may_label(caller, Access::Write, b))?;
            match (expect, there) {
                (Expect::Absent, Some(b)) => {
                    return Err(Error::conflict(format!(
                        "the label `{label}` of store `{store}` is there, at revision {}",
                        b.revision
                    ))
                    .hint("read it and decide anew"));
                }
                (Expect::Revision(want), _) if want != revision => {
                    return Err(Error::conflict(format!(
                        "the label `{label}` of store `{store}` is at revision {revision}, not {want}"
                    ))
                    .hint("somebody else set it: read it again and decide anew"));
                }
                _ => {}
            }
            if to.is_none() && there.is_none() {
                return Err(none(store, label));
            }
            let new = Label {
                store: store.into(),
                label: label.into(),
                revision: revision + 1,
                path: to.map(|(path, _)| path.into()),
                version: to.map(|(_, version)| version),
                set_at: now_ns(),
                set_by: caller.actor(),
            };
            let (number, version) = (new.revision.cast_signed(), new.version.map(u64::cast_signed));
            tx.prepare_cached(
                "INSERT INTO file_label_changes(store, label, revision, path, version, set_at, set_by) VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?
            .execute((store, label, number, &new.path, version, new.set_at, &new.set_by))?;
            tx.prepare_cached("DELETE FROM file_labels WHERE store = ?1 AND label = ?2")?
                .execute((store, label))?;
            if let Some((path, number)) = to {
                let there: i64 = tx
                    .prepare_cached("SELECT count(*) FROM file_labels WHERE store = ?1")?
                    .query_row([store], |r| r.get(0))?;
                if there >= LABELS_MAX {
                    let what = format!("one more label of store `{store}`");
                    return Err(Error::limit(what, LABELS_MAX, "take some away"));
                }
                // It may have been purged since it was looked at.
                if rows::version(tx, store, path, number)?.is_none_or(|v| v.blake3.is_none()) {
                    return Err(Error::not_found(format!(
                        "there is no version {number} of `{store}/{path}`"
                    )));
                }
                tx.prepare_cached(
                    "INSERT INTO file_labels(store, label, revision, path, version, set_at, set_by) VALUES (?1,?2,?3,?4,?5,?6,?7)",
                )?
                .execute((store, label, new.revision.cast_signed(), path, version, new.set_at, &new.set_by))?;
            }
            let text = |l: &Label| l.path.as_ref().zip(l.version).map(|(path, v)| format!("{path}@{v}"));
            let action = if to.is_some() { "files.label" } else { "files.unlabel" };
            let entry = Entry::new(caller, action, format!("label:{store}/{label}"))
                .change(before.as_ref().and_then(text), text(&new))
                .detail(json!({ "revision": new.revision }));
            Audit::append(tx, &entry)?;
            Ok(new)
        };
        self.db.write(write)
    }

    /// What a label stands for now.
    pub fn label(&self, caller: &Caller, store: &str, label: &str) -> Result<Label> {
        may_any(caller, Access::Read, store)?;
        check(label)?;
        self.store(store)?;
        let found = self.db.read(|c| newest(c, store, label))?.filter(|l| l.path.is_some());
        let found = found.ok_or_else(|| none(store, label))?;
        may_label(caller, Access::Read, &found)?;
        Ok(found)
    }

    /// The labels of a store that stand for what the caller may read, by name, after one; at most [`PAGE_MAX`].
    pub fn labels(
        &self,
        caller: &Caller,
        store: &str,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Label>> {
        match caller {
            Caller::Plugin { .. } => may_any(caller, Access::Read, store)?,
            other => other.require(Scope::Read, "list labels of files")?,
        }
        self.store(store)?;
        let page = usize::try_from(limit.min(PAGE_MAX)).unwrap_or(usize::MAX);
        self.db.read(|c| {
            // There are no more than [`LABELS_MAX`].
            let mut statement = c.prepare_cached(
                "SELECT store, label, revision, path, version, set_at, set_by FROM file_labels
                 WHERE store = ?1 AND label > ?2 ORDER BY label",
            )?;
            let rows = statement.query_map((store, after.unwrap_or_default()), read)?;
            let seen =
                rows.filter(|row| row.as_ref().map_or(true, |l| may_label(caller, Access::Read, l).is_ok()));
            Ok(seen.take(page).collect::<rusqlite::Result<_>>()?)
        })
    }

    /// All that a label stood for, newest first, below `before` if it is given; at most [`PAGE_MAX`].
    pub fn label_history(
        &self,
        caller: &Caller,
        store: &str,
        label: &str,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Label>> {
        caller.require(Scope::Read, "list labels of files")?;
        self.store(store)?;
        check(label)?;
        let before = before.map_or(i64::MAX, |b| i64::try_from(b).unwrap_or(i64::MAX));
        let all: Vec<Label> = self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT store, label, revision, path, version, set_at, set_by FROM file_label_changes
                 WHERE store = ?1 AND label = ?2 AND revision < ?3 ORDER BY revision DESC LIMIT ?4",
            )?;
            let limit = limit.min(PAGE_MAX).cast_signed();
            let rows = statement.query_map((store, label, before, limit), read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })?;
        if all.is_empty() && self.db.read(|c| newest(c, store, label))?.is_none() {
            return Err(none(store, label));
        }
        Ok(all)
    }
}

fn none(store: &str, label: &str) -> Error {
    Error::not_found(format!("store `{store}` has no label `{label}`"))
        .hint(format!("`shiphold files labels {store}` shows those that there are"))
}
