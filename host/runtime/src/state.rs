//! What the store of one call holds.

use crate::host::wasi::Wasi;
use crate::limits::{Hit, Limiter};
use crate::lines::Lines;
use shiphold_storage::manifest::PluginLimits;
use shiphold_storage::series::Budget;
use shiphold_storage::{Caller, DataLayer, Result};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use wasmtime::component::{Resource, ResourceTable};

/// Gauges of one plugin.
pub(crate) const GAUGES_MAX: usize = 100;

/// The gauges of a plugin, kept between calls.
pub(crate) type Gauges = Arc<Mutex<BTreeMap<String, f64>>>;

pub(crate) struct State {
    pub plugin: String,
    pub layer: Arc<DataLayer>,
    pub caller: Caller,
    pub config: Arc<str>,
    pub table: ResourceTable,
    pub limiter: Limiter,
    pub limits: PluginLimits,
    pub lines: Lines,
    pub gauges: Gauges,
    /// Its way out, and the secrets that it read: they are blanked out of what it says.
    pub door: crate::host::http::Door,
    pub hidden: Vec<String>,
    pub deadline: Instant,
    /// The call's `now`: of a plan the one that it is given, else the whole second in which the session began. Nanoseconds.
    pub now: i64,
    pub wasi: Option<Box<Wasi>>,
    /// Set when the call ends, however it ends: host calls on other threads stop then.
    pub cancel: Arc<AtomicBool>,
}

impl State {
    /// What a host call may spend: the rest of the call's deadline.
    pub(crate) fn budget(&self) -> Budget {
        Budget { deadline: Some(self.deadline), rows_max: None, cancel: Some(self.cancel.clone()) }
    }

    /// Puts a resource into the table; over the limit the call ends.
    pub(crate) fn hold<T: Send + 'static>(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        self.table.push(value).map_err(|_| {
            self.limiter.hit = Some(Hit::Handles);
            Hit::Handles.into()
        })
    }

    pub(crate) fn gives(&mut self, _bytes: usize) -> wasmtime::Result<()> {
        Ok(())
    }

    pub(crate) fn takes(&mut self, _bytes: usize) -> wasmtime::Result<()> {
        Ok(())
    }

    /// A storage call: on a thread made for blocking, and awaited, so that the deadline can end the wait. One that ran out
    /// of the call's time ends the call: the guest has none left to do something about it.
    pub(crate) fn blocking<
        T: Send + 'static,
        F: FnOnce(&DataLayer, &Caller, &Budget) -> Result<T> + Send + 'static,
    >(
        &self,
        f: F,
    ) -> impl Future<Output = wasmtime::Result<Result<T>>> + Send + use<T, F> {
        let (layer, caller, budget) = (self.layer.clone(), self.caller.clone(), self.budget());
        let deadline = self.deadline;
        async move {
            let done = tokio::task::spawn_blocking(move || f(&layer, &caller, &budget))
                .await
                .map_err(|e| wasmtime::Error::msg(format!("a host call ended in a panic: {e}")))?;
            if done.is_err() && Instant::now() >= deadline {
                return Err(Hit::Deadline.into());
            }
            Ok(done)
        }
    }

    /// Keeps a line, at most `log_lines` of them.
    pub(crate) fn log(&mut self, line: &str) {
        self.lines.push(line);
    }
}
