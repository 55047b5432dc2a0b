//! Named queries: described when their plugin is loaded, checked before the guest is called, run within the plugin's own read
//! grants, transformed batch by batch.

use crate::bindings::exports::shiphold::host::query_builder as wit;
use crate::call::Session;
use crate::component::{Exports, Loaded};
use crate::host::convert::{frame_from_guest, frame_to_guest, rows, size_of_frame};
use crate::host::error::{Guest, from_guest, other_world};
use crate::limits::Hit;
use crate::run::blocking;
use crate::text::printable;
use chrono_tz::UTC;
use serde::Serialize;
use serde_json::{Map, Value};
use shiphold_storage::series::query::{self, Joined, Shape, Table, parse_time};
use shiphold_storage::series::{Budget, Frame};
use shiphold_storage::units::Span;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Queries of one plugin.
const QUERIES_MAX: usize = 64;
/// Parameters of one query.
const PARAMS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 4 << 10;
const PARAM_DESCRIPTION_BYTES_MAX: usize = 1 << 10;
/// Bytes of a text that a caller gives.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Rows of one batch; fewer where they are wide.
const BATCH_ROWS_MAX: usize = 65_536;
/// How long a caller may leave a batch untaken.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    Text,
    Integer,
    Float,
    Boolean,
    Timestamp,
    Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Param {
    pub name: String,
    #[serde(rename = "type")]
    pub of: ParamType,
    pub required: bool,
    pub description: String,
    /// As the caller would write it.
    pub default: Option<Value>,
}

/// A query that a plugin offers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedQuery {
    pub name: String,
    pub plugin: String,
    pub description: String,
    pub params: Vec<Param>,
    /// The plugin works on the answer.
    pub transforms: bool,
}

/// Asks a plugin for its queries and checks what it says.
pub(crate) async fn describe(loaded: &Arc<Loaded>, layer: &Arc<DataLayer>) -> Result<Vec<NamedQuery>> {
    let mut session = Session::open(loaded, layer).await?;
    let said = session
        .call(
            |all: &Vec<wit::NamedQuery>| all.iter().map(size_of_query).sum(),
            |store, instance, exports| {
                Box::pin(async move {
                    let Exports::Queries(exports) = exports else { return Ok(Err(other_world())) };
                    exports.load(&mut *store, instance)?.call_describe(store).await
                })
            },
        )
        .await?;
    let name = &loaded.plugin.name;
    let wrong = |e: Error| {
        Error::new(Kind::Plugin, format!("plugin `{name}` describes its queries wrongly: {}", e.message()))
            .hint("it is a fault of the plugin; wit/query.wit has the rules")
    };
    checked(name, said).map_err(wrong)
}

fn size_of_query(q: &wit::NamedQuery) -> usize {
    let param =
        |p: &wit::Param| 64 + p.name.len() + p.description.len() + p.default.as_ref().map_or(0, String::len);
    64 + q.name.len() + q.description.len() + q.params.iter().map(param).sum::<usize>()
}

fn is_name(text: &str, with: u8) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == with)
}

fn prose(what: &str, text: &str, most: usize) -> Result<String> {
    if text.len() > most {
        return Err(Error::limit(
            format!("the description of {what}"),
            format!("{most} bytes"),
            "shorten it",
        ));
    }
    // Lines may break; nothing else may steer a terminal.
    Ok(text.lines().map(|l| printable(l, most)).collect::<Vec<_>>().join("\n"))
}

fn checked(plugin: &str, said: Vec<wit::NamedQuery>) -> Result<Vec<NamedQuery>> {
    if said.len() > QUERIES_MAX {
        return Err(Error::limit(format!("{} queries", said.len()), QUERIES_MAX, "offer fewer"));
    }
    let mut out: Vec<NamedQuery> = Vec::with_capacity(said.len());
    for q in said {
        let shown = printable(&q.name, NAME_BYTES_MAX);
        if !is_name(&q.name, b'-') {
            return Err(Error::invalid(format!(
                "`{shown}` is no name: 1 to {NAME_BYTES_MAX} of a-z 0-9 -, a letter first"
            )));
        }
        if out.iter().any(|o| o.name == q.name) {
            return Err(Error::invalid(format!("there are two queries `{shown}`")));
        }
        if q.params.len() > PARAMS_MAX {
            return Err(Error::limit(
                format!("{} parameters of `{shown}`", q.params.len()),
                PARAMS_MAX,
                "take fewer",
            ));
        }
        let mut params: Vec<Param> = Vec::with_capacity(q.params.len());
        for p in q.params {
            let param = checked_param(p).map_err(|e| e.context(format!("`{shown}`")))?;
            if params.iter().any(|o| o.name == param.name) {
                return Err(Error::invalid(format!("`{shown}` has two parameters `{}`", param.name)));
            }
            params.push(param);
        }
        let description = prose(&shown, &q.description, DESCRIPTION_BYTES_MAX)?;
        out.push(NamedQuery {
            name: q.name,
            plugin: plugin.into(),
            description,
            params,
            transforms: q.transforms,
        });
    }
    Ok(out)
}

