//! What stands between the queries and the host: WIT types in, WIT types out.

wit_bindgen::generate!({ world: "query-builder-plugin", path: "../../wit" });

use crate::config::Config;
use crate::frame::{Column, Frame, Values};
use crate::queries::{self, Question, Type};
use crate::quotes::{Key, Market, Scan};
use exports::shiphold::host::query_builder::{Guest, NamedQuery, Param, ParamType};
use shiphold::host::config as host_config;
use shiphold::host::series::{self, SeriesKey, TimeRange};
use shiphold::host::types::{self as wit, Error};
use std::cell::RefCell;

/// Series of one measurement that are looked at; one is wanted, more are an error.
const SERIES_MAX: u32 = 100;

thread_local! {
    /// From `build` to the last `transform`: an instance answers one question.
    static QUESTION: RefCell<Option<Question>> = const { RefCell::new(None) };
}

struct MarketQueries;

impl Guest for MarketQueries {
    fn describe() -> Result<Vec<NamedQuery>, Error> {
        Ok(queries::describe(&config().map_err(Error::Invalid)?).into_iter().map(described).collect())
    }

    fn build(name: String, params: String) -> Result<String, Error> {
        let question = config().and_then(|c| Question::new(&c, &name, &params)).map_err(Error::Invalid)?;
        let query = question.query().map_err(Error::Invalid)?;
        QUESTION.set(Some(question));
        Ok(query)
    }

    fn transform(_: String, _: String, batch: wit::Frame, last: bool) -> Result<wit::Frame, Error> {
        let unasked = || Error::Invalid("`transform` came without `build`".into());
        let mut question = QUESTION.take().ok_or_else(unasked)?;
        let answer = question.transform(&Host, &taken(batch), last).map_err(Error::Invalid)?;
        QUESTION.set(Some(question));
        Ok(given(answer))
    }
}

fn config() -> Result<Config, String> {
    Config::parse(&host_config::get())
}

/// The series that the host lets this plugin read.
struct Host;

impl Market for Host {
    fn find(&self, bucket: &str, measurement: &str) -> Result<Vec<(Key, Vec<String>)>, String> {
        let found = series::list(bucket, measurement, None, SERIES_MAX).map_err(said)?;
        let of = |s: series::SeriesInfo| {
            let key = Key { bucket: s.key.bucket, measurement: s.key.measurement, tags: s.key.tags };
            (key, s.fields)
        };
        Ok(found.into_iter().filter(|s| s.rows > 0).map(of).collect())
    }

    fn open(&self, key: &Key, start: i64, end: i64, fields: &[&str]) -> Result<Box<dyn Scan>, String> {
        let Key { bucket, measurement, tags } = key.clone();
        let fields: Vec<String> = fields.iter().map(|field| (*field).into()).collect();
        let scan =
            series::open_scan(&SeriesKey { bucket, measurement, tags }, TimeRange { start, end }, &fields);
        Ok(Box::new(scan.map_err(said)?))
    }
}

impl Scan for series::Scan {
    fn next(&mut self, rows_max: u32) -> Result<Option<Frame>, String> {
        Ok(series::Scan::next(self, rows_max).map_err(said)?.map(taken))
    }
}

/// The host's sentence.
fn said(e: Error) -> String {
    match e {
        Error::Invalid(s)
        | Error::NotFound(s)
        | Error::Denied(s)
        | Error::Limit(s)
        | Error::Conflict(s)
        | Error::Timeout(s)
        | Error::Unavailable(s) => s,
    }
}

fn described(query: queries::Named) -> NamedQuery {
    let param = |p: queries::Param| Param {
        name: p.name.into(),
        type_: match p.of {
            Type::Text => ParamType::Text,
            Type::Integer => ParamType::Integer,
            Type::Float => ParamType::Float,
            Type::Timestamp => ParamType::Timestamp,
            Type::Duration => ParamType::Duration,
        },
        required: p.required,
        description: p.description,
        default: p.default,
    };
    NamedQuery {
        name: query.name.into(),
        description: query.description.into(),
        params: query.params.into_iter().map(param).collect(),
        transforms: true,
    }
}

fn taken(frame: wit::Frame) -> Frame {
    let column = |c: wit::Column| Column {
        name: c.name,
        values: match c.values {
            wit::Values::Floats(v) => Values::Floats(v),
            wit::Values::Integers(v) => Values::Integers(v),
            wit::Values::Unsigneds(v) => Values::Unsigneds(v),
            wit::Values::Booleans(v) => Values::Booleans(v),
            wit::Values::Strings(v) => Values::Strings(v),
        },
        valid: c.valid,
    };
    Frame { times: frame.times, columns: frame.columns.into_iter().map(column).collect() }
}

fn given(frame: Frame) -> wit::Frame {
    let column = |c: Column| wit::Column {
        name: c.name,
        values: match c.values {
            Values::Floats(v) => wit::Values::Floats(v),
            Values::Integers(v) => wit::Values::Integers(v),
            Values::Unsigneds(v) => wit::Values::Unsigneds(v),
            Values::Booleans(v) => wit::Values::Booleans(v),
            Values::Strings(v) => wit::Values::Strings(v),
        },
        valid: c.valid,
    };
    wit::Frame { times: frame.times, columns: frame.columns.into_iter().map(column).collect() }
}

export!(MarketQueries);
