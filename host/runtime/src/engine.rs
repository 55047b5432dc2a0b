//! Engines: one without and one with fuel, made when they are needed; and the clock that ends calls.

use crate::room::Room;
use shiphold_storage::manifest::HostPluginLimits;
use shiphold_storage::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a guest lets others run and its deadline is looked at.
pub const EPOCH: Duration = Duration::from_millis(5);
/// Core instances and tables that the pool has for each instance of a component, which is made of several.
const CORE_INSTANCES_EACH: u32 = 16;
const TABLES_EACH: u32 = 4;
/// Memories and tables of one module; `limits.memories` and `limits.tables` have the same bounds.
const MEMORIES_MAX: u32 = 100;
const TABLES_MAX: u32 = 1_000;
/// Bytes of a stack on which guest and host calls run.
const STACK_BYTES: usize = 1 << 20;
/// Bytes of the stack that a guest may use.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Bytes of a memory that stay with a slot between calls.
const KEPT_BYTES: usize = 256 << 10;
/// Entries of a table; `limits.table_entries` has the same bound.
const TABLE_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of address space that a memory gets beforehand, and grows by, where address space is short.
const SHORT_RESERVATION_BYTES: u64 = 1 << 20;

/// What decides how code is compiled: the child that compiles and the host that runs must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mode {
    /// The code counts its instructions.
    pub fuel: bool,
    /// Address space is short: memories are reserved small and may move when they grow.
    pub short: bool,
}

impl Mode {
    pub(crate) const ALL: [Self; 4] = [
        Self { fuel: false, short: false },
        Self { fuel: true, short: false },
        Self { fuel: false, short: true },
        Self { fuel: true, short: true },
    ];
}

fn config(mode: Mode) -> Config {
    let mut c = Config::new();
    c.epoch_interruption(true);
    c.consume_fuel(mode.fuel);
    if mode.short {
        c.memory_reservation(SHORT_RESERVATION_BYTES);
        c.memory_reservation_for_growth(SHORT_RESERVATION_BYTES);
        c.memory_may_move(true);
    }
    c.max_wasm_stack(GUEST_STACK_BYTES);
    c.async_stack_size(STACK_BYTES);
    c.memory_init_cow(true);
    c.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    c
}

/// Each instance reserves address space, not memory.
fn pooled(mode: Mode, instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_EACH))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_EACH))
        .total_stacks(instances)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ENTRIES_MAX)
        .max_memory_size(4 << 30)
        .max_unused_warm_slots(4)
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(64 << 10)
        // Only the pages that a guest touched are made zero again, where the kernel can tell.
        .pagemap_scan(Enabled::Auto);
    let mut c = config(mode);
    c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    c
}

/// For the child that compiles: nothing is instantiated there.
pub(crate) fn compiler(mode: Mode) -> Result<Engine> {
    Engine::new(&config(mode)).map_err(|e| Error::internal(format!("starting the compiler: {e:#}")))
}

/// The engines of a host and the ticker of their epoch.
#[derive(Debug)]
pub struct Engines {
    plain: OnceLock<Arc<Ticked>>,
    fuel: OnceLock<Arc<Ticked>>,
    making: Mutex<()>,
    pool: Pool,
    room: Arc<Room>,
}

/// Whether instances come from a pool.
#[derive(Debug, Clone, Copy)]
enum Pool {
    Wanted,
    None,
    #[cfg(test)]
    Short,
}

/// An engine whose epoch moves while calls run.
#[derive(Debug)]
pub(crate) struct Ticked {
    pub engine: Engine,
    pub mode: Mode,
    /// A call waits here until there is a place for it.
    pub room: Arc<Room>,
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
    /// For the plugins of one host, which share what `limits` allow.
    pub fn new(limits: &HostPluginLimits) -> Self {
        Self::with(Pool::Wanted, limits)
    }

    /// Without a pool every instance is allocated anew: for the benchmark beside it.
    pub fn without_pool() -> Self {
        Self::with(Pool::None, &HostPluginLimits::default())
    }

    /// As on a machine whose address space has no room for a pool.
    #[cfg(test)]
    pub(crate) fn short() -> Self {
        Self::with(Pool::Short, &HostPluginLimits::default())
    }

    fn with(pool: Pool, limits: &HostPluginLimits) -> Self {
        Self {
            plain: OnceLock::new(),
            fuel: OnceLock::new(),
            making: Mutex::new(()),
            pool,
            room: Arc::new(Room::new(limits)),
        }
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    pub(crate) fn get(&self, fuel: bool) -> Result<Arc<Ticked>> {
        let slot = if fuel { &self.fuel } else { &self.plain };
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(t) = slot.get() {
            return Ok(t.clone());
        }
        let (engine, mode) = self.make(fuel)?;
        let ticked = Arc::new(Ticked {
            engine,
            mode,
            room: self.room.clone(),
            calls: AtomicUsize::new(0),
            ticking: AtomicBool::new(false),
        });
        Ok(slot.get_or_init(|| ticked).clone())
    }

    fn make(&self, fuel: bool) -> Result<(Engine, Mode)> {
        let ample = Mode { fuel, short: false };
        let mode = match self.pool {
            Pool::Wanted => match Engine::new(&pooled(ample, self.room.limits.instances)) {
                Ok(engine) => return Ok((engine, ample)),
                Err(e) => {
                    tracing::warn!(error = %e, "address space is short: plugin instances are made without a pool");
                    Mode { fuel, short: true }
                }
            },
            Pool::None => ample,
            #[cfg(test)]
            Pool::Short => Mode { fuel, short: true },
        };
        Ok((compiler(mode)?, mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    fn compatibility(engine: &Engine) -> u64 {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn the_child_compiles_for_the_engine_that_runs() {
        for fuel in [false, true] {
            let (pooled, mode) = Engines::new(&HostPluginLimits::default()).make(fuel).unwrap();
            assert_eq!(compatibility(&pooled), compatibility(&compiler(mode).unwrap()), "fuel {fuel}");
        }
        let all: std::collections::BTreeSet<u64> =
            Mode::ALL.iter().map(|m| compatibility(&compiler(*m).unwrap())).collect();
        assert_eq!(all.len(), Mode::ALL.len(), "each mode has code of its own");
    }

    #[test]
    fn the_epoch_moves_while_something_runs_and_rests_after() {
        let ticked = Engines::without_pool().get(false).unwrap();
        let ticking = || ticked.ticking.load(Ordering::SeqCst);
        assert!(!ticking());
        let running = (ticked.run(), ticked.run());
        assert!(ticking());
        drop(running);
        while ticking() {
            std::thread::yield_now();
        }
        assert_eq!(ticked.calls.load(Ordering::SeqCst), 0);
        let _again = ticked.run();
        assert!(ticking());
    }
}
