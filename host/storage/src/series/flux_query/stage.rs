//! Steps of one table, each taking the rows of the one before as they come.

use super::face::Face;
use super::filter::Test;
use super::fold::{self, Fold};
use super::plan::{Stage, Window};
use super::table::{Growing, VALUE};
use crate::error::{Error, Result};
use crate::series::query;
use crate::series::query::{Function, Joined, picked};
use crate::series::{Budget, FieldType, Frame, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// Rows of a frame that a step makes.
const BATCH_ROWS: usize = 4_096;

/// Frames that come one after another; none is empty.
pub(super) type Frames<'a> = Box<dyn Iterator<Item = Result<Frame>> + 'a>;

/// The rows of a table on their way.
pub(super) struct Flow<'a> {
    pub(super) frames: Frames<'a>,
    /// Of the column `_value`, before a pivot.
    pub(super) of: FieldType,
    /// Have the rows a time?
    pub(super) timed: bool,
}

/// What the steps of a table need to know of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) face: &'a Face,
    pub(super) field: &'a str,
    pub(super) range: (i64, i64),
    /// What the whole query may take.
    pub(super) budget: &'a Budget,
    /// Rows that may be held to be put in order.
    pub(super) rows_max: u64,
}

impl<'a> Flow<'a> {
    /// The rows after one more step.
    pub(super) fn after(self, stage: &'a Stage, about: About<'a>) -> Result<Self> {
        Ok(match stage {
            Stage::Filter(test) => self.filtered(test, about),
            Stage::Window(window) => {
                let of = match fold::gives(window.function, self.of, about.field) {
                    Ok(of) => of,
                    Err(e) => return self.if_empty(e),
                };
                let frames = Box::new(Windowed::new(self, *window, of, about));
                Flow { frames, of, timed: true }
            }
            Stage::Fold(function) => {
                let of = match fold::gives(*function, self.of, about.field) {
                    Ok(of) => of,
                    Err(e) => return self.if_empty(e),
                };
                let timed = self.timed && fold::selects(*function);
                let (function, mut frames, from) = (*function, self.frames, self.of);
                let one = std::iter::once_with(move || folded(&mut frames, function, from, of));
                Flow { frames: some(one), of, timed }
            }
            Stage::Limit { rows, offset } => Flow { frames: limited(self.frames, *rows, *offset), ..self },
            Stage::Sort { columns, descending } => {
                Flow { frames: sorted(self.frames, columns, *descending, about.rows_max), ..self }
            }
            // Made of several tables, not of one.
            Stage::Pivot => self,
        })
    }

    /// What cannot be done to values is no fault where a filter left none.
    fn if_empty(mut self, e: Error) -> Result<Self> {
        match self.frames.next().transpose()? {
            None => Ok(self),
            Some(_) => Err(e),
        }
    }

    pub(super) fn filtered(self, test: &Arc<Test>, about: About<'a>) -> Self {
        match test.known(about.face, about.field) {
            Some(true) => self,
            Some(false) => Flow { frames: Box::new(std::iter::empty()), ..self },
            None => {
                let test = test.clone();
                let frames = self.frames.map(move |frame| {
                    frame.map(|f| {
                        let keep = test.rows(about.face, about.field, &f);
                        query::chosen(f, &keep)
                    })
                });
                Flow { frames: some(frames), ..self }
            }
        }
    }
}

/// Leaves out frames without rows.
pub(super) fn some<'a>(frames: impl Iterator<Item = Result<Frame>> + 'a) -> Frames<'a> {
    Box::new(frames.filter(|frame| frame.as_ref().map_or(true, |f| !f.is_empty())))
}

fn folded(frames: &mut Frames<'_>, function: Function, from: FieldType, of: FieldType) -> Result<Frame> {
    let mut fold = Fold::new(function, from);
    let mut any = false;
    for frame in frames {
        let frame = frame?;
        let Some(column) = frame.columns.first() else { continue };
        any = true;
        fold.add(&frame.times, column, 0..frame.len());
        if fold.is_done() {
            break;
        }
    }
    let (value, time) = fold.end()?;
    // A table without rows, or one of nulls, has no row to choose.
    if !any || (fold::selects(function) && value.is_none()) {
        return Ok(Frame::default());
    }
    let mut column = Growing::new(VALUE, of);
    column.push(value);
    Ok(Frame { times: vec![time.unwrap_or_default()], columns: vec![column.into_column()] })
}

