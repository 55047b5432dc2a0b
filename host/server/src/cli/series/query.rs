//! `shiphold series query`

use super::super::client::Client;
use super::super::output::{Failure, Output, time};
use super::{Choice, number};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The query as a text, in place of the options: "SELECT mean(close) FROM \"bar.1m.AAPL\" GROUP BY 1h"
    #[arg(conflicts_with_all = [
        "bucket", "measurement", "tags", "where", "fields", "start", "end", "resample", "window", "aggregates", "fill",
        "timezone", "limit", "descending", "book", "session", "asof",
        "as_known_at",
    ])]
    text: Option<String>,
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
    /// Go on after a page: its `next`
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
    /// Of order books: top, depth=LEVELS, imbalance=LEVELS, with commas between
    #[arg(long, value_delimiter = ',', value_parser = levels, value_name = "WHAT")]
    book: Vec<(String, Option<u32>)>,
    /// Only rows within the sessions of a calendar of the manifest
    #[arg(long, value_name = "CALENDAR")]
    session: Option<String>,
    /// Beside each row that of another series which stands at its time or before; '*' goes with --by
    #[arg(long, value_name = "MEASUREMENT")]
    asof: Option<String>,
    /// With --asof: how far away it may be, such as 5s
    #[arg(long, value_name = "SPAN", requires = "asof")]
    tolerance: Option<String>,
    /// With --asof: backward, forward or nearest
    #[arg(long, requires = "asof", value_parser = ["backward", "forward", "nearest"])]
    direction: Option<String>,
    /// With --asof: what both have in common: symbol, or tags
    #[arg(long, value_delimiter = ',', requires = "asof", value_name = "TAG")]
    by: Vec<String>,
    /// With --asof: in front of the names of its columns; right_ by default
    #[arg(long, requires = "asof")]
    prefix: Option<String>,
    /// Run it, and show what was read and done in place of the rows
    #[arg(long, conflicts_with = "format")]
    explain: bool,
    /// Print the rows as they come, however many, in this form
    #[arg(long)]
    format: Option<Format>,
    /// With --format: every page, not only the first; --limit, or else the host's limit, says how long each is
    #[arg(long, requires = "format")]
    all: bool,
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
    pub(crate) const fn media_type(self) -> &'static str {
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
pub(in super::super) fn condition(text: &str) -> Result<Value, String> {
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

/// A time as the routes take it: a number of nanoseconds, or text.
pub(in super::super) fn when(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |t| t.parse::<i64>().map_or_else(|_| Value::from(t.as_str()), Value::from))
}

pub(super) async fn run(q: Query, client: &Client, out: &Output) -> Result<(), Failure> {
    let (format, explain, all) = (q.format, q.explain, q.all);
    let mut body = q.body()?;
    if explain {
        out.object(&client.post("/v1/series/explain", &body).await?);
        return Ok(());
    }
    if let Some(format) = format.filter(|_| all) {
        let path = "/v1/series/query";
        let mut page = client.page(path, &body, format, false).await?;
        while let Some(next) = page {
            if let Some(map) = body.as_object_mut() {
                map.insert("after".into(), next.into());
            }
            page = client.page(path, &body, format, true).await?;
        }
        return Ok(());
    }
    rows("/v1/series/query", &body, format, client, out).await
}

