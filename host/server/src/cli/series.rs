//! `shiphold series …`

mod archives;
mod import;
mod query;
mod tail;

use super::client::{Client, with_query};
use super::input;
use super::output::{Failure, Output, time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shiphold_storage::units::Span;
use std::path::PathBuf;
use std::process::ExitCode;

use query::Query;
pub(super) use query::{Format, rows};
pub(super) use query::{condition, when};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What series there are, with fields, rows and span
    List(Choice),
    /// What buckets there are, and how long InfluxDB keeps their rows
    Buckets,
    /// The newest value of each field
    Latest {
        #[command(flatten)]
        choice: Choice,
        /// As it was known at this time, of series with [[series.revisions]]
        #[arg(long, value_name = "TIME")]
        as_known_at: Option<String>,
    },
    /// Rows, resampled bars, or windows with aggregates
    Query(Box<Query>),
    /// Rows as they are written, until Ctrl-C
    Tail(tail::Tail),
    /// Rows from a file in Parquet or CSV: an export, or what other tools wrote
    Import(Box<import::Import>),
    /// Whole series into Parquet or CSV, however many rows
    Export(super::export::Export),
    /// Write line protocol from a file; `-` reads standard input
    Write {
        file: PathBuf,
        #[arg(long)]
        bucket: Option<String>,
        /// Unit of the timestamps
        #[arg(long, default_value = "ns", value_parser = ["ns", "us", "ms", "s"])]
        precision: String,
    },
    /// Delete rows of the chosen series within a range; audited
    Delete {
        #[command(flatten)]
        choice: Choice,
        #[arg(long)]
        start: Option<String>,
        #[arg(long)]
        end: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Files that hold old rows, which queries still read
    Archives(archives::List),
    /// Write old rows into files of a store and take them out of the engine; by the rules of retention
    Archive(archives::Archive),
    /// Bring archived rows back into the engine; audited
    Restore(archives::Restore),
    /// Rows, chunks and bytes of the engine
    Stats,
    /// Turn what is in memory into sealed chunks
    Seal,
    /// Merge chunks and give free space back
    Compact,
    /// What series have, and the gaps between their rows
    Coverage {
        #[command(flatten)]
        choice: Choice,
        #[arg(long)]
        start: Option<String>,
        #[arg(long)]
        end: Option<String>,
        /// The timeframe in which a row is expected; of bars their own
        #[arg(long, value_name = "TIMEFRAME")]
        every: Option<String>,
        /// Leave out gaps that are not longer, such as nights: '16 h'
        #[arg(long, value_name = "SPAN")]
        longer_than: Option<String>,
        /// Rows are expected within the sessions of this calendar of the manifest only
        #[arg(long, value_name = "CALENDAR")]
        session: Option<String>,
        /// As it was known at this time, of series with [[series.revisions]]
        #[arg(long, value_name = "TIME")]
        as_known_at: Option<String>,
    },
    /// Re-read every chunk and log record
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct Choice {
    #[arg(long)]
    bucket: Option<String>,
    /// A measurement; `*` stands for any run of characters: 'bar.1m.*'
    #[arg(long)]
    measurement: Option<String>,
    /// A tag that must be equal
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = input::pair)]
    tags: Vec<(String, String)>,
}