fn limited(frames: Frames<'_>, rows: u64, offset: u64) -> Frames<'_> {
    let (mut skip, mut left) = (offset, rows);
    let cut = frames.map_while(move |frame| {
        if left == 0 {
            return None;
        }
        let frame = match frame {
            Ok(frame) => frame,
            Err(e) => return Some(Err(e)),
        };
        let len = frame.len() as u64;
        let from = skip.min(len);
        skip -= from;
        let to = from + left.min(len - from);
        left -= to - from;
        let keep = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Some(Ok(if (from, to) == (0, len) {
            frame
        } else {
            picked(&frame, &(keep(from)..keep(to)).collect::<Vec<_>>())
        }))
    });
    // Nothing more is read than is asked for.
    if rows == 0 { Box::new(std::iter::empty()) } else { some(cut) }
}

fn sorted<'a>(frames: Frames<'a>, columns: &'a [String], descending: bool, rows_max: u64) -> Frames<'a> {
    let mut frames = Some(frames);
    some(std::iter::from_fn(move || {
        let frames = frames.take()?;
        Some(in_order(frames, columns, descending, rows_max))
    }))
}

fn in_order(frames: Frames<'_>, columns: &[String], descending: bool, rows_max: u64) -> Result<Frame> {
    let mut joined = Joined::default();
    for frame in frames {
        joined.add(frame?).map_err(Error::internal)?;
        if joined.frame.len() as u64 > rows_max {
            return Err(Error::limit(
                "a table that is sorted",
                format!("{rows_max} rows (limits.query_rows)"),
                "narrow the range, or sort what `aggregateWindow` gives",
            ));
        }
    }
    let frame = joined.frame;
    let mut rows: Vec<usize> = (0..frame.len()).collect();
    rows.sort_by(|a, b| {
        let order = columns.iter().map(|name| compared(&frame, name, *a, *b)).find(|o| o.is_ne());
        let order = order.unwrap_or(Ordering::Equal);
        if descending { order.reverse() } else { order }
    });
    Ok(picked(&frame, &rows))
}

/// Columns that are the same in all rows, and unknown ones, put nothing in order. What has no value comes first.
fn compared(frame: &Frame, name: &str, a: usize, b: usize) -> Ordering {
    if name == "_time" {
        return frame.times.get(a).cmp(&frame.times.get(b));
    }
    let Some(column) = frame.column(name) else { return Ordering::Equal };
    match (column.get(a), column.get(b)) {
        (Some(Value::Integer(x)), Some(Value::Integer(y))) => x.cmp(&y),
        (Some(Value::Unsigned(x)), Some(Value::Unsigned(y))) => x.cmp(&y),
        (Some(Value::Float(x)), Some(Value::Float(y))) => x.total_cmp(&y),
        (Some(Value::Boolean(x)), Some(Value::Boolean(y))) => x.cmp(&y),
        (Some(Value::String(x)), Some(Value::String(y))) => x.cmp(&y),
        (x, y) => x.is_some().cmp(&y.is_some()),
    }
}

/// Rows of windows.
struct Windowed<'a> {
    frames: Frames<'a>,
    from: FieldType,
    of: FieldType,
    window: Window,
    range: (i64, i64),
    /// Windows without values cost time, too: there may be one for each nanosecond.
    budget: &'a Budget,
    /// The frame that is read, and how far.
    frame: Frame,
    at: usize,
    open: Option<(i64, i64, Fold)>,
    /// Where the window after the last one that was given begins.
    next: i64,
    /// Windows without values are given up to here.
    empty_to: i64,
    ended: bool,
    any: bool,
}

impl<'a> Windowed<'a> {
    fn new(flow: Flow<'a>, window: Window, of: FieldType, about: About<'a>) -> Self {
        let range = about.range;
        Self {
            from: flow.of,
            frames: flow.frames,
            of,
            window,
            range,
            budget: about.budget,
            frame: Frame::default(),
            at: 0,
            open: None,
            next: window.windows.of(range.0).0,
            empty_to: i64::MIN,
            ended: false,
            any: false,
        }
    }

    fn row(&self, out: &mut (Vec<i64>, Growing), begin: i64, end: i64, value: Option<Value>) {
        out.0.push(if self.window.at_start { begin.max(self.range.0) } else { end.min(self.range.1) });
        out.1.push(value);
    }

    /// Gives the open window.
    fn close(&mut self, out: &mut (Vec<i64>, Growing)) -> Result<()> {
        if let Some((begin, end, fold)) = self.open.take() {
            let (value, _) = fold.end()?;
            if value.is_some() || self.window.empty {
                self.row(out, begin, end, value);
            }
            self.next = end;
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<Option<Frame>> {
        self.budget.check()?;
        let mut out = (Vec::new(), Growing::new(VALUE, self.of));
        while out.0.len() < BATCH_ROWS {
            if self.next < self.empty_to {
                let (begin, end) = self.window.windows.of(self.next);
                let nothing = Fold::new(self.window.function, self.from).end()?.0;
                self.row(&mut out, begin, end, nothing);
                self.next = end;
                continue;
            }
            let Some(time) = self.frame.times.get(self.at).copied() else {
                if self.ended {
                    break;
                }
                match self.frames.next() {
                    Some(frame) => {
                        self.frame = frame?;
                        self.at = 0;
                        self.any = true;
                    }
                    None => {
                        self.ended = true;
                        self.frame = Frame::default();
                        self.close(&mut out)?;
                        if self.window.empty && self.any {
                            self.empty_to = self.range.1;
                        }
                    }
                }
                continue;
            };
            match &mut self.open {
                Some((_, end, fold)) if time < *end => {
                    let rest = self.frame.times.get(self.at..).unwrap_or_default();
                    let to = self.at + rest.partition_point(|t| t < end).max(1);
                    if let Some(column) = self.frame.columns.first() {
                        fold.add(&self.frame.times, column, self.at..to);
                    }
                    self.at = to;
                }
                Some(_) => self.close(&mut out)?,
                None => {
                    let (begin, end) = self.window.windows.of(time);
                    if self.window.empty && self.next < begin {
                        self.empty_to = begin;
                    } else {
                        self.open = Some((begin, end, Fold::new(self.window.function, self.from)));
                    }
                }
            }
        }
        let (times, column) = out;
        Ok((!times.is_empty()).then(|| Frame { times, columns: vec![column.into_column()] }))
    }
}

impl Iterator for Windowed<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}
