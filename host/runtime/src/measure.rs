//! Calls without a run around them: no row in the database, no check of the plan. For benchmarks.

use crate::call::{self, Session};
use crate::component::Loaded;
use shiphold_storage::retention::Summary;
use shiphold_storage::{DataLayer, Result};
use std::sync::Arc;

/// `plan` on a fresh instance, as a run calls it; the number of actions.
pub async fn fresh(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> Result<usize> {
    call::plan(loaded, layer, summaries, now).await.0.map(|plan| plan.actions.len())
}

/// An instance that is called again and again, which no run does.
pub struct Live(Session);

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    pub async fn new(loaded: &Arc<Loaded>, layer: &Arc<DataLayer>) -> Result<Self> {
        Ok(Self(Session::open(loaded, layer).await?))
    }

    /// `plan` over an empty cursor; the number of actions.
    pub async fn call(&mut self, now: i64) -> Result<usize> {
        call::plan_in(&mut self.0, Arc::default(), now).await.map(|plan| plan.actions.len())
    }
}
