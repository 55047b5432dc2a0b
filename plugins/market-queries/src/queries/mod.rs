//! The queries by their names: what they are called with, what they ask of the host, which fold their answer goes through.

use crate::config::Config;
use crate::frame::Frame;
use crate::params::{Params, given};
use crate::quotes::{Market, TradesToQuotes};
use crate::sessions::{self, SessionBars};
use crate::volatility::Volatility;
use crate::vwap::Vwap;
use serde::Serialize;

mod describe;
pub use describe::{Named, Param, Type, describe};

const VWAP: &str = "vwap";
const TRADES_TO_QUOTES: &str = "trades-to-quotes";
const ROLLING_VOLATILITY: &str = "rolling-volatility";
const SESSION_BARS: &str = "session-bars";

const TRADE_FIELDS: &[&str] = &["price", "size"];

/// What the host is asked for: its query AST as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Ask {
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    measurement: String,
    fields: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
}

enum Fold {
    Vwap(Vwap),
    TradesToQuotes(TradesToQuotes),
    Volatility(Volatility),
    SessionBars(SessionBars),
}

/// One call of a query, from `build` to the last batch.
pub struct Question {
    ask: Ask,
    fold: Fold,
}

impl Question {
    /// An error is the sentence that the caller reads.
    pub fn new(config: &Config, name: &str, params: &str) -> Result<Self, String> {
        let params = Params::parse(params)?;
        let Params { symbol, start, end, .. } = &params;
        let ask = |measurement, fields, end| Ask {
            bucket: config.bucket.clone(),
            measurement,
            fields,
            start: *start,
            end,
        };
        match name {
            VWAP => Ok(Self {
                ask: ask(format!("tick.{symbol}"), TRADE_FIELDS, *end),
                fold: Fold::Vwap(Vwap::new(given("every", params.every)?)?),
            }),
            TRADES_TO_QUOTES => {
                let bucket = config.bucket.clone().ok_or_else(|| {
                    format!(
                        "`{TRADES_TO_QUOTES}` reads quotes by itself and does not know from where: the operator sets \
                         `bucket` in the plugin's configuration"
                    )
                })?;
                let tolerance = given("tolerance", params.tolerance)?;
                let join = TradesToQuotes::new(bucket, format!("book.{symbol}"), tolerance, *end)?;
                Ok(Self {
                    ask: ask(format!("tick.{symbol}"), TRADE_FIELDS, *end),
                    fold: Fold::TradesToQuotes(join),
                })
            }
            ROLLING_VOLATILITY => {
                let window = given("window", params.window)?;
                let periods = given("periods_per_year", params.periods_per_year)?;
                Ok(Self {
                    ask: ask(format!("bar.{}.{symbol}", params.timeframe()?), &["close"], *end),
                    fold: Fold::Volatility(Volatility::new(window, periods)?),
                })
            }
            SESSION_BARS => {
                let name = given("calendar", params.calendar.as_deref())?;
                let calendar = config.calendars.iter().find(|c| c.name == name).ok_or_else(|| {
                    let known: Vec<&str> = config.calendars.iter().map(|c| c.name.as_str()).collect();
                    format!("there is no calendar `{}`; there are {}", name.escape_debug(), known.join(", "))
                })?;
                let bars = SessionBars::new(calendar.clone(), *start, *end);
                Ok(Self {
                    ask: ask(format!("bar.1m.{symbol}"), &sessions::FIELDS, bars.needed_end()),
                    fold: Fold::SessionBars(bars),
                })
            }
            _ => Err(format!("there is no query `{}`", name.escape_debug())),
        }
    }

    /// The query in the JSON form of the host's query AST.
    pub fn query(&self) -> Result<String, String> {
        serde_json::to_string(&self.ask).map_err(|e| format!("the query cannot be written: {e}"))
    }

