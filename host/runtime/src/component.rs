//! A component that is ready to be instantiated.

use crate::bindings::exports::shiphold::host::{
    backup_target, query_builder, retention_policy, skill_indexer,
};
use crate::check::{Examined, examine_or_error};
use crate::compile::{self, Compiler};
use crate::descriptor::Descriptor;
use crate::engine::{Engines, Ticked};
use crate::room::Turns;
use crate::state::{Gauges, State};
use crate::text::printable;
use shiphold_storage::manifest::{Plugin, World};
use shiphold_storage::{Error, Grants, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::component::{InstancePre, Linker};

/// Bytes of why a component cannot be linked that are told.
const SAID_BYTES_MAX: usize = 1_000;

/// What a component exports, by its world.
pub(crate) enum Exports {
    Retention(retention_policy::GuestIndices),
    Indexer(skill_indexer::GuestIndices),
    Queries(query_builder::GuestIndices),
    Target(backup_target::GuestIndices),
}

impl Exports {
    fn find(world: World, pre: &InstancePre<State>) -> wasmtime::Result<Self> {
        Ok(match world {
            World::RetentionPolicy => Self::Retention(retention_policy::GuestIndices::new(pre)?),
            World::SkillIndexer => Self::Indexer(skill_indexer::GuestIndices::new(pre)?),
            World::QueryBuilder => Self::Queries(query_builder::GuestIndices::new(pre)?),
            World::BackupTarget => Self::Target(backup_target::GuestIndices::new(pre)?),
        })
    }
}

/// A loaded plugin.
pub struct Loaded {
    pub(crate) plugin: Plugin,
    pub(crate) version: String,
    pub(crate) sha256: String,
    pub(crate) signed_by: Option<String>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) descriptor: Descriptor,
    pub(crate) config: Arc<str>,
    pub(crate) ticked: Arc<Ticked>,
    pub(crate) turns: Turns,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) gauges: Gauges,
    pub(crate) door: crate::host::http::Door,
    pub(crate) code: PathBuf,
    /// Was its code compiled now, or found in the cache?
    pub compiled: bool,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("plugin", &self.plugin.name).finish_non_exhaustive()
    }
}

impl Loaded {
    /// Changes when the component or its configuration does.
    pub(crate) fn revision(&self) -> String {
        crate::inspect::sha256(format!("{}\n{}", self.sha256, self.config).as_bytes())
    }
}

/// Checks, compiles (or finds in the cache) and links a plugin of the manifest.
pub async fn load(engines: &Engines, plugin: &Plugin, cache: &Path, compiler: &Compiler) -> Result<Loaded> {
    let (examining, fuel) = (plugin.clone(), plugin.limits.fuel.is_some());
    let component_max = engines.room().limits.component_max;
    let Examined { bytes, inspection, descriptor, grants, signed_by } =
        tokio::task::spawn_blocking(move || examine_or_error(&examining, component_max))
            .await
            .map_err(|e| Error::internal(format!("looking at plugin `{}`: {e}", plugin.name)))??;
    if let Some(key) = &signed_by {
        tracing::info!(plugin = plugin.name, key, "the component is signed");
    }
    let ticked = engines.get(fuel)?;
    let code = compile::load(&ticked, &bytes, cache, compiler)
        .await
        .map_err(|e| e.context(format!("plugin `{}`", plugin.name)))?;
    let wrong = |e: wasmtime::Error| {
        let said = printable(&format!("{e:#}"), SAID_BYTES_MAX);
        Error::invalid(format!("plugin `{}` does not fit this host: {said}", plugin.name))
            .hint("build it against the WIT package of this version")
    };
    let mut linker = Linker::new(&ticked.engine);
    crate::host::link(&mut linker, &grants).map_err(wrong)?;
    let pre = linker.instantiate_pre(&code.component).map_err(wrong)?;
    let exports = Exports::find(plugin.world, &pre).map_err(wrong)?;
    Ok(Loaded {
        version: descriptor.version.clone(),
        descriptor,
        sha256: inspection.sha256,
        signed_by,
        grants: Arc::new(grants),
        config: plugin.config.to_string().into(),
        turns: Turns::new(&plugin.limits),
        plugin: plugin.clone(),
        ticked,
        pre,
        exports,
        gauges: Gauges::default(),
        door: crate::host::http::Door::default(),
        compiled: code.now,
        code: code.code,
    })
}
