//! Plans that are refused, plans that are done, done twice, and cut off.

mod by_hand;
mod late;
mod plans;
mod refusals;
mod room;

use super::*;
use crate::Grants;
use crate::layer::DataLayer;
use crate::layer::tests::{layer_over, manifest};
use crate::series::model_engine::ModelEngine;
use crate::series::{Budget, Column, Frame, Selector, SeriesEngine, TimeRange, WriteBatch};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A time and its fields, in order.
pub(super) type Row = (i64, Vec<(String, f64)>);

pub(super) const OP: Caller = Caller::Operator;
pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const HOUR: i64 = 3_600 * SECOND;
pub(super) const DAY: i64 = 24 * HOUR;
/// The first day of every store here.
pub(super) const START: i64 = 20_000 * DAY;

/// A layer over the reference engine.
pub(super) struct Store {
    _dir: tempfile::TempDir,
    pub(super) layer: Arc<DataLayer>,
    pub(super) engine: Arc<ModelEngine>,
    pub(super) free: Arc<AtomicU64>,
    pub(super) plugin: Caller,
}

pub(super) fn all_grants() -> Grants {
    let all = || vec!["*".to_string()];
    Grants {
        series_read: all(),
        series_write: all(),
        series_drop: all(),
        files_read: all(),
        files_write: all(),
        files_delete: all(),
        ..Grants::default()
    }
}

pub(super) fn plugin(grants: Grants) -> Caller {
    Caller::Plugin { name: "keeper".into(), grants: Arc::new(grants) }
}

pub(super) fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, Vec::new()).unwrap()
}

impl Store {
    pub(super) fn new() -> Self {
        Self::with("[safety]\nmax_drop_share = \"100 %\"")
    }
    pub(super) fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let m = manifest(dir.path(), &format!("{text}\n[files.cold]\nkind = \"archives\""));
        let engine = Arc::new(ModelEngine::default());
        let (layer, free) = layer_over(&m, Some(engine.clone()));
        Self { _dir: dir, layer, engine, free, plugin: plugin(all_grants()) }
    }
    pub(super) fn r(&self) -> Retention<'_> {
        self.layer.retention()
    }
    /// Ticks with a price, and one unit of size each.
    pub(super) fn ticks(&self, symbol: &str, rows: impl IntoIterator<Item = (i64, f64)>) {
        let (times, prices): (Vec<i64>, Vec<f64>) = rows.into_iter().unzip();
        let size = Column::float("size", vec![1.0; times.len()]);
        self.put(
            &format!("tick.{symbol}"),
            Frame { columns: vec![Column::float("price", prices), size], times },
        );
    }
    pub(super) fn put(&self, measurement: &str, frame: Frame) {
        self.engine.write(WriteBatch { series: vec![(key(measurement), frame)] }).unwrap();
    }
    pub(super) fn rows(&self, measurement: &str) -> Vec<Row> {
        let mut out = Vec::new();
        for f in self.engine.scan(&key(measurement), TimeRange::ALL, None, &Budget::default()).unwrap() {
            let f = f.unwrap();
            for (row, t) in f.times.iter().enumerate() {
                let mut fields: Vec<(String, f64)> =
                    f.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(row)?.as_f64()?))).collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                out.push((*t, fields));
            }
        }
        out
    }
    /// Everything that is stored.
    pub(super) fn state(&self) -> Vec<(SeriesKey, Vec<Row>)> {
        let all = self.engine.list(&Selector::default()).unwrap();
        all.into_iter()
            .filter(|i| i.min_time.is_some())
            .map(|i| (i.key.clone(), self.rows(&i.key.measurement)))
            .collect()
    }
    pub(super) fn now(&self) -> i64 {
        self.r().now(i64::MAX / 2).unwrap()
    }
    pub(super) fn check(&self, actions: Vec<Action>) -> CheckedPlan {
        self.r().check(&self.plugin, actions, self.now(), false).unwrap()
    }
    pub(super) fn run(&self, actions: Vec<Action>) -> PlanReport {
        let plan = self.check(actions);
        assert!(plan.is_allowed(), "{plan:#?}");
        self.r().execute(&self.plugin, &plan, &mut |_| ()).unwrap()
    }
    /// The reasons of a refused plan, which changes nothing.
    pub(super) fn refused(&self, caller: &Caller, actions: Vec<Action>) -> String {
        let before = self.state();
        let plan = self.r().check(caller, actions, self.now(), false).unwrap();
        assert!(!plan.is_allowed(), "{plan:#?}");
        let e = self.r().execute(caller, &plan, &mut |_| panic!("a step was done")).unwrap_err();
        assert_eq!(self.state(), before);
        e.message().to_string()
    }
}

/// `field` of the bar at a time.
pub(super) fn field(rows: &[Row], time: i64, field: &str) -> f64 {
    let (_, fields) = rows.iter().find(|(t, _)| *t == time).unwrap_or_else(|| panic!("no bar at {time}"));
    fields.iter().find(|(n, _)| n == field).unwrap().1
}

/// A tick every ten minutes over some days; the price is the number of the tick.
pub(super) fn steady(days: i64) -> Vec<(i64, f64)> {
    (0..days * 144).map(|i| (START + i * 600 * SECOND, i as f64)).collect()
}

pub(super) fn down(measurement: &str, timeframe: &str, before: i64) -> Action {
    Action::Downsample { key: key(measurement), timeframe: timeframe.into(), before }
}
pub(super) fn drop_before(measurement: &str, before: i64) -> Action {
    Action::DropBefore { key: key(measurement), before }
}
pub(super) fn archive(measurement: &str, before: i64) -> Action {
    Action::Archive { key: key(measurement), store: "cold".into(), before }
}
