//! One call of a plugin: a fresh instance, its limits, and what it said. Whatever happens ends this call alone.

use crate::bindings::exports::shiphold::host::retention_policy::PlanResult;
use crate::component::Loaded;
use crate::host::retention::{Cursor, size};
use crate::limits::{Hit, Limiter};
use crate::state::State;
use crate::text::printable;
use shiphold_storage::retention::Summary;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

/// What a call used and wrote, whether or not it went well.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub memory_peak_bytes: u64,
    pub fuel: Option<u64>,
    pub log: Vec<String>,
}

impl Used {
    /// Adds a call to a run; of its lines as many as one call may have.
    pub(crate) fn add(&mut self, other: Self, log_lines: u32) {
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
        self.fuel = match (self.fuel, other.fuel) {
            (None, f) | (f, None) => f,
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
        };
        // One more than the bound is the line that counts the others.
        let room = (log_lines as usize).saturating_add(1).saturating_sub(self.log.len());
        self.log.extend(other.log.into_iter().take(room));
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn store(
    loaded: &Loaded,
    layer: &Arc<DataLayer>,
    cancel: &Arc<AtomicBool>,
) -> Result<Store<State>> {
    let limits = &loaded.plugin.limits;
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles as usize);
    let state = State {
        plugin: loaded.plugin.name.clone(),
        layer: layer.clone(),
        caller: Caller::Plugin { name: loaded.plugin.name.clone(), grants: loaded.grants.clone() },
        config: loaded.config.clone(),
        table,
        limiter: Limiter::new(limits),
        limits: limits.clone(),
        log: Vec::new(),
        log_more: 0,
        gauges: loaded.gauges.clone(),
        deadline: Instant::now() + limits.deadline.0,
        cancel: cancel.clone(),
    };
    let mut store = Store::new(&loaded.ticked.engine, state);
    store.limiter(|s| &mut s.limiter);
    // At each epoch the guest lets go of its thread, so that the deadline can end it.
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store.set_hostcall_fuel(
        usize::try_from(limits.reply.0).unwrap_or(usize::MAX).saturating_add(HOSTCALL_SPARE_BYTES),
    );
    store.set_max_component_handles(limits.handles as usize);
    if let Some(fuel) = limits.fuel {
        store.set_fuel(fuel).map_err(|e| Error::internal(format!("metering fuel: {e:#}")))?;
    }
    Ok(store)
}

/// Bytes beside its reply that a guest may hand over in one call.
const HOSTCALL_SPARE_BYTES: usize = 64 << 10;

/// Calls `plan` on a fresh instance.
pub(crate) async fn plan(
    loaded: &Loaded,
    layer: &Arc<DataLayer>,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> (Result<PlanResult>, Used) {
    let limits = &loaded.plugin.limits;
    let cancel = Arc::new(AtomicBool::new(false));
    let _cancel = CancelOnDrop(cancel.clone());
    // Its turn in the pool; what it waits is not its own time.
    let Ok(_turn) = loaded.ticked.turns.acquire().await else {
        return (Err(Error::internal("the plugin engine is closed")), Used::default());
    };
    let mut store = match store(loaded, layer, &cancel) {
        Ok(store) => store,
        Err(e) => return (Err(e), Used::default()),
    };
    let _running = loaded.ticked.run();
    let called = tokio::time::timeout(limits.deadline.0, async {
        let instance = loaded.pre.instantiate_async(&mut store).await?;
        let cursor = store.data_mut().hold(Cursor::new(summaries))?;
        instance.shiphold_host_retention_policy().call_plan(&mut store, cursor, now).await
    })
    .await;
    let fuel = limits.fuel.map(|max| max.saturating_sub(store.get_fuel().unwrap_or(0)));
    let state = store.data_mut();
    let used = Used { memory_peak_bytes: state.limiter.peak as u64, fuel, log: state.take_log() };
    let hit = state.limiter.hit;
    let name = &loaded.plugin.name;
    let result = match called {
        Err(_) => Err(Hit::Deadline.error(name, limits)),
        Ok(Err(e)) => Err(match hit.or_else(|| known(&e)) {
            Some(hit) => hit.error(name, limits),
            None => fault(name, &e),
        }),
        Ok(Ok(Err(said))) if said.len() as u64 > limits.reply.0 => Err(Hit::Reply.error(name, limits)),
        Ok(Ok(Err(said))) => Err(Error::new(
            Kind::Plugin,
            format!("plugin `{name}` refused: {}", printable(&said, SAID_BYTES_MAX)),
        )
        .hint("it is the plugin's own answer; look at its configuration")),
        Ok(Ok(Ok(plan))) if plan.actions.len() > limits.actions as usize => {
            Err(Hit::Actions.error(name, limits))
        }
        Ok(Ok(Ok(plan))) if size(&plan.actions) as u64 > limits.reply.0 => {
            Err(Hit::Reply.error(name, limits))
        }
        Ok(Ok(Ok(plan))) => Ok(plan),
    };
    // A store whose call was cut off is dropped here, its fiber with it: nothing of it runs on.
    drop(store);
    (result, used)
}

/// Bytes of a guest's own sentence that are kept.
const SAID_BYTES_MAX: usize = 1_000;
/// Frames of a trap's trace that are told.
const FRAMES_MAX: usize = 4;

/// Limits that end a call from below: our own, and those that wasmtime keeps and has no type for.
fn known(e: &wasmtime::Error) -> Option<Hit> {
    if let Some(hit) = e.downcast_ref::<Hit>() {
        return Some(*hit);
    }
    if e.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        return Some(Hit::Fuel);
    }
    let text = format!("{e:#}");
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Some(Hit::Reply);
    }
    text.contains("store handle limit exceeded").then_some(Hit::Handles)
}

fn fault(name: &str, e: &wasmtime::Error) -> Error {
    if e.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Error::new(Kind::Busy, format!("there is no room for plugin `{name}` now: {e}"))
            .hint("it needs more memories or tables than are free while other plugins run; try again");
    }
    Error::new(Kind::Plugin, format!("plugin `{name}` trapped: {}", trap_text(e)))
        .hint("it is a fault of the plugin: its log is in `shiphold plugins runs NAME --log`")
}

fn trap_text(e: &wasmtime::Error) -> String {
    let mut text = e.downcast_ref::<Trap>().map_or_else(|| e.root_cause().to_string(), |t| format!("{t}"));
    if let Some(trace) = e.downcast_ref::<wasmtime::WasmBacktrace>() {
        let names: Vec<&str> =
            trace.frames().iter().filter_map(wasmtime::FrameInfo::func_name).take(FRAMES_MAX).collect();
        if !names.is_empty() {
            text.push_str(&format!(" in {}", names.join(" ← ")));
        }
    }
    printable(&text, SAID_BYTES_MAX)
}
