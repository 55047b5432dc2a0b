//! Opens reads and never closes one.

use hostile::{Cursor, Guest, PlanResult, TimeRange, all, series};

struct Hoards;

impl Guest for Hoards {
    fn plan(cursor: Cursor, _now: i64) -> Result<PlanResult, String> {
        let first = all(&cursor).into_iter().next().ok_or("there is no series to open")?;
        loop {
            let range = TimeRange { start: i64::MIN, end: i64::MAX };
            let scan =
                series::open_scan(&first.key, range, &[]).map_err(|e| format!("open-scan: {}", e.message))?;
            std::mem::forget(scan);
        }
    }
}

hostile::export!(Hoards);
