//! Asks a plugin what its fixture expects an answer to.

use super::sandbox::Sandbox;
use crate::cli::output::time;
use serde_json::Value;
use shiphold_kit::fixture::{Actual, Answer, Ask, Blob, Entry, Expect, FILE_BYTES_MAX, Fixture, Said};
use shiphold_kit::{Project, World};
use shiphold_runtime::{Plugins, RunOptions};
use shiphold_storage::backup::BlobStore;
use shiphold_storage::retention::{Action, Step};
use shiphold_storage::series::Budget;
use shiphold_storage::series::query::parse_time;
use shiphold_storage::skills::{SkillIndexer, SkillQuery};
use shiphold_storage::{Caller, Error, Result};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Loads the plugin and asks it. An error of the plugin is an answer; what is returned is an error of the fixture.
pub(super) fn ask(
    runtime: &Runtime,
    sandbox: &Sandbox,
    project: &Project,
    fixture: &Fixture,
    exe: &Path,
) -> Result<Actual> {
    let layer = &sandbox.layer;
    let now_ns = fixture.now.as_deref().map(|now| parse_time("now", now, chrono_tz::UTC)).transpose()?;
    let plugins = runtime.block_on(Plugins::load(layer.clone(), exe.to_path_buf()))?;
    let mut actual = Actual::default();
    let status = plugins.list(&Caller::Operator)?.into_iter().find(|p| p.name == project.name);
    if let Some(error) = status.and_then(|s| s.error) {
        actual.error = Some(error);
        return Ok(actual);
    }
    match project.world {
        World::RetentionPolicy => plan(runtime, &plugins, project, now_ns, &mut actual)?,
        World::SkillIndexer => index(sandbox, &fixture.expect, &mut actual)?,
        World::QueryBuilder => query(runtime, &plugins, &fixture.expect, &mut actual)?,
        World::BackupTarget => target(runtime, &plugins, project, &fixture.expect, &mut actual)?,
    }
    Ok(actual)
}

fn plan(
    runtime: &Runtime,
    plugins: &Arc<Plugins>,
    project: &Project,
    now_ns: Option<i64>,
    actual: &mut Actual,
) -> Result<()> {
    let options =
        RunOptions { dry_run: true, throwaway: true, confirm: true, now_ns, trigger: "fixture".into() };
    match runtime.block_on(plugins.run(&Caller::Operator, &project.name, options)) {
        Ok(report) => {
            actual.plan = report.plan.steps.iter().map(step).collect();
            (actual.more, actual.log) = (report.more, report.log);
        }
        Err(e) => {
            let run = plugins.runs(&Caller::Operator, &project.name, 1)?.into_iter().next();
            actual.log = run.map(|r| r.log).unwrap_or_default();
            actual.error = Some(e.message().into());
        }
    }
    Ok(())
}

/// A step as a fixture writes it.
fn step(step: &Step) -> String {
    let rows = step.rows;
    let rows = format!("({rows} row{})", if rows == 1 { "" } else { "s" });
    let what = match &step.action {
        Action::Downsample { key, timeframe, before } => {
            format!("downsample {key} to {timeframe} before {} {rows}", time(*before))
        }
        Action::Archive { key, store, before } => {
            format!("archive {key} to {store} before {} {rows}", time(*before))
        }
        Action::DropBefore { key, before } => format!("drop {key} before {} {rows}", time(*before)),
        Action::DropFile { store, path } => format!("drop-file {store}/{path}"),
    };
    match &step.refused {
        None => what,
        Some(why) => format!("{what}: refused: {why}"),
    }
}

fn index(sandbox: &Sandbox, expect: &Expect, actual: &mut Actual) -> Result<()> {
    let skills = sandbox.layer.skills();
    let indexer = skills
        .indexers()
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the indexer is loaded and not among those that are asked"))?;
    let indexer: &dyn SkillIndexer = indexer.as_ref();
    let said = |e: Error| e.message().to_string();
    for want in &expect.index {
        let skill = skills.get(&Caller::Operator, want.skill.as_deref().unwrap_or_default(), None)?;
        let entry = indexer.index(&skill).and_then(|e| e.check().map(|()| e));
        actual.index.push(entry.map_err(said).map(|e| Entry {
            terms: e.terms,
            tags: e.tags,
            dimensions: e.vector.len() as u64,
        }));
    }
    for want in &expect.expand {
        let said_of = indexer.expand(want.question.as_deref().unwrap_or_default());
        let expansion = said_of.and_then(|e| e.check().map(|()| e));
        actual.expand.push(expansion.map_err(said).map(|e| Entry {
            terms: e.terms,
            tags: Vec::new(),
            dimensions: e.vector.len() as u64,
        }));
    }
    if !expect.search.is_empty() {
        skills.reindex(&Caller::Operator, true, &mut |_| true)?;
    }
    for want in &expect.search {
        let asked = SkillQuery { text: want.question.clone(), ..SkillQuery::default() };
        let hits = skills.search(&Caller::Operator, &asked)?.hits;
        actual.search.push(hits.into_iter().map(|h| h.name).collect());
    }
    Ok(())
}

