//! An engine whose integers are decimals where the manifest says so.

use super::{Decimal, FieldScales, Inexact, Scales, sum_to_f64};
use crate::error::Result;
use crate::series::pieces::{FieldSummary, Piece, PieceStream, Summary, Total, Wanted};
use crate::series::query::chosen;
use crate::series::units::misfit;
use crate::series::{
    Budget, Capabilities, Column, CompactReport, DeleteReport, EngineStats, Fault, FieldType, Frame,
    FrameStream, Latest, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TimeStream, TypeConflict,
    Value, Values, WriteBatch, WriteReport,
};
use crate::units::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Distinct values that are no decimals that a report lists.
const CONFLICTS_MAX: usize = 100;
/// Bytes of such a value that are shown.
const SHOWN_BYTES_MAX: usize = 64;

/// How decimals are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    Exact,
    /// As the nearest floats, to what knows no decimals: Flux and the guests of `shiphold:host@0.1`.
    Float,
}

/// Stands before an engine that stores the units.
#[derive(Debug)]
pub(crate) struct DecimalEngine {
    inner: Arc<dyn SeriesEngine>,
    scales: Arc<Scales>,
    face: Face,
}

impl DecimalEngine {
    /// The engine itself where nothing is declared.
    pub(crate) fn over(
        inner: Arc<dyn SeriesEngine>,
        scales: &Arc<Scales>,
        face: Face,
    ) -> Arc<dyn SeriesEngine> {
        if scales.is_empty() {
            return inner;
        }
        Arc::new(Self { inner, scales: scales.clone(), face })
    }

    fn of(&self, key: &SeriesKey) -> FieldScales {
        self.scales.of(&key.bucket, &key.measurement)
    }
}

impl Face {
    fn of(self, of: FieldType) -> FieldType {
        match (self, of) {
            (Self::Float, FieldType::Decimal(_)) => FieldType::Float,
            _ => of,
        }
    }

    fn frame(self, scales: &FieldScales, frame: Frame) -> Frame {
        let mut frame = scales.show(frame);
        if self == Self::Float {
            frame.columns.iter_mut().for_each(as_floats);
        }
        frame
    }

    fn value(self, scale: Option<u8>, value: Value) -> Value {
        match (value, scale) {
            (Value::Integer(units), Some(scale)) => {
                let exact = Decimal { units, scale };
                match self {
                    Self::Exact => Value::Decimal(exact),
                    Self::Float => Value::Float(exact.to_f64()),
                }
            }
            (value, _) => value,
        }
    }

    fn summary(self, scales: &FieldScales, summary: Summary) -> Summary {
        let shown = |field: FieldSummary| {
            let scale = scales.scale(&field.name);
            let sum = match (field.sum, scale) {
                (Total::Whole(sum), Some(scale)) => match self {
                    Self::Exact => Total::Decimal(sum, scale),
                    Self::Float => Total::Float(sum_to_f64(sum, scale)),
                },
                (sum, _) => sum,
            };
            let value = |v: Option<Value>| v.map(|v| self.value(scale, v));
            FieldSummary {
                sum,
                first: value(field.first),
                last: value(field.last),
                least: value(field.least),
                greatest: value(field.greatest),
                ..field
            }
        };
        Summary { fields: summary.fields.into_iter().map(shown).collect(), ..summary }
    }
}

/// Decimals as the floats that are nearest to them.
pub(crate) fn as_floats(column: &mut Column) {
    if let Values::Decimal(units, scale) = &column.values {
        let scale = *scale;
        column.values =
            Values::Float(units.iter().map(|units| Decimal { units: *units, scale }.to_f64()).collect());
    }
}

/// The first value of a column that is no decimal of its scale.
struct Refused {
    got: FieldType,
    value: String,
}

/// The units of every row that has a value and can be one; the others are marked in `bad`.
fn units<T>(
    column: &Column,
    values: &[T],
    bad: &mut [bool],
    read: impl Fn(&T) -> std::result::Result<Decimal, Inexact>,
) -> (Vec<i64>, Option<usize>) {
    let mut first = None;
    let units = values.iter().enumerate().map(|(row, value)| {
        if !column.is_valid(row) {
            return 0;
        }
        read(value).map(|d| d.units).unwrap_or_else(|_| {
            first.get_or_insert(row);
            if let Some(bad) = bad.get_mut(row) {
                *bad = true;
            }
            0
        })
    });
    (units.collect(), first)
}

