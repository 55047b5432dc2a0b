//! Imports a clock and random bytes, whoever grants them.

use hostile::{Cursor, Guest, PlanResult, clock, done, random};

struct Greedy;

impl Guest for Greedy {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, String> {
        let bytes = random::bytes(8).map_err(|e| e.message)?;
        std::hint::black_box((clock::now(), bytes));
        done(Vec::new())
    }
}

hostile::export!(Greedy);
