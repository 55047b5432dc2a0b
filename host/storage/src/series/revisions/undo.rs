//! What a batch changes: looked up before it is written.

use super::names::{AT, GONE, ROW, TO, kept};
use crate::error::{Error, Kind, Result};
use crate::series::query::chosen;
use crate::series::{Budget, Column, Frame, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The look at what a batch replaces; other writers of the same series wait that long at most.
pub(super) const LOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// Scans of one look: a batch of a few times that lie far apart does not read all that is between them.
const LOOKS_MAX: usize = 16;
/// A gap is wide when it is more than this part of the whole.
const WIDE_SHARE: u64 = 64;

/// What was there before a change of one series.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// Spans of time, ends included, in which there was nothing.
    absent: Vec<(i64, i64)>,
    /// Whole rows, at their own times.
    rows: Vec<Frame>,
}

impl Undo {
    /// Rows of the log that it becomes.
    pub(super) fn len(&self) -> usize {
        self.absent.len() + self.rows.iter().map(Frame::len).sum::<usize>()
    }

    /// Whole rows that are about to go.
    pub(super) fn of_rows(frame: Frame) -> Self {
        Self { absent: Vec::new(), rows: vec![frame] }
    }

    /// What `frame` changes of a series whose newest row is not after `newest`. Rows that are written again as they are change
    /// nothing.
    pub(super) fn look(
        engine: &dyn SeriesEngine,
        key: &SeriesKey,
        frame: &Frame,
        newest: Option<i64>,
    ) -> Result<Self> {
        let mut out = Self::default();
        let times: BTreeSet<i64> = frame.times.iter().copied().collect();
        let is_new = |t: &i64| newest.is_none_or(|n| *t > n);
        if let Some(first) = times.iter().find(|t| is_new(t)) {
            // All of the series is before: that says more than the span of the batch, and of several such entries the first
            // says all.
            out.absent.push((*first, i64::MAX));
        }
        let old: Vec<i64> = times.into_iter().take_while(|t| !is_new(t)).collect();
        if old.is_empty() {
            return Ok(out);
        }
        let budget = Budget { deadline: Some(Instant::now() + LOOK_TIME_MAX), ..Budget::default() };
        let new = Written::new(frame);
        for near in clusters(&old) {
            out.near(engine, key, near, &new, &budget).map_err(|e| match e.kind() {
                Kind::Timeout => Error::limit(
                    format!("looking for the rows of `{key}` that the batch corrects"),
                    format!("{} s", LOOK_TIME_MAX.as_secs()),
                    "write corrections in batches whose times are near each other",
                ),
                _ => e,
            })?;
        }
        Ok(out)
    }

    /// Looks at times that are near each other, in order.
    fn near(
        &mut self,
        engine: &dyn SeriesEngine,
        key: &SeriesKey,
        times: &[i64],
        new: &Written<'_>,
        budget: &Budget,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return Ok(()) };
        let range = TimeRange { start: *first, end: last.saturating_add(1) };
        let mut wanted = times.iter().copied().peekable();
        // Times without a row, while no row comes between them.
        let mut gap: Option<(i64, i64)> = None;
        for there in engine.scan(key, range, None, budget)? {
            let there = there?;
            let mut replaced = Vec::with_capacity(there.len());
            for (row, t) in there.times.iter().enumerate() {
                while let Some(missing) = wanted.next_if(|w| w < t) {
                    gap = Some((gap.map_or(missing, |g| g.0), missing));
                }
                self.absent.extend(gap.take());
                let hit = wanted.next_if_eq(t).is_some();
                replaced.push(hit && new.changes(*t, &there, row));
            }
            if replaced.iter().any(|r| *r) {
                self.rows.push(chosen(there, &replaced));
            }
        }
        for missing in wanted {
            gap = Some((gap.map_or(missing, |g| g.0), missing));
        }
        self.absent.extend(gap);
        Ok(())
    }

    /// The rows of the log: recorded at `at`, their times from `time` on.
    pub(super) fn into_frames(self, at: i64, mut time: i64) -> Vec<Frame> {
        let mut out = Vec::with_capacity(self.rows.len() + 1);
        let mut own = |rows: Vec<i64>| {
            let n = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            let times: Vec<i64> = (time..time.saturating_add(n)).collect();
            time = time.saturating_add(n);
            let at = Column::new(AT, Values::Integer(vec![at; rows.len()]));
            Frame { times, columns: vec![at, Column::new(ROW, Values::Integer(rows))] }
        };
        if !self.absent.is_empty() {
            let (from, to) = self.absent.into_iter().unzip();
            let mut frame = own(from);
            frame.columns.push(Column::new(TO, Values::Integer(to)));
            out.push(frame);
        }
        for rows in self.rows {
            let mut frame = own(rows.times);
            frame.columns.extend(rows.columns.into_iter().map(|c| {
                let name = kept(&c.name, c.values.field_type());
                Column { name, ..c }
            }));
            out.push(frame);
        }
        out
    }
}

