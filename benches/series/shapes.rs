//! What all engines are given: bars, ticks and order books, the same on every machine.

use crate::data::{self, BEGIN_NS, FIELDS, MINUTE_NS, SYMBOLS};
use shiphold_storage::series::{Column, Frame, SeriesKey, TimeRange, WriteBatch};
use std::io::Write as _;
use std::path::Path;

/// Levels of a side of an order book.
const LEVELS: usize = 10;
const MILLISECOND_NS: i64 = 1_000_000;

/// Rows of one kind, all series equally long and with the same columns.
pub struct Shape {
    pub name: &'static str,
    pub series: Vec<(SeriesKey, Frame)>,
    /// Rows of one durable batch.
    pub batch_rows: usize,
    /// Which series is asked, and for what range.
    pub asked: usize,
    pub range: TimeRange,
}

/// Rows of ticks beside those of another kind that stand at their time or before.
pub struct Join {
    pub name: &'static str,
    /// The other kind, its series and fields.
    pub right: &'static str,
    pub measurement: &'static str,
    pub fields: &'static [&'static str],
    /// In front of their names.
    pub prefix: &'static str,
    /// Of the ticks.
    pub range: TimeRange,
}

/// Trades with the quotes that they met, for as long as there are books; and with the last bar of a minute.
pub fn joins([_, ticks, books]: &[Shape; 3]) -> [Join; 2] {
    let times = &books.series[0].1.times;
    // Before the first snapshot: a tick that has none is part of the answer.
    let range = TimeRange { start: BEGIN_NS, end: times[times.len() - 1] + 1 };
    let of_books = Join {
        name: "asof-books",
        right: "books",
        measurement: "book.SYM00",
        fields: &["bid_price_1", "ask_price_1"],
        prefix: "book_",
        range,
    };
    let of_bars = Join {
        name: "asof-bars",
        right: "bars",
        measurement: "bar.1m.SYM00",
        fields: &["close"],
        prefix: "bar_",
        range: ticks.range,
    };
    [of_books, of_bars]
}

impl Shape {
    pub fn rows_per_series(&self) -> usize {
        self.series[0].1.len()
    }

    pub fn rows(&self) -> usize {
        self.rows_per_series() * self.series.len()
    }

    /// Which series and its next rows: one series after another in turn, as an importer sends them.
    pub fn parts(&self) -> impl Iterator<Item = (usize, Frame)> + '_ {
        let begins = (0..self.rows_per_series()).step_by(self.batch_rows);
        begins.flat_map(move |begin| {
            self.series.iter().enumerate().map(move |(series, (_, whole))| {
                let rows = begin..(begin + self.batch_rows).min(whole.len());
                let part =
                    |c: &Column| Column::float(c.name.clone(), c.floats().unwrap()[rows.clone()].to_vec());
                let columns = whole.columns.iter().map(part).collect();
                (series, Frame { times: whole.times[rows.clone()].to_vec(), columns })
            })
        })
    }

    /// The same to write.
    pub fn batches(&self) -> impl Iterator<Item = WriteBatch> + '_ {
        self.parts()
            .map(|(series, frame)| WriteBatch { series: vec![(self.series[series].0.clone(), frame)] })
    }

    /// A file a column in a folder of its own: little-endian, eight bytes a value, one series after another.
    pub fn write(&self, data: &Path) {
        let folder = data.join(self.name);
        std::fs::create_dir_all(&folder).unwrap();
        let create = |name: &str| std::io::BufWriter::new(std::fs::File::create(folder.join(name)).unwrap());
        let mut file = create("time");
        for time in self.series.iter().flat_map(|(_, f)| &f.times) {
            file.write_all(&time.to_le_bytes()).unwrap();
        }
        file.flush().unwrap();
        for (i, name) in self.columns().enumerate() {
            let mut file = create(name);
            for value in self.series.iter().flat_map(|(_, f)| f.columns[i].floats().unwrap()) {
                file.write_all(&value.to_le_bytes()).unwrap();
            }
            file.flush().unwrap();
        }
    }

    /// The names of the columns but for `time`.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.series[0].1.columns.iter().map(|c| c.name.as_str())
    }
}

