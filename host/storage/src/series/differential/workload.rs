//! What is written and deleted: late, repeated, unordered, at the edges of types and times, under hostile names.

use super::super::conformance::extremes::HOSTILE;
use crate::manifest::DecimalFields;
use crate::series::decimals::{DecimalEngine, Face, Scales};
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use crate::series::model_engine::ModelEngine;
use crate::series::{
    Budget, Capabilities, Column, CompactReport, DeleteReport, EngineStats, Fault, FieldType, Frame,
    FrameStream, Latest, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange, TypeConflict, Values,
    WriteBatch, WriteReport,
};
use crate::testing::random::Random;
use crate::{Kind, Result};
use std::sync::Arc;

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_NS: i64 = 1_440 * MINUTE_NS;
/// Hours around which rows lie: the ends and beginnings of summer time in New York, Berlin and on Lord Howe, a new year, and the
/// epoch.
const CENTRES: [i64; 6] = [
    1_710_054_000_000_000_000, // 2024-03-10T07:00Z
    1_730_610_000_000_000_000, // 2024-11-03T05:00Z
    1_711_846_800_000_000_000, // 2024-03-31T01:00Z
    1_712_415_600_000_000_000, // 2024-04-06T15:00Z
    1_704_067_200_000_000_000, // 2024-01-01T00:00Z
    0,
];
/// Days of those hours.
pub(super) const DATES: [&str; 5] = ["2024-03-10", "2024-11-03", "2024-03-31", "2024-04-07", "1969-12-31"];
/// Levels of each side of the order books.
pub(super) const BOOK_LEVELS: u32 = 3;
/// Minutes before and after a centre.
const AROUND_MIN: i64 = 150;
const ROWS_MAX: usize = 30;

/// Of the prices of a bar, of a tick, and of the field [`EXACT`] of every free measurement.
const BAR_SCALE: u8 = 2;
const TICK_SCALE: u8 = 3;
const EXACT_SCALE: u8 = 9;
const EXACT: &str = "exact";

/// An engine that stores integers, with the decimals of every [`World`] of a bucket.
pub(super) fn with_decimals(engine: Arc<dyn SeriesEngine>, bucket: &str) -> Arc<dyn SeriesEngine> {
    let entry = |measurement: &str, fields: &[&str], scale| DecimalFields {
        bucket: bucket.into(),
        measurement: measurement.into(),
        fields: fields.iter().map(|f| (*f).to_string()).collect(),
        scale,
    };
    let scales = Scales::new(&[
        entry("bar.1m.AAPL", &["open", "high", "low", "close"], BAR_SCALE),
        entry("tick.*", &["price"], TICK_SCALE),
        entry("*", &[EXACT], EXACT_SCALE),
    ]);
    DecimalEngine::over(engine, &Arc::new(scales), Face::Exact)
}

/// A field of a series.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) of: FieldType,
    /// Its values go to the edge of the type.
    pub(super) wild: bool,
}

/// A series and its fields.
#[derive(Debug, Clone)]
pub(super) struct Stock {
    pub(super) key: SeriesKey,
    pub(super) fields: Vec<Field>,
}

/// The series of one round, and when its rows are.
#[derive(Debug)]
pub(super) struct World {
    pub(super) bucket: String,
    series: Vec<Stock>,
    centre: i64,
    /// Rows at the ends of time too.
    extremes: bool,
    /// A row with every field, which fixes their types. A delete may take it, and with it the last value of a field.
    anchor: i64,
}

