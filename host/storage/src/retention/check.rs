//! Looking at a plan: grants, the safety floor, what each step would do. Nothing is changed here.

use super::marks::{self, Marks, archive_target};
use super::{Action, CheckedPlan, Step, grants, summaries};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::layer::DataLayer;
use crate::series::archives::{example_path, refuse_only_copy};
use crate::series::kinds::{Kind, Timeframe, rollup_measurement, timeframe_of};
use crate::series::model::TIME_MIN_NS;
use crate::series::{Budget, Selector, SeriesEngine, SeriesInfo, SeriesKey, TimeRange};
use chrono_tz::Tz::UTC;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Actions of one plan.
pub const ACTIONS_MAX: usize = 1_000_000;
/// The least age of what may be dropped, for kinds that `safety.keep_at_least` does not name, and for files.
pub const KEEP_DEFAULT: std::time::Duration = std::time::Duration::from_secs(86_400);
/// Rounding down to a whole bar of every rollup ends after so many rounds.
const ROUNDS_MAX: u32 = 1_000;
/// Counting the rows of a plan may take so many times `limits.query_time`.
const COUNT_QUERY_TIMES: u32 = 20;

/// What the store looks like while a plan is checked.
pub(super) struct View<'a> {
    layer: &'a DataLayer,
    /// The engine alone: what only archives have is not archived, rolled up or dropped again.
    live: Arc<dyn SeriesEngine>,
    infos: BTreeMap<SeriesKey, SeriesInfo>,
    marks: BTreeMap<SeriesKey, Marks>,
    now: i64,
}

impl<'a> View<'a> {
    pub(super) fn new(layer: &'a DataLayer, now: i64) -> Result<Self> {
        let live = layer.series().live();
        let infos = live.list(&Selector::default())?;
        Ok(Self {
            layer,
            live,
            infos: infos.into_iter().map(|i| (i.key.clone(), i)).collect(),
            marks: layer.database().read(marks::all)?,
            now,
        })
    }

    /// Was there such a series when the view was taken? One that only archives have is there, too.
    pub(super) fn has(&self, key: &SeriesKey) -> bool {
        self.infos.contains_key(key) || self.layer.series().archives().is_ok_and(|a| a.holds(key))
    }

    /// Looks at every action in order; those before it in the plan count as done. `rows` are not counted yet.
    pub(super) fn judge(&self, caller: &Caller, actions: Vec<Action>) -> Vec<Step> {
        let mut planned = Planned { marks: self.marks.clone(), targets: BTreeSet::new() };
        let mut seen = BTreeSet::new();
        let mut steps = Vec::with_capacity(actions.len());
        for mut action in actions {
            let verdict = if seen.insert(identity(&action)) {
                self.one(caller, &mut action, &mut planned)
            } else {
                Err(Error::invalid("the plan has this step twice"))
            };
            let (target, refused) = match verdict {
                Ok(target) => (target, None),
                Err(e) => (None, Some(e.message().to_string())),
            };
            steps.push(Step { action, rows: 0, refused, target });
        }
        steps
    }