    /// The rows of the answer that a batch completes.
    pub fn transform(&mut self, market: &dyn Market, batch: &Frame, last: bool) -> Result<Frame, String> {
        let measurement = &self.ask.measurement;
        // The host says which series a row is of where there are several; the rows of one follow those of another.
        if batch.column("measurement").is_some() {
            return Err(format!(
                "`{measurement}` is several series that differ in their tags; this query reads a symbol that has one"
            ));
        }
        match &mut self.fold {
            Fold::Vwap(fold) => fold.fold(batch, last),
            Fold::TradesToQuotes(fold) => fold.fold(market, batch),
            Fold::Volatility(fold) => fold.fold(batch),
            Fold::SessionBars(fold) => fold.fold(batch, last),
        }
        .map_err(|e| format!("`{measurement}`: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Column, Values};
    use crate::quotes::{Key, Scan};
    use crate::testing::{self, CALENDARS, ns};
    use serde_json::{Value, json};

    struct Empty;

    impl Market for Empty {
        fn find(&self, _: &str, _: &str) -> Result<Vec<(Key, Vec<String>)>, String> {
            Ok(Vec::new())
        }

        fn open(&self, _: &Key, _: i64, _: i64, _: &[&str]) -> Result<Box<dyn Scan>, String> {
            Err("there is nothing to open".into())
        }
    }

    fn question(name: &str, params: Value) -> Result<Question, String> {
        Question::new(&Config::parse(CALENDARS).unwrap(), name, &params.to_string())
    }

    fn query(name: &str, params: Value) -> Value {
        serde_json::from_str(&question(name, params).unwrap().query().unwrap()).unwrap()
    }

    #[test]
    fn what_is_asked_of_the_host() {
        let trades = json!({"bucket": "market", "measurement": "tick.A", "fields": ["price", "size"]});
        assert_eq!(query("vwap", json!({"symbol": "A", "every": 1})), trades);
        assert_eq!(query("trades-to-quotes", json!({"symbol": "A", "tolerance": 0})), trades);
        let daily =
            json!({"symbol": "A", "timeframe": "1d", "window": 20, "periods_per_year": 252, "start": 5});
        assert_eq!(
            query("rolling-volatility", daily),
            json!({"bucket": "market", "measurement": "bar.1d.A", "fields": ["close"], "start": 5})
        );
        // The end is moved to the close of the session that it is in.
        let (noon, close) = (ns("2026-06-26T16:00:00Z"), ns("2026-06-26T20:00:00Z"));
        assert_eq!(
            query("session-bars", json!({"symbol": "A", "calendar": "nyse", "start": 1, "end": noon})),
            json!({"bucket": "market", "measurement": "bar.1m.A", "start": 1, "end": close,
                "fields": ["open", "high", "low", "close", "volume"]})
        );
        let plain = Question::new(&Config::default(), "vwap", r#"{"symbol":"A","every":1}"#).unwrap();
        assert_eq!(plain.query().unwrap(), r#"{"measurement":"tick.A","fields":["price","size"]}"#);
    }

    #[test]
    fn what_cannot_be_asked_is_a_sentence() {
        for (name, params, words) in [
            ("vwap", json!({"symbol": "*", "every": 1}), "`symbol` must be"),
            ("vwap", json!({"symbol": "A"}), "the parameter `every` is missing"),
            ("vwap", json!({"symbol": "A", "every": 0}), "`every` must be longer"),
            ("trades-to-quotes", json!({"symbol": "A", "tolerance": -1}), "`tolerance` must not be"),
            ("rolling-volatility", json!({"symbol": "A"}), "`window` is missing"),
            (
                "rolling-volatility",
                json!({"symbol": "A", "window": 2, "periods_per_year": 1, "timeframe": "*"}),
                "`timeframe`: `*` is none",
            ),
            (
                "session-bars",
                json!({"symbol": "A", "calendar": "lse"}),
                "no calendar `lse`; there are nyse, futures",
            ),
            ("nothing", json!({"symbol": "A"}), "there is no query `nothing`"),
        ] {
            let error = question(name, params).err().unwrap();
            assert!(error.contains(words), "{name}: {error}");
        }
        let join = Question::new(&Config::default(), TRADES_TO_QUOTES, r#"{"symbol":"A","tolerance":1}"#);
        assert!(join.err().unwrap().contains("sets `bucket`"));
    }

    #[test]
    fn answers_go_through_their_fold() {
        let mut vwap = question("vwap", json!({"symbol": "A", "every": 10})).unwrap();
        let batch = testing::frame(["price", "size"], &[(1, [4.0, 1.0]), (2, [8.0, 3.0])]);
        assert!(vwap.transform(&Empty, &batch, false).unwrap().times.is_empty());
        let answer = vwap.transform(&Empty, &Frame::default(), true).unwrap();
        assert_eq!(testing::rows(&[answer]), [(0, vec![Some(7.0), Some(4.0), Some(2.0)])]);
        let mut join = question("trades-to-quotes", json!({"symbol": "A", "tolerance": 1})).unwrap();
        assert_eq!(join.transform(&Empty, &batch, true).unwrap().times, [1, 2]);
    }

    #[test]
    fn several_series_are_refused_and_errors_name_the_measurement() {
        let mut vwap = question("vwap", json!({"symbol": "A", "every": 10})).unwrap();
        let mut batch = testing::frame(["price", "size"], &[(1, [4.0, 1.0])]);
        let values = Values::Strings(vec!["tick.A".into()]);
        batch.columns.push(Column { name: "measurement".into(), values, valid: Vec::new() });
        let error = vwap.transform(&Empty, &batch, true).unwrap_err();
        assert!(error.contains("`tick.A` is several series"), "{error}");
        let error = vwap.transform(&Empty, &testing::frame(["size"], &[(1, [4.0])]), true).unwrap_err();
        assert_eq!(error, "`tick.A`: the answer lacks the field `price`");
    }
}