fn query(runtime: &Runtime, plugins: &Arc<Plugins>, expect: &Expect, actual: &mut Actual) -> Result<()> {
    actual.queries = plugins.queries(&Caller::Operator)?.into_iter().map(|q| q.name).collect();
    for want in &expect.query {
        let budget = Budget::default();
        let asked = plugins.ask(&Caller::Operator, None, &want.name, &want.params, &budget);
        let answer = match runtime.block_on(asked) {
            Ok(table) => {
                let table = serde_json::to_value(&table).map_err(|e| Error::internal(e.to_string()))?;
                Ok(answer(&table))
            }
            Err(e) => Err(e.message().to_string()),
        };
        actual.query.push(answer);
    }
    Ok(())
}

/// Asks a backup target as the host does: what it stores is read back and compared.
fn target(
    runtime: &Runtime,
    plugins: &Arc<Plugins>,
    project: &Project,
    expect: &Expect,
    actual: &mut Actual,
) -> Result<()> {
    if expect.contract == Some(true) {
        actual.broken = runtime.block_on(plugins.check_target(&Caller::Operator, &project.name))?;
    }
    let blobs = runtime.block_on(plugins.target(&Caller::Operator, &project.name))?;
    for want in &expect.blob {
        actual.blob.push(operation(blobs.as_ref(), want).map_err(|e| e.message().to_string()));
    }
    Ok(())
}

fn operation(blobs: &dyn BlobStore, want: &Blob) -> Result<Said> {
    let ask = want.ask().ok_or_else(|| Error::internal("a fixture was not checked"))?;
    Ok(match ask {
        Ask::Put(name) => {
            let bytes = match (&want.text, want.bytes) {
                (Some(text), _) => text.clone().into_bytes(),
                // Equal contents are no good test of which one came back.
                (None, n) => {
                    let n = usize::try_from(n.unwrap_or_default()).unwrap_or(usize::MAX);
                    name.bytes().cycle().take(n).collect()
                }
            };
            blobs.put(name, &bytes)?;
            Said::Done
        }
        Ask::Get(name) => {
            let offset = want.offset.unwrap_or_default();
            let length = match want.length {
                Some(length) => length,
                None => {
                    let size = blobs.stat(name)?;
                    let size = size.ok_or_else(|| Error::not_found(format!("there is no blob `{name}`")))?;
                    size.saturating_sub(offset)
                }
            };
            Said::Bytes(blobs.get(name, offset, length.min(FILE_BYTES_MAX))?)
        }
        Ask::List(prefix) => Said::Blobs(
            blobs.list(prefix)?.into_iter().map(|(name, size)| format!("{name} {size}")).collect(),
        ),
        Ask::Stat(name) => Said::Size(blobs.stat(name)?),
        Ask::Delete(name) => {
            blobs.delete(name)?;
            Said::Done
        }
    })
}

/// Rows of an answer in its JSON form: times as RFC 3339, `""` where there is no value.
fn answer(table: &Value) -> Answer {
    let columns: Vec<&Value> = table.get("columns").and_then(Value::as_array).into_iter().flatten().collect();
    let name = |c: &&Value| c.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
    let rows = table.get("rows").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let cell = |column: &Value, row: usize| {
        let value = column.get("values").and_then(|v| v.get(row)).cloned().unwrap_or(Value::Null);
        match (column.get("type").and_then(Value::as_str), value) {
            (_, Value::Null) => Value::from(""),
            (Some("time"), value) => value.as_i64().map_or(value, |ns| time(ns).into()),
            (_, value) => value,
        }
    };
    Answer {
        columns: columns.iter().map(name).collect(),
        rows: (0..rows).map(|row| columns.iter().map(|c| cell(c, row)).collect()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shiphold_storage::series::SeriesKey;

    #[test]
    fn steps_read_as_sentences() {
        let key = SeriesKey::new("market", "tick.A", vec![("venue".into(), "x".into())]).unwrap();
        let of = |action, rows, refused: Option<&str>| {
            step(&Step { action, rows, refused: refused.map(Into::into), target: None })
        };
        let down = Action::Downsample { key: key.clone(), timeframe: "1m".into(), before: 0 };
        assert_eq!(
            of(down, 2, None),
            "downsample market/tick.A,venue=x to 1m before 1970-01-01T00:00:00Z (2 rows)"
        );
        let drop = Action::DropBefore { key, before: 0 };
        assert_eq!(
            of(drop, 1, Some("no")),
            "drop market/tick.A,venue=x before 1970-01-01T00:00:00Z (1 row): refused: no"
        );
        assert_eq!(
            of(Action::DropFile { store: "s".into(), path: "a/b".into() }, 1, None),
            "drop-file s/a/b"
        );
    }

    #[test]
    fn columns_become_rows() {
        let table = json!({ "rows": 2, "columns": [
            { "name": "time", "type": "time", "values": [0, 1_000_000_000] },
            { "name": "v", "type": "float", "values": [1.5, null] },
        ] });
        let got = answer(&table);
        assert_eq!(got.columns, ["time", "v"]);
        assert_eq!(json!(got.rows), json!([["1970-01-01T00:00:00Z", 1.5], ["1970-01-01T00:00:01Z", ""]]));
    }
}
