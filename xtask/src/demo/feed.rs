//! A deterministic simulated session: the same bars, ticks, order-book snapshots, signals and host metrics on
//! every machine, as line protocol in batches, the way a real feed sends them.

use std::fmt::Write as _;

/// Lines of one request.
pub const BATCH_LINES: usize = 10_000;

const SYMBOLS: [&str; 20] = [
    "AAPL", "AMZN", "BA", "BRK.B", "CAT", "CVX", "DIS", "GE", "GOOG", "IBM", "INTC", "JNJ", "JPM", "KO",
    "META", "MSFT", "NVDA", "PG", "TSLA", "XOM",
];
/// Symbols that also have ticks and books.
const WATCHED: usize = 4;
const STRATEGIES: [&str; 3] = ["mean_reversion", "momentum", "pairs"];
const COMPONENTS: [&str; 3] = ["executor", "feed", "risk"];

const MINUTE_S: i64 = 60;
const DAY_S: i64 = 86_400;
/// The last session of the simulation: Friday, 26 June 2026, midnight UTC.
const LAST_DAY_S: i64 = 1_782_432_000;
/// New York opens at 13:30 UTC in summer; the simulation keeps that hour all year.
const OPEN_S: i64 = 13 * 3_600 + 30 * 60;
/// Minutes of a session.
const MINUTES: usize = 390;
/// Sessions that have ticks, books, signals and metrics.
const DETAILED_DAYS: usize = 5;
const TICKS_PER_MINUTE: usize = 6;
const BOOK_LEVELS: usize = 5;

