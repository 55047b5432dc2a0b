//! What every route shares.

use crate::telemetry::Counters;
use shiphold_runtime::Plugins;
use shiphold_storage::manifest::World;
use shiphold_storage::schema::now_ns;
use shiphold_storage::{DataLayer, Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OnceCell, Semaphore, watch};

/// The state of a host, or of a command that found none and opened the stores itself.
pub(crate) struct App {
    pub layer: Arc<DataLayer>,
    pub started: Instant,
    /// Nanoseconds since the Unix epoch.
    pub started_at: i64,
    pub counters: Counters,
    /// One permit for each request that is served.
    pub requests: Arc<Semaphore>,
    /// Becomes true when the host ends: answers without an end of their own end then.
    pub ending: watch::Sender<bool>,
    /// This program, which compiles components as a child.
    exe: PathBuf,
    /// Loaded at the start of a host; a command that needs no plugin compiles none.
    plugins: OnceCell<Arc<Plugins>>,
}

impl App {
    pub(crate) fn new(layer: Arc<DataLayer>) -> Result<Arc<Self>> {
        let exe = std::env::current_exe().map_err(|e| Error::io("finding this program's own file", e))?;
        let requests = Arc::new(Semaphore::new(layer.manifest().http.requests_max as usize));
        Ok(Arc::new(Self {
            layer,
            started: Instant::now(),
            started_at: now_ns(),
            counters: Counters::default(),
            requests,
            ending: watch::channel(false).0,
            exe,
            plugins: OnceCell::new(),
        }))
    }

    /// Bytes of a body that is held whole.
    pub(crate) fn body_max(&self) -> u64 {
        self.layer.manifest().http.body_max.0
    }

    /// The plugins, loaded when they are first asked for.
    pub(crate) async fn plugins(&self) -> Result<&Arc<Plugins>> {
        self.plugins.get_or_try_init(|| Plugins::load(self.layer.clone(), self.exe.clone())).await
    }

    /// Skills are stored and found with what indexers say of them: those are loaded first.
    pub(crate) async fn with_indexers(&self) -> Result<()> {
        let mut plugins = self.layer.manifest().plugins.values();
        if plugins.any(|p| p.enabled && p.world == World::SkillIndexer) {
            self.plugins().await?;
        }
        Ok(())
    }

    /// Only if they are loaded already: `/metrics` must not compile anything.
    pub(crate) fn plugins_if_loaded(&self) -> Option<&Arc<Plugins>> {
        self.plugins.get()
    }
}
