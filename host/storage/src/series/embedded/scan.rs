//! A scan: pins what the series holds now, then reads chunk by chunk, so that a slow consumer holds no
//! transaction open.

use super::catalog::Series;
use super::core::Core;
use super::merge::{Merge, Part, Source, Summed};
use super::read;
use super::run::{Lane, Run};
use super::statistics::{Sum, Totals};
use crate::error::Result;
use crate::series::pieces::{FieldSummary, Piece, PieceStream, Summary, Total, Within};
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
    let scan = begin(core, key, range, fields, Arc::new(|_, _| false), budget)?;
    let rows = |piece| match piece {
        Piece::Rows(frame) => Some(frame),
        // None are asked for.
        Piece::Summary(_) => None,
    };
    Ok(Box::new(scan.into_iter().flatten().filter_map(move |piece| piece.map(rows).transpose())))
}

pub(super) fn scan_pieces(
    core: &Arc<Core>,
    key: &SeriesKey,
    range: TimeRange,
    fields: Option<&[String]>,
    within: Arc<Within>,
    budget: &Budget,
) -> Result<PieceStream> {
    Ok(Box::new(begin(core, key, range, fields, within, budget)?.into_iter().flatten()))
}

/// `None`: there is nothing to give.
fn begin(
    core: &Arc<Core>,
    key: &SeriesKey,
    range: TimeRange,
    fields: Option<&[String]>,
    within: Arc<Within>,
    budget: &Budget,
) -> Result<Option<Scan>> {
    budget.check()?;
    let Some(series) = read(&core.catalog).get(key).cloned() else { return Ok(None) };
    let columns = {
        let has = series.state().fields.clone();
        let names = series.measurement.fields();
        let named = |f: u32| names.name(f).map(|(n, t)| (f, n.to_owned(), t));
        match fields {
            None => has.iter().copied().filter_map(named).collect::<Vec<_>>(),
            Some(asked) => {
                let mut chosen: Vec<u32> = Vec::new();
                for (number, _) in asked.iter().filter_map(|n| names.find(n)) {
                    if has.binary_search(&number).is_ok() && !chosen.contains(&number) {
                        chosen.push(number);
                    }
                }
                if chosen.is_empty() && !asked.is_empty() {
                    return Ok(None);
                }
                chosen.into_iter().filter_map(named).collect()
            }
        }
    };
    // A field whose row in the catalogue is damaged has no name, and its values no place.
    let all = columns.len() == series.state().fields.len();
    if columns.is_empty() && fields.is_none() {
        return Ok(None);
    }
    let numbers = (fields.is_some() || !all).then(|| columns.iter().map(|c| c.0).collect());
    budget.count(|c| {
        let state = series.state();
        let out = |chunk: &&Arc<super::chunk::Chunk>| chunk.max < range.start || chunk.min >= range.end;
        c.skipped(state.chunks.iter().filter(|c| !c.is_bad()).filter(out).count());
    });
    let merge = Merge::new(&series, sources(&series, range), numbers, range).through(&core.memory.cache);
    Ok(Some(Scan {
        core: core.clone(),
        merge,
        columns,
        within,
        budget: budget.clone(),
        rows: 0,
        done: false,
    }))
}

struct Scan {
    core: Arc<Core>,
    merge: Merge,
    /// What each frame has: number, name, type.
    columns: Vec<(u32, String, FieldType)>,
    within: Arc<Within>,
    budget: Budget,
    rows: u64,
    done: bool,
}

impl Scan {
    fn step(&mut self) -> Result<Option<Piece>> {
        while let Some(part) = self.merge.next_part(&self.core, &self.budget, self.within.as_ref())? {
            let mut run = match part {
                Part::Rows(run) => run,
                Part::Summed(Summed { first, last, rows, totals }) => {
                    let fields: Vec<FieldSummary> =
                        totals.into_iter().filter_map(|t| self.field(t)).collect();
                    if fields.is_empty() && !self.columns.is_empty() {
                        continue;
                    }
                    self.count(rows)?;
                    return Ok(Some(Piece::Summary(Summary { first, last, rows, fields })));
                }
            };
            if !self.columns.is_empty() {
                // As InfluxDB does: a row without any of the asked fields is not there.
                run.tidy();
            }
            if run.is_empty() || (run.lanes.is_empty() && !self.columns.is_empty()) {
                continue;
            }
            self.count(run.len() as u64)?;
            return Ok(Some(Piece::Rows(self.frame(run))));
        }
        Ok(None)
    }

    fn count(&mut self, rows: u64) -> Result<()> {
        self.rows += rows;
        self.budget.rows(self.rows)
    }

    fn field(&self, totals: Totals) -> Option<FieldSummary> {
        let (_, name, _) = self.columns.iter().find(|(number, ..)| *number == totals.field)?;
        let (least, greatest) = totals.extremes.unzip();
        Some(FieldSummary {
            name: name.clone(),
            count: u64::from(totals.count),
            first: Some(totals.first),
            last: Some(totals.last),
            least,
            greatest,
            sum: match totals.sum {
                Sum::Float(v) => Total::Float(v),
                Sum::Whole(v) => Total::Whole(v),
                Sum::None => Total::None,
            },
        })
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
        FieldType::Integer | FieldType::Decimal(_) => Values::Integer(vec![0; rows]),
        FieldType::Unsigned => Values::Unsigned(vec![0; rows]),
        FieldType::Boolean => Values::Boolean(vec![false; rows]),
        FieldType::String => Values::String(vec![String::new(); rows]),
    }
}

impl Iterator for Scan {
    type Item = Result<Piece>;
    fn next(&mut self) -> Option<Result<Piece>> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}
