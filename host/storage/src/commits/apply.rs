//! Making a commit, and ending what a crash cut off.

use super::types::{CommitPerformance, CommitSkill, ExpectSkill, KEYS_KEPT};
use super::{Commit, CommitFileDone, CommitSkillDone, Committed};
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::changes::Change;
use crate::error::{Error, Kind, Result};
use crate::files::{LooseObject, NewObject, PutOptions};
use crate::layer::DataLayer;
use crate::locks::lock;
use crate::schema::now_ns;
use crate::series::record::{self, Part};
use crate::series::{SeriesInfo, SeriesKey, WriteBatch};
use crate::settings::Settings;
use crate::skills::{Contribution, Skills};
use crate::sqlite::{Database, Tx};
use crate::state::{Prepared, Save};
use rusqlite::OptionalExtension as _;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys that are forgotten with one commit, when they are old enough.
const FORGET_STEP: i64 = 100;

impl DataLayer {
    /// Makes everything that is asked for, or nothing: durable when it returns, and seen whole by every reader.
    pub fn commit(&self, caller: &Caller, commit: &Commit) -> Result<Committed> {
        caller.may_commit()?;
        commit.check()?;
        let digest = commit.digest()?;
        if let Some(done) = self.database().read(|c| replay(c, caller, commit, &digest))? {
            return Ok(done);
        }
        Settings::check(caller, &commit.settings)?;
        commit.performance.iter().try_for_each(|p| caller.may_write_skill(&p.skill))?;
        let said = commit
            .skills
            .iter()
            .map(|s| self.skills().prepare(caller, &s.skill))
            .collect::<Result<Vec<_>>>()?;
        let batch = self.batch(caller, commit)?;
        let objects = self.objects(caller, commit)?;
        let (checkpoints, loose) = self.checkpoints(caller, commit)?;
        // One after another; the lock is also what nothing else may write to the series under.
        let _one = lock(self.committing());
        // Made meanwhile by the same request: what it would write is there by now.
        if let Some(done) = self.database().read(|c| replay(c, caller, commit, &digest))? {
            return Ok(done);
        }
        let turn = self.series().alone();
        self.series().settled()?;
        self.series().keeps_what_is_there(caller, &batch)?;
        let rows = batch.rows() as u64;
        let batch = self.series().takes_all(batch)?;
        let record = encode(&batch)?;
        let loosely: Vec<_> = loose.iter().map(|l| (l.store.clone(), l.hash.clone())).collect();
        let named = self.files().naming(objects, loose)?;
        let mut touched = Vec::new();
        let mut dropped = false;
        let made = self.database().write_alone(|tx| {
            if let Some(done) = replay(tx, caller, commit, &digest)? {
                return Ok((done, None));
            }
            let mut state = Vec::new();
            let now = now_ns();
            for checkpoint in &checkpoints {
                let (saved, older) = self.state().save_in(tx, caller, checkpoint, &named, now)?;
                state.push(saved);
                dropped |= older;
            }
            let done = Committed { rows, state, made_at: now, ..Committed::default() };
            let done = make(tx, caller, commit, &said, &digest, done, &named, &mut touched)?;
            if let Some(record) = &record {
                tx.prepare_cached("INSERT INTO commit_rows(commit_id, record) VALUES (?1, ?2)")?
                    .execute((done.id, record))?;
            }
            named.reached();
            // From here to the end of this function who begins to read waits.
            Ok((done, Some(self.gate().close())))
        });
        named.drop_unless_reached(caller);
        let (done, closed) = made.inspect_err(|_| {
            loosely.iter().for_each(|(store, hash)| self.state().drop_later(store, hash));
        })?;
        if closed.is_none() {
            return Ok(done);
        }
        drop(named);
        if record.is_some() {
            self.series().apply_commit(caller, batch, done.id);
        }
        touched.iter().for_each(|skill| self.skills().touched(*skill));
        drop(closed);
        drop(turn);
        self.skills().follow();
        self.settings().told()?;
        self.state().saved(dropped)?;
        if !commit.skills.is_empty() && self.changes().wanted(caller) {
            self.changes().tell([Change::Skill]);
        }
        Ok(done)
    }

    /// The rows of a commit as one batch, each series once; checked as every write is.
    fn batch(&self, caller: &Caller, commit: &Commit) -> Result<WriteBatch> {
        let mut series: BTreeMap<SeriesKey, Vec<crate::series::Frame>> = BTreeMap::new();
        for rows in &commit.series {
            let batch = self.series().parsed(
                caller,
                rows.bucket.as_deref(),
                rows.lines.as_bytes(),
                rows.precision,
            )?;
            for (key, frame) in batch.series {
                series.entry(key).or_default().push(frame);
            }
        }
        for (key, frame) in &commit.rows.series {
            series.entry(key.clone()).or_default().push(frame.clone());
        }
        let series =
            series.into_iter().flat_map(|(key, frames)| frames.into_iter().map(move |f| (key.clone(), f)));
        let batch = WriteBatch { series: series.collect() };
        self.series().checked(caller, batch)
    }

