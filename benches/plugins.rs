//! Calls into the example policy: what a fresh instance costs, with and without the pool, and what a call alone costs.

use crate::{Run, Table};
use shiphold_runtime::compile::Compiler;
use shiphold_runtime::measure::{Live, fresh};
use shiphold_runtime::{Engines, Loaded, load};
use shiphold_storage::retention::{SeriesSummary, Summary};
use shiphold_storage::series::SeriesKey;
use shiphold_storage::series::kinds::Kind;
use shiphold_storage::{DataLayer, Manifest};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const NOW_NS: i64 = 1_782_000_000_000_000_000;

pub fn run(run: &Run, table: &mut Table) {
    let Some(guests) = std::env::var_os("SHIPHOLD_GUESTS") else {
        println!("\nThe plugins are not built: run through `cargo xtask bench`.");
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
    println!(
        "\nThe example policy, a component of {} bytes; {rounds} calls each.",
        component.metadata().unwrap().len()
    );

    let begin = Instant::now();
    let pooled = loaded(true);
    let cold = begin.elapsed().as_secs_f64() * 1e3;
    let begin = Instant::now();
    drop(loaded(true));
    let warm = begin.elapsed().as_secs_f64() * 1e3;
    table.cost("load a plugin whose code is in the cache", "ms", warm, Some(("compiled anew", cold)), "");
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
    table.cost(
        "fresh instance and a call of `plan`, nothing stored",
        "µs",
        with,
        Some(("without the pool", without)),
        "100",
    );

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
    table.cost(
        "a call of `plan` on an instance that is there",
        "µs",
        again,
        Some(("fresh instance", with)),
        "",
    );

    let many = Arc::new(series(1_000));
    let thousand = call(&pooled, rounds / 20, &many, 4_000);
    table.cost("`plan` over 1,000 series of ticks, 4,000 actions back", "µs", thousand, None, "");
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
