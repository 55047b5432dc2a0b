//! The kinds of series and how measurements are named: `bar.1m.AAPL`, `tick.AAPL`, `book.AAPL`, `signal.NAME`,
//! `metric.COMPONENT`. `docs/line-protocol.md` has the table.

mod session;
mod timeframe;
mod zone;

#[cfg(test)]
mod tests;

pub(crate) use session::working_days;
pub use session::{Calendar, SESSION_DATES_MAX, Session};
pub use timeframe::{Bar, Timeframe};
pub use zone::{instant_of_local, zone};

use super::{Frame, SeriesKey, Values};
use crate::error::{Error, Result};
use serde::Serialize;

/// What a series holds, by its measurement's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Bar,
    Tick,
    Book,
    Signal,
    Metric,
    Other,
}

impl Kind {
    /// The kind of a typed measurement. A name that only begins like one (`bar`, `bar.x.AAPL`) is [`Kind::Other`].
    pub fn of(measurement: &str) -> Self {
        let Some((first, rest)) = measurement.split_once('.') else { return Self::Other };
        if rest.is_empty() {
            return Self::Other;
        }
        match first {
            "bar" => match rest.split_once('.') {
                Some((timeframe, symbol)) if !symbol.is_empty() && timeframe.parse::<Timeframe>().is_ok() => {
                    Self::Bar
                }
                _ => Self::Other,
            },
            "tick" => Self::Tick,
            "book" => Self::Book,
            "signal" => Self::Signal,
            "metric" => Self::Metric,
            _ => Self::Other,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bar => "bar",
            Self::Tick => "tick",
            Self::Book => "book",
            Self::Signal => "signal",
            Self::Metric => "metric",
            Self::Other => "other",
        }
    }

    /// Is this field of the kind a float by definition? A whole number written to it is stored as a float, so
    /// that a feed that sends `volume=1200i` and one that sends `volume=1200` do not conflict.
    pub fn is_float_field(self, field: &str) -> bool {
        match self {
            Self::Bar => matches!(field, "open" | "high" | "low" | "close" | "volume" | "vwap" | "adj_close"),
            Self::Tick => matches!(field, "price" | "size" | "bid" | "ask" | "bid_size" | "ask_size"),
            Self::Book => ["bid_price", "bid_size", "ask_price", "ask_size"]
                .iter()
                .any(|prefix| field.strip_prefix(prefix).is_some_and(|l| l.is_empty() || l.starts_with('_'))),
            Self::Signal => field == "value",
            Self::Metric | Self::Other => false,
        }
    }
}

/// Levels of an order book on each side, the best one first: `bid_price_1` to `bid_price_50`.
pub const BOOK_LEVELS_MAX: u32 = 50;
/// What a level of an order book has.
const BOOK_FIELDS: [&str; 4] = ["bid_price_", "bid_size_", "ask_price_", "ask_size_"];

