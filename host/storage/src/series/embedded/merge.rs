//! Rows of one series in ascending time out of chunks and runs that may overlap, the newest winning per time
//! and field. Memory is bounded: a chunk is decoded when its time comes, and where too many overlap, each is
//! held in part and decoded again for the rest.

use super::bounds::{FRAME_ROWS_MAX, MERGE_ROWS_EACH_MIN, MERGE_ROWS_MAX};
use super::catalog::Series;
use super::chunk::{Chunk, Wanted};
use super::core::Core;
use super::run::{Run, merge_all};
use crate::error::{Kind, Result};
use crate::series::{Budget, FieldType, TimeRange};
use std::sync::Arc;

/// Where rows come from.
#[derive(Debug)]
pub(super) struct Source {
    origin: Origin,
    min: i64,
    max: i64,
    rows: usize,
    /// The place in order of age; set by [`Merge::new`].
    age: usize,
}

#[derive(Debug)]
enum Origin {
    Chunk(Arc<Chunk>),
    Run(Arc<Run>),
}

impl Source {
    pub(super) fn chunk(chunk: Arc<Chunk>) -> Self {
        let rows = usize::try_from(chunk.rows).unwrap_or(usize::MAX);
        Self { min: chunk.min, max: chunk.max, rows, age: 0, origin: Origin::Chunk(chunk) }
    }
    pub(super) fn run(run: Arc<Run>) -> Self {
        let (min, max) = (run.min().unwrap_or(i64::MAX), run.max().unwrap_or(i64::MIN));
        Self { min, max, rows: run.len(), age: 0, origin: Origin::Run(run) }
    }
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// A source whose time has come.
#[derive(Debug)]
struct Active {
    source: Source,
    buffer: Buffer,
    pos: usize,
    end: usize,
    /// The first time that is not in the buffer, if it holds the source in part.
    next: Option<i64>,
}

#[derive(Debug)]
enum Buffer {
    Own(Run),
    Shared(Arc<Run>),
}

impl Active {
    fn run(&self) -> &Run {
        match &self.buffer {
            Buffer::Own(run) => run,
            Buffer::Shared(run) => run,
        }
    }
    fn rest(&self) -> &[i64] {
        self.run().times.get(self.pos..self.end).unwrap_or_default()
    }
    /// The rows before `limit`, which then are behind it.
    fn take(&mut self, limit: i64, fields: Option<&[u32]>) -> Option<Run> {
        let n = self.rest().partition_point(|t| *t < limit);
        if n == 0 {
            return None;
        }
        let (from, to) = (self.pos, self.pos + n);
        self.pos = to;
        Some(match &mut self.buffer {
            Buffer::Own(run) if from == 0 && to == run.len() => {
                self.pos = 0;
                self.end = 0;
                std::mem::take(run)
            }
            Buffer::Own(run) => run.slice(from, to, None),
            Buffer::Shared(run) => run.slice(from, to, fields),
        })
    }
}

#[derive(Debug)]
pub(super) struct Merge {
    series: Arc<Series>,
    types: Vec<FieldType>,
    /// `None`: all.
    fields: Option<Vec<u32>>,
    range: TimeRange,
    /// By first time, the next one last.
    waiting: Vec<Source>,
    /// By age.
    active: Vec<Active>,
    strict: bool,
    rows_held_max: usize,
}

impl Merge {
    /// `sources` by age, oldest first.
    pub(super) fn new(
        series: &Arc<Series>,
        mut sources: Vec<Source>,
        fields: Option<Vec<u32>>,
        range: TimeRange,
    ) -> Self {
        for (source, age) in sources.iter_mut().zip(0..) {
            source.age = age;
            source.min = source.min.max(range.start);
        }
        sources.retain(|s| s.rows > 0 && s.max >= range.start && s.min < range.end);
        sources.sort_by_key(|s| (std::cmp::Reverse(s.min), std::cmp::Reverse(s.age)));
        Self {
            series: series.clone(),
            types: series.measurement.types(),
            fields,
            range,
            waiting: sources,
            active: Vec::new(),
            strict: false,
            rows_held_max: MERGE_ROWS_MAX,
        }
    }

