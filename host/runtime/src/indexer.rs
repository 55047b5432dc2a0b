//! Skill indexers, as the data layer asks them: for each skill before its transaction opens, and for each question.
//!
//! A call that fails is a failed run in the plugin's history, and counts towards `on_failure.disable_after`; calls that
//! succeed leave no row behind, or every question would write one.

use crate::bindings::exports::shiphold::host::skill_indexer as wit;
use crate::call::{Asking, Session, Used};
use crate::component::{Exports, Loaded};
use crate::host::error::other_world;
use crate::host::skills::{size_of_skill, skill_to_guest};
use crate::plugins::Counts;
use crate::run;
use crate::state::State;
use shiphold_storage::skills::{Expansion, IndexEntry, SkillIndexer, SkillVersion};
use shiphold_storage::{DataLayer, Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::runtime::Handle;
use wasmtime::Store;
use wasmtime::component::Instance;

/// A plugin that the data layer asks. It must be asked from a thread made for blocking.
pub(crate) struct GuestIndexer {
    loaded: Arc<Loaded>,
    /// The layer holds its indexers: one of both must let go.
    layer: Weak<DataLayer>,
    runtime: Handle,
    revision: String,
    enabled: AtomicBool,
    /// The last call failed.
    failed: AtomicBool,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for GuestIndexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestIndexer").field("plugin", &self.loaded.plugin.name).finish_non_exhaustive()
    }
}

impl GuestIndexer {
    /// Within a runtime, which its calls will use.
    pub(crate) fn new(
        loaded: Arc<Loaded>,
        layer: &Arc<DataLayer>,
        enabled: bool,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            revision: loaded.revision(),
            loaded,
            layer: Arc::downgrade(layer),
            runtime: Handle::current(),
            enabled: AtomicBool::new(enabled),
            failed: AtomicBool::new(false),
            counts,
        }
    }

    pub(crate) fn switch(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    fn ask<R: Send + 'static>(
        &self,
        trigger: &str,
        size: impl Fn(&R) -> usize,
        ask: impl for<'a> FnOnce(&'a mut Store<State>, &'a Instance, &'a Exports) -> Asking<'a, R>
        + Send
        + 'static,
    ) -> Result<R> {
        let name = &self.loaded.plugin.name;
        if !self.enabled.load(Ordering::Relaxed) {
            return Err(run::disabled(name));
        }
        let layer = self.layer.upgrade().ok_or_else(|| Error::internal("the stores are closed"))?;
        let start = Instant::now();
        let (result, used) = self.runtime.block_on(async {
            let mut session = Session::open(&self.loaded, &layer).await?;
            let result = session.call(size, ask).await;
            Ok::<_, Error>((result, session.used()))
            // A host without room is not the plugin's failure.
        })?;
        let error = result.as_ref().err();
        self.counts.called(error.is_none(), start.elapsed());
        self.counts.used(used.memory_peak_bytes, used.fuel);
        if error.is_some() || self.failed.load(Ordering::Relaxed) {
            self.failed.store(error.is_some(), Ordering::Relaxed);
            if let Err(e) = self.note(&layer, trigger, error, start, used) {
                tracing::error!(plugin = name, error = ?e, "the call could not be noted");
            }
        }
        result
    }

    /// A failure, or the first success after one.
    fn note(
        &self,
        layer: &DataLayer,
        trigger: &str,
        error: Option<&Error>,
        start: Instant,
        used: Used,
    ) -> Result<()> {
        if run::note(layer, &self.loaded.plugin, trigger, error, start, used)? {
            self.switch(false);
        }
        Ok(())
    }
}

/// What a text costs of the reply beside its bytes.
const TEXT_BYTES: usize = 16;

fn bytes(texts: &[String]) -> usize {
    texts.iter().map(|t| t.len() + TEXT_BYTES).sum()
}

impl SkillIndexer for GuestIndexer {
    fn name(&self) -> &str {
        &self.loaded.plugin.name
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn index(&self, skill: &SkillVersion) -> Result<IndexEntry> {
        let skill = skill_to_guest(skill.clone());
        let said = self.ask(
            "skill",
            |e: &wit::IndexEntry| bytes(&e.terms) + bytes(&e.tags) + e.vector.len() * 4,
            |store, instance, exports| {
                Box::pin(async move {
                    let Exports::Indexer(exports) = exports else { return Ok(Err(other_world())) };
                    store.data_mut().gives(size_of_skill(&skill))?;
                    exports.load(&mut *store, instance)?.call_index(store, &skill).await
                })
            },
        )?;
        Ok(IndexEntry { terms: said.terms, tags: said.tags, vector: said.vector })
    }

    fn expand(&self, question: &str) -> Result<Expansion> {
        let question = question.to_string();
        let said = self.ask(
            "question",
            |e: &wit::Expansion| bytes(&e.terms) + e.vector.len() * 4,
            |store, instance, exports| {
                Box::pin(async move {
                    let Exports::Indexer(exports) = exports else { return Ok(Err(other_world())) };
                    store.data_mut().gives(question.len())?;
                    exports.load(&mut *store, instance)?.call_expand(store, &question).await
                })
            },
        )?;
        Ok(Expansion { terms: said.terms, vector: said.vector })
    }
}
