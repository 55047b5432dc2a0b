//! The time that ages of files count from. A wall clock that jumps ahead must not make everything old: nothing here has a time that
//! came from elsewhere, as points of series have, so what counts is how much time this process saw pass.

use crate::error::Result;
use crate::locks::lock;
use crate::sqlite::Database;
use rusqlite::OptionalExtension as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How far the start of a process may be ahead of the last thing that the host noted before it, in nanoseconds.
const AHEAD_NS: i64 = 86_400_000_000_000;
/// Time passes at most so many times as fast as the machine's own clock says: what a host that was off for long has to catch up with,
/// it does so slowly.
const TIMES_AS_FAST: u32 = 2;

/// What time it is at least, and when that was asked last.
#[derive(Debug)]
pub(super) struct Ages(Mutex<(i64, Instant)>);

impl Ages {
    /// `noted`: the time of the newest entry of before, if there is any.
    pub(super) fn new(noted: Option<i64>, wall: i64, at: Instant) -> Self {
        let start = noted.map_or(wall, |noted| wall.min(noted.saturating_add(AHEAD_NS)));
        Self(Mutex::new((start, at)))
    }

    /// Asks the audit trail, which all that is stored goes through.
    pub(super) fn of(db: &Database) -> Result<Self> {
        let noted = db.read(|c| {
            let newest: Option<i64> = c
                .prepare_cached("SELECT time FROM audit ORDER BY seq DESC LIMIT 1")?
                .query_row([], |r| r.get(0))
                .optional()?;
            // The newest segment was sealed and nothing came since.
            let mut sealed =
                c.prepare_cached("SELECT sealed_at FROM audit_segments ORDER BY id DESC LIMIT 1")?;
            Ok(newest.or(sealed.query_row([], |r| r.get(0)).optional()?))
        })?;
        Ok(Self::new(noted, crate::schema::now_ns(), Instant::now()))
    }

    /// The wall clock's time, or an earlier one, where more time would have passed than can have.
    pub(super) fn now(&self, wall: i64, at: Instant) -> i64 {
        let mut last = lock(&self.0);
        let (known, asked) = *last;
        let passed = at.saturating_duration_since(asked).saturating_mul(TIMES_AS_FAST);
        let most = known.saturating_add(nanos(passed));
        *last = (wall.min(most), at.max(asked));
        last.0
    }
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;
    const NOW: i64 = 1_800_000_000_000_000_000;

    fn later(from: Instant, hours: u64) -> Instant {
        from + Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn a_clock_that_goes_right_is_believed() {
        let begin = Instant::now();
        let ages = Ages::new(Some(NOW - HOUR), NOW, begin);
        assert_eq!(ages.now(NOW, begin), NOW);
        assert_eq!(ages.now(NOW + HOUR, later(begin, 1)), NOW + HOUR);
        assert_eq!(ages.now(NOW + 100 * HOUR, later(begin, 100)), NOW + 100 * HOUR);
        assert_eq!(ages.now(NOW, later(begin, 101)), NOW, "it was set back");
        assert_eq!(
            Ages::new(None, NOW, begin).now(NOW, begin),
            NOW,
            "an empty host has nothing that could go"
        );
    }

    #[test]
    fn a_clock_that_jumps_ahead_ages_nothing() {
        let begin = Instant::now();
        let ages = Ages::new(Some(NOW), NOW, begin);
        assert_eq!(ages.now(i64::MAX, begin), NOW);
        assert_eq!(ages.now(i64::MAX, later(begin, 1)), NOW + 2 * HOUR);
        // What was put meanwhile has the wrong time, and is not believed either.
        assert_eq!(ages.now(i64::MAX, later(begin, 24)), NOW + 48 * HOUR);
        assert_eq!(ages.now(NOW + 25 * HOUR, later(begin, 25)), NOW + 25 * HOUR, "it was set right");
        assert_eq!(ages.now(NOW + 26 * HOUR, begin), NOW + 25 * HOUR, "an earlier asker that was overtaken");
    }

    #[test]
    fn a_start_after_a_long_time_catches_up() {
        let begin = Instant::now();
        let ages = Ages::new(Some(NOW - 100 * HOUR), NOW, begin);
        assert_eq!(ages.now(NOW, begin), NOW - 76 * HOUR);
        assert_eq!(ages.now(NOW + 75 * HOUR, later(begin, 75)), NOW + 74 * HOUR);
        assert_eq!(ages.now(NOW + 76 * HOUR, later(begin, 76)), NOW + 76 * HOUR);
        // At the edge of a day.
        assert_eq!(Ages::new(Some(NOW - AHEAD_NS), NOW, begin).now(NOW, begin), NOW);
        assert_eq!(Ages::new(Some(NOW - AHEAD_NS - 1), NOW, begin).now(NOW, begin), NOW - 1);
    }
}
