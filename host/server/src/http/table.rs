//! Rows of an answer, in the form that the client asks for. CSV and lines of JSON are sent batch by batch, as the rows are found;
//! the JSON document, whose columns stand one after another, when the last is there.

use super::answer::{self, Out, accepts};
use super::problem::{Answer, Problem};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName};
use chrono::{DateTime, SecondsFormat};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::json;
use shiphold_storage::series::query::{Done, Joined, Table};
use shiphold_storage::series::{Frame, Value};
use shiphold_storage::{Error, Result};
use std::io::Write;

/// Asked for by spreadsheets and pandas.
const CSV: &str = "text/csv";
/// Given to them.
const CSV_UTF8: &str = "text/csv; charset=utf-8";

/// Where an answer in CSV, which has no place of its own for it, says where the next page begins.
pub(crate) const NEXT: &str = "shiphold-next";

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One document with a list of values per column.
    Document,
    /// A head, then a line per row.
    Csv,
    /// An object per row; behind them, if the answer was cut, `{"next":…}`.
    Lines,
}

impl Form {
    /// What `Accept` asks for; a document if it does not say.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if accepts(headers, CSV) {
            Self::Csv
        } else if accepts(headers, answer::NDJSON) {
            Self::Lines
        } else {
            Self::Document
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Document => answer::JSON,
            Self::Csv => CSV_UTF8,
            Self::Lines => answer::NDJSON,
        }
    }
}

/// An answer whose batches `work` hands over one by one; at its end it says how the answer ended.
pub(super) async fn written(
    form: Form,
    work: impl FnOnce(&mut dyn FnMut(Frame) -> Result<()>) -> Result<Done> + Send + 'static,
) -> Answer {
    answer::written(form.media_type(), move |out| {
        match form {
            Form::Lines => out.last_words(last_line),
            Form::Csv => out.announce(HeaderName::from_static(NEXT)),
            Form::Document => {}
        }
        let mut joined = Joined::default();
        let mut begun = false;
        let Done { truncated, next, .. } = work(&mut |frame| {
            if form == Form::Document {
                return joined.add(frame).map_err(Error::internal);
            }
            out.begin();
            let first = !std::mem::replace(&mut begun, true);
            if form == Form::Csv { csv(out, &frame, first) } else { lines(out, &frame) }
        })?;
        out.begin();
        match form {
            Form::Document => answer::write_json(out, &Table { frame: joined.frame, truncated, next }),
            Form::Csv => {
                next.iter().for_each(|next| out.known_last(next));
                if begun { Ok(()) } else { csv(out, &Frame::default(), true) }
            }
            Form::Lines => match next {
                Some(next) => {
                    let line = format!("{}\n", json!({ "next": next }));
                    out.write_all(line.as_bytes()).map_err(|e| Error::io("writing the answer", e))
                }
                None => Ok(()),
            },
        }
    })
    .await
}

/// What stands in place of the rows that could not be sent.
fn last_line(e: &Error) -> Bytes {
    let problem = Problem::from(e).document();
    Bytes::from(format!("{}\n", json!({ "error": problem })))
}

/// A line per row; times as RFC 3339, nothing where a row has no value.
fn csv(out: &mut impl Write, frame: &Frame, head: bool) -> Result<()> {
    let wrong = |e: csv::Error| Error::io("writing the answer", e.into());
    let mut csv = csv::Writer::from_writer(out);
    if head {
        let names = frame.columns.iter().map(|c| c.name.as_str());
        csv.write_record(std::iter::once("time").chain(names)).map_err(wrong)?;
    }
    for (row, time) in frame.times.iter().enumerate() {
        csv.write_field(DateTime::from_timestamp_nanos(*time).to_rfc3339_opts(SecondsFormat::AutoSi, true))
            .map_err(wrong)?;
        for c in &frame.columns {
            match c.get(row) {
                None => csv.write_field(""),
                Some(Value::String(s)) => csv.write_field(s),
                Some(Value::Float(v)) => csv.write_field(v.to_string()),
                Some(Value::Integer(v)) => csv.write_field(v.to_string()),
                Some(Value::Decimal(v)) => csv.write_field(v.to_string()),
                Some(Value::Unsigned(v)) => csv.write_field(v.to_string()),
                Some(Value::Boolean(v)) => csv.write_field(v.to_string()),
            }
            .map_err(wrong)?;
        }
        csv.write_record(None::<&[u8]>).map_err(wrong)?;
    }
    csv.flush().map_err(|e| Error::io("writing the answer", e))
}

/// `{"time":1704153600000000000,"close":189.7}` per row; a row has no key for what it has no value in.
fn lines(out: &mut Out, frame: &Frame) -> Result<()> {
    let mut line = Vec::new();
    for row in 0..frame.len() {
        line.clear();
        answer::write_json(&mut line, &Row(frame, row))?;
        line.push(b'\n');
        out.write_all(&line).map_err(|e| Error::io("writing the answer", e))?;
    }
    Ok(())
}

