//! Rows of one series in ascending time out of chunks and runs that may overlap, the newest winning per time
//! and field. Memory is bounded: a chunk is decoded when its time comes, and where too many overlap, each is
//! held in part and decoded again for the rest.

mod summed;

pub(super) use summed::Summed;

use super::bounds::{FRAME_ROWS_MAX, MERGE_ROWS_EACH_MIN, MERGE_ROWS_MAX};
use super::cache::Cache;
use super::catalog::Series;
use super::chunk::{Chunk, Decoding, Wanted};
use super::core::Core;
use super::memory::Held;
use super::run::{Run, merge_all};
use crate::error::{Kind, Result};
use crate::series::pieces::Within;
use crate::series::{Budget, FieldType, TimeRange};
use std::collections::VecDeque;
use std::sync::Arc;

/// Chunks that a merge has decoded when it begins to decode ahead the one after each that it needs.
const LOOK_AHEAD_FROM: u64 = 1;
/// Bytes of values, of all fields, that are decoded ahead; a merge holds so much more at most.
const LOOK_AHEAD_BYTES_MAX: u64 = 24 << 20;

/// Where rows come from.
#[derive(Debug)]
pub(super) struct Source {
    origin: Origin,
    /// Rows before and after these times are not wanted.
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
        let rows = usize::try_from(chunk.rows()).unwrap_or(usize::MAX);
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
    /// Room for the buffer; none for rows of the head, which count there.
    held: Option<Held>,
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

/// What a merge gives.
#[derive(Debug)]
pub(super) enum Part {
    Rows(Run),
    Summed(Summed),
}

#[derive(Debug)]
pub(super) struct Merge {
    series: Arc<Series>,
    types: Vec<Option<FieldType>>,
    /// `None`: all.
    fields: Option<Vec<u32>>,
    range: TimeRange,
    /// By first time, the next one last.
    waiting: Vec<Source>,
    /// By age.
    active: Vec<Active>,
    strict: bool,
    rows_held_max: usize,
    /// Chunks that lie over each other at one time, at most.
    at_once: usize,
    /// What is known of the chunk whose rows are given now, and comes after them.
    summed: VecDeque<Summed>,
    /// The room that it takes, where it is of days.
    summed_room: Option<Held>,
    /// The last chunk of which days were looked for had none: most often no other has.
    no_days: bool,
    /// The chunk that comes next, being decoded while the rows of the present one are used.
    ahead: Option<(i64, Decoding, Held)>,
    /// Chunks that were decoded.
    decoded: u64,
    /// Takes chunks from the cache, and puts them there.
    cached: bool,
}

/// Chunks that hold rows of one time, at most.
fn overlapping_max(sources: &[Source]) -> usize {
    let chunks = || sources.iter().filter(|s| matches!(s.origin, Origin::Chunk(_)));
    // At the same time those that begin come first.
    let begins = chunks().map(|s| (s.min, false));
    let mut ends: Vec<(i64, bool)> = begins.chain(chunks().map(|s| (s.max, true))).collect();
    ends.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, ended) in ends {
        now = if ended { now - 1 } else { now + 1 };
        most = most.max(now);
    }
    most
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
            source.min = match &source.origin {
                Origin::Chunk(_) => source.min.max(range.start),
                // Its first row that is wanted: until there what others know of their days holds.
                Origin::Run(run) => {
                    let first = run.times.partition_point(|t| *t < range.start);
                    run.times.get(first).copied().unwrap_or(i64::MAX)
                }
            };
        }
        sources.retain(|s| s.rows > 0 && s.max >= range.start && s.min < range.end);
        sources.sort_by_key(|s| (std::cmp::Reverse(s.min), std::cmp::Reverse(s.age)));
        let at_once = overlapping_max(&sources);
        Self {
            series: series.clone(),
            types: series.measurement.types(),
            fields,
            range,
            waiting: sources,
            active: Vec::new(),
            strict: false,
            rows_held_max: MERGE_ROWS_MAX,
            at_once,
            summed: VecDeque::new(),
            summed_room: None,
            no_days: false,
            ahead: None,
            decoded: 0,
            cached: false,
        }
    }

    /// A damaged chunk ends the merge with its error; otherwise it is left out.
    pub(super) fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Uses the cache, if what is to be read is not too much for it.
    pub(super) fn through(mut self, cache: &Cache) -> Self {
        let bytes = |s: &Source| match &s.origin {
            Origin::Chunk(chunk) => chunk.raw_bytes,
            Origin::Run(_) => 0,
        };
        self.cached = cache.is_for(self.waiting.iter().map(bytes).sum());
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
            match self.next_part(core, budget, &|_, _| false)? {
                None => return Ok(None),
                Some(Part::Rows(run)) => return Ok(Some(run)),
                // None are asked for.
                Some(Part::Summed(_)) => {}
            }
        }
    }

    /// The next rows; or what is known of the next ones that `within` takes: of a chunk, or of a day in it, where nothing
    /// else has rows between its first and its last.
    pub(super) fn next_part(
        &mut self,
        core: &Core,
        budget: &Budget,
        within: &Within,
    ) -> Result<Option<Part>> {
        loop {
            budget.check()?;
            self.turn_over(core, budget, within)?;
            if self.active.is_empty() {
                if let Some(summed) = self.summed.pop_front() {
                    if self.summed.is_empty() {
                        self.summed_room = None;
                    }
                    return Ok(Some(Part::Summed(summed)));
                }
            }
            let first = self.active.iter().filter_map(|a| a.rest().first()).min().copied();
            let to_come = self.waiting.last().map(|s| s.min);
            match (first, to_come) {
                (None, None) => return Ok(None),
                (Some(first), Some(to_come)) if first < to_come => {}
                (Some(_), None) => {}
                _ => {
                    if let Some(source) = self.waiting.pop() {
                        let rest = if self.active.is_empty() {
                            self.sum_up(core, source, budget, within)?
                        } else {
                            Some(source)
                        };
                        if let Some(source) = rest {
                            let from = source.min;
                            self.activate(core, source, from, budget, within)?;
                        }
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
                return Ok(Some(Part::Rows(run)));
            }
        }
    }

    /// Drops what is used up and decodes the rest of what was held in part.
    fn turn_over(&mut self, core: &Core, budget: &Budget, within: &Within) -> Result<()> {
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
        again.into_iter().try_for_each(|(source, next)| self.activate(core, source, next, budget, within))
    }

    /// The rows of a chunk before a time, perhaps with others, and the room that they were decoded in.
    fn rows_of(
        &mut self,
        core: &Core,
        chunk: &Chunk,
        before: i64,
        budget: &Budget,
        within: &Within,
    ) -> Result<(Buffer, Option<Held>)> {
        if self.cached {
            if let Some(run) = core.memory.cache.get(chunk.id, self.fields.as_deref()) {
                return Ok((Buffer::Shared(run), None));
            }
        }
        let (run, held) = self.decode(core, chunk, before, budget, within)?;
        // What is cut is not all of it.
        if !self.cached || before <= chunk.max {
            return Ok((Buffer::Own(run), Some(held)));
        }
        let run = Arc::new(run);
        core.memory.cache(chunk.id, self.fields.as_deref(), &run);
        Ok((Buffer::Shared(run), Some(held)))
    }

    fn decode(
        &mut self,
        core: &Core,
        chunk: &Chunk,
        before: i64,
        budget: &Budget,
        within: &Within,
    ) -> Result<(Run, Held)> {
        let wanted = Wanted { fields: self.fields.as_deref(), before };
        let (now, held) = match self.ahead.take() {
            Some((id, decoding, held)) if id == chunk.id => (decoding, held),
            other => {
                self.ahead = other;
                let held = core.memory.decode(chunk.decoding_bytes(), budget)?;
                (core.begin_chunk(chunk, &self.types, wanted)?, held)
            }
        };
        // Whoever wants the first rows only should not pay for more; whoever goes on will need the next chunk. It is read
        // while others decode this one.
        if self.decoded >= LOOK_AHEAD_FROM && self.ahead.is_none() && !self.cached {
            let mut to_come = self.waiting.iter().rev();
            let next = to_come.next().filter(|next| !self.may_be_known(next, to_come.next(), within));
            let wanted = Wanted { before: self.range.end, ..wanted };
            if let Some(Origin::Chunk(next)) = next.map(|s| &s.origin) {
                let small = !next.is_bad() && next.raw_bytes <= LOOK_AHEAD_BYTES_MAX;
                // It is held for as long as the client thinks.
                let room = if small { core.memory.try_keep(next.decoding_bytes()) } else { None };
                if let Some(room) = room {
                    // What is wrong with it is said when its turn comes.
                    let begun = core.begin_chunk(next, &self.types, wanted).ok();
                    self.ahead = begun.map(|decoding| (next.id, decoding, room));
                }
            }
        }
        let run = now.finish()?;
        self.decoded += 1;
        Ok((run, held))
    }

    fn activate(
        &mut self,
        core: &Core,
        source: Source,
        from: i64,
        budget: &Budget,
        within: &Within,
    ) -> Result<()> {
        let before = self.range.end.min(source.max.saturating_add(1));
        let (buffer, held) = match &source.origin {
            Origin::Run(run) => (Buffer::Shared(run.clone()), None),
            Origin::Chunk(chunk) if chunk.is_bad() => {
                // Found to be so by others since: it is left out of everything.
                self.forget_summed();
                return Ok(());
            }
            Origin::Chunk(chunk) => match self.rows_of(core, chunk, before, budget, within) {
                Ok(buffer) => {
                    budget.count(|c| c.chunk(u64::from(chunk.bytes)));
                    buffer
                }
                Err(e) if e.kind() == Kind::Corrupt => {
                    core.quarantine(&self.series, chunk, &e);
                    self.forget_summed();
                    return if self.strict { Err(e) } else { Ok(()) };
                }
                Err(e) => return Err(e.context(format!("chunk {} of {}", chunk.id, self.series.key()))),
            },
        };
        let mut active = Active { source, buffer, pos: 0, end: 0, next: None, held: None };
        let times = &active.run().times;
        (active.pos, active.end) =
            (times.partition_point(|t| *t < from), times.partition_point(|t| *t < before));
        if matches!(active.source.origin, Origin::Chunk(_)) {
            self.keep(core, &mut active, held, budget)?;
        }
        let at = self.active.partition_point(|a| a.source.age < active.source.age);
        self.active.insert(at, active);
        Ok(())
    }

    /// Keeps a decoded chunk whole if it fits beside the others, of this merge and of all; else its first rows, and the
    /// chunk is decoded again for the rest. `held`: none for what the cache had.
    fn keep(&self, core: &Core, active: &mut Active, held: Option<Held>, budget: &Budget) -> Result<()> {
        let run = active.run();
        let (pos, rows) = (active.pos, active.end - active.pos);
        let others: usize = self.active.iter().map(|a| a.end - a.pos).sum();
        let share = (self.rows_held_max / (self.active.len() + 1)).max(MERGE_ROWS_EACH_MIN);
        let few = others + rows <= self.rows_held_max || rows <= share;
        let bytes = run.size_bytes() as u64;
        let mut held = held;
        let whole = few
            && match &mut held {
                Some(held) => held.keep(bytes),
                None => {
                    held = core.memory.try_keep(bytes);
                    held.is_some()
                }
            };
        if whole {
            active.held = held;
            return Ok(());
        }
        let row_bytes = (bytes / run.len().max(1) as u64).max(1);
        let fit = usize::try_from(core.memory.piece(self.at_once) / row_bytes).unwrap_or(usize::MAX);
        let part = fit.min(if few { rows } else { share }).max(1).min(rows);
        let next = if part < rows { run.times.get(pos + part).copied() } else { None };
        let first = run.slice(pos, pos + part, self.fields.as_deref());
        let bytes = first.size_bytes() as u64;
        (active.buffer, active.pos, active.end, active.next) = (Buffer::Own(first), 0, part, next);
        if held.is_none() {
            held = Some(core.memory.decode(bytes, budget)?);
        }
        if let Some(held) = &mut held {
            held.keep_anyway(bytes);
        }
        active.held = held;
        Ok(())
    }
}
