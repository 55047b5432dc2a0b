//! When a plugin is due. A cron line follows the wall clock of its zone; an interval counts from the run before. Runs that
//! were missed while the host was down are caught up with one run, or with none.

use crate::plugins::{Plugins, Slot};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use shiphold_storage::manifest::Schedule;
use shiphold_storage::schema::now_ns;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The longest sleep: a clock that was set is noticed by then.
const SLEEP_MAX: Duration = Duration::from_secs(20);

/// The next time after `last` that is not before `now` (for an interval: the first multiple of it), in nanoseconds.
pub(crate) fn next(schedule: &Schedule, zone: &str, last: i64, now: i64) -> Option<i64> {
    match schedule {
        Schedule::Every(span) => {
            let every = span.as_nanos_i64().max(1);
            let due = last.saturating_add(every);
            if due >= now {
                return Some(due);
            }
            let missed = (i128::from(now) - i128::from(due)) / i128::from(every);
            i64::try_from(i128::from(due) + missed * i128::from(every) + i128::from(every)).ok()
        }
        Schedule::Cron(line) => {
            let cron: croner::Cron = line.parse().ok()?;
            let zone: Tz = zone.parse().ok()?;
            let from = DateTime::<Utc>::from_timestamp_nanos(last.max(now)).with_timezone(&zone);
            cron.find_next_occurrence(&from, false).ok()?.timestamp_nanos_opt()
        }
    }
}

/// Was a run due between `last` and `now`?
pub(crate) fn missed(schedule: &Schedule, zone: &str, last: i64, now: i64) -> bool {
    match schedule {
        Schedule::Every(span) => last.saturating_add(span.as_nanos_i64()) <= now,
        Schedule::Cron(_) => next(schedule, zone, last, last).is_some_and(|due| due <= now),
    }
}

/// Follows one plugin's schedule until the host ends.
pub(crate) async fn follow(plugins: Arc<Plugins>, slot: Arc<Slot>, mut shutdown: watch::Receiver<bool>) {
    let (Some(schedule), zone) = (slot.plugin.schedule.clone(), slot.plugin.timezone.clone()) else { return };
    let name = slot.plugin.name.clone();
    let note = |due: i64| {
        if let Err(e) = plugins.layer().plugins().set_last_due(&name, due) {
            tracing::error!(plugin = name, error = ?e, "the time of a run could not be noted");
        }
    };
    let remembered = plugins.layer().plugins().state(&name).ok().and_then(|s| s.last_due);
    let mut last = match remembered {
        Some(last) if missed(&schedule, &zone, last, now_ns()) => {
            let now = now_ns();
            note(now);
            if slot.plugin.catch_up {
                tracing::info!(
                    plugin = name,
                    "runs were missed while the host was down: one of them runs now"
                );
                start(&plugins, &slot, "catch-up");
            }
            now
        }
        Some(last) => last,
        None => {
            let now = now_ns();
            note(now);
            now
        }
    };
    while let Some(due) = next(&schedule, &zone, last, now_ns()) {
        loop {
            let left = Duration::from_nanos(u64::try_from(due.saturating_sub(now_ns())).unwrap_or(0));
            if left.is_zero() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(SLEEP_MAX)) => {}
                _ = shutdown.changed() => return,
            }
        }
        note(due);
        start(&plugins, &slot, "schedule");
        last = due;
    }
    tracing::warn!(plugin = name, "its schedule has no next time");
}

/// A task of its own: a run that takes longer than its interval must be seen as going on.
fn start(plugins: &Arc<Plugins>, slot: &Arc<Slot>, trigger: &'static str) {
    let (plugins, slot) = (plugins.clone(), slot.clone());
    tokio::spawn(async move { plugins.run_due(&slot, trigger).await });
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::units::Span;

    fn ns(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
    }

    #[test]
    fn intervals_count_from_the_run_before() {
        let every = Schedule::Every(Span::from_secs(10));
        let s = 1_000_000_000;
        assert_eq!(next(&every, "UTC", 0, 0), Some(10 * s));
        assert_eq!(next(&every, "UTC", 0, 10 * s), Some(10 * s));
        assert_eq!(next(&every, "UTC", 0, 35 * s), Some(40 * s), "missed ones are not run one after another");
        assert!(missed(&every, "UTC", 0, 10 * s) && !missed(&every, "UTC", 0, 10 * s - 1));
        assert_eq!(next(&every, "UTC", i64::MAX - 1, 0), Some(i64::MAX));
    }

    #[test]
    fn cron_follows_the_clock_of_its_zone() {
        let cron = Schedule::Cron("15 3 * * *".into());
        for (from, want) in [
            ("2026-06-26T07:14:59Z", "2026-06-26T07:15:00Z"),
            ("2026-06-26T07:15:00Z", "2026-06-27T07:15:00Z"),
            ("2026-12-01T00:00:00Z", "2026-12-01T08:15:00Z"),
        ] {
            assert_eq!(next(&cron, "America/New_York", ns(from), ns(from)), Some(ns(want)), "{from}");
        }
        assert!(missed(&cron, "UTC", ns("2026-06-26T03:00:00Z"), ns("2026-06-26T03:15:00Z")));
        assert!(!missed(&cron, "UTC", ns("2026-06-26T03:15:00Z"), ns("2026-06-27T03:14:00Z")));
        assert_eq!(next(&Schedule::Cron("nonsense".into()), "UTC", 0, 0), None);
    }

    #[test]
    fn an_hour_that_does_not_exist_is_not_waited_for_in_vain() {
        // Clocks in New York go from 02:00 to 03:00 on 8 March 2026.
        let cron = Schedule::Cron("30 2 * * *".into());
        let due =
            next(&cron, "America/New_York", ns("2026-03-08T06:00:00Z"), ns("2026-03-08T06:00:00Z")).unwrap();
        assert!(due > ns("2026-03-08T06:00:00Z") && due <= ns("2026-03-09T06:30:00Z"), "{due}");
    }
}
