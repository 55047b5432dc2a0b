//! What is stored at each migration of the structured database, in the tables that it has since then: rows as the host of that
//! time wrote them.

use crate::Caller;
use crate::audit::{Audit, Entry, RequestId, SigningKey};
use crate::series::record;
use crate::series::{Column, Frame, SeriesKey, Values};
use crate::skills::NewVersion;
use crate::sqlite::Database;
use rusqlite::Connection;
use serde_json::json;
use sha2::Digest as _;
use std::path::Path;
use std::sync::Arc;

pub(super) const SKILL: &str = "pullback";
pub(super) const CODE: &str = "def run(bars):\n    return bars[-1]\n";
/// The content of a file, whose object is beside the database.
pub(super) const WEIGHTS: &[u8] = b"weights";
pub(super) const SECRET: &str = "shp_f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1";
/// A row of a commit that was not in the series yet.
pub(super) const MEASUREMENT: &str = "signal.pullback";
pub(super) const VALUE: i64 = 7;
pub(super) const AUTHOR: &str = "desk";
/// What a strategy saved.
pub(super) const STATE: &[u8] = b"{\"position\":3}";
/// Entries of the audit trail from its first migration on, and from that with segments on.
pub(super) const ENTRIES: u64 = 3;
pub(super) const ENTRIES_SEALED: u64 = 5;
/// 14 November 2023, in nanoseconds.
const THEN: i64 = 1_700_000_000_000_000_000;

/// The version that is the current one.
pub(super) fn skill() -> NewVersion {
    NewVersion {
        name: SKILL.into(),
        version: Some(crate::skills::Version::new(0, 2, 0)),
        language: "python".into(),
        code: CODE.into(),
        description: "Buys the dip in an uptrend".into(),
        tags: vec!["dip".into(), "trend".into()],
        metadata: json!({ "author": "desk", "ünï": [1, null] }),
        ..NewVersion::default()
    }
}

/// Adds what belongs to a migration to a file that has it and none after it.
pub(super) fn fill(number: u32, path: &Path) {
    let migrations: Vec<_> =
        crate::schema::MIGRATIONS.iter().filter(|m| m.number <= number).copied().collect();
    let db = Arc::new(Database::open(path, crate::sqlite::Options::default(), &migrations).unwrap());
    let write = |f: &dyn Fn(&Connection) -> rusqlite::Result<()>| {
        db.write(|tx| Ok(f(tx)?)).unwrap_or_else(|e| panic!("migration {number}: {e}"));
    };
    match number {
        1 => write(&skills),
        2 => write(&files),
        3 => write(&settings),
        4 => write(&audit),
        5 => write(&tokens_and_plugins),
        6 => write(&index),
        7 => write(&|c| {
            c.execute(
                "INSERT INTO series_revisions VALUES ('market', 'bar.*', ?1, 86400000000000, 0)",
                [THEN],
            )?;
            Ok(())
        }),
        8 => write(&|c| {
            c.execute_batch(
                r#"INSERT INTO rollups VALUES ('hours', 'bar.1m.* 1h');
                   INSERT INTO rollup_marks VALUES ('hours', 'market', 'bar.1m.A', '[["venue","x"]]', 1700000000000000000);
                   INSERT INTO rollup_late(rollup, bucket, measurement, tags, start_ns, end_ns)
                   VALUES ('hours', 'market', 'bar.1m.A', '[]', 1699992000000000000, 1699995600000000000);"#,
            )
        }),
        9 => seal(&db),
        10 => write(&schemas),
        11 => write(&commits),
        12 => {
            write(&|c| c.execute_batch("INSERT INTO series_decimals VALUES ('market', 'bar.*', 'close', 2)"))
        }
        13 => write(&|c| {
            c.execute(
                "INSERT INTO series_imports VALUES (?1, 'market', NULL, 1000, ?2)",
                ("d".repeat(64), THEN),
            )?;
            Ok(())
        }),
        15 => write(&provenance),
        16 => write(&state),
        19 => write(&labels_and_logs),
        _ => {}
    }
    db.checkpoint().unwrap();
}