impl World {
    pub(super) fn new(random: &mut Random, bucket: &str) -> Self {
        let field = |name: &str, of, wild| Field { name: name.into(), of, wild };
        let float = |name: &str| field(name, FieldType::Float, false);
        let bars = || ["open", "high", "low", "close", "volume"].map(float).to_vec();
        let decimal = |name: &str, scale| field(name, FieldType::Decimal(scale), false);
        let exact_bars = || {
            let mut all = ["open", "high", "low", "close"].map(|name| decimal(name, BAR_SCALE)).to_vec();
            all.push(float("volume"));
            all
        };
        let free = || {
            vec![
                float("f"),
                field("edge", FieldType::Float, true),
                field("n", FieldType::Integer, true),
                field("u", FieldType::Unsigned, true),
                field("flag", FieldType::Boolean, false),
                field("text", FieldType::String, true),
                field(EXACT, FieldType::Decimal(EXACT_SCALE), true),
            ]
        };
        let stock = |measurement: &str, tags: &[(&str, &str)], fields| {
            let tags = tags.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
            Stock { key: SeriesKey::new(bucket, measurement, tags).unwrap(), fields }
        };
        let book = || {
            let sides = |n| ["bid_price", "bid_size", "ask_price", "ask_size"].map(|f| format!("{f}_{n}"));
            (1..=BOOK_LEVELS).flat_map(sides).map(|f| float(&f)).collect::<Vec<_>>()
        };
        let mut series = vec![
            stock("book.AAPL", &[], book()),
            stock("book.MSFT", &[("exchange", "XNAS")], book()),
            stock("bar.1m.AAPL", &[], exact_bars()),
            stock("bar.1m.MSFT", &[("exchange", "XNAS")], bars()),
            stock(
                "tick.AAPL",
                &[],
                vec![decimal("price", TICK_SCALE), float("size"), field("side", FieldType::String, false)],
            ),
            stock("m", &[], free()),
            stock("m", &[("host", "a")], free()),
            stock("m", &[("host", "b"), ("zone", "é 日本")], free()),
        ];
        for _ in 0..2 {
            let name = *random.pick(HOSTILE).unwrap();
            let mut fields = free();
            fields.push(float(name));
            series.push(stock(name, &[(name, name), ("plain", "x")], fields));
        }
        series.dedup_by(|a, b| a.key == b.key);
        let centre = *random.pick(&CENTRES).unwrap();
        let extremes = random.one_in(4);
        Self { bucket: bucket.into(), series, centre, extremes, anchor: centre - 2 * DAY_NS }
    }

    pub(super) fn one(&self, random: &mut Random) -> &Stock {
        random.pick(&self.series).unwrap()
    }

    /// Every series.
    pub(super) fn keys(&self) -> impl Iterator<Item = &SeriesKey> {
        self.series.iter().map(|s| &s.key)
    }

    pub(super) fn measurement(&self, random: &mut Random) -> String {
        let patterns = ["*", "bar.1m.*", "bar.*", "m", "*A*", "m", "bar.1m.AAPL", "book.*", "none"];
        (*random.pick(&patterns).unwrap()).into()
    }

    pub(super) fn selector(&self, random: &mut Random) -> Selector {
        match random.below(3) {
            0 => Selector::of(&self.one(random).key),
            1 => Selector {
                bucket: Some(self.bucket.clone()),
                measurement: Some(self.measurement(random)),
                tags: Vec::new(),
            },
            _ => {
                let of = self.one(random);
                let tags = random.some(&of.key.tags);
                Selector { bucket: Some(self.bucket.clone()), measurement: None, tags }
            }
        }
    }

    fn time(&self, random: &mut Random) -> i64 {
        if self.extremes && random.one_in(8) {
            return *random
                .pick(&[TIME_MIN_NS, TIME_MIN_NS + 1, -1, 0, 1, TIME_MAX_NS - 1, TIME_MAX_NS])
                .unwrap();
        }
        let minutes = random.between(-AROUND_MIN, AROUND_MIN);
        let within = if random.one_in(4) { random.between(0, MINUTE_NS - 1) } else { 0 };
        self.centre + minutes * MINUTE_NS + within
    }

    /// A range between two of the rows' times; or one with the anchor in it.
    fn between(&self, random: &mut Random) -> TimeRange {
        let (a, b) = (self.time(random), self.time(random));
        let start = if random.one_in(3) { a.min(self.anchor) } else { a };
        TimeRange { start: start.min(b), end: start.max(b) }
    }

    pub(super) fn range(&self, random: &mut Random) -> TimeRange {
        match random.below(4) {
            0 => TimeRange::ALL,
            1 => TimeRange { start: TIME_MIN_NS, end: self.time(random) },
            _ => self.between(random),
        }
    }

    /// Every series has rows.
    pub(super) fn begin(&self, random: &mut Random) -> Step {
        let mut batch = WriteBatch::default();
        for stock in &self.series {
            let times: Vec<i64> = (0..ROWS_MAX).map(|_| self.time(random)).collect();
            batch.series.push((stock.key.clone(), frame(random, stock, &[self.anchor], true)));
            batch.series.push((stock.key.clone(), frame(random, stock, &times, false)));
        }
        Step::Write(batch)
    }

