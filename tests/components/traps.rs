//! Panics, which is a trap.

use hostile::{Cursor, Guest, PlanResult};

struct Traps;

impl Guest for Traps {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, String> {
        panic!("on purpose")
    }
}

hostile::export!(Traps);