/// Refuses levels that an order book does not have.
pub fn check_levels(measurement: &str, frame: &Frame) -> Result<()> {
    if Kind::of(measurement) != Kind::Book {
        return Ok(());
    }
    for column in &frame.columns {
        let level = BOOK_FIELDS.iter().find_map(|prefix| column.name.strip_prefix(prefix));
        let Some(level) = level.filter(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let is_one =
            level.parse().is_ok_and(|n: u32| (1..=BOOK_LEVELS_MAX).contains(&n) && !level.starts_with('0'));
        if !is_one {
            return Err(Error::limit(
                format!("the level of the field `{}` of `{measurement}`", column.name),
                format!("the levels 1 to {BOOK_LEVELS_MAX} of each side"),
                "the best bid is `bid_price_1`; leave deeper levels out, or write them to a measurement of another kind",
            ));
        }
    }
    Ok(())
}

/// Turns whole numbers in fields that are floats by definition, and that `takes` does not leave out, into floats.
pub fn fit(measurement: &str, frame: &mut Frame, takes: impl Fn(&str) -> bool) {
    let kind = Kind::of(measurement);
    for column in frame.columns.iter_mut().filter(|c| takes(&c.name)) {
        let floats = match &column.values {
            Values::Integer(v) if kind.is_float_field(&column.name) => v.iter().map(|x| *x as f64).collect(),
            Values::Unsigned(v) if kind.is_float_field(&column.name) => v.iter().map(|x| *x as f64).collect(),
            _ => continue,
        };
        column.values = Values::Float(floats);
    }
}

/// The timeframe of a bar's measurement: `1m` of `bar.1m.AAPL`. `None` for every other kind.
pub fn timeframe_of(measurement: &str) -> Option<&str> {
    (Kind::of(measurement) == Kind::Bar).then(|| measurement.split('.').nth(1)).flatten()
}

/// The symbol of a bar's, tick's or book's measurement. `None` for every other kind.
pub fn symbol_of(measurement: &str) -> Option<&str> {
    match Kind::of(measurement) {
        Kind::Bar => measurement.splitn(3, '.').nth(2),
        Kind::Tick | Kind::Book => measurement.split_once('.').map(|(_, symbol)| symbol),
        Kind::Signal | Kind::Metric | Kind::Other => None,
    }
}

/// The measurement of bars of a timeframe.
pub fn bar_measurement(timeframe: &str, symbol: &str) -> String {
    format!("bar.{timeframe}.{symbol}")
}

/// Where the rollup of a measurement goes: `bar.1m.AAPL` to `1h` is `bar.1h.AAPL`, `tick.AAPL` to `1m` is
/// `bar.1m.AAPL`. `None` if it is neither a bar nor a tick, the timeframe is unknown, or whole source bars do
/// not fill a longer target bar.
pub fn rollup_measurement(source_measurement: &str, timeframe: &str) -> Option<String> {
    let target: Timeframe = timeframe.parse().ok()?;
    let symbol = symbol_of(source_measurement)?;
    match Kind::of(source_measurement) {
        Kind::Bar => {
            let source: Timeframe = timeframe_of(source_measurement)?.parse().ok()?;
            (target.is_filled_by(&source) && !source.is_filled_by(&target))
                .then(|| bar_measurement(timeframe, symbol))
        }
        Kind::Tick => Some(bar_measurement(timeframe, symbol)),
        Kind::Book | Kind::Signal | Kind::Metric | Kind::Other => None,
    }
}

/// The typed measurement of a line's key: `bar,symbol=S,timeframe=T` becomes `bar.T.S`, `tick,symbol=S` becomes
/// `tick.S`, `book,symbol=S` `book.S`, `signal,strategy=X` `signal.X`, `metric,component=C` (or `metrics`)
/// `metric.C`; the tags that went into the name are left out, the others stay. What does not fit (a tag is
/// missing, an unknown timeframe) is given back unchanged: it is the free measurement that it names.
#[must_use]
pub fn typed_key(mut key: SeriesKey) -> SeriesKey {
    let Some((kind, tags)) = tags_of_kind(&key.measurement) else { return key };
    let mut name = String::from(kind);
    for tag in tags {
        let Some(value) = key.tag(tag) else { return key };
        if *tag == "timeframe" && value.parse::<Timeframe>().is_err() {
            return key;
        }
        name.push('.');
        name.push_str(value);
    }
    key.measurement = name;
    key.tags.retain(|(k, _)| !tags.contains(&k.as_str()));
    key
}

/// The kind that a line's measurement names, and the tags that go into the name of the typed one. `None`: the name stays as it is.
pub fn tags_of_kind(measurement: &str) -> Option<(&'static str, &'static [&'static str])> {
    Some(match measurement {
        "bar" => ("bar", &["timeframe", "symbol"]),
        "tick" => ("tick", &["symbol"]),
        "book" => ("book", &["symbol"]),
        "signal" => ("signal", &["strategy"]),
        "metric" | "metrics" => ("metric", &["component"]),
        _ => return None,
    })
}
