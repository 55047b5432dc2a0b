//! Answers without an end, printed as they come, until Ctrl-C.

use super::client::{Client, request};
use super::output::{Failure, Output};
use axum::body::Body;
use axum::http::Method;
use futures_util::StreamExt as _;
use serde_json::Value;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Prints what `shown` makes of each event of `path`; in JSON each as it came.
pub(crate) async fn follow(
    client: &Client,
    path: &str,
    out: &Output,
    shown: &dyn Fn(&Value) -> Option<String>,
) -> Result<(), Failure> {
    // Who has the folder to himself hears of nobody's writes.
    if matches!(client, Client::Here { .. }) {
        return Err(Failure::plain("no host runs, so nobody writes").hinted("start it with `shiphold serve`"));
    }
    let answer = client.send(request(Method::GET, path, None, "application/x-ndjson")?).await?;
    tokio::select! {
        ended = print(answer.into_body(), out, shown) => ended,
        // The one way in which it is meant to end.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn print(body: Body, out: &Output, shown: &dyn Fn(&Value) -> Option<String>) -> Result<(), Failure> {
    let mut parts = body.into_data_stream();
    let mut pending: Vec<u8> = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|e| Failure::plain(format!("the host ended the exchange: {e}")))?;
        pending.extend_from_slice(&part);
        let mut begin = 0;
        while let Some(len) = pending.iter().skip(begin).position(|b| *b == b'\n') {
            line(pending.get(begin..begin + len).unwrap_or_default(), out, shown)?;
            begin += len + 1;
        }
        pending.drain(..begin);
        if pending.len() > LINE_BYTES_MAX {
            return Err(Failure::plain("the host's answer has a line without end"));
        }
    }
    Err(Failure::plain("the host ended the exchange").hinted("look at the host's log for why"))
}

fn line(line: &[u8], out: &Output, shown: &dyn Fn(&Value) -> Option<String>) -> Result<(), Failure> {
    let event: Value = serde_json::from_slice(line)
        .map_err(|e| Failure::plain(format!("the host answered what is not JSON: {e}")))?;
    if let Some(problem) = event.get("error") {
        return Err(Failure::problem(problem));
    }
    if let Some(reason) = event.pointer("/end/reason").and_then(Value::as_str) {
        return Err(Failure::plain(format!("the stream ended: {reason}")));
    }
    if out.json {
        out.line(String::from_utf8_lossy(line));
    } else if let Some(text) = shown(&event) {
        out.line(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_ends_are_failures_and_signs_of_life_are_quiet() {
        let out = Output::new(false);
        assert!(line(br#"{"heartbeat":{"time":1}}"#, &out, &|_| None).is_ok());
        assert!(
            line(br#"{"end":{"reason":"the host ends"}}"#, &out, &|_| None)
                .unwrap_err()
                .message
                .contains("the host ends")
        );
        assert_eq!(
            line(br#"{"error":{"code":"corrupt","detail":"d"}}"#, &out, &|_| None).unwrap_err().code,
            "corrupt"
        );
        assert!(line(b"x", &out, &|_| None).is_err());
    }
}
