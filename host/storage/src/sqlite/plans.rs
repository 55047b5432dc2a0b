//! Every statement of this crate, as it stands in the source, is planned against the databases that it may be for. One that would
//! read a whole table fails, unless it is named in [`WHOLE`] with the reason why it must.

mod source;

use super::{Database, Migration, Options, STATEMENTS_KEPT};
use rusqlite::Connection;
use source::{Written, folded, statements};
use std::collections::{BTreeMap, BTreeSet};

/// Statements that read a whole table, by how they begin, and why.
const WHOLE: &[(&str, &str)] = &[
    ("SELECT store, hash FROM file_objects", "a check of a backup looks at every object"),
    ("SELECT store, hash, size FROM file_objects", "a backup copies every object"),
    ("SELECT coalesce(sum(size), 0) FROM file_objects", "a backup says how much it will copy"),
    ("DELETE FROM file_recipes", "the same as of packs"),
    ("DELETE FROM file_chunked", "the same as of packs"),
    ("DELETE FROM file_chunks", "the same as of packs"),
    ("DELETE FROM file_packs", "of a copy that becomes a backup, where no object is in chunks"),
    ("UPDATE file_objects SET chunked = 0", "the same"),
    ("SELECT count(*) FROM log_streams", "a row for each stream, a thousand at most"),
    ("SELECT s.name, s.next - 1, s.bytes, s.created_at", "lists all of them"),
    (
        "SELECT coalesce((SELECT seq FROM sqlite_sequence",
        "SQLite's own table, a row for each of three tables",
    ),
    ("SELECT commit_id FROM commit_rows WHERE error IS NULL", "the table holds only what waits"),
    ("SELECT commit_id, error FROM commit_rows WHERE error IS NOT NULL", "the table holds only what waits"),
    ("SELECT record FROM commit_rows WHERE error IS NULL", "the table holds only what waits"),
    ("SELECT store, hash FROM state_dropped", "the table holds only objects that wait for a look"),
    (
        "INSERT INTO skill_versions(",
        "looks for skills that point to it only where a foreign key waits for its row: none does",
    ),
    (
        "SELECT seq, time, actor, action, object, before, after, detail, request, hash FROM audit WHERE 1 AND time >= ?1 ORDER BY seq DESC",
        "only where a page of entries matches: they are the first that are met",
    ),
    (
        "SELECT bucket, measurement, tags, target, rolled_until_ns",
        "a plan of retention looks at every series",
    ),
    ("SELECT bucket, measurement, tags, dropped_until_ns FROM retention_drops", "the same"),
    ("SELECT name, definition FROM rollups", "a row for each rollup of the manifest, at the start"),
    (
        "SELECT rollup, bucket, measurement, tags, until_ns FROM rollup_marks",
        "at the start, to keep them in memory",
    ),
    (
        "SELECT bucket, measurement, field, scale FROM series_decimals",
        "a row for each declaration of the manifest",
    ),
    ("SELECT bucket, measurement, since_ns, window_ns, ended FROM series_revisions", "the same"),
    ("SELECT count(*) FROM sqlite_schema", "the schema is in memory"),
    (
        "SELECT count(*) FROM unowned WHERE id IN (SELECT id FROM chunk)",
        "at the start; a row is a chunk of many rows",
    ),
    ("DELETE FROM unowned WHERE id IN (SELECT id FROM chunk)", "at the start of a file that is damaged"),
    (
        "SELECT series, id, version, rows, min_time, max_time, bytes, raw_bytes, checksum FROM chunk",
        "at the start, to keep them in memory",
    ),
    ("SELECT id, bucket, name, checksum FROM measurement", "at the start, to keep the catalogue in memory"),
    ("SELECT measurement, number, name, type, checksum FROM field", "the same"),
    ("SELECT id, measurement, tags, fields, checksum FROM series", "the same"),
    ("SELECT id, bucket, name FROM measurement", "once, by a migration"),
    ("SELECT measurement, number, name, type FROM field", "once, by a migration"),
    ("SELECT id, measurement, tags, fields FROM series", "once, by a migration"),
    ("SELECT seq, length(body), substr(body, 1, 7) FROM log", "once, by a migration"),
    ("SELECT seq FROM log", "at the start: are its numbers in order?"),
    ("SELECT seq, checksum, body FROM log", "at the start, to rebuild the head"),
    ("DELETE FROM log WHERE +seq", "in a damaged page a number may not be found by its index"),
    ("UPDATE log SET body = ?2, checksum = ?3 WHERE +seq", "the same"),
    ("SELECT count(*) FROM quarantine", "holds only what a person must look at"),
    ("SELECT seq, problem FROM quarantine", "the same"),
    ("DELETE FROM series_imports WHERE digest IN", "at most a thousand imports are noted"),
    ("SELECT digest, bucket, measurement FROM series_imports", "the same"),
    (
        "SELECT count(*), coalesce(sum(length(record)), 0) FROM refused",
        "at the start; holds what a person must look at",
    ),
    (
        "SELECT (SELECT count(*) FROM skills WHERE current_id IS NOT NULL)",
        "how far an index is, when somebody asks",
    ),
    ("SELECT name, scope, created_at, expires_at, last_used_at FROM tokens", "lists all of them"),
    (
        "SELECT id, bucket, measurement, tags, state, format, from_ns, until_ns",
        "at the start, to keep the archives in use in memory",
    ),
];