impl Query {
    /// As the route takes it.
    fn body(self) -> Result<Value, Failure> {
        if let Some(text) = self.text {
            return Ok(json!({ "text": text, "after": self.after }));
        }
        let Some(measurement) = self.choice.measurement else {
            return Err(Failure::usage(
                "nothing says what to ask for",
                "name it with --measurement, or give a text: \"SELECT …\"; `shiphold series list` shows what there is",
            ));
        };
        let window = self.window.map(|every| json!({ "every": every, "aggregates": self.aggregates }));
        let book = (!self.book.is_empty()).then(|| {
            let of = |what: &str| -> Vec<u32> {
                self.book.iter().filter(|(w, _)| w == what).filter_map(|(_, n)| *n).collect()
            };
            let top = self.book.iter().any(|(what, _)| what == "top");
            json!({ "top": top, "depth": of("depth"), "imbalance": of("imbalance") })
        });
        let asof = self.asof.map(|right| {
            json!({
                "measurement": right, "tolerance": self.tolerance, "by": self.by,
                "direction": self.direction.as_deref().unwrap_or("backward"),
                "prefix": self.prefix.as_deref().unwrap_or("right_"),
            })
        });
        Ok(json!({
            "bucket": self.choice.bucket, "measurement": measurement, "tags": self.choice.tags,
            "where": self.conditions, "fill": self.fill.as_deref().unwrap_or("none"),
            "fields": if self.fields.is_empty() { Value::Null } else { json!(self.fields) },
            "start": when(self.start.as_ref()), "end": when(self.end.as_ref()), "resample": self.resample,
            "window": window, "timezone": self.timezone, "limit": self.limit, "descending": self.descending,
            "as_known_at": when(self.as_known_at.as_ref()), "after": self.after, "session": self.session, "book": book, "asof": asof,
        }))
    }
}

/// `top`, `depth=10`, `imbalance=5`.
fn levels(text: &str) -> Result<(String, Option<u32>), String> {
    let wrong = || format!("`{text}` is none of top, depth=LEVELS and imbalance=LEVELS, such as depth=10");
    match text.split_once('=') {
        None if text == "top" => Ok((text.into(), None)),
        Some((what @ ("depth" | "imbalance"), n)) => Ok((what.into(), Some(n.parse().map_err(|_| wrong())?))),
        _ => Err(wrong()),
    }
}

/// Asks a route whose answer is rows.
pub(crate) async fn rows(
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
        match v.get("next").and_then(Value::as_str) {
            Some(next) => eprintln!("there is more: raise --limit, or go on with --after {next}"),
            None => eprintln!("there is more: raise --limit, or go on with --start"),
        }
    }
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
    fn levels_of_books() {
        assert_eq!(levels("top"), Ok(("top".into(), None)));
        assert_eq!(levels("depth=10"), Ok(("depth".into(), Some(10))));
        for wrong in ["", "depth", "depth=x", "top=1", "width=1"] {
            assert!(levels(wrong).unwrap_err().contains("depth=10"), "{wrong}");
        }
    }

    #[test]
    fn options_become_the_query_that_the_route_takes() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            query: Query,
        }
        let body = |line: &str| {
            let line = clap::Parser::try_parse_from(std::iter::once("x").chain(line.split(' ')));
            line.map_err(|e: clap::Error| e.to_string())
                .and_then(|l: Line| l.query.body().map_err(|_| "no body".to_string()))
        };
        let read = |line: &str| shiphold_storage::series::query::read(body(line).unwrap()).unwrap();
        let asked = read(
            "--measurement tick.* --asof book.* --by symbol --tolerance 5s --direction nearest --prefix b_ --session nyse \
             --book top,depth=5,depth=10 --after 01 --where venue!=X --start now()-1d",
        );
        let same = shiphold_storage::series::query::text::parse(
            "SELECT * FROM \"tick.*\" ASOF JOIN \"book.*\" USING (symbol) WITHIN 5s NEAREST PREFIX 'b_' SESSION nyse \
             BOOK (TOP, DEPTH 5, DEPTH 10) AFTER '01' WHERE venue NOT IN ('X') AND time >= 'now()-1d'",
        );
        assert_eq!(asked, same.unwrap());
        let plain = read("--measurement m");
        assert_eq!((plain.book, plain.asof, plain.session), (None, None, None));
        assert_eq!(body("SELECT").unwrap(), json!({ "text": "SELECT", "after": null }));
        assert!(body("SELECT --measurement m").unwrap_err().contains("cannot be used with"));
        assert!(body("--limit 5").is_err() && body("--measurement m --tolerance 5s").is_err());
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