fn checked_param(p: wit::Param) -> Result<Param> {
    let shown = printable(&p.name, NAME_BYTES_MAX);
    if !is_name(&p.name, b'_') {
        return Err(Error::invalid(format!(
            "`{shown}` is no name of a parameter: 1 to {NAME_BYTES_MAX} of a-z 0-9 _, a letter first"
        )));
    }
    let of = match p.type_ {
        wit::ParamType::Text => ParamType::Text,
        wit::ParamType::Integer => ParamType::Integer,
        wit::ParamType::Float => ParamType::Float,
        wit::ParamType::Boolean => ParamType::Boolean,
        wit::ParamType::Timestamp => ParamType::Timestamp,
        wit::ParamType::Duration => ParamType::Duration,
    };
    let default = p.default.map(|text| {
        let bad = |why: String| Error::invalid(format!("the default of `{shown}` {why}"));
        let value: Value = serde_json::from_str(&text).map_err(|e| bad(format!("is no JSON: {e}")))?;
        of.take(&value).map_err(|why| bad(format!("is {why}")))?;
        Ok::<_, Error>(value)
    });
    let default = default.transpose()?;
    if p.required && default.is_some() {
        return Err(Error::invalid(format!("`{shown}` is required and has a default")));
    }
    let description = prose(&shown, &p.description, PARAM_DESCRIPTION_BYTES_MAX)?;
    Ok(Param { name: p.name, of, required: p.required, description, default })
}

impl ParamType {
    /// A value as a caller writes it (in JSON, or all of it as text) becomes what the guest gets; or what is wrong with it.
    fn take(self, given: &Value) -> std::result::Result<Value, String> {
        let text = given.as_str();
        let whole = || given.as_i64().or_else(|| text.and_then(|t| t.trim().parse().ok()));
        let wrong = |what: &str| {
            let shown = text.map_or_else(|| given.to_string(), str::to_string);
            format!("`{}`, which is not {what}", printable(&shown, NAME_BYTES_MAX))
        };
        match self {
            Self::Text => match text {
                Some(t) if t.len() <= TEXT_BYTES_MAX => Ok(given.clone()),
                Some(_) => Err(format!("longer than {TEXT_BYTES_MAX} bytes")),
                None => Err(wrong("a text")),
            },
            Self::Integer => whole().map(Value::from).ok_or_else(|| wrong("a whole number of 64 bits")),
            Self::Float => {
                let number = given.as_f64().or_else(|| text.and_then(|t| t.trim().parse().ok()));
                number
                    .filter(|v| v.is_finite())
                    .and_then(serde_json::Number::from_f64)
                    .map(Value::Number)
                    .ok_or_else(|| wrong("a finite number"))
            }
            Self::Boolean => given
                .as_bool()
                .or_else(|| text.and_then(|t| t.parse().ok()))
                .map(Value::Bool)
                .ok_or_else(|| wrong("true or false")),
            Self::Timestamp => {
                let at = whole().or_else(|| parse_time("", text?, UTC).ok());
                at.map(Value::from)
                    .ok_or_else(|| wrong("a time: write a date, RFC 3339, or nanoseconds since the epoch"))
            }
            Self::Duration => {
                let span = whole().or_else(|| text?.parse::<Span>().ok().map(Span::as_nanos_i64));
                span.filter(|s| *s >= 0)
                    .map(Value::from)
                    .ok_or_else(|| wrong("a span with its unit, such as `15 min`, or nanoseconds"))
            }
        }
    }
}

