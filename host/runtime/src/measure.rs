//! Calls without a run around them: no row in the database, no check of the plan. For benchmarks.

use crate::bindings::shiphold::host::types::Frame as GuestFrame;
use crate::call::{self, Session};
use crate::component::{Exports, Loaded};
use crate::host::convert::{frame_from_guest, frame_to_guest, size_of_frame};
use crate::host::error::other_world;
use shiphold_storage::retention::Summary;
use shiphold_storage::series::Frame;
use shiphold_storage::{DataLayer, Result};
use std::sync::Arc;

/// `plan` on a fresh instance, as a run calls it; the number of actions.
pub async fn fresh(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> Result<usize> {
    call::plan(loaded, layer, summaries, now, Default::default()).await.0.map(|plan| plan.actions.len())
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

    /// `transform` of an empty frame: a call that does nothing.
    pub async fn nothing(&mut self) -> Result<usize> {
        let empty = Arc::new(GuestFrame { times: Vec::new(), columns: Vec::new() });
        transform_in(&mut self.0, "given", &empty, false).await.map(|frame| frame.times.len())
    }

    /// `plan` over an empty cursor; the number of actions.
    pub async fn call(&mut self, now: i64) -> Result<usize> {
        call::plan_in(&mut self.0, Arc::default(), now).await.map(|plan| plan.actions.len())
    }
}

/// Frames as they cross into a guest.
pub struct Frames(Vec<Arc<GuestFrame>>);

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("frames", &self.0.len()).finish()
    }
}

impl Frames {
    pub fn new(frames: Vec<Frame>) -> Self {
        Self(frames.into_iter().map(|f| Arc::new(frame_to_guest(f))).collect())
    }
}

/// A fresh instance that is asked nothing.
pub async fn instance(loaded: &Arc<Loaded>, layer: &Arc<DataLayer>) -> Result<()> {
    let mut session = Session::open(loaded, layer).await?;
    session.call(|()| 0, |_, _, _| Box::pin(async { Ok(Ok(())) })).await
}

/// `transform` of a query builder over every frame, on a fresh instance; the last answer.
pub async fn transform(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    query: &str,
    frames: &Frames,
) -> Result<Frame> {
    let mut session = Session::open(loaded, layer).await?;
    let mut answer = GuestFrame { times: Vec::new(), columns: Vec::new() };
    for (i, frame) in frames.0.iter().enumerate() {
        answer = transform_in(&mut session, query, frame, i + 1 == frames.0.len()).await?;
    }
    frame_from_guest(answer)
}

async fn transform_in(
    session: &mut Session,
    query: &str,
    frame: &Arc<GuestFrame>,
    last: bool,
) -> Result<GuestFrame> {
    let (query, frame) = (query.to_string(), frame.clone());
    let call = session.call(size_of_frame, move |store, instance, exports| {
        Box::pin(async move {
            let Exports::Queries(exports) = exports else { return Ok(Err(other_world())) };
            let guest = exports.load(&mut *store, instance)?;
            guest.call_transform(store, &query, "{}", &frame, last).await
        })
    });
    call.await
}
