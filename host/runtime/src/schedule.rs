//! When a plugin is due. A cron line follows the wall clock of its zone; an interval counts from the run before. Runs that
//! were missed while the host was down are caught up with one run, or with none.

use crate::plugins::Plugins;
use crate::run;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use shiphold_storage::manifest::Schedule;
use shiphold_storage::schema::now_ns;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest sleep: a clock that was set is noticed by then.
const SLEEP_MAX: Duration = Duration::from_secs(20);

/// A clock that went back by more than this was set; by less, it was corrected, and nothing is run twice for it.
const STEP_BACK_NS_MAX: i64 = 3_600_000_000_000;

fn went_back(before: i64, now: i64) -> bool {
    before.saturating_sub(now) > STEP_BACK_NS_MAX
}

/// The next time after `last` that is not before `now` (for an interval: the first multiple of it), in nanoseconds.
pub(crate) fn next(schedule: &Schedule, zone: &str, last: i64, now: i64) -> Option<i64> {
    // A run of the future was noted by a clock that was wrong: waiting for it could take years.
    let last = if went_back(last, now) { now } else { last };
    match schedule {
        Schedule::Every(span) => {
            let every = span.as_nanos_i64().max(1);
            let due = last.saturating_add(every);
            if due >= now {
                return Some(due);
            }
            let (now, due, every) = (i128::from(now), i128::from(due), i128::from(every));
            let missed = (now - due + every - 1) / every;
            i64::try_from(due + missed * every).ok()
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

/// What a schedule is followed by: a reload that leaves it alone does not touch its task.
#[derive(Debug, Clone, PartialEq)]
struct Plan {
    schedule: Schedule,
    zone: String,
    catch_up: bool,
}

/// Why a schedule is no longer followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// A reload changed it or took it away.
    Replanned,
    Shutdown,
}

fn plans(plugins: &Plugins) -> BTreeMap<String, Plan> {
    let slots = plugins.slots();
    let ready = slots.iter().filter(|(_, s)| s.loaded.is_ok());
    ready
        .filter_map(|(name, slot)| {
            let p = &slot.plugin;
            let schedule = p.schedule.clone()?;
            Some((name.clone(), Plan { schedule, zone: p.timezone.clone(), catch_up: p.catch_up }))
        })
        .collect()
}

/// Follows every plugin's schedule until the host ends; after a reload, those that changed anew.
pub(crate) async fn supervise(plugins: Arc<Plugins>, mut shutdown: watch::Receiver<bool>) {
    let mut changed = plugins.changes();
    let mut followed: BTreeMap<String, (Plan, watch::Sender<Stop>, JoinHandle<()>)> = BTreeMap::new();
    let mut at_start = true;
    loop {
        changed.borrow_and_update();
        let wanted = plans(&plugins);
        let other: Vec<String> =
            followed.iter().filter(|(n, f)| wanted.get(*n) != Some(&f.0)).map(|(n, _)| n.clone()).collect();
        for name in other {
            if let Some((_, stop, task)) = followed.remove(&name) {
                stop.send_replace(Stop::Replanned);
                let _ = task.await;
            }
        }
        for (name, plan) in wanted {
            if followed.contains_key(&name) {
                continue;
            }
            let (stop, stopped) = watch::channel(Stop::No);
            let task = follow(plugins.clone(), name.clone(), plan.clone(), at_start, stopped);
            followed.insert(name, (plan, stop, tokio::spawn(task)));
        }
        at_start = false;
        tokio::select! {
            _ = changed.changed() => {}
            _ = shutdown.wait_for(|down| *down) => break,
        }
    }
    for (_, stop, task) in followed.into_values() {
        stop.send_replace(Stop::Shutdown);
        let _ = task.await;
    }
}

/// Follows one plugin's schedule. Only at the start of the host are missed runs caught up: under a schedule that a reload
/// brought, none was missed.
async fn follow(
    plugins: Arc<Plugins>,
    name: String,
    plan: Plan,
    at_start: bool,
    mut stop: watch::Receiver<Stop>,
) {
    let Plan { schedule, zone, catch_up } = plan;
    let (layer, remembering) = (plugins.layer().clone(), name.clone());
    let remembered =
        run::blocking(move || layer.plugins().state(&remembering)).await.ok().and_then(|s| s.last_due);
    let now = now_ns();
    let mut last = match remembered {
        Some(last) if at_start && missed(&schedule, &zone, last, now) => {
            note(&plugins, &name, now).await;
            if catch_up {
                tracing::info!(
                    plugin = name,
                    "runs were missed while the host was down: one of them runs now"
                );
                start(&plugins, &name, "catch-up");
            }
            now
        }
        Some(last) => last,
        None => {
            note(&plugins, &name, now).await;
            now
        }
    };
    while let Some(due) = next(&schedule, &zone, last, now_ns()) {
        match wait_until(due, &mut stop).await {
            Woken::Due => {
                note(&plugins, &name, due).await;
                start(&plugins, &name, "schedule");
                last = due;
            }
            Woken::ClockWasSet => {}
            Woken::Stopped => return,
        }
    }
    tracing::warn!(plugin = name, "its schedule has no next time");
}

enum Woken {
    Due,
    ClockWasSet,
    Stopped,
}

/// Sleeps until the wall clock says `due`, in steps, because that clock may be set meanwhile.
async fn wait_until(due: i64, stop: &mut watch::Receiver<Stop>) -> Woken {
    let mut seen = now_ns();
    loop {
        let now = now_ns();
        // What fell due while a reload was made ready is not lost.
        if now >= due && *stop.borrow() != Stop::Shutdown {
            return Woken::Due;
        }
        if *stop.borrow() != Stop::No {
            return Woken::Stopped;
        }
        if went_back(seen, now) {
            return Woken::ClockWasSet;
        }
        seen = now;
        let left = Duration::from_nanos(u64::try_from(due.saturating_sub(now)).unwrap_or(0));
        tokio::select! {
            () = tokio::time::sleep(left.min(SLEEP_MAX)) => {}
            done = stop.wait_for(|s| *s != Stop::No) => if done.is_err() { return Woken::Stopped },
        }
    }
}

/// Remembers when a run was due, for the next start.
async fn note(plugins: &Plugins, name: &str, due: i64) {
    let (layer, name) = (plugins.layer().clone(), name.to_string());
    if let Err(e) = run::blocking(move || layer.plugins().set_last_due(&name, due)).await {
        tracing::error!(error = ?e, "the time of a run could not be noted");
    }
}

/// A task of its own: a run that takes longer than its interval must be seen as going on.
fn start(plugins: &Arc<Plugins>, name: &str, trigger: &'static str) {
    let (plugins, name) = (plugins.clone(), name.to_string());
    tokio::spawn(async move { plugins.run_due(&name, trigger).await });
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
        assert_eq!(next(&every, "UTC", 0, 40 * s), Some(40 * s));
        assert_eq!(next(&every, "UTC", i64::MAX - 5, i64::MAX - 5), Some(i64::MAX));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_a_schedule() {
        let (every, cron) = (Schedule::Every(Span::from_secs(10)), Schedule::Cron("0 * * * *".into()));
        let (s, now) = (1_000_000_000, ns("2026-06-26T07:14:59Z"));
        let wrong = ns("2099-01-01T00:00:00Z");
        assert_eq!(next(&every, "UTC", wrong, now), Some(now + 10 * s));
        assert_eq!(next(&cron, "UTC", wrong, now), Some(ns("2026-06-26T08:00:00Z")));
        assert!(!missed(&every, "UTC", wrong, now) && !missed(&cron, "UTC", wrong, now));
        // A correction runs nothing twice.
        let noted = ns("2026-06-26T07:00:00Z");
        assert_eq!(next(&cron, "UTC", noted, noted - s), Some(ns("2026-06-26T08:00:00Z")));
        assert_eq!(next(&every, "UTC", noted, noted - s), Some(noted + 10 * s));
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
    fn an_hour_that_does_not_exist_is_run_once_and_one_that_comes_twice_too() {
        let zone = "America/New_York";
        let after = |line: &str, from: &str| {
            let cron = Schedule::Cron(line.into());
            let due = next(&cron, zone, ns(from), ns(from)).unwrap();
            DateTime::<Utc>::from_timestamp_nanos(due).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        };
        // Clocks go from 02:00 to 03:00 on 8 March 2026, and from 02:00 back to 01:00 on 1 November 2026.
        let mut seen = Vec::new();
        let mut at = "2026-03-07T12:00:00Z".to_string();
        for _ in 0..2 {
            at = after("30 2 * * *", &at);
            seen.push(at.clone());
        }
        assert!(seen.iter().all(|t| t.ends_with(":30:00Z") || t.ends_with(":00:00Z")), "{seen:?}");
        assert!(seen[0].as_str() < "2026-03-09T06:30:00Z" || seen[0] == "2026-03-09T06:30:00Z", "{seen:?}");
        let first = after("30 1 * * *", "2026-11-01T04:00:00Z");
        assert_eq!(first, "2026-11-01T05:30:00Z", "the first of the two");
        assert_eq!(after("30 1 * * *", &first), "2026-11-02T06:30:00Z", "not the second of the two");
        // Every half hour has no gap and no repetition in either night.
        for (from, hours) in [("2026-03-08T05:00:00Z", 4), ("2026-11-01T04:00:00Z", 4)] {
            let mut at = from.to_string();
            let end = ns(from) + hours * 3_600_000_000_000;
            let mut runs = 0;
            while ns(&at) < end {
                at = after("*/30 * * * *", &at);
                runs += 1;
            }
            assert_eq!(runs, hours * 2, "{from}");
        }
    }
}