/// What is put in for `{}` and `{name}`, in their order, by how a statement begins.
const FILLED: &[(&str, &[&[&str]])] = &[
    (
        "SELECT seq, time, actor, action, object, before, after, detail, request, hash FROM {} WHERE seq >",
        &[&["audit"]],
    ),
    (
        "SELECT seq, time, actor, action, object, before, after, detail, request, hash FROM {} WHERE {conditions}",
        &[
            &["audit", "1", "seq", "100"],
            &["audit", "1 AND actor = ?1", "seq", "100"],
            &["audit", "1 AND request = ?1", "seq", "100"],
            &["audit", "1 AND action >= ?1 AND action < ?2", "seq", "100"],
            &["audit", "1 AND object >= ?1 AND object < ?2", "seq", "100"],
            &["audit", "1 AND time >= ?1", "seq", "100"],
            &["audit", "1 AND time >= ?1", "+seq", "100"],
            &["audit", "1 AND time >= ?1 AND time < ?2", "seq", "100"],
            &["audit", "1 AND seq < ?1", "seq", "100"],
            &["audit", "1 AND actor = ?1 AND seq < ?2", "seq", "100"],
        ],
    ),
    ("SELECT count(*) FROM (SELECT 1 FROM {} WHERE time >= ?1 LIMIT ?2)", &[&["audit"]]),
    (
        "SELECT coalesce(max(id), 0) FROM {table}",
        &[&["skills"], &["skill_versions"], &["skill_statuses"], &["skill_currents"], &["skill_performance"]],
    ),
    ("SELECT v.version, t.status, t.reason, t.set_at, t.set_by FROM skill_versions", &[&["100"]]),
    (
        "SELECT max({time}) FROM {table}",
        &[
            &["set_at", "skill_statuses", "version_id"],
            &["recorded_at", "skill_performance", "version_id"],
            &["since", "skill_currents", "skill_id"],
        ],
    ),
    ("SELECT {}, c.seq FROM state_checkpoints", &[&["s.name, c.revision, c.hash"]]),
    ("SELECT {} FROM state_strategies", &[&["s.name, c.revision, c.hash"]]),
    (
        "SELECT s.name, c.revision, c.hash, c.size, c.media_type, c.metadata, c.saved_at, c.saved_by, c.store, {content}",
        &[
            &["NULL", "c.revision", "<="],
            &["c.content", "c.revision", "="],
            &["c.content", "c.saved_at", "<="],
        ],
    ),
    (
        "SELECT {} FROM trade_fills f WHERE f.account = ?1 AND f.seq >",
        &[&["f.seq, f.instrument", "f.order_ref = ?7"], &["f.seq, f.instrument", "?7 IS NULL"]],
    ),
    ("SELECT {} FROM trade_cash", &[&["m.seq, m.currency"]]),
    ("SELECT {} FROM trade_orders o JOIN trade_fills", &[&["f.seq, f.instrument"]]),
    ("DELETE FROM {table} WHERE store", &[&["file_versions"], &["file_names"], &["file_objects"]]),
    ("DELETE FROM {table} WHERE rollup", &[&["rollup_marks"], &["rollup_late"]]),
    ("SELECT {} FROM file_versions", &[&["path, hash, size"]]),
    (
        "SELECT {} FROM {}",
        &[
            &["id, bucket, name", "measurement"],
            &["measurement, number, name, type", "field"],
            &["id, measurement, tags, fields", "series"],
            &["seq, length(body), substr(body, 1, 7)", "log"],
        ],
    ),
    (
        "UPDATE {} SET checksum",
        &[&["measurement", "id = ?1"], &["field", "measurement = ?1 AND number = ?2"], &["log", "seq = ?1"]],
    ),
    (
        "SELECT {}, checksum FROM {}",
        &[
            &["id, bucket, name", "measurement"],
            &["measurement, number, name, type", "field"],
            &["id, measurement, tags, fields", "series"],
        ],
    ),
    (
        "SELECT s.name, v.version, v.language, v.description, v.tags, s.uses",
        &[&["s.id IN (SELECT skill_id FROM skill_tags WHERE tag = ?3) AND"], &["?3 IS NULL AND"]],
    ),
];