/// Makes a column one of units. Its rows that are no decimals of this scale are marked.
fn fit(column: &mut Column, scale: u8, bad: &mut [bool]) -> Option<Refused> {
    let (units, first) = match &column.values {
        Values::Integer(v) => units(column, v, bad, |x| Decimal::whole(i128::from(*x), scale)),
        Values::Unsigned(v) => units(column, v, bad, |x| Decimal::whole(i128::from(*x), scale)),
        Values::Float(v) => units(column, v, bad, |x| Decimal::of_float(*x, scale)),
        Values::String(v) => units(column, v, bad, |x| Decimal::read(x, scale)),
        Values::Decimal(v, of) => {
            units(column, v, bad, |x| Decimal { units: *x, scale: *of }.rescaled(scale))
        }
        Values::Boolean(v) => units(column, v, bad, |_| Err(Inexact::NotANumber)),
    };
    let refused = first.and_then(|row| column.values.get(row)).map(|value| {
        let (got, text) = match value {
            // A number whose digits no float holds comes as its text.
            Value::String(text) if Decimal::read(&text, 0) != Err(Inexact::NotANumber) => {
                (FieldType::Float, text)
            }
            Value::Boolean(v) => (FieldType::Boolean, v.to_string()),
            Value::Integer(v) => (FieldType::Integer, v.to_string()),
            Value::Unsigned(v) => (FieldType::Unsigned, v.to_string()),
            Value::Float(v) => (FieldType::Float, v.to_string()),
            Value::Decimal(d) => (FieldType::Decimal(d.scale), d.to_string()),
            Value::String(text) => (FieldType::String, text),
        };
        let shown: String = text
            .chars()
            .scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= SHOWN_BYTES_MAX).then_some(c)
            })
            .collect();
        Refused { got, value: if shown.len() < text.len() { shown + "…" } else { shown } }
    });
    column.values = Values::Integer(units);
    refused
}

/// A batch as it is stored. Numbers and their texts become units; a row with one that is not exactly a decimal of the field's scale
/// is left out and counted, as for a conflict of types. In a field that is none a decimal is the nearest float.
pub(crate) fn stored(scales: &Scales, batch: WriteBatch) -> Result<(WriteBatch, WriteReport)> {
    let mut report = WriteReport::default();
    let mut out = WriteBatch::default();
    for (key, mut frame) in batch.series {
        frame.validate().map_err(|e| e.context(&key))?;
        let of_key = scales.of(&key.bucket, &key.measurement);
        let mut bad = Vec::new();
        for column in &mut frame.columns {
            let Some(scale) = of_key.scale(&column.name) else {
                as_floats(column);
                continue;
            };
            bad.resize(frame.times.len(), false);
            let Some(refused) = fit(column, scale, &mut bad) else { continue };
            let conflict = TypeConflict {
                bucket: key.bucket.clone(),
                measurement: key.measurement.clone(),
                field: column.name.clone(),
                have: FieldType::Decimal(scale),
                got: refused.got,
                value: Some(refused.value),
            };
            let told = |c: &TypeConflict| {
                (&c.bucket, &c.measurement, &c.field, c.got)
                    == (&conflict.bucket, &conflict.measurement, &conflict.field, conflict.got)
            };
            if report.conflicts.len() < CONFLICTS_MAX && !report.conflicts.iter().any(told) {
                report.conflicts.push(conflict);
            }
        }
        let dropped = bad.iter().filter(|bad| **bad).count();
        if dropped > 0 {
            report.dropped += dropped as u64;
            bad.iter_mut().for_each(|bad| *bad = !*bad);
            frame = chosen(frame, &bad);
        }
        if dropped == 0 || !frame.is_empty() {
            out.series.push((key, frame));
        }
    }
    Ok((out, report))
}

