//! Settings: namespaces of typed JSON values with revisions and compare-and-set.

use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::Database;
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of a value as JSON.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a namespace or a key.
pub const NAME_BYTES_MAX: usize = 128;
/// Revisions or keys in one answer.
pub const PAGE_MAX: u64 = 10_000;

/// One key at one revision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    pub namespace: String,
    pub key: String,
    /// From 1; every change adds one.
    pub revision: u64,
    /// `None`: this revision says that the key was deleted.
    pub value: Option<Value>,
    /// Nanoseconds since the Unix epoch.
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

/// The settings of a database.
#[derive(Debug)]
pub struct Settings {
    db: Arc<Database>,
}

impl Settings {
    pub fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// The value of a key. [`crate::Kind::NotFound`] when it has none.
    pub fn get(&self, caller: &Caller, namespace: &str, key: &str) -> Result<Setting> {
        caller.may_read_settings(namespace)?;
        self.db.read(|c| newest(c, namespace, key))?.filter(|s| s.value.is_some()).ok_or_else(|| {
            Error::not_found(format!("setting `{namespace}/{key}` does not exist"))
                .hint(format!("`shiphold settings list {namespace}` shows what does"))
        })
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
        let text = value.to_string();
        if text.len() > VALUE_BYTES_MAX {
            return Err(Error::limit(
                format!("the value of `{namespace}/{key}` ({} bytes)", text.len()),
                format!("{VALUE_BYTES_MAX} bytes"),
                "store large things as files",
            ));
        }
        self.change(caller, namespace, key, Some(value), expect)
    }

    /// Deletes a key: a revision without a value. Its history stays.
    pub fn delete(&self, caller: &Caller, namespace: &str, key: &str, expect: Expect) -> Result<Setting> {
        self.change(caller, namespace, key, None, expect)
    }