impl NamedQuery {
    /// Every problem at once; else what the guest gets, with defaults filled in.
    fn check(&self, given: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut problems: Vec<String> = given
            .keys()
            .filter(|k| !self.params.iter().any(|p| p.name == **k))
            .map(|k| format!("there is no parameter `{}`", printable(k, NAME_BYTES_MAX)))
            .collect();
        let mut out = Map::new();
        for p in &self.params {
            match given.get(&p.name).filter(|v| !v.is_null()).or(p.default.as_ref()) {
                None if p.required => problems.push(format!("`{}` is missing", p.name)),
                None => {}
                Some(value) => match p.of.take(value) {
                    Ok(value) => drop(out.insert(p.name.clone(), value)),
                    Err(why) => problems.push(format!("`{}` is {why}", p.name)),
                },
            }
        }
        if problems.is_empty() {
            return Ok(out);
        }
        let known: Vec<&str> = self.params.iter().map(|p| p.name.as_str()).collect();
        Err(Error::invalid(format!("query `{}`: {}", self.name, problems.join("; "))).hint(format!(
            "its parameters: {}; `shiphold queries show {}` describes them",
            known.join(", "),
            self.name
        )))
    }
}

/// Runs a query of a plugin and sends its answer, batch by batch: the engine reads the next one while the plugin works on one
/// and the caller takes another, and none of them gets further ahead. True: there were more rows than the query's limit.
pub(crate) async fn ask(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    query: &NamedQuery,
    given: &Map<String, Value>,
    budget: &Budget,
    to: &mut Sender,
) -> Result<bool> {
    let params = Value::Object(query.check(given)?).to_string();
    let mut session = Session::open(loaded, layer).await?;
    let (name, passed) = (query.name.clone(), params.clone());
    let built = session
        .call(size_of_said(String::len), |store, instance, exports| {
            Box::pin(async move {
                let Exports::Queries(exports) = exports else { return Ok(Err(other_world())) };
                store.data_mut().gives(passed.len())?;
                exports.load(&mut *store, instance)?.call_build(store, &name, &passed).await.map(Ok)
            })
        })
        .await?
        .map_err(|said| refused(query, &said))?;
    let fault = |what: String| {
        Error::new(Kind::Plugin, format!("plugin `{}`, query `{}`: {what}", query.plugin, query.name))
            .hint("it is a fault of the plugin; docs/query.md has the form of a query")
    };
    let no_query = |e: &dyn std::fmt::Display| {
        fault(format!("what it built is no query: {}", printable(&e.to_string(), TEXT_BYTES_MAX)))
    };
    let ast = serde_json::from_str(&built).map_err(|e| no_query(&e))?;
    let ast = query::read(ast).map_err(|e| no_query(&e.message()))?;
    // As the plugin: what it was not granted, nobody gets through it.
    let caller = Caller::Plugin { name: loaded.plugin.name.clone(), grants: loaded.grants.clone() };
    let (at, asked) = (layer.clone(), budget.clone());
    let (read, mut frames) = mpsc::channel(1);
    let reading = tokio::spawn(blocking(move || {
        at.series()
            .query_into(&caller, &ast, &asked, &mut |frame| read.blocking_send(frame).map_err(|_| gone()))
            .map(|done| done.truncated)
    }));
    let named = |e: Error| e.context(format!("query `{}` of `{}`", query.name, query.plugin));
    let read_all = async {
        let done = reading.await;
        done.map_err(|e| Error::internal(format!("a query ended in a fault: {e}")))?.map_err(named)
    };
    if !query.transforms {
        // Nobody waits for the instance.
        drop(session);
        while let Some(frame) = frames.recv().await {
            to.rows(frame, budget).await?;
        }
        return read_all.await;
    }
    let mut sent = Sent::default();
    let Some(mut frame) = frames.recv().await else { return read_all.await };
    let mut read_all = std::pin::pin!(read_all);
    loop {
        let next = frames.recv().await;
        // That the engine failed must not look like the end.
        let end = if next.is_none() { Some(read_all.as_mut().await?) } else { None };
        for (batch, last) in batches(&frame, loaded.plugin.limits.reply.0) {
            let last = last && end.is_some();
            // Each batch has a deadline of its own; the question has one for all of them.
            budget.check()?;
            let (name, passed, batch) = (query.name.clone(), params.clone(), frame_to_guest(batch?));
            let said = session
                .call(size_of_said(size_of_frame), move |store, instance, exports| {
                    Box::pin(async move {
                        let Exports::Queries(exports) = exports else { return Ok(Err(other_world())) };
                        store.data_mut().gives(passed.len() + size_of_frame(&batch))?;
                        let guest = exports.load(&mut *store, instance)?;
                        guest.call_transform(store, &name, &passed, &batch, last).await.map(Ok)
                    })
                })
                .await?
                .map_err(|said| refused(query, &said))?;
            let frame = frame_from_guest(said).map_err(|e| fault(e.message().to_string()))?;
            sent.count(&frame, loaded, layer.manifest().limits.query_rows)?;
            sent.shape.check(&frame).map_err(fault)?;
            to.rows(frame, budget).await?;
        }
        match (next, end) {
            (Some(next), _) => frame = next,
            (None, end) => return Ok(end.unwrap_or_default()),
        }
    }
}