    pub(super) fn step(&self, random: &mut Random) -> Step {
        match random.below(12) {
            0..7 => Step::Write(self.batch(random)),
            7 => Step::Delete(self.selector(random), self.between(random)),
            // Whole series, which may come again.
            8 if random.coin() => Step::Delete(Selector::of(&self.one(random).key), TimeRange::ALL),
            8 | 9 => Step::Seal,
            10 => Step::Compact,
            _ => Step::Reopen,
        }
    }

    fn batch(&self, random: &mut Random) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for _ in 0..1 + random.below(3) {
            let stock = self.one(random);
            let times: Vec<i64> = (0..1 + random.below(ROWS_MAX)).map(|_| self.time(random)).collect();
            batch.series.push((stock.key.clone(), frame(random, stock, &times, false)));
            if random.one_in(6) {
                batch.series.push((stock.key.clone(), conflicting(random, stock, &times)));
            }
        }
        batch
    }
}

fn frame(random: &mut Random, stock: &Stock, times: &[i64], whole: bool) -> Frame {
    let columns = stock.fields.iter().map(|f| {
        let valid: Vec<bool> = times.iter().map(|_| whole || !random.one_in(3)).collect();
        let values = values(random, f, times.len());
        Column { name: f.name.clone(), values, valid: valid.contains(&false).then_some(valid) }
    });
    // The columns of a frame have any order.
    let mut columns: Vec<Column> = columns.collect();
    if random.coin() {
        columns.reverse();
    }
    Frame { times: times.to_vec(), columns }
}

/// One field of another type than it has; the rows that have it are refused.
fn conflicting(random: &mut Random, stock: &Stock, times: &[i64]) -> Frame {
    let mut frame = frame(random, stock, times, false);
    let types =
        [FieldType::Boolean, FieldType::String, FieldType::Float, FieldType::Integer, FieldType::Unsigned];
    let at = random.below(frame.columns.len());
    let column = &mut frame.columns[at];
    // A number may be a decimal.
    let is_decimal = matches!(column.values, Values::Decimal(..));
    let of = *random.pick(if is_decimal { &types[..2] } else { &types[..] }).unwrap();
    let field = Field { name: column.name.clone(), of, wild: false };
    column.values = values(random, &field, times.len());
    frame
}

fn values(random: &mut Random, field: &Field, n: usize) -> Values {
    let wild = field.wild;
    match field.of {
        FieldType::Float => Values::Float((0..n).map(|_| float(random, wild)).collect()),
        FieldType::Integer => Values::Integer((0..n).map(|_| whole(random, wild)).collect()),
        FieldType::Unsigned => Values::Unsigned(
            (0..n)
                .map(|_| if wild { whole(random, true).cast_unsigned() } else { random.next() % 100 })
                .collect(),
        ),
        FieldType::Boolean => Values::Boolean((0..n).map(|_| random.coin()).collect()),
        FieldType::String => Values::String((0..n).map(|_| text(random, wild)).collect()),
        FieldType::Decimal(scale) => Values::Decimal((0..n).map(|_| whole(random, wild)).collect(), scale),
    }
}

fn float(random: &mut Random, wild: bool) -> f64 {
    let edges = [
        -0.0,
        0.0,
        5e-324,
        -5e-324,
        f64::MIN_POSITIVE / 2.0,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        0.1 + 0.2,
        1e15 + 0.3,
    ];
    if wild && random.coin() {
        return *random.pick(&edges).unwrap();
    }
    random.between(-100_000, 100_000) as f64 / 100.0
}

fn whole(random: &mut Random, wild: bool) -> i64 {
    let edges = [i64::MIN, i64::MAX, -1, 0, 1, (1 << 53) + 1, i64::MIN + 1];
    if wild && random.one_in(3) { *random.pick(&edges).unwrap() } else { random.between(-1_000, 1_000) }
}

