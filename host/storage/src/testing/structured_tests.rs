//! The structured database with its real migrations, with the power taken away at every operation.

use super::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use super::{Disk, Fault, FaultVfs, Loss};
use crate::audit::{Audit, AuditFilter, Entry};
use crate::caller::{Caller, Scope};
use crate::error::Result;
use crate::schema::MIGRATIONS;
use crate::settings::{Expect, Settings};
use crate::skills::{NewVersion, SkillQuery, Skills};
use crate::sqlite::{Database, Options, Synchronous};
use crate::tokens::Tokens;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const ME: Caller = Caller::Operator;

struct Stores {
    db: Arc<Database>,
    settings: Settings,
    skills: Skills,
    audit: Audit,
    tokens: Tokens,
}

/// Units of work, each of them in several tables.
struct Structured {
    synchronous: Synchronous,
    steps: usize,
}

impl Structured {
    fn new(steps: usize) -> Self {
        Self { synchronous: Synchronous::Full, steps }
    }

    /// Every fact that step `index` makes true.
    fn facts(s: &Stores, index: usize) -> Result<Vec<(&'static str, bool)>> {
        let audited = |action: &str, object: String| {
            let filter = AuditFilter { object: Some(object.clone()), ..AuditFilter::default() };
            let found = s.audit.list(&ME, &filter)?;
            Ok::<_, crate::Error>(
                found
                    .iter()
                    .filter(|e| e.object == object && e.action == action && e.detail["step"].is_null())
                    .count(),
            )
        };
        Ok(match index % 5 {
            0 => {
                let revision = (index / 5 + 1) as u64;
                let history = s.settings.history(&ME, "system", "risk", None, 100)?;
                let there = history.iter().any(|h| h.revision == revision && h.value == Some(json!(index)));
                vec![
                    ("revision", there),
                    (
                        "audit entry",
                        audited("settings.set", "setting:system/risk".into())? as u64 >= revision,
                    ),
                ]
            }
            1 => {
                let name = format!("skill-{index}");
                let code: i64 = s.db.read(|c| {
                    Ok(c.query_row(
                        "SELECT count(*) FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = ?1 AND length(v.code) = ?2",
                        (&name, code(index).len() as i64),
                        |r| r.get(0),
                    )?)
                })?;
                let document: i64 = s.db.read(|c| {
                    Ok(c.query_row(
                        "SELECT count(*) FROM skill_documents d JOIN skills s ON s.id = d.skill_id AND s.current_id = d.version_id
                         WHERE s.name = ?1",
                        [&name],
                        |r| r.get(0),
                    )?)
                })?;
                let query = SkillQuery { text: format!("word{index}x"), limit: 10, ..SkillQuery::default() };
                vec![
                    ("version", code == 1),
                    ("document", document == 1),
                    ("search", s.skills.search(&ME, &query)?.hits.iter().any(|h| h.name == name)),
                    ("audit entry", audited("skills.put", format!("skill:{name}@0.1.0"))? == 1),
                ]
            }
            2 => vec![("audit entry", audited("test.note", format!("note:{index}"))? == 1)],
            3 => {
                let name = format!("token-{index}");
                vec![
                    ("token", s.tokens.list(&ME)?.iter().any(|t| t.name == name)),
                    ("audit entry", audited("tokens.create", format!("token:{name}"))? == 1),
                ]
            }
            // A checkpoint moves what is there; it adds nothing.
            _ => Vec::new(),
        })
    }
}

/// Large enough for overflow pages.
fn code(index: usize) -> String {
    format!("# {index}\n").repeat(1500)
}

impl Workload for Structured {
    type Store = Stores;

