//! Calls without a run around them: no row in the database, no check of the plan. For benchmarks.

use crate::bindings::RetentionPolicyPlugin;
use crate::call;
use crate::component::Loaded;
use crate::engine::Running;
use crate::host::retention::Cursor;
use crate::state::State;
use shiphold_storage::retention::Summary;
use shiphold_storage::{DataLayer, Error, Kind, Result};
use std::sync::Arc;
use wasmtime::Store;

/// `plan` on a fresh instance, as a run calls it; the number of actions.
pub async fn fresh(
    loaded: &Loaded,
    layer: &Arc<DataLayer>,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> Result<usize> {
    call::plan(loaded, layer, summaries, now).await.0.map(|plan| plan.actions.len())
}

/// An instance that is called again and again, which no run does.
pub struct Live {
    store: Store<State>,
    instance: RetentionPolicyPlugin,
    _running: Running,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    pub async fn new(loaded: &Loaded, layer: &Arc<DataLayer>) -> Result<Self> {
        let mut store = call::store(loaded, layer, &Arc::default())?;
        let running = loaded.ticked.run();
        let instance = loaded.pre.instantiate_async(&mut store).await.map_err(failed)?;
        Ok(Self { store, instance, _running: running })
    }

    /// `plan` over an empty cursor; the number of actions.
    pub async fn call(&mut self, now: i64) -> Result<usize> {
        let cursor = self.store.data_mut().hold(Cursor::new(Arc::default())).map_err(failed)?;
        let said = self
            .instance
            .shiphold_host_retention_policy()
            .call_plan(&mut self.store, cursor, now)
            .await
            .map_err(failed)?;
        said.map(|plan| plan.actions.len()).map_err(|e| Error::new(Kind::Plugin, e))
    }
}

fn failed(e: wasmtime::Error) -> Error {
    Error::new(Kind::Plugin, format!("{e:#}"))
}