fn skills(c: &Connection) -> rusqlite::Result<()> {
    let newest = skill();
    let older = NewVersion { code: "pass".into(), tags: Vec::new(), ..newest.clone() };
    c.execute(
        "INSERT INTO skills(name, uses, last_used, created_at) VALUES (?1, 41, ?2, ?2)",
        (SKILL, THEN),
    )?;
    for (version, of) in [("0.1.0", &older), ("0.2.0", &newest)] {
        c.execute(
            "INSERT INTO skill_versions(skill_id, version, hash, language, code, description, tags, metadata, depends, created_at, created_by)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, '{}', ?8, 'operator')",
            (
                version,
                of.hash(),
                &of.language,
                &of.code,
                &of.description,
                json!(of.tags).to_string(),
                of.metadata.to_string(),
                THEN,
            ),
        )?;
    }
    c.execute("UPDATE skills SET current_id = 2 WHERE id = 1", [])?;
    for tag in &newest.tags {
        c.execute("INSERT INTO skill_tags VALUES (?1, 1)", [tag])?;
    }
    for table in ["skill_text", "skill_trigrams"] {
        c.execute(
            &format!("INSERT INTO {table}(rowid, name, description, tags) VALUES (1, ?1, ?2, ?3)"),
            (SKILL, &newest.description, newest.tags.join(" ")),
        )?;
    }
    c.execute(
        "INSERT INTO skill_performance(version_id, period_start, period_end, returns, sharpe, win_rate, max_drawdown, samples, recorded_at, recorded_by)
         VALUES (2, ?1 - 10, ?1, 0.1, 1.7, 0.55, 0.08, 120, ?1, 'token:trader')",
        [THEN],
    )?;
    Ok(())
}

fn files(c: &Connection) -> rusqlite::Result<()> {
    let hash = blake3::hash(WEIGHTS).to_hex().to_string();
    c.execute("INSERT INTO file_objects VALUES ('models', ?1, ?2, ?3)", (&hash, WEIGHTS.len() as i64, THEN))?;
    for (path, version, hash) in
        [("pullback/model.bin", 1, Some(&hash)), ("Gone.bin", 1, Some(&hash)), ("Gone.bin", 2, None)]
    {
        c.execute(
            "INSERT INTO file_versions VALUES ('models', ?1, ?2, ?3, ?4, ?5, 'operator', 'application/octet-stream', '{}')",
            (path, version, hash, hash.map_or(0, |_| WEIGHTS.len() as i64), THEN),
        )?;
        c.execute(
            "INSERT INTO file_names VALUES ('models', ?1, ?2) ON CONFLICT DO NOTHING",
            (path.to_lowercase(), path),
        )?;
    }
    Ok(())
}

fn settings(c: &Connection) -> rusqlite::Result<()> {
    for (key, revision, value) in [
        ("theme", 1, Some("\"light\"")),
        ("gone", 1, Some("1")),
        ("theme", 2, Some("\"dark\"")),
        ("gone", 2, None),
    ] {
        c.execute(
            "INSERT INTO setting_revisions VALUES ('user', ?1, ?2, ?3, ?4, 'operator')",
            (key, revision, value, THEN + revision),
        )?;
    }
    Ok(())
}

/// The chain as it is described, not as the present code makes it.
fn audit(c: &Connection) -> rusqlite::Result<()> {
    let mut previous = [0_u8; 32];
    for seq in 1..=ENTRIES as i64 {
        let (time, object, detail) =
            ((THEN + seq).to_string(), format!("skill:{SKILL}@0.{seq}.0"), r#"{"n":1}"#);
        let before = (seq > 1).then_some("d1");
        let fields = [
            Some(seq.to_string().as_str()),
            Some(time.as_str()),
            Some("operator"),
            Some("skills.put"),
            Some(object.as_str()),
            before,
            Some("d2"),
            Some(detail),
        ]
        .map(|f| f.map(str::to_string));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous);
        for field in &fields {
            hasher.update(&field.as_ref().map_or(u64::MAX, |f| f.len() as u64).to_le_bytes());
            hasher.update(field.as_deref().unwrap_or_default().as_bytes());
        }
        previous = *hasher.finalize().as_bytes();
        c.execute(
            "INSERT INTO audit(seq, time, actor, action, object, before, after, detail, hash)
             VALUES (?1, ?2, 'operator', 'skills.put', ?3, ?4, 'd2', ?5, ?6)",
            (seq, THEN + seq, &object, before, detail, previous),
        )?;
    }
    Ok(())
}