    fn open(&self, vfs: &str) -> Result<Stores> {
        let options = Options {
            vfs: Some(vfs.into()),
            readers: 1,
            synchronous: self.synchronous,
            ..Options::default()
        };
        let db = Arc::new(Database::open(Path::new("/data/shiphold.db"), options, MIGRATIONS)?);
        Ok(Stores {
            settings: Settings::new(db.clone()),
            skills: Skills::new(db.clone(), Arc::default()),
            audit: Audit::new(db.clone()),
            tokens: Tokens::new(db.clone()),
            db,
        })
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn step(&self, s: &Stores, index: usize) -> Result<()> {
        match index % 5 {
            0 => s.settings.set(&ME, "system", "risk", json!(index), Expect::Any).map(|_| ()),
            1 => {
                let new = NewVersion {
                    name: format!("skill-{index}"),
                    language: "python".into(),
                    code: code(index),
                    description: format!("Buys the dip word{index}x"),
                    tags: vec!["trend".into()],
                    ..NewVersion::default()
                };
                s.skills.put(&ME, new).map(|_| ())
            }
            2 => s.audit.record(&Entry::new(&ME, "test.note", format!("note:{index}"))).map(|_| ()),
            3 => s.tokens.create(&ME, &format!("token-{index}"), Scope::Read, None).map(|_| ()),
            _ => s.db.checkpoint(),
        }
    }

    fn check(&self, s: &Stores, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        let text = |e: crate::Error| format!("{e:?}");
        for i in 0..self.steps {
            let facts = Self::facts(s, i).map_err(text)?;
            let there = facts.iter().filter(|(_, there)| *there).count();
            let sound = if i < done {
                there == facts.len()
            } else if i == done && in_flight {
                there == 0 || there == facts.len()
            } else {
                there == 0
            };
            if !sound {
                return Err(format!("step {i} is there as {facts:?}"));
            }
        }
        if let Some(broken) = s.audit.verify(&ME).map_err(text)?.broken {
            return Err(format!("audit entry {}: {}", broken.seq, broken.problem));
        }
        let integrity: String =
            s.db.read(|c| Ok(c.query_row("PRAGMA integrity_check", [], |r| r.get(0))?)).map_err(text)?;
        if integrity != "ok" {
            return Err(integrity);
        }
        Ok(())
    }

    fn probe(&self, s: &Stores) -> Result<()> {
        s.settings.set(&ME, "probe", "probe", json!(true), Expect::Any)?;
        Ok(())
    }
}

/// A disk on which the database was made and closed.
fn prepared(vfs: &FaultVfs, w: &Structured) -> Disk {
    vfs.load(Disk::default());
    drop(w.open(vfs.name()).unwrap());
    vfs.disk()
}

/// All four losses at some points, two of them at every point.
fn losses(n: u64) -> Vec<Loss> {
    match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Tail(n ^ 0xa5a5), Loss::Sectors(n ^ 0x5a5a)],
    }
}

fn sound(report: &Report, points_min: u64) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= points_min, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_nothing_acknowledged() {
    let vfs = FaultVfs::new("structured-power").unwrap();
    let w = Structured::new(10);
    let image = prepared(&vfs, &w);
    let report = lose_power_everywhere(&vfs, &w, &image, (1, 1), &losses);
    sound(&report, 100);
}

#[test]
fn power_lost_while_the_database_is_made_leaves_one_that_opens() {
    let vfs = FaultVfs::new("structured-new").unwrap();
    let report = lose_power_everywhere(&vfs, &Structured::new(2), &Disk::default(), (1, 1), &|n| {
        losses(n).into_iter().take(2).collect()
    });
    sound(&report, 100);
}

#[test]
fn a_full_disk_and_a_failing_one_refuse_whole_steps() {
    let vfs = FaultVfs::new("structured-fail").unwrap();
    let w = Structured::new(10);
    let image = prepared(&vfs, &w);
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&vfs, &w, &image, (1, 1), fault, false), 100);
        sound(&fail_everywhere(&vfs, &w, &image, (2, 3), fault, true), 30);
    }
}

#[test]
fn a_full_disk_while_the_database_is_made_leaves_one_that_opens() {
    let vfs = FaultVfs::new("structured-new-full").unwrap();
    for fault in [Fault::Full, Fault::Io] {
        let report = fail_everywhere(&vfs, &Structured::new(2), &Disk::default(), (1, 3), fault, false);
        sound(&report, 30);
    }
}

#[test]
fn the_harness_finds_a_loss_when_nothing_is_synced() {
    let vfs = FaultVfs::new("structured-off").unwrap();
    let mut w = Structured::new(10);
    let image = prepared(&vfs, &w);
    w.synchronous = Synchronous::Off;
    let report = lose_power_everywhere(&vfs, &w, &image, (1, 1), &|_| vec![Loss::Unsynced]);
    assert!(!report.findings.is_empty(), "`synchronous=OFF` passed: the harness proves nothing");
    // `kill -9` alone shows nothing of it.
    let report = lose_power_everywhere(&vfs, &w, &image, (1, 1), &|_| vec![Loss::Nothing]);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}
