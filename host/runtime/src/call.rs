//! A fresh instance of a plugin, its limits, its calls and what it said. Whatever happens ends this session alone.

use crate::bindings::exports::shiphold::host::retention_policy::PlanResult;
use crate::component::{Exports, Loaded};
use crate::engine::Running;
use crate::host::error::{Guest, from_guest, other_world};
use crate::host::retention::{Cursor, size};
use crate::limits::Hit;
use crate::lines::LOG_LINE_BYTES_MAX;
use crate::room::Place;
use crate::state::{Errand, State};
use crate::text::printable;
use shiphold_storage::manifest::PluginLimits;
use shiphold_storage::retention::Summary;
use shiphold_storage::{DataLayer, Error, Kind, Result};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;
use tokio::task::JoinHandle;
use wasmtime::component::Instance;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

/// What a call used and wrote, whether or not it went well.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub memory_peak_bytes: u64,
    pub fuel: Option<u64>,
    pub log: Vec<String>,
}

impl Used {
    /// Adds a call to a run; of its lines as many as one call may have, and as many bytes.
    pub(crate) fn add(&mut self, other: Self, limits: &PluginLimits) {
        self.memory_peak_bytes = self.memory_peak_bytes.max(other.memory_peak_bytes);
        self.fuel = match (self.fuel, other.fuel) {
            (None, f) | (f, None) => f,
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
        };
        // One more than the bound is the line that counts the others.
        let room = (limits.log_lines as usize).saturating_add(1).saturating_sub(self.log.len());
        let mut bytes = self.log.iter().map(|l| l.len() as u64).sum::<u64>();
        let fits = |line: &String| {
            bytes += line.len() as u64;
            bytes <= limits.log_bytes.0.saturating_add(LOG_LINE_BYTES_MAX as u64)
        };
        self.log.extend(other.log.into_iter().take(room).take_while(fits));
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

/// How a call ended: cut off at its deadline, or as the engine says, or with the guest's answer.
type Ended<R> = Option<wasmtime::Result<std::result::Result<R, Guest>>>;

/// A fresh instance in its own store. One call that fails ends it: it is dropped, its fiber with it, and nothing of it runs on.
pub(crate) struct Session {
    loaded: Arc<Loaded>,
    /// Not there while a call goes on, nor after one that ended in a fault of the host.
    live: Option<Box<Live>>,
}

/// What goes with a call to the thread that it runs on.
struct Live {
    store: Store<State>,
    instance: Option<Instance>,
    /// Set when it is dropped: host calls on other threads stop then.
    _cancel: CancelOnDrop,
    _running: Running,
    _place: Place,
}

/// A call that nobody waits for any more ends.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Waits for its turn (which is not the guest's own time) and prepares a store. The instance is made within the deadline
    /// of the first call.
    pub(crate) async fn open(loaded: &Arc<Loaded>, layer: &Arc<DataLayer>) -> Result<Self> {
        let place = loaded.ticked.room.enter(&loaded.plugin, &loaded.turns).await?;
        let cancel = Arc::new(AtomicBool::new(false));
        let live = Live {
            store: store(loaded, layer, &cancel),
            instance: None,
            _cancel: CancelOnDrop(cancel),
            _running: loaded.ticked.run(),
            _place: place,
        };
        Ok(Self { loaded: loaded.clone(), live: Some(Box::new(live)) })
    }

    /// One call, within its own deadline, fuel, reply and bytes. `size` says how many bytes an answer has.
    ///
    /// A guest that comes back at once does so on the caller's thread. One that does not, after an epoch at most, goes on
    /// among the other guests, on threads that serve nobody else.
    pub(crate) async fn call<R, F>(&mut self, size: impl Fn(&R) -> usize, ask: F) -> Result<R>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a mut Store<State>, &'a Instance, &'a Exports) -> Asking<'a, R> + Send + 'static,
    {
        let loaded = self.loaded.clone();
        let (name, limits) = (&loaded.plugin.name, &loaded.plugin.limits);
        let gone = || Error::internal(format!("the instance of plugin `{name}` is gone"));
        let mut live = self.live.take().ok_or_else(gone)?;
        begin(&mut live.store, limits)?;
        let mut task = Box::pin(asked(live, self.loaded.clone(), ask));
        let first = std::future::poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await;
        let (live, ended) = match first {
            Poll::Ready(done) => done,
            Poll::Pending => {
                let mut task = AbortOnDrop(loaded.ticked.room.threads()?.spawn(task));
                (&mut task.0).await.map_err(|e| Error::internal(format!("a call ended in a fault: {e}")))?
            }
        };
        let hit = live.store.data().limiter.hit;
        let lines = live.store.data().lines.clone();
        self.live = Some(live);
        match ended {
            None => Err(Hit::Deadline.error(name, limits)),
            Some(Err(e)) => Err(match hit.or_else(|| Hit::behind(&e)) {
                Some(hit) => hit.error(name, limits),
                None => fault(name, &e),
            }),
            Some(Ok(Err(said))) => match from_guest(&said).1 {
                said if said.len() as u64 > limits.reply.0 => Err(Hit::Reply.error(name, limits)),
                said => Err(Error::new(
                    Kind::Plugin,
                    format!(
                        "plugin `{name}` refused: {}",
                        printable(&lines.without_secrets(said), SAID_BYTES_MAX)
                    ),
                )
                .hint("it is the plugin's own answer; look at its configuration")),
            },
            Some(Ok(Ok(said))) if size(&said) as u64 > limits.reply.0 => Err(Hit::Reply.error(name, limits)),
            Some(Ok(Ok(said))) => Ok(said),
        }
    }

    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// What it used and wrote so far.
    pub(crate) fn used(&mut self) -> Used {
        let Some(live) = &mut self.live else { return Used::default() };
        let limits = &self.loaded.plugin.limits;
        let fuel = limits.fuel.map(|max| max.saturating_sub(live.store.get_fuel().unwrap_or(0)));
        let state = live.store.data_mut();
        Used { memory_peak_bytes: state.limiter.peak as u64, fuel, log: state.lines.take() }
    }
}