struct Row<'a>(&'a Frame, usize);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self(frame, row) = *self;
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("time", &frame.times.get(row))?;
        for c in &frame.columns {
            match c.get(row) {
                None => {}
                Some(Value::String(v)) => out.serialize_entry(&c.name, &v)?,
                Some(Value::Float(v)) => out.serialize_entry(&c.name, &v)?,
                Some(Value::Integer(v)) => out.serialize_entry(&c.name, &v)?,
                Some(Value::Decimal(v)) => out.serialize_entry(&c.name, &v)?,
                Some(Value::Unsigned(v)) => out.serialize_entry(&c.name, &v)?,
                Some(Value::Boolean(v)) => out.serialize_entry(&c.name, &v)?,
            }
        }
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use shiphold_storage::series::{Column, Values};

    fn frame() -> Frame {
        let gap = Column { valid: Some(vec![true, false]), ..Column::float("close", vec![189.7, 0.0]) };
        let text = Column::new("note", Values::String(vec!["a,\"b\"".into(), "ü\n".into()]));
        let count = Column::new("n", Values::Unsigned(vec![u64::MAX, 0]));
        Frame { times: vec![0, 1_500_000_000], columns: vec![gap, text, count] }
    }

    async fn text(form: Form, batches: Vec<Frame>) -> String {
        let answer = written(form, move |take| {
            batches.into_iter().try_for_each(take)?;
            Ok(Done { truncated: true, ..Done::default() })
        })
        .await;
        let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_form_says_where_the_next_page_begins() {
        for rows in [2, 40_000] {
            for form in [Form::Csv, Form::Lines] {
                let columns = vec![Column::float("x", vec![0.5; rows])];
                let frame = Frame { times: (0..rows as i64).collect(), columns };
                let answer = written(form, move |take| {
                    take(frame)?;
                    Ok(Done { truncated: true, next: Some("0a".into()), ..Done::default() })
                });
                let answer = answer.await.unwrap();
                let (head, body) = answer.into_parts();
                let got = body.collect().await.unwrap();
                let trailers = got.trailers().cloned().unwrap_or_default();
                let said = String::from_utf8(got.to_bytes().to_vec()).unwrap();
                let (long, is_csv) = (rows > 2, form == Form::Csv);
                let cursor = |fields: &HeaderMap| fields.get(NEXT).map(|v| v.to_str().unwrap().to_string());
                assert_eq!(cursor(&head.headers).is_some(), is_csv && !long, "{form:?}, {rows}");
                assert_eq!(cursor(&trailers), (is_csv && long).then(|| "0a".into()), "{form:?}, {rows}");
                assert_eq!(head.headers.contains_key("trailer"), is_csv && long, "{form:?}, {rows}");
                assert_eq!(said.lines().count(), rows + 1, "rows, and a head or a last line");
                assert_eq!(said.ends_with("\n{\"next\":\"0a\"}\n"), !is_csv);
            }
        }
    }

    #[tokio::test]
    async fn each_form_has_every_batch_and_one_head() {
        let csv = "1970-01-01T00:00:00Z,189.7,\"a,\"\"b\"\"\",18446744073709551615\n\
                   1970-01-01T00:00:01.500Z,,\"ü\n\",0\n";
        assert_eq!(text(Form::Csv, vec![frame(), frame()]).await, format!("time,close,note,n\n{csv}{csv}"));
        let lines = "{\"time\":0,\"close\":189.7,\"note\":\"a,\\\"b\\\"\",\"n\":18446744073709551615}\n\
                     {\"time\":1500000000,\"note\":\"ü\\n\",\"n\":0}\n";
        assert_eq!(text(Form::Lines, vec![frame(), frame()]).await, format!("{lines}{lines}"));
        let document: serde_json::Value =
            serde_json::from_str(&text(Form::Document, vec![frame(), frame()]).await).unwrap();
        assert_eq!(document["rows"], 4);
        assert_eq!(document["truncated"], true);
        assert_eq!(document["columns"][1]["values"], json!([189.7, null, 189.7, null]));
    }

    #[tokio::test]
    async fn nothing_is_an_answer_too() {
        assert_eq!(text(Form::Csv, vec![]).await, "time\n");
        assert_eq!(text(Form::Lines, vec![]).await, "");
        let columns = Frame { times: Vec::new(), columns: vec![Column::float("x", Vec::new())] };
        assert_eq!(text(Form::Csv, vec![columns]).await, "time,x\n");
    }

    #[tokio::test]
    async fn a_fault_on_the_way_is_told_and_cuts_the_answer_off() {
        for (form, told) in [(Form::Lines, true), (Form::Csv, false)] {
            let many =
                Frame { times: (0..40_000).collect(), columns: vec![Column::float("x", vec![0.5; 40_000])] };
            let answer = written(form, move |take| {
                take(many)?;
                Err(Error::corrupt("chunk 7 is damaged"))
            });
            let mut body = answer.await.unwrap().into_body();
            let mut got = Vec::new();
            let cut = loop {
                match body.frame().await {
                    Some(Ok(part)) => got.extend_from_slice(&part.into_data().unwrap()),
                    Some(Err(_)) => break true,
                    None => break false,
                }
            };
            let said = String::from_utf8(got).unwrap();
            assert!(cut && said.lines().count() > 10_000);
            assert_eq!(said.lines().last().unwrap().contains("chunk 7 is damaged"), told, "{form:?}");
        }
        let early = written(Form::Lines, |_| Err(Error::not_found("x"))).await.unwrap_err();
        assert_eq!(early.status, 404);
    }

    #[test]
    fn the_client_says_which_form() {
        let of = |v: &str| {
            let mut h = HeaderMap::new();
            h.insert("accept", v.parse().unwrap());
            Form::of(&h)
        };
        assert_eq!(of("text/csv"), Form::Csv);
        assert_eq!(of("application/x-ndjson"), Form::Lines);
        assert_eq!(of("*/*"), Form::Document);
        assert_eq!(Form::of(&HeaderMap::new()), Form::Document);
    }
}