fn text(random: &mut Random, wild: bool) -> String {
    let edges = ["", "\n", "a\r\nb", "\\n", "\"", "\\\"", "ü 🦀", "a,b=c d", "true", "1i", "\u{feff}", " "];
    if wild && random.coin() {
        return (*random.pick(&edges).unwrap()).into();
    }
    if wild && random.one_in(4) {
        return (*random.pick(HOSTILE).unwrap()).into();
    }
    (*random.pick(&["buy", "sell"]).unwrap()).into()
}

/// One step of a round.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Write(WriteBatch),
    Delete(Selector, TimeRange),
    Seal,
    Compact,
    /// The embedded engine is closed and opened.
    Reopen,
    /// Everything is sealed and merged: from here on rows are counted exactly.
    Settle,
}

/// What a step said.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    Written(WriteReport),
    Deleted(DeleteReport),
    Done,
    Refused(Kind, String),
}

impl Step {
    pub(super) fn apply(&self, engine: &dyn SeriesEngine) -> Effect {
        let done = |r: Result<Effect>| r.unwrap_or_else(|e| Effect::Refused(e.kind(), e.message().into()));
        done(match self {
            Self::Write(batch) => engine.write(batch.clone()).map(|mut report| {
                let name = |c: &TypeConflict| (c.measurement.clone(), c.field.clone(), c.got);
                report.conflicts.sort_by_key(name);
                // Only who converts can show what he could not.
                report.conflicts.iter_mut().for_each(|c| c.value = None);
                Effect::Written(report)
            }),
            Self::Delete(selector, range) => engine.delete(selector, *range).map(Effect::Deleted),
            Self::Seal => engine.seal().map(|()| Effect::Done),
            Self::Compact => engine.compact().map(|_| Effect::Done),
            Self::Reopen => Ok(Effect::Done),
            Self::Settle => engine
                .seal()
                .and_then(|()| engine.compact())
                .and_then(|_| engine.verify(&Budget::default()))
                .map(|faults| if faults.is_empty() { Effect::Done } else { panic!("{faults:?}") }),
        })
    }
}

impl Effect {
    /// Where an engine does not count what it deletes, nothing is compared.
    pub(super) fn same_effect(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Deleted(a), Self::Deleted(b)) => {
                a.series == b.series && (a.rows.is_none() || a.rows == b.rows)
            }
            (a, b) => a == b,
        }
    }
}

/// Engines that err in one way, which the comparison must find.
pub(super) const LIARS: &[(&str, Wrong)] = &[
    ("a value that is off by one bit", Wrong::Bit),
    ("a row too few", Wrong::Row),
    ("a delete that takes one nanosecond too little", Wrong::Delete),
    ("an old value as the latest", Wrong::Latest),
    ("a list that forgets a series", Wrong::List),
];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wrong {
    Bit,
    Row,
    Delete,
    Latest,
    List,
}

#[derive(Debug)]
pub(super) struct Liar {
    pub(super) inner: ModelEngine,
    pub(super) wrong: Wrong,
}

impl SeriesEngine for Liar {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        self.inner.write(batch)
    }
    fn scan(
        &self,
        key: &SeriesKey,
        range: TimeRange,
        fields: Option<&[String]>,
        budget: &Budget,
    ) -> Result<FrameStream> {
        let wrong = self.wrong;
        Ok(Box::new(self.inner.scan(key, range, fields, budget)?.map(move |frame| {
            let mut frame = frame?;
            if wrong == Wrong::Row && frame.len() > 3 {
                frame = Frame::default();
            }
            for column in frame.columns.iter_mut().filter(|_| wrong == Wrong::Bit) {
                if let Values::Float(v) = &mut column.values {
                    v.iter_mut().for_each(|x| *x = f64::from_bits(x.to_bits() ^ 1));
                }
            }
            Ok(frame)
        })))
    }
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        let late = i64::from(self.wrong == Wrong::Delete);
        self.inner.delete_within(selector, TimeRange { start: range.start + late, ..range }, budget)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        let mut all = self.inner.latest_within(selector, budget)?;
        let fields = all.iter_mut().flat_map(|l| &mut l.fields);
        fields.filter(|_| self.wrong == Wrong::Latest).for_each(|f| f.time -= 1);
        Ok(all)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        let mut all = self.inner.list(selector)?;
        if self.wrong == Wrong::List && all.len() > 2 {
            all.pop();
        }
        Ok(all)
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "liar", ..self.inner.capabilities() }
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
}