impl Choice {
    fn selector(&self) -> Value {
        json!({ "bucket": self.bucket, "measurement": self.measurement, "tags": self.tags })
    }
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List(choice) => {
            let v = client.post("/v1/series/list", &choice.selector()).await?;
            if out.json {
                out.json(&v);
            } else {
                list(&v, out);
            }
        }
        Verb::Buckets => {
            let v = client.get("/v1/series/buckets").await?;
            if out.json { out.json(&v) } else { buckets(&v, out) }
        }
        Verb::Latest { choice, as_known_at } => {
            let mut body = choice.selector();
            if let Some(map) = body.as_object_mut() {
                map.insert("as_known_at".into(), when(as_known_at.as_ref()));
            }
            let v = client.post("/v1/series/latest", &body).await?;
            if out.json { out.json(&v) } else { latest(&v, out) }
        }
        Verb::Query(q) => query::run(*q, client, out).await?,
        Verb::Tail(t) => tail::run(t, client, out).await?,
        Verb::Coverage { choice, start, end, every, longer_than, session, as_known_at } => {
            let body = json!({
                "bucket": choice.bucket, "measurement": choice.measurement, "tags": choice.tags,
                "start": when(start.as_ref()), "end": when(end.as_ref()), "every": every, "longer_than": longer_than,
                "session": session, "as_known_at": when(as_known_at.as_ref()),
            });
            let v = client.post("/v1/series/coverage", &body).await?;
            if out.json { out.json(&v) } else { coverage(&v, out) }
        }
        Verb::Import(i) => return import::run(&i, client, out).await,
        Verb::Export(e) => super::export::run(&e, client, out).await?,
        Verb::Write { file, bucket, precision } => {
            let path = with_query("/v1/series/write", &[("bucket", bucket), ("precision", Some(precision))]);
            let v = client.json_text(&path, input::text(&file)?).await?;
            out.done(
                &v,
                format!("{} rows written, {} refused", number(&v, "written"), number(&v, "dropped")),
            );
        }
        Verb::Delete { choice, start, end, yes } => {
            if choice.measurement.is_none() && choice.tags.is_empty() {
                return Err(Failure::usage(
                    "nothing says which series to delete from",
                    "name them with --measurement; '*' means every one",
                ));
            }
            input::confirm(
                yes,
                &format!(
                    "delete rows of {} from {} to {}",
                    choice.measurement.as_deref().unwrap_or("*"),
                    start.as_deref().unwrap_or("the beginning"),
                    end.as_deref().unwrap_or("the end")
                ),
            )?;
            let mut body = choice.selector();
            if let Some(map) = body.as_object_mut() {
                map.insert("start".into(), when(start.as_ref()));
                map.insert("end".into(), when(end.as_ref()));
            }
            let v = client.post("/v1/series/delete", &body).await?;
            let rows = v.get("rows").and_then(Value::as_u64).map_or_else(|| "the".into(), |r| r.to_string());
            out.done(&v, format!("{rows} rows deleted from {} series", number(&v, "series")));
        }
        Verb::Archives(l) => archives::list(l, client, out).await?,
        Verb::Archive(a) => archives::archive(a, client, out).await?,
        Verb::Restore(r) => archives::restore(r, client, out).await?,
        Verb::Stats => out.object(&client.get("/v1/series/stats").await?),
        Verb::Seal => {
            let v = client.work("/v1/series/seal", &json!({}), out, "sealing").await?;
            out.done(&v, "sealed");
        }
        Verb::Compact => {
            let v = client.work("/v1/series/compact", &json!({}), out, "compacting").await?;
            out.done(
                &v,
                format!(
                    "{} chunks became {}; {} bytes became {}",
                    number(&v, "chunks_before"),
                    number(&v, "chunks_after"),
                    number(&v, "bytes_before"),
                    number(&v, "bytes_after")
                ),
            );
        }
        Verb::Verify => {
            let v = client.work("/v1/series/verify", &json!({}), out, "reading").await?;
            out.list(&v, &[("object", "object"), ("problem", "problem")], "everything reads well");
            if v.as_array().is_some_and(|f| !f.is_empty()) {
                return Ok(ExitCode::from(1));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn number(v: &Value, key: &str) -> u64 {
    v.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn key(v: &Value) -> (String, String) {
    let k = v.get("key").unwrap_or(v);
    let text = |n: &str| k.get(n).and_then(Value::as_str).unwrap_or_default().to_string();
    let mut name = text("measurement");
    for tag in k.get("tags").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(a), Some(b)) = (tag.get(0).and_then(Value::as_str), tag.get(1).and_then(Value::as_str)) {
            name.push_str(&format!(",{a}={b}"));
        }
    }
    (text("bucket"), name)
}

/// A line a series, then a line a gap.
fn coverage(v: &Value, out: &Output) {
    let all: Vec<&Value> = v.as_array().into_iter().flatten().collect();
    if all.is_empty() {
        return out.line("no series with rows");
    }
    let at = |s: &Value, key: &str| s.get(key).and_then(Value::as_i64).map(time).unwrap_or_default();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|s| {
            let (bucket, name) = key(s);
            let count = |key: &str| number(s, key).to_string();
            vec![
                bucket,
                name,
                count("rows"),
                at(s, "first"),
                at(s, "last"),
                count("gaps_found"),
                count("missing"),
            ]
        })
        .collect();
    out.table(&["bucket", "series", "rows", "first", "last", "gaps", "missing"], &rows);
    let gaps: Vec<Vec<String>> = all
        .iter()
        .flat_map(|s| {
            let gaps = s.get("gaps").and_then(Value::as_array).into_iter().flatten();
            gaps.map(|g| vec![key(s).1, at(g, "start"), at(g, "end"), number(g, "missing").to_string()])
        })
        .collect();
    if !gaps.is_empty() {
        out.line("");
        out.table(&["series", "from", "to", "missing"], &gaps);
    }
}

fn buckets(v: &Value, out: &Output) {
    let of = |b: &Value| {
        let span = |key: &str| {
            let seconds = b.get(key).and_then(Value::as_u64);
            seconds.map(|s| Span::from_secs(s).to_string())
        };
        let name = b.get("name").and_then(Value::as_str).unwrap_or_default();
        let (kept, declared) = (span("keep_s"), span("declared_s"));
        vec![name.to_string(), kept.unwrap_or_else(|| "for ever".into()), declared.unwrap_or_default()]
    };
    let rows: Vec<Vec<String>> = v.as_array().into_iter().flatten().map(of).collect();
    out.table(&["bucket", "rows are kept", "shiphold.toml says"], &rows);
}

fn list(v: &Value, out: &Output) {
    let span = |s: &Value, key: &str| s.get(key).and_then(Value::as_i64).map(time).unwrap_or_default();
    let rows: Vec<Vec<String>> = v
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| {
            let (bucket, name) = key(s);
            let fields: Vec<&str> = s
                .get("fields")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|f| f.get(0)?.as_str())
                .collect();
            let shown = if fields.len() > 6 { format!("{} fields", fields.len()) } else { fields.join(" ") };
            vec![bucket, name, number(s, "rows").to_string(), span(s, "min_time"), span(s, "max_time"), shown]
        })
        .collect();
    if rows.is_empty() {
        return out.line("no series yet: write some over HTTP, or with `shiphold series import`");
    }
    out.table(&["bucket", "measurement", "rows", "first", "last", "fields"], &rows);
}

fn latest(v: &Value, out: &Output) {
    let mut rows = Vec::new();
    for series in v.as_array().into_iter().flatten() {
        let (bucket, name) = key(series);
        for f in series.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let value = f
                .get("value")
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string))
                .unwrap_or_default();
            let at = f.get("time").and_then(Value::as_i64).map(time).unwrap_or_default();
            rows.push(vec![
                bucket.clone(),
                name.clone(),
                f.get("name").and_then(Value::as_str).unwrap_or_default().into(),
                value,
                at,
            ]);
        }
    }
    if rows.is_empty() {
        return out.line("nothing there");
    }
    out.table(&["bucket", "measurement", "field", "value", "time"], &rows);
}