    /// A commit's checkpoints as they may be saved, and the objects of large ones.
    fn checkpoints(&self, caller: &Caller, commit: &Commit) -> Result<(Vec<Prepared>, Vec<LooseObject<'_>>)> {
        let (mut all, mut loose) = (Vec::new(), Vec::new());
        for c in &commit.state {
            let save = Save {
                media_type: c.media_type.clone(),
                metadata: c.metadata.clone(),
                expect: c.expect,
                idempotency_key: None,
            };
            let content = c.content()?;
            let (prepared, object) =
                self.state().prepare(caller, &c.strategy, &mut content.as_slice(), save)?;
            all.push(prepared);
            loose.extend(object);
        }
        Ok((all, loose))
    }

    /// The objects of a commit's files, on the disk and without a name.
    fn objects<'a>(&'a self, caller: &Caller, commit: &Commit) -> Result<Vec<NewObject<'a>>> {
        commit
            .files
            .iter()
            .map(|file| {
                let options = PutOptions {
                    media_type: file.media_type.clone(),
                    metadata: file.metadata.clone(),
                    ..PutOptions::default()
                };
                let content = file.content()?;
                self.files().object(
                    caller,
                    &file.store,
                    &file.path,
                    &mut content.as_slice(),
                    options,
                    file.expect,
                )
            })
            .collect()
    }
}

/// The answer of an earlier request with the same key.
fn replay(
    c: &rusqlite::Connection,
    caller: &Caller,
    commit: &Commit,
    digest: &str,
) -> Result<Option<Committed>> {
    let Some(key) = &commit.idempotency_key else { return Ok(None) };
    let there: Option<(String, String)> = c
        .prepare_cached("SELECT digest, answer FROM commits WHERE actor = ?1 AND idempotency_key = ?2")?
        .query_row((caller.actor(), key), |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    match there {
        None => Ok(None),
        Some((of, answer)) if of == digest => {
            let done: Committed = serde_json::from_str(&answer).map_err(|e| {
                Error::corrupt(format!("the answer of an earlier commit cannot be read: {e}"))
            })?;
            Ok(Some(Committed { replayed: true, ..done }))
        }
        Some(_) => Err(Error::conflict(format!("the idempotency key `{key}` was used for another commit"))
            .hint("give each commit a key of its own, and the same one only to send it again")),
    }
}

#[allow(clippy::too_many_arguments)]
fn make(
    tx: &Tx<'_>,
    caller: &Caller,
    commit: &Commit,
    said: &[Vec<Contribution>],
    digest: &str,
    mut done: Committed,
    named: &crate::files::Naming<'_>,
    touched: &mut Vec<i64>,
) -> Result<Committed> {
    let made_at = done.made_at;
    let mut skills = Vec::new();
    for (wanted, said) in commit.skills.iter().zip(said) {
        expect(tx, wanted)?;
        let (stored, id) = Skills::put_in(tx, caller, &wanted.skill, said)?;
        touched.push(id);
        skills.push(CommitSkillDone { name: stored.name, version: stored.version, hash: stored.hash });
    }
    for p in &commit.performance {
        touched.push(performance(tx, caller, p, &skills)?);
    }
    let files = named.insert(tx, caller)?;
    let files = files.into_iter().map(|v| CommitFileDone {
        store: v.store,
        path: v.path,
        version: v.version,
        blake3: v.blake3.unwrap_or_default(),
        size: v.size,
    });
    done.skills = skills;
    done.files = files.collect();
    done.settings = Settings::apply(tx, caller, &commit.settings)?;
    tx.prepare_cached(
        "DELETE FROM commits WHERE id IN (SELECT c.id FROM commits c WHERE c.made_at < ?1 AND NOT EXISTS (SELECT 1 FROM commit_rows r WHERE r.commit_id = c.id) ORDER BY c.made_at LIMIT ?2)",
    )?
    .execute((made_at - KEYS_KEPT, FORGET_STEP))?;
    let id: i64 = tx
        .prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'commits'), 0) + 1")?
        .query_row([], |r| r.get(0))?;
    done.id = id;
    let answer =
        serde_json::to_string(&done).map_err(|e| Error::internal(format!("writing an answer: {e}")))?;
    tx.prepare_cached(
        "INSERT INTO commits(id, actor, idempotency_key, digest, answer, made_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((id, caller.actor(), &commit.idempotency_key, digest, answer, made_at))?;
    let entry = Entry::new(caller, "commits.make", format!("commit:{id}"))
        .change(None, Some(digest.into()))
        .detail(json!({ "parts": commit.parts(), "rows": done.rows }));
    Audit::append(tx, &entry)?;
    Ok(done)
}

