//! Never comes back.

use hostile::{Cursor, Error, Guest, PlanResult};

struct Loops;

impl Guest for Loops {
    fn plan(_cursor: Cursor, now: i64) -> Result<PlanResult, Error> {
        let mut turns = now;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

hostile::export!(Loops);