    fn one(&self, caller: &Caller, action: &mut Action, planned: &mut Planned) -> Result<Option<String>> {
        match action {
            Action::Downsample { key, timeframe, before } => {
                self.source(caller, key, *before)?;
                let (timeframe, target) = target_of(key, timeframe)?;
                grants::write_series(caller, &target)?;
                *before = timeframe.floor(*before, UTC);
                planned.advance(key, &target.measurement, *before);
                Ok(Some(target.to_string()))
            }
            Action::Archive { key, store, before } => {
                let info = self.source(caller, key, *before)?;
                self.store(store)?;
                grants::write_file(caller, store, &example_path(key, info.min_time.unwrap_or_default()))?;
                planned.advance(key, &archive_target(store), *before);
                Ok(Some(archive_target(store)))
            }
            Action::DropBefore { key, before } => {
                // What may not be done is told before what is wrong with it.
                grants::drop_series(caller, key)?;
                self.source(caller, key, *before)?;
                self.alone(key)?;
                *before = self.covered(caller, key, *before, planned)?;
                let kind = Kind::of(&key.measurement);
                let keep =
                    self.layer.manifest().safety.keep_at_least.get(kind.name()).map_or(KEEP_DEFAULT, |s| s.0);
                let newest = self.now.saturating_sub(i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX));
                if *before > newest {
                    return Err(Error::invalid(format!(
                        "rows of {key} younger than safety.keep_at_least.{} ({}) would go",
                        kind.name(),
                        crate::units::Span(keep)
                    )));
                }
                Ok(None)
            }
            Action::DropFile { store, path } => {
                self.store(store)?;
                grants::delete_file(caller, store, path)?;
                let file = self.layer.files().stat(&Caller::Operator, store, path, None)?;
                let keep = i64::try_from(KEEP_DEFAULT.as_nanos()).unwrap_or(i64::MAX);
                if file.created_at > self.now.saturating_sub(keep) {
                    return Err(Error::invalid(format!(
                        "the file `{store}/{path}` is younger than {}",
                        crate::units::Span(KEEP_DEFAULT)
                    )));
                }
                self.layer.database().read(|c| refuse_only_copy(c, store, path))?;
                Ok(None)
            }
        }
    }

    /// What every step over a series needs: it exists, it may be read, and its rows are not of the future.
    fn source(&self, caller: &Caller, key: &SeriesKey, before: i64) -> Result<&SeriesInfo> {
        // Before whether it exists: a plugin learns nothing about what it may not read.
        grants::read_series(caller, key)?;
        let info =
            self.infos.get(key).ok_or_else(|| Error::not_found(format!("there is no series {key}")))?;
        if before > self.now {
            return Err(Error::invalid(format!(
                "`before` is {} s after now",
                (before - self.now) / 1_000_000_000
            )));
        }
        if before < TIME_MIN_NS {
            return Err(Error::invalid("`before` is no time"));
        }
        Ok(info)
    }

    fn store(&self, store: &str) -> Result<()> {
        if self.layer.files().names().any(|n| n == store) {
            return Ok(());
        }
        Err(Error::not_found(format!("there is no file store `{}`", store.escape_debug())))
    }

    /// A deletion chooses by measurement and tags: it must not hit another series that has more of them.
    fn alone(&self, key: &SeriesKey) -> Result<()> {
        let selector = Selector::of(key);
        let hit = |k: &&SeriesKey| *k != key && selector.matches(k);
        // Without a `*` in it, a measurement matches itself only: its series stand together.
        let first = SeriesKey { tags: Vec::new(), ..key.clone() };
        let same = |k: &&SeriesKey| k.bucket == key.bucket && k.measurement == key.measurement;
        let other = if key.measurement.contains('*') {
            self.infos.keys().find(hit)
        } else {
            self.infos.range(first..).map(|(k, _)| k).take_while(same).find(hit)
        };
        match other {
            None => Ok(()),
            Some(other) => Err(Error::invalid(format!("dropping from {key} would also drop from {other}"))),
        }
    }

    /// The time up to which every rollup of the series holds its rows. Raw rows go only after their rollup is durable.
    fn covered(&self, caller: &Caller, key: &SeriesKey, before: i64, planned: &Planned) -> Result<i64> {
        let none = Marks::default();
        let marks = planned.marks.get(key).unwrap_or(&none);
        let mut rollups = Vec::new();
        for (measurement, until) in marks.rollups() {
            let target = SeriesKey { measurement: measurement.into(), ..key.clone() };
            // A rollup that somebody deleted is not wanted any more, and protects nothing.
            if planned.targets.contains(&(key.clone(), measurement.into())) || self.has(&target) {
                let timeframe = timeframe_in(measurement)?;
                rollups.push((timeframe, target, until));
            }
        }
        // Those of the manifest hold the rows in windows of their own zone.
        let continuous = self.layer.rollups().covers(key)?;
        let whole = |t: i64| {
            let planned = rollups.iter().map(|(timeframe, _, _)| timeframe.floor(t, UTC));
            planned.chain(continuous.iter().map(|c| c.timeframe.floor(t, c.zone))).min().unwrap_or(t)
        };
        let mut effective = before;
        // Weeks and months rarely begin together: rounding for one may ask for rounding for the other again.
        let mut rounds = 0;
        while whole(effective) < effective {
            effective = whole(effective);
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return Err(Error::invalid(format!(
                    "no time before {} begins a bar of every rollup of {key}",
                    shown(before)
                )));
            }
        }
        if let Some((_, target, until)) = rollups.iter().find(|(_, _, until)| *until < effective) {
            return Err(Error::invalid(format!(
                "its rollup {target} holds rows before {}, not before {}: roll up first",
                shown(*until),
                shown(effective)
            )));
        }
        if let Some(c) = continuous.iter().find(|c| c.until < effective) {
            return Err(Error::invalid(format!(
                "its rollup {} holds rows before {}, not before {}: it is still at work",
                c.target,
                shown(c.until),
                shown(effective)
            )));
        }
        let archived = marks.archives().any(|(store, until)| {
            let path = || example_path(key, self.infos.get(key).and_then(|i| i.min_time).unwrap_or_default());
            until >= effective
                && self.store(store).is_ok()
                && grants::write_file(caller, store, &path()).is_ok()
        });
        let must = matches!(Kind::of(&key.measurement), Kind::Tick | Kind::Bar);
        if must && rollups.is_empty() && continuous.is_empty() && !archived {
            return Err(Error::invalid(format!(
                "{key} has no rollup and no archive before {}: its rows would be lost",
                shown(effective)
            )));
        }
        Ok(effective)
    }

    fn count(&self, key: &SeriesKey, before: i64, budget: &Budget) -> Result<u64> {
        let Some(info) = self.infos.get(key) else { return Ok(0) };
        if info.min_time.is_none_or(|t| t >= before) {
            return Ok(0);
        }
        let mut rows = 0;
        for frame in self.live.scan(key, TimeRange { start: TIME_MIN_NS, end: before }, None, budget)? {
            budget.check()?;
            rows += frame?.len() as u64;
        }
        Ok(rows)
    }
}