/// The databases of a data folder, each in a file of its own, with the schema of today.
struct Databases {
    all: Vec<Connection>,
    _dir: tempfile::TempDir,
}

impl Databases {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let schemas: [(&str, &[Migration]); 3] = [
            ("structured", crate::schema::MIGRATIONS),
            ("series", crate::series::embedded::MIGRATIONS),
            ("outbox", crate::series::influx::MIGRATIONS),
        ];
        let all = schemas.map(|(name, migrations)| {
            let path = dir.path().join(name);
            Database::open(&path, Options::default(), migrations).unwrap().connection().unwrap()
        });
        Self { all: all.into(), _dir: dir }
    }

    fn structured(&self) -> &Connection {
        &self.all[0]
    }

    /// The plans of a statement, of each database that has its tables.
    fn plans(&self, sql: &str) -> Vec<Vec<String>> {
        self.all.iter().filter_map(|c| plan(c, sql).ok()).collect()
    }
}

/// The steps of SQLite's plan for a statement.
fn plan(c: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    // Without values for its parameters: the plan does not depend on them.
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        steps.push(row.get("detail")?);
    }
    Ok(steps)
}

/// The step of a plan that reads a whole table, if there is one.
fn whole_table(sql: &str, steps: &[String]) -> Option<String> {
    let made: BTreeSet<&str> = steps
        .iter()
        .filter_map(|s| s.strip_prefix("CO-ROUTINE ").or_else(|| s.strip_prefix("MATERIALIZE ")))
        .collect();
    let reads_whole = |step: &&String| {
        if step.contains("AUTOMATIC") {
            // The index would be made of the whole table, each time.
            return true;
        }
        let Some(scanned) = step.strip_prefix("SCAN ") else { return false };
        let name = scanned.split(' ').next().unwrap_or_default();
        let is_no_table = scanned.starts_with("CONSTANT ROW") || name.starts_with('(') || made.contains(name);
        // A virtual table that was asked something says what behind the colon.
        let is_asked = scanned.contains(" VIRTUAL TABLE ") && !scanned.ends_with("VIRTUAL TABLE INDEX 0:");
        let is_bounded = steps.len() == 1 && is_walk(sql);
        !(is_no_table || is_asked || is_bounded)
    };
    steps.iter().find(reads_whole).cloned()
}

/// Reads the first rows in an order that the table, or an index of it, has: no more than its limit.
fn is_walk(sql: &str) -> bool {
    let sql = sql.replace(" WHERE 1 ORDER BY ", " ORDER BY ");
    let columns = sql.strip_prefix("SELECT ").and_then(|s| s.split_once(" FROM ")).map_or("(", |(c, _)| c);
    let picks = [" WHERE ", " GROUP BY ", " DISTINCT ", " JOIN "].iter().any(|w| sql.contains(w));
    sql.contains(" LIMIT ") && !picks && !columns.contains('(') && !columns.starts_with("DISTINCT")
}

