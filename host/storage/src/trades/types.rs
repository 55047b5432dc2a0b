//! What the trading record holds, and the bounds of its parts.

use super::number::Number;
use crate::error::{Error, Result};
use crate::series::query::parse_time;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;

/// Bytes of the name of an instrument, of an alias and of a chain of futures.
pub const INSTRUMENT_BYTES_MAX: usize = 64;
/// Bytes of the name of an account.
pub const ACCOUNT_BYTES_MAX: usize = 64;
/// Bytes of an id that a client chose, and of one of a broker.
pub const CLIENT_ID_BYTES_MAX: usize = 128;
/// Bytes of a reason, and of the name of a broker.
pub const TEXT_BYTES_MAX: usize = 1_000;
/// Bytes of what an order's skill saw, as JSON.
pub const SIGNAL_BYTES_MAX: usize = 8 << 10;
/// Accounts that there may be.
pub const ACCOUNTS_MAX: i64 = 10_000;
/// Instruments that there may be.
pub const INSTRUMENTS_MAX: i64 = 1_000_000;
/// Rows of a batch: orders, events, fills and movements of cash together.
pub const BATCH_ROWS_MAX: usize = 50_000;
/// Versions of one fill, or of one movement of cash, after its first.
pub const CORRECTIONS_MAX: usize = 100;
/// What may be said of one order.
pub const EVENTS_MAX: usize = 1_000;
/// Changes of the terms of one instrument, its other names, its splits and dividends, and the contracts of one chain: of each so many,
/// with those that were taken back.
pub const CHANGES_MAX: usize = 1_000;
/// Rows of a page.
pub const PAGE_MAX: u64 = 10_000;
/// Pieces of one order or fill: a quadrillion less one.
pub const QUANTITY_MAX: Number = Number::whole(999_999_999_999_999);
/// Price of a piece, without its sign.
pub const PRICE_MAX: Number = Number::whole(1_000_000_000_000);
/// What one fill or movement of cash may be worth: a sum of a million of them still can be held.
pub const VALUE_MAX: Number = Number::whole(100_000_000_000_000);
/// Pieces of a multiplier.
pub const MULTIPLIER_MAX: Number = Number::whole(1_000_000_000);
/// Pieces before and after a split.
pub const SPLIT_MAX: i64 = 1_000_000;
/// How far in the future something may have happened: clocks differ.
pub const AHEAD_MAX_NS: i64 = 86_400_000_000_000;

/// A time as it comes in: nanoseconds since the Unix epoch, or a text with a date. `now()` is none: sent again it would be another.
pub(super) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Read;
    impl Visitor<'_> for Read {
        type Value = i64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time: nanoseconds since the Unix epoch, or RFC 3339")
        }
        fn visit_i64<E: de::Error>(self, time: i64) -> Result<i64, E> {
            Ok(time)
        }
        fn visit_u64<E: de::Error>(self, time: u64) -> Result<i64, E> {
            i64::try_from(time).map_err(|_| E::custom("the time is too far away"))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            if text.trim_start().starts_with("now") {
                return Err(E::custom("`now()` is not a time at which something happened"));
            }
            parse_time("time", text, chrono_tz::UTC).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Read)
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Buy,
    Sell,
}

/// Written as it is in JSON, and read back from a column.
macro_rules! words {
    ($type:ty: $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            pub(super) fn read(word: &str) -> Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(Error::corrupt(format!("`{}` is no {}", other.escape_debug(), stringify!($type)))),
                }
            }
        }
    };
}

/// What an instrument is; of futures only the profit is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstrumentKind {
    Equity,
    Fund,
    Bond,
    Option,
    Future,
    Currency,
    Crypto,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderType {
    Market,
    Limit,
    Stop,
    StopLimit,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeInForce {
    #[default]
    Day,
    Gtc,
    Ioc,
    Fok,
    Gtd,
    Opg,
    Cls,
}

/// Why money came or went without a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CashKind {
    Deposit,
    Withdrawal,
    Fee,
    /// Received, or below zero paid on what was sold short.
    Dividend,
    Interest,
    Tax,
    Other,
}

words!(Side: Buy = "buy", Sell = "sell");
words!(InstrumentKind: Equity = "equity", Fund = "fund", Bond = "bond", Option = "option", Future = "future",
       Currency = "currency", Crypto = "crypto", Other = "other");
