//! Always has more to say: the same step that drops nothing, for ever.

use hostile::{Action, Cursor, DropBefore, Guest, PlanResult, all};

struct Endless;

impl Guest for Endless {
    fn plan(cursor: Cursor, _now: i64) -> Result<PlanResult, String> {
        let book = all(&cursor).into_iter().find(|s| s.key.measurement.starts_with("book."));
        let drop = |s: hostile::SeriesSummary| Action::DropBefore(DropBefore { before: s.first, key: s.key });
        Ok(PlanResult { actions: book.map(drop).into_iter().collect(), more: true })
    }
}

hostile::export!(Endless);