fn tokens_and_plugins(c: &Connection) -> rusqlite::Result<()> {
    let hash: [u8; 32] = sha2::Sha256::digest(SECRET.as_bytes()).into();
    c.execute(
        "INSERT INTO tokens(name, hash, scope, created_at) VALUES ('feed', ?1, 'write', ?2)",
        (hash, THEN),
    )?;
    c.execute("INSERT INTO plugin_state VALUES ('retention', 1, 2, 1, ?1)", [THEN])?;
    for (state, log) in [("ok", Some(r#"["line"]"#)), ("running", None)] {
        c.execute(
            "INSERT INTO plugin_runs(plugin, trigger, dry_run, state, started_at, log) VALUES ('retention', 'schedule', 0, ?1, ?2, ?3)",
            (state, THEN, log),
        )?;
    }
    c.execute("INSERT INTO retention_marks VALUES ('market', 'tick.A', '[]', 'bar.1h.A', ?1)", [THEN])?;
    c.execute("INSERT INTO retention_drops VALUES ('market', 'tick.A', '[]', ?1)", [THEN])?;
    Ok(())
}

fn index(c: &Connection) -> rusqlite::Result<()> {
    c.execute(
        "INSERT INTO skill_index(skill_id, plugin, revision, terms, tags, vector, indexed_at)
         VALUES (1, 'thesaurus', 'r1', '[\"retracement\"]', '[\"mean\"]', x'017f80', ?1)",
        [THEN],
    )?;
    c.execute("INSERT INTO skill_terms(rowid, terms) VALUES (1, 'retracement')", [])?;
    Ok(())
}

/// Two entries more: that of the seal, and one of a request.
fn seal(db: &Arc<Database>) {
    let audit = Audit::new(db.clone());
    audit.seal(&Caller::Operator).unwrap();
    let entry = || Entry::new(&Caller::Operator, "settings.set", "setting:user/theme");
    RequestId::new("request-1").unwrap().during(|| audit.record(&entry())).unwrap();
    let (key, _) = SigningKey::generate().unwrap();
    audit.checkpoint(&Caller::Operator, &key, "desk").unwrap();
}

fn schemas(c: &Connection) -> rusqlite::Result<()> {
    c.execute(
        "INSERT INTO setting_revisions VALUES ('user', 'lots', 1, '100', ?1, 'token:feed')",
        [THEN + 9],
    )?;
    c.execute_batch("INSERT INTO setting_changes(namespace, key, revision) VALUES ('user', 'lots', 1)")?;
    c.execute(
        r#"INSERT INTO setting_schemas VALUES ('user', 'lots', 1, '{"type":"integer","maximum":500}', ?1, 'operator')"#,
        [THEN],
    )?;
    Ok(())
}

fn commits(c: &Connection) -> rusqlite::Result<()> {
    let columns = vec![Column::new("n", Values::Integer(vec![VALUE]))];
    let key = SeriesKey::new("market", MEASUREMENT, Vec::new()).unwrap();
    let part = (Arc::new(key), Arc::new(Frame { times: vec![THEN], columns }));
    let answer = json!({ "id": 1, "made_at": THEN, "skills": [], "files": [], "settings": [], "rows": 1 });
    c.execute(
        "INSERT INTO commits(actor, idempotency_key, digest, answer, made_at) VALUES ('operator', 'key-1', ?1, ?2, ?3)",
        ("c".repeat(64), answer.to_string(), THEN),
    )?;
    c.execute(
        "INSERT INTO commit_rows(commit_id, record) VALUES (1, ?1)",
        [record::encode(&[part]).unwrap()],
    )?;
    Ok(())
}

fn provenance(c: &Connection) -> rusqlite::Result<()> {
    c.execute(
        "INSERT INTO skill_imports(digest, format, imported_at, imported_by) VALUES (?1, 'voyager', ?2, 'operator')",
        ("e".repeat(64), THEN),
    )?;
    c.execute("INSERT INTO skill_provenance VALUES (2, ?1, 1, 'Buy the dip.', 'run-1', 1)", [AUTHOR])?;
    c.execute(
        "INSERT INTO skill_statuses(version_id, status, reason, set_at, set_by) VALUES (1, 'retired', 'too slow', ?1, 'operator')",
        [THEN],
    )?;
    Ok(())
}

fn state(c: &Connection) -> rusqlite::Result<()> {
    let hash = blake3::hash(STATE).to_hex().to_string();
    c.execute("INSERT INTO state_strategies(name) VALUES (?1)", [SKILL])?;
    c.execute(
        "INSERT INTO state_checkpoints(strategy, revision, hash, size, media_type, metadata, saved_at, saved_by, content)
         VALUES (1, 1, ?1, ?2, 'application/json', '{}', ?3, 'token:feed', ?4)",
        (&hash, STATE.len() as i64, THEN, STATE),
    )?;
    c.execute("INSERT INTO state_keys VALUES (1, 1, 'token:feed', 'key-1', ?1, '{}')", ["f".repeat(64)])?;
    c.execute("INSERT INTO state_dropped VALUES ('models', ?1, 0)", ["a".repeat(64)])?;
    Ok(())
}

fn labels_and_logs(c: &Connection) -> rusqlite::Result<()> {
    let file = "'models', 'pullback/model.bin', 1";
    c.execute_batch(&format!(
        "INSERT INTO file_labels VALUES ('models', 'production', 1, 'pullback/model.bin', 1, {THEN}, 'operator');
         INSERT INTO file_label_changes VALUES ('models', 'production', 1, 'pullback/model.bin', 1, {THEN}, 'operator');
         INSERT INTO file_provenance VALUES ({file}, 'pullback', '0.2.0');
         INSERT INTO file_data VALUES ({file}, 1, 'bar.1m.A', 0, {THEN});
         INSERT INTO log_streams(id, name, next, created_at, bytes, since) VALUES (1, 'trader', 2, {THEN}, 5, {THEN});
         INSERT INTO log_lines VALUES (1, 1, {THEN}, 3, 'begun');"
    ))
}
