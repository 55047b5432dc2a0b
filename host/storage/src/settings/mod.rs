//! Settings: namespaces of typed JSON values with revisions, compare-and-set and schemas, read as of a time, and followed.

mod feed;
mod rules;
mod schemas;
#[cfg(test)]
mod tests;

pub use feed::{FEED_PAGE_MAX, SettingChange};
pub use rules::{NAME_BYTES_MAX, VALUE_BYTES_MAX};
pub use schemas::{SCHEMA_BYTES_MAX, SettingSchema};

use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::changes::tell_newest;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::{Database, Kept, Noun, Source, Tx, bytes_of_json};
use rules::{check_name, check_value};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Revisions or keys in one answer.
pub const PAGE_MAX: u64 = 10_000;
/// Keys that change together.
pub const CHANGES_MAX: usize = 1_000;

/// One key at one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub namespace: String,
    pub key: String,
    /// From 1; every change adds one.
    pub revision: u64,
    /// `None`: this revision says that the key was deleted.
    pub value: Option<Value>,
    /// Nanoseconds since the Unix epoch; a later change has a later time, also where the clock was set back.
    pub changed_at: i64,
    pub changed_by: String,
}

/// What must hold for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Whatever is there.
    #[default]
    Any,
    /// The key must not exist.
    Absent,
    /// The key must be at this revision.
    Revision(u64),
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingWrite {
    pub namespace: String,
    pub key: String,
    /// `None`: the key is deleted. JSON's `null` is a value: it is `Some(Value::Null)`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    #[serde(default)]
    pub expect: Expect,
}

/// A key that is there has a value, `null` too.
fn given<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// The settings of a database.
#[derive(Debug)]
pub struct Settings {
    db: Arc<Database>,
    /// Number of the last change that was committed, for those who follow.
    last: watch::Sender<i64>,
}

impl Settings {
    pub fn new(db: Arc<Database>) -> Self {
        Self { db, last: watch::Sender::new(0) }
    }

    /// The value of a key, now or as it was `at` a time in nanoseconds. [`crate::Kind::NotFound`] when it has none.
    pub fn get(&self, caller: &Caller, namespace: &str, key: &str, at: Option<i64>) -> Result<Setting> {
        caller.may_read_settings(namespace)?;
        let there = |c: &Connection| {
            as_of(c, namespace, key, at)?.filter(|s| s.value.is_some()).ok_or_else(|| {
                let when = if at.is_some() { " at that time" } else { "" };
                Error::not_found(format!(
                    "setting `{}/{}` does not exist{when}",
                    namespace.escape_debug(),
                    key.escape_debug()
                ))
                .hint(format!("`shiphold settings list {namespace}` shows what does"))
            })
        };
        // What was is read seldom, and is many values.
        if at.is_some() {
            return self.db.read(there);
        }
        let sources = || vec![Source::setting(namespace, key)];
        self.db.value(&kept_as(namespace, key), |c| Ok((there(c)?, sources()))).map(Arc::unwrap_or_clone)
    }

    /// Sets a key; audited.
    pub fn set(
        &self,
        caller: &Caller,
        namespace: &str,
        key: &str,
        value: Value,
        expect: Expect,
    ) -> Result<Setting> {
        let write = SettingWrite { namespace: namespace.into(), key: key.into(), value: Some(value), expect };
        self.one(caller, write)
    }

    /// Deletes a key: a revision without a value. Its history stays.
    pub fn delete(&self, caller: &Caller, namespace: &str, key: &str, expect: Expect) -> Result<Setting> {
        self.one(caller, SettingWrite { namespace: namespace.into(), key: key.into(), value: None, expect })
    }

    fn one(&self, caller: &Caller, write: SettingWrite) -> Result<Setting> {
        self.change(caller, std::slice::from_ref(&write))?
            .pop()
            .ok_or_else(|| Error::internal("a setting was changed without a revision"))
    }

