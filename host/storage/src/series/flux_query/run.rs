//! Answers a plan: the tables of each result one after another, and of each table a batch of rows at a time.

use super::face::Face;
use super::filter::Test;
use super::pivot::{Field, Pivoted};
use super::plan::{FluxQuery, Pipeline, Stage};
use super::stage::{About, Flow, Frames, some};
use super::table::{Head, Part, TableSink, VALUE};
use crate::error::{Error, Kind, Result};
use crate::series::query;
use crate::series::query::Function;
use crate::series::{
    Budget, Column, FieldType, Frame, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange,
};
use std::collections::BTreeMap;

/// Fields of a series that become columns.
const PIVOT_COLUMNS_MAX: usize = 1_000;
/// Rows among which the last one is looked for first.
const LAST_ROWS: i64 = 1_024;
/// A search for the last row looks back this many times as far when it found none.
const LOOK_BACK_FACTOR: i64 = 8;

/// Answers a query from the series that `readable` lets through; more than `rows_max` rows are [`Kind::Limit`].
pub fn run(
    engine: &dyn SeriesEngine,
    query: &FluxQuery,
    budget: &Budget,
    rows_max: u64,
    readable: &dyn Fn(&SeriesKey) -> bool,
    sink: &mut TableSink<'_>,
) -> Result<()> {
    let mut run = Run { engine, budget, rows_max, rows: 0, sink };
    query.pipelines.iter().try_for_each(|pipeline| run.pipeline(pipeline, readable))
}

struct Run<'a, 's> {
    engine: &'a dyn SeriesEngine,
    budget: &'a Budget,
    rows_max: u64,
    /// Rows given so far.
    rows: u64,
    sink: &'a mut TableSink<'s>,
}

/// A series, as the answer names it.
struct Shown {
    face: Face,
    info: SeriesInfo,
}

impl<'r> Run<'r, '_> {
    fn pipeline(&mut self, pipeline: &Pipeline, readable: &dyn Fn(&SeriesKey) -> bool) -> Result<()> {
        let shown = chosen(self.engine, pipeline, readable, self.budget)?;
        let at = pipeline.stages.iter().position(|s| matches!(s, Stage::Pivot));
        let mut table = 0;
        for series in &shown {
            self.budget.check()?;
            match at {
                Some(at) => self.pivoted(pipeline, series, at, &mut table)?,
                None => self.fields(pipeline, series, &mut table)?,
            }
        }
        (self.sink)(Part::End)
    }

    /// A table per field.
    fn fields(&mut self, pipeline: &Pipeline, series: &Shown, table: &mut u64) -> Result<()> {
        for (field, of) in &series.info.fields {
            let about = self.about(pipeline, series, field);
            let Some(flow) = flow(self.engine, self.budget, &pipeline.stages, series, *of, about)? else {
                continue;
            };
            let values = [(VALUE.to_string(), flow.of)];
            let head = Head::new(
                pipeline.name(),
                *table,
                pipeline.range(),
                &series.face,
                Some(field),
                flow.timed,
                &values,
            );
            *table += u64::from(self.give(&head, flow.frames)?);
        }
        Ok(())
    }

    /// One table, a column per field.
    fn pivoted(&mut self, pipeline: &Pipeline, series: &Shown, at: usize, table: &mut u64) -> Result<()> {
        let (before, after) = pipeline.stages.split_at(at);
        let mut fields = Vec::new();
        for (name, of) in &series.info.fields {
            let about = self.about(pipeline, series, name);
            let Some(mut flow) = flow(self.engine, self.budget, before, series, *of, about)? else {
                continue;
            };
            // A field without any row is no column.
            let Some(frame) = flow.frames.next().transpose()? else { continue };
            if fields.len() == PIVOT_COLUMNS_MAX {
                return Err(Error::limit(
                    format!("the pivot of `{}`", series.info.key),
                    format!("{PIVOT_COLUMNS_MAX} columns"),
                    "choose fields with a filter",
                ));
            }
            fields.push(Field { name: name.clone(), of: flow.of, frames: flow.frames, frame, at: 0 });
        }
        let columns: Vec<(String, FieldType)> = fields.iter().map(|f| (f.name.clone(), f.of)).collect();
        let mut flow = Flow { frames: some(Pivoted { fields }), of: FieldType::Float, timed: true };
        for stage in after {
            flow = flow.after(stage, self.about(pipeline, series, ""))?;
        }
        let head = Head::new(pipeline.name(), *table, pipeline.range(), &series.face, None, true, &columns);
        *table += u64::from(self.give(&head, flow.frames)?);
        Ok(())
    }

    fn about<'a>(&self, pipeline: &Pipeline, series: &'a Shown, field: &'a str) -> About<'a>
    where
        'r: 'a,
    {
        About {
            face: &series.face,
            field,
            range: pipeline.range(),
            budget: self.budget,
            rows_max: self.rows_max,
        }
    }

    /// Hands out a table, if it has rows.
    fn give(&mut self, head: &Head, frames: Frames<'_>) -> Result<bool> {
        let mut any = false;
        for frame in frames {
            let frame = frame?;
            self.budget.check()?;
            self.rows = self.rows.saturating_add(frame.len() as u64);
            if self.rows > self.rows_max {
                return Err(Error::new(
                    Kind::Limit,
                    format!("the answer has more than {} rows, the limit `limits.query_rows`", self.rows_max),
                )
                .hint("narrow the range, use longer windows or `createEmpty: false`, or page with `limit`"));
            }
            if !std::mem::replace(&mut any, true) {
                (self.sink)(Part::Head(head))?;
            }
            (self.sink)(Part::Rows(&frame))?;
        }
        Ok(any)
    }
}

