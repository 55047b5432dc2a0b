//! `shiphold series …`

use super::client::{Client, with_query};
use super::input;
use super::output::{Failure, Output, time};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What series there are, with fields, rows and span
    List(Choice),
    /// The newest value of each field
    Latest(Choice),
    /// Rows, resampled bars, or windows with aggregates
    Query(Query),
    /// Bars from a CSV file with a header: date or time, open, high, low, close, volume
    Import {
        file: PathBuf,
        #[arg(long)]
        symbol: String,
        /// 1m, 5m, 1h, 1d, …
        #[arg(long)]
        timeframe: String,
        #[arg(long)]
        bucket: Option<String>,
        /// IANA zone of times without an offset; UTC by default
        #[arg(long)]
        timezone: Option<String>,
    },
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

#[derive(Debug, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    choice: Choice,
    /// What another tag must hold: KEY=A,B (one of them), KEY!=A, KEY=~REGEX, KEY!~REGEX
    #[arg(long = "where", id = "where", value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<Value>,
    /// Fields to show; all by default
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// RFC 3339, a date, or nanoseconds since the epoch; it is in the range
    #[arg(long)]
    start: Option<String>,
    /// As --start; it is not in the range
    #[arg(long)]
    end: Option<String>,
    /// Resample bars (or ticks) to OHLCV bars of this timeframe
    #[arg(long, value_name = "TIMEFRAME")]
    resample: Option<String>,
    /// Windows of this length, with --aggregate
    #[arg(long, value_name = "TIMEFRAME", requires = "aggregates", conflicts_with = "resample")]
    window: Option<String>,
    /// FUNCTION(FIELD): first, last, min, max, sum, mean, count, stddev; or quantile(FIELD,0.95)
    #[arg(long = "aggregate", id = "aggregates", value_name = "FUNCTION(FIELD)", value_parser = aggregate)]
    aggregates: Vec<Value>,
    /// Windows without rows: none, null, previous or linear
    #[arg(long, value_parser = ["none", "null", "previous", "linear"])]
    fill: Option<String>,
    /// IANA zone in which days and weeks begin
    #[arg(long)]
    timezone: Option<String>,
    #[arg(long)]
    limit: Option<u64>,
    /// Newest first
    #[arg(long)]
    descending: bool,
    /// The rows as they were known at this time, of series with [[series.revisions]]
    #[arg(long, value_name = "TIME")]
    as_known_at: Option<String>,
    /// Print the rows as they come, however many, in this form
    #[arg(long)]
    format: Option<Format>,
}

/// A form in which rows come one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A head, then a line a row
    Csv,
    /// A JSON object a row, with times in nanoseconds
    Ndjson,
}

