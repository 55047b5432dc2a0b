//! A workload for [`crash`](super::crash) over any series engine: batches of several series with a known pattern, a
//! seal, a delete and a compaction in between, compared with a map that does the same in memory.

use super::crash::Workload;
use crate::error::{Error, Result};
use crate::series::{
    Budget, Column, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, Value, Values, WriteBatch,
};
use std::collections::BTreeMap;

/// Rows of one batch per series.
const ROWS: i64 = 40;
/// Rows by which a batch overlaps the one before it: the later one wins, and fields merge.
const OVERLAP: i64 = 10;
const MINUTE_NS: i64 = 60_000_000_000;
const START_NS: i64 = 1_700_000_000_000_000_000;
const SYMBOLS: [&str; 3] = ["AAPL", "MSFT", "GOOG"];
/// Where the probe writes; the check leaves it out.
const PROBE: &str = "probe";

type Row = BTreeMap<String, Value>;
type Rows = BTreeMap<i64, Row>;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The batch of this number, three series at once.
    Write(i64),
    /// The rows of the first series in the middle of the batch of this number.
    Delete(i64),
    /// The rows of the first series at the times of this batch become one row of its rollup, as retention does it before…
    Rollup(i64),
    /// …it drops them.
    Drop(i64),
    Seal,
    Compact,
}

/// What is run; `open` opens the engine on the VFS of a name.
pub struct SeriesWorkload<F> {
    pub open: F,
    pub steps: Vec<Step>,
}

impl<F> SeriesWorkload<F> {
    /// Writes before and after each kind of maintenance.
    pub fn new(open: F) -> Self {
        use Step::{Compact, Delete, Seal, Write};
        let steps = vec![
            Write(0),
            Write(1),
            Seal,
            Write(2),
            Delete(1),
            Seal,
            Write(1),
            Compact,
            Delete(2),
            Write(3),
            Seal,
            Compact,
            Write(4),
        ];
        Self { open, steps }
    }

    /// Retention as it goes on from day to day: what is old is rolled up, then dropped, and what is left is merged; space is given
    /// back again and again.
    pub fn retention(open: F) -> Self {
        use Step::{Compact, Drop, Rollup, Seal, Write};
        let steps = vec![
            Write(0),
            Write(1),
            Seal,
            Rollup(0),
            Drop(0),
            Write(2),
            Compact,
            Rollup(1),
            Seal,
            Drop(1),
            Compact,
            Write(3),
            Rollup(2),
            Drop(2),
            Drop(3),
            Seal,
            Compact,
        ];
        Self { open, steps }
    }
}

fn key(symbol: &str) -> Result<SeriesKey> {
    SeriesKey::new("market", format!("bar.1m.{symbol}"), vec![("symbol".into(), symbol.into())])
}

fn time(batch: i64, row: i64) -> i64 {
    START_NS + (batch * (ROWS - OVERLAP) + row) * MINUTE_NS
}

/// Where the rollup is.
fn rollup() -> Result<SeriesKey> {
    SeriesKey::new("market", "bar.1h.AAPL", Vec::new())
}

/// The times of a batch that no later one writes.
fn own(batch: i64) -> TimeRange {
    TimeRange { start: time(batch, 0), end: time(batch + 1, 0) }
}

/// One row out of those of a range: how many there are, and their volume.
fn rolled(rows: &Rows, range: TimeRange) -> Rows {
    let within = || rows.iter().filter(|(t, _)| range.contains(**t)).map(|(_, row)| row);
    let whole = |row: &Row| match row.get("volume") {
        Some(Value::Integer(n)) => *n,
        _ => 0,
    };
    let count = within().count();
    if count == 0 {
        return Rows::new();
    }
    let row = [
        ("source_rows".to_string(), Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))),
        ("volume".to_string(), Value::Integer(within().map(whole).sum())),
    ];
    Rows::from([(range.start, Row::from(row))])
}