    fn change(
        &self,
        caller: &Caller,
        namespace: &str,
        key: &str,
        value: Option<Value>,
        expect: Expect,
    ) -> Result<Setting> {
        caller.require(Scope::Write, "change settings")?;
        check_name("namespace", namespace)?;
        check_name("key", key)?;
        let deletes = value.is_none();
        let work = |tx: &Transaction<'_>| {
            let old = newest(tx, namespace, key)?;
            let there = old.as_ref().filter(|s| s.value.is_some());
            let revision = old.as_ref().map_or(0, |s| s.revision);
            match (expect, there) {
                (Expect::Absent, Some(s)) => {
                    return Err(Error::conflict(format!(
                        "setting `{namespace}/{key}` exists, at revision {}",
                        s.revision
                    )));
                }
                (Expect::Revision(want), _) if want != revision => {
                    return Err(Error::conflict(format!(
                        "setting `{namespace}/{key}` is at revision {revision}, not {want}"
                    ))
                    .hint("read it again and decide anew"));
                }
                _ => {}
            }
            if value.is_none() && there.is_none() {
                return Err(Error::not_found(format!("setting `{namespace}/{key}` does not exist")));
            }
            let new = Setting {
                namespace: namespace.into(),
                key: key.into(),
                revision: revision + 1,
                value,
                changed_at: now_ns(),
                changed_by: caller.actor(),
            };
            tx.prepare_cached(
                "INSERT INTO setting_revisions(namespace, key, revision, value, changed_at, changed_by) VALUES (?1,?2,?3,?4,?5,?6)",
            )?
            .execute((namespace, key, new.revision.cast_signed(), new.value.as_ref().map(Value::to_string), new.changed_at, &new.changed_by))?;
            let action = if new.value.is_some() { "settings.set" } else { "settings.delete" };
            let entry = Entry::new(caller, action, format!("setting:{namespace}/{key}"))
                .change(there.and_then(|s| digest(s.value.as_ref())), digest(new.value.as_ref()))
                .detail(json!({ "revision": new.revision }));
            Audit::append(tx, &entry)?;
            Ok(new)
        };
        // A deletion is allowed on a read-only disk.
        if deletes { self.db.write_always(work) } else { self.db.write(work) }
    }

    /// The keys of a namespace that have a value, in order.
    pub fn list(&self, caller: &Caller, namespace: &str) -> Result<Vec<Setting>> {
        caller.may_read_settings(namespace)?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT namespace, key, max(revision), value, changed_at, changed_by FROM setting_revisions
                 WHERE namespace = ?1 GROUP BY key HAVING value IS NOT NULL ORDER BY key LIMIT ?2",
            )?;
            let rows = statement.query_map((namespace, PAGE_MAX.cast_signed()), read)?;
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
            let mut statement = c.prepare_cached(
                "SELECT DISTINCT namespace FROM setting_revisions ORDER BY namespace LIMIT ?1",
            )?;
            let rows = statement.query_map([PAGE_MAX.cast_signed()], |r| r.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn newest(c: &Connection, namespace: &str, key: &str) -> Result<Option<Setting>> {
    Ok(c.prepare_cached(
        "SELECT namespace, key, revision, value, changed_at, changed_by FROM setting_revisions
         WHERE namespace = ?1 AND key = ?2 ORDER BY revision DESC LIMIT 1",
    )?
    .query_row((namespace, key), read)
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

fn check_name(what: &str, name: &str) -> Result<()> {
    let ok = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    if ok {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is not a {what} of settings", name.escape_debug()))
        .hint(format!("use 1 to {NAME_BYTES_MAX} of a-z, 0-9, `.`, `_` and `-`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::sqlite::Options;

    const OP: Caller = Caller::Operator;

    fn settings() -> (tempfile::TempDir, Arc<Database>, Settings) {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(
            Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
        );
        (dir, db.clone(), Settings::new(db))
    }

    #[test]
    fn a_value_has_a_history() {
        let (_dir, db, s) = settings();
        assert_eq!(s.get(&OP, "system", "risk.max").unwrap_err().kind(), Kind::NotFound);
        for (i, value) in [json!(1), json!({"a": [true, null]}), json!("x")].into_iter().enumerate() {
            assert_eq!(s.set(&OP, "system", "risk.max", value, Expect::Any).unwrap().revision, i as u64 + 1);
        }
        assert_eq!(s.get(&OP, "system", "risk.max").unwrap().value, Some(json!("x")));
        s.delete(&OP, "system", "risk.max", Expect::Revision(3)).unwrap();
        assert_eq!(s.get(&OP, "system", "risk.max").unwrap_err().kind(), Kind::NotFound);
        assert!(s.list(&OP, "system").unwrap().is_empty());
        assert_eq!(s.delete(&OP, "system", "risk.max", Expect::Any).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(s.set(&OP, "system", "risk.max", json!(2), Expect::Absent).unwrap().revision, 5);
        let history = s.history(&OP, "system", "risk.max", None, 100).unwrap();
        assert_eq!(history.iter().map(|h| h.revision).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
        assert_eq!(s.history(&OP, "system", "risk.max", Some(3), 1).unwrap()[0].revision, 2);
        assert_eq!(s.list(&OP, "system").unwrap().len(), 1);
        let proof = Audit::new(db).verify(&OP).unwrap();
        assert_eq!((proof.entries, proof.broken), (5, None));
    }

    #[test]
    fn exactly_one_of_many_wins_a_compare_and_set() {
        let (_dir, _db, s) = settings();
        let s = Arc::new(s);
        s.set(&OP, "state", "k", json!(0), Expect::Any).unwrap();
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let s = s.clone();
                std::thread::spawn(move || s.set(&OP, "state", "k", json!(i), Expect::Revision(1)).is_ok())
            })
            .collect();
        let wins = threads.into_iter().filter(|_| true).map(|t| t.join().unwrap()).filter(|won| *won).count();
        assert_eq!(wins, 1);
        assert_eq!(s.get(&OP, "state", "k").unwrap().revision, 2);
        assert_eq!(s.set(&OP, "state", "k", json!(0), Expect::Absent).unwrap_err().kind(), Kind::Conflict);
    }

    #[test]
    fn names_and_values_have_bounds() {
        let (_dir, _db, s) = settings();
        for bad in ["", "A", "a b", "a/b", "ä", "x'; DROP TABLE audit; --", &"a".repeat(NAME_BYTES_MAX + 1)]
        {
            assert_eq!(
                s.set(&OP, "system", bad, json!(1), Expect::Any).unwrap_err().kind(),
                Kind::Invalid,
                "{bad}"
            );
            assert_eq!(
                s.set(&OP, bad, "k", json!(1), Expect::Any).unwrap_err().kind(),
                Kind::Invalid,
                "{bad}"
            );
        }
        assert!(s.set(&OP, "system", &"a".repeat(NAME_BYTES_MAX), json!(1), Expect::Any).is_ok());
        assert!(s.set(&OP, "system", "k", json!("x".repeat(VALUE_BYTES_MAX - 2)), Expect::Any).is_ok());
        assert_eq!(
            s.set(&OP, "system", "k", json!("x".repeat(VALUE_BYTES_MAX - 1)), Expect::Any)
                .unwrap_err()
                .kind(),
            Kind::Limit
        );
    }

    #[test]
    fn a_plugin_reads_its_namespaces_and_changes_none() {
        let (_dir, _db, s) = settings();
        s.set(&OP, "system", "k", json!(1), Expect::Any).unwrap();
        let grants = crate::Grants { settings_read: vec!["system".into()], ..crate::Grants::default() };
        let plugin = Caller::Plugin { name: "p".into(), grants: Arc::new(grants) };
        assert!(s.get(&plugin, "system", "k").is_ok());
        assert_eq!(s.get(&plugin, "user", "k").unwrap_err().kind(), Kind::Denied);
        assert_eq!(s.set(&plugin, "system", "k", json!(2), Expect::Any).unwrap_err().kind(), Kind::Denied);
    }
}