/// SplitMix64: small, seeded, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A whole number from `-n` to `n`, more often near zero.
    fn step(&mut self, n: i64) -> i64 {
        let span = n.unsigned_abs() + 1;
        let part = |v: u64| i64::try_from(v % span).unwrap_or(0);
        part(self.next()) - part(self.next())
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// One kind of data: a name for people, the bucket, and lines.
pub struct Stream {
    pub name: &'static str,
    pub bucket: &'static str,
    pub lines: Vec<String>,
}

/// Everything that one simulated session sends, `bars` one-minute bars per symbol.
pub fn session(bars: usize) -> Vec<Stream> {
    vec![
        Stream { name: "one-minute bars", bucket: "market", lines: bars_of_all(bars) },
        Stream { name: "ticks", bucket: "market", lines: ticks() },
        Stream { name: "order-book snapshots", bucket: "market", lines: books() },
        Stream { name: "signals", bucket: "market", lines: signals() },
        Stream { name: "host metrics", bucket: "metrics", lines: metrics() },
    ]
}

/// The last `count` weekdays, oldest first, as seconds at midnight UTC.
fn days(count: usize) -> Vec<i64> {
    let mut out = Vec::with_capacity(count);
    let mut day = LAST_DAY_S;
    while out.len() < count {
        // 1970-01-01 was a Thursday: day number 0 has weekday 4.
        let weekday = (day / DAY_S + 4).rem_euclid(7);
        if (1..=5).contains(&weekday) {
            out.push(day);
        }
        day -= DAY_S;
    }
    out.reverse();
    out
}

/// The minutes of the last sessions, oldest first, at most `count`.
fn minutes(count: usize) -> Vec<i64> {
    let all: Vec<i64> = days(count.div_ceil(MINUTES))
        .into_iter()
        .flat_map(|day| (0..MINUTES as i64).map(move |m| day + OPEN_S + m * MINUTE_S))
        .collect();
    let skip = all.len().saturating_sub(count);
    all.into_iter().skip(skip).collect()
}

/// Cents as a price with two decimals.
fn price(cents: i64) -> f64 {
    cents as f64 / 100.0
}

fn bars_of_all(count: usize) -> Vec<String> {
    let times = minutes(count);
    let mut walks: Vec<(Dice, i64)> = (0..SYMBOLS.len() as u64)
        .map(|i| (Dice(1_000 + i), 5_000 + 1_700 * i64::try_from(i).unwrap_or(0)))
        .collect();
    let mut lines = Vec::with_capacity(times.len() * SYMBOLS.len());
    // Minute by minute over all symbols, as a live feed sends them.
    for time in times {
        for (symbol, (dice, last)) in SYMBOLS.iter().zip(&mut walks) {
            let open = *last;
            let close = (open + dice.step(12)).max(100);
            let high = open.max(close) + dice.step(6).abs();
            let low = (open.min(close) - dice.step(6).abs()).max(1);
            let volume = 100 * (1 + dice.below(400));
            *last = close;
            lines.push(format!(
                "bar,symbol={symbol},timeframe=1m open={},high={},low={},close={},volume={volume} {time}",
                price(open),
                price(high),
                price(low),
                price(close),
            ));
        }
    }
    lines
}

fn ticks() -> Vec<String> {
    let mut lines = Vec::new();
    for (i, symbol) in SYMBOLS.iter().take(WATCHED).enumerate() {
        let mut dice = Dice(2_000 + i as u64);
        let mut last = 5_000 + 1_700 * i as i64;
        for minute in minutes(DETAILED_DAYS * MINUTES) {
            for tick in 0..TICKS_PER_MINUTE as i64 {
                last = (last + dice.step(3)).max(100);
                let size = 1 + dice.below(500);
                let side = if dice.below(2) == 0 { "buy" } else { "sell" };
                let second = minute + tick * MINUTE_S / TICKS_PER_MINUTE as i64;
                lines.push(format!(
                    "tick,symbol={symbol} price={},size={size},side=\"{side}\" {second}",
                    price(last)
                ));
            }
        }
    }
    lines
}

fn books() -> Vec<String> {
    let mut lines = Vec::new();
    for (i, symbol) in SYMBOLS.iter().take(WATCHED).enumerate() {
        let mut dice = Dice(3_000 + i as u64);
        let mut middle = 5_000 + 1_700 * i as i64;
        for minute in minutes(DETAILED_DAYS * MINUTES) {
            middle = (middle + dice.step(8)).max(1_000);
            let mut line = format!("book,symbol={symbol} ");
            for level in 1..=BOOK_LEVELS as i64 {
                let (bid, ask) = (middle - level, middle + level);
                let comma = if level == 1 { "" } else { "," };
                // Writing to a String cannot fail.
                let _ = write!(
                    line,
                    "{comma}bid_price_{level}={},bid_size_{level}={},ask_price_{level}={},ask_size_{level}={}",
                    price(bid),
                    1 + dice.below(900),
                    price(ask),
                    1 + dice.below(900)
                );
            }
            let _ = write!(line, " {minute}");
            lines.push(line);
        }
    }
    lines
}

fn signals() -> Vec<String> {
    let mut lines = Vec::new();
    for (i, strategy) in STRATEGIES.iter().enumerate() {
        let mut dice = Dice(4_000 + i as u64);
        for minute in minutes(DETAILED_DAYS * MINUTES).into_iter().step_by(5) {
            for symbol in SYMBOLS.iter().take(WATCHED) {
                let value = dice.step(100) as f64 / 100.0;
                lines.push(format!("signal,strategy={strategy},symbol={symbol} value={value} {minute}"));
            }
        }
    }
    lines
}

fn metrics() -> Vec<String> {
    let mut lines = Vec::new();
    for (i, component) in COMPONENTS.iter().enumerate() {
        let mut dice = Dice(5_000 + i as u64);
        for minute in minutes(DETAILED_DAYS * MINUTES) {
            lines.push(format!(
                "metric,component={component},host=example cpu_percent={},memory_bytes={}i,queue={}i {minute}",
                dice.below(10_000) as f64 / 100.0,
                200_000_000 + dice.below(50_000_000),
                dice.below(40)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_the_same_every_time() {
        let (a, b) = (session(780), session(780));
        for (x, y) in a.iter().zip(&b) {
            assert_eq!(x.lines, y.lines, "{}", x.name);
        }
        assert_eq!(a.first().map(|s| s.lines.len()), Some(780 * SYMBOLS.len()));
    }

    #[test]
    fn days_are_weekdays_and_end_on_a_friday() {
        let days = days(6);
        assert_eq!(days.last(), Some(&LAST_DAY_S));
        let gaps: Vec<i64> = days.windows(2).map(|w| (w[1] - w[0]) / DAY_S).collect();
        assert_eq!(gaps, [3, 1, 1, 1, 1]);
    }
}