words!(OrderType: Market = "market", Limit = "limit", Stop = "stop", StopLimit = "stop-limit", Other = "other");
words!(TimeInForce: Day = "day", Gtc = "gtc", Ioc = "ioc", Fok = "fok", Gtd = "gtd", Opg = "opg", Cls = "cls");
words!(CashKind: Deposit = "deposit", Withdrawal = "withdrawal", Fee = "fee", Dividend = "dividend",
       Interest = "interest", Tax = "tax", Other = "other");

/// An account at a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub name: String,
    /// In which its performance is counted: `USD`.
    pub currency: String,
    #[serde(default)]
    pub broker: Option<String>,
}

/// An order as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    pub client_id: String,
    /// Its name, or an alias that was valid when the order was placed.
    pub instrument: String,
    pub side: Side,
    #[serde(rename = "type")]
    pub kind: OrderType,
    pub quantity: Number,
    #[serde(default)]
    pub limit_price: Option<Number>,
    #[serde(default)]
    pub stop_price: Option<Number>,
    #[serde(default)]
    pub time_in_force: TimeInForce,
    /// The skill that gave it, with its version.
    #[serde(default)]
    pub skill: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    /// What the skill saw.
    #[serde(default)]
    pub signal: Value,
    /// When it was placed, in nanoseconds since the Unix epoch.
    #[serde(deserialize_with = "moment")]
    pub time: i64,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// Client id of the order.
    pub order: String,
    pub state: EventState,
    #[serde(deserialize_with = "moment")]
    pub time: i64,
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is said of an order; that it was filled is what its fills say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventState {
    Submitted,
    Accepted,
    CancelRequested,
    Cancelled,
    Rejected,
    Expired,
}
words!(EventState: Submitted = "submitted", Accepted = "accepted", CancelRequested = "cancel-requested",
       Cancelled = "cancelled", Rejected = "rejected", Expired = "expired");

/// A fill, or the correction of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFill {
    /// The same id with the same content is recorded once; with other content it is refused.
    pub client_id: String,
    pub instrument: String,
    pub side: Side,
    pub quantity: Number,
    pub price: Number,
    /// In the currency of the instrument; below zero: it was paid to the account.
    #[serde(default)]
    pub fee: Number,
    #[serde(deserialize_with = "moment")]
    pub time: i64,
    /// Client id of its order, which may be recorded later.
    #[serde(default)]
    pub order: Option<String>,
    #[serde(default)]
    pub broker_id: Option<String>,
    /// Client id of the fill in whose place this one counts from now on.
    #[serde(default)]
    pub corrects: Option<String>,
    /// Of a correction: there was no such fill.
    #[serde(default)]
    pub void: bool,
    #[serde(default)]
    pub reason: Option<String>,
}

/// Money that came or went, or the correction of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCash {
    pub client_id: String,
    pub currency: String,
    pub kind: CashKind,
    /// Of deposits, withdrawals, fees and taxes without a sign; of others below zero where it was paid.
    pub amount: Number,
    #[serde(deserialize_with = "moment")]
    pub time: i64,
    #[serde(default)]
    pub instrument: Option<String>,
    #[serde(default)]
    pub corrects: Option<String>,
    #[serde(default)]
    pub void: bool,
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is recorded together, whole or not at all: orders first, then fills, then events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    pub account: String,
    pub orders: Vec<NewOrder>,
    pub fills: Vec<NewFill>,
    pub events: Vec<NewEvent>,
    pub cash: Vec<NewCash>,
}

/// A row of a batch: one that was recorded now, or by an earlier request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub client_id: String,
    pub seq: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Of a fill: its order had ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// What became of a batch, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// Rows that were recorded now.
    pub recorded: u64,
    pub orders: Vec<Recorded>,
    pub fills: Vec<Recorded>,
    pub events: Vec<Recorded>,
    pub cash: Vec<Recorded>,
}

/// As of which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AsOf {
    /// Only what had happened by then, in nanoseconds; default: all.
    pub at: Option<i64>,
    /// Only what had been recorded by then; default: all.
    pub known_at: Option<i64>,
}
