//! What every route shares.

use crate::http::metrics::Counters;
use shiphold_runtime::Plugins;
use shiphold_storage::{DataLayer, Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OnceCell;

pub(crate) struct App {
    pub layer: Arc<DataLayer>,
    pub started: Instant,
    pub counters: Counters,
    /// This program, which compiles components as a child.
    exe: PathBuf,
    /// Loaded at the start of a host; a command that needs no plugin compiles none.
    plugins: OnceCell<Arc<Plugins>>,
}

impl App {
    pub(crate) fn new(layer: Arc<DataLayer>) -> Result<Arc<Self>> {
        let exe = std::env::current_exe().map_err(|e| Error::io("finding this program's own file", e))?;
        Ok(Arc::new(Self { layer, started: Instant::now(), counters: Counters::default(), exe, plugins: OnceCell::new() }))
    }

    pub(crate) async fn plugins(&self) -> Result<&Arc<Plugins>> {
        self.plugins.get_or_try_init(|| Plugins::load(self.layer.clone(), self.exe.clone())).await
    }

    /// Only if they are loaded already: `/metrics` must not compile anything.
    pub(crate) fn plugins_if_loaded(&self) -> Option<&Arc<Plugins>> {
        self.plugins.get()
    }
}