    /// Makes all of `writes` or none, each key once; every reader sees all of them or none. Audited one by one.
    pub fn change(&self, caller: &Caller, writes: &[SettingWrite]) -> Result<Vec<Setting>> {
        Self::check(caller, writes)?;
        // Deletions alone are allowed on a read-only disk.
        let work = |tx: &Tx<'_>| Self::apply(tx, caller, writes);
        let made = match writes.iter().all(|w| w.value.is_none()) {
            true => self.db.write_always(work),
            false => self.db.write(work),
        }?;
        self.told()?;
        Ok(made)
    }

    /// What can be said of writes before the transaction.
    pub(crate) fn check(caller: &Caller, writes: &[SettingWrite]) -> Result<()> {
        if !matches!(caller, Caller::Plugin { .. }) {
            caller.require(Scope::Write, "change settings")?;
        }
        if writes.len() > CHANGES_MAX {
            return Err(Error::limit(
                format!("{} changes of settings at once", writes.len()),
                CHANGES_MAX,
                "make them in several requests",
            ));
        }
        let mut keys = BTreeSet::new();
        for w in writes {
            check_name("namespace", &w.namespace)?;
            check_name("key", &w.key)?;
            caller.may_write_settings(&w.namespace)?;
            if let Some(value) = &w.value {
                check_value(&w.namespace, &w.key, value)?;
            }
            if !keys.insert((&w.namespace, &w.key)) {
                return Err(Error::invalid(format!("setting `{}/{}` is changed twice", w.namespace, w.key)));
            }
        }
        Ok(())
    }

    /// Makes the changes inside of a transaction; [`Settings::told`] comes after its commit.
    pub(crate) fn apply(tx: &Tx<'_>, caller: &Caller, writes: &[SettingWrite]) -> Result<Vec<Setting>> {
        // Reads as of a time go by the time: it never goes back.
        let latest: i64 = tx
            .prepare_cached("SELECT coalesce(max(changed_at), 0) FROM setting_revisions")?
            .query_row([], |r| r.get(0))?;
        let at = now_ns().max(latest.saturating_add(1));
        writes.iter().map(|w| apply_one(tx, caller, w, at)).collect()
    }

    /// Tells those who follow that something was committed.
    pub(crate) fn told(&self) -> Result<()> {
        tell_newest(&self.last, || self.last_change())
    }

