//! The structured store beside plain `rusqlite` doing the same in the same run: point reads, small durable transactions, a cold start.

mod points;
mod start;
pub mod trades;
mod writes;

use crate::{Run, Table};
use rusqlite::{Connection, OpenFlags};
use shiphold_storage::skills::NewVersion;
use shiphold_storage::{Caller, DataLayer};
use std::path::Path;

const OP: Caller = Caller::Operator;
/// Who fills a store: as many as commit together.
const FILLERS: usize = 32;

pub fn run(run: &Run, table: &mut Table) {
    points::run(run, table);
    writes::run(run, table);
    start::run(run, table);
}

fn name(i: usize) -> String {
    format!("skill-{i}")
}

/// Stores so many skills of about half a kilobyte.
fn fill_skills(layer: &DataLayer, count: usize) {
    std::thread::scope(|scope| {
        for filler in 0..FILLERS {
            scope.spawn(move || {
                for i in (filler..count).step_by(FILLERS) {
                    let new = NewVersion {
                        name: name(i),
                        language: "python".into(),
                        code: format!("def run(bars):\n    # {i}\n    return bars[-1]\n").repeat(6),
                        description: format!("Buys the dip number {i} in an uptrend"),
                        tags: vec!["dip".into(), "trend".into()],
                        metadata: serde_json::json!({ "author": "desk", "number": i }),
                        ..NewVersion::default()
                    };
                    layer.skills().put(&OP, new).unwrap();
                }
            });
        }
    });
}

/// What a point read asks of SQLite, in the host and here.
const POINT: &str = "SELECT s.name, v.version, v.id = s.current_id, v.hash, v.language, v.code, v.description, v.tags, v.metadata, v.depends,
                            v.created_at, v.created_by
                     FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = ?1";

/// The same values that the data layer gives, made by hand.
fn plain_point(c: &Connection, name: &str) -> usize {
    let mut statement = c.prepare_cached(POINT).unwrap();
    statement
        .query_row([name], |r| {
            let texts: [String; 6] = [r.get(0)?, r.get(1)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?];
            let json: [String; 3] = [r.get(7)?, r.get(8)?, r.get(9)?];
            let values = json.map(|j| serde_json::from_str::<serde_json::Value>(&j).unwrap());
            let (current, at, by): (bool, i64, String) = (r.get(2)?, r.get(10)?, r.get(11)?);
            assert!(current && at > 0 && !by.is_empty() && values[0].is_array());
            Ok(texts.iter().map(String::len).sum())
        })
        .unwrap()
}

/// A connection as careful users of `rusqlite` open it: WAL, each commit synced.
fn plain(path: &Path, write: bool) -> Connection {
    let flags = if write {
        OpenFlags::default()
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
    };
    let c = Connection::open_with_flags(path, flags).unwrap();
    c.set_prepared_statement_cache_capacity(64);
    if write {
        c.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;").unwrap();
    }
    c
}

/// The value below which so many percent of them lie.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