/// The rows that a delete takes.
fn deleted(batch: i64) -> TimeRange {
    TimeRange { start: time(batch, ROWS / 4), end: time(batch, ROWS / 2) }
}

/// One series of a batch. Every value says where it comes from; some fields have gaps, some batches a field more.
fn frame(batch: i64, symbol: i64) -> Frame {
    let row_numbers = || (0..ROWS).map(move |row| batch * 1_000 + symbol * 100 + row);
    let mut columns = vec![
        #[allow(clippy::cast_precision_loss)]
        Column::float("close", row_numbers().map(|n| n as f64 * 0.01 + 0.1).collect()),
        Column {
            name: "volume".into(),
            values: Values::Integer(row_numbers().map(|n| if n % 3 == 0 { 0 } else { n }).collect()),
            valid: Some(row_numbers().map(|n| n % 3 != 0).collect()),
        },
    ];
    if batch % 2 == 1 {
        columns.push(Column::new("note", Values::String(row_numbers().map(|n| format!("n{n}")).collect())));
    }
    Frame { times: (0..ROWS).map(|row| time(batch, row)).collect(), columns }
}

fn add(rows: &mut Rows, frame: &Frame) {
    for (i, time) in frame.times.iter().enumerate() {
        let row = rows.entry(*time).or_default();
        row.extend(frame.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(i)?))));
    }
}

/// What must be there after some steps: the rows of each symbol, then those of the rollup.
fn expected(steps: &[Step]) -> Vec<Rows> {
    let mut all = vec![Rows::new(); SYMBOLS.len() + 1];
    for step in steps {
        match step {
            Step::Write(batch) => {
                for (symbol, rows) in (0..).zip(all.iter_mut().take(SYMBOLS.len())) {
                    add(rows, &frame(*batch, symbol));
                }
            }
            Step::Delete(batch) => {
                if let Some(rows) = all.first_mut() {
                    rows.retain(|time, _| !deleted(*batch).contains(*time));
                }
            }
            Step::Rollup(batch) => {
                let new = all.first().map(|rows| rolled(rows, own(*batch))).unwrap_or_default();
                if let Some(rows) = all.last_mut() {
                    rows.extend(new);
                }
            }
            Step::Drop(batch) => {
                if let Some(rows) = all.first_mut() {
                    rows.retain(|time, _| !own(*batch).contains(*time));
                }
            }
            Step::Seal | Step::Compact => {}
        }
    }
    all
}

/// How two sets of rows differ, in a sentence.
fn compare(name: &str, have: &Rows, want: &Rows) -> std::result::Result<(), String> {
    if let Some(time) = want.keys().find(|t| !have.contains_key(t)) {
        return Err(format!("{name}: the row at {time} is missing; {} of {} rows", have.len(), want.len()));
    }
    match have.iter().find(|(time, row)| want.get(time) != Some(row)) {
        Some((time, row)) => Err(format!("{name}: at {time} is {row:?}, not {:?}", want.get(time))),
        None => Ok(()),
    }
}

