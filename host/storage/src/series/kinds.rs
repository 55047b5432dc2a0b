//! The kinds of series and how measurements are named: `bar.1m.AAPL`, `tick.AAPL`, `book.AAPL`, `signal.NAME`, `metric.COMPONENT`.

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
    pub fn of(measurement: &str) -> Self {
        match measurement.split('.').next() {
            Some("bar") => Self::Bar,
            Some("tick") => Self::Tick,
            Some("book") => Self::Book,
            Some("signal") => Self::Signal,
            Some("metric") => Self::Metric,
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
}