/// A statement with everything put in: one or several.
fn filled(of: &Written) -> Vec<String> {
    if !of.text.contains('{') {
        return vec![of.text.clone()];
    }
    let (_, fillings) = FILLED
        .iter()
        .find(|(begin, _)| of.text.starts_with(begin))
        .unwrap_or_else(|| panic!("{}:{}: say in FILLED what is put into `{}`", of.file, of.line, of.text));
    let place = regex::Regex::new(r"\{[a-z_]*\}").unwrap();
    let fill = |values: &&[&str]| {
        let mut values = values.iter();
        let full = place.replace_all(&of.text, |_: &regex::Captures<'_>| {
            values.next().unwrap_or_else(|| panic!("FILLED has too little for `{}`", of.text)).to_string()
        });
        let full = full.into_owned();
        assert!(values.next().is_none(), "FILLED has too much for `{}`", of.text);
        full
    };
    fillings.iter().map(fill).collect()
}

#[test]
fn no_statement_reads_a_whole_table_without_a_reason() {
    let databases = Databases::new();
    let mut unused: BTreeSet<&str> = WHOLE.iter().map(|(begin, _)| *begin).collect();
    let mut found = Vec::new();
    let all = statements();
    assert!(all.len() > 190, "{} statements", all.len());
    for written in &all {
        for sql in filled(written) {
            let plans = databases.plans(&sql);
            assert!(
                !plans.is_empty(),
                "{}:{}: `{sql}` fits no database: {:?}",
                written.file,
                written.line,
                plan(databases.structured(), &sql)
            );
            let Some(step) = plans.iter().find_map(|steps| whole_table(&sql, steps)) else { continue };
            match WHOLE.iter().find(|(begin, _)| sql.starts_with(begin)) {
                Some((begin, _)) => {
                    unused.remove(begin);
                }
                None => found.push(format!("{}:{}: {step}: {sql}", written.file, written.line)),
            }
        }
    }
    assert!(
        found.is_empty(),
        "these read whole tables; add an index with a migration, or name them in WHOLE with a reason:\n{}",
        found.join("\n")
    );
    assert!(unused.is_empty(), "these read no whole table, or are not there any more: {unused:#?}");
    assert!(WHOLE.iter().all(|(_, why)| why.len() > 5), "without a reason");
}

#[test]
fn a_scan_is_told_from_what_reads_no_more_than_it_must() {
    let databases = Databases::new();
    let c = databases.structured();
    c.execute_batch(
        "PRAGMA query_only = OFF; CREATE VIRTUAL TABLE temp.words USING fts5(word); PRAGMA query_only = ON",
    )
    .unwrap();
    let scan = |sql: &str| whole_table(&folded(sql), &plan(c, sql).unwrap());
    for whole in [
        "SELECT name FROM skills",
        "SELECT id FROM skills WHERE uses = ?1",
        "SELECT id FROM skills WHERE uses = ?1 LIMIT 1",
        "SELECT id FROM skills ORDER BY uses LIMIT 1",
        "SELECT count(*) FROM skills LIMIT 1",
        "UPDATE skills SET uses = 0",
        "DELETE FROM skills WHERE uses > 7",
        "SELECT a.id FROM skills a JOIN skills b ON a.uses = b.uses WHERE a.name = 'x'",
        "SELECT min(seq), max(seq) FROM audit",
        "SELECT DISTINCT namespace FROM setting_revisions LIMIT 1",
        "SELECT * FROM words",
        "SELECT id FROM (SELECT id, uses FROM skills) WHERE uses = 1",
    ] {
        assert!(scan(whole).is_some(), "{whole}: {:?}", plan(c, whole));
    }
    for good in [
        "SELECT id FROM skills WHERE name = ?1",
        "SELECT name FROM skills WHERE id > ?1 ORDER BY id LIMIT 5",
        "SELECT name FROM skills ORDER BY name LIMIT 5",
        "SELECT max(seq) FROM audit",
        "SELECT rowid FROM words WHERE words MATCH 'x'",
        "DELETE FROM words WHERE rowid = 1",
        "SELECT 1",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT i FROM n",
        "INSERT INTO skills(name, created_at) VALUES (?1, ?2) ON CONFLICT(name) DO NOTHING",
    ] {
        assert_eq!(scan(good), None, "{good}: {:?}", plan(c, good));
    }
}

