//! A fresh instance of a plugin, its limits, its calls and what it said. Whatever happens ends this session alone.

use crate::bindings::exports::shiphold::host::retention_policy::PlanResult;
use crate::component::{Exports, Loaded};
use crate::engine::Running;
use crate::host::error::{Guest, from_guest, other_world};
use crate::host::retention::{Cursor, size};
use crate::host::secrets::without;
use crate::limits::{Hit, Limiter};
use crate::lines::Lines;
use crate::state::State;
use crate::text::printable;
use shiphold_storage::retention::Summary;
use shiphold_storage::schema::now_ns;
use shiphold_storage::{Caller, DataLayer, Error, Kind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Instance, ResourceTable, ResourceTableError};
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

/// What a guest is asked within a session.
pub(crate) type Asking<'a, R> =
    Pin<Box<dyn Future<Output = wasmtime::Result<std::result::Result<R, Guest>>> + Send + 'a>>;

/// A fresh instance in its own store. One call that fails ends it: it is dropped, its fiber with it, and nothing of it runs on.
pub(crate) struct Session {
    loaded: Arc<Loaded>,
    store: Store<State>,
    instance: Option<Instance>,
    /// Set when the session is dropped: host calls on other threads stop then.
    _cancel: CancelOnDrop,
    _running: Running,
    /// Its place in the pool.
    _turn: OwnedSemaphorePermit,
    calls: u32,
}

impl Session {
    /// Waits for a place in the pool (which is not the guest's own time) and prepares a store. The instance is made within
    /// the deadline of the first call.
    pub(crate) async fn open(loaded: &Arc<Loaded>, layer: &Arc<DataLayer>) -> Result<Self> {
        let turn = loaded.ticked.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Error::internal("the plugin engine is closed"))?;
        let cancel = Arc::new(AtomicBool::new(false));
        Ok(Self {
            store: store(loaded, layer, &cancel)?,
            loaded: loaded.clone(),
            instance: None,
            _cancel: CancelOnDrop(cancel),
            _running: loaded.ticked.run(),
            _turn: turn,
            calls: 0,
        })
    }

    /// One call, within its own deadline, fuel and reply. `size` says how many bytes an answer has.
    pub(crate) async fn call<R, F>(&mut self, size: impl Fn(&R) -> usize, ask: F) -> Result<R>
    where
        F: for<'a> FnOnce(&'a mut Store<State>, &'a Instance, &'a Exports) -> Asking<'a, R>,
    {
        let (name, limits) = (self.loaded.plugin.name.clone(), self.loaded.plugin.limits.clone());
        if self.calls > 0 {
            self.store.data_mut().deadline = Instant::now() + limits.deadline.0;
            refuel(&mut self.store, limits.fuel)?;
        }
        self.calls += 1;
        let called = tokio::time::timeout(limits.deadline.0, async {
            if self.instance.is_none() {
                self.instance = Some(self.loaded.pre.instantiate_async(&mut self.store).await?);
            }
            match &self.instance {
                Some(instance) => ask(&mut self.store, instance, &self.loaded.exports).await,
                None => Err(wasmtime::Error::msg("there is no instance")),
            }
        })
        .await;
        let hit = self.store.data().limiter.hit;
        match called {
            Err(_) => Err(Hit::Deadline.error(&name, &limits)),
            Ok(Err(e)) => Err(match hit.or_else(|| known(&e)) {
                Some(hit) => hit.error(&name, &limits),
                None => fault(&name, &e),
            }),
            Ok(Ok(Err(said))) => match from_guest(&said).1 {
                said if said.len() as u64 > limits.reply.0 => Err(Hit::Reply.error(&name, &limits)),
                said => Err(Error::new(
                    Kind::Plugin,
                    format!(
                        "plugin `{name}` refused: {}",
                        printable(&without(&self.store.data().hidden, said), SAID_BYTES_MAX)
                    ),
                )
                .hint("it is the plugin's own answer; look at its configuration")),
            },
            Ok(Ok(Ok(said))) if size(&said) as u64 > limits.reply.0 => Err(Hit::Reply.error(&name, &limits)),
            Ok(Ok(Ok(said))) => Ok(said),
        }
    }

    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// What it used and wrote so far.
    pub(crate) fn used(&mut self) -> Used {
        let limits = &self.loaded.plugin.limits;
        let fuel = limits.fuel.map(|max| max.saturating_sub(self.store.get_fuel().unwrap_or(0)));
        let state = self.store.data_mut();
        Used { memory_peak_bytes: state.limiter.peak as u64, fuel, log: state.lines.take() }
    }
}

fn refuel(store: &mut Store<State>, fuel: Option<u64>) -> Result<()> {
    let Some(fuel) = fuel else { return Ok(()) };
    store.set_fuel(fuel).map_err(|e| Error::internal(format!("metering fuel: {e:#}")))
}

fn store(loaded: &Loaded, layer: &Arc<DataLayer>, cancel: &Arc<AtomicBool>) -> Result<Store<State>> {
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
        lines: Lines::new(&loaded.plugin.name, limits.log_lines),
        gauges: loaded.gauges.clone(),
        door: loaded.door.clone(),
        hidden: Vec::new(),
        deadline: Instant::now() + limits.deadline.0,
        now: now_ns().div_euclid(SECOND_NS) * SECOND_NS,
        wasi: None,
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
    refuel(&mut store, limits.fuel)?;
    Ok(store)
}

const SECOND_NS: i64 = 1_000_000_000;

/// Bytes beside its reply that a guest may hand over in one call.
const HOSTCALL_SPARE_BYTES: usize = 64 << 10;

/// Calls `plan` on a fresh instance.
pub(crate) async fn plan(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> (Result<PlanResult>, Used) {
    let mut session = match Session::open(loaded, layer).await {
        Ok(session) => session,
        Err(e) => return (Err(e), Used::default()),
    };
    let result = plan_in(&mut session, summaries, now).await;
    (result, session.used())
}

/// [`plan`] on an instance that is there.
pub(crate) async fn plan_in(
    session: &mut Session,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> Result<PlanResult> {
    session.store.data_mut().now = now;
    let plan = session
        .call(
            |plan: &PlanResult| size(&plan.actions),
            |store, instance, exports| {
                Box::pin(async move {
                    let Exports::Retention(exports) = exports else { return Ok(Err(other_world())) };
                    let guest = exports.load(&mut *store, instance)?;
                    let cursor = store.data_mut().hold(Cursor::new(summaries))?;
                    guest.call_plan(store, cursor, now).await
                })
            },
        )
        .await?;
    let plugin = &session.loaded().plugin;
    if plan.actions.len() > plugin.limits.actions as usize {
        return Err(Hit::Actions.error(&plugin.name, &plugin.limits));
    }
    Ok(plan)
}

/// Bytes of a guest's own sentence that are kept.
pub(crate) const SAID_BYTES_MAX: usize = 1_000;
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
    if matches!(e.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return Some(Hit::Handles);
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
