//! `series archives`, `series archive`, `series restore`: old rows in files, and back.

use super::super::client::{Client, with_query};
use super::super::output::{Failure, Output, time};
use super::super::skills::word;
use super::{Choice, key, number, when};
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Bring the archived ticks of a symbol back, whole files that touch the range:

  shiphold series restore --measurement tick.AAPL --start 2026-01-01 --end 2026-02-01

What would come back, and nothing else:

  shiphold series restore --measurement '*' --dry-run

An archive of line protocol, of before there was an index:

  shiphold series restore --file archives/tick/2026-06-26/tick.AAPL-1a2b3c4d-….lp.gz

A restore that was cut off goes on when the same command is given again.";

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    choice: Choice,
    #[arg(long)]
    start: Option<String>,
    #[arg(long)]
    end: Option<String>,
    /// Of this state, in place of those in use
    #[arg(long, value_parser = ["copy", "only", "restored", "replaced", "deleted"])]
    state: Option<String>,
    /// Files of line protocol, of before there was an index
    #[arg(long, conflicts_with_all = ["start", "end", "state"])]
    old: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Archive {
    #[command(flatten)]
    choice: Choice,
    /// The file store
    #[arg(long)]
    store: String,
    /// Rows before this time: RFC 3339, a date, or nanoseconds
    #[arg(long)]
    before: String,
    /// Leave the rows in the engine, too
    #[arg(long)]
    copy: bool,
    /// More than safety.max_drop_share of all rows may leave the engine
    #[arg(long)]
    confirm: bool,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Restore {
    #[command(flatten)]
    choice: Choice,
    #[arg(long)]
    start: Option<String>,
    #[arg(long)]
    end: Option<String>,
    /// An archive of line protocol: STORE/PATH
    #[arg(long, value_name = "STORE/PATH", conflicts_with_all = ["start", "end"])]
    file: Option<String>,
    /// Show what would come back, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn list(l: List, client: &Client, out: &Output) -> Result<(), Failure> {
    if l.old {
        let path = with_query("/v1/series/archives", &[("old", Some("true".into()))]);
        let v = client.get(&path).await?;
        let columns = [("store", "store"), ("path", "path"), ("bucket", "bucket"), ("rows", "rows")];
        out.list(&v, &columns, "no archives of line protocol");
        return Ok(());
    }
    let mut body = l.choice.selector();
    if let Some(map) = body.as_object_mut() {
        map.insert("start".into(), when(l.start.as_ref()));
        map.insert("end".into(), when(l.end.as_ref()));
        map.insert("state".into(), json!(l.state));
    }
    let v = client.post("/v1/series/archives", &body).await?;
    if out.json {
        out.json(&v);
    } else {
        table(v.as_array().map(Vec::as_slice).unwrap_or_default(), out, "no archives");
    }
    Ok(())
}

fn table(archives: &[Value], out: &Output, empty: &str) {
    let at = |a: &Value, key: &str| a.get(key).and_then(Value::as_i64).map(time).unwrap_or_default();
    let row = |a: &Value| {
        let (bucket, name) = key(a);
        let file = format!("{}/{}", word(a, "store"), word(a, "path"));
        vec![
            number(a, "id").to_string(),
            bucket,
            name,
            word(a, "state").to_string(),
            number(a, "rows").to_string(),
            at(a, "first"),
            at(a, "last"),
            file,
        ]
    };
    let rows: Vec<Vec<String>> = archives.iter().map(row).collect();
    if rows.is_empty() {
        return out.line(empty);
    }
    out.table(&["id", "bucket", "series", "state", "rows", "first", "last", "file"], &rows);
}

pub(super) async fn archive(a: Archive, client: &Client, out: &Output) -> Result<(), Failure> {
    let Some(measurement) = &a.choice.measurement else {
        return Err(Failure::usage(
            "nothing says which series are archived",
            "name them with --measurement; '*' means every one",
        ));
    };
    let body = json!({
        "bucket": a.choice.bucket, "measurement": measurement, "tags": a.choice.tags, "store": a.store,
        "before": when(Some(&a.before)), "copy": a.copy, "confirm": a.confirm, "dry_run": a.dry_run,
    });
    let v = client.work("/v1/series/archive", &body, out, "archiving").await?;
    if out.json {
        out.json(&v);
        return Ok(());
    }
    let plan = v.get("plan").unwrap_or(&Value::Null);
    let steps = plan.get("steps").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(report) = v.get("report").filter(|r| !r.is_null()) else {
        let row = |s: &Value| {
            let (bucket, name) = key(s);
            let step = word(s, "action").to_string();
            vec![step, bucket, name, number(s, "rows").to_string(), word(s, "refused").to_string()]
        };
        let rows: Vec<Vec<String>> = steps.iter().map(row).collect();
        if rows.is_empty() {
            out.line("no chosen series has rows before that time");
        } else {
            out.table(&["step", "bucket", "series", "rows", "refused"], &rows);
        }
        let why = word(plan, "needs_confirmation");
        if !why.is_empty() {
            out.line(format!("{why}: it needs --confirm"));
        }
        return Ok(());
    };
    out.line(format!(
        "{} rows are in the store {}, and {} have left the engine",
        number(report, "archived_rows"),
        a.store,
        number(report, "dropped_rows")
    ));
    Ok(())
}

pub(super) async fn restore(r: Restore, client: &Client, out: &Output) -> Result<(), Failure> {
    let mut body = match &r.file {
        Some(file) => json!({ "file": file }),
        None => r.choice.selector(),
    };
    if r.file.is_none() && r.choice.measurement.is_none() {
        return Err(Failure::usage(
            "nothing says which series are brought back",
            "name them with --measurement; '*' means every one",
        ));
    }
    if let Some(map) = body.as_object_mut() {
        if r.file.is_none() {
            map.insert("start".into(), when(r.start.as_ref()));
            map.insert("end".into(), when(r.end.as_ref()));
        }
        map.insert("dry_run".into(), json!(r.dry_run));
    }
    let v = client.work("/v1/series/restore", &body, out, "bringing back").await?;
    if out.json {
        out.json(&v);
        return Ok(());
    }
    let (files, rows) = (number(&v, "files"), number(&v, "rows"));
    if r.dry_run {
        let archives = v.get("archives").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !archives.is_empty() {
            table(archives, out, "");
        }
        out.line(format!("{files} files with {rows} rows would be brought back"));
    } else {
        let written = number(&v, "written");
        out.line(format!(
            "{files} files with {rows} rows are back in the engine; {written} rows were written"
        ));
    }
    Ok(())
}
