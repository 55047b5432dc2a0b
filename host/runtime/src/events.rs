//! Runs after events: a write of a series, a new version of a skill. Events of a while become one run, one that comes during a
//! run leads to exactly one more after it, and what plugins write wakes no plugin.
//!
//! The promise: after the commit of an event, a run begins later than it, as long as the host runs. A host that was ended in
//! between runs every plugin with events once when it starts, unless `catch_up = "skip"`.

use crate::plugins::Plugins;
use shiphold_storage::caller::pattern_matches;
use shiphold_storage::changes::Change;
use shiphold_storage::manifest::On;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Longer than any host runs: nothing is due.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// What an event is called in a run's history.
fn trigger(on: &On, changes: &BTreeSet<Change>) -> Option<&'static str> {
    let wrote = |change: &Change| match change {
        Change::Series { bucket, measurement } => {
            let path = format!("{bucket}/{measurement}");
            on.write.iter().any(|p| pattern_matches(p, &path))
        }
        Change::Everything => !on.write.is_empty(),
        Change::Skill => false,
    };
    if changes.iter().any(wrote) {
        return Some("write");
    }
    (on.skill && changes.iter().any(|c| matches!(c, Change::Skill | Change::Everything))).then_some("skill")
}

/// Runs what events are for until the host ends.
pub(crate) async fn follow(plugins: Arc<Plugins>, mut shutdown: watch::Receiver<bool>) {
    let changes = plugins.layer().changes().clone();
    let mut reloaded = plugins.changes();
    let mut due: BTreeMap<String, (Instant, &'static str)> = BTreeMap::new();
    // Runs that wait for the one before them: an event that comes now is seen by them.
    let waiting: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    for (name, slot) in plugins.slots().iter() {
        if slot.plugin.on.any() && slot.plugin.catch_up && slot.loaded.is_ok() {
            due.insert(name.clone(), (Instant::now() + slot.plugin.on.debounce.0, "catch-up"));
        }
    }
    loop {
        reloaded.borrow_and_update();
        let slots = plugins.slots();
        due.retain(|name, _| slots.get(name).is_some_and(|s| s.plugin.on.any()));
        changes.listen(slots.values().any(|s| s.plugin.on.any()));
        let next = due.values().map(|(at, _)| *at).min().unwrap_or_else(|| Instant::now() + NEVER);
        tokio::select! {
            taken = changes.take() => {
                let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, slot) in slots.iter().filter(|(name, _)| !waiting.contains(*name)) {
                    if let Some(why) = trigger(&slot.plugin.on, &taken) {
                        due.entry(name.clone()).or_insert((Instant::now() + slot.plugin.on.debounce.0, why));
                    }
                }
            }
            () = tokio::time::sleep_until(next) => {
                let now = Instant::now();
                let ready: Vec<String> = due.iter().filter(|(_, (at, _))| *at <= now).map(|(n, _)| n.clone()).collect();
                for name in ready {
                    let Some((_, why)) = due.remove(&name) else { continue };
                    waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
                    let (plugins, waiting) = (plugins.clone(), waiting.clone());
                    tokio::spawn(async move {
                        let begins = || {
                            waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
                        };
                        plugins.run_after(&name, why, begins).await;
                    });
                }
            }
            _ = reloaded.changed() => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::units::Span;

    #[test]
    fn what_wakes_whom() {
        let on = |write: &[&str], skill| On {
            write: write.iter().map(|p| (*p).into()).collect(),
            skill,
            debounce: Span::from_secs(1),
        };
        let tick = Change::Series { bucket: "market".into(), measurement: "tick.A".into() };
        let said = |on: &On, changes: &[Change]| trigger(on, &changes.iter().cloned().collect());
        assert_eq!(said(&on(&["market/tick.*"], false), std::slice::from_ref(&tick)), Some("write"));
        assert_eq!(said(&on(&["market/bar.*"], true), std::slice::from_ref(&tick)), None);
        assert_eq!(said(&on(&[], true), &[tick.clone(), Change::Skill]), Some("skill"));
        assert_eq!(said(&on(&["*/*"], true), &[tick, Change::Skill]), Some("write"));
        assert_eq!(said(&on(&["market/x"], false), &[Change::Everything]), Some("write"));
        assert_eq!(said(&on(&[], true), &[Change::Everything]), Some("skill"));
        assert_eq!(said(&on(&[], false), &[Change::Everything, Change::Skill]), None);
    }
}
