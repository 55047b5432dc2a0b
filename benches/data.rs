//! One million one-minute bars: 20 symbols × 50,000, five fields, prices in steps of 0.01.

use shiphold_storage::series::{Column, Frame, SeriesKey, WriteBatch};

pub const SYMBOLS: usize = 20;
pub const MINUTE_NS: i64 = 60_000_000_000;
/// 2 January 2024, midnight UTC.
pub const BEGIN_NS: i64 = 1_704_153_600_000_000_000;

pub struct Bars {
    pub symbol: usize,
    pub times: Vec<i64>,
    /// Open, high, low, close, volume.
    pub fields: [Vec<f64>; 5],
}

pub const FIELDS: [&str; 5] = ["open", "high", "low", "close", "volume"];

pub fn key(symbol: usize) -> SeriesKey {
    SeriesKey::new("market", format!("bar.1m.SYM{symbol:02}"), Vec::new()).unwrap()
}

/// A random walk in cents; the same on every machine.
pub fn bars(rows_per_symbol: usize) -> Vec<Bars> {
    (0..SYMBOLS)
        .map(|symbol| {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(symbol as u64 + 1);
            let mut dice = move |n: i64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % n as u64) as i64
            };
            let mut last = 10_000 + 500 * symbol as i64;
            let mut fields: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(rows_per_symbol));
            for _ in 0..rows_per_symbol {
                let open = last;
                let close = (open + dice(13) + dice(13) - 12).max(100);
                let high = open.max(close) + dice(7);
                let low = (open.min(close) - dice(7)).max(1);
                last = close;
                for (field, cents) in fields.iter_mut().zip([open, high, low, close]) {
                    field.push(cents as f64 / 100.0);
                }
                fields[4].push((100 * (1 + dice(400))) as f64);
            }
            let times = (0..rows_per_symbol as i64).map(|i| BEGIN_NS + i * MINUTE_NS).collect();
            Bars { symbol, times, fields }
        })
        .collect()
}

/// Batches of `rows` rows, one symbol after another in turn, as an importer sends them.
pub fn batches(bars: &[Bars], rows: usize) -> Vec<WriteBatch> {
    let per_symbol = bars[0].times.len();
    let mut out = Vec::new();
    for begin in (0..per_symbol).step_by(rows) {
        let end = (begin + rows).min(per_symbol);
        for b in bars {
            let columns = FIELDS
                .iter()
                .zip(&b.fields)
                .map(|(n, v)| Column::float(*n, v[begin..end].to_vec()))
                .collect();
            let frame = Frame { times: b.times[begin..end].to_vec(), columns };
            out.push(WriteBatch { series: vec![(key(b.symbol), frame)] });
        }
    }
    out
}

/// The same rows as line protocol, `lines` lines a body.
pub fn bodies(bars: &[Bars], lines: usize) -> Vec<String> {
    use std::fmt::Write as _;
    let mut out = Vec::new();
    let mut body = String::new();
    let mut n = 0;
    for i in 0..bars[0].times.len() {
        for b in bars {
            let [o, h, l, c, v] = std::array::from_fn(|f| b.fields[f][i]);
            writeln!(
                body,
                "bar,symbol=SYM{:02},timeframe=1m open={o},high={h},low={l},close={c},volume={v} {}",
                b.symbol, b.times[i]
            )
            .unwrap();
            n += 1;
            if n % lines == 0 {
                out.push(std::mem::take(&mut body));
            }
        }
    }
    if !body.is_empty() {
        out.push(body);
    }
    out
}
