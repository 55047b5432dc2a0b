//! `retention-types`: the cursor, and actions on their way in.

use super::convert::{key_from_guest, key_to_guest};
use crate::bindings::shiphold::host::retention_types as wit;
use crate::state::State;
use shiphold_storage::Result;
use shiphold_storage::retention::{Action, Summary};
use shiphold_storage::series::kinds::Kind;
use std::sync::Arc;
use wasmtime::component::Resource;

/// Summaries of one step.
const STEP_MAX: u32 = 1_000;

/// What the plugin may read, and how much of it was given.
pub struct Cursor {
    all: Arc<Vec<Summary>>,
    at: usize,
}

impl Cursor {
    pub(crate) fn new(all: Arc<Vec<Summary>>) -> Self {
        Self { all, at: 0 }
    }
}

impl wit::Host for State {}

impl wit::HostCursor for State {
    async fn next(
        &mut self,
        cursor: Resource<Cursor>,
        count_max: u32,
    ) -> wasmtime::Result<Vec<wit::Summary>> {
        let c = self.table.get_mut(&cursor)?;
        let to = c.at.saturating_add(count_max.clamp(1, STEP_MAX) as usize).min(c.all.len());
        let part = c.all.get(c.at..to).unwrap_or(&[]).iter().map(to_guest).collect();
        c.at = to;
        Ok(part)
    }

    async fn drop(&mut self, cursor: Resource<Cursor>) -> wasmtime::Result<()> {
        self.table.delete(cursor)?;
        Ok(())
    }
}

fn to_guest(s: &Summary) -> wit::Summary {
    match s {
        Summary::Series(s) => wit::Summary::Series(wit::SeriesSummary {
            key: key_to_guest(&s.key),
            kind: match s.kind {
                Kind::Bar => wit::Kind::Bar,
                Kind::Tick => wit::Kind::Tick,
                Kind::Book => wit::Kind::Book,
                Kind::Signal => wit::Kind::Signal,
                Kind::Metric => wit::Kind::Metric,
                Kind::Other => wit::Kind::Other,
            },
            timeframe: s.timeframe.clone(),
            rows: s.rows,
            first: s.first,
            last: s.last,
            rolled: s.rolled.iter().map(|(t, at)| (t.clone(), *at)).collect(),
        }),
        Summary::File(f) => wit::Summary::File(wit::FileSummary {
            store: f.store.clone(),
            path: f.path.clone(),
            version: f.version,
            size: f.size,
            created_at: f.created_at,
            versions: f.versions,
            bytes: f.bytes,
        }),
    }
}

/// What one action costs of the reply, beside its strings.
const ACTION_BYTES: usize = 64;

/// Bytes that a plan gives back.
pub(crate) fn size(actions: &[wit::Action]) -> usize {
    let key = |k: &crate::bindings::shiphold::host::types::SeriesKey| {
        k.bucket.len()
            + k.measurement.len()
            + k.tags.iter().map(|(a, b)| a.len() + b.len() + 16).sum::<usize>()
    };
    actions
        .iter()
        .map(|a| {
            ACTION_BYTES
                + match a {
                    wit::Action::Downsample(d) => key(&d.key) + d.timeframe.len(),
                    wit::Action::Archive(a) => key(&a.key) + a.store.len(),
                    wit::Action::DropBefore(d) => key(&d.key),
                    wit::Action::DropFile(f) => f.store.len() + f.path.len(),
                }
        })
        .sum()
}

pub(crate) fn from_guest(actions: Vec<wit::Action>) -> Result<Vec<Action>> {
    actions
        .into_iter()
        .map(|a| {
            Ok(match a {
                wit::Action::Downsample(d) => Action::Downsample {
                    key: key_from_guest(d.key)?,
                    timeframe: d.timeframe,
                    before: d.before,
                },
                wit::Action::Archive(a) => {
                    Action::Archive { key: key_from_guest(a.key)?, store: a.store, before: a.before }
                }
                wit::Action::DropBefore(d) => {
                    Action::DropBefore { key: key_from_guest(d.key)?, before: d.before }
                }
                wit::Action::DropFile(f) => Action::DropFile { store: f.store, path: f.path },
            })
        })
        .collect()
}
