//! `series tail`: prints rows as they are written, until Ctrl-C.

use super::super::client::{self, Client, with_query};
use super::super::output::{Failure, Output, time};
use super::key;
use axum::body::Body;
use axum::http::Method;
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::Value;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 64 << 20;

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
    // Who has the folder to himself hears of nobody's writes.
    if matches!(client, Client::Here { .. }) {
        return Err(Failure::plain("no host runs, so nobody writes").hinted("start it with `shiphold serve`"));
    }
    let path = with_query(
        "/v1/series/tail",
        &[("measurement", Some(tail.pattern)), ("bucket", tail.bucket), ("from", tail.from)],
    );
    let answer = client.send(client::request(Method::GET, &path, None, "application/x-ndjson")?).await?;
    tokio::select! {
        ended = print(answer.into_body(), out) => ended,
        // The one way in which it is meant to end.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn print(body: Body, out: &Output) -> Result<(), Failure> {
    let mut parts = body.into_data_stream();
    let mut pending: Vec<u8> = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|e| Failure::plain(format!("the host ended the exchange: {e}")))?;
        pending.extend_from_slice(&part);
        let mut begin = 0;
        while let Some(len) = pending.iter().skip(begin).position(|b| *b == b'\n') {
            line(pending.get(begin..begin + len).unwrap_or_default(), out)?;
            begin += len + 1;
        }
        pending.drain(..begin);
        if pending.len() > LINE_BYTES_MAX {
            return Err(Failure::plain("the host's answer has a line without end"));
        }
    }
    Err(Failure::plain("the host ended the exchange").hinted("look at the host's log for why"))
}

fn line(line: &[u8], out: &Output) -> Result<(), Failure> {
    let event: Value = serde_json::from_slice(line)
        .map_err(|e| Failure::plain(format!("the host answered what is not JSON: {e}")))?;
    if let Some(problem) = event.get("error") {
        return Err(Failure::problem(problem));
    }
    if let Some(reason) = event.pointer("/end/reason").and_then(Value::as_str) {
        return Err(Failure::plain(format!("the tail ended: {reason}")));
    }
    if out.json {
        out.line(String::from_utf8_lossy(line));
    } else if let Some(row) = event.get("row") {
        out.line(shown(row));
    } else if let Some(lagged) = event.get("lagged") {
        let of = |name: &str| lagged.get(name).and_then(Value::as_i64).unwrap_or_default();
        let (rows, first, last) = (of("rows"), time(of("first")), time(of("last")));
        eprintln!("warning: {rows} rows from {first} to {last} were missed: this reads too slowly");
    }
    Ok(())
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

    #[test]
    fn errors_and_ends_are_failures_and_signs_of_life_are_quiet() {
        let out = Output::new(false);
        assert!(line(br#"{"heartbeat":{"time":1}}"#, &out).is_ok());
        assert!(
            line(br#"{"end":{"reason":"the host ends"}}"#, &out)
                .unwrap_err()
                .message
                .contains("the host ends")
        );
        assert_eq!(line(br#"{"error":{"code":"corrupt","detail":"d"}}"#, &out).unwrap_err().code, "corrupt");
        assert!(line(b"x", &out).is_err());
    }
}
