//! Calls into the example policy: what a fresh instance costs, with and without the pool, and what a call alone costs.

use crate::{Run, Table};
use shiphold_runtime::compile::Compiler;
use shiphold_runtime::measure::{Frames, Live, fresh, instance, transform};
use shiphold_runtime::{Engines, Loaded, load};
use shiphold_storage::retention::{SeriesSummary, Summary};
use shiphold_storage::series::kinds::Kind;
use shiphold_storage::series::{Budget, Column, Frame, SeriesKey, TimeRange, Values, WriteBatch};
use shiphold_storage::{Caller, DataLayer, Manifest};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const NOW_NS: i64 = 1_782_000_000_000_000_000;

pub fn run(run: &Run, table: &mut Table) {
    let Some(guests) = std::env::var_os("SHIPHOLD_GUESTS") else {
        table.note("The plugins are not built: run through `cargo xtask bench`.");
        return;
    };
    let component = Path::new(&guests).join("retention.wasm");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shiphold.toml");
    std::fs::write(&path, manifest(&component)).unwrap();
    let manifest = Manifest::load(&path).unwrap();
    let layer = DataLayer::open(&manifest).unwrap();
    let rounds = run.size(20_000, 200);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let loaded = |pool: bool| -> Arc<Loaded> {
        let cache = dir.path().join("cache");
        let plugin = &manifest.plugins["retention"];
        let engines = if pool { Engines::new(&manifest.limits.plugins) } else { Engines::without_pool() };
        Arc::new(runtime.block_on(load(&engines, plugin, &cache, &Compiler::InProcess)).unwrap())
    };
    table.note(format!(
        "The example policy, a component of {} bytes; {rounds} calls each.",
        component.metadata().unwrap().len()
    ));

    let begin = Instant::now();
    let pooled = loaded(true);
    let cold = begin.elapsed().as_secs_f64() * 1e3;
    let begin = Instant::now();
    drop(loaded(true));
    let warm = begin.elapsed().as_secs_f64() * 1e3;
    table.cost_beside_itself(
        "load a plugin whose code is in the cache",
        "ms",
        warm,
        ("compiled anew", cold),
        "",
    );
    let plain = loaded(false);

    let empty: Arc<Vec<Summary>> = Arc::default();
    let call = |loaded: &Arc<Loaded>, rounds: usize, summaries: &Arc<Vec<Summary>>, actions: usize| {
        runtime.block_on(async {
            median_us(rounds, async || {
                assert_eq!(fresh(loaded, &layer, summaries.clone(), NOW_NS).await.unwrap(), actions);
            })
            .await
        })
    };
    let without = call(&plain, rounds, &empty, 0);
    let with = call(&pooled, rounds, &empty, 0);
    let what = "fresh instance and a call of `plan`, nothing stored";
    table.cost_beside_itself(what, "µs", with, ("without the pool", without), "100");

    let again = runtime.block_on(async {
        let mut live = Live::new(&pooled, &layer).await.unwrap();
        let mut all = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begin = Instant::now();
            assert_eq!(live.call(NOW_NS).await.unwrap(), 0);
            all.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        median(all)
    });
    let what = "a call of `plan` on an instance that is there";
    table.cost_beside_itself(what, "µs", again, ("fresh instance", with), "");

    points(run, table, &runtime, &Path::new(&guests).join("sums.wasm"));
    let many = Arc::new(series(1_000));
    let thousand = call(&pooled, rounds / 20, &many, 4_000);
    table.cost("`plan` over 1,000 series of ticks, 4,000 actions back", "µs", thousand, None, "");
}