/// [`ask`] for tests: all of the answer.
#[cfg(test)]
pub(crate) async fn ask_whole(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    query: &NamedQuery,
    given: &Map<String, Value>,
) -> Result<Table> {
    let (loaded, layer, query, given) = (loaded.clone(), layer.clone(), query.clone(), given.clone());
    let work = async move |mut to| {
        let done = ask(&loaded, &layer, &query, &given, &Budget::default(), &mut to).await;
        (to, done)
    };
    Batches::of(work, Budget::default(), |_, _| ()).table().await
}

fn gone() -> Error {
    Error::new(Kind::Cancelled, "nobody takes the answer any more")
}

/// What a plugin made of an answer so far.
#[derive(Debug, Default)]
struct Sent {
    rows: u64,
    bytes: u64,
    shape: Shape,
}

impl Sent {
    fn count(&mut self, frame: &Frame, loaded: &Loaded, rows_max: u64) -> Result<()> {
        let limits = &loaded.plugin.limits;
        self.bytes = self.bytes.saturating_add(frame.size_bytes() as u64);
        self.rows = self.rows.saturating_add(frame.len() as u64);
        if self.bytes > limits.output.0 {
            return Err(Hit::Output.error(&loaded.plugin.name, limits));
        }
        if self.rows > rows_max {
            return Err(Error::limit(
                "the rows of the answer",
                format!("limits.query_rows = {rows_max}"),
                "narrow the range, or raise `limits.query_rows` in shiphold.toml",
            ));
        }
        Ok(())
    }
}

/// Where the batches of an answer go.
pub(crate) struct Sender {
    to: mpsc::Sender<Result<Part>>,
    begun: bool,
    /// How long the caller let us wait.
    waited: Duration,
}

enum Part {
    Rows(Frame),
    End { truncated: bool },
}

impl Sender {
    /// The first batch goes out even if it has columns only: it says which.
    async fn rows(&mut self, frame: Frame, budget: &Budget) -> Result<()> {
        if frame.is_empty() && (self.begun || frame.columns.is_empty()) {
            return Ok(());
        }
        self.begun = true;
        self.send(Ok(Part::Rows(frame)), budget).await
    }

    async fn send(&mut self, part: Result<Part>, budget: &Budget) -> Result<()> {
        let begin = Instant::now();
        let deadline = budget.deadline.map_or_else(|| begin + SILENCE_MAX, |d| d.min(begin + SILENCE_MAX));
        let sent = tokio::time::timeout_at(deadline.into(), self.to.send(part)).await;
        self.waited += begin.elapsed();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Error::new(Kind::Timeout, "the answer was not taken in time")
                .hint("read on as it comes, or raise `limits.query_time` in shiphold.toml")),
        }
    }
}

