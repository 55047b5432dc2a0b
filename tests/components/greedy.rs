//! Imports a clock and random bytes, whoever grants them.

use hostile::{Cursor, Error, Guest, PlanResult, clock, done, random};

struct Greedy;

impl Guest for Greedy {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        let bytes = random::bytes(8)?;
        std::hint::black_box((clock::now(), bytes));
        done(Vec::new())
    }
}

hostile::export!(Greedy);
