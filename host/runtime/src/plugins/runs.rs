//! Runs of a plugin: by the operator, and when they are due.

use super::slot::Alone;
use super::{Plugins, Slot};
use crate::run::{self, RunOptions, RunReport};
use shiphold_storage::manifest::World;
use shiphold_storage::{Caller, Error, Kind, Result, Scope};
use std::sync::Arc;

impl Plugins {
    /// Runs a plugin now; [`Kind::Busy`] while it runs already. A run that began goes on to its end even if nobody waits
    /// for the answer any more.
    pub async fn run(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        options: RunOptions,
    ) -> Result<RunReport> {
        caller.require(Scope::Admin, "run plugins")?;
        let slot = self.slot(name)?;
        let instead = match slot.plugin.world {
            World::RetentionPolicy => None,
            World::SkillIndexer => Some(
                "it is asked for each skill and question; `shiphold skills reindex` asks it for those that wait",
            ),
            World::QueryBuilder => {
                Some("`shiphold queries list` shows its queries, `shiphold queries run` runs them")
            }
            World::BackupTarget => Some("`shiphold backup push NAME` uses it"),
        };
        if let Some(hint) = instead {
            let world = slot.plugin.world.name();
            return Err(
                Error::invalid(format!("plugin `{name}` is a {world}: it has no runs of its own")).hint(hint)
            );
        }
        let Ok(alone) = slot.busy.clone().try_lock_owned() else {
            return Err(Error::new(Kind::Busy, format!("plugin `{name}` is running already"))
                .hint(format!("`shiphold plugins runs {name}` shows its runs")));
        };
        self.detached(&slot, alone, options).await.1
    }

    /// In a task of its own: a client that goes away would otherwise leave a run half noted, and let a second one begin
    /// beside what the first still executes.
    async fn detached(
        &self,
        slot: &Arc<Slot>,
        alone: Alone,
        options: RunOptions,
    ) -> (Option<Alone>, Result<RunReport>) {
        let (layer, slot) = (self.layer.clone(), slot.clone());
        let task = tokio::spawn(async move {
            let done = run::once(&layer, &slot, options).await;
            (Some(alone), done)
        });
        task.await.unwrap_or_else(|e| (None, Err(Error::internal(format!("a run ended in a fault: {e}")))))
    }

    /// A scheduled run with its retries; a run that is due while another goes on is skipped and counted.
    pub(crate) async fn run_due(&self, name: &str, trigger: &str) {
        let Ok(slot) = self.slot(name) else { return };
        let Ok(alone) = slot.busy.clone().try_lock_owned() else {
            tracing::warn!(plugin = name, "it is due while a run goes on: skipped");
            let (layer, name) = (self.layer.clone(), name.to_string());
            if let Err(e) = run::blocking(move || layer.plugins().count_skipped(&name)).await {
                tracing::error!(plugin = slot.plugin.name, error = ?e, "the skipped run could not be counted");
            }
            return;
        };
        self.attempts(name, trigger, slot, alone).await;
    }

    /// A run for an event: after the one that goes on, because that one may have looked before the event. `begins` is
    /// called when nothing stands between it and what is there.
    pub(crate) async fn run_after(&self, name: &str, trigger: &str, begins: impl FnOnce()) {
        let Ok(slot) = self.slot(name) else { return begins() };
        let alone = slot.busy.clone().lock_owned().await;
        begins();
        // A reload may have come while it waited.
        let Ok(slot) = self.slot(name) else { return };
        self.attempts(name, trigger, slot, alone).await;
    }

    async fn attempts(&self, name: &str, trigger: &str, mut slot: Arc<Slot>, mut alone: Alone) {
        let policy = slot.plugin.on_failure.clone();
        let mut pause = policy.backoff.0;
        for attempt in 0..=policy.retries {
            let trigger = if attempt == 0 { trigger } else { "retry" };
            let options = RunOptions { trigger: trigger.into(), ..RunOptions::default() };
            let (held, done) = self.detached(&slot, alone, options).await;
            match done {
                Ok(_) => return,
                // The plugin is disabled, or its plan is refused: the same answer would come again.
                Err(e) if e.kind() == Kind::Denied => {
                    tracing::warn!(plugin = name, error = ?e, "the run was refused");
                    return;
                }
                Err(e) => tracing::error!(plugin = name, attempt, error = ?e, "the run failed"),
            }
            let Some(held) = held else { return };
            alone = held;
            if attempt < policy.retries {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
                // A reload may have brought another version, or taken the plugin away.
                let Ok(now) = self.slot(name) else { return };
                slot = now;
            }
        }
    }
}
