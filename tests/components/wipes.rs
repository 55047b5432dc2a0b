//! Wants everything dropped: every series that it sees, and one that it cannot see.

use hostile::{Action, Cursor, DropBefore, Error, Guest, PlanResult, all, done, key};

const YEAR_NS: i64 = 365 * 86_400_000_000_000;

struct Wipes;

impl Guest for Wipes {
    fn plan(cursor: Cursor, now: i64) -> Result<PlanResult, Error> {
        let before = now.saturating_add(YEAR_NS);
        let seen = all(&cursor).into_iter().map(|s| s.key);
        let hidden = [key("market", "bar.1d.HIDDEN")];
        done(seen.chain(hidden).map(|key| Action::DropBefore(DropBefore { key, before })).collect())
    }
}

hostile::export!(Wipes);