/// The marks as they will be after the steps looked at so far.
struct Planned {
    marks: BTreeMap<SeriesKey, Marks>,
    /// Targets of steps of this plan.
    targets: BTreeSet<(SeriesKey, String)>,
}

impl Planned {
    fn advance(&mut self, key: &SeriesKey, target: &str, until: i64) {
        let mark = self.marks.entry(key.clone()).or_default().until.entry(target.into()).or_insert(i64::MIN);
        *mark = (*mark).max(until);
        self.targets.insert((key.clone(), target.into()));
    }
}

/// Two steps with one identity are one too many.
fn identity(action: &Action) -> (u8, Option<SeriesKey>, String) {
    match action {
        Action::Downsample { key, timeframe, .. } => (0, Some(key.clone()), timeframe.clone()),
        Action::Archive { key, store, .. } => (1, Some(key.clone()), store.clone()),
        Action::DropBefore { key, .. } => (2, Some(key.clone()), String::new()),
        Action::DropFile { store, path } => (3, None, format!("{store}/{path}")),
    }
}

/// The series that a rollup goes to.
pub(super) fn target_of(key: &SeriesKey, timeframe: &str) -> Result<(Timeframe, SeriesKey)> {
    let parsed: Timeframe = timeframe.parse()?;
    let measurement = match Kind::of(&key.measurement) {
        Kind::Tick | Kind::Bar => rollup_measurement(&key.measurement, timeframe),
        _ => {
            return Err(Error::invalid(format!(
                "{key} holds no ticks or bars: it cannot be rolled up into bars"
            )));
        }
    };
    let measurement = measurement.ok_or_else(|| {
        let own = timeframe_of(&key.measurement).unwrap_or("its own timeframe");
        Error::invalid(format!(
            "{key} cannot be rolled up: whole bars of {own} do not fill a longer bar of {timeframe}"
        ))
    })?;
    Ok((parsed, SeriesKey { measurement, ..key.clone() }))
}