impl Format {
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

fn aggregate(text: &str) -> Result<Value, String> {
    let wrong = || format!("`{text}` is not FUNCTION(FIELD), such as mean(close)");
    let (function, rest) = text.split_once('(').ok_or_else(wrong)?;
    let field = rest.strip_suffix(')').ok_or_else(wrong)?;
    if function == "quantile" {
        let share =
            || field.rsplit_once(',').and_then(|(f, q)| Some((f.trim(), q.trim().parse::<f64>().ok()?)));
        let (field, q) = share()
            .ok_or_else(|| format!("`{text}` is not quantile(FIELD,SHARE), such as quantile(close,0.95)"))?;
        return Ok(json!({ "field": field, "function": function, "q": q }));
    }
    Ok(json!({ "field": field, "function": function }))
}

/// A condition on a tag, as the JSON form has it.
pub(super) fn condition(text: &str) -> Result<Value, String> {
    let at = text.find(['=', '!']).filter(|at| *at > 0);
    let (tag, rest) = at.map(|at| text.split_at(at)).unwrap_or((text, ""));
    let values = |list: &str| list.split(',').map(str::to_string).collect::<Vec<_>>();
    // The longer signs first: `=~` begins as `=` does.
    for (sign, not, matches) in
        [("=~", false, true), ("!~", true, true), ("!=", true, false), ("=", false, false)]
    {
        if let Some(value) = rest.strip_prefix(sign) {
            return Ok(match matches {
                true => json!({ "tag": tag, "not": not, "matches": value }),
                false => json!({ "tag": tag, "not": not, "in": values(value) }),
            });
        }
    }
    Err(format!("`{text}` is none of KEY=A,B, KEY!=A, KEY=~REGEX and KEY!~REGEX"))
}

impl Choice {
    fn selector(&self) -> Value {
        json!({ "bucket": self.bucket, "measurement": self.measurement, "tags": self.tags })
    }
}

/// A time as the routes take it: a number of nanoseconds, or text.
pub(super) fn when(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |t| t.parse::<i64>().map_or_else(|_| Value::from(t.as_str()), Value::from))
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
        Verb::Latest(choice) => {
            let v = client.post("/v1/series/latest", &choice.selector()).await?;
            if out.json { out.json(&v) } else { latest(&v, out) }
        }
        Verb::Query(q) => query(q, client, out).await?,
        Verb::Coverage { choice, start, end, every, longer_than } => {
            let body = json!({
                "bucket": choice.bucket, "measurement": choice.measurement, "tags": choice.tags,
                "start": when(start.as_ref()), "end": when(end.as_ref()), "every": every, "longer_than": longer_than,
            });
            let v = client.post("/v1/series/coverage", &body).await?;
            if out.json { out.json(&v) } else { coverage(&v, out) }
        }
        Verb::Import { file, symbol, timeframe, bucket, timezone } => {
            let path = with_query(
                "/v1/series/import",
                &[
                    ("symbol", Some(symbol.clone())),
                    ("timeframe", Some(timeframe.clone())),
                    ("bucket", bucket),
                    ("timezone", timezone),
                ],
            );
            let begin = std::time::Instant::now();
            let v = client.work_with_file(&path, &file, out, "importing").await?;
            let rows = number(&v, "written");
            out.done(
                &v,
                format!(
                    "{rows} bars of {symbol} ({timeframe}) imported from {} in {:.2} s",
                    file.display(),
                    begin.elapsed().as_secs_f64()
                ),
            );
        }
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

async fn query(q: Query, client: &Client, out: &Output) -> Result<(), Failure> {
    let Some(measurement) = q.choice.measurement else {
        return Err(Failure::usage(
            "nothing says what to ask for",
            "name it with --measurement; `shiphold series list` shows what there is",
        ));
    };
    let window = q.window.map(|every| json!({ "every": every, "aggregates": q.aggregates }));
    let body = json!({
        "bucket": q.choice.bucket, "measurement": measurement, "tags": q.choice.tags,
        "where": q.conditions, "fill": q.fill.as_deref().unwrap_or("none"),
        "fields": if q.fields.is_empty() { Value::Null } else { json!(q.fields) },
        "start": when(q.start.as_ref()), "end": when(q.end.as_ref()), "resample": q.resample, "window": window,
        "timezone": q.timezone, "limit": q.limit, "descending": q.descending,
        "as_known_at": when(q.as_known_at.as_ref()),
    });
    rows("/v1/series/query", &body, q.format, client, out).await
}

/// Asks a route whose answer is rows.
pub(super) async fn rows(
    path: &str,
    body: &Value,
    format: Option<Format>,
    client: &Client,
    out: &Output,
) -> Result<(), Failure> {
    match format {
        Some(format) => client.rows(path, body, format.media_type()).await,
        None => {
            answer(&client.post(path, body).await?, out);
            Ok(())
        }
    }
}

/// The answer to a query: a row a line.
fn answer(v: &Value, out: &Output) {
    if out.json {
        return out.json(v);
    }
    let columns: Vec<&Value> = v.get("columns").and_then(Value::as_array).into_iter().flatten().collect();
    let heads: Vec<&str> =
        columns.iter().map(|c| c.get("name").and_then(Value::as_str).unwrap_or_default()).collect();
    let rows = usize::try_from(number(v, "rows")).unwrap_or(0);
    let table: Vec<Vec<String>> = (0..rows)
        .map(|r| {
            columns
                .iter()
                .zip(&heads)
                .map(|(c, head)| match c.get("values").and_then(|v| v.get(r)) {
                    Some(Value::Number(n)) if *head == "time" => n.as_i64().map(time).unwrap_or_default(),
                    Some(Value::String(s)) => s.clone(),
                    Some(Value::Null) | None => String::new(),
                    Some(other) => other.to_string(),
                })
                .collect()
        })
        .collect();
    if rows == 0 {
        out.line("no rows");
    } else {
        out.table(&heads, &table);
    }
    if v.get("truncated").and_then(Value::as_bool) == Some(true) {
        eprintln!("there is more: raise --limit, or go on with --start");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        for (text, want) in [
            ("exchange=XNAS", json!({ "tag": "exchange", "not": false, "in": ["XNAS"] })),
            ("exchange!=XNAS,ARCX", json!({ "tag": "exchange", "not": true, "in": ["XNAS", "ARCX"] })),
            ("exchange=~^X.=", json!({ "tag": "exchange", "not": false, "matches": "^X.=" })),
            ("exchange!~^X", json!({ "tag": "exchange", "not": true, "matches": "^X" })),
            ("exchange=", json!({ "tag": "exchange", "not": false, "in": [""] })),
        ] {
            assert_eq!(condition(text).unwrap(), want, "{text}");
        }
        assert!(condition("exchange").is_err() && condition("=x").is_err() && condition("a!x").is_err());
    }

    #[test]
    fn aggregates_and_times() {
        assert_eq!(aggregate("mean(close)").unwrap(), json!({ "field": "close", "function": "mean" }));
        assert!(aggregate("mean").is_err() && aggregate("mean(close").is_err());
        let quantile = json!({ "field": "close", "function": "quantile", "q": 0.95 });
        assert_eq!(aggregate("quantile(close, 0.95)").unwrap(), quantile);
        assert!(
            aggregate("quantile(close)").unwrap_err().contains("0.95")
                && aggregate("quantile(close,x)").is_err()
        );
        assert_eq!(when(Some(&"12".to_string())), json!(12));
        assert_eq!(when(Some(&"2024-01-02".to_string())), json!("2024-01-02"));
        assert_eq!(when(None), Value::Null);
    }
}
