//! Spends its time in host calls, for ever: hardly an instruction of its own runs.

use hostile::{Cursor, Error, Guest, PlanResult, config, series};

struct Blocks;

impl Guest for Blocks {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        loop {
            let _ = std::hint::black_box(series::list("market", "*", None, 10_000));
            std::hint::black_box(config::get());
        }
    }
}

hostile::export!(Blocks);
