//! One plugin of the manifest, and what it was loaded to. A slot never changes: a reload puts another in its place, and calls
//! under way keep the one that they began with.

use super::counts::Counts;
use crate::component::Loaded;
use crate::indexer::GuestIndexer;
use crate::inspect::{COMPONENT_BYTES_MAX, read, sha256};
use crate::queries::NamedQuery;
use serde_json::Value;
use shiphold_storage::manifest::Plugin;
use shiphold_storage::units::ByteSize;
use shiphold_storage::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// One plugin of the manifest.
pub(crate) struct Slot {
    /// As it is served: of the last good version where the newest was refused.
    pub plugin: Plugin,
    pub loaded: Result<Arc<Loaded>>,
    /// Of a query builder.
    pub queries: Vec<NamedQuery>,
    /// Of a skill indexer.
    pub indexer: Option<Arc<GuestIndexer>>,
    /// Since when it is served, in nanoseconds.
    pub since_ns: i64,
    /// Why the newest version is not served.
    pub refused: Option<String>,
    /// An operator went back to an earlier version.
    pub rolled_back: bool,
    pub previous: Option<Previous>,
    /// What was loaded or refused last: nothing is tried again before it changes.
    pub wanted: Wanted,
    /// Runs of one plugin never overlap, whatever their version.
    pub(super) busy: Arc<Mutex<()>>,
    pub counts: Arc<Counts>,
}

/// The version that was served before.
#[derive(Clone)]
pub(crate) struct Previous {
    pub plugin: Plugin,
    pub loaded: Arc<Loaded>,
    pub queries: Vec<NamedQuery>,
}

/// What a version is made from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// `[plugins.NAME]`, checked.
    keys: Value,
    /// Of the component; `None`: it cannot be read.
    pub sha256: Option<String>,
}

/// What is too large is refused when it is loaded, with the key of its limit.
pub(super) const READ_MAX: ByteSize = ByteSize(COMPONENT_BYTES_MAX);

impl Wanted {
    /// The component's path.
    pub(super) fn component(&self) -> Option<PathBuf> {
        self.keys.get("component")?.as_str().map(PathBuf::from)
    }

    /// Reads the whole component.
    pub(super) fn of(plugin: &Plugin) -> Self {
        Self {
            keys: serde_json::to_value(plugin).unwrap_or_default(),
            sha256: if plugin.enabled {
                read(&plugin.component, READ_MAX).ok().map(|bytes| sha256(&bytes))
            } else {
                None
            },
        }
    }
}

/// Tells a changed file without reading it: time of change, bytes, inode.
pub(super) type Stamp = Option<(SystemTime, u64, u64)>;

pub(super) fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let meta = path.metadata().ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

impl Slot {
    /// What was loaded, or why it was not.
    pub(crate) fn ready(&self) -> Result<&Arc<Loaded>> {
        let name = &self.plugin.name;
        self.loaded.as_ref().map_err(|e| {
            Error::new(e.kind(), format!("plugin `{name}` is not loaded: {}", e.message()))
                .hint(e.hint_text().unwrap_or("`shiphold check` shows what is wrong").to_string())
        })
    }

    /// What a roll-back would come back to.
    pub(super) fn served(&self) -> Option<Previous> {
        let loaded = self.loaded.as_ref().ok()?.clone();
        Some(Previous { plugin: self.plugin.clone(), loaded, queries: self.queries.clone() })
    }
}

/// Held while a run goes on.
pub(super) type Alone = OwnedMutexGuard<()>;