/// A row that is referred to may be changed or deleted without reading the whole table that refers to it.
#[test]
fn every_foreign_key_is_found_by_an_index() {
    /// Their rows are never deleted, and their keys never change.
    const STAY: [&str; 8] = [
        "skill_versions",
        "skill_imports",
        "trade_accounts",
        "trade_instruments",
        "trade_orders",
        "trade_actions",
        "trade_statements",
        "trade_differences",
    ];
    let databases = Databases::new();
    for c in &databases.all {
        let tables: Vec<String> = c
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for table in tables {
            let mut keys: BTreeMap<i64, (String, Vec<String>)> = BTreeMap::new();
            let mut list = c.prepare(&format!("PRAGMA foreign_key_list({table})")).unwrap();
            let mut rows = list.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let key = keys.entry(row.get(0).unwrap()).or_default();
                key.0 = row.get(2).unwrap();
                key.1.push(row.get(3).unwrap());
            }
            for (parent, columns) in keys.into_values().filter(|(parent, _)| !STAY.contains(&parent.as_str()))
            {
                let conditions: Vec<String> = columns.iter().map(|c| format!("{c} = ?")).collect();
                let sql = format!("SELECT 1 FROM {table} WHERE {}", conditions.join(" AND "));
                let steps = plan(c, &sql).unwrap();
                assert_eq!(whole_table(&sql, &steps), None, "{table}({columns:?}) refers to {parent}");
            }
        }
    }
}

#[test]
fn a_connection_keeps_every_statement_prepared() {
    let databases = Databases::new();
    let mut of: Vec<usize> = vec![0; databases.all.len()];
    let all: BTreeSet<String> = statements().iter().flat_map(filled).collect();
    for sql in &all {
        for (n, c) in of.iter_mut().zip(&databases.all) {
            *n += usize::from(plan(c, sql).is_ok());
        }
    }
    assert!(of.iter().all(|n| *n <= STATEMENTS_KEPT), "{of:?} statements, {STATEMENTS_KEPT} are kept");
}

/// SQLite says which rows a statement touched, but for some kinds of statement and of tables: values that are kept of those would stay.
#[test]
fn what_is_kept_in_memory_is_changed_only_by_statements_that_say_so() {
    const TOLD_BY_SQLITE: [&str; 3] = ["skills", "skill_versions", "tokens"];
    /// Without a rowid, or with one that does not say what it is about: who adds to them calls `Tx::touches`.
    const TOLD_BY_US: [(&str, &str); 3] = [
        ("settings/mod.rs", "setting_revisions"),
        ("skills/provenance.rs", "skill_provenance"),
        ("skills/status.rs", "skill_statuses"),
    ];
    let databases = Databases::new();
    let made = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    for table in TOLD_BY_SQLITE {
        let sql: String = databases.structured().query_row(made, [table], |r| r.get(0)).unwrap();
        assert!(!sql.contains("WITHOUT ROWID"), "the update hook is silent about {table}");
    }
    let mut by_us = Vec::new();
    for written in statements() {
        for sql in filled(&written) {
            let changes = |table: &str| {
                let words: Vec<&str> = sql.split([' ', '(']).collect();
                let after = |verb: &[&str]| {
                    words.windows(verb.len() + 1).any(|w| w.ends_with(&[table]) && w.starts_with(verb))
                };
                after(&["INTO"])
                    || after(&["UPDATE"])
                    || after(&["OR", "REPLACE"])
                    || after(&["DELETE", "FROM"])
            };
            if TOLD_BY_SQLITE.iter().any(|t| changes(t)) {
                let silent =
                    sql.contains("OR REPLACE") || !(sql.starts_with("INSERT") || sql.contains(" WHERE "));
                assert!(
                    !silent,
                    "{}:{}: the update hook is silent about `{sql}`",
                    written.file, written.line
                );
            }
            let told = TOLD_BY_US.iter().filter(|(_, table)| changes(table));
            by_us.extend(told.map(|(_, table)| (written.file.clone(), *table)));
        }
    }
    by_us.sort();
    let wanted = TOLD_BY_US.map(|(file, table)| (file.to_string(), table));
    assert_eq!(by_us, wanted, "each of them calls `Tx::touches`");
}
