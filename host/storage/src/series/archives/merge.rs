//! Rows of an engine and of archives as one stream. The engine's are right where both have a value, then those of later archives.

use super::index::Archive;
use super::room::Mine;
use super::source::Shelf;
use crate::error::{Error, Result};
use crate::series::pieces::{Piece, PieceStream};
use crate::series::query::picked;
use crate::series::rows::Rows;
use crate::series::{Budget, FieldType, Frame, FrameStream, TimeRange, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// Archives whose times overlap that are read at once; each holds a block of rows.
pub const OPEN_MAX: usize = 64;
/// Rows of one source before the next of another one that are handed on as they are.
const RUN_ROWS: usize = 64;
/// Rows that are put together, before it is looked at whether there is such a run.
const MIXED_ROWS: usize = 1_024;

/// The rank of the engine's rows, above that of every archive.
const ENGINE: i64 = i64::MAX;

/// What is wanted of the rows.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) range: TimeRange,
    pub(super) fields: Option<Vec<String>>,
    pub(super) of: Of,
    pub(super) budget: Budget,
}

/// In what form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// As the engine stores them: units of decimals are integers.
    Stored,
    /// With decimals.
    Exact,
    /// Only their times.
    Times,
}

struct Source {
    frames: FrameStream,
    head: Frame,
    at: usize,
    /// The greatest has the right values.
    rank: i64,
}

impl Source {
    fn time(&self) -> Option<i64> {
        self.head.times.get(self.at).copied()
    }

    /// Reads on until there is a row, or no more.
    fn fill(&mut self) -> Result<()> {
        while self.at >= self.head.len() {
            let Some(next) = self.frames.next() else { break };
            self.head = next?;
            self.at = 0;
        }
        Ok(())
    }

    /// Takes the next rows.
    fn take(&mut self, rows: usize) -> Frame {
        let from = self.at;
        self.at += rows;
        if from == 0 && self.at >= self.head.len() {
            return std::mem::take(&mut self.head);
        }
        picked(&self.head, &(from..self.at).collect::<Vec<_>>())
    }
}

/// Rows in ascending time.
pub(super) struct Merged {
    shelf: Arc<Shelf>,
    wanted: Wanted,
    /// Not opened yet, by their first times.
    waiting: VecDeque<Arc<Archive>>,
    sources: Vec<Source>,
    /// Bytes that its files take.
    mine: Mine,
    /// Rows that were given.
    given: u64,
    done: bool,
}

impl Merged {
    /// `archives` of one series, in the order of their numbers; `None`: without the rows of an engine.
    pub(super) fn new(
        shelf: Arc<Shelf>,
        engine: Option<FrameStream>,
        mut archives: Vec<Arc<Archive>>,
        wanted: Wanted,
    ) -> Self {
        archives.sort_by_key(|a| a.first);
        let engine = engine.map(|frames| Source { frames, head: Frame::default(), at: 0, rank: ENGINE });
        Self {
            shelf,
            wanted,
            waiting: archives.into(),
            sources: engine.into_iter().collect(),
            mine: Mine::default(),
            given: 0,
            done: false,
        }
    }

    /// Fills every source, and opens archives whose rows come next.
    fn prepare(&mut self) -> Result<()> {
        for source in &mut self.sources {
            source.fill()?;
        }
        self.sources.retain(|s| s.time().is_some());
        loop {
            let least = self.sources.iter().filter_map(Source::time).min();
            let Some(next) = self.waiting.front() else { return Ok(()) };
            if least.is_some_and(|t| t < next.first.max(self.wanted.range.start)) {
                return Ok(());
            }
            if self.sources.iter().filter(|s| s.rank != ENGINE).count() >= OPEN_MAX {
                return Err(Error::limit(
                    format!("the archives of `{}` that overlap at one time", next.key),
                    OPEN_MAX,
                    "bring them back with `shiphold series restore`, and archive them again as one",
                ));
            }
            let Some(next) = self.waiting.pop_front() else { return Ok(()) };
            let none: Vec<String> = Vec::new();
            let Wanted { range, fields, of, budget } = &self.wanted;
            let fields = fields.as_deref();
            let frames = match of {
                Of::Stored => self.shelf.stored(&next, *range, fields, &self.mine, budget)?,
                Of::Exact => self.shelf.exact(&next, *range, fields, &self.mine, budget)?,
                Of::Times => self.shelf.exact(&next, *range, Some(none.as_slice()), &self.mine, budget)?,
            };
            self.wanted.budget.count(|c| c.archive(next.bytes));
            let mut source = Source { frames, head: Frame::default(), at: 0, rank: next.id };
            source.fill()?;
            if source.time().is_some() {
                self.sources.push(source);
            }
        }
    }

