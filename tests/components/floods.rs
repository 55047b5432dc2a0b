//! Logs a million lines and proposes more actions than a call may; the configuration sets other numbers.

use hostile::{Action, Cursor, DropBefore, Error, Guest, PlanResult, done, key, log, number};

const LINES: u64 = 1_000_000;
const ACTIONS: u64 = 20_000;

struct Floods;

impl Guest for Floods {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        for i in 0..number("lines").unwrap_or(LINES) {
            log::write(log::Level::Info, &format!("line {i}"));
        }
        let drop = Action::DropBefore(DropBefore { key: key("market", "tick.FLOOD"), before: 0 });
        done((0..number("actions").unwrap_or(ACTIONS)).map(|_| drop.clone()).collect())
    }
}

hostile::export!(Floods);
