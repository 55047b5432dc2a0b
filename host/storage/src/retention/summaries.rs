//! What a policy sees, and the time that ages count from.

use super::{FileSummary, SeriesSummary, Summary, grants, marks};
use crate::caller::Caller;
use crate::error::Result;
use crate::files::{FileStat, Weight};
use crate::layer::DataLayer;
use crate::series::kinds::{Kind, timeframe_of};
use crate::series::{Budget, Selector, SeriesKey};
use std::collections::BTreeSet;

/// How far ages may run ahead of the newest point.
const AHEAD_NS: i64 = 86_400_000_000_000;
/// Files of one page.
const PAGE: u64 = 10_000;

/// Calls `each` with every file of a store and what it weighs, in order.
pub(super) fn each_file(
    layer: &DataLayer,
    store: &str,
    each: &mut dyn FnMut(FileStat, Weight),
) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        // The caller's grants are looked at file by file: a pattern may choose any of them.
        let page = layer.files().list(&Caller::Operator, store, "", after.as_deref(), PAGE)?;
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
        let weights = layer.files().weights(store, &first.path, &last.path)?;
        after = Some(last.path.clone());
        for file in page {
            let weight = weights.get(&file.path).copied().unwrap_or((1, file.size));
            each(file, weight);
        }
    }
}

pub(super) fn now(layer: &DataLayer, wall_ns: i64) -> Result<i64> {
    let all = layer.series().engine().choose(&Selector::default(), &Budget::default())?;
    let mut newest = all.iter().filter_map(|s| s.max_time).max();
    if newest.is_none() {
        for store in layer.files().names() {
            each_file(layer, store, &mut |f, _| newest = newest.max(Some(f.created_at)))?;
        }
    }
    Ok(newest.map_or(wall_ns, |n| wall_ns.min(n.saturating_add(AHEAD_NS))))
}

pub(super) fn summaries(layer: &DataLayer, plugin: &Caller) -> Result<Vec<Summary>> {
    let marks = layer.database().read(marks::all)?;
    // Rows that only archives have are no rows that a policy could do something about.
    let infos = layer.series().live().list(&Selector::default())?;
    let there = layer.series().engine().list(&Selector::default())?;
    let there: BTreeSet<&SeriesKey> = there.iter().map(|i| &i.key).collect();
    let mut out = Vec::new();
    for info in &infos {
        let (Some(first), Some(last)) = (info.min_time, info.max_time) else { continue };
        if grants::read_series(plugin, &info.key).is_err() {
            continue;
        }
        // A rollup that somebody deleted holds nothing.
        let rolled =
            marks.get(&info.key).into_iter().flat_map(marks::Marks::rollups).filter_map(|(target, until)| {
                let timeframe = timeframe_of(target)?;
                there
                    .contains(&SeriesKey { measurement: target.into(), ..info.key.clone() })
                    .then(|| (timeframe.to_string(), until))
            });
        out.push(Summary::Series(SeriesSummary {
            kind: Kind::of(&info.key.measurement),
            timeframe: timeframe_of(&info.key.measurement).map(|t| t.to_string()),
            rows: info.rows,
            first,
            last,
            rolled: rolled.collect(),
            key: info.key.clone(),
        }));
    }
    for store in layer.files().names() {
        each_file(layer, store, &mut |f, (versions, bytes)| {
            if grants::read_file(plugin, store, &f.path).is_ok() {
                out.push(Summary::File(FileSummary {
                    store: f.store,
                    path: f.path,
                    version: f.version,
                    size: f.size,
                    created_at: f.created_at,
                    versions,
                    bytes,
                }));
            }
        })?;
    }
    Ok(out)
}