/// Makes the instance if there is none, and asks it; until its deadline.
async fn asked<R, F>(mut live: Box<Live>, loaded: Arc<Loaded>, ask: F) -> (Box<Live>, Ended<R>)
where
    R: Send + 'static,
    F: for<'a> FnOnce(&'a mut Store<State>, &'a Instance, &'a Exports) -> Asking<'a, R> + Send + 'static,
{
    let Live { store, instance, .. } = &mut *live;
    let deadline = store.data().deadline;
    let ended = {
        let mut call = pin!(async {
            if instance.is_none() {
                *instance = Some(loaded.pre.instantiate_async(&mut *store).await?);
            }
            match instance {
                Some(instance) => ask(store, instance, &loaded.exports).await,
                None => Err(wasmtime::Error::msg("there is no instance")),
            }
        });
        let mut sleep = None;
        let mut moved = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = call.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            // The clock is set where the call goes on: where it began it may be finished before there is need of one.
            if !std::mem::replace(&mut moved, true) {
                return Poll::Pending;
            }
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await
    };
    (live, ended)
}

/// A call begins: its time, fuel and bytes count from here.
fn begin(store: &mut Store<State>, limits: &PluginLimits) -> Result<()> {
    let state = store.data_mut();
    state.deadline = Instant::now() + limits.deadline.0;
    state.limiter.begin();
    store.set_epoch_deadline(1);
    let Some(fuel) = limits.fuel else { return Ok(()) };
    store.set_fuel(fuel).map_err(|e| Error::internal(format!("metering fuel: {e:#}")))
}

fn store(loaded: &Loaded, layer: &Arc<DataLayer>, cancel: &Arc<AtomicBool>) -> Store<State> {
    let limits = &loaded.plugin.limits;
    let mut store = Store::new(&loaded.ticked.engine, State::new(loaded, layer, cancel));
    store.limiter(|s| &mut s.limiter);
    // At each epoch the guest lets go of its thread, so that the deadline can end it.
    store.epoch_deadline_async_yield_and_update(1);
    store.set_hostcall_fuel(
        usize::try_from(limits.reply.0).unwrap_or(usize::MAX).saturating_add(HOSTCALL_SPARE_BYTES),
    );
    store.set_max_component_handles(limits.handles as usize);
    store
}

/// Bytes beside its reply that wasmtime lets a guest hand over at once: what it counts is not quite what we count.
const HOSTCALL_SPARE_BYTES: usize = 64 << 10;

/// Calls `plan` on a fresh instance.
pub(crate) async fn plan(
    loaded: &Arc<Loaded>,
    layer: &Arc<DataLayer>,
    summaries: Arc<Vec<Summary>>,
    now: i64,
    errand: Errand,
) -> (Result<PlanResult>, Used) {
    let mut session = match Session::open(loaded, layer).await {
        Ok(session) => session,
        Err(e) => return (Err(e), Used::default()),
    };
    if let Some(live) = &mut session.live {
        live.store.data_mut().errand = errand;
    }
    let result = plan_in(&mut session, summaries, now).await;
    (result, session.used())
}

/// [`plan`] on an instance that is there.
pub(crate) async fn plan_in(
    session: &mut Session,
    summaries: Arc<Vec<Summary>>,
    now: i64,
) -> Result<PlanResult> {
    if let Some(live) = &mut session.live {
        live.store.data_mut().now = now;
    }
    let plan = session
        .call(
            |plan: &PlanResult| size(&plan.actions),
            move |store, instance, exports| {
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

fn fault(name: &str, e: &wasmtime::Error) -> Error {
    if e.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Error::new(Kind::Busy, format!("there is no room for plugin `{name}` now: {e}"))
            .hint("it needs more memories or tables than are free while other plugins run; try again, or raise `limits.plugins.instances` in shiphold.toml");
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
