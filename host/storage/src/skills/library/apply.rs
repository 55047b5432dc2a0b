//! A file that was checked goes into the database, line by line, in one transaction.

use super::super::resolve::Checker;
use super::super::status::{self, Status};
use super::super::store::{insert_version, make_current, skill_id, version_id};
use super::super::{NewProvenance, SkillName, Version, provenance};
use super::check::Checked;
use super::lines::{CurrentLine, FORMAT, Line, PerformanceLine, SkillLine, StatusLine, VersionLine};
use super::{ImportOptions, Imported};
use crate::audit::{Audit, Entry};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::sqlite::Tx;
use rusqlite::OptionalExtension as _;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub(super) struct Apply<'a, 't> {
    tx: &'a Tx<'t>,
    caller: &'a Caller,
    options: ImportOptions,
    /// Number of the import.
    import: i64,
    done: Imported,
    /// Skills that were not here, with their last current version.
    new_skills: HashMap<i64, Option<i64>>,
    /// Versions that were not here, in the order of the file.
    new_versions: Vec<(i64, SkillName)>,
    is_new: HashSet<i64>,
    /// What skills and versions that were here are to be, where the file's say is taken over.
    adopt_current: BTreeMap<i64, i64>,
    adopt_status: BTreeMap<i64, (Status, Option<String>)>,
    /// New records of each version, and their digest.
    recorded: BTreeMap<i64, (u64, blake3::Hasher)>,
    touched: BTreeSet<i64>,
}

/// The number of the import of a file; the same content again is the same import.
pub(in crate::skills) fn import_number(
    tx: &Tx<'_>,
    caller: &Caller,
    format: &str,
    digest: &str,
) -> Result<i64> {
    tx.prepare_cached(
        "INSERT INTO skill_imports(digest, format, imported_at, imported_by) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(digest) DO NOTHING",
    )?
    .execute((digest, format, now_ns(), caller.actor()))?;
    Ok(tx
        .prepare_cached("SELECT id FROM skill_imports WHERE digest = ?1")?
        .query_row([digest], |r| r.get(0))?)
}

/// What the audit trail says of an import.
pub(in crate::skills) fn audit(tx: &Tx<'_>, caller: &Caller, done: &Imported) -> Result<()> {
    let entry = Entry::new(caller, "skills.import", format!("library:{}", done.digest));
    Audit::append(
        tx,
        &entry.change(None, Some(done.digest.clone())).detail(json!({
            "format": done.format, "added": done.added, "kept": done.kept, "adopted": done.adopted,
        })),
    )?;
    Ok(())
}

impl<'a, 't> Apply<'a, 't> {
    pub(super) fn new(
        tx: &'a Tx<'t>,
        caller: &'a Caller,
        options: ImportOptions,
        checked: &Checked,
    ) -> Result<Self> {
        let format = format!("library/{FORMAT}");
        let import = import_number(tx, caller, &format, &checked.digest)?;
        Ok(Self {
            tx,
            caller,
            options,
            import,
            done: Imported { format, digest: checked.digest.clone(), ..Imported::default() },
            new_skills: HashMap::new(),
            new_versions: Vec::new(),
            is_new: HashSet::new(),
            adopt_current: BTreeMap::new(),
            adopt_status: BTreeMap::new(),
            recorded: BTreeMap::new(),
            touched: BTreeSet::new(),
        })
    }

