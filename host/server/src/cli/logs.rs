//! `shiphold logs …`

use super::client::{Client, body_json, body_of, file_body, segment, with_query};
use super::output::{Failure, Output, one_line, time};
use axum::body::Body;
use axum::http::{Method, Request, header};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks of `tail --follow`.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// Bytes of a file that are sent at once, up to the end of a line.
const PUSH_BYTES: usize = 4 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The streams
    List,
    /// Add the lines of a file to a stream, or of standard input with -
    Push { stream: String, file: PathBuf },
    /// Lines by time, level and text, in the order in which they came
    Search {
        stream: String,
        /// What the line has in it
        text: Option<String>,
        /// RFC 3339, a date, or nanoseconds since the epoch
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// The first that does not count any more
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// The least level: trace, debug, info, warn, error, fatal
        #[arg(long)]
        level: Option<String>,
        /// Only lines after this number: the next page
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// The newest lines
    Tail {
        stream: String,
        #[arg(long, short = 'n', default_value_t = 100)]
        lines: u64,
        /// Print those that come, too, until it is interrupted
        #[arg(long, short)]
        follow: bool,
    },
    /// Make segments of the lines that wait for it
    Rotate { stream: String },
}

pub(crate) async fn run(verb: Verb, client: &Client, out: &Output) -> Result<(), Failure> {
    let at = |stream: &str| format!("/v1/logs/{}", segment(stream));
    match verb {
        Verb::List => {
            let v = client.get("/v1/logs").await?;
            let columns = [
                ("stream", "stream"),
                ("lines", "lines"),
                ("waiting", "waiting_bytes"),
                ("segments", "segments"),
                ("bytes", "segment_bytes"),
                ("created", "created_at"),
            ];
            out.list(&v, &columns, "no stream of logs: push some lines");
        }
        Verb::Push { stream, file } => push(client, out, &at(&stream), &stream, &file).await?,
        Verb::Search { stream, text, from, to, level, after, limit } => {
            let query = [
                ("text", text),
                ("from", from),
                ("to", to),
                ("level", level),
                ("after", after.map(|n| n.to_string())),
                ("limit", Some(limit.to_string())),
            ];
            let v = client.get(&with_query(&at(&stream), &query)).await?;
            show(out, &v);
            if let (false, Some(next)) = (out.json, v.get("next").and_then(Value::as_u64)) {
                eprintln!("there may be more: --after {next}");
            }
        }
        Verb::Tail { stream, lines, follow } => {
            let query = [("lines", Some(lines.to_string()))];
            let v = client.get(&with_query(&format!("{}/tail", at(&stream)), &query)).await?;
            show(out, &v);
            let last = |v: &Value| v.get("lines")?.as_array()?.last()?.get("number")?.as_u64();
            let mut after = last(&v).unwrap_or_default();
            if !follow {
                return Ok(());
            }
            loop {
                tokio::time::sleep(FOLLOW_EVERY).await;
                let query = [("after", Some(after.to_string()))];
                let v = client.get(&with_query(&at(&stream), &query)).await?;
                after = v.get("next").and_then(Value::as_u64).or_else(|| last(&v)).unwrap_or(after);
                if last(&v).is_some() {
                    show(out, &v);
                }
            }
        }
        Verb::Rotate { stream } => {
            let v = client.post(&format!("{}/rotate", at(&stream)), &json!({})).await?;
            out.done(&v, format!("{} segments", v.get("segments").unwrap_or(&Value::Null)));
        }
    }
    Ok(())
}

/// Lines for people: time, level, text; a stranger's text stays on its line.
fn show(out: &Output, page: &Value) {
    if out.json {
        return out.json(page);
    }
    let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    for line in page.get("lines").and_then(Value::as_array).into_iter().flatten() {
        let when = line.get("time").and_then(Value::as_i64).map(time).unwrap_or_default();
        let level = text(line, "level");
        out.line(format!("{when} {level:5} {}", one_line(&text(line, "text"))));
    }
    for problem in page.get("unreadable").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("not readable: {}", one_line(problem.as_str().unwrap_or_default()));
    }
}

async fn push(client: &Client, out: &Output, to: &str, stream: &str, file: &Path) -> Result<(), Failure> {
    use futures_util::StreamExt as _;
    let mut parts = match file.as_os_str() == "-" {
        true => body_of(tokio::io::stdin()),
        false => file_body(file).await?,
    }
    .into_data_stream();
    let mut waiting: Vec<u8> = Vec::new();
    let mut sum = json!({ "lines": 0, "cut": 0, "replaced": 0 });
    loop {
        let part = parts.next().await.transpose();
        let part = part.map_err(|e| Failure::plain(format!("{}: {e}", file.display())))?;
        let ended = part.is_none();
        waiting.extend_from_slice(&part.unwrap_or_default());
        // Whole lines, so that none is torn between two pushes; one that never ends is the bound of the host.
        let end = match waiting.iter().rposition(|b| *b == b'\n') {
            _ if ended => waiting.len(),
            Some(end) if waiting.len() >= PUSH_BYTES => end + 1,
            None if waiting.len() >= 3 * PUSH_BYTES => waiting.len(),
            _ => continue,
        };
        let lines: Vec<u8> = waiting.drain(..end).collect();
        if !lines.is_empty() {
            let request = Request::builder()
                .method(Method::POST)
                .uri(to)
                .header(header::HOST, "localhost")
                .body(Body::from(lines))
                .map_err(|e| Failure::plain(e.to_string()))?;
            let v = body_json(client.send(request).await?).await?;
            for key in ["lines", "cut", "replaced"] {
                let of = |v: &Value| v.get(key).and_then(Value::as_u64).unwrap_or_default();
                let both = of(&sum) + of(&v);
                if let Some(map) = sum.as_object_mut() {
                    map.insert(key.into(), both.into());
                }
            }
        }
        if ended {
            break;
        }
    }
    let n = |key: &str| sum.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut said = format!("{} lines are in {stream}", n("lines"));
    if n("cut") + n("replaced") > 0 {
        said.push_str(&format!(" ({} were cut, {} were not UTF-8)", n("cut"), n("replaced")));
    }
    out.done(&sum, said);
    Ok(())
}
