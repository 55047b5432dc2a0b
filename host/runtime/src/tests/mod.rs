//! The whole way of a plugin over real stores, with small components written as text.

mod calls;
mod contract;
mod events;
mod files;
mod fuzz;
mod guest;
mod life;
mod limits;
mod logs;
mod properties;
mod published;
mod refusals;
mod reload;
mod signatures;
mod trades;
mod zoo;

use crate::compile::Compiler;
use crate::{Plugins, RunOptions, RunReport};
use guest::Guest;
use shiphold_storage::plugins::Run;
use shiphold_storage::series::{Column, Frame, SeriesKey, WriteBatch};
use shiphold_storage::{Caller, DataLayer, Manifest, Result};
use std::path::Path;
use std::sync::Arc;

const OP: Caller = Caller::Operator;

/// A host with one plugin, `p`.
struct Host {
    dir: tempfile::TempDir,
    layer: Arc<DataLayer>,
    plugins: Arc<Plugins>,
}

/// The manifest of a host whose plugin `p` has `keys` and `tables`.
fn manifest(dir: &Path, keys: &str, tables: &str) -> Manifest {
    let text = format!(
        "[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n\
         [plugins.p]\ncomponent = \"p.wasm\"\nworld = \"retention-policy\"\n{keys}\n{tables}\n"
    );
    Manifest::parse(&text, &dir.join("shiphold.toml")).unwrap_or_else(|e| panic!("{e}"))
}

impl Host {
    async fn new(guest: &Guest, keys: &str, tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), guest.build()).unwrap();
        let layer = DataLayer::open(&manifest(dir.path(), keys, tables)).unwrap();
        let plugins = Plugins::load_with(layer.clone(), &Compiler::InProcess).await.unwrap();
        Self { dir, layer, plugins }
    }

    async fn run(&self) -> Result<RunReport> {
        self.plugins.run(&OP, "p", RunOptions { trigger: "operator".into(), ..RunOptions::default() }).await
    }

    fn newest(&self) -> Option<Run> {
        self.plugins.runs(&OP, "p", 1).unwrap().into_iter().next()
    }

    /// Some daily bars.
    fn with_bars(self, symbols: &[&str]) -> Self {
        for symbol in symbols {
            let key = SeriesKey::new("market", format!("bar.1d.{symbol}"), Vec::new()).unwrap();
            let frame = Frame {
                times: vec![0, 86_400_000_000_000],
                columns: vec![Column::float("close", vec![1.0, 2.0])],
            };
            self.layer.series().write(&OP, WriteBatch { series: vec![(key, frame)] }).unwrap();
        }
        self
    }
}

/// Waits for what another task does.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never came: {what}");
}