/// A batch behind the log of what it changes, whose entries have the times from `at` on.
pub(super) fn with_log(mut batch: WriteBatch, undone: Vec<(SeriesKey, Undo)>, at: i64) -> WriteBatch {
    // The log first: who sees a row sees what it replaced.
    let mut series = Vec::with_capacity(batch.series.len() + undone.len());
    let mut time = at;
    for (key, undo) in undone {
        let n = i64::try_from(undo.len()).unwrap_or(i64::MAX);
        series.extend(undo.into_frames(at, time).into_iter().map(|frame| (key.clone(), frame)));
        time = time.saturating_add(n);
    }
    series.append(&mut batch.series);
    WriteBatch { series }
}

/// A row of the log, at `time`, that says as of `at`: what was within `range` is not known any more.
pub(super) fn gone(range: TimeRange, at: i64, time: i64) -> Frame {
    let whole = |name: &str, v: i64| Column::new(name, Values::Integer(vec![v]));
    let columns = vec![
        whole(AT, at),
        whole(ROW, range.start),
        whole(TO, range.end.saturating_sub(1)),
        Column::new(GONE, Values::Boolean(vec![true])),
    ];
    Frame { times: vec![time], columns }
}

/// The rows of a frame by time, each as often as it is written.
struct Written<'a> {
    frame: &'a Frame,
    /// Time and row, in order.
    order: Vec<(i64, usize)>,
}

impl<'a> Written<'a> {
    fn new(frame: &'a Frame) -> Self {
        let mut order: Vec<(i64, usize)> = frame.times.iter().copied().zip(0..).collect();
        order.sort_unstable();
        Self { frame, order }
    }

    /// Does what is written at `time` differ from a row that is there?
    fn changes(&self, time: i64, there: &Frame, row: usize) -> bool {
        let from = self.order.partition_point(|(t, _)| *t < time);
        let rows = self.order.iter().skip(from).take_while(|(t, _)| *t == time);
        rows.map(|(_, new)| *new).any(|new| {
            self.frame.columns.iter().any(|c| {
                let have = there.column(&c.name).and_then(|have| have.get(row));
                c.is_valid(new) && !same(have.as_ref(), c.get(new).as_ref())
            })
        })
    }
}

/// Bit for bit: a zero has a sign.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Float(a)), Some(Value::Float(b))) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

/// Times in order, cut at gaps that are wide for their span, into [`LOOKS_MAX`] parts at most.
fn clusters(times: &[i64]) -> Vec<&[i64]> {
    let span = times.first().zip(times.last()).map_or(0, |(first, last)| last.abs_diff(*first));
    let mut gaps: Vec<(u64, usize)> = times
        .windows(2)
        .enumerate()
        .filter_map(|(i, pair)| match pair {
            [a, b] => Some((b.abs_diff(*a), i + 1)),
            _ => None,
        })
        .filter(|(gap, _)| *gap > span / WIDE_SHARE)
        .collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    gaps.truncate(LOOKS_MAX - 1);
    let mut cuts: Vec<usize> = gaps.into_iter().map(|(_, at)| at).collect();
    cuts.sort_unstable();
    cuts.push(times.len());
    let mut from = 0;
    let parts = cuts.into_iter().filter_map(|to| times.get(std::mem::replace(&mut from, to)..to));
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_at_the_widest_gaps() {
        assert_eq!(clusters(&[1]), [&[1]]);
        assert_eq!(clusters(&[1, 9]), [&[1], &[9]]);
        let many: Vec<i64> = (0..100).map(|i| i * 10 + (i / 10) * 1_000).collect();
        let parts = clusters(&many);
        assert_eq!(parts.len(), 10, "at the wide gaps and nowhere else");
        assert!(parts.iter().all(|p| p.len() == 10));
        let far: Vec<i64> = (0..100).map(|i| i * 1_000_000).collect();
        assert_eq!(clusters(&far).len(), 1, "none is wide where all are alike");
        let farther: Vec<i64> = (0..40).map(|i| 1_i64 << i).collect();
        let parts = clusters(&farther);
        assert!((2..=LOOKS_MAX).contains(&parts.len()), "{parts:?}");
        assert_eq!(parts.concat(), farther);
    }
}