/// The answer of a named query as it is made: batches of rows, each with the columns of the first.
pub struct Batches {
    from: mpsc::Receiver<Result<Part>>,
    ended: Option<bool>,
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Batches {
    /// Runs `work` on a task of its own; `done` is told whether it went well, and how long it took without waiting for the
    /// caller. Dropping the batches ends the work.
    pub(crate) fn of<F>(
        work: impl FnOnce(Sender) -> F,
        budget: Budget,
        done: impl FnOnce(bool, Duration) + Send + 'static,
    ) -> Self
    where
        F: Future<Output = (Sender, Result<bool>)> + Send + 'static,
    {
        let (to, from) = mpsc::channel(1);
        let begin = Instant::now();
        let work = work(Sender { to, begun: false, waited: Duration::ZERO });
        tokio::spawn(async move {
            let (mut to, result) = work.await;
            done(result.is_ok(), begin.elapsed().saturating_sub(to.waited));
            let _ = to.send(result.map(|truncated| Part::End { truncated }), &budget).await;
        });
        Self { from, ended: None }
    }

    fn took(&mut self, part: Option<Result<Part>>) -> Option<Result<Frame>> {
        match part {
            Some(Ok(Part::Rows(frame))) => Some(Ok(frame)),
            Some(Ok(Part::End { truncated })) => {
                self.ended = Some(truncated);
                None
            }
            Some(Err(e)) => {
                self.ended = Some(false);
                Some(Err(e))
            }
            None if self.ended.is_some() => None,
            // No half of an answer is taken for a whole one.
            None => {
                self.ended = Some(false);
                Some(Err(Error::internal("the query ended in a fault of the host")))
            }
        }
    }

    /// The next batch; nothing after the last, or after an error.
    pub async fn next(&mut self) -> Option<Result<Frame>> {
        let part = self.from.recv().await;
        self.took(part)
    }

    /// [`Batches::next`] on a thread that may block.
    pub fn next_blocking(&mut self) -> Option<Result<Frame>> {
        let part = self.from.blocking_recv();
        self.took(part)
    }

    /// After the last batch: were there more rows than the query's limit?
    pub fn truncated(&self) -> bool {
        self.ended == Some(true)
    }

    /// All of it.
    pub async fn table(mut self) -> Result<Table> {
        let mut joined = Joined::default();
        while let Some(frame) = self.next().await {
            joined.add(frame?).map_err(Error::internal)?;
        }
        Ok(Table { frame: joined.frame, truncated: self.truncated(), next: None })
    }
}

/// Bytes of an answer, whether it is one or the sentence of a refusal.
fn size_of_said<T>(size: impl Fn(&T) -> usize) -> impl Fn(&std::result::Result<T, Guest>) -> usize {
    move |said| said.as_ref().map_or_else(|e| from_guest(e).1.len(), &size)
}

/// The plugin's own sentence, for the caller: it is about what was asked.
fn refused(query: &NamedQuery, said: &Guest) -> Error {
    let (kind, said) = from_guest(said);
    Error::new(
        kind,
        format!("query `{}` of `{}`: {}", query.name, query.plugin, printable(said, TEXT_BYTES_MAX)),
    )
    .hint(format!("`shiphold queries show {}` describes what it takes", query.name))
}

/// The rows in batches that fit through the boundary, and whether each is the last; one empty batch where there are none.
fn batches(frame: &Frame, reply_bytes: u64) -> impl Iterator<Item = (Result<Frame>, bool)> {
    let row_bytes = frame.size_bytes().checked_div(frame.len()).unwrap_or(0).max(1);
    let fitting = usize::try_from(reply_bytes / 2).unwrap_or(usize::MAX) / row_bytes;
    let step = fitting.clamp(1, BATCH_ROWS_MAX);
    let count = frame.len().div_ceil(step).max(1);
    (0..count).map(move |i| {
        let (from, to) = (i * step, ((i + 1) * step).min(frame.len()));
        (rows(frame, from, to), i + 1 == count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shiphold_storage::series::Column;

    fn param(name: &str, of: ParamType, required: bool, default: Option<Value>) -> Param {
        Param { name: name.into(), of, required, description: String::new(), default }
    }

    fn query() -> NamedQuery {
        NamedQuery {
            name: "vwap".into(),
            plugin: "p".into(),
            description: String::new(),
            params: vec![
                param("symbol", ParamType::Text, true, None),
                param("start", ParamType::Timestamp, false, None),
                param("every", ParamType::Duration, false, Some(json!("5 min"))),
                param("window", ParamType::Integer, false, None),
                param("factor", ParamType::Float, false, None),
                param("open", ParamType::Boolean, false, None),
            ],
            transforms: true,
        }
    }

    #[test]
    fn parameters_become_what_the_guest_gets() {
        let given =
            json!({ "symbol": "AAPL", "start": "2024-01-02", "window": 20, "factor": 2, "open": true });
        let want = json!({
            "symbol": "AAPL", "start": 1_704_153_600_000_000_000_i64, "every": 300_000_000_000_i64, "window": 20,
            "factor": 2.0, "open": true,
        });
        assert_eq!(Value::Object(query().check(given.as_object().unwrap()).unwrap()), want);
        // The same from a query string, where everything is text.
        let given = json!({ "symbol": "AAPL", "start": "1704153600000000000", "every": "300 s", "window": "20", "factor": "2", "open": "true" });
        assert_eq!(Value::Object(query().check(given.as_object().unwrap()).unwrap()), want);
    }

    #[test]
    fn every_problem_of_the_parameters_is_told_at_once() {
        let given =
            json!({ "sybmol": "A", "start": "soon", "every": -1, "window": 1.5, "factor": "NaN", "open": 1 });
        let e = query().check(given.as_object().unwrap()).unwrap_err();
        for words in [
            "no parameter `sybmol`",
            "`symbol` is missing",
            "`start` is `soon`",
            "`every` is",
            "`window` is",
            "`factor` is",
            "`open` is",
        ] {
            assert!(e.message().contains(words), "{words}: {e}");
        }
        assert!(e.hint_text().unwrap().contains("symbol, start, every"));
        let long = |n: usize| json!({ "symbol": "x".repeat(n) });
        assert!(query().check(long(TEXT_BYTES_MAX).as_object().unwrap()).is_ok());
        assert!(query().check(long(TEXT_BYTES_MAX + 1).as_object().unwrap()).is_err());
    }

    fn described(name: &str, params: usize) -> wit::NamedQuery {
        let param = |i| wit::Param {
            name: format!("p{i}"),
            type_: wit::ParamType::Integer,
            required: false,
            description: String::new(),
            default: Some("1".into()),
        };
        wit::NamedQuery {
            name: name.into(),
            description: "line one\nline \u{1b}[2Jtwo".into(),
            params: (0..params).map(param).collect(),
            transforms: false,
        }
    }

    #[test]
    fn a_description_is_checked() {
        let ok = checked("p", vec![described("a", PARAMS_MAX)]).unwrap();
        assert_eq!(ok[0].description, "line one\nline \\u{1b}[2Jtwo");
        let many = |n: usize| (0..n).map(|i| described(&format!("q{i}"), 0)).collect::<Vec<_>>();
        assert!(checked("p", many(QUERIES_MAX)).is_ok() && checked("p", many(QUERIES_MAX + 1)).is_err());
        assert!(checked("p", vec![described("a", PARAMS_MAX + 1)]).is_err());
        for name in ["", "A", "-a", "a b", "a/b", "ä", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(checked("p", vec![described(name, 0)]).is_err(), "{name}");
        }
        assert!(checked("p", vec![described("a", 0), described("a", 0)]).is_err());
        let with = |change: fn(&mut wit::Param)| {
            let mut q = described("a", 1);
            q.params.iter_mut().for_each(change);
            checked("p", vec![q])
        };
        assert!(with(|p| p.default = Some("x".into())).is_err());
        assert!(with(|p| p.default = Some("\"x\"".into())).is_err());
        assert!(with(|p| p.required = true).is_err());
        assert!(with(|p| p.name = "a-b".into()).is_err());
        assert!(with(|p| p.description = "x".repeat(PARAM_DESCRIPTION_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn batches_cover_every_row_once_and_the_last_is_told() {
        let frame = |n: usize| Frame {
            times: (0..n as i64).collect(),
            columns: vec![Column::float("x", vec![0.5; n])],
        };
        for (n, reply, want) in [
            (0, 1 << 20, vec![0]),
            (10, 1 << 20, vec![10]),
            (10, 16 * 2 * 4, vec![4, 4, 2]),
            (3, 1, vec![1, 1, 1]),
            (BATCH_ROWS_MAX + 1, 1 << 30, vec![BATCH_ROWS_MAX, 1]),
        ] {
            let frame = frame(n);
            let all: Vec<(Frame, bool)> =
                batches(&frame, reply).map(|(f, last)| (f.unwrap(), last)).collect();
            assert_eq!(all.iter().map(|(f, _)| f.len()).collect::<Vec<_>>(), want);
            assert!(all.iter().enumerate().all(|(i, (_, last))| *last == (i + 1 == all.len())));
            let mut joined = Joined::default();
            all.into_iter().for_each(|(f, _)| joined.add(f).unwrap());
            assert_eq!(joined.frame, frame);
        }
    }
}