    pub(super) fn line(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Library(_) | Line::End(_) => Ok(()),
            Line::Skill(s) => self.skill(&s),
            Line::Version(v) => self.version(&v),
            Line::Status(s) => self.status(&s),
            Line::Current(c) => self.current(&c),
            Line::Performance(p) => self.performance(&p),
        }
    }

    fn skill(&mut self, s: &SkillLine) -> Result<()> {
        let there: Option<i64> = self
            .tx
            .prepare_cached("SELECT id FROM skills WHERE name = ?1")?
            .query_row([&s.name], |r| r.get(0))
            .optional()?;
        if there.is_some() {
            self.done.kept.skills += 1;
            return Ok(());
        }
        self.tx
            .prepare_cached("INSERT INTO skills(name, created_at, uses, last_used) VALUES (?1, ?2, ?3, ?4)")?
            .execute((&s.name, s.created_at, s.uses.cast_signed(), s.last_used))?;
        self.new_skills.insert(self.tx.last_insert_rowid(), None);
        self.done.added.skills += 1;
        Ok(())
    }

    fn version(&mut self, v: &VersionLine) -> Result<()> {
        let skill = skill_id(self.tx, &v.name)?;
        let there: Option<(i64, String)> = self
            .tx
            .prepare_cached("SELECT id, hash FROM skill_versions WHERE skill_id = ?1 AND version = ?2")?
            .query_row((skill, v.version.to_string()), |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        match there {
            Some((id, hash)) if hash == v.hash => {
                self.done.kept.versions += 1;
                // Without a line of its own it is active.
                if self.options.adopt {
                    self.adopt_status.insert(id, (Status::default(), None));
                }
                return Ok(());
            }
            Some(_) => {
                return Err(Error::conflict(format!(
                    "{}@{} is here with other content: nothing of the library was imported",
                    v.name, v.version
                ))
                .hint(format!("compare with `shiphold skills get {} --version {}`", v.name, v.version)));
            }
            None => {}
        }
        let content = v.content();
        let id =
            insert_version(self.tx, skill, &content, (&v.version, &v.hash), (v.created_at, &v.created_by))?;
        let parent = match &v.provenance.parent {
            Some(p) => Some(version_id(self.tx, &p.name, &p.version).map_err(|e| {
                e.context(format!("the parent of {}@{}", v.name, v.version))
                    .hint("a parent stands in the file before what was made from it, or is here already")
            })?),
            None => None,
        };
        let origin = NewProvenance { import: Some(self.import), ..content.provenance };
        provenance::insert_row(self.tx, id, &origin, parent)?;
        self.touched.insert(skill);
        self.is_new.insert(id);
        self.new_versions.push((id, SkillName { name: v.name.clone(), version: v.version.clone() }));
        self.done.added.versions += 1;
        let entry = Entry::new(self.caller, "skills.put", format!("skill:{}@{}", v.name, v.version))
            .change(None, Some(v.hash.clone()))
            .detail(
                json!({ "import": self.done.digest, "created_by": v.created_by, "created_at": v.created_at }),
            );
        Audit::append(self.tx, &entry)?;
        Ok(())
    }

    fn status(&mut self, s: &StatusLine) -> Result<()> {
        let id = version_id(self.tx, &s.name, &s.version)?;
        if self.is_new.contains(&id) {
            status::insert(self.tx, id, s.status, s.reason.as_deref(), s.set_at, &s.set_by)?;
            self.done.added.statuses += 1;
        } else {
            self.done.kept.statuses += 1;
            if self.options.adopt {
                self.adopt_status.insert(id, (s.status, s.reason.clone()));
            }
        }
        Ok(())
    }

    fn current(&mut self, c: &CurrentLine) -> Result<()> {
        let (skill, id) = (skill_id(self.tx, &c.name)?, version_id(self.tx, &c.name, &c.version)?);
        if let Some(last) = self.new_skills.get_mut(&skill) {
            *last = Some(id);
            status::insert_current(self.tx, skill, id, c.since, &c.set_by)?;
            self.done.added.currents += 1;
        } else {
            self.done.kept.currents += 1;
            if self.options.adopt {
                self.adopt_current.insert(skill, id);
            }
        }
        Ok(())
    }

    fn performance(&mut self, l: &PerformanceLine) -> Result<()> {
        let id = version_id(self.tx, &l.name, &l.version)?;
        let p = &l.performance;
        let samples = p.samples.cast_signed();
        let same = (
            id,
            l.recorded_at,
            p.period_start,
            p.period_end,
            p.returns,
            p.sharpe,
            p.win_rate,
            p.max_drawdown,
            samples,
            &l.recorded_by,
        );
        let there = self
            .tx
            .prepare_cached(
                "SELECT 1 FROM skill_performance WHERE version_id = ?1 AND recorded_at = ?2 AND period_start = ?3 AND period_end = ?4
                 AND returns = ?5 AND sharpe = ?6 AND win_rate = ?7 AND max_drawdown = ?8 AND samples = ?9 AND recorded_by = ?10",
            )?
            .exists(same)?;
        if there {
            self.done.kept.performance += 1;
            return Ok(());
        }
        self.tx
            .prepare_cached(
                "INSERT INTO skill_performance(version_id, recorded_at, period_start, period_end, returns, sharpe, win_rate, max_drawdown,
                                               samples, recorded_by, import_id) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
            )?
            .execute((
                id,
                l.recorded_at,
                p.period_start,
                p.period_end,
                p.returns,
                p.sharpe,
                p.win_rate,
                p.max_drawdown,
                samples,
                &l.recorded_by,
                self.import,
            ))?;
        self.done.added.performance += 1;
        let (n, digest) = self.recorded.entry(id).or_default();
        *n += 1;
        digest.update(json!(l).to_string().as_bytes());
        Ok(())
    }

    /// What can be done only when everything is here; the skills that changed.
    pub(super) fn end(mut self, checker: &mut Checker<'_>) -> Result<(Imported, BTreeSet<i64>)> {
        // The last ones first: a chain that is too long shows at its end.
        for (id, of) in self.new_versions.iter().rev() {
            checker
                .check(&of.name, *id)
                .map_err(|e| e.context(format!("{of}, of which nothing was imported")))?;
        }
        let mut skills: Vec<(i64, Option<i64>)> = self.new_skills.drain().collect();
        skills.sort_unstable();
        for (skill, current) in skills {
            let current =
                current.ok_or_else(|| Error::invalid("a skill of the library has no current version"))?;
            make_current(self.tx, skill, current, &[])?;
            status::follow_current(self.tx, skill)?;
            self.touched.insert(skill);
        }
        self.record_performance()?;
        self.adopt()?;
        audit(self.tx, self.caller, &self.done)?;
        Ok((self.done, self.touched))
    }

    fn record_performance(&mut self) -> Result<()> {
        for (id, (n, digest)) in std::mem::take(&mut self.recorded) {
            let of = provenance::named(self.tx, id)?;
            self.touched.insert(skill_id(self.tx, &of.name)?);
            let entry = Entry::new(self.caller, "skills.performance", format!("skill:{of}"))
                .change(None, Some(digest.finalize().to_hex().to_string()))
                .detail(json!({ "import": self.done.digest, "records": n }));
            Audit::append(self.tx, &entry)?;
        }
        Ok(())
    }

    /// Takes over what the file says of skills that were here.
    fn adopt(&mut self) -> Result<()> {
        for (version, (status, reason)) in std::mem::take(&mut self.adopt_status) {
            let before = status::of(self.tx, version)?;
            if before == status {
                continue;
            }
            let set_at = status::next_time(self.tx, "skill_statuses", "set_at", "version_id", version)?;
            status::insert(self.tx, version, status, reason.as_deref(), set_at, &self.caller.actor())?;
            let of = provenance::named(self.tx, version)?;
            let skill = skill_id(self.tx, &of.name)?;
            status::follow_current(self.tx, skill)?;
            self.adopted(
                skill,
                "skills.status",
                &of,
                json!({ "from": before, "to": status, "reason": reason, "import": self.done.digest }),
            )?;
        }
        for (skill, version) in std::mem::take(&mut self.adopt_current) {
            let before = status::current_id(self.tx, skill)?;
            if before == Some(version) {
                continue;
            }
            let from: Option<Version> =
                before.map(|b| provenance::named(self.tx, b)).transpose()?.map(|n| n.version);
            make_current(self.tx, skill, version, &[])?;
            status::note_current(self.tx, self.caller, skill, version, now_ns())?;
            let of = provenance::named(self.tx, version)?;
            self.adopted(skill, "skills.adopt", &of, json!({ "from": from, "import": self.done.digest }))?;
        }
        Ok(())
    }

    fn adopted(&mut self, skill: i64, action: &str, of: &SkillName, detail: serde_json::Value) -> Result<()> {
        self.done.adopted += 1;
        self.touched.insert(skill);
        let entry = Entry::new(self.caller, action, format!("skill:{of}")).detail(detail);
        Audit::append(self.tx, &entry)?;
        Ok(())
    }
}
