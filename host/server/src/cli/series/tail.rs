//! `series tail`: prints rows as they are written, until Ctrl-C.

use super::super::client::{Client, with_query};
use super::super::events::follow;
use super::super::output::{Failure, Output, time};
use super::key;
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// A measurement; `*` stands for any run of characters: 'bar.1m.*'
    pattern: String,
    #[arg(long)]
    bucket: Option<String>,
    /// Begin with the rows from this time on: RFC 3339, a date, or nanoseconds
    #[arg(long)]
    from: Option<String>,
}

pub(crate) async fn run(tail: Tail, client: &Client, out: &Output) -> Result<(), Failure> {
    let path = with_query(
        "/v1/series/tail",
        &[("measurement", Some(tail.pattern)), ("bucket", tail.bucket), ("from", tail.from)],
    );
    follow(client, &path, out, &|event| {
        if let Some(lagged) = event.get("lagged") {
            let of = |name: &str| lagged.get(name).and_then(Value::as_i64).unwrap_or_default();
            let (rows, first, last) = (of("rows"), time(of("first")), time(of("last")));
            eprintln!("warning: {rows} rows from {first} to {last} were missed: this reads too slowly");
        }
        event.get("row").map(shown)
    })
    .await
}

/// `2026-06-26T13:30:00Z bar.1m.AAPL close=189.7 volume=100`
fn shown(row: &Value) -> String {
    let at = row.get("time").and_then(Value::as_i64).map(time).unwrap_or_default();
    let mut text = format!("{at} {}", key(row).1);
    for (name, value) in row.get("fields").and_then(Value::as_object).into_iter().flatten() {
        text.push_str(&format!(" {name}={value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_a_line() {
        let row = json!({"key": {"bucket": "b", "measurement": "m", "tags": [["host", "a"]]}, "time": 0,
            "fields": {"s": "x\ny", "v": 1.5}});
        assert_eq!(shown(&row), "1970-01-01T00:00:00Z m,host=a s=\"x\\ny\" v=1.5");
    }
}