/// Points that go into a guest, which adds them up: a time and a price each, 16 bytes.
fn points(run: &Run, table: &mut Table, runtime: &tokio::runtime::Runtime, component: &Path) {
    let count = run.size(1_000_000, 10_000);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shiphold.toml");
    let text = format!(
        "[plugins.sums]\ncomponent = \"{}\"\nworld = \"query-builder\"\n\
         [plugins.sums.grants.series]\nread = [\"market/*\"]\n",
        component.display()
    );
    std::fs::write(&path, text).unwrap();
    let manifest = Manifest::load(&path).unwrap();
    let layer = DataLayer::open(&manifest).unwrap();
    let times: Vec<i64> = (0..count as i64).map(|i| NOW_NS + i * 1_000_000_000 + i * 7_919 % 1_000).collect();
    let prices: Vec<f64> = (0..count).map(|i| 100.0 + ((i * 7_919) % 1_000) as f64 / 100.0).collect();
    let key = SeriesKey::new("market", "tick.SUM", Vec::new()).unwrap();
    let frames: Vec<Frame> = times
        .chunks(BATCH_ROWS)
        .zip(prices.chunks(BATCH_ROWS))
        .map(|(t, p)| Frame { times: t.to_vec(), columns: vec![Column::float("price", p.to_vec())] })
        .collect();
    for frame in &frames {
        let batch = WriteBatch { series: vec![(key.clone(), frame.clone())] };
        layer.series().write(&Caller::Operator, batch).unwrap();
    }
    layer.series().compact(&Caller::Operator).unwrap();
    let want: f64 = frames.iter().map(sum).sum();
    let sums = |pool: bool| -> Arc<Loaded> {
        let cache = dir.path().join("cache");
        let plugin = &manifest.plugins["sums"];
        let engines = if pool { Engines::new(&manifest.limits.plugins) } else { Engines::without_pool() };
        Arc::new(runtime.block_on(load(&engines, plugin, &cache, &Compiler::InProcess)).unwrap())
    };
    let (pooled, plain) = (sums(true), sums(false));
    calls(run, table, runtime, &layer, &pooled, &plain);
    let rounds = run.size(40, 3);
    let given = Frames::new(frames.clone());
    let nothing = Frames::new(vec![Frame { times: Vec::new(), columns: Vec::new() }]);
    let ask = |loaded: &Arc<Loaded>, query: &str, frames: &Frames| {
        runtime.block_on(async {
            median_us(rounds, async || {
                let answer = transform(loaded, &layer, query, frames).await.unwrap();
                let Values::Float(got) = &answer.columns[0].values else { panic!("{answer:?}") };
                assert!((got[0] - want).abs() < 1e-6 * want, "{} is not {want}", got[0]);
                assert_eq!(answer.columns[1].values, Values::Integer(vec![count as i64]));
            })
            .await
        }) / 1e3
    };
    let natively = |f: &mut dyn FnMut() -> f64| {
        let all = (0..rounds).map(|_| {
            let begin = Instant::now();
            let got = f();
            assert!((got - want).abs() < 1e-6 * want);
            begin.elapsed().as_secs_f64() * 1e3
        });
        median(all.collect())
    };
    let added = natively(&mut || frames.iter().map(sum).sum());
    let (with, without) = (ask(&pooled, "given", &given), ask(&plain, "given", &given));
    let what = format!("{count} points into a guest that adds them up");
    table.cost(&what, "ms", with, Some(("natively, from memory", added)), "10");
    table.cost_beside_itself(&what, "ms", with, ("without the pool", without), "");
    let scanned = natively(&mut || {
        let fields = ["price".to_string()];
        let budget = Budget::default();
        let scan =
            layer.series().scan(&Caller::Operator, &key, TimeRange::ALL, Some(&fields), &budget).unwrap();
        scan.map(|frame| sum(&frame.unwrap())).sum()
    });
    let read = ask(&pooled, "read", &nothing);
    let what = format!("{count} points read from the store and added up by a guest");
    table.cost(&what, "ms", read, Some(("natively, by the same scan", scanned)), "");
}

/// An instance that is asked nothing, and a call that does nothing.
fn calls(
    run: &Run,
    table: &mut Table,
    runtime: &tokio::runtime::Runtime,
    layer: &Arc<DataLayer>,
    pooled: &Arc<Loaded>,
    plain: &Arc<Loaded>,
) {
    let rounds = run.size(20_000, 200);
    let made = |loaded: &Arc<Loaded>| {
        runtime.block_on(median_us(rounds, async || instance(loaded, layer).await.unwrap()))
    };
    let (with, without) = (made(pooled), made(plain));
    table.cost_beside_itself("a fresh instance", "µs", with, ("without the pool", without), "20");
    let called = runtime.block_on(async {
        let mut live = Live::new(pooled, layer).await.unwrap();
        live.nothing().await.unwrap();
        let mut all = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begin = Instant::now();
            assert_eq!(live.nothing().await.unwrap(), 0);
            all.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        median(all)
    });
    table.cost_beside_itself("a call that does nothing", "µs", called, ("a fresh instance", with), "2");
}

/// Rows of a batch that crosses.
const BATCH_ROWS: usize = 65_536;

fn sum(frame: &Frame) -> f64 {
    let Values::Float(prices) = &frame.columns[0].values else { panic!("{frame:?}") };
    prices.iter().sum()
}

fn manifest(component: &Path) -> String {
    format!(
        r#"[plugins.retention]
component = "{}"
world = "retention-policy"
[plugins.retention.grants.series]
read = ["*/*"]
write = ["*/bar.*"]
drop = ["*/tick.*"]
[plugins.retention.config]
tick_days = 2
bar_1m_days = 90
book_days = 2
rollups = ["1h", "1d"]
"#,
        component.display()
    )
}

/// Series of ticks that are all due.
fn series(count: usize) -> Vec<Summary> {
    (0..count)
        .map(|i| {
            Summary::Series(SeriesSummary {
                key: SeriesKey::new("market", format!("tick.S{i}"), vec![("symbol".into(), format!("S{i}"))])
                    .unwrap(),
                kind: Kind::Tick,
                timeframe: None,
                rows: 1_000,
                first: 0,
                last: NOW_NS,
                rolled: Default::default(),
            })
        })
        .collect()
}

async fn median_us(rounds: usize, mut f: impl AsyncFnMut()) -> f64 {
    f().await;
    let mut all = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        f().await;
        all.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    median(all)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