    /// The keys of a namespace that have a value, or had one `at` a time, in order, those after a key.
    pub fn list(
        &self,
        caller: &Caller,
        namespace: &str,
        after: Option<&str>,
        at: Option<i64>,
    ) -> Result<Vec<Setting>> {
        caller.may_read_settings(namespace)?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT namespace, key, max(revision), value, changed_at, changed_by FROM setting_revisions
                 WHERE namespace = ?1 AND key > ?2 AND changed_at <= ?3
                 GROUP BY key HAVING value IS NOT NULL ORDER BY key LIMIT ?4",
            )?;
            let (after, at) = (after.unwrap_or_default(), at.unwrap_or(i64::MAX));
            let rows = statement.query_map((namespace, after, at, PAGE_MAX.cast_signed()), read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The revisions of a key, newest first, those below `before` if it is given.
    pub fn history(
        &self,
        caller: &Caller,
        namespace: &str,
        key: &str,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Setting>> {
        caller.may_read_settings(namespace)?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT namespace, key, revision, value, changed_at, changed_by FROM setting_revisions
                 WHERE namespace = ?1 AND key = ?2 AND revision < ?3 ORDER BY revision DESC LIMIT ?4",
            )?;
            let before = before.map_or(i64::MAX, u64::cast_signed);
            let rows =
                statement.query_map((namespace, key, before, limit.min(PAGE_MAX).cast_signed()), read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The namespaces that hold a key, in order.
    pub fn namespaces(&self, caller: &Caller) -> Result<Vec<String>> {
        caller.require(Scope::Read, "list namespaces")?;
        self.db.read(|c| {
            // From one to the next: keys and their revisions are many, namespaces are few.
            let mut statement = c.prepare_cached(
                "WITH RECURSIVE names(name) AS (
                     SELECT min(namespace) FROM setting_revisions
                     UNION ALL
                     SELECT (SELECT min(namespace) FROM setting_revisions WHERE namespace > names.name)
                     FROM names WHERE names.name IS NOT NULL
                 )
                 SELECT name FROM names WHERE name IS NOT NULL LIMIT ?1",
            )?;
            let rows = statement.query_map([PAGE_MAX.cast_signed()], |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

impl Kept for Setting {
    const NOUN: Noun = Noun::Settings;

    fn bytes(&self) -> usize {
        let texts = self.namespace.len() + self.key.len() + self.changed_by.len();
        size_of::<Self>() + texts + self.value.as_ref().map_or(0, bytes_of_json)
    }
}

/// The namespace with its length before it: both may have any character.
fn kept_as(namespace: &str, key: &str) -> Vec<u8> {
    [(namespace.len() as u64).to_le_bytes().as_slice(), namespace.as_bytes(), key.as_bytes()].concat()
}

fn apply_one(tx: &Tx<'_>, caller: &Caller, write: &SettingWrite, at: i64) -> Result<Setting> {
    let SettingWrite { namespace, key, value, expect } = write;
    let old = as_of(tx, namespace, key, None)?;
    let there = old.as_ref().filter(|s| s.value.is_some());
    let revision = old.as_ref().map_or(0, |s| s.revision);
    match (expect, there) {
        (Expect::Absent, Some(s)) => {
            return Err(Error::conflict(format!(
                "setting `{namespace}/{key}` exists, at revision {}",
                s.revision
            )));
        }
        (Expect::Revision(want), _) if *want != revision => {
            return Err(Error::conflict(format!(
                "setting `{namespace}/{key}` is at revision {revision}, not {want}"
            ))
            .hint("read it again and decide anew"));
        }
        _ => {}
    }
    match value {
        None if there.is_none() => {
            return Err(Error::not_found(format!("setting `{namespace}/{key}` does not exist")));
        }
        None => {}
        Some(value) => schemas::fits(tx, namespace, key, value)?,
    }
    let new = Setting {
        namespace: namespace.clone(),
        key: key.clone(),
        revision: revision + 1,
        value: value.clone(),
        changed_at: at,
        changed_by: caller.actor(),
    };
    let row = (namespace, key, new.revision.cast_signed());
    tx.prepare_cached(
        "INSERT INTO setting_revisions(namespace, key, revision, value, changed_at, changed_by) VALUES (?1,?2,?3,?4,?5,?6)",
    )?
    .execute((row.0, row.1, row.2, new.value.as_ref().map(Value::to_string), new.changed_at, &new.changed_by))?;
    tx.touches(Source::setting(namespace, key));
    tx.prepare_cached("INSERT INTO setting_changes(namespace, key, revision) VALUES (?1, ?2, ?3)")?
        .execute(row)?;
    let action = if new.value.is_some() { "settings.set" } else { "settings.delete" };
    let entry = Entry::new(caller, action, format!("setting:{namespace}/{key}"))
        .change(there.and_then(|s| digest(s.value.as_ref())), digest(new.value.as_ref()))
        .detail(json!({ "revision": new.revision }));
    Audit::append(tx, &entry)?;
    Ok(new)
}

/// A key at its newest revision, or at the newest that it had at a time.
fn as_of(c: &Connection, namespace: &str, key: &str, at: Option<i64>) -> Result<Option<Setting>> {
    Ok(c.prepare_cached(
        "SELECT namespace, key, revision, value, changed_at, changed_by FROM setting_revisions
         WHERE namespace = ?1 AND key = ?2 AND changed_at <= ?3 ORDER BY revision DESC LIMIT 1",
    )?
    .query_row((namespace, key, at.unwrap_or(i64::MAX)), read)
    .optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Setting> {
    let value: Option<String> = row.get(3)?;
    Ok(Setting {
        namespace: row.get(0)?,
        key: row.get(1)?,
        revision: row.get::<_, i64>(2)?.unsigned_abs(),
        value: value.map(|v| serde_json::from_str(&v).unwrap_or(Value::String(v))),
        changed_at: row.get(4)?,
        changed_by: row.get(5)?,
    })
}

fn digest(value: Option<&Value>) -> Option<String> {
    value.map(|v| blake3::hash(v.to_string().as_bytes()).to_hex().to_string())
}
