//! Small transactions, each durable when it returns: many callers commit together; `rusqlite` makes a commit of each.

use super::{OP, fill_skills, name, plain};
use crate::host::Host;
use crate::{Run, Table, machine};
use rusqlite::Connection;
use serde_json::json;
use shiphold_storage::DataLayer;
use shiphold_storage::schema::{MIGRATIONS, now_ns};
use shiphold_storage::settings::Expect;
use shiphold_storage::sqlite::{Database, Options};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CALLERS: [usize; 3] = [1, 8, 64];
/// What the disk is asked in comparison: about a page of the log.
const PAGE_BYTES: usize = 4_096;

pub fn run(run: &Run, table: &mut Table) {
    let time = Duration::from_millis(run.size(3_000, 300) as u64);
    let host = Host::new("");
    let layer = DataLayer::open(&host.manifest()).unwrap();
    let most = CALLERS[CALLERS.len() - 1];
    fill_skills(&layer, most);
    // The same tables for `rusqlite`, in a file of its own.
    let path = host.folder().join("plain.db");
    drop(Database::open(&path, Options::default(), MIGRATIONS).unwrap());
    let c = plain(&path, true);
    for i in 0..most {
        c.execute("INSERT INTO skills(name, created_at) VALUES (?1, 1)", [name(i)]).unwrap();
    }
    let c = Mutex::new(c);
    let raw = machine::synced_writes_per_s(host.folder(), PAGE_BYTES);
    table.note(format!(
        "Every transaction is synced before it returns, of both. A use of a skill is one row changed. A setting is a revision, its place in the \
         feed and an entry of the audit trail; `rusqlite` writes the same three rows, without their hash. Its callers share one connection \
         behind a lock. The disk does {raw:.0} writes with fdatasync of {PAGE_BYTES} bytes a second."
    ));
    for callers in CALLERS {
        let target = if callers == most { "5,000" } else { "" };
        let ours = rate(callers, time, |caller, _| layer.skills().record_use(&OP, &name(caller)).unwrap());
        let theirs = rate(callers, time, |caller, _| plain_use(&c.lock().unwrap(), &name(caller)));
        let what = format!("uses of skills counted, {callers} at once");
        table.rate(&what, "/s", ours, Some(("rusqlite", theirs)), target);
        let ours = rate(callers, time, |caller, n| {
            layer.settings().set(&OP, "bench", &format!("k{caller}"), json!(n), Expect::Any).unwrap();
        });
        let theirs =
            rate(callers, time, |caller, n| plain_setting(&mut c.lock().unwrap(), &format!("k{caller}"), n));
        let what = format!("settings set, {callers} at once");
        table.rate(&what, "/s", ours, Some(("rusqlite", theirs)), target);
    }
    let written = layer.structured_counts().written;
    table.note(format!("{} transactions of Shiphold took {} commits.", written.writes, written.commits));
    assert!(layer.audit().verify(&OP).unwrap().broken.is_none());
}

/// Calls a second, of so many callers for so long.
fn rate(callers: usize, time: Duration, f: impl Fn(usize, u64) + Sync) -> f64 {
    let done = AtomicU64::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let (f, done) = (&f, &done);
            scope.spawn(move || {
                let mut n = 0;
                while begin.elapsed() < time {
                    f(caller, n);
                    n += 1;
                }
                done.fetch_add(n, Ordering::Relaxed);
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

fn plain_use(c: &Connection, name: &str) {
    let mut statement =
        c.prepare_cached("UPDATE skills SET uses = uses + 1, last_used = ?2 WHERE name = ?1").unwrap();
    assert_eq!(statement.execute((name, now_ns())).unwrap(), 1);
}

fn plain_setting(c: &mut Connection, key: &str, value: u64) {
    let tx = c.transaction().unwrap();
    let newest: i64 = tx
        .prepare_cached(
            "SELECT coalesce(max(revision), 0) FROM setting_revisions WHERE namespace = 'bench' AND key = ?1",
        )
        .unwrap()
        .query_row([key], |r| r.get(0))
        .unwrap();
    let (revision, at) = (newest + 1, now_ns());
    tx.prepare_cached("INSERT INTO setting_revisions VALUES ('bench', ?1, ?2, ?3, ?4, 'operator')")
        .unwrap()
        .execute((key, revision, value.to_string(), at))
        .unwrap();
    tx.prepare_cached("INSERT INTO setting_changes(namespace, key, revision) VALUES ('bench', ?1, ?2)")
        .unwrap()
        .execute((key, revision))
        .unwrap();
    tx.prepare_cached(
        "INSERT INTO audit(time, actor, action, object, detail, hash) VALUES (?1, 'operator', 'settings.set', ?2, '{}', zeroblob(32))",
    )
    .unwrap()
    .execute((at, format!("setting:bench/{key}")))
    .unwrap();
    tx.commit().unwrap();
}