    /// A damaged chunk ends the merge with its error; otherwise it is left out.
    pub(super) fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    #[cfg(test)]
    pub(super) fn hold_at_most(mut self, rows: usize) -> Self {
        self.rows_held_max = rows;
        self
    }

    /// The next rows, at most [`FRAME_ROWS_MAX`], never none.
    pub(super) fn next(&mut self, core: &Core, budget: &Budget) -> Result<Option<Run>> {
        loop {
            budget.check()?;
            self.turn_over(core, budget)?;
            let first = self.active.iter().filter_map(|a| a.rest().first()).min().copied();
            let to_come = self.waiting.last().map(|s| s.min);
            match (first, to_come) {
                (None, None) => return Ok(None),
                (Some(first), Some(to_come)) if first < to_come => {}
                (Some(_), None) => {}
                _ => {
                    if let Some(source) = self.waiting.pop() {
                        let from = source.min;
                        self.activate(core, source, from, budget)?;
                    }
                    continue;
                }
            }
            let mut limit = to_come.unwrap_or(i64::MAX).min(self.range.end);
            let share = (FRAME_ROWS_MAX / self.active.len().max(1)).max(1);
            for a in &self.active {
                limit = limit.min(a.next.unwrap_or(i64::MAX));
                // What is cut here comes next: no source gives more than its share.
                limit = limit.min(a.rest().get(share).copied().unwrap_or(i64::MAX));
            }
            let fields = self.fields.as_deref();
            let parts: Vec<Run> = self.active.iter_mut().filter_map(|a| a.take(limit, fields)).collect();
            let run = merge_all(parts);
            if !run.is_empty() {
                return Ok(Some(run));
            }
        }
    }

    /// Drops what is used up and decodes the rest of what was held in part.
    fn turn_over(&mut self, core: &Core, budget: &Budget) -> Result<()> {
        let mut again = Vec::new();
        self.active.retain_mut(|a| {
            let used_up = a.pos >= a.end;
            if used_up {
                if let Some(next) = a.next {
                    let empty = Source::run(Arc::default());
                    again.push((std::mem::replace(&mut a.source, empty), next));
                }
            }
            !used_up
        });
        again.into_iter().try_for_each(|(source, next)| self.activate(core, source, next, budget))
    }

    fn activate(&mut self, core: &Core, source: Source, from: i64, budget: &Budget) -> Result<()> {
        let held: usize = self.active.iter().map(|a| a.end - a.pos).sum();
        let buffer = match &source.origin {
            Origin::Run(run) => Buffer::Shared(run.clone()),
            Origin::Chunk(chunk) if chunk.is_bad() => return Ok(()),
            Origin::Chunk(chunk) => {
                budget.count(|c| c.chunk(chunk.bytes));
                let wanted = Wanted { fields: self.fields.as_deref(), before: self.range.end };
                match core.read_chunk(chunk, &self.types, wanted) {
                    Ok(run) => Buffer::Own(run),
                    Err(e) if e.kind() == Kind::Corrupt => {
                        core.quarantine(&self.series, chunk, &e);
                        return if self.strict { Err(e) } else { Ok(()) };
                    }
                    Err(e) => return Err(e.context(format!("chunk {} of {}", chunk.id, self.series.key))),
                }
            }
        };
        let mut active = Active { source, buffer, pos: 0, end: 0, next: None };
        let times = &active.run().times;
        let (pos, end) =
            (times.partition_point(|t| *t < from), times.partition_point(|t| *t < self.range.end));
        (active.pos, active.end) = (pos, end);
        let part = (self.rows_held_max / (self.active.len() + 1)).max(MERGE_ROWS_EACH_MIN);
        if held + (end - pos) > self.rows_held_max && end - pos > part {
            if let Buffer::Own(run) = &active.buffer {
                active.next = run.times.get(pos + part).copied();
                active.buffer = Buffer::Own(run.slice(pos, pos + part, None));
                (active.pos, active.end) = (0, part);
            }
        }
        let at = self.active.partition_point(|a| a.source.age < active.source.age);
        self.active.insert(at, active);
        Ok(())
    }
}
