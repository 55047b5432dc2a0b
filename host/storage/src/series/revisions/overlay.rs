//! The rows of a scan, with what was changed since a time put back.

use super::Recorder;
use super::clock::Progress;
use super::names::field;
use super::past::{Past, Then};
use crate::error::Result;
use crate::series::rows::Rows;
use crate::series::{Budget, Frame, FrameStream, TimeRange};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows of one frame that is put together here.
const FRAME_ROWS_MAX: usize = 65_536;

/// A stream of rows as they were.
pub(super) struct Overlay {
    recorder: Arc<Recorder>,
    now: FrameStream,
    past: Past,
    /// How far the recorder was when the log was last read.
    seen: Progress,
    fields: Option<Vec<String>>,
    budget: Budget,
    /// Rows before this time were given.
    from: i64,
    end: i64,
    ready: VecDeque<Frame>,
    done: bool,
}

impl Overlay {
    /// `now` was begun before the log is read: what it gives is either older than every entry, or the entry is there.
    pub(super) fn new(
        recorder: Arc<Recorder>,
        now: FrameStream,
        mut past: Past,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<Self> {
        let seen = recorder.clock.progress();
        past.read(recorder.engine.as_ref(), budget)?;
        Ok(Self {
            recorder,
            now,
            past,
            seen,
            fields: fields.map(<[String]>::to_vec),
            budget: budget.clone(),
            from: range.start,
            end: range.end,
            ready: VecDeque::new(),
            done: false,
        })
    }

    /// An engine may read on while others write: what they changed meanwhile is in the log before it is in a frame.
    fn catch_up(&mut self) -> Result<()> {
        let progress = self.recorder.clock.progress();
        if progress != self.seen || progress.in_flight > 0 {
            self.past.read(self.recorder.engine.as_ref(), &self.budget)?;
            self.seen = progress;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            if self.done {
                return Ok(None);
            }
            let frame = self.now.next().transpose()?;
            self.catch_up()?;
            let last = match &frame {
                Some(frame) => match frame.times.last() {
                    Some(last) => *last,
                    None => continue,
                },
                None => {
                    self.done = true;
                    self.end.saturating_sub(1)
                }
            };
            let from = self.from;
            self.from = last.saturating_add(1);
            match frame {
                Some(frame) if self.past.same(from, last) => return Ok(Some(frame)),
                None if from > last => {}
                frame => self.put_together(&frame.unwrap_or_default(), from, last)?,
            }
        }
    }

    /// The rows from `from` to `last`: those of a frame of now, and those that were there then.
    fn put_together(&mut self, now: &Frame, from: i64, last: i64) -> Result<()> {
        let then: Vec<i64> = self.past.times(from, last).collect();
        let mut then = then.into_iter().peekable();
        let mut out = Rows::default();
        let mut current = now.times.iter().copied().enumerate().peekable();
        loop {
            let next = match (current.peek(), then.peek()) {
                (None, None) => break,
                (Some((_, a)), Some(b)) => *a.min(b),
                (Some((_, a)), None) => *a,
                (None, Some(b)) => *b,
            };
            let here = current.next_if(|(_, t)| *t == next).map(|(row, _)| row);
            let _ = then.next_if_eq(&next);
            match self.past.at(next) {
                Then::Nothing => {}
                Then::Same => {
                    if let Some(row) = here {
                        let cells =
                            now.columns.iter().map(|c| (c.name.as_str(), c.values.field_type(), c.get(row)));
                        out.add(next, cells);
                    }
                }
                Then::Row => {
                    let Some((frame, row)) = self.past.row(next) else { continue };
                    let asked = |name: &str| self.fields.as_ref().is_none_or(|f| f.iter().any(|a| a == name));
                    let cells = frame.columns.iter().filter_map(|c| {
                        let (name, of) = field(&c.name)?;
                        asked(name).then(|| (name, of, c.get(row)))
                    });
                    out.add(next, cells);
                }
            }
            if out.len() >= FRAME_ROWS_MAX {
                self.budget.check()?;
                self.ready.push_back(std::mem::take(&mut out).into_frame());
            }
        }
        if out.len() > 0 {
            self.ready.push_back(out.into_frame());
        }
        Ok(())
    }
}

impl Iterator for Overlay {
    type Item = Result<Frame>;
    fn next(&mut self) -> Option<Result<Frame>> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.done = true;
            self.ready.clear();
        }
        step
    }
}
