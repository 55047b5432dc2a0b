//! The trading record: accounts, instruments, orders, fills and movements of cash, each row written once. Positions, cost, profit and
//! cash are sums of it and are stored nowhere but in a cache that can be made anew ([`states`]).
//!
//! - What is recorded in one transaction is a batch with a time of its own, later than every other ([`writing`]). So everything can be
//!   asked as of the moment at which it happened, and as of the moment at which it was known.
//! - A correction is a row that takes the place of an earlier one from its batch on; nothing is changed in place.
//! - The audit trail has an entry for each batch, with a digest of its rows.

mod accounts;
mod actions;
mod adjust;
mod bars;
mod cash;
mod check;
mod fills;
mod fold;
mod instruments;
mod lists;
mod machine;
mod number;
mod orders;
mod performance;
mod positions;
mod record;
mod statements;
mod states;
mod types;
mod writing;

#[cfg(test)]
mod tests;

pub use actions::{Action, ActionKind, NewAction, NewRoll, Roll};
pub use adjust::{Adjust, BarsQuery, RollBy};
pub use bars::BARS_MAX;
pub use fold::{State as PositionState, Terms};
pub use instruments::{Alias, Instrument, NewInstrument, NewTerms};
pub use lists::{CashRow, Fill, ListFilter, PAGE_EVENTS_MAX};
pub use machine::OrderState;
pub use number::{DIGITS, Number, WHOLE_DIGITS_MAX};
pub use orders::{Order, OrderEvent};
pub use performance::{DAYS_MAX, FILLS_MAX, PerformanceQuery, SkillPerformance};
pub use positions::{Balance, Position, Positions, PositionsQuery};
pub use statements::{
    DIFFERENCES_MAX, Difference, DifferenceKind, LINES_MAX, Mapping, NewStatement, Resolution, Resolve,
    SKIP_LINES_MAX, STATEMENT_BYTES_MAX, Statement, Theirs, WORDS_MAX,
};
pub use states::{STATE_EVERY, STEP_FILLS_MAX};
pub use types::{
    ACCOUNT_BYTES_MAX, ACCOUNTS_MAX, AHEAD_MAX_NS, Account, AsOf, BATCH_ROWS_MAX, Batch, BatchAnswer,
    CHANGES_MAX, CLIENT_ID_BYTES_MAX, CORRECTIONS_MAX, CashKind, EVENTS_MAX, EventState,
    INSTRUMENT_BYTES_MAX, INSTRUMENTS_MAX, InstrumentKind, MULTIPLIER_MAX, NewCash, NewEvent, NewFill,
    NewOrder, OrderType, PAGE_MAX, PRICE_MAX, QUANTITY_MAX, Recorded, SIGNAL_BYTES_MAX, SPLIT_MAX, Side,
    TEXT_BYTES_MAX, TimeInForce, VALUE_MAX,
};

use crate::sqlite::Database;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The trading record of a host.
#[derive(Debug)]
pub struct Trades {
    db: Arc<Database>,
    /// States may wait for being made.
    stale: AtomicBool,
}

impl Trades {
    pub fn new(db: Arc<Database>) -> Self {
        // What an earlier process left is looked for once.
        Self { db, stale: AtomicBool::new(true) }
    }
}