fn matches(engine: &dyn SeriesEngine, steps: &[Step]) -> std::result::Result<(), String> {
    let text = |e: Error| format!("{e:?}");
    let latest = engine.latest(&Selector::default()).map_err(text)?;
    let keys = SYMBOLS.iter().map(|s| key(s)).chain([rollup()]).collect::<Result<Vec<_>>>().map_err(text)?;
    for (key, want) in keys.into_iter().zip(expected(steps)) {
        let symbol = &key.to_string();
        let mut have = Rows::new();
        let mut last = None;
        for frame in engine.scan(&key, TimeRange::ALL, None, &Budget::default()).map_err(text)? {
            let frame = frame.map_err(text)?;
            frame.validate().map_err(text)?;
            for time in &frame.times {
                if last.is_some_and(|l| l >= *time) {
                    return Err(format!("{symbol}: {time} comes after {last:?}"));
                }
                last = Some(*time);
            }
            add(&mut have, &frame);
        }
        compare(symbol, &have, &want)?;
        let mut newest: BTreeMap<&str, (i64, &Value)> = BTreeMap::new();
        for (time, row) in &want {
            newest.extend(row.iter().map(|(name, value)| (name.as_str(), (*time, value))));
        }
        let fields = latest.iter().find(|l| l.key == key).map(|l| l.fields.as_slice()).unwrap_or_default();
        let have: BTreeMap<&str, (i64, &Value)> =
            fields.iter().map(|f| (f.name.as_str(), (f.time, &f.value))).collect();
        if have != newest {
            return Err(format!("{symbol}: the latest values are {have:?}, not {newest:?}"));
        }
    }
    let faults = engine.verify(&Budget::default()).map_err(text)?;
    if faults.is_empty() { Ok(()) } else { Err(format!("verify finds {faults:?}")) }
}

impl<E: SeriesEngine, F: Fn(&str) -> Result<E>> Workload for SeriesWorkload<F> {
    type Store = E;

    fn open(&self, vfs: &str) -> Result<E> {
        (self.open)(vfs)
    }

    fn steps(&self) -> usize {
        self.steps.len()
    }

    fn step(&self, engine: &E, index: usize) -> Result<()> {
        match self.steps.get(index) {
            Some(Step::Write(batch)) => {
                let series: Result<Vec<_>> =
                    (0..).zip(SYMBOLS).map(|(i, s)| Ok((key(s)?, frame(*batch, i)))).collect();
                let batch = WriteBatch { series: series? };
                let rows = batch.rows() as u64;
                let report = engine.write(batch)?;
                if report.written != rows || report.dropped != 0 {
                    return Err(Error::internal(format!("{rows} rows were written as {report:?}")));
                }
                Ok(())
            }
            Some(Step::Delete(batch)) => {
                let [first, ..] = SYMBOLS;
                engine.delete(&Selector::of(&key(first)?), deleted(*batch)).map(|_| ())
            }
            Some(Step::Rollup(batch)) => {
                let [first, ..] = SYMBOLS;
                let mut rows = Rows::new();
                for frame in engine.scan(&key(first)?, own(*batch), None, &Budget::default())? {
                    add(&mut rows, &frame?);
                }
                let rows: Vec<(i64, Row)> = rolled(&rows, own(*batch)).into_iter().collect();
                if rows.is_empty() {
                    return Ok(());
                }
                let frame = crate::series::model_engine::frame_of(&rows);
                engine.write(WriteBatch { series: vec![(rollup()?, frame)] }).map(|_| ())
            }
            Some(Step::Drop(batch)) => {
                let [first, ..] = SYMBOLS;
                engine.delete(&Selector::of(&key(first)?), own(*batch)).map(|_| ())
            }
            Some(Step::Seal) => engine.seal(),
            Some(Step::Compact) => engine.compact().map(|_| ()),
            None => Err(Error::internal("there is no such step")),
        }
    }

    fn check(&self, engine: &E, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        let now = matches(engine, self.steps.get(..done).unwrap_or_default());
        match (now, self.steps.get(..=done)) {
            (Err(before), Some(more)) if in_flight => {
                matches(engine, more).map_err(|after| format!("{after}; and without the step: {before}"))
            }
            (now, _) => now,
        }
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn probe(&self, engine: &E) -> Result<()> {
        let key = SeriesKey::new(PROBE, PROBE, Vec::new())?;
        engine.write(WriteBatch { series: vec![(key.clone(), frame(0, 0))] })?;
        let mut rows = Rows::new();
        for frame in engine.scan(&key, TimeRange::ALL, None, &Budget::default())? {
            add(&mut rows, &frame?);
        }
        let mut want = Rows::new();
        add(&mut want, &frame(0, 0));
        compare(PROBE, &rows, &want).map_err(Error::internal)
    }
}
