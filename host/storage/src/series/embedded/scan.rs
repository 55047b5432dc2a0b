//! A scan: pins what the series holds now, then reads chunk by chunk, so that a slow consumer holds no
//! transaction open.

use super::catalog::Series;
use super::core::Core;
use super::merge::{Merge, Source};
use super::read;
use super::run::{Lane, Run};
use crate::error::{Error, Result};
use crate::series::{Budget, Column, FieldType, Frame, FrameStream, SeriesKey, TimeRange, Values};
use std::sync::Arc;

/// What of a series lies within a range, oldest first.
pub(super) fn sources(series: &Series, range: TimeRange) -> Vec<Source> {
    let state = series.state();
    let chunks = state.chunks.iter().filter(|c| !c.is_bad() && c.max >= range.start && c.min < range.end);
    let mut sources: Vec<Source> = chunks.map(|c| Source::chunk(c.clone())).collect();
    sources.extend(state.runs().map(|r| Source::run(r.clone())));
    sources
}

pub(super) fn scan(
    core: &Arc<Core>,
    key: &SeriesKey,
    range: TimeRange,
    fields: Option<&[String]>,
    budget: &Budget,
) -> Result<FrameStream> {
    budget.check()?;
    let Some(series) = read(&core.catalog).get(key).cloned() else { return Ok(Box::new(std::iter::empty())) };
    let columns = {
        let has = series.state().fields.clone();
        let names = series.measurement.fields();
        let named = |f: u32| names.name(f).map(|(n, t)| (f, n.to_owned(), t));
        match fields {
            None => has.into_iter().filter_map(named).collect::<Vec<_>>(),
            Some(asked) => {
                let mut chosen: Vec<u32> = Vec::new();
                for (number, _) in asked.iter().filter_map(|n| names.find(n)) {
                    if has.binary_search(&number).is_ok() && !chosen.contains(&number) {
                        chosen.push(number);
                    }
                }
                if chosen.is_empty() && !asked.is_empty() {
                    return Ok(Box::new(std::iter::empty()));
                }
                chosen.into_iter().filter_map(named).collect()
            }
        }
    };
    let numbers = fields.map(|_| columns.iter().map(|c| c.0).collect());
    budget.count(|c| {
        let state = series.state();
        let out = |chunk: &&Arc<super::chunk::Chunk>| chunk.max < range.start || chunk.min >= range.end;
        c.skipped(state.chunks.iter().filter(|c| !c.is_bad()).filter(out).count());
    });
    let merge = Merge::new(&series, sources(&series, range), numbers, range);
    Ok(Box::new(Scan { core: core.clone(), merge, columns, budget: budget.clone(), rows: 0, done: false }))
}

struct Scan {
    core: Arc<Core>,
    merge: Merge,
    /// What each frame has: number, name, type.
    columns: Vec<(u32, String, FieldType)>,
    budget: Budget,
    rows: u64,
    done: bool,
}

impl Scan {
    fn step(&mut self) -> Result<Option<Frame>> {
        while let Some(mut run) = self.merge.next(&self.core, &self.budget)? {
            if !self.columns.is_empty() {
                // As InfluxDB does: a row without any of the asked fields is not there.
                run.tidy();
            }
            if run.is_empty() || (run.lanes.is_empty() && !self.columns.is_empty()) {
                continue;
            }
            self.rows += run.len() as u64;
            if let Some(max) = self.budget.rows_max.filter(|max| self.rows > *max) {
                return Err(Error::limit(
                    "the number of rows read",
                    max,
                    "narrow the range, or raise `limits.query_rows` in shiphold.toml",
                ));
            }
            return Ok(Some(self.frame(run)));
        }
        Ok(None)
    }

    /// The same columns in every frame, in the same order.
    fn frame(&self, run: Run) -> Frame {
        let rows = run.len();
        let mut lanes: Vec<Option<Lane>> = run.lanes.into_iter().map(Some).collect();
        let columns = self.columns.iter().map(|(number, name, of)| {
            let found = lanes.iter_mut().find(|l| l.as_ref().is_some_and(|l| l.field == *number));
            match found.and_then(Option::take) {
                Some(lane) => Column { name: name.clone(), values: lane.values, valid: lane.valid },
                None => {
                    Column { name: name.clone(), values: nothing(*of, rows), valid: Some(vec![false; rows]) }
                }
            }
        });
        Frame { times: run.times, columns: columns.collect() }
    }
}

fn nothing(of: FieldType, rows: usize) -> Values {
    match of {
        FieldType::Float => Values::Float(vec![0.0; rows]),
        FieldType::Integer => Values::Integer(vec![0; rows]),
        FieldType::Unsigned => Values::Unsigned(vec![0; rows]),
        FieldType::Boolean => Values::Boolean(vec![false; rows]),
        FieldType::String => Values::String(vec![String::new(); rows]),
    }
}

impl Iterator for Scan {
    type Item = Result<Frame>;
    fn next(&mut self) -> Option<Result<Frame>> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}
