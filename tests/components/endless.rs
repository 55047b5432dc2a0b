//! Always has more to say, and never says it.

use hostile::{Cursor, Guest, PlanResult};

struct Endless;

impl Guest for Endless {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, String> {
        Ok(PlanResult { actions: Vec::new(), more: true })
    }
}

hostile::export!(Endless);