/// Thirty days of one of the symbols are asked for.
pub fn bars(rows_per_symbol: usize) -> Shape {
    let frame = |b: data::Bars| {
        let columns = FIELDS.iter().zip(b.fields).map(|(n, v)| Column::float(*n, v)).collect();
        (data::key(b.symbol), Frame { times: b.times, columns })
    };
    let series: Vec<_> = data::bars(rows_per_symbol).into_iter().map(frame).collect();
    assert_eq!(series.len(), SYMBOLS);
    let end = BEGIN_NS + rows_per_symbol.min(43_200) as i64 * MINUTE_NS;
    Shape { name: "bars", series, batch_rows: 10_000, asked: 3, range: TimeRange { start: BEGIN_NS, end } }
}

/// xorshift64 (Marsaglia, 2003): from 0 to `n` − 1.
fn dice(mut state: u64) -> impl FnMut(i64) -> i64 {
    move |n| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as i64
    }
}

/// Ticks of one symbol: quiet spells of up to four seconds and bursts within a millisecond, steps of 0.01.
pub fn ticks(rows: usize) -> Shape {
    let mut dice = dice(0x2545_f491_4f6c_dd1d);
    let (mut time, mut cents) = (BEGIN_NS, 100_000);
    let mut times = Vec::with_capacity(rows);
    let (mut prices, mut sizes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for _ in 0..rows {
        time += match dice(10) {
            0 => 1 + dice(4_000 * MILLISECOND_NS),
            1..=3 => 1 + dice(100 * MILLISECOND_NS),
            _ => 1 + dice(MILLISECOND_NS),
        };
        cents = (cents + dice(5) - 2).max(100);
        times.push(time);
        prices.push(cents as f64 / 100.0);
        sizes.push((1 + dice(500)) as f64);
    }
    let range = tenth(&times);
    let frame = Frame { times, columns: vec![Column::float("price", prices), Column::float("size", sizes)] };
    let series = vec![(SeriesKey::new("market", "tick.SYM00", Vec::new()).unwrap(), frame)];
    Shape { name: "ticks", series, batch_rows: 100_000, asked: 0, range }
}

/// Snapshots of the book of one symbol, about ten a second: `bid_price_1` is the best of ten.
pub fn books(rows: usize) -> Shape {
    let mut dice = dice(0x9e6c_63d0_876a_68ee);
    let (mut time, mut middle) = (BEGIN_NS, 100_000);
    let mut times = Vec::with_capacity(rows);
    let sides = ["bid_price", "bid_size", "ask_price", "ask_size"];
    let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(rows); sides.len() * LEVELS];
    for _ in 0..rows {
        time += 1 + dice(200 * MILLISECOND_NS);
        middle = (middle + dice(5) - 2).max(10_000);
        times.push(time);
        let (mut bid, mut ask) = (middle, middle);
        for level in 0..LEVELS {
            bid -= 1 + dice(3);
            ask += 1 + dice(3);
            let row =
                [bid as f64 / 100.0, (1 + dice(900)) as f64, ask as f64 / 100.0, (1 + dice(900)) as f64];
            for (side, value) in row.into_iter().enumerate() {
                values[side * LEVELS + level].push(value);
            }
        }
    }
    let names = sides.iter().flat_map(|side| (1..=LEVELS).map(move |level| format!("{side}_{level}")));
    let columns = names.zip(values).map(|(n, v)| Column::float(n, v)).collect();
    let range = tenth(&times);
    let series =
        vec![(SeriesKey::new("market", "book.SYM00", Vec::new()).unwrap(), Frame { times, columns })];
    Shape { name: "books", series, batch_rows: 10_000, asked: 0, range }
}

/// A tenth of the rows, from the middle.
fn tenth(times: &[i64]) -> TimeRange {
    let begin = times.len() / 2;
    TimeRange { start: times[begin], end: times[begin + times.len() / 10] }
}
