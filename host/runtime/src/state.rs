//! What the store of one call holds.

use crate::component::Loaded;
use crate::host::wasi::Wasi;
use crate::limits::{Hit, Limiter};
use crate::lines::Lines;
use shiphold_storage::audit::RequestId;
use shiphold_storage::manifest::PluginLimits;
use shiphold_storage::schema::now_ns;
use shiphold_storage::series::Budget;
use shiphold_storage::{Caller, DataLayer, Error, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use wasmtime::component::{Resource, ResourceTable};

/// In which a guest without a clock sees the time.
const SECOND_NS: i64 = 1_000_000_000;

/// On whose behalf a call is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errand {
    /// What the audit trail says of what the guest writes.
    pub request: Option<RequestId>,
    /// The guest writes nothing.
    pub dry_run: bool,
}

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
    /// Its way out.
    pub door: crate::host::http::Door,
    /// Held once by the call and once by each file that it writes.
    pub writers: Arc<()>,
    pub deadline: Instant,
    /// The call's `now`: of a plan the one that it is given, else the whole second in which the session began. Nanoseconds.
    pub now: i64,
    pub errand: Errand,
    pub wasi: Option<Box<Wasi>>,
    /// Set when the call ends, however it ends: host calls on other threads stop then.
    pub cancel: Arc<AtomicBool>,
    /// Storage calls under way on other threads, those of calls that were cut off among them.
    pub blocked: Arc<AtomicUsize>,
}

/// A storage call under way.
struct Blocked(Arc<AtomicUsize>);

impl Blocked {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    pub(crate) fn new(loaded: &Loaded, layer: &Arc<DataLayer>, cancel: &Arc<AtomicBool>) -> Self {
        let limits = &loaded.plugin.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            plugin: loaded.plugin.name.clone(),
            layer: layer.clone(),
            caller: Caller::Plugin { name: loaded.plugin.name.clone(), grants: loaded.grants.clone() },
            config: loaded.config.clone(),
            table,
            limiter: Limiter::new(limits),
            limits: limits.clone(),
            lines: Lines::new(&loaded.plugin.name, limits.log_lines, limits.log_bytes.0),
            gauges: loaded.gauges.clone(),
            door: loaded.door.clone(),
            writers: Arc::default(),
            deadline: Instant::now() + limits.deadline.0,
            now: now_ns().div_euclid(SECOND_NS) * SECOND_NS,
            errand: Errand::default(),
            wasi: None,
            cancel: cancel.clone(),
            blocked: loaded.ticked.room.blocked.clone(),
        }
    }

    /// What a host call may spend: the rest of the call's deadline.
    pub(crate) fn budget(&self) -> Budget {
        Budget { deadline: Some(self.deadline), cancel: Some(self.cancel.clone()), ..Budget::default() }
    }

    /// Puts a resource into the table; over the limit the call ends.
    pub(crate) fn hold<T: Send + 'static>(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        self.table.push(value).or_else(|_| self.limiter.ends(Hit::Handles))
    }

    /// Bytes on their way to the guest; beyond `limits.input` the call ends. Every host function that gives back what has no
    /// small bound of its own says so here.
    pub(crate) fn gives(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.limiter.gives(bytes)
    }

    /// Bytes that a host call took; beyond `limits.output` the call ends. Every host function that takes more than numbers
    /// says so here.
    pub(crate) fn takes(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.limiter.takes(bytes)
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
        let (deadline, blocked) = (self.deadline, Blocked::new(&self.blocked));
        let request = self.errand.request.clone();
        async move {
            let done = tokio::task::spawn_blocking(move || {
                let _blocked = blocked;
                match request {
                    Some(id) => id.during(|| f(&layer, &caller, &budget)),
                    None => f(&layer, &caller, &budget),
                }
            })
            .await
            .map_err(|e| wasmtime::Error::msg(format!("a host call ended in a panic: {e}")))?;
            if done.is_err() && Instant::now() >= deadline {
                return Err(Hit::Deadline.into());
            }
            Ok(done)
        }
    }

    /// Refuses what a guest writes in a dry run.
    pub(crate) fn may_write(&self) -> Result<()> {
        match self.errand.dry_run {
            true => Err(Error::denied("a dry run writes nothing").hint("run the plugin without --dry-run")),
            false => Ok(()),
        }
    }

    /// Keeps a line: at most `log_lines` of them with `log_bytes` together.
    pub(crate) fn log(&mut self, line: &str) {
        self.lines.push(line);
    }
}