/// The timeframe of a rollup's measurement.
pub(super) fn timeframe_in(measurement: &str) -> Result<Timeframe> {
    timeframe_of(measurement)
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| Error::corrupt(format!("retention_marks names `{measurement}`, which is no rollup")))
}

fn shown(ns: i64) -> String {
    chrono::DateTime::<chrono::Utc>::from_timestamp_nanos(ns)
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

pub(super) fn check(
    layer: &DataLayer,
    caller: &Caller,
    actions: Vec<Action>,
    now: i64,
    confirmed: bool,
) -> Result<CheckedPlan> {
    if actions.len() > ACTIONS_MAX {
        return Err(Error::limit(
            format!("a plan of {} actions", actions.len()),
            ACTIONS_MAX,
            "propose less in one run",
        ));
    }
    let view = View::new(layer, now)?;
    let mut steps = view.judge(caller, actions);
    let deadline =
        Instant::now().checked_add(layer.manifest().limits.query_time.0.saturating_mul(COUNT_QUERY_TIMES));
    let budget = Budget { deadline, ..Budget::default() };
    let mut counted: BTreeMap<(SeriesKey, i64), u64> = BTreeMap::new();
    let mut plan = CheckedPlan {
        plugin: name(caller),
        now,
        steps: Vec::new(),
        drop_rows: 0,
        store_rows: view.infos.values().fold(0, |sum, i| sum.saturating_add(i.rows)),
        needs_confirmation: None,
    };
    let mut files: BTreeMap<String, u64> = BTreeMap::new();
    for step in &mut steps {
        let (key, before) = match &step.action {
            // A refused step is not counted: it may name what its author must not learn about.
            _ if step.refused.is_some() => continue,
            Action::DropFile { store, .. } => {
                *files.entry(store.clone()).or_default() += 1;
                step.rows = 1;
                continue;
            }
            Action::Downsample { key, before, .. }
            | Action::Archive { key, before, .. }
            | Action::DropBefore { key, before } => (key, *before),
        };
        step.rows = match counted.get(&(key.clone(), before)) {
            Some(rows) => *rows,
            None => {
                let rows = view.count(key, before, &budget)?;
                counted.insert((key.clone(), before), rows);
                rows
            }
        };
        if matches!(step.action, Action::DropBefore { .. }) {
            plan.drop_rows = plan.drop_rows.saturating_add(step.rows);
        }
    }
    plan.steps = steps;
    if !confirmed {
        plan.needs_confirmation = too_much(layer, &plan, &files)?;
    }
    Ok(plan)
}

/// How a plan names its author.
fn name(caller: &Caller) -> String {
    match caller {
        Caller::Plugin { name, .. } => name.clone(),
        _ => caller.actor(),
    }
}

/// Why a person has to agree, if one has to.
fn too_much(layer: &DataLayer, plan: &CheckedPlan, files: &BTreeMap<String, u64>) -> Result<Option<String>> {
    let percent = u64::from(layer.manifest().safety.max_drop_share_percent);
    let above = |part: u64, of: u64| u128::from(part) * 100 > u128::from(of) * u128::from(percent);
    if above(plan.drop_rows, plan.store_rows) {
        return Ok(Some(format!(
            "the plan drops {} of {} rows, more than safety.max_drop_share = {percent} %",
            plan.drop_rows, plan.store_rows
        )));
    }
    for (store, dropped) in files {
        let mut there = 0_u64;
        summaries::each_file(layer, store, &mut |_, _| there += 1)?;
        if above(*dropped, there) {
            return Ok(Some(format!(
                "the plan drops {dropped} of {there} files of store `{store}`, more than safety.max_drop_share = {percent} %"
            )));
        }
    }
    Ok(None)
}
