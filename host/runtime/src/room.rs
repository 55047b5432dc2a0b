//! What all plugins of a host share: instances at once, their memory, a queue before them, and the threads they run on.

use shiphold_storage::manifest::{HostPluginLimits, Plugin, PluginLimits};
use shiphold_storage::{Error, Kind, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{AcquireError, Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Memory is handed out in pages of WebAssembly.
const PAGE_BYTES: u64 = 64 << 10;
/// Threads for storage calls beside one for each instance: calls that were cut off may still end there.
const SPARE_THREADS: usize = 16;

/// Shared by the plugins of one host.
#[derive(Debug)]
pub(crate) struct Room {
    pub limits: HostPluginLimits,
    instances: Arc<Semaphore>,
    /// In pages.
    memory: Arc<Semaphore>,
    waiting: AtomicUsize,
    threads: OnceLock<Threads>,
    /// One component is compiled at a time, so that the limits of a compilation hold for all of them.
    pub compiling: Mutex<()>,
    /// Storage calls of guests that are under way.
    pub blocked: Arc<AtomicUsize>,
}

/// The turns of one plugin.
#[derive(Debug)]
pub(crate) struct Turns {
    instances: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Turns {
    pub(crate) fn new(limits: &PluginLimits) -> Self {
        Self {
            instances: Arc::new(Semaphore::new(limits.concurrency as usize)),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// Room for one instance, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _instance: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

/// One of those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize, most: u32) -> Option<Self> {
        let joined = count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most as usize).then_some(n + 1));
        joined.is_ok().then(|| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    pub(crate) fn new(limits: &HostPluginLimits) -> Self {
        Self {
            instances: Arc::new(Semaphore::new(limits.instances as usize)),
            memory: Arc::new(Semaphore::new(pages(limits.memory.0) as usize)),
            waiting: AtomicUsize::new(0),
            threads: OnceLock::new(),
            compiling: Mutex::new(()),
            blocked: Arc::default(),
            limits: limits.clone(),
        }
    }

    /// Waits for a place, if there is room in the queue: until the plugin, the host and its memory have one. All of the
    /// memory that the plugin may use is set aside, so that no instance fails later because another one grew.
    pub(crate) async fn enter(&self, plugin: &Plugin, turns: &Turns) -> Result<Place> {
        let pages = pages(plugin.limits.memory.0);
        let at_once = || {
            Some(Place {
                _own: turns.instances.clone().try_acquire_owned().ok()?,
                _instance: self.instances.clone().try_acquire_owned().ok()?,
                _memory: self.memory.clone().try_acquire_many_owned(pages).ok()?,
            })
        };
        if let Some(place) = at_once() {
            return Ok(place);
        }
        let (name, own, all) = (&plugin.name, &plugin.limits, &self.limits);
        let full = |key: String, value: u32| {
            busy(name, &format!("{value} calls wait already"), &format!("{key} = {value}"), &key)
        };
        let Some(_waits) = Waiting::new(&turns.waiting, own.queue) else {
            return Err(full(format!("plugins.{name}.limits.queue"), own.queue));
        };
        let Some(_waits) = Waiting::new(&self.waiting, all.queue) else {
            return Err(full("limits.plugins.queue".into(), all.queue));
        };
        let until = Instant::now() + all.wait.0;
        let late = |key: &str, value: String| {
            let waited = format!("it waited {} (limits.plugins.wait) for its turn", all.wait);
            busy(name, &waited, &format!("{key} = {value}"), key)
        };
        let key = format!("plugins.{name}.limits.concurrency");
        let own = before(until, turns.instances.clone().acquire_owned(), || {
            late(&key, own.concurrency.to_string())
        });
        let own = own.await?;
        let instance = before(until, self.instances.clone().acquire_owned(), || {
            late("limits.plugins.instances", all.instances.to_string())
        });
        let instance = instance.await?;
        let memory = before(until, self.memory.clone().acquire_many_owned(pages), || {
            late("limits.plugins.memory", all.memory.to_string())
        });
        Ok(Place { _own: own, _instance: instance, _memory: memory.await? })
    }

    /// Nothing runs.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.instances.available_permits() == self.limits.instances as usize
    }

    /// Calls that go on on the threads of plugins.
    #[cfg(test)]
    pub(crate) fn apart(&self) -> usize {
        self.threads.get().map_or(0, |t| t.handle.metrics().num_alive_tasks())
    }

    /// The threads on which guests run that do not come back at once: apart from those that serve, so that the operating
    /// system divides the processors between both, whatever a guest does. They start when they are first needed.
    pub(crate) fn threads(&self) -> Result<&Handle> {
        if let Some(threads) = self.threads.get() {
            return Ok(&threads.handle);
        }
        let made = Threads::new(&self.limits)?;
        Ok(&self.threads.get_or_init(|| made).handle)
    }
}

/// What is begun, until it is done or the time is up.
async fn before(
    until: Instant,
    acquired: impl Future<Output = std::result::Result<OwnedSemaphorePermit, AcquireError>>,
    late: impl FnOnce() -> Error,
) -> Result<OwnedSemaphorePermit> {
    match timeout_at(until, acquired).await {
        Ok(permit) => permit.map_err(|_| Error::internal("the plugin engine is closed")),
        Err(_) => Err(late()),
    }
}

fn busy(plugin: &str, why: &str, limit: &str, key: &str) -> Error {
    Error::new(Kind::Busy, format!("there is no room for plugin `{plugin}` now: {why}: {limit}"))
        .hint(format!("try again later, or raise `{key}` in shiphold.toml"))
}

fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    fn new(limits: &HostPluginLimits) -> Result<Self> {
        // One processor is left to those who serve.
        let most = || std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1));
        let runtime = Builder::new_multi_thread()
            .worker_threads(limits.threads.map_or_else(most, |n| n as usize))
            .max_blocking_threads(limits.instances as usize + SPARE_THREADS)
            .thread_name("plugins")
            .enable_time()
            .build()
            .map_err(|e| Error::io("starting the threads of plugins", e))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever lets go of the last plugin may be a task itself, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::Manifest;
    use shiphold_storage::units::{ByteSize, Span};
    use std::path::Path;
    use std::task::Poll;

    fn plugin(limits: &str) -> Plugin {
        let text = format!(
            "[plugins.p]\ncomponent = \"/dev/null\"\nworld = \"retention-policy\"\n[plugins.p.limits]\n{limits}"
        );
        // A file that is none is refused; what it says of the limits is all that is wanted here.
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = text.replace("/dev/null", &file.path().to_string_lossy());
        Manifest::parse(&text, Path::new("/x/shiphold.toml")).unwrap_or_else(|e| panic!("{e}")).plugins["p"]
            .clone()
    }

    fn limits(instances: u32, memory_mib: u64, queue: u32) -> HostPluginLimits {
        HostPluginLimits {
            instances,
            memory: ByteSize::mib(memory_mib),
            queue,
            wait: Span::from_millis(20),
            ..HostPluginLimits::default()
        }
    }

    #[track_caller]
    fn refused(e: &Error, key: &str) {
        assert_eq!(e.kind(), Kind::Busy, "{e:?}");
        assert!(e.message().contains("`p`") && e.message().contains(&format!("{key} = ")), "{e}");
        assert!(e.hint_text().unwrap().contains(&format!("raise `{key}`")), "{e:?}");
    }

    #[tokio::test]
    async fn as_many_run_at_once_as_each_limit_allows() {
        for (own, all, most, key) in [
            ("concurrency = 3", limits(9, 1_024, 9), 3, "plugins.p.limits.concurrency"),
            ("concurrency = 9", limits(3, 1_024, 9), 3, "limits.plugins.instances"),
            ("concurrency = 9\nmemory = \"4 MiB\"", limits(9, 12, 9), 3, "limits.plugins.memory"),
            ("concurrency = 9\nmemory = \"4 MiB\"", limits(9, 11, 9), 2, "limits.plugins.memory"),
        ] {
            let (room, p) = (Room::new(&all), plugin(own));
            let turns = Turns::new(&p.limits);
            let mut places = Vec::new();
            for _ in 0..most {
                places.push(room.enter(&p, &turns).await.unwrap());
            }
            refused(&room.enter(&p, &turns).await.unwrap_err(), key);
            // What is given back is there for the next, all of it.
            places.clear();
            for _ in 0..most {
                places.push(room.enter(&p, &turns).await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn as_many_wait_as_the_queues_have_room_for() {
        let wait = Span::from_secs(3_600);
        for (own, all, key) in [
            (
                "concurrency = 1\nqueue = 2",
                HostPluginLimits { wait, ..limits(9, 64, 9) },
                "plugins.p.limits.queue",
            ),
            (
                "concurrency = 1\nqueue = 9",
                HostPluginLimits { wait, ..limits(9, 64, 2) },
                "limits.plugins.queue",
            ),
        ] {
            let (room, p) = (Room::new(&all), plugin(own));
            let turns = Turns::new(&p.limits);
            let first = room.enter(&p, &turns).await.unwrap();
            let (mut a, mut b) = (Box::pin(room.enter(&p, &turns)), Box::pin(room.enter(&p, &turns)));
            let waits = |polled: Poll<Result<Place>>| assert!(polled.is_pending());
            std::future::poll_fn(|cx| {
                waits(a.as_mut().poll(cx));
                waits(b.as_mut().poll(cx));
                Poll::Ready(())
            })
            .await;
            refused(&room.enter(&p, &turns).await.unwrap_err(), key);
            // Who went away does not wait any more; who came first is first.
            drop(b);
            drop(first);
            drop(a.await.unwrap());
            drop(room.enter(&p, &turns).await.unwrap());
            assert_eq!((room.waiting.into_inner(), turns.waiting.into_inner()), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_call_that_may_not_wait_is_refused_at_once() {
        let (room, p) = (Room::new(&limits(9, 64, 9)), plugin("concurrency = 1\nqueue = 0"));
        let turns = Turns::new(&p.limits);
        let _first = room.enter(&p, &turns).await.unwrap();
        refused(&room.enter(&p, &turns).await.unwrap_err(), "plugins.p.limits.queue");
    }
}
