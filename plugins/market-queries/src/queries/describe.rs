//! What callers see of the queries before they ask.

use super::{ROLLING_VOLATILITY, SESSION_BARS, TRADES_TO_QUOTES, VWAP};
use crate::config::Config;
use crate::volatility::WINDOW_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Text,
    Integer,
    Float,
    Timestamp,
    Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: &'static str,
    pub of: Type,
    pub required: bool,
    pub description: String,
    /// As JSON.
    pub default: Option<String>,
}

impl Param {
    fn required(name: &'static str, of: Type, description: &str) -> Self {
        Self { name, of, required: true, description: description.into(), default: None }
    }

    fn optional(name: &'static str, of: Type, description: &str) -> Self {
        Self { required: false, ..Self::required(name, of, description) }
    }

    fn with_default(self, json: &str) -> Self {
        Self { default: Some(json.into()), ..self }
    }
}

/// A query; every one of them transforms its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: &'static str,
    pub description: &'static str,
    pub params: Vec<Param>,
}

/// The queries that a configuration allows.
pub fn describe(config: &Config) -> Vec<Named> {
    let mut queries = vec![vwap(), trades_to_quotes(), rolling_volatility()];
    queries.extend(session_bars(config));
    queries
}

fn vwap() -> Named {
    let every = "The length of a window; windows are counted from 1970-01-01T00:00:00Z.";
    Named {
        name: VWAP,
        description: "The volume-weighted average price of each window that has trades. The row's time is the window's \
                      start; columns: vwap, volume, trades (how many).",
        params: [
            symbol(),
            range(),
            vec![Param::optional("every", Type::Duration, every).with_default("\"5 min\"")],
        ]
        .concat(),
    }
}

fn trades_to_quotes() -> Named {
    let tolerance = "How old a quote may be; an older one is none.";
    Named {
        name: TRADES_TO_QUOTES,
        description: "Each trade beside the last quote (first level of the book) at or before it. Columns: price, size, \
                      bid, ask, mid, age_ns (how old the quote is), effective_spread = 2·|price − mid|; no value where \
                      there is no quote. Needs `bucket` in the plugin's configuration.",
        params: [
            symbol(),
            range(),
            vec![Param::optional("tolerance", Type::Duration, tolerance).with_default("\"5 s\"")],
        ]
        .concat(),
    }
}

fn rolling_volatility() -> Named {
    let window = format!("Returns of one deviation: 2 to {WINDOW_MAX}.");
    let periods = "Bars of a year, by which the deviation is annualised: 252 for daily bars of a stock exchange, 365 for \
                   a market that never closes.";
    let params = vec![
        Param::optional("timeframe", Type::Text, "Of the bars: `1m`, `1h`, `1d`.").with_default("\"1d\""),
        Param::optional("window", Type::Integer, &window).with_default("20"),
        Param::optional("periods_per_year", Type::Float, periods).with_default("252"),
    ];
    Named {
        name: ROLLING_VOLATILITY,
        description: "The annualised standard deviation (of a sample) of the last `window` logarithmic returns, for each \
                      bar. Columns: close, log_return, volatility; the first `window` bars of the range have no \
                      volatility yet: start earlier by that much.",
        params: [symbol(), params, range()].concat(),
    }
}

fn session_bars(config: &Config) -> Option<Named> {
    let first = config.calendars.first()?;
    let known: Vec<&str> = config.calendars.iter().map(|c| c.name.as_str()).collect();
    // A list of 32 names of 64 characters of four bytes would be longer than the host takes.
    let mut calendar = format!("The trading calendar; there are {}", known.join(", "));
    if calendar.len() > DESCRIPTION_BYTES_MAX {
        calendar = format!("The trading calendar, one of {}.", known.len());
    }
    let default = serde_json::Value::String(first.name.clone()).to_string();
    Some(Named {
        name: SESSION_BARS,
        description: "One bar per trading session, from one-minute bars. Every session that opens within the range is \
                      whole. The row's time is the session's open; columns: open, high, low, close, volume, bars (how \
                      many minutes had one).",
        params: [
            symbol(),
            vec![Param::optional("calendar", Type::Text, &calendar).with_default(&default)],
            range(),
        ]
        .concat(),
    })
}

/// Bytes of a parameter's description; the host's bound.
const DESCRIPTION_BYTES_MAX: usize = 1_024;

fn symbol() -> Vec<Param> {
    vec![Param::required("symbol", Type::Text, "The symbol, such as AAPL; no pattern.")]
}

fn range() -> Vec<Param> {
    vec![
        Param::optional("start", Type::Timestamp, "Where the range starts; without it at the first row."),
        Param::optional(
            "end",
            Type::Timestamp,
            "The first instant after the range; without it there is no end.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CALENDARS;

    #[test]
    fn without_calendars_there_are_no_session_bars() {
        let names = |config: &Config| -> Vec<&str> { describe(config).iter().map(|q| q.name).collect() };
        let three = ["vwap", "trades-to-quotes", "rolling-volatility"];
        assert_eq!(names(&Config::default()), three);
        let config = Config::parse(CALENDARS).unwrap();
        assert_eq!(names(&config), [&three[..], &["session-bars"]].concat());
        let bars = describe(&config).pop().unwrap();
        let calendar = bars.params.iter().find(|p| p.name == "calendar").unwrap();
        assert_eq!(calendar.default.as_deref(), Some("\"nyse\""));
        assert!(calendar.description.contains("nyse, futures"));
    }

    #[test]
    fn what_the_host_asks_of_a_description() {
        let mut config = Config::parse(CALENDARS).unwrap();
        let long = crate::calendar::Calendar { name: "𝔸".repeat(64), ..config.calendars[0].clone() };
        config.calendars = vec![long; 32];
        for query in describe(&config) {
            assert!(query.description.len() <= 4_096);
            let mut names: Vec<&str> = query.params.iter().map(|p| p.name).collect();
            assert_eq!(names.first(), Some(&"symbol"));
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), query.params.len());
            for param in query.params {
                assert!(param.description.len() <= DESCRIPTION_BYTES_MAX);
                assert!(!param.required || param.default.is_none());
                if let Some(default) = param.default {
                    serde_json::from_str::<serde_json::Value>(&default).unwrap();
                }
            }
        }
    }
}
