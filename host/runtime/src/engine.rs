//! Engines: one without and one with fuel, made when they are needed; and the clock that ends calls.

use shiphold_storage::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a guest lets others run and its deadline is looked at.
pub const EPOCH: Duration = Duration::from_millis(5);
/// Instances at once over all plugins; each reserves address space, not memory.
const INSTANCES_MAX: u32 = 16;
/// Bytes of a stack on which guest and host calls run.
const STACK_BYTES: usize = 1 << 20;
/// Bytes of the stack that a guest may use.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Bytes of a memory that stay with a slot between calls.
const KEPT_BYTES: usize = 256 << 10;

/// What decides how code is compiled: the child that compiles and the host that runs must agree.
fn config(fuel: bool) -> Config {
    let mut c = Config::new();
    c.epoch_interruption(true);
    c.consume_fuel(fuel);
    c.max_wasm_stack(GUEST_STACK_BYTES);
    c.async_stack_size(STACK_BYTES);
    c.memory_init_cow(true);
    c.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    c
}

fn pooled(fuel: bool) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 4)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 2)
        .total_stacks(INSTANCES_MAX)
        .table_elements(100_000)
        .max_memory_size(4 << 30)
        .max_unused_warm_slots(4)
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(64 << 10);
    let mut c = config(fuel);
    c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    c
}

/// For the child that compiles: nothing is instantiated there.
pub(crate) fn compiler(fuel: bool) -> Result<Engine> {
    Engine::new(&config(fuel)).map_err(|e| Error::internal(format!("starting the compiler: {e:#}")))
}

/// The engines of a host and the ticker of their epoch.
#[derive(Debug)]
pub struct Engines {
    plain: OnceLock<Arc<Ticked>>,
    fuel: OnceLock<Arc<Ticked>>,
    making: Mutex<()>,
    pool: bool,
}

/// An engine whose epoch moves while calls run.
#[derive(Debug)]
pub(crate) struct Ticked {
    pub engine: Engine,
    calls: AtomicUsize,
    ticking: AtomicBool,
}

/// While it lives, the epoch moves.
pub(crate) struct Running(Arc<Ticked>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticked {
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if !self.ticking.swap(true, Ordering::SeqCst) {
            let ticked = Arc::downgrade(self);
            std::thread::spawn(move || tick(&ticked));
        }
        Running(self.clone())
    }
}

/// Ends when nothing runs: a host at rest has no thread that wakes two hundred times a second.
fn tick(ticked: &Weak<Ticked>) {
    loop {
        std::thread::sleep(EPOCH);
        let Some(t) = ticked.upgrade() else { return };
        t.engine.increment_epoch();
        if t.calls.load(Ordering::SeqCst) == 0 {
            t.ticking.store(false, Ordering::SeqCst);
            // A call that came in between saw `ticking` still set: it needs this thread.
            if t.calls.load(Ordering::SeqCst) == 0 || t.ticking.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

impl Engines {
    /// Without a pool every instance is allocated anew: for the benchmark beside it.
    pub fn new(pool: bool) -> Self {
        Self { plain: OnceLock::new(), fuel: OnceLock::new(), making: Mutex::new(()), pool }
    }

    pub(crate) fn get(&self, fuel: bool) -> Result<Arc<Ticked>> {
        let slot = if fuel { &self.fuel } else { &self.plain };
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(t) = slot.get() {
            return Ok(t.clone());
        }
        let made = if self.pool { Engine::new(&pooled(fuel)).ok() } else { None };
        let engine = match made {
            Some(engine) => engine,
            None => {
                if self.pool {
                    tracing::warn!("address space is short: plugin instances are made without a pool");
                }
                Engine::new(&config(fuel))
                    .map_err(|e| Error::internal(format!("starting the plugin engine: {e:#}")))?
            }
        };
        let ticked = Arc::new(Ticked { engine, calls: AtomicUsize::new(0), ticking: AtomicBool::new(false) });
        Ok(slot.get_or_init(|| ticked).clone())
    }
}