fn expect(tx: &Tx<'_>, wanted: &CommitSkill) -> Result<()> {
    let name = &wanted.skill.name;
    let current = Skills::current_in(tx, name)?;
    match (&wanted.expect, current) {
        (ExpectSkill::Any, _) | (ExpectSkill::Absent, None) => Ok(()),
        (ExpectSkill::Version(want), Some(have)) if *want == have => Ok(()),
        (ExpectSkill::Absent, Some(have)) => {
            Err(Error::conflict(format!("skill `{name}` exists, in version {have}")))
        }
        (ExpectSkill::Version(want), have) => Err(Error::conflict(match have {
            Some(have) => format!("skill `{name}` is at version {have}, not {want}"),
            None => format!("skill `{name}` does not exist, so it is not at version {want}"),
        })
        .hint("read it again and decide anew")),
    }
}

fn performance(tx: &Tx<'_>, caller: &Caller, p: &CommitPerformance, made: &[CommitSkillDone]) -> Result<i64> {
    let own = made.iter().rev().find(|s| s.name == p.skill).map(|s| s.version.clone());
    let version = match p.version.clone().or(own) {
        Some(version) => version,
        None => Skills::current_in(tx, &p.skill)?
            .ok_or_else(|| Error::not_found(format!("skill `{}` does not exist", p.skill.escape_debug())))?,
    };
    Skills::record_performance_in(tx, caller, &p.skill, &version, &p.performance)
}

/// The record of rows; `None`: there are none.
pub(super) fn encode(batch: &WriteBatch) -> Result<Option<Vec<u8>>> {
    if batch.series.is_empty() {
        return Ok(None);
    }
    let parts: Vec<Part> =
        batch.series.iter().map(|(key, frame)| (Arc::new(key.clone()), Arc::new(frame.clone()))).collect();
    record::encode(&parts).map(Some)
}

/// The series of the rows of commits that are not applied yet, each as often as it is in one. Of a database that may be of an older
/// release; what cannot be read will be set aside.
pub(crate) fn series_waiting(c: &rusqlite::Connection) -> Result<Vec<SeriesInfo>> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'commit_rows'";
    if c.query_row(known, [], |r| r.get::<_, i64>(0))? == 0 {
        return Ok(Vec::new());
    }
    let mut statement = c.prepare_cached("SELECT record FROM commit_rows WHERE error IS NULL")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let parts = record::decode(&row.get::<_, Vec<u8>>(0)?).unwrap_or_default();
        found.extend(parts.iter().map(|(key, frame)| SeriesInfo {
            key: SeriesKey::clone(key),
            fields: frame.columns.iter().map(|c| (c.name.clone(), c.values.field_type())).collect(),
            rows: frame.len() as u64,
            min_time: frame.times.iter().min().copied(),
            max_time: frame.times.iter().max().copied(),
        }));
    }
    Ok(found)
}

/// The records of commits whose rows are not applied yet, in order.
pub(crate) fn waiting(db: &Database) -> Result<Vec<i64>> {
    db.read(|c| {
        let mut statement =
            c.prepare_cached("SELECT commit_id FROM commit_rows WHERE error IS NULL ORDER BY commit_id")?;
        let ids = statement.query_map([], |r| r.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    })
}

/// The rows of a commit that are not applied yet; `None`: they are.
pub(crate) fn rows_of(db: &Database, id: i64) -> Result<Option<WriteBatch>> {
    let record: Option<Vec<u8>> = db.read(|c| {
        Ok(c.prepare_cached("SELECT record FROM commit_rows WHERE commit_id = ?1")?
            .query_row([id], |r| r.get(0))
            .optional()?)
    })?;
    let Some(record) = record else { return Ok(None) };
    let parts = record::decode(&record).map_err(|e| {
        Error::new(Kind::Corrupt, format!("the rows of commit {id} are damaged: {}", e.message()))
            .hint("restore a backup; the rest of the commit is there")
    })?;
    let series = parts.into_iter().map(|(key, frame)| ((*key).clone(), (*frame).clone())).collect();
    Ok(Some(WriteBatch { series }))
}

/// The rows are in the series store.
pub(crate) fn applied(db: &Database, id: i64) -> Result<()> {
    db.write_always(|tx| {
        tx.prepare_cached("DELETE FROM commit_rows WHERE commit_id = ?1")?.execute([id])?;
        Ok(())
    })
}

/// The rows cannot be applied, and are kept with the reason.
pub(crate) fn set_aside(db: &Database, id: i64, why: &str) -> Result<()> {
    db.write_always(|tx| {
        tx.prepare_cached("UPDATE commit_rows SET error = ?2 WHERE commit_id = ?1")?.execute((id, why))?;
        Ok(())
    })
}

/// What was set aside, for `verify`.
pub(crate) fn aside(db: &Database) -> Result<Vec<(i64, String)>> {
    db.read(|c| {
        let mut statement = c.prepare_cached(
            "SELECT commit_id, error FROM commit_rows WHERE error IS NOT NULL ORDER BY commit_id LIMIT 100",
        )?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    })
}