    fn step(&mut self) -> Result<Option<Frame>> {
        self.prepare()?;
        self.wanted.budget.check()?;
        let mut times: Vec<(i64, usize)> =
            self.sources.iter().enumerate().filter_map(|(at, s)| Some((s.time()?, at))).collect();
        times.sort_unstable();
        let Some((_, first)) = times.first().copied() else { return Ok(None) };
        let waiting = self.waiting.front().map(|a| a.first.max(self.wanted.range.start));
        let before = times.get(1).map(|(t, _)| *t).into_iter().chain(waiting).min();
        if let Some(source) = self.sources.get_mut(first) {
            let rest = source.head.times.get(source.at..).unwrap_or_default();
            let run = before.map_or(rest.len(), |b| rest.partition_point(|t| *t < b));
            if run >= RUN_ROWS || (run > 0 && run == rest.len()) {
                return Ok(Some(source.take(run)));
            }
        }
        self.mixed().map(Some)
    }

    /// The budget of rows holds for engine and archives together.
    fn few(&self) -> Result<()> {
        self.wanted.budget.rows(self.given)
    }

    /// Rows put together one by one.
    fn mixed(&mut self) -> Result<Frame> {
        let mut out = Rows::default();
        while out.len() < MIXED_ROWS {
            let Some(time) = self.sources.iter().filter_map(Source::time).min() else { break };
            let mut here: Vec<&mut Source> =
                self.sources.iter_mut().filter(|s| s.time() == Some(time)).collect();
            here.sort_by_key(|s| std::cmp::Reverse(s.rank));
            if self.wanted.of == Of::Times {
                out.add_time(time);
            } else {
                let mut cells: Vec<(&str, FieldType, Option<Value>)> = Vec::new();
                for column in here.iter().flat_map(|s| s.head.columns.iter().map(move |c| (c, s.at))) {
                    let (column, row) = column;
                    if !column.is_valid(row) || cells.iter().any(|(name, ..)| *name == column.name) {
                        continue;
                    }
                    let of = column.values.field_type();
                    if out.field_type(&column.name).is_some_and(|have| have != of) {
                        return Err(Error::corrupt(format!(
                            "the field `{}` has values of several types at {time} ns: in the engine and in its archives",
                            column.name
                        )));
                    }
                    cells.push((column.name.as_str(), of, column.get(row)));
                }
                out.add(time, cells.into_iter());
            }
            for source in here {
                source.at += 1;
            }
            self.prepare()?;
        }
        Ok(out.into_frame())
    }
}

/// The budget of rows holds for all of these pieces, whatever they come from.
pub(super) fn few_of(pieces: PieceStream, budget: &Budget) -> PieceStream {
    let (budget, mut given) = (budget.clone(), 0_u64);
    Box::new(pieces.map(move |piece| {
        let piece = piece?;
        given = given.saturating_add(match &piece {
            Piece::Rows(frame) => frame.len() as u64,
            Piece::Summary(summary) => summary.rows,
        });
        budget.rows(given).map(|()| piece)
    }))
}

impl Iterator for Merged {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        while !self.done {
            match self.step() {
                Ok(Some(frame)) if frame.is_empty() => {}
                Ok(Some(frame)) => {
                    self.given += frame.len() as u64;
                    let few = self.few();
                    self.done = few.is_err();
                    return Some(few.map(|()| frame));
                }
                Ok(None) => self.done = true,
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            }
        }
        None
    }
}
