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
use serde_json::{Map, Value};
#[cfg(test)]
use shiphold_storage::series::query::Table;
use shiphold_storage::series::query::{self, Shape};
use shiphold_storage::series::{Budget, Frame};
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result};
use std::sync::Arc;
use tokio::sync::mpsc;

mod described;
mod stream;

pub use described::{NamedQuery, Param, ParamType};
use described::{checked, size_of_query};
pub use stream::Batches;
pub(crate) use stream::Sender;
use stream::gone;

/// Bytes of a text that a caller gives.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Rows of one batch; fewer where they are wide.
const BATCH_ROWS_MAX: usize = 65_536;

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
    use shiphold_storage::series::Column;
    use shiphold_storage::series::query::Joined;

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
