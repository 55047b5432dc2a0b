//! Opens reads and never closes one.

use hostile::{Cursor, Error, Guest, PlanResult, TimeRange, all, series};

struct Hoards;

impl Guest for Hoards {
    fn plan(cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        let first = all(&cursor)
            .into_iter()
            .next()
            .ok_or_else(|| Error::NotFound("there is no series to open".into()))?;
        loop {
            let range = TimeRange { start: i64::MIN, end: i64::MAX };
            let scan = series::open_scan(&first.key, range, &[])?;
            std::mem::forget(scan);
        }
    }
}

hostile::export!(Hoards);
