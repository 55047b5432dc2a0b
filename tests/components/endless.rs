//! Always has more to say: the same step that drops nothing, for ever.

use hostile::{Action, Cursor, DropBefore, Error, Guest, PlanResult, all};

struct Endless;

impl Guest for Endless {
    fn plan(cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        let book = all(&cursor).into_iter().find(|s| s.key.measurement.starts_with("book."));
        let drop = |s: hostile::SeriesSummary| Action::DropBefore(DropBefore { before: s.first, key: s.key });
        Ok(PlanResult { actions: book.map(drop).into_iter().collect(), more: true })
    }
}

hostile::export!(Endless);