/// The conditions before anything else: they choose the series.
fn leading(pipeline: &Pipeline) -> Test {
    let tests = pipeline.stages.iter().map_while(|stage| match stage {
        Stage::Filter(test) => Some((**test).clone()),
        _ => None,
    });
    Test::All(tests.collect())
}

/// The series of which a field may be in the answer, in its order.
fn chosen(
    engine: &dyn SeriesEngine,
    pipeline: &Pipeline,
    readable: &dyn Fn(&SeriesKey) -> bool,
    budget: &Budget,
) -> Result<Vec<Shown>> {
    let test = leading(pipeline);
    let (start, stop) = pipeline.range();
    let range = TimeRange { start, end: stop };
    let asks_for = |measurement: &str| test.names(measurement);
    let mut shown = Vec::new();
    for info in listed(engine, &pipeline.bucket, &test, budget)? {
        let outside = match (info.min_time, info.max_time) {
            (Some(min), Some(max)) => !range.overlaps(min, max),
            _ => info.rows == 0,
        };
        if outside || !readable(&info.key) {
            continue;
        }
        let may = |face: &Face| info.fields.iter().any(|(field, _)| test.known(face, field) != Some(false));
        let face = Face::all(&info.key, &asks_for).into_iter().find(may);
        if let Some(face) = face {
            let mut info = info;
            info.fields.sort();
            shown.push(Shown { face, info });
        }
    }
    shown.sort_by(|a, b| a.face.cmp(&b.face));
    Ok(shown)
}

/// The series of a bucket, but for those that a condition cannot mean.
fn listed(engine: &dyn SeriesEngine, bucket: &str, test: &Test, budget: &Budget) -> Result<Vec<SeriesInfo>> {
    let of = |measurement: Option<String>| {
        engine.choose(&Selector { bucket: Some(bucket.into()), measurement, tags: Vec::new() }, budget)
    };
    // A `*` in a name would stand for others.
    let Some(names) = test.measurements().filter(|names| names.iter().all(|n| !n.contains('*'))) else {
        return of(None);
    };
    let mut found = BTreeMap::new();
    for name in names {
        let kind = if name == "metrics" { "metric" } else { name };
        let typed = ["bar", "tick", "book", "signal", "metric"].contains(&kind).then(|| format!("{kind}.*"));
        for measurement in std::iter::once(name.to_string()).chain(typed) {
            found.extend(of(Some(measurement))?.into_iter().map(|info| (info.key.clone(), info)));
        }
    }
    Ok(found.into_values().collect())
}

/// The rows of one field after its steps; `None`: the filters leave it out.
fn flow<'a>(
    engine: &'a dyn SeriesEngine,
    budget: &'a Budget,
    stages: &'a [Stage],
    series: &'a Shown,
    of: FieldType,
    about: About<'a>,
) -> Result<Option<Flow<'a>>> {
    let mut left = stages;
    let mut tests = Vec::new();
    while let Some((Stage::Filter(test), rest)) = left.split_first() {
        match test.known(about.face, about.field) {
            Some(false) => return Ok(None),
            Some(true) => {}
            None => tests.push(test),
        }
        left = rest;
    }
    let range = TimeRange { start: about.range.0, end: about.range.1 };
    let key = &series.info.key;
    // The last row needs not all before it.
    let frames = match left.first() {
        Some(Stage::Fold(Function::Last)) if tests.is_empty() => {
            let info = &series.info;
            let one = std::iter::once_with(move || last_row(engine, info, about.field, range, budget));
            some(one)
        }
        _ => scan(engine, key, about.field, range, budget)?,
    };
    let mut flow = Flow { frames, of, timed: true };
    for test in tests {
        flow = flow.filtered(test, about);
    }
    for stage in left {
        flow = flow.after(stage, about)?;
    }
    Ok(Some(flow))
}

/// The rows of a field that have a value, in a column `_value`.
fn scan<'a>(
    engine: &'a dyn SeriesEngine,
    key: &SeriesKey,
    field: &'a str,
    range: TimeRange,
    budget: &'a Budget,
) -> Result<Frames<'a>> {
    let stream = engine.scan(key, range, Some(&[field.to_string()]), budget)?;
    Ok(some(stream.map(move |frame| {
        budget.check()?;
        Ok(with_value(frame?, field))
    })))
}

fn with_value(frame: Frame, field: &str) -> Frame {
    let times = frame.times;
    let Some(column) = frame.columns.into_iter().find(|c| c.name == field) else { return Frame::default() };
    let valid = column.valid.clone();
    let frame = Frame { times, columns: vec![Column { name: VALUE.into(), ..column }] };
    match valid {
        Some(valid) => query::chosen(frame, &valid),
        None => frame,
    }
}

/// The frame with the last value of a field, looking back in pieces from the end, each longer than the one before.
fn last_row(
    engine: &dyn SeriesEngine,
    info: &SeriesInfo,
    field: &str,
    range: TimeRange,
    budget: &Budget,
) -> Result<Frame> {
    let least = info.min_time.map_or(range.start, |t| t.max(range.start));
    let mut end = info.max_time.map_or(range.end, |t| t.saturating_add(1).min(range.end));
    let rows = i64::try_from(info.rows).unwrap_or(i64::MAX).max(1);
    let mut span = (end.saturating_sub(least) / rows).max(1).saturating_mul(LAST_ROWS);
    while least < end {
        let start = end.saturating_sub(span).max(least);
        let mut last = Frame::default();
        for frame in scan(engine, &info.key, field, TimeRange { start, end }, budget)? {
            last = frame?;
        }
        if !last.is_empty() {
            return Ok(last);
        }
        end = start;
        span = span.saturating_mul(LOOK_BACK_FACTOR);
    }
    Ok(Frame::default())
}
