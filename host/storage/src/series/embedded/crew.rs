//! Threads that help to decode. A scan hands out the columns of a chunk and goes on; when it needs them it does itself
//! what nobody has begun, so that it never waits for a thread that is busy with another scan.

use super::lock;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Threads at most, beside those that scan. Past it memory is what is waited for.
const HELPERS_MAX: usize = 7;

/// What a helper can take part in.
trait Shared: Send + Sync {
    /// Does pieces until all are begun.
    fn help(&self);
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<dyn Shared>>,
    stopped: bool,
}

#[derive(Default)]
struct Bench {
    queue: Mutex<Queue>,
    more: Condvar,
}

/// The threads; they end when it is dropped.
pub(super) struct Crew {
    bench: Arc<Bench>,
    helpers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("helpers", &self.helpers.len()).finish()
    }
}

impl Crew {
    /// A thread less than there are cores: the one that asks works too.
    pub(super) fn new() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of((cores - 1).min(HELPERS_MAX))
    }

    pub(super) fn of(helpers: usize) -> Result<Self> {
        let mut crew = Self { bench: Arc::default(), helpers: Vec::new() };
        for _ in 0..helpers {
            let bench = crew.bench.clone();
            let helper = std::thread::Builder::new()
                .name("series-decoder".into())
                .spawn(move || work(&bench))
                .map_err(|e| Error::io("a decoding thread", e))?;
            crew.helpers.push(helper);
        }
        Ok(crew)
    }

    /// Lets so many helpers take part as there are, if there are as many pieces.
    fn call(&self, task: &Arc<dyn Shared>, pieces: usize) {
        // The one who asks does one of them.
        let useful = pieces.saturating_sub(1).min(self.helpers.len());
        if useful > 0 {
            lock(&self.bench.queue).waiting.extend((0..useful).map(|_| task.clone()));
            (0..useful).for_each(|_| self.bench.more.notify_one());
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        lock(&self.bench.queue).stopped = true;
        self.bench.more.notify_all();
        for helper in self.helpers.drain(..) {
            if helper.join().is_err() {
                tracing::error!("a decoding thread of the series store panicked");
            }
        }
    }
}

fn work(bench: &Bench) {
    let mut queue = lock(&bench.queue);
    while !queue.stopped {
        match queue.waiting.pop_front() {
            Some(task) => {
                drop(queue);
                task.help();
                drop(task);
                queue = lock(&bench.queue);
            }
            None => queue = bench.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

struct Made<T> {
    all: Vec<Option<T>>,
    /// Pieces that are not ended.
    open: usize,
}

struct Inner<T> {
    piece: Box<dyn Fn(usize) -> T + Send + Sync>,
    count: usize,
    next: AtomicUsize,
    made: Mutex<Made<T>>,
    ended: Condvar,
}

impl<T: Send> Shared for Inner<T> {
    fn help(&self) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= self.count {
                return;
            }
            // Whoever waits must be told also of a piece that cannot be made.
            let piece = catch_unwind(AssertUnwindSafe(|| (self.piece)(at))).ok();
            let mut made = lock(&self.made);
            if let Some(place) = made.all.get_mut(at) {
                *place = piece;
            }
            made.open -= 1;
            if made.open == 0 {
                self.ended.notify_all();
            }
        }
    }
}

/// Work that was begun. What nobody began when it is dropped is not done.
pub(super) struct Pieces<T: Send + 'static>(Arc<Inner<T>>);

impl<T: Send + 'static> fmt::Debug for Pieces<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("count", &self.0.count).finish()
    }
}

impl<T: Send + 'static> Pieces<T> {
    /// Begins `count` pieces of work; `piece` makes each of them once. Without a crew all is done by [`Pieces::finish`].
    pub(super) fn begin(
        crew: Option<&Crew>,
        count: usize,
        piece: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Self {
        let made = Made { all: (0..count).map(|_| None).collect(), open: count };
        let inner = Arc::new(Inner {
            piece: Box::new(piece),
            count,
            next: AtomicUsize::new(0),
            made: Mutex::new(made),
            ended: Condvar::new(),
        });
        if let Some(crew) = crew {
            crew.call(&(inner.clone() as Arc<dyn Shared>), count);
        }
        Self(inner)
    }
    /// All pieces, in order.
    pub(super) fn finish(self) -> Result<Vec<T>> {
        self.0.help();
        let mut made = lock(&self.0.made);
        while made.open > 0 {
            made = self.0.ended.wait(made).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut made.all)
            .into_iter()
            .map(|piece| piece.ok_or_else(|| Error::internal("a thread panicked while it decoded")))
            .collect()
    }
}

impl<T: Send + 'static> Drop for Pieces<T> {
    fn drop(&mut self) {
        // Far from wrapping: each helper adds one more at most.
        self.0.next.store(self.0.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_made_once_whoever_helps() {
        for helpers in [0, 1, 3] {
            let crew = Crew::of(helpers).unwrap();
            let waiting: Vec<_> = (0..20)
                .map(|n| (n, Pieces::begin(Some(&crew), n, move |i| (n, i, std::thread::current().id()))))
                .collect();
            for (n, pieces) in waiting.into_iter().rev() {
                let made: Vec<_> = pieces.finish().unwrap().iter().map(|p| (p.0, p.1)).collect();
                assert_eq!(made, (0..n).map(|i| (n, i)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_piece_that_panics_is_an_error_and_the_crew_goes_on() {
        let crew = Crew::of(2).unwrap();
        for _ in 0..8 {
            let e = Pieces::begin(Some(&crew), 6, |i| assert_ne!(i, 3)).finish().unwrap_err();
            assert!(e.message().contains("panicked"), "{e}");
        }
        assert_eq!(Pieces::begin(Some(&crew), 3, |i| i * 2).finish().unwrap(), [0, 2, 4]);
    }

    #[test]
    fn what_is_given_up_is_not_begun() {
        let crew = Crew::of(0).unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        drop(Pieces::begin(Some(&crew), 9, move |_| count.fetch_add(1, Ordering::Relaxed)));
        assert_eq!(begun.load(Ordering::Relaxed), 0);
    }
}
