//! Panics, which is a trap.

use hostile::{Cursor, Error, Guest, PlanResult};

struct Traps;

impl Guest for Traps {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        panic!("on purpose")
    }
}

hostile::export!(Traps);