/// Newest values as they are shown.
pub(crate) fn newest(scales: &Scales, face: Face, mut all: Vec<Latest>) -> Vec<Latest> {
    for latest in &mut all {
        let scales = scales.of(&latest.key.bucket, &latest.key.measurement);
        for field in &mut latest.fields {
            let value = std::mem::replace(&mut field.value, Value::Boolean(false));
            field.value = face.value(scales.scale(&field.name), value);
        }
    }
    all
}

impl DecimalEngine {
    fn shown(&self, mut all: Vec<SeriesInfo>) -> Vec<SeriesInfo> {
        for info in &mut all {
            let scales = self.of(&info.key);
            for (name, of) in &mut info.fields {
                *of = self.face.of(scales.shown(name, *of));
            }
        }
        all
    }
}

impl SeriesEngine for DecimalEngine {
    /// As [`stored`] says.
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        let (out, mut report) = stored(&self.scales, batch)?;
        if out.series.is_empty() {
            return Ok(report);
        }
        let inner = self.inner.write(out)?;
        report.written += inner.written;
        report.dropped += inner.dropped;
        for mut conflict in inner.conflicts {
            let scales = self.scales.of(&conflict.bucket, &conflict.measurement);
            conflict.have = scales.shown(&conflict.field, conflict.have);
            conflict.got = scales.shown(&conflict.field, conflict.got);
            if report.conflicts.len() < CONFLICTS_MAX {
                report.conflicts.push(conflict);
            }
        }
        Ok(report)
    }

    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let stream = self.inner.scan(key, range, fields, budget)?;
        let (scales, face) = (self.of(key), self.face);
        if scales.is_empty() {
            return Ok(stream);
        }
        Ok(Box::new(stream.map(move |frame| Ok(face.frame(&scales, frame?)))))
    }

    fn scan_pieces(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        wanted: Wanted,
        budget: &Budget,
    ) -> Result<PieceStream> {
        let (scales, face) = (self.of(key), self.face);
        if scales.is_empty() {
            return self.inner.scan_pieces(key, range, fields, wanted, budget);
        }
        let mut units = wanted;
        for field in units.fields.iter_mut().filter(|f| scales.scale(&f.name).is_some()) {
            field.of = FieldType::Integer;
        }
        let stream = self.inner.scan_pieces(key, range, fields, units, budget)?;
        Ok(Box::new(stream.map(move |piece| {
            Ok(match piece? {
                Piece::Rows(frame) => Piece::Rows(face.frame(&scales, frame)),
                Piece::Summary(summary) => Piece::Summary(face.summary(&scales, summary)),
            })
        })))
    }

    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        self.inner.delete_within(selector, range, budget)
    }

    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        Ok(newest(&self.scales, self.face, self.inner.latest_within(selector, budget)?))
    }

    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        Ok(self.shown(self.inner.list(selector)?))
    }

    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        Ok(self.shown(self.inner.choose(selector, budget)?))
    }

    fn times(&self, key: &SeriesKey, range: TimeRange, budget: &Budget) -> Result<TimeStream> {
        self.inner.times(key, range, budget)
    }

    fn retentions(&self) -> Result<BTreeMap<String, Option<Span>>> {
        self.inner.retentions()
    }

    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        let (out, report) = stored(&self.scales, batch.clone())?;
        report.conflicts.first().map_or(Ok(()), |conflict| Err(misfit(conflict)))?;
        self.inner.takes(&out)
    }

    /// Units are integers to the engine.
    fn admit(&self, batch: &WriteBatch) -> Result<()> {
        let mut stored = batch.clone();
        for (_, frame) in &mut stored.series {
            for column in &mut frame.columns {
                if let Values::Decimal(units, _) = &mut column.values {
                    column.values = Values::Integer(std::mem::take(units));
                }
            }
        }
        self.inner.admit(&stored)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn stats(&self) -> Result<EngineStats> {
        self.inner.stats()
    }
    fn seal(&self) -> Result<()> {
        self.inner.seal()
    }
    fn compact(&self) -> Result<CompactReport> {
        self.inner.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.inner.verify(budget)
    }
    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}
